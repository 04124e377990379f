//! `cargo kami install`: from a file to a tool that agents may call.

use std::path::PathBuf;

use kami_core::audit::AuditEvent;
use kami_core::name::ToolName;
use kami_core::registry::{InstallOptions, Installed, Registry};
use kami_core::signing::{TrustStore, Unsigned};
use serde::Serialize;

use crate::exit::Exit;
use crate::ops::consent::{self, ConsentOptions};
use crate::ops::first_use::{self, FirstUseOptions};
use crate::ops::{audit, host, source};
use crate::settings::Settings;
use crate::shell::Shell;

/// Install a tool, and grant it what it asks for
///
/// The signature is checked first; you are asked whether to trust a key that nobody here knows, and
/// the answer is kept. Then you see what the tool asks for and are asked once. It is
/// compiled to native code now, so that no call has to wait for that.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami install .                                  the package in this directory
  cargo kami install target/kami/my-tool.wasm --yes     a built file, without asking back
  cargo kami install search.wasm --mount docs=./docs:ro bind the directory that it asks for")]
pub struct Args {
    /// A package's directory, a directory with a tool.toml, or an artifact
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
    let grant = consent::ask(&signed, &args.consent, &trust, shell);
    let grant = audit::refusal(&log, &place, "KAMI-CONSENT", grant)?;
    {
        let _working = shell.working("Compiling to native code");
        host::prepare(&signed, &grant, settings)?;
    }
    if let Some(stranger) = stranger {
        stranger.remember(&settings.data_dir, &log, shell)?;
    }
    let options = InstallOptions { alias: args.alias.clone(), source: place };
    let installed = registry.install(&signed, &grant, &options)?;
    log.append(event(&installed)?)?;
    let package = &installed.package.manifest.package;
    let replaced = installed.replaced.as_ref().map(ToString::to_string);
    let tools: Vec<&str> =
        installed.package.manifest.tools.iter().map(|tool| tool.name.as_str()).collect();
    if args.json {
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
