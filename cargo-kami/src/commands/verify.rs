//! `cargo kami verify`: whether artifacts are what they claim.

use std::path::Path;
use std::time::SystemTime;

use kami_core::registry::{DataDir, InstalledPackage, Registry};
use kami_core::resolve;
use kami_core::signing::{TrustStore, Unsigned};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ops::{pipeline, source};
use crate::settings::Settings;
use crate::shell::Shell;

/// Verify files and installed tools: digest, signatures, trust
///
/// Nothing is run. Without a name, every installed tool is verified.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami verify                          every installed tool
  cargo kami verify dev.example.fetch        one of them
  cargo kami verify ./fetch.wasm --json      a file")]
pub struct Args {
    /// Files, or ids of installed tools
    #[arg(value_name = "FILE or ID")]
    names: Vec<String>,
    /// Tell the results as JSON on stdout, one object on a line
    #[arg(long)]
    json: bool,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line {
    name: String,
    valid: bool,
    signer: Option<String>,
    problem: Option<String>,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let trust = TrustStore::load(&settings.data_dir.trust_file())?;
    let packages = Registry::open(&settings.data_dir)?.packages()?;
    let names: Vec<String> = match args.names.as_slice() {
        [] => packages.iter().map(|package| package.id().to_string()).collect(),
        names => names.to_vec(),
    };
    let mut invalid = 0;
    for name in &names {
        let installed = packages.iter().find(|package| package.id().as_str() == name);
        let verified = match installed {
            Some(package) => verify_installed(package, &settings.data_dir, &trust),
            None => verify_file(name, &trust),
        };
        let line = match verified {
            Ok(signer) => {
                Line { name: name.clone(), valid: true, signer: Some(signer), problem: None }
            }
            // One name alone fails as such, with its own code and advice.
            Err(error) if names.len() == 1 && !args.json => return Err(error),
            Err(error) => {
                invalid += 1;
                let problem = Some(format!("{error:#}"));
                Line { name: name.clone(), valid: false, signer: None, problem }
            }
        };
        match (&line, args.json) {
            (line, true) => shell.json(line)?,
            (Line { problem: Some(problem), .. }, _) => {
                shell.mistake(format_args!("{name}: {problem}"))
            }
            (Line { signer, .. }, _) => {
                shell.status(
                    "Verified",
                    format_args!("{name}, {}", signer.as_deref().unwrap_or_default()),
                );
            }
        }
    }
    match invalid {
        0 => Ok(Exit::Success),
        count => {
            Err(Failure::new(Exit::Signature, format!("{count} of {} did not verify", names.len()))
                .into())
        }
    }
}

fn verify_installed(
    package: &InstalledPackage,
    data: &DataDir,
    trust: &TrustStore,
) -> anyhow::Result<String> {
    if package.is_pipeline() {
        pipeline::stored(package, data)?;
        return Ok(format!("{}, as it was installed", pipeline::UNSIGNED));
    }
    let bytes = data.read_artifact(package.digest)?;
    let signed = resolve::verify(bytes, package, trust, SystemTime::now())?;
    Ok(match signed.signer() {
        Some(key) => format!("signed by {}", trust.label(&key).unwrap_or_default()),
        None => "unsigned, as installed with --allow-unsigned".to_owned(),
    })
}

fn verify_file(name: &str, trust: &TrustStore) -> anyhow::Result<String> {
    if !Path::new(name).exists() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("`{name}` is neither a file nor an installed id"),
        )
        .help("cargo kami list shows what is installed")
        .into());
    }
    let artifact = source::read(Path::new(name))?;
    let signed = source::verify(artifact, trust, Unsigned::Refuse, name)?;
    let key = signed.signer().ok_or_else(|| Failure::new(Exit::Signature, "not signed"))?;
    Ok(format!("signed by {}", trust.label(&key).unwrap_or_default()))
}
