//! `cargo kami publish --dry-run`: what a registry would be told.

use std::path::PathBuf;

use kami_core::grants::Capabilities;
use kami_core::manifest::Package;
use kami_core::signing::{TrustStore, Unsigned};
use serde::Serialize;

use crate::exit::Exit;
use crate::ops::source;
use crate::settings::Settings;
use crate::shell::Shell;

/// Show what publishing would send, without sending it
///
/// The package is built if it needs to be, and must be signed. The entry is printed as JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami publish --dry-run
  cargo kami publish --dry-run target/kami/my-tool.wasm | jq .digest")]
pub struct Args {
    /// A package's directory, a directory with a tool.toml, or an artifact
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Send nothing; required, as this version cannot send yet
    #[arg(long, required = true)]
    dry_run: bool,
}

/// What an index says about one version of a package.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Entry<'a> {
    package: &'a Package,
    digest: String,
    size: usize,
    signers: Vec<String>,
    requests: &'a Capabilities,
    tools: Vec<Tool<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let artifact = source::artifact(&args.path, shell)?;
    let trust = TrustStore::load(&settings.data_dir.trust_file())?;
    let place = args.path.display().to_string();
    let signed = source::verify(artifact, &trust, Unsigned::Refuse, &place)?;
    let artifact = signed.artifact();
    let manifest = artifact.manifest();
    let signers = kami_core::signing::valid_signers(artifact)?;
    shell.json(&Entry {
        package: &manifest.package,
        digest: artifact.digest().to_string(),
        size: artifact.bytes().len(),
        signers: signers.iter().map(ToString::to_string).collect(),
        requests: &manifest.requests,
        tools: manifest
            .tools
            .iter()
            .map(|tool| Tool { name: tool.name.as_str(), description: &tool.description })
            .collect(),
    })?;
    if args.dry_run {
        shell.note("nothing was sent");
    }
    Ok(Exit::Success)
}
