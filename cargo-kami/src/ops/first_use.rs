//! A key that nobody here knows, met at the first tool that it signed.
//!
//! A person is asked once, and the answer holds for the maker's ids: those that begin as the
//! tool's does, without its last label. Where nobody can be asked, the key itself must be named.

use std::time::SystemTime;

use kami_core::audit::{AuditEvent, AuditLog, TrustAction};
use kami_core::component::Artifact;
use kami_core::name::IdPrefix;
use kami_core::registry::{DataDir, Registry, RegistryError};
use kami_core::signing::{PublicKey, SignatureError, TrustError, TrustStore, valid_signers};

use crate::exit::{Exit, Failure};
use crate::shell::{Shell, one_line};

/// The flag that answers without being asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FirstUseOptions {
    /// Trust this key for the ids that begin as the tool's does, if it is the one that signed it
    #[arg(long = "trust-key", value_name = "KEY")]
    pub key: Option<PublicKey>,
}

/// A key that is trusted from now on, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstUse {
    key: PublicKey,
    prefix: IdPrefix,
}

impl FirstUse {
    /// Keeps it for later.
    ///
    /// # Errors
    /// Where the trust store cannot be changed.
    pub fn remember(&self, data: &DataDir, log: &AuditLog, shell: &Shell) -> anyhow::Result<()> {
        let allow = |trust: &mut TrustStore| -> Result<(), TrustError> {
            trust.allow(self.key, self.prefix.clone());
            Ok(())
        };
        TrustStore::update(&data.trust_file(), allow)?;
        let label = self.prefix.to_string();
        log.append(AuditEvent::Trust {
            action: TrustAction::Add,
            key: self.key.to_string(),
            label,
        })?;
        let fingerprint = self.key.fingerprint();
        shell.status("Trusted", format_args!("key {fingerprint} for `{}`", self.prefix));
        Ok(())
    }
}

/// Adds to `trust` the key that `options` name or, where `asking` can, the one that a person
/// agrees to. Whether the signatures then suffice is for [`verify`](super::source::verify) to say.
///
/// # Errors
/// Where the key that was named did not sign the artifact, or the person does not agree.
pub fn allow(
    artifact: &Artifact,
    trust: &mut TrustStore,
    options: &FirstUseOptions,
    asking: Option<&Shell>,
) -> anyhow::Result<Option<FirstUse>> {
    // Signatures that do not hold are for `verify` to explain; nobody is asked about them.
    let Ok(signers) = valid_signers(artifact) else { return Ok(None) };
    let id = &artifact.manifest().package.id;
    let prefix = IdPrefix::of(id);
    let judge = |key: &PublicKey| trust.judge(*key, id, SystemTime::now()).err();
    let key = match (options.key, asking) {
        (Some(key), _) if !signers.contains(&key) => return Err(other_signer(key, &signers)),
        (Some(key), _) => match judge(&key) {
            Some(SignatureError::Untrusted(_) | SignatureError::OutOfScope { .. }) => key,
            _ => return Ok(None),
        },
        (None, Some(shell)) if shell.interactive() && !signers.is_empty() => {
            let stranger = |key| matches!(judge(key), Some(SignatureError::Untrusted(_)));
            if !signers.iter().all(stranger) {
                return Ok(None);
            }
            ask(artifact, &signers, &prefix, shell)?
        }
        _ => return Ok(None),
    };
    trust.allow(key, prefix.clone());
    Ok(Some(FirstUse { key, prefix }))
}

fn ask(
    artifact: &Artifact,
    signers: &[PublicKey],
    prefix: &IdPrefix,
    shell: &Shell,
) -> anyhow::Result<PublicKey> {
    let package = &artifact.manifest().package;
    shell.tell(format_args!("{} {}", package.id, package.version));
    for key in signers {
        shell.tell(format_args!("{:>12} {key}", "signed by"));
    }
    shell.note("nobody here knows this key: compare it with what its maker told you elsewhere");
    for key in signers {
        let fingerprint = key.fingerprint();
        let question = format!("Trust key {fingerprint} for `{prefix}` and everything below?");
        if shell.confirm(question)? == Some(true) {
            return Ok(*key);
        }
    }
    Err(Failure::new(Exit::Refused, "the key is not trusted; nothing was changed").into())
}

fn other_signer(named: PublicKey, signers: &[PublicKey]) -> anyhow::Error {
    let message = format!("the key {} did not sign this file", named.fingerprint());
    let signers: Vec<String> = signers.iter().map(ToString::to_string).collect();
    let help = match signers.as_slice() {
        [] => "nobody signed it".to_owned(),
        signers => format!("it is signed by {}", signers.join(" and ")),
    };
    Failure::new(Exit::Signature, message).help(help).into()
}

/// Looks whether the artifact may take its id, before a person is asked about it.
///
/// # Errors
/// Where the id is pinned to another key, with the ways out.
pub fn check_pin(
    artifact: &Artifact,
    registry: &Registry,
    trust: &TrustStore,
) -> anyhow::Result<()> {
    // Signatures that do not hold are for `verify` to explain.
    let Ok(signers) = valid_signers(artifact) else { return Ok(()) };
    let id = &artifact.manifest().package.id;
    registry.check_pin(id, &signers).map_err(|error| match &error {
        RegistryError::Pinned { id, pinned, .. } => {
            let label = |key: &PublicKey| match trust.label(key) {
                Some(label) => format!("{} ({key})", one_line(label)),
                None => key.to_string(),
            };
            let signers: Vec<String> = signers.iter().map(label).collect();
            let signers =
                if signers.is_empty() { "nobody".to_owned() } else { signers.join(" and ") };
            let help = format!(
                "pinned to {}, signed by {signers}\n\
                 if its maker changed keys, ask for their statement: cargo kami trust rotate FILE\n\
                 if its maker told you so by another way: cargo kami trust unpin {id}",
                label(pinned)
            );
            let message = format!("refusing another key for `{id}`");
            anyhow::Error::from(error).context(Failure::new(Exit::Signature, message).help(help))
        }
        _ => error.into(),
    })
}
