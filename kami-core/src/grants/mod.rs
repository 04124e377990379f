//! What a tool asks for, what the operator gives, and what holds: the intersection.
//!
//! A manifest carries [`Capabilities`], the request. The operator's answer at install is a
//! [`Grant`]. [`Effective`] puts the two together, and every decision about a running tool is
//! one of its methods: there is no other matcher. Nothing is granted by default, and nothing
//! here can be reached from a guest or from a client.

mod address;
mod host;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use address::is_public;
pub use host::{Endpoint, HostPattern, HostPatternError, Scheme};
pub use limits::{LimitError, Limits, MAX_EXECUTION, MAX_MEMORY_BYTES};

/// Where a tool with [`FsAccess::Sandbox`] finds its private scratch directory.
pub const SCRATCH_PATH: &str = "/scratch";

/// What a tool asks for. The default asks for nothing, within the default [`Limits`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Capabilities {
    /// Hosts to which HTTP requests may go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<HostPattern>,
    /// How far the tool may reach into files at all.
    #[serde(default)]
    pub fs: FsAccess,
    /// Directories that the operator is asked to bind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<MountName, MountRequest>,
    /// Environment variables of the host that the tool wants to read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub env: BTreeSet<EnvName>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FsAccess {
    /// No file system.
    #[default]
    None,
    /// Mounts only, and those only to read.
    ReadOnly,
    /// A private scratch directory that lives as long as the call, and mounts.
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
    pub net: Vec<HostPattern>,
    /// How far the tool may reach into files.
    #[serde(default)]
    pub fs: FsAccess,
    /// Host directories bound to the mounts that were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<MountName, Binding>,
    /// Environment variables that may be read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub env: BTreeSet<EnvName>,
    /// The most that one call may use.
    #[serde(default)]
    pub limits: Limits,
}

impl Grant {
    /// Gives everything that is asked for; mounts stay unbound until the operator names directories.
    pub fn all(requested: &Capabilities) -> Self {
        Self {
            net: requested.net.clone(),
            fs: requested.fs,
            mounts: BTreeMap::new(),
            env: requested.env.clone(),
            limits: requested.limits,
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

/// A directory that a running tool sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Where the guest sees it.
    pub guest_path: String,
    /// What stands behind it.
    pub host_path: &'a Path,
    /// The lesser of what was asked for and what was given.
    pub access: Access,
}

/// What holds for a tool: the intersection of what it asks for and what it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    requested: Capabilities,
    granted: Grant,
}

impl Effective {
    /// Puts a request and its answer together.
    pub fn new(requested: Capabilities, granted: Grant) -> Self {
        Self { requested, granted }
    }

    /// What a component gets while it is asked to describe itself: nothing.
    pub fn nothing() -> Self {
        Self::new(Capabilities::default(), Grant::default())
    }

    /// Whether any HTTP request can ever be permitted.
    pub fn any_network(&self) -> bool {
        !self.requested.net.is_empty() && !self.granted.net.is_empty()
    }

    /// Decides whether a request may go to `endpoint`.
    ///
    /// # Errors
    /// A [`Denial`] that says what to add, and where.
    pub fn endpoint(&self, endpoint: &Endpoint) -> Result<(), Denial> {
        let listed = |patterns: &[HostPattern]| patterns.iter().any(|p| p.matches(endpoint));
        let entry = endpoint.as_entry();
        if !listed(&self.requested.net) {
            Err(Denial::not_requested(endpoint, format!("net-allow-list = [\"{entry}\"]")))
        } else if !listed(&self.granted.net) {
            Err(Denial::not_granted(endpoint, format!("net = [\"{entry}\"]")))
        } else {
            Ok(())
        }
    }

    /// Decides whether `endpoint`, already permitted by name, may be reached at `address`.
    ///
    /// A name leads to public addresses only: whoever controls its DNS entry must not be able to
    /// point it at the machine, its network or a cloud's metadata service. A special address is
    /// reached only by requests that name it literally, which no pattern over names permits.
    ///
    /// # Errors
    /// A [`Denial`] that names the address.
    pub fn address(&self, endpoint: &Endpoint, address: IpAddr) -> Result<(), Denial> {
        if is_public(address) {
            return Ok(());
        }
        if endpoint.literal_address() == Some(address) {
            return Ok(());
        }
        Err(Denial {
            thing: format!("{endpoint}, which is {address},"),
            rule: DenialRule::SpecialAddress,
            line: format!("net-allow-list = [\"{address}\"]"),
        })
    }

    /// The directories to preopen: mounts that were asked for and bound.
    pub fn mounts(&self) -> impl Iterator<Item = Mount<'_>> {
        let fs = self.fs();
        self.requested.mounts.iter().filter_map(move |(name, request)| {
            let binding = self.granted.mounts.get(name)?;
            let access = match fs {
                FsAccess::None => return None,
                FsAccess::ReadOnly => Access::ReadOnly,
                FsAccess::Sandbox => request.access.min(binding.access),
            };
            Some(Mount { guest_path: name.guest_path(), host_path: &binding.path, access })
        })
    }

    /// Why `thing`, a change below the mount that the guest sees at `guest_path`, is denied.
    pub fn change_denied(&self, thing: String, guest_path: &str) -> Denial {
        let name = guest_path.trim_start_matches('/');
        let requested = self.requested.mounts.iter().find(|(mount, _)| mount.as_str() == name);
        if self.requested.fs != FsAccess::Sandbox {
            Denial::not_requested(thing, "fs-access = \"sandbox\"".to_owned())
        } else if requested.is_none_or(|(_, mount)| mount.access == Access::ReadOnly) {
            Denial::not_requested(thing, format!("mounts.{name}.access = \"read-write\""))
        } else if self.granted.fs != FsAccess::Sandbox {
            Denial::not_granted(thing, "fs = \"sandbox\"".to_owned())
        } else {
            let bound = self.granted.mounts.iter().find(|(mount, _)| mount.as_str() == name);
            let path = bound.map_or("PATH".into(), |(_, binding)| binding.path.to_string_lossy());
            Denial::not_granted(thing, format!("--mount {name}={path}:rw"))
        }
    }

    /// Whether the tool has a scratch directory.
    pub fn has_scratch(&self) -> bool {
        self.fs() == FsAccess::Sandbox
    }

    fn fs(&self) -> FsAccess {
        match (self.requested.fs, self.granted.fs) {
            (FsAccess::None, _) | (_, FsAccess::None) => FsAccess::None,
            (FsAccess::Sandbox, FsAccess::Sandbox) => FsAccess::Sandbox,
            _ => FsAccess::ReadOnly,
        }
    }

    /// The environment variables that the tool may see.
    pub fn env(&self) -> impl Iterator<Item = &EnvName> {
        self.requested.env.intersection(&self.granted.env)
    }

    /// The lower of both sides, limit by limit.
    pub fn limits(&self) -> Limits {
        self.requested.limits.min(self.granted.limits)
    }
}

/// Why something was not permitted, and what would permit it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{thing} is denied: {rule}")]
pub struct Denial {
    /// What was tried.
    pub thing: String,
    /// Which rule denies it.
    pub rule: DenialRule,
    /// The line that would permit it: in the manifest, or in the grant.
    pub line: String,
}

impl Denial {
    fn not_requested(thing: impl fmt::Display, line: String) -> Self {
        Self { thing: thing.to_string(), rule: DenialRule::NotRequested, line }
    }

    fn not_granted(thing: impl fmt::Display, line: String) -> Self {
        Self { thing: thing.to_string(), rule: DenialRule::NotGranted, line }
    }

    /// What to do about it, for a person.
    pub fn hint(&self) -> String {
        let line = &self.line;
        match self.rule {
            DenialRule::NotRequested | DenialRule::SpecialAddress | DenialRule::RawSocket => {
                format!(
                    "the tool's author can ask for it under [package.metadata.kami.security]: {line}"
                )
            }
            DenialRule::Unsafe => "there is nothing that would permit it".to_owned(),
            DenialRule::WriteLimit => format!("the limit can be raised: {line}"),
            DenialRule::NotGranted => format!("the operator can grant it: {line}"),
        }
    }
}

/// The rules by which something is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialRule {
    /// The tool's manifest does not ask for it.
    NotRequested,
    /// The operator did not grant it.
    NotGranted,
    /// A name leads to an address that is private, loopback, link-local or otherwise special.
    SpecialAddress,
    /// Sockets are for nobody: HTTP requests are the only way to the network.
    RawSocket,
    /// It is for nobody, as it would undermine what is promised.
    Unsafe,
    /// The limit of bytes that one call may write to files is reached.
    WriteLimit,
}

impl fmt::Display for DenialRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRequested => "the tool's manifest does not ask for it",
            Self::NotGranted => "the operator did not grant it",
            Self::SpecialAddress => {
                "the address is not a public one, and is reached only by requests that name it literally"
            }
            Self::RawSocket => "tools reach the network by HTTP requests only",
            Self::Unsafe => "no tool may do that",
            Self::WriteLimit => "the limit of bytes written to files is reached",
        })
    }
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

/// A mount or environment variable with a name that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantNameError {
    /// Not a mount name.
    #[error(
        "a mount's name is 1 to 32 of a-z, 0-9 and `-`, starts with a letter or digit, and is not `scratch`"
    )]
    Mount,
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

    fn asking(net: &[&str]) -> Capabilities {
        let net = net.iter().map(|p| p.parse().unwrap()).collect();
        Capabilities { net, ..Capabilities::default() }
    }

    #[test]
    fn both_sides_must_list_an_endpoint() {
        let requested = asking(&["*.example.com", "other.org"]);
        let mut granted = Grant::all(&requested);
        granted.net = vec!["api.example.com".parse().unwrap(), "elsewhere.net".parse().unwrap()];
        let effective = Effective::new(requested, granted);
        let rule =
            |url: &str| effective.endpoint(&Endpoint::of_url(url).unwrap()).map_err(|d| d.rule);
        assert_eq!(rule("https://api.example.com"), Ok(()));
        assert_eq!(rule("https://www.example.com"), Err(DenialRule::NotGranted));
        assert_eq!(rule("https://elsewhere.net"), Err(DenialRule::NotRequested));
    }

    #[test]
    fn a_name_never_leads_to_a_special_address() {
        let requested = asking(&["*", "http://127.0.0.1:8080", "localhost"]);
        let effective = Effective::new(requested.clone(), Grant::all(&requested));
        let at = |url: &str, ip: &str| {
            effective.address(&Endpoint::of_url(url).unwrap(), ip.parse().unwrap()).is_ok()
        };
        assert!(at("https://example.com", "93.184.216.34"));
        assert!(!at("https://example.com", "127.0.0.1"));
        assert!(!at("http://localhost:8080", "127.0.0.1"), "not even where the address is listed");
        assert!(at("http://127.0.0.1:8080", "127.0.0.1"));
        assert!(!at("http://127.0.0.1:8080", "127.0.0.2"));
        assert!(!at("https://example.com", "169.254.169.254"));
    }

    #[test]
    fn mounts_need_a_request_a_binding_and_file_access() {
        let docs: MountName = "docs".parse().unwrap();
        let mut requested = Capabilities { fs: FsAccess::Sandbox, ..Capabilities::default() };
        requested
            .mounts
            .insert(docs.clone(), MountRequest { access: Access::ReadWrite, ..Default::default() });
        let mut granted = Grant::all(&requested);
        let count =
            |r: &Capabilities, g: &Grant| Effective::new(r.clone(), g.clone()).mounts().count();
        assert_eq!(count(&requested, &granted), 0, "not bound");
        granted.mounts.insert(docs, Binding { path: "/srv".into(), access: Access::ReadOnly });
        let effective = Effective::new(requested.clone(), granted.clone());
        let mounts: Vec<_> = effective.mounts().collect();
        assert_eq!(mounts[0].guest_path, "/docs");
        assert_eq!(mounts[0].access, Access::ReadOnly, "the lesser access holds");
        granted.fs = FsAccess::None;
        assert_eq!(count(&requested, &granted), 0, "file access not granted");
    }

    #[test]
    fn mount_names_cannot_hide_the_scratch_directory_or_climb() {
        for bad in ["", "scratch", "../x", "a/b", "A", "-a", ".", &"a".repeat(33)] {
            assert!(bad.parse::<MountName>().is_err(), "{bad:?}");
        }
    }
}
