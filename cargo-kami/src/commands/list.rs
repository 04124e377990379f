//! `cargo kami list`: the tools that agents may call.

use kami_core::resolve::Catalog;
use kami_core::signing::TrustStore;
use serde::Serialize;

use crate::exit::Exit;
use crate::settings::Settings;
use crate::shell::{Shell, one_line};

/// List installed tools
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami list
  cargo kami list --filter csv
  cargo kami list --json | jq .name")]
pub struct Args {
    /// Only tools whose name, id, tags or description contain this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Tell them as JSON on stdout, one object on a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    id: &'a str,
    version: String,
    description: &'a str,
    /// `null`: unsigned, as installed with `--allow-unsigned`.
    signer: Option<String>,
    digest: String,
    source: &'a str,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let catalog = Catalog::open(&settings.data_dir)?;
    let trust = TrustStore::load(&settings.data_dir.trust_file())?;
    let filter = args.filter.as_deref().unwrap_or_default().to_lowercase();
    let mut shown = 0;
    for entry in catalog.entries(None) {
        let entry = entry?;
        let package = &entry.package.manifest.package;
        let definition = entry.definition();
        let words = [
            entry.wire_name.as_str(),
            package.id.as_str(),
            &definition.description,
            &package.tags.join(" "),
        ];
        if !words.iter().any(|text| text.to_lowercase().contains(&filter)) {
            continue;
        }
        shown += 1;
        let signer = entry.package.signer;
        if args.json {
            shell.json(&Line {
                name: entry.wire_name.as_str(),
                id: package.id.as_str(),
                version: package.version.to_string(),
                description: &definition.description,
                signer: signer.map(|key| key.to_string()),
                digest: entry.package.digest.to_string(),
                source: &entry.package.source,
            })?;
        } else {
            let about = definition.description.lines().next().unwrap_or_default();
            let signer = match signer {
                Some(key) => {
                    trust.label(&key).unwrap_or("a key that is not trusted any more").to_owned()
                }
                None => "UNSIGNED".to_owned(),
            };
            let origin = format!("{} {} ({})", package.id, package.version, one_line(&signer));
            shell.data(format_args!("{:<24} {origin:<48} {}", entry.wire_name, one_line(about)))?;
        }
    }
    if shown == 0 && !args.json {
        shell.note(if filter.is_empty() {
            "no tool is installed"
        } else {
            "no installed tool matches"
        });
    }
    Ok(Exit::Success)
}
