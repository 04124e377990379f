//! `cargo kami inspect`: everything about one artifact, without running it.

use kami_core::component::Artifact;
use kami_core::signing;
use serde::Serialize;

use crate::exit::Exit;
use crate::ops::{compiler, source};
use crate::settings::Settings;
use crate::shell::{Shell, one_line, printable};
use crate::summary;

/// Show what is in an artifact: tools, schemas, resources, prompts, requests, imports, signatures
///
/// Nothing is run, and no signature needs to be trusted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami inspect fetch                   an installed tool
  cargo kami inspect ./fetch.wasm --json     a file, with whole schemas
  cargo kami inspect ./fetch.wasm --wit      its interface")]
pub struct Args {
    /// A file, or the name of an installed tool
    #[arg(value_name = "FILE or TOOL")]
    name: String,
    /// Tell everything as JSON on stdout
    #[arg(long, conflicts_with = "wit")]
    json: bool,
    /// Print the component's interface as WIT on stdout
    #[arg(long)]
    wit: bool,
}

#[derive(Serialize)]
struct Everything<'a> {
    digest: String,
    size: usize,
    manifest: &'a kami_core::manifest::Manifest,
    imports: Vec<&'a String>,
    exports: Vec<&'a String>,
    signers: Vec<String>,
    signature_problem: Option<String>,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let artifact = source::named(&args.name, settings)?;
    let signers = signing::valid_signers(&artifact);
    if args.wit {
        let wit = compiler::wit(&artifact, settings.compile)?;
        // Comments in it are its author's words.
        shell.data(if shell.shows_data() { printable(&wit) } else { wit.into() })?;
    } else if args.json {
        let component = artifact.component();
        shell.json(&Everything {
            digest: artifact.digest().to_string(),
            size: artifact.bytes().len(),
            manifest: artifact.manifest(),
            imports: component.imports().iter().collect(),
            exports: component.exports().iter().collect(),
            signature_problem: signers.as_ref().err().map(ToString::to_string),
            signers: signers.unwrap_or_default().iter().map(ToString::to_string).collect(),
        })?;
    } else {
        tell(&artifact, signers, shell)?;
    }
    Ok(Exit::Success)
}

fn tell(
    artifact: &Artifact,
    signers: Result<Vec<signing::PublicKey>, signing::SignatureError>,
    shell: &Shell,
) -> anyhow::Result<()> {
    let manifest = artifact.manifest();
    let package = &manifest.package;
    let line =
        |subject: &str, text: &str| shell.data(format_args!("{subject:>12} {}", one_line(text)));
    line("id", package.id.as_str())?;
    line("version", &package.version.to_string())?;
    line("digest", &artifact.digest().to_string())?;
    line("size", &summary::size(artifact.bytes().len()))?;
    for (subject, text) in
        [("title", &package.title), ("about", &package.description), ("license", &package.license)]
    {
        if let Some(text) = text {
            line(subject, text)?;
        }
    }
    match signers {
        Ok(signers) if signers.is_empty() => line("signed by", "nobody")?,
        Ok(signers) => {
            for key in signers {
                line("signed by", &key.to_string())?;
            }
        }
        Err(problem) => line("signature", &format!("NOT VALID: {problem}"))?,
    }
    for request in summary::requests(&manifest.requests) {
        line(request.subject, &request.text)?;
    }
    for tool in &manifest.tools {
        line("tool", tool.name.as_str())?;
        for text in tool.description.lines() {
            line("", text)?;
        }
        let properties =
            tool.input_schema.get("properties").and_then(|properties| properties.as_object());
        for (name, schema) in properties.into_iter().flatten() {
            let about =
                schema.get("description").and_then(|about| about.as_str()).unwrap_or_default();
            line("", &format!("  {name}: {about}"))?;
        }
    }
    let tools = |line: &summary::Line| line.subject == "tool";
    for offer in summary::offers(manifest).into_iter().filter(|line| !tools(line)) {
        line(offer.subject, &offer.text)?;
    }
    let built = &manifest.provenance;
    let compiler =
        built.compiler.as_deref().map(|compiler| format!(", {compiler}")).unwrap_or_default();
    line("built by", &format!("{}{compiler}", built.builder))?;
    Ok(())
}
