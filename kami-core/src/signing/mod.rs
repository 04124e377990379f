//! Who made an artifact: Ed25519 signatures, and the keys that an operator trusts.
//!
//! A signature covers every byte before the first signature section: code, schemas and
//! capabilities alike. An [`Artifact`] becomes a [`SignedArtifact`] only by
//! [`SignedArtifact::verify`], and everything downstream takes nothing less.
//!
//! Trust has terms: a key counts for the ids in its scope, until the end of its last day, and not
//! once it is revoked. They are looked at each time that an artifact is loaded, so the time is an
//! argument wherever it decides. A [`Rotation`] hands a key's place on to its successor.

mod date;
mod key;
mod rotation;
mod trust;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use crate::component::{Artifact, MAX_SIGNATURES, SIGNATURE_SECTION, append_section};
use crate::digest::Digest;
use crate::name::PackageId;

pub use date::{Date, DateError};
pub use key::{Passphrase, PublicKey, PublicKeyError, SecretKey, SecretKeyError};
pub use rotation::{Rotation, RotationError};
pub use trust::{Added, RevokedKey, TrustError, TrustStore, TrustedKey};

/// What is signed begins with this, so that a signature over an artifact is one over nothing else.
const DOMAIN: &[u8] = b"kami:signature/v1\n";

/// The version byte of a signature section; then follow 32 bytes of key and 64 of signature.
const VERSION: u8 = 1;

/// There is no room for another signature on an artifact.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the artifact has {MAX_SIGNATURES} signatures already, and that is the most it may have")]
pub struct TooManySignatures;

/// The bytes of `artifact` with one more signature. A signature by the same key is replaced.
///
/// # Errors
/// Where as many others have signed it as may.
pub fn sign(artifact: &Artifact, key: &SecretKey) -> Result<Vec<u8>, TooManySignatures> {
    let public = key.public();
    let others: Vec<_> = artifact
        .signatures()
        .filter(|envelope| envelope.get(1..33) != Some(public.as_bytes()))
        .collect();
    if others.len() >= MAX_SIGNATURES {
        return Err(TooManySignatures);
    }
    let mut bytes = artifact.signed_part().to_vec();
    for envelope in others {
        append_section(&mut bytes, SIGNATURE_SECTION, envelope);
    }
    let mut envelope = vec![VERSION];
    envelope.extend(public.as_bytes());
    envelope.extend(key.sign(&message(artifact)));
    append_section(&mut bytes, SIGNATURE_SECTION, &envelope);
    Ok(bytes)
}

fn message(artifact: &Artifact) -> Vec<u8> {
    let digest = Digest::of(artifact.signed_part());
    [DOMAIN, digest.as_bytes()].concat()
}

/// Whether an artifact without a signature is acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsigned {
    /// It is not.
    Refuse,
    /// It is: one's own development build.
    Allow,
}

/// Why an artifact is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("the artifact is not signed")]
    Unsigned,
    /// A signature section that is none.
    #[error("a signature section is malformed: it has {0} bytes or an unknown version")]
    Malformed(usize),
    /// The bytes were changed after they were signed, or the signature was.
    #[error("the signature by key {} does not fit the artifact: one of them was changed", .0.fingerprint())]
    Invalid(PublicKey),
    /// Valid signatures, but by strangers.
    #[error("the artifact is signed by {}, which is not trusted here", fingerprints(.0))]
    Untrusted(Vec<PublicKey>),
    /// A valid signature, but by a key that is withdrawn.
    #[error(
        "the artifact is signed by key {}, which was revoked on {} ({}): \
         get one from its maker that is signed by another key",
        .0.public.fingerprint(), .0.date, .0.reason
    )]
    Revoked(Box<RevokedKey>),
    /// A valid signature, but trust in its key has ended.
    #[error(
        "the artifact is signed by key {} (`{}`), and trust in it ended with {date}: \
         trust it for longer, or get one that is signed by its successor",
        key.public.fingerprint(), key.label
    )]
    Expired {
        /// The key, on its terms.
        key: Box<TrustedKey>,
        /// Its last day.
        date: Date,
    },
    /// A valid signature by a trusted key, but not one that is trusted for this package.
    #[error(
        "the artifact is signed by key {} (`{}`), which is not trusted for `{id}`, but only for \
         {}: widen its scope if this package is its maker's too",
        key.public.fingerprint(), key.label, prefixes(key)
    )]
    OutOfScope {
        /// The key, on its terms.
        key: Box<TrustedKey>,
        /// The package that it signed.
        id: PackageId,
    },
}

impl SignatureError {
    /// Of several signatures that do not count, the reason that says most is told.
    fn weight(&self) -> u8 {
        match self {
            Self::Revoked(_) => 3,
            Self::OutOfScope { .. } => 2,
            Self::Expired { .. } => 1,
            _ => 0,
        }
    }
}

fn fingerprints(keys: &[PublicKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("key {}", key.fingerprint())).collect();
    keys.join(" and ")
}

fn prefixes(key: &TrustedKey) -> String {
    let prefixes: Vec<_> = key.scope.iter().map(|prefix| format!("`{prefix}`")).collect();
    prefixes.join(" and ")
}

/// An artifact whose every signature is valid and of which a key made one that is trusted for it;
/// or which has none, where the caller said that this is acceptable.
#[derive(Debug, Clone)]
pub struct SignedArtifact {
    artifact: Artifact,
    signers: Vec<PublicKey>,
}

impl SignedArtifact {
    /// Checks every signature on `artifact`, then looks for signers in `trust`, whose terms must
    /// cover the package at `now`.
    ///
    /// # Errors
    /// Where one signature is malformed or wrong, none is by a key that is trusted for the package
    /// at that time, or there is none although `unsigned` asks for one. A wrong signature is never
    /// excused by a right one, or by `unsigned`; one by a revoked key counts as none.
    ///
    /// # Security
    /// This is the only way from hostile bytes to code that may run.
    pub fn verify(
        artifact: Artifact,
        trust: &TrustStore,
        unsigned: Unsigned,
        now: SystemTime,
    ) -> Result<Self, SignatureError> {
        let all = valid_signers(&artifact)?;
        let id = &artifact.manifest().package.id;
        let (mut signers, mut refused) = (Vec::new(), Vec::new());
        for key in &all {
            match trust.judge(*key, id, now) {
                Ok(_) => signers.push(*key),
                Err(error) => refused.push(error),
            }
        }
        if !signers.is_empty() || (all.is_empty() && unsigned == Unsigned::Allow) {
            return Ok(Self { artifact, signers });
        }
        match refused.into_iter().max_by_key(SignatureError::weight) {
            None => Err(SignatureError::Unsigned),
            Some(SignatureError::Untrusted(_)) => Err(SignatureError::Untrusted(all)),
            Some(worst) => Err(worst),
        }
    }

    /// The artifact.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// The first trusted key that signed it; `None` where it is unsigned and that was acceptable.
    pub fn signer(&self) -> Option<PublicKey> {
        self.signers.first().copied()
    }

    /// All keys that signed it and are trusted for it.
    pub fn signers(&self) -> &[PublicKey] {
        &self.signers
    }
}

/// The keys that signed `artifact`, every signature checked; trust is not looked at.
///
/// # Errors
/// Where one signature is malformed or wrong.
pub fn valid_signers(artifact: &Artifact) -> Result<Vec<PublicKey>, SignatureError> {
    let message = if artifact.signatures().len() == 0 { Vec::new() } else { message(artifact) };
    artifact.signatures().map(|envelope| valid_signer(envelope, &message)).collect()
}

fn valid_signer(envelope: &[u8], message: &[u8]) -> Result<PublicKey, SignatureError> {
    let malformed = || SignatureError::Malformed(envelope.len());
    let (version, rest) = envelope.split_first().ok_or_else(malformed)?;
    let (key, signature) = rest.split_first_chunk::<32>().ok_or_else(malformed)?;
    let signature: &[u8; 64] = signature.try_into().map_err(|_| malformed())?;
    if *version != VERSION {
        return Err(malformed());
    }
    let public = PublicKey::claimed(*key);
    if public.made(signature, message) { Ok(public) } else { Err(SignatureError::Invalid(public)) }
}
