//! The operator's policy, with its mistakes shown at the line they stand on.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use kami_core::grants::Grant;
use kami_core::policy::{self, Policy, PolicyError, PolicyFile};

use crate::diagnostic::InvalidManifests;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// Reads the policy that holds for this run; `None` where there is none.
///
/// # Errors
/// Where it cannot be read, or has mistakes.
pub fn load(settings: &Settings) -> anyhow::Result<Option<Policy>> {
    read(&settings.policy)
}

/// Reads a policy.
///
/// # Errors
/// Where it cannot be read, or has mistakes.
pub fn read(file: &PolicyFile) -> anyhow::Result<Option<Policy>> {
    file.load().map_err(|error| match error {
        PolicyError::Invalid { path, text, mistakes } => {
            let invalid = InvalidManifests::one(&path, text, mistakes);
            let failure = Failure::new(Exit::Policy, "there is no policy to go by");
            anyhow::Error::from(invalid).context(failure)
        }
        other => other.into(),
    })
}

/// Reads a file with a grant alone; paths in it are relative to it.
///
/// # Errors
/// Where it cannot be read, or has mistakes.
pub fn read_grant(path: &Path) -> anyhow::Result<Grant> {
    let reading = || format!("reading {}", path.display());
    let text = fs::read_to_string(path).with_context(reading)?;
    let absolute = fs::canonicalize(path).with_context(reading)?;
    let directory = absolute.parent().unwrap_or(&absolute);
    policy::parse_grant(&text, directory).map_err(|mistakes| {
        let invalid = InvalidManifests::one(path, text, mistakes);
        anyhow::Error::from(invalid).context(Failure::new(Exit::Usage, "this is not a grant"))
    })
}
