//! `cargo kami inspect`: everything about one artifact, without running it.

use std::path::Path;

use kami_core::component::Artifact;
use kami_core::digest::Digest;
use kami_core::manifest::{Package, ToolDefinition};
use kami_core::name::FullName;
use kami_core::pipeline::Source;
use kami_core::registry::Registry;
use kami_core::resolve::Catalog;
use kami_core::signing::{self, TrustStore};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ops::pipeline::{self, Checked, Right};
use crate::ops::{compiler, policy, source};
use crate::settings::Settings;
use crate::shell::{Shell, one_line, printable};
use crate::summary;

/// Show what is in an artifact: tools, schemas, resources, prompts, requests, imports, signatures
///
/// Nothing is run, and no signature needs to be trusted. Of a pipeline it shows the steps, and all that
/// they may do as of now.
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
    if let Some(pipeline) = pipeline(&args.name, settings)? {
        if args.wit {
            return Err(Failure::new(Exit::Usage, "a pipeline has no interface of its own").into());
        }
        return inspect_pipeline(&pipeline, args.json, settings, shell);
    }
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

/// What `inspect` shows of a pipeline.
struct Inspected {
    source: Source,
    definition: ToolDefinition,
    digest: String,
    size: usize,
}

/// The pipeline in a file, or the one that is installed under `name`.
fn pipeline(name: &str, settings: &Settings) -> anyhow::Result<Option<Inspected>> {
    let path = Path::new(name);
    if path.is_file() {
        if !pipeline::is_file(path) {
            return Ok(None);
        }
        let Checked { text, source, plan } = pipeline::check(path, settings)?;
        let digest = Digest::of(text.as_bytes()).to_string();
        let (definition, size) = (plan.definition, text.len());
        return Ok(Some(Inspected { source, definition, digest, size }));
    }
    if name.ends_with(".wasm") {
        return Ok(None);
    }
    let Ok(entry) = Catalog::open(&settings.data_dir)?.find_loosely(name) else { return Ok(None) };
    let package = &entry.package;
    if !package.is_pipeline() {
        return Ok(None);
    }
    let source = pipeline::stored(package, &settings.data_dir)?;
    let size = settings.data_dir.read_pipeline(package.digest)?.len();
    let (definition, digest) = (entry.definition().clone(), package.digest.to_string());
    Ok(Some(Inspected { source, definition, digest, size }))
}

/// A pipeline, in `--json`.
#[derive(Serialize)]
struct Composed<'a> {
    digest: &'a str,
    size: usize,
    package: &'a Package,
    tool: &'a ToolDefinition,
    steps: Vec<&'a FullName>,
    union: Vec<Right>,
}

fn inspect_pipeline(
    pipeline: &Inspected,
    json: bool,
    settings: &Settings,
    shell: &Shell,
) -> anyhow::Result<Exit> {
    let Inspected { source, definition, digest, size } = pipeline;
    let registry = Registry::open(&settings.data_dir)?;
    let trust = TrustStore::load(&settings.data_dir.trust_file())?;
    let policy = policy::load(settings)?;
    let union = pipeline::union_of(source, &registry, policy.as_ref(), &trust)?;
    if json {
        shell.json(&Composed {
            digest,
            size: *size,
            package: &source.package,
            tool: definition,
            steps: source.tools().collect(),
            union,
        })?;
        return Ok(Exit::Success);
    }
    let line =
        |subject: &str, text: &str| shell.data(format_args!("{subject:>12} {}", one_line(text)));
    line("id", source.package.id.as_str())?;
    line("version", &source.package.version.to_string())?;
    line("digest", digest)?;
    line("size", &summary::size(*size))?;
    if let Some(title) = &source.package.title {
        line("title", title)?;
    }
    line("signed by", &format!("nobody: {}", pipeline::UNSIGNED))?;
    line("tool", definition.name.as_str())?;
    for text in definition.description.lines() {
        line("", text)?;
    }
    let properties = definition.input_schema.get("properties").and_then(|found| found.as_object());
    for (name, schema) in properties.into_iter().flatten() {
        let about = schema.get("description").and_then(|about| about.as_str()).unwrap_or_default();
        line("", &format!("  {name}: {about}"))?;
    }
    for step in pipeline::steps(source) {
        line("step", &step)?;
    }
    for (kind, text) in pipeline::lines(&union) {
        line(kind, &text)?;
    }
    line("", &format!("{} s for the whole", source.limit.as_secs()))?;
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
