//! `cargo kami status`: where things are, and how they stand.

use kami_core::registry::Registry;
use kami_core::signing::TrustStore;
use serde::Serialize;

use crate::exit::Exit;
use crate::settings::Settings;
use crate::shell::Shell;

/// Show where the data directory is and what is in it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami status
  cargo kami status --json | jq -r .data_dir")]
pub struct Args {
    /// Tell it as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    data_dir: String,
    packages: usize,
    tools: usize,
    unsigned: usize,
    trusted_keys: usize,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let packages = Registry::open(&settings.data_dir)?.packages()?;
    let trust = TrustStore::load(&settings.data_dir.trust_file())?;
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        data_dir: settings.data_dir.path().display().to_string(),
        packages: packages.len(),
        tools: packages.iter().map(|package| package.manifest.tools.len()).sum(),
        unsigned: packages.iter().filter(|package| package.signer.is_none()).count(),
        trusted_keys: trust.keys().count(),
    };
    if args.json {
        shell.json(&status)?;
    } else {
        let Status { version, data_dir, packages, tools, unsigned, trusted_keys } = status;
        shell.data(format_args!("{:>12} {version}", "version"))?;
        shell.data(format_args!("{:>12} {data_dir}", "data"))?;
        shell.data(format_args!(
            "{:>12} {packages}, with {tools} tools; {unsigned} unsigned",
            "packages"
        ))?;
        shell.data(format_args!("{:>12} {trusted_keys}", "trusted keys"))?;
    }
    Ok(Exit::Success)
}
