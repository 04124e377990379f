//! `cargo kami list`: the tools that agents may call.

use kami_core::mcp::{definition_json, discovery_json};
use kami_core::name::FullName;
use kami_core::resolve::{Catalog, CatalogEntry};
use kami_core::signing::TrustStore;
use serde::Serialize;

use crate::exit::Exit;
use crate::ops::pipeline;
use crate::ops::tokens::estimate;
use crate::settings::Settings;
use crate::shell::{Shell, one_line};

/// List installed tools
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami list
  cargo kami list --filter csv
  cargo kami list --tokens
  cargo kami list --json | jq .name")]
pub struct Args {
    /// Only tools whose name, id, tags or description contain this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Show what the definition of each tool costs a model that reads the list, the dearest first
    ///
    /// In tokens, with what all of them cost together, and what `serve --discover` costs instead. The
    /// definition is counted as `tools/list` sends it. This is an estimate, within a tenth of what
    /// OpenAI's o200k_base counts; each model has tokens of its own, and each client another way to
    /// write definitions into its prompt.
    #[arg(long)]
    tokens: bool,
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
    /// The tools that it calls, if it is a pipeline.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    steps: &'a [FullName],
}

/// What one tool costs a model, in `--tokens --json`.
#[derive(Serialize)]
struct CostLine<'a> {
    name: &'a str,
    id: &'a str,
    tokens: usize,
}

/// What all that were told cost, in the last line of `--tokens --json`.
#[derive(Serialize)]
struct TotalLine {
    tools: usize,
    tokens: usize,
    /// Of the two tools that are listed instead.
    discover_tokens: usize,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let catalog = Catalog::open(&settings.data_dir)?;
    let trust = TrustStore::load(&settings.data_dir.trust_file())?;
    let filter = args.filter.as_deref().unwrap_or_default().to_lowercase();
    if args.tokens {
        return costs(&catalog, &filter, args.json, shell);
    }
    let mut shown = 0;
    for entry in catalog.entries(None) {
        let entry = entry?;
        let package = &entry.package.manifest.package;
        let definition = entry.definition();
        if !matches(&entry, &filter) {
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
                steps: &entry.package.steps,
            })?;
        } else {
            let about = definition.description.lines().next().unwrap_or_default();
            let signer = match signer {
                Some(key) => {
                    trust.label(&key).unwrap_or("a key that is not trusted any more").to_owned()
                }
                None if entry.package.is_pipeline() => pipeline::UNSIGNED.to_owned(),
                None => "UNSIGNED".to_owned(),
            };
            let origin = format!("{} {} ({})", package.id, package.version, one_line(&signer));
            shell.data(format_args!("{:<24} {origin:<48} {}", entry.wire_name, one_line(about)))?;
        }
    }
    if shown == 0 && !args.json {
        shell.note(nothing(&filter));
    }
    Ok(Exit::Success)
}

fn nothing(filter: &str) -> &'static str {
    if filter.is_empty() { "no tool is installed" } else { "no installed tool matches" }
}

fn matches(entry: &CatalogEntry, filter: &str) -> bool {
    let package = &entry.package.manifest.package;
    let words = [
        entry.wire_name.as_str(),
        package.id.as_str(),
        &entry.definition().description,
        &package.tags.join(" "),
    ];
    words.iter().any(|text| text.to_lowercase().contains(filter))
}

fn costs(catalog: &Catalog, filter: &str, json: bool, shell: &Shell) -> anyhow::Result<Exit> {
    let mut costs = Vec::new();
    for entry in catalog.entries(None) {
        let entry = entry?;
        if matches(&entry, filter) {
            let tokens = estimate(&definition_json(&entry).to_string());
            costs.push((tokens, entry.wire_name, entry.package.id().clone()));
        }
    }
    costs.sort_by(|(few, a, _), (many, b, _)| many.cmp(few).then_with(|| a.cmp(b)));
    let tokens = costs.iter().map(|(tokens, ..)| tokens).sum();
    let discovery = discovery_json(catalog)?;
    let discover_tokens = discovery.iter().map(|tool| estimate(&tool.to_string())).sum();
    for (tokens, name, id) in &costs {
        if json {
            shell.json(&CostLine { name: name.as_str(), id: id.as_str(), tokens: *tokens })?;
        } else {
            shell.data(format_args!("{tokens:>8}  {name:<24} {id}"))?;
        }
    }
    if json {
        shell.json(&TotalLine { tools: costs.len(), tokens, discover_tokens })?;
    } else if costs.is_empty() {
        shell.note(nothing(filter));
    } else {
        shell.data(format_args!(
            "{tokens:>8}  tokens for {} in all, by estimate",
            counted(costs.len())
        ))?;
        shell.data(format_args!(
            "{discover_tokens:>8}  tokens instead with `cargo kami serve --discover`"
        ))?;
    }
    Ok(Exit::Success)
}

fn counted(tools: usize) -> String {
    if tools == 1 { "1 tool".to_owned() } else { format!("{tools} tools") }
}
