//! Where an artifact comes from: a crate, a built file, or a directory with a `tool.toml`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use kami_core::component::{Artifact, MAX_BYTES};
use kami_core::name::IdPrefix;
use kami_core::resolve::Catalog;
use kami_core::signing::{SignatureError, SignedArtifact, TrustStore, TrustedKey, Unsigned};

use super::{CargoOptions, build, build_tool_file, manifest_in, pipeline};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::shell::Shell;

/// Reads the artifact at `path`, building it first where that is a directory.
///
/// # Errors
/// Where there is nothing, or not one tool package.
pub fn artifact(path: &Path, shell: &Shell) -> anyhow::Result<Artifact> {
    if pipeline::is_file(path) {
        let message = format!("{} is no artifact", path.display());
        let help = format!("if it is a pipeline: cargo kami install {}", path.display());
        return Err(Failure::new(Exit::Usage, message).help(help).into());
    }
    if !path.is_dir() {
        return read(path);
    }
    let manifest = manifest_in(path);
    if manifest.ends_with("tool.toml") {
        return Ok(build_tool_file(&manifest, shell)?.artifact);
    }
    let options = CargoOptions { manifest_path: Some(manifest), ..CargoOptions::default() };
    let mut built = build(&options, shell)?;
    match (built.pop(), built.is_empty()) {
        (Some(only), true) => Ok(only.artifact),
        _ => {
            let message = format!("{} holds several tool packages", path.display());
            let help = "name the directory of one of them, or its file in target/kami/";
            Err(Failure::new(Exit::Usage, message).help(help).into())
        }
    }
}

/// Reads an artifact's file.
///
/// # Errors
/// Where it cannot be read, or is something else.
pub fn read(path: &Path) -> anyhow::Result<Artifact> {
    let reading = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    File::open(path)
        .with_context(reading)?
        .take(limit)
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    Artifact::parse(bytes).with_context(reading)
}

/// Reads a file, or what is installed under `name`. A file wins.
///
/// # Errors
/// Where there is neither, or it cannot be read.
pub fn named(name: &str, settings: &Settings) -> anyhow::Result<Artifact> {
    if Path::new(name).is_file() {
        return read(Path::new(name));
    }
    if name.contains(['/', '\\']) && name.ends_with(".wasm") {
        return Err(Failure::new(Exit::NotFound, format!("there is no file {name}")).into());
    }
    let entry = Catalog::open(&settings.data_dir)?.find_loosely(name)?;
    let package = &entry.package;
    if package.is_pipeline() {
        let message = format!("`{}` is a pipeline, which has no artifact", package.id());
        return Err(Failure::new(Exit::Usage, message).into());
    }
    let bytes = settings.data_dir.read_artifact(package.digest)?;
    Artifact::parse(bytes).with_context(|| format!("reading the installed `{}`", package.id()))
}

/// Checks signatures, and says what to do where they don't hold.
///
/// # Errors
/// The reason, with the command that mends it.
pub fn verify(
    artifact: Artifact,
    trust: &TrustStore,
    unsigned: Unsigned,
    place: &str,
) -> anyhow::Result<SignedArtifact> {
    let id = artifact.manifest().package.id.clone();
    SignedArtifact::verify(artifact, trust, unsigned, SystemTime::now()).map_err(|error| {
        let help = advice(&error, &IdPrefix::of(&id), place);
        anyhow::Error::from(error)
            .context(Failure::new(Exit::Signature, format!("refusing {place}")).help(help))
    })
}

/// What to do about signatures that do not hold, as commands where there are some.
fn advice(error: &SignatureError, maker: &IdPrefix, place: &str) -> String {
    // The terms are replaced as a whole, so the command repeats those that stay.
    let again = |key: &TrustedKey, more: Option<&IdPrefix>, expires: Option<String>| {
        let scope = key.scope.iter().chain(more).map(|prefix| format!(" --scope {prefix}"));
        let scope: String = scope.collect();
        let expires = expires.map(|date| format!(" --expires {date}")).unwrap_or_default();
        format!("cargo kami trust add {} --label NAME{scope}{expires}", key.public)
    };
    match error {
        SignatureError::Unsigned => format!(
            "sign it (cargo kami sign {place}), or use one's own development build as it is with --allow-unsigned"
        ),
        SignatureError::Untrusted(keys) => {
            let lines = keys
                .iter()
                .map(|key| format!("\n  cargo kami trust add {key} --label NAME --scope {maker}"));
            let lines: String = lines.collect();
            let key = keys.first().map(ToString::to_string).unwrap_or_default();
            format!(
                "if its maker gave you the same key by another way, trust it:{lines}\n\
                 or say so where you install it: --trust-key {key}"
            )
        }
        SignatureError::OutOfScope { key, .. } => format!(
            "if its maker told you so by another way, widen what the key may sign:\n  {}",
            again(key, Some(maker), key.expires.map(|date| date.to_string()))
        ),
        SignatureError::Expired { key, .. } => format!(
            "if its maker still uses the key, trust it for longer:\n  {}\n\
             if its maker has another one, ask for their statement: cargo kami trust rotate FILE",
            again(key, None, Some("YYYY-MM-DD".to_owned()))
        ),
        SignatureError::Revoked(_) => {
            "cargo kami trust list shows why; don't run this file".to_owned()
        }
        SignatureError::Invalid(_) | SignatureError::Malformed(_) => {
            "get the file again from its maker, and don't run this one".to_owned()
        }
    }
}
