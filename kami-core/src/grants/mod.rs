//! What a tool asks for, what the operator gives, and what holds: the intersection.
//!
//! A manifest carries [`Capabilities`], the request. The operator's answer at install is a
//! [`Grant`]. A policy may set a [`Ceiling`]. [`Effective`] puts them together, and every decision
//! about a running tool is one of its methods: there is no other matcher. Nothing is granted by
//! default, and nothing here can be reached from a guest or from a client.

mod address;
mod endpoint;
mod path;
mod net;
mod secret;
mod limits;
mod denial;
mod recorder;
mod effective;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use address::is_public;
pub use denial::{Denial, DenialRule};
pub use effective::{Ceiling, Effective, Mount};
pub use endpoint::{Endpoint, Scheme};
pub use limits::{
    Ceilings, Limit, LimitError, Limits, MAX_EXECUTION, MAX_MEMORY_BYTES, MAX_TRANSFER_BYTES,
};
pub use net::{NetAccess, NetPattern, NetPatternError};
pub use recorder::{Recorder, Recording};
pub use secret::{HeaderTemplate, Injection, SecretError, SecretHost, SecretName, SecretRequest};

/// Where a tool with [`FsAccess::Sandbox`] finds its private scratch directory.
pub const SCRATCH_PATH: &str = "/scratch";

/// What a tool asks for. The default asks for nothing, within the default [`Limits`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Capabilities {
    /// Hosts to which requests and connections may go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<NetPattern>,
    /// How far the tool may reach into files at all.
    #[serde(default)]
    pub fs: FsAccess,
    /// What becomes of the scratch directory after a call.
    #[serde(default, skip_serializing_if = "ScratchMode::is_default")]
    pub scratch: ScratchMode,
    /// Directories that the operator is asked to bind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<MountName, MountRequest>,
    /// Environment variables of the host that the tool wants to read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub env: BTreeSet<EnvName>,
    /// Secrets that the operator is asked to provide.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, SecretRequest>,
    /// The resources that one call may use.
    #[serde(default)]
    pub limits: Limits,
}

impl Capabilities {
    /// Whether a call can change anything outside itself, other than by network requests.
    pub fn writes_files(&self) -> bool {
        self.mounts.values().any(|mount| mount.access == Access::ReadWrite)
    }
}

/// How far a tool may reach into files at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FsAccess {
    /// No file system.
    #[default]
    None,
    /// Mounts only, and those only to read.
    ReadOnly,
    /// A private scratch directory, and mounts.
    Sandbox,
}

impl fmt::Display for FsAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::ReadOnly => "read-only",
            Self::Sandbox => "sandbox",
        })
    }
}

/// What becomes of a tool's scratch directory after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScratchMode {
    /// Each call has an empty one of its own, which ends with it.
    #[default]
    Emptied,
    /// All calls of the package share one, which stays.
    Kept,
}

impl ScratchMode {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for ScratchMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Emptied => "emptied",
            Self::Kept => "kept",
        })
    }
}

/// A directory that a tool asks the operator to bind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MountRequest {
    /// What the tool wants to do there.
    #[serde(default)]
    pub access: Access,
    /// What the operator should bind, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// What may be done in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// List and read.
    #[default]
    ReadOnly,
    /// List, read, create, change and delete.
    ReadWrite,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
        })
    }
}

/// The operator's answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grant {
    /// Hosts that may be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<NetPattern>,
    /// How far the tool may reach into files.
    #[serde(default)]
    pub fs: FsAccess,
    /// Whether the scratch directory may be kept.
    #[serde(default, skip_serializing_if = "ScratchMode::is_default")]
    pub scratch: ScratchMode,
    /// Host directories bound to the mounts that were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<MountName, Binding>,
    /// Environment variables that may be read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub env: BTreeSet<EnvName>,
    /// Secrets that may be used in the way that was asked for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<SecretName>,
    /// Caps on what one call may use.
    #[serde(default, skip_serializing_if = "Ceilings::is_empty")]
    pub limits: Ceilings,
}

impl Grant {
    /// Gives everything that is asked for; mounts stay unbound until the operator names directories.
    pub fn all(requested: &Capabilities) -> Self {
        Self {
            net: requested.net.clone(),
            fs: requested.fs,
            scratch: requested.scratch,
            mounts: BTreeMap::new(),
            env: requested.env.clone(),
            secrets: requested.secrets.keys().cloned().collect(),
            limits: requested.limits.into(),
        }
    }
}

/// A host directory that stands behind a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Binding {
    /// An absolute path on the host.
    pub path: PathBuf,
    /// What may be done there.
    pub access: Access,
}

/// The name of a mount: `[a-z0-9][a-z0-9-]{0,31}`, and not `scratch`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountName(String);

impl MountName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the guest sees the mount.
    pub fn guest_path(&self) -> String {
        format!("/{}", self.0)
    }
}

/// The name of an environment variable: `[A-Za-z_][A-Za-z0-9_]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvName(String);

impl EnvName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A mount, secret or environment variable with a name that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantNameError {
    /// Not a mount name.
    #[error(
        "a mount's name is 1 to 32 of a-z, 0-9 and `-`, starts with a letter or digit, and is not `scratch`"
    )]
    Mount,
    /// Not a secret's name.
    #[error(
        "a secret's name is 1 to 128 of A-Z, a-z, 0-9 and `_`, and does not start with a digit"
    )]
    Secret,
    /// Not an environment variable's name.
    #[error(
        "an environment variable's name is 1 to 128 of A-Z, a-z, 0-9 and `_`, and does not start with a digit"
    )]
    Env,
}

impl FromStr for MountName {
    type Err = GrantNameError;

    fn from_str(text: &str) -> Result<Self, GrantNameError> {
        let valid = (1..=32).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.starts_with('-')
            && text != "scratch";
        valid.then(|| Self(text.to_owned())).ok_or(GrantNameError::Mount)
    }
}

impl FromStr for EnvName {
    type Err = GrantNameError;

    fn from_str(text: &str) -> Result<Self, GrantNameError> {
        let valid = (1..=128).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !text.starts_with(|c: char| c.is_ascii_digit());
        valid.then(|| Self(text.to_owned())).ok_or(GrantNameError::Env)
    }
}

macro_rules! text_conversions {
    ($name:ty) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = GrantNameError;

            fn try_from(text: String) -> Result<Self, GrantNameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

text_conversions!(MountName);
text_conversions!(EnvName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_names_cannot_hide_the_scratch_directory_or_climb() {
        for bad in ["", "scratch", "../x", "a/b", "A", "-a", ".", &"a".repeat(33)] {
            assert!(bad.parse::<MountName>().is_err(), "{bad:?}");
        }
    }
}
