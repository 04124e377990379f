//! `cargo kami check`: what artifacts say against what is in them.

use std::path::PathBuf;

use kami_core::component::Artifact;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ops::check::{Finding, Severity, check};
use crate::ops::{self, CargoOptions, manifest_in, source};
use crate::shell::{Shell, printable};

/// Check tools: the manifest, names, schemas, and what they ask for against what they use
///
/// A package is built first. A component that can make HTTP requests and asks for no host is told
/// so, as is one that asks for what it never uses.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami check                     the package in this directory
  cargo kami check --workspace --json  every tool, as one line of JSON each
  cargo kami check fetch.wasm          an artifact that is already built")]
pub struct Args {
    /// A directory with a Cargo.toml or tool.toml, one of these files, or an artifact
    #[arg(value_name = "PATH", conflicts_with_all = ["manifest_path", "packages", "workspace"])]
    path: Option<PathBuf>,
    #[command(flatten)]
    cargo: CargoOptions,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
    /// Tell the findings as JSON on stdout, one object for each tool package on a line
    #[arg(long)]
    json: bool,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    package: &'a str,
    findings: &'a [Finding],
}

pub fn run(args: &Args, shell: &Shell) -> anyhow::Result<Exit> {
    let mut counts = Counts::default();
    for (name, artifact) in artifacts(args, shell)? {
        let findings = check(&artifact);
        findings.iter().for_each(|finding| counts.add(finding));
        if args.json {
            shell.json(&Line { package: &name, findings: &findings })?;
        } else {
            tell(&name, &findings, shell);
        }
    }
    if counts.errors > 0 || (args.strict && counts.warnings > 0) {
        let (errors, warnings) =
            (plural(counts.errors, "error"), plural(counts.warnings, "warning"));
        return Err(Failure::new(Exit::Check, format!("found {errors} and {warnings}")).into());
    }
    Ok(Exit::Success)
}

/// The named artifact, or those of the packages, freshly built.
fn artifacts(args: &Args, shell: &Shell) -> anyhow::Result<Vec<(String, Artifact)>> {
    let mut options = args.cargo.clone();
    match &args.path {
        Some(path) if path.is_dir() => options.manifest_path = Some(manifest_in(path)),
        Some(path) if path.extension().is_some_and(|extension| extension == "toml") => {
            options.manifest_path = Some(path.clone());
        }
        Some(path) => {
            let artifact = source::read(path)?;
            return Ok(vec![(artifact.manifest().package.id.to_string(), artifact)]);
        }
        None => {}
    }
    let built = ops::build(&options, shell)?;
    Ok(built.into_iter().map(|built| (built.name, built.artifact)).collect())
}

fn tell(name: &str, findings: &[Finding], shell: &Shell) {
    for finding in findings {
        let message = format!("{name}: {}", printable(&finding.message));
        match finding.severity {
            Severity::Warning => shell.warn(message),
            Severity::Error => shell.mistake(message),
        }
        shell.help(&finding.help);
    }
    if findings.is_empty() {
        shell.status("Checked", format_args!("{name}: nothing to mend"));
    }
}

#[derive(Default)]
struct Counts {
    errors: usize,
    warnings: usize,
}

impl Counts {
    fn add(&mut self, finding: &Finding) {
        match finding.severity {
            Severity::Warning => self.warnings += 1,
            Severity::Error => self.errors += 1,
        }
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
