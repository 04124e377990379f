//! `cargo kami build`: packages into artifacts.

use kami_core::digest::Digest;
use serde::Serialize;

use crate::diagnostic::relative;
use crate::exit::Exit;
use crate::ops::{self, Built, CargoOptions};
use crate::shell::{Shell, one_line};
use crate::summary;

/// Build packages into artifacts, one file each, in target/kami/
///
/// Cargo compiles the package to a WebAssembly component. The component is asked what tools it
/// offers, and their schemas, what [package.metadata.kami] asks for and a bill of materials are
/// put into the same file. A build that changes nothing leaves the file and its signature alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami build                             the package in this directory
  cargo kami build --workspace --locked        every tool of the workspace, as Cargo.lock says
  cargo kami build -p fetch --debug            fast, for trying things out
  cargo kami build --manifest-path x/tool.toml a component from another language
  cargo kami build --message-format json       one line of JSON for each artifact")]
pub struct Args {
    #[command(flatten)]
    cargo: CargoOptions,
    /// What to tell on stdout about the artifacts
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    message_format: MessageFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum MessageFormat {
    /// Nothing: a summary goes to stderr
    Human,
    /// One JSON object for each artifact, one on a line
    Json,
}

/// One line of `--message-format json`.
#[derive(Serialize)]
struct Line<'a> {
    package: &'a str,
    artifact: &'a std::path::Path,
    digest: Digest,
    fresh: bool,
    tools: Vec<&'a str>,
}

pub fn run(args: &Args, shell: &Shell) -> anyhow::Result<Exit> {
    for built in ops::build(&args.cargo, shell)? {
        match args.message_format {
            MessageFormat::Human => tell(&built, shell),
            MessageFormat::Json => shell.json(&Line::of(&built))?,
        }
    }
    Ok(Exit::Success)
}

impl<'a> Line<'a> {
    fn of(built: &'a Built) -> Self {
        let tools = built.artifact.manifest().tools.iter();
        Self {
            package: &built.name,
            artifact: &built.path,
            digest: built.artifact.digest(),
            fresh: built.fresh,
            tools: tools.map(|tool| tool.name.as_str()).collect(),
        }
    }
}

fn tell(built: &Built, shell: &Shell) {
    let manifest = built.artifact.manifest();
    let verb = if built.fresh { "Fresh" } else { "Sealed" };
    let size = summary::size(built.artifact.bytes().len());
    let signed = if built.artifact.signatures().len() > 0 { ", signed" } else { "" };
    shell.status(verb, format_args!("{} ({size}{signed})", relative(&built.path).display()));
    let tools: Vec<&str> = manifest.tools.iter().map(|tool| tool.name.as_str()).collect();
    shell.say(format_args!("{:>12} {}", "tools", tools.join(", ")));
    for line in summary::requests(&manifest.requests) {
        shell.say(format_args!("{:>12} {}", line.subject, one_line(&line.text)));
    }
}
