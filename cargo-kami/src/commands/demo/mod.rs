//! `cargo kami demo`: every example, from source to an agent's call, in front of your eyes.

mod client;
mod script;
mod web;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cargo_metadata::MetadataCommand;
use kami_core::policy::PolicyFile;
use kami_core::registry::DataDir;

use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::ops::compiler::CompileLimits;
use crate::ops::passphrase::PassphraseOptions;
use crate::ops::scratch::ScratchDir;
use crate::ops::{self, Built, CargoOptions, consent, keys, source};
use crate::settings::Settings;
use crate::shell::{Shell, printable};
use client::Client;
use script::Step;
use web::Web;

/// Build, sign, install, serve and call every example of this checkout
///
/// A key is made on the spot, and a throw-away data directory in target/. Then the real server is
/// started as a child process, and every example tool is listed and called over MCP, as an agent
/// would. Nothing outside target/ is touched. Ends with a failure if anything is not as it should
/// be.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo run -p cargo-kami -- demo")]
pub struct Args {
    /// Where the examples are [default: those of the checkout that this program was built from]
    #[arg(long, value_name = "DIR")]
    examples: Option<PathBuf>,
}

pub fn run(args: &Args, shell: &Shell) -> anyhow::Result<Exit> {
    let examples = find_examples(args.examples.as_deref())?;
    let root = examples.parent().unwrap_or(&examples);
    let metadata = MetadataCommand::new().current_dir(root).no_deps().exec()?;
    let target = metadata.target_directory.join("kami").into_std_path_buf();
    std::fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
    let home = ScratchDir::new(&target).context("making a throw-away directory")?;
    let data = DataDir::new(home.path().join("data"));

    heading(shell, "1. Build");
    let started = Instant::now();
    let built = build(&examples, shell)?;
    shell.data(format_args!("{} artifacts in {:.1?}", built.len(), started.elapsed()))?;

    heading(shell, "2. Sign and install");
    let key = keys::make(&data, keys::DEFAULT, None)?;
    shell.data(format_args!("made a key with fingerprint {}", key.fingerprint()))?;
    let settings = Settings {
        data_dir: data.clone(),
        policy: PolicyFile::optional(data.policy_file()),
        compile: CompileLimits::default(),
        config: Config::default(),
    };
    for artifact in &built {
        install(artifact, &examples, &settings, shell)?;
    }

    heading(shell, "3. Serve and call, as an agent does");
    let web = Web::start().context("starting a web server on loopback")?;
    let mut client = Client::start(&data)?;
    shell.data(format_args!("server: {}", client.initialize()?))?;
    let mut transcript = Transcript { shell, failures: Vec::new(), slowest: Duration::ZERO };
    let steps = script::steps(&web, &examples)?;
    transcript.compare_lists(&client.list_tools()?, &steps);
    for step in &steps {
        transcript.call(&mut client, step)?;
    }
    client.finish()?;
    transcript.conclude(steps.len())
}

fn heading(shell: &Shell, text: &str) {
    shell.say(format_args!("\n{text}"));
}

fn find_examples(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let path = given.unwrap_or(&here);
    path.canonicalize().map_err(|error| {
        let message = format!("there are no examples in {}: {error}", path.display());
        Failure::new(Exit::NotFound, message)
            .help("the demo builds the examples of a source checkout: name its folder with --examples")
            .into()
    })
}

fn build(examples: &Path, shell: &Shell) -> anyhow::Result<Vec<Built>> {
    let mut packages = Vec::new();
    for entry in examples.read_dir()? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            let name = path.file_name().unwrap_or_default();
            packages.push(name.to_string_lossy().into_owned());
        }
    }
    packages.retain(|name| !script::LEFT_OUT.contains(&name.as_str()));
    packages.sort();
    let manifest_path = Some(examples.join("../Cargo.toml"));
    ops::build(&CargoOptions { packages, manifest_path, ..CargoOptions::default() }, shell)
}

/// Signs the artifact in memory, so that one's own signatures in target/ stay as they are.
fn install(
    built: &Built,
    examples: &Path,
    settings: &Settings,
    shell: &Shell,
) -> anyhow::Result<()> {
    use kami_core::component::Artifact;
    use kami_core::registry::{InstallOptions, Registry};
    use kami_core::signing::{self, TrustStore, Unsigned};

    let data = &settings.data_dir;
    let key = keys::read(data, keys::DEFAULT, &PassphraseOptions::default(), shell)?;
    let signed = Artifact::parse(signing::sign(&built.artifact, &key)?)?;
    let trust = TrustStore::load(&data.trust_file())?;
    let signed =
        source::verify(signed, &trust, Unsigned::Refuse, &built.path.display().to_string())?;
    let mounts = script::mounts(&built.name, examples)?;
    let options = consent::ConsentOptions { yes: true, mounts, ..Default::default() };
    let consented = consent::Question::new(&signed, &trust).ask(&options, shell)?;
    let compiling = Instant::now();
    ops::host::prepare(&signed, consented.ruling, settings)?;
    let options = InstallOptions { alias: None, source: "demo".to_owned() };
    Registry::open(data)?.install(&signed, &consented.grant, &options)?;
    let took = compiling.elapsed();
    shell
        .status("Installed", format_args!("{}, compiled to native code in {took:.0?}", built.name));
    Ok(())
}

/// What is printed, and what was wrong.
struct Transcript<'a> {
    shell: &'a Shell,
    failures: Vec<String>,
    slowest: Duration,
}

impl Transcript<'_> {
    /// Every tool that is served must be called, and the other way round.
    fn compare_lists(&mut self, served: &[String], steps: &[Step]) {
        for name in served {
            if !steps.iter().any(|step| step.tool == name) {
                self.failures.push(format!("`{name}` is served, but the demo does not call it"));
            }
        }
        for step in steps {
            if !served.iter().any(|name| name == step.tool) {
                self.failures.push(format!("`{}` is not served", step.tool));
            }
        }
    }

    fn call(&mut self, client: &mut Client, step: &Step) -> anyhow::Result<()> {
        let reply = client.call(step.tool, &step.arguments)?;
        let verdict = (step.expect)(&reply.result);
        self.slowest = self.slowest.max(reply.round_trip);
        self.shell.data(format_args!(
            "\n> {} {}",
            step.tool,
            shortened(&step.arguments.to_string(), 100)
        ))?;
        for line in script::summary(&reply.result) {
            self.shell.data(format_args!("  {}", printable(&shortened(&line, 110))))?;
        }
        let inside = reply.inside.map_or("unknown".to_owned(), |inside| format!("{inside:.1?}"));
        let mark = if verdict.is_ok() { "ok" } else { "NOT OK" };
        self.shell.data(format_args!(
            "  [{mark}: {inside} inside the sandbox, {:.1?} round trip]",
            reply.round_trip
        ))?;
        if let Err(problem) = verdict {
            self.failures.push(format!("`{}`: {problem}", step.tool));
        }
        Ok(())
    }

    fn conclude(self, calls: usize) -> anyhow::Result<Exit> {
        if self.failures.is_empty() {
            let slowest = self.slowest;
            self.shell.data(format_args!(
                "\n{calls} calls, all as they should be; the slowest took {slowest:.1?}"
            ))?;
            return Ok(Exit::Success);
        }
        for failure in &self.failures {
            self.shell.mistake(failure);
        }
        let message = format!("{} of the demo's checks failed", self.failures.len());
        Err(Failure::new(Exit::Failure, message).into())
    }
}

/// The beginning of a text, on one line.
fn shortened(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length).chain(['…']).collect()
}
