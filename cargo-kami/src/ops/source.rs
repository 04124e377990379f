//! Where an artifact comes from: a crate, a built file, or a directory with a `tool.toml`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use kami_core::component::{Artifact, MAX_BYTES};
use kami_core::signing::{SignatureError, SignedArtifact, TrustStore, Unsigned};

use super::{CargoOptions, build, build_tool_file, manifest_in};
use crate::exit::{Exit, Failure};
use crate::shell::Shell;

/// Reads the artifact at `path`, building it first where that is a directory.
///
/// # Errors
/// Where there is nothing, or not one tool package.
pub fn artifact(path: &Path, shell: &Shell) -> anyhow::Result<Artifact> {
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
    SignedArtifact::verify(artifact, trust, unsigned).map_err(|error| {
        let help = match &error {
            SignatureError::Unsigned => format!(
                "sign it (cargo kami sign {place}), or use one's own development build as it is with --allow-unsigned"
            ),
            SignatureError::Untrusted(keys) => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|key| format!("cargo kami trust add {key} --label NAME"))
                    .collect();
                format!("if its maker gave you the same key by another way, trust it: {}", keys.join(" or "))
            }
            SignatureError::Invalid(_) | SignatureError::Malformed(_) => {
                "get the file again from its maker, and don't run this one".to_owned()
            }
        };
        anyhow::Error::from(error).context(Failure::new(Exit::Signature, format!("refusing {place}")).help(help))
    })
}
