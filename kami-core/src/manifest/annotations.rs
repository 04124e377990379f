//! Hints about a tool's behaviour, derived from what it can do rather than from what it claims.

use serde::{Deserialize, Serialize};

use crate::grants::Capabilities;

/// Hints to a client, in the terms of the Model Context Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotations {
    /// The tool changes nothing outside itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// The tool may destroy something; meaningless where it is read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// A repeated call changes nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// The tool talks to the world outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

/// A reassuring hint that the capabilities do not prove.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "claims to be {claim}, but asks for {capability}, which does not prove it: drop the claim or the capability"
)]
pub struct ClaimError {
    claim: &'static str,
    capability: &'static str,
}

impl Annotations {
    /// Completes the hints from `requests`, keeping what the author said where it is more cautious.
    ///
    /// A tool without network and without write access is read-only, and a tool without network
    /// lives in a closed world. A hint that sounds safer than that is an error; one that sounds
    /// less safe stands.
    ///
    /// # Errors
    /// A claim that the capabilities do not prove.
    pub fn proved_by(self, requests: &Capabilities) -> Result<Self, ClaimError> {
        let network = (!requests.net.is_empty()).then_some("network access");
        let writing = requests.writes_files().then_some("write access to files");
        let harm = network.or(writing);
        let claims = [
            ("read-only", self.read_only_hint == Some(true), harm),
            ("non-destructive", self.destructive_hint == Some(false), harm),
            ("idempotent", self.idempotent_hint == Some(true), harm),
            ("closed-world", self.open_world_hint == Some(false), network),
        ];
        for (claim, claimed, disproof) in claims {
            if let (true, Some(capability)) = (claimed, disproof) {
                return Err(ClaimError { claim, capability });
            }
        }
        Ok(Self {
            read_only_hint: self.read_only_hint.or(Some(harm.is_none())),
            open_world_hint: self.open_world_hint.or(Some(network.is_some())),
            ..self
        })
    }

    /// The hints about what does all of several things: each as safe as the least safe of them.
    pub fn union(all: impl IntoIterator<Item = Self>) -> Self {
        let mut union = Self {
            read_only_hint: Some(true),
            destructive_hint: Some(false),
            // What changes nothing when it is repeated by itself may do so between others.
            idempotent_hint: None,
            open_world_hint: Some(false),
        };
        for hints in all {
            let reads = hints.read_only_hint == Some(true);
            if !reads {
                union.read_only_hint = Some(false);
            }
            if hints.open_world_hint != Some(false) {
                union.open_world_hint = Some(true);
            }
            union.destructive_hint = match (union.destructive_hint, hints.destructive_hint) {
                (Some(true), _) => Some(true),
                (before, _) if reads => before,
                (_, Some(true)) => Some(true),
                (before, Some(false)) => before,
                (_, None) => None,
            };
        }
        union
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::{Access, FsAccess, MountRequest};

    fn networked() -> Capabilities {
        Capabilities { net: vec!["example.com".parse().unwrap()], ..Capabilities::default() }
    }

    fn writing() -> Capabilities {
        let mut requests = Capabilities { fs: FsAccess::Sandbox, ..Capabilities::default() };
        let request = MountRequest { access: Access::ReadWrite, ..MountRequest::default() };
        requests.mounts.insert("docs".parse().unwrap(), request);
        requests
    }

    #[test]
    fn hints_follow_from_capabilities() {
        let hints = |requests: &Capabilities| {
            let proved = Annotations::default().proved_by(requests).unwrap();
            (proved.read_only_hint, proved.open_world_hint)
        };
        assert_eq!(hints(&Capabilities::default()), (Some(true), Some(false)));
        assert_eq!(hints(&networked()), (Some(false), Some(true)));
        assert_eq!(hints(&writing()), (Some(false), Some(false)));
    }

    #[test]
    fn what_does_several_things_is_as_safe_as_the_least_safe_of_them() {
        let proved = |requests: &Capabilities| Annotations::default().proved_by(requests).unwrap();
        let (safe, net, files) =
            (proved(&Capabilities::default()), proved(&networked()), proved(&writing()));
        let hints = |all: &[Annotations]| {
            let union = Annotations::union(all.iter().copied());
            (union.read_only_hint, union.destructive_hint, union.open_world_hint)
        };
        assert_eq!(hints(&[safe, safe]), (Some(true), Some(false), Some(false)));
        assert_eq!(hints(&[safe, files]), (Some(false), None, Some(false)));
        assert_eq!(hints(&[net, safe]), (Some(false), None, Some(true)));
        let destructive = Annotations { destructive_hint: Some(true), ..files };
        assert_eq!(hints(&[destructive, files]), (Some(false), Some(true), Some(false)));
        assert_eq!(hints(&[files, destructive]), (Some(false), Some(true), Some(false)));
    }

    #[test]
    fn reassurance_needs_proof_and_caution_does_not() {
        let read_only = Annotations { read_only_hint: Some(true), ..Annotations::default() };
        assert!(read_only.proved_by(&Capabilities::default()).is_ok());
        assert!(read_only.proved_by(&networked()).is_err());
        assert!(read_only.proved_by(&writing()).is_err());
        let closed = Annotations { open_world_hint: Some(false), ..Annotations::default() };
        assert!(closed.proved_by(&writing()).is_ok());
        assert!(closed.proved_by(&networked()).is_err());
        let cautious = Annotations { destructive_hint: Some(true), ..Annotations::default() };
        assert_eq!(cautious.proved_by(&networked()).unwrap().destructive_hint, Some(true));
    }
}
