//! From one key to the next: a statement by which a maker's old key names the new one.
//!
//! It is text that can be mailed or put beside a release:
//!
//! ```text
//! kami:rotation/v1
//! old: ed25519:<64 hex digits>
//! new: ed25519:<64 hex digits>
//! old-signature: <128 hex digits>
//! new-signature: <128 hex digits>
//! ```
//!
//! Both keys sign the first line with both public keys: the old one to name its successor, the new
//! one to prove that its secret is in the same hands. Nobody can so claim another's key as theirs.

use std::fmt;
use std::str::FromStr;

use super::{Date, PublicKey, SecretKey};
use crate::digest::{from_hex, hex};

/// The first line, and the beginning of what is signed: such a signature is over nothing else.
const DOMAIN: &str = "kami:rotation/v1\n";

/// A statement whose two signatures hold. Whether the old key is trusted is another matter: see
/// [`TrustStore::rotate`](super::TrustStore::rotate).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    old: PublicKey,
    new: PublicKey,
    old_signature: [u8; 64],
    new_signature: [u8; 64],
}

/// Why a key does not follow another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// The text is not what [`Rotation`] is written as.
    #[error(
        "not a rotation statement of this version: expected five lines from `kami:rotation/v1` on"
    )]
    Format,
    /// One of the signatures is not by the key that it should be by.
    #[error("the rotation statement was changed or forged: a signature on it does not hold")]
    Forged,
    /// The old and the new key are one.
    #[error("a key cannot follow itself")]
    Same,
    /// Nobody here trusts the old key, so its word counts for nothing.
    #[error("the old key {} is not trusted here, so its word counts for nothing", .0.fingerprint())]
    Untrusted(PublicKey),
    /// One of the keys is withdrawn.
    #[error("the key {} was revoked on {date}, so it takes no part in a rotation", key.fingerprint())]
    Revoked {
        /// Which of the two.
        key: PublicKey,
        /// When that was.
        date: Date,
    },
    /// Trust in the old key has ended.
    #[error("trust in the old key {} ended with {date}, so its word counts for nothing", key.fingerprint())]
    Expired {
        /// The old key.
        key: PublicKey,
        /// Its last day.
        date: Date,
    },
    /// The new key is trusted already, for other things.
    #[error(
        "the new key {} is trusted here already, on terms of its own: remove it first",
        .0.fingerprint()
    )]
    Known(PublicKey),
}

impl Rotation {
    /// The longest text that is worth reading, in bytes; a statement has less than half of it.
    pub const MAX_LENGTH: usize = 1024;

    /// Has `old` name `new` as its successor.
    ///
    /// # Errors
    /// Where the two are one.
    pub fn sign(old: &SecretKey, new: &SecretKey) -> Result<Self, RotationError> {
        let message = message(&old.public(), &new.public());
        let (old_signature, new_signature) = (old.sign(&message), new.sign(&message));
        let statement = Self { old: old.public(), new: new.public(), old_signature, new_signature };
        statement.verified()
    }

    /// The key that is replaced.
    pub fn old(&self) -> PublicKey {
        self.old
    }

    /// The key that follows it.
    pub fn successor(&self) -> PublicKey {
        self.new
    }

    fn verified(self) -> Result<Self, RotationError> {
        if self.old == self.new {
            return Err(RotationError::Same);
        }
        let message = message(&self.old, &self.new);
        let hold = self.old.made(&self.old_signature, &message)
            && self.new.made(&self.new_signature, &message);
        if hold { Ok(self) } else { Err(RotationError::Forged) }
    }
}

fn message(old: &PublicKey, new: &PublicKey) -> Vec<u8> {
    [DOMAIN.as_bytes(), old.as_bytes(), new.as_bytes()].concat()
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (hex(&self.old_signature), hex(&self.new_signature));
        write!(f, "{DOMAIN}old: {}\nnew: {}\n", self.old, self.new)?;
        write!(f, "old-signature: {old}\nnew-signature: {new}")
    }
}

impl FromStr for Rotation {
    type Err = RotationError;

    /// Reads a statement and checks both signatures. One line break may follow, and nothing else
    /// may differ from how it is written.
    fn from_str(text: &str) -> Result<Self, RotationError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let mut lines = text.strip_prefix(DOMAIN).ok_or(RotationError::Format)?.lines();
        let mut field = |name: &str| {
            lines.next().and_then(|line| line.strip_prefix(name)).ok_or(RotationError::Format)
        };
        let key = |text: &str| text.parse().map_err(|_| RotationError::Format);
        let signature = |text| from_hex(text).ok_or(RotationError::Format);
        let statement = Self {
            old: key(field("old: ")?)?,
            new: key(field("new: ")?)?,
            old_signature: signature(field("old-signature: ")?)?,
            new_signature: signature(field("new-signature: ")?)?,
        };
        if statement.to_string() != text {
            return Err(RotationError::Format);
        }
        statement.verified()
    }
}
