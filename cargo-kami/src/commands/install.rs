//! `cargo kami install`: from a file to a tool that agents may call.

use std::path::PathBuf;

use kami_core::audit::AuditEvent;
use kami_core::grants::Grant;
use kami_core::name::ToolName;
use kami_core::pipeline::composition;
use kami_core::policy::Subject;
use kami_core::registry::{InstallOptions, Installed, InstalledPackage, Registry, RegistryError};
use kami_core::signing::{SignedArtifact, TrustStore, Unsigned};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ops::consent::{self, ConsentOptions, Question};
use crate::ops::first_use::{self, FirstUseOptions};
use crate::ops::{audit, host, pipeline, policy, source};
use crate::settings::Settings;
use crate::shell::Shell;

/// Install a tool, and grant it what it asks for
///
/// The signature is checked first; you are asked whether to trust a key that nobody here knows, and
/// the answer is kept. Then you see what the tool asks for and are asked once. It is
/// compiled to native code now, so that no call has to wait for that.
///
/// A pipeline, a TOML file of steps that call installed tools, is checked against their schemas. You
/// see all that its steps may do, each by its own package's grant; the pipeline itself is granted
/// nothing.
///
/// An update keeps the grant. Where it asks for more, or tells the model something else, you see
/// the difference and are asked again; what you denied before stays denied.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami install .                                  the package in this directory
  cargo kami install target/kami/my-tool.wasm --yes     a built file, without asking back
  cargo kami install search.wasm --mount docs=./docs:ro bind the directory that it asks for
  cargo kami install search.wasm --grant none           install it, and grant it nothing yet
  cargo kami install search.wasm --grant search.toml    grant what the file says
  cargo kami install ./report.toml                      a pipeline of installed tools")]
pub struct Args {
    /// A package's directory, a directory with a tool.toml, an artifact, or a pipeline's TOML file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    #[command(flatten)]
    consent: ConsentOptions,
    #[command(flatten)]
    first_use: FirstUseOptions,
    /// Accept an artifact without a signature: one's own development build
    #[arg(long)]
    allow_unsigned: bool,
    /// Call the tool by this name; where the package has several, put it before theirs
    #[arg(long = "as", value_name = "NAME")]
    alias: Option<ToolName>,
    /// Tell the result as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    version: String,
    digest: String,
    replaced: Option<String>,
    tools: Vec<&'a str>,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let place = args.path.display().to_string();
    if pipeline::is_file(&args.path) {
        return compose(args, place, settings, shell);
    }
    let artifact = source::artifact(&args.path, shell)?;
    let mut registry = Registry::open(&settings.data_dir)?;
    let log = audit::open(&settings.data_dir)?;
    let mut trust = TrustStore::load(&settings.data_dir.trust_file())?;
    let unsigned = if args.allow_unsigned { Unsigned::Allow } else { Unsigned::Refuse };
    let pinned = first_use::check_pin(&artifact, &registry, &trust);
    audit::refusal(&log, &place, "KAMI-SIGNATURE", pinned)?;
    let stranger = first_use::allow(&artifact, &mut trust, &args.first_use, Some(shell))?;
    let signed = source::verify(artifact, &trust, unsigned, &place);
    let signed = audit::refusal(&log, &place, "KAMI-SIGNATURE", signed)?;
    let policy = policy::load(settings)?;
    let replaced = replaced(&registry, &signed)?;
    let renamed = renamed(&registry, &signed, replaced.as_ref(), args.alias.as_ref())?;
    let question = Question {
        policy: policy.as_ref(),
        replaced: replaced.as_ref(),
        renamed,
        ..Question::new(&signed, &trust)
    };
    let consented = question.ask(&args.consent, shell);
    let consented = audit::refusal(&log, &place, audit::CONSENT, consented)?;
    {
        let _working = shell.working("Compiling to native code");
        host::prepare(&signed, consented.ruling, settings)?;
    }
    if let Some(stranger) = stranger {
        stranger.remember(&settings.data_dir, &log, shell)?;
    }
    unchanged(&registry, replaced.as_ref())?;
    let kept_alias = replaced.and_then(|package| package.alias);
    let options = InstallOptions { alias: args.alias.clone().or(kept_alias), source: place };
    let installed = registry.install(&signed, &consented.grant, &options)?;
    log.append(event(&installed)?)?;
    told(&installed, args.json, shell)
}

/// Installs a pipeline.
fn compose(args: &Args, place: String, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    if args.consent.grant.is_some() || !args.consent.mounts.is_empty() {
        return Err(Failure::new(Exit::Usage, "a pipeline has no grant of its own")
            .help("grant its steps what they need: cargo kami grants TOOL")
            .into());
    }
    let checked = pipeline::check(&args.path, settings)?;
    let composition = composition(&checked.text, &checked.source, &checked.plan)?;
    let id = &composition.manifest.package.id;
    let mut registry = Registry::open(&settings.data_dir)?;
    let log = audit::open(&settings.data_dir)?;
    let pinned = registry.check_pin(id, &[]).map_err(anyhow::Error::from);
    audit::refusal(&log, &place, "KAMI-SIGNATURE", pinned)?;
    let policy = policy::load(settings)?;
    if let Some(policy) = &policy {
        let subject = Subject { id, signer: None, label: None };
        let refused = policy.apply(subject, &Grant::default()).map_err(|refusal| {
            let message = format!("`{id}` may not run: {refusal}");
            anyhow::Error::from(Failure::new(Exit::Refused, message))
        });
        audit::refusal(&log, &place, audit::CONSENT, refused)?;
    }
    let replaced = match registry.package(id) {
        Err(RegistryError::Row { .. }) => None,
        found => found?,
    };
    let kept_alias = replaced.as_ref().and_then(|package| package.alias.clone());
    let alias = args.alias.clone().or(kept_alias);
    let trust = TrustStore::load(&settings.data_dir.trust_file())?;
    let renamed = registry.renamings(&composition.manifest, alias.as_ref())?;
    consent::introduce_pipeline(&checked, replaced.as_ref(), &renamed, shell);
    let union = pipeline::union_of(&checked.source, &registry, policy.as_ref(), &trust)?;
    let consented = consent::confirm_pipeline(&checked.source, &union, args.consent.yes, shell);
    audit::refusal(&log, &place, audit::CONSENT, consented)?;
    unchanged(&registry, replaced.as_ref())?;
    let options = InstallOptions { alias, source: place };
    let installed = registry.install_pipeline(&composition, &options)?;
    log.append(event(&installed)?)?;
    told(&installed, args.json, shell)
}

/// Tells what was installed.
fn told(installed: &Installed, json: bool, shell: &Shell) -> anyhow::Result<Exit> {
    let package = &installed.package.manifest.package;
    let replaced = installed.replaced.as_ref().map(ToString::to_string);
    let tools: Vec<&str> =
        installed.package.manifest.tools.iter().map(|tool| tool.name.as_str()).collect();
    if json {
        shell.json(&Line {
            id: package.id.as_str(),
            version: package.version.to_string(),
            digest: installed.package.digest.to_string(),
            replaced,
            tools,
        })?;
    } else {
        let instead = replaced.map(|version| format!(" instead of {version}")).unwrap_or_default();
        shell.status(
            "Installed",
            format_args!("{} {}{instead}: {}", package.id, package.version, tools.join(", ")),
        );
    }
    Ok(Exit::Success)
}

/// What the audit log keeps of it.
fn event(installed: &Installed) -> anyhow::Result<AuditEvent> {
    let package = &installed.package;
    Ok(AuditEvent::Install {
        package: package.id().clone(),
        version: package.manifest.package.version.clone(),
        digest: package.digest,
        replaced: installed.replaced.clone(),
        signer: package.signer.map(|key| key.to_string()),
        source: package.source.clone(),
        grant: serde_json::to_value(&package.grant)?,
    })
}

/// The version that is there. One whose entry is damaged counts as none: installing mends it.
fn replaced(
    registry: &Registry,
    signed: &SignedArtifact,
) -> Result<Option<InstalledPackage>, RegistryError> {
    match registry.package(&signed.artifact().manifest().package.id) {
        Err(RegistryError::Row { .. }) => Ok(None),
        found => found,
    }
}

/// The names of other packages' tools that change, before and after.
fn renamed(
    registry: &Registry,
    signed: &SignedArtifact,
    replaced: Option<&InstalledPackage>,
    alias: Option<&ToolName>,
) -> Result<Vec<(ToolName, ToolName)>, RegistryError> {
    let alias = alias.or(replaced.and_then(|package| package.alias.as_ref()));
    registry.renamings(signed.artifact().manifest(), alias)
}

/// A person may take long to decide, and decides about what was shown.
fn unchanged(registry: &Registry, shown: Option<&InstalledPackage>) -> Result<(), RegistryError> {
    let Some(shown) = shown else { return Ok(()) };
    match registry.package(shown.id())? {
        Some(now) if now.digest == shown.digest && now.grant == shown.grant => Ok(()),
        _ => Err(RegistryError::Changed(shown.id().clone())),
    }
}
