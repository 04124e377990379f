//! Who made an artifact: Ed25519 signatures, and the keys that an operator trusts.
//!
//! A signature covers every byte before the first signature section: code, schemas and
//! capabilities alike. An [`Artifact`] becomes a [`SignedArtifact`] only by
//! [`SignedArtifact::verify`], and everything downstream takes nothing less.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::component::{Artifact, SIGNATURE_SECTION, append_section};
use crate::digest::{Digest, from_hex, hex};

/// What is signed begins with this, so that a signature over an artifact is one over nothing else.
const DOMAIN: &[u8] = b"kami:signature/v1\n";

/// The version byte of a signature section; then follow 32 bytes of key and 64 of signature.
const VERSION: u8 = 1;

/// A public key, written `ed25519:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The first 16 hex digits of the key's digest, for people to compare.
    pub fn fingerprint(&self) -> String {
        hex(&Digest::of(&self.0).as_bytes()[..8])
    }
}

/// Text that is not a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a public key: expected `ed25519:` and 64 lower-case hex digits")]
pub struct PublicKeyError;

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        let bytes = text.strip_prefix("ed25519:").and_then(from_hex).ok_or(PublicKeyError)?;
        VerifyingKey::from_bytes(&bytes).map_err(|_| PublicKeyError)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = PublicKeyError;

    fn try_from(text: String) -> Result<Self, PublicKeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A secret key. It is never shown, and is wiped when dropped.
pub struct SecretKey(SigningKey);

/// Why there is no secret key.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes: {0}")]
    Random(getrandom::Error),
    /// The text is not a PKCS#8 PEM file with an Ed25519 key.
    #[error("not an Ed25519 secret key in PKCS#8 PEM form")]
    Format,
}

impl SecretKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub fn generate() -> Result<Self, SecretKeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(SecretKeyError::Random)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads a PKCS#8 PEM file, as OpenSSL and others write it.
    ///
    /// # Errors
    /// Where the text is anything else.
    pub fn from_pem(text: &str) -> Result<Self, SecretKeyError> {
        SigningKey::from_pkcs8_pem(text).map(Self).map_err(|_| SecretKeyError::Format)
    }

    /// Writes the key as PKCS#8 PEM.
    ///
    /// # Errors
    /// Where the key cannot be encoded.
    pub fn to_pem(&self) -> Result<impl AsRef<[u8]> + use<>, SecretKeyError> {
        let pem = self.0.to_pkcs8_pem(LineEnding::LF).map_err(|_| SecretKeyError::Format)?;
        Ok(PemText(pem))
    }

    /// The key that others check signatures with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }
}

/// PEM text that is wiped when dropped.
struct PemText<T>(T);

impl<T: std::ops::Deref<Target = String>> AsRef<[u8]> for PemText<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().fingerprint())
    }
}

/// The bytes of `artifact` with one more signature. A signature by the same key is replaced.
pub fn sign(artifact: &Artifact, key: &SecretKey) -> Vec<u8> {
    let public = key.public();
    let mut bytes = artifact.signed_part().to_vec();
    let others = artifact.signatures().filter(|envelope| envelope.get(1..33) != Some(&public.0));
    for envelope in others {
        append_section(&mut bytes, SIGNATURE_SECTION, envelope);
    }
    let signature = key.0.sign(&message(artifact));
    let mut envelope = vec![VERSION];
    envelope.extend(public.0);
    envelope.extend(signature.to_bytes());
    append_section(&mut bytes, SIGNATURE_SECTION, &envelope);
    bytes
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
}

fn fingerprints(keys: &[PublicKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("key {}", key.fingerprint())).collect();
    keys.join(" and ")
}

/// An artifact whose every signature is valid and of which a trusted key made one; or which has
/// none, where the caller said that this is acceptable.
#[derive(Debug, Clone)]
pub struct SignedArtifact {
    artifact: Artifact,
    signer: Option<PublicKey>,
}

impl SignedArtifact {
    /// Checks every signature on `artifact`, then looks for a signer in `trust`.
    ///
    /// # Errors
    /// Where one signature is malformed or wrong, none is by a trusted key, or there is none
    /// although `unsigned` asks for one. A wrong signature is never excused by a right one, or by
    /// `unsigned`.
    ///
    /// # Security
    /// This is the only way from hostile bytes to code that may run.
    pub fn verify(
        artifact: Artifact,
        trust: &TrustStore,
        unsigned: Unsigned,
    ) -> Result<Self, SignatureError> {
        let signers = valid_signers(&artifact)?;
        let signer = signers.iter().find(|key| trust.label(key).is_some()).copied();
        match (signer, unsigned) {
            (Some(_), _) => Ok(Self { artifact, signer }),
            (None, Unsigned::Allow) if signers.is_empty() => Ok(Self { artifact, signer: None }),
            (None, _) if signers.is_empty() => Err(SignatureError::Unsigned),
            (None, _) => Err(SignatureError::Untrusted(signers)),
        }
    }

    /// The artifact.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// The trusted key that signed it; `None` where it is unsigned and that was acceptable.
    pub fn signer(&self) -> Option<PublicKey> {
        self.signer
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
    let public = PublicKey(*key);
    let invalid = |_| SignatureError::Invalid(public);
    let verifying = VerifyingKey::from_bytes(key).map_err(invalid)?;
    verifying.verify_strict(message, &Signature::from_bytes(signature)).map_err(invalid)?;
    Ok(public)
}

/// The public keys that an operator trusts, each with a label, kept in one TOML file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustStore {
    keys: BTreeMap<PublicKey, String>,
}

/// Why the trust store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read or written.
    #[error("cannot access the trust store {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what [`TrustStore::save`] writes.
    #[error("the trust store {} is not valid", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Where and why not.
        #[source]
        source: Box<toml::de::Error>,
    },
}

/// The shape of the trust store's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    version: TrustVersion,
    #[serde(default)]
    key: Vec<TrustedKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustedKey {
    label: String,
    public: PublicKey,
}

/// The one version of the file that exists; another is an error.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct TrustVersion;

impl TryFrom<u32> for TrustVersion {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        match version {
            1 => Ok(Self),
            other => {
                Err(format!("version {other} is newer than this program knows: update cargo-kami"))
            }
        }
    }
}

impl From<TrustVersion> for u32 {
    fn from(_: TrustVersion) -> u32 {
        1
    }
}

impl TrustStore {
    /// Reads the file at `path`; where there is none, nobody is trusted.
    ///
    /// # Errors
    /// Where the file is there but cannot be read or is not valid.
    pub fn load(path: &Path) -> Result<Self, TrustError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(TrustError::Io { path: path.into(), source }),
        };
        let file: TrustFile = toml::from_str(&text)
            .map_err(|source| TrustError::Format { path: path.into(), source: Box::new(source) })?;
        Ok(Self { keys: file.key.into_iter().map(|key| (key.public, key.label)).collect() })
    }

    /// Replaces the file at `path` as a whole.
    ///
    /// # Errors
    /// Where the file cannot be written; the old one is then still there.
    pub fn save(&self, path: &Path) -> Result<(), TrustError> {
        let key = self
            .keys
            .iter()
            .map(|(public, label)| TrustedKey { label: label.clone(), public: *public })
            .collect();
        let file = TrustFile { version: TrustVersion, key };
        let text = toml::to_string(&file).expect("a trust file holds only strings and a number");
        atomic_file::replace(path, text.as_bytes())
            .map_err(|source| TrustError::Io { path: path.into(), source })
    }

    /// Trusts `key`; a key that is trusted already gets the new label.
    pub fn add(&mut self, key: PublicKey, label: impl Into<String>) {
        self.keys.insert(key, label.into());
    }

    /// Stops trusting `key`; says whether it was trusted.
    pub fn remove(&mut self, key: &PublicKey) -> bool {
        self.keys.remove(key).is_some()
    }

    /// The label of a trusted key.
    pub fn label(&self, key: &PublicKey) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }

    /// All trusted keys with their labels.
    pub fn iter(&self) -> impl Iterator<Item = (&PublicKey, &str)> {
        self.keys.iter().map(|(key, label)| (key, label.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::fixtures;

    fn signed() -> (Vec<u8>, TrustStore) {
        let key = SecretKey::generate().unwrap();
        let mut trust = TrustStore::default();
        trust.add(key.public(), "test");
        (sign(&fixtures::artifact("dev.example.t", "1.0.0", "t"), &key), trust)
    }

    fn verify(
        bytes: Vec<u8>,
        trust: &TrustStore,
        unsigned: Unsigned,
    ) -> Result<SignedArtifact, String> {
        let artifact = Artifact::parse(bytes).map_err(|e| e.to_string())?;
        SignedArtifact::verify(artifact, trust, unsigned).map_err(|e| e.to_string())
    }

    #[test]
    fn a_signature_by_a_trusted_key_is_accepted() {
        let (bytes, trust) = signed();
        let verified = verify(bytes, &trust, Unsigned::Refuse).unwrap();
        assert!(trust.label(&verified.signer().unwrap()).is_some());
    }

    #[test]
    fn strangers_and_nobody_are_refused() {
        let (bytes, _) = signed();
        for unsigned in [Unsigned::Refuse, Unsigned::Allow] {
            let error = verify(bytes.clone(), &TrustStore::default(), unsigned).unwrap_err();
            assert!(error.contains("not trusted"), "{error}");
        }
        let bare = fixtures::artifact_bytes("dev.example.t", "1.0.0", "t");
        let error = verify(bare.clone(), &TrustStore::default(), Unsigned::Refuse).unwrap_err();
        assert!(error.contains("not signed"), "{error}");
        assert!(verify(bare, &TrustStore::default(), Unsigned::Allow).is_ok());
    }

    #[test]
    fn no_flipped_bit_is_accepted() {
        let (bytes, trust) = signed();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(verify(changed, &trust, Unsigned::Refuse).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_second_signer_adds_and_the_same_signer_replaces() {
        let (bytes, mut trust) = signed();
        let artifact = Artifact::parse(bytes).unwrap();
        let second = SecretKey::generate().unwrap();
        let twice = Artifact::parse(sign(&artifact, &second)).unwrap();
        let again = Artifact::parse(sign(&twice, &second)).unwrap();
        assert_eq!(again.signatures().len(), 2);
        assert_eq!(valid_signers(&again).unwrap().len(), 2);
        let first = *trust.iter().next().unwrap().0;
        trust.remove(&first);
        trust.add(second.public(), "second");
        assert!(SignedArtifact::verify(again, &trust, Unsigned::Refuse).is_ok());
    }

    #[test]
    fn one_wrong_signature_spoils_the_right_ones() {
        let (bytes, trust) = signed();
        let stranger = SecretKey::generate().unwrap();
        let other = fixtures::artifact("dev.example.other", "1.0.0", "t");
        let transplanted = Artifact::parse(sign(&other, &stranger)).unwrap();
        let mut mixed = bytes;
        append_section(&mut mixed, SIGNATURE_SECTION, transplanted.signatures().next().unwrap());
        let error = verify(mixed, &trust, Unsigned::Refuse).unwrap_err();
        assert!(error.contains("does not fit"), "{error}");
    }

    #[test]
    fn keys_and_trust_survive_their_files() {
        let key = SecretKey::generate().unwrap();
        let pem = key.to_pem().unwrap();
        let text = std::str::from_utf8(pem.as_ref()).unwrap();
        assert_eq!(SecretKey::from_pem(text).unwrap().public(), key.public());
        assert!(SecretKey::from_pem("nonsense").is_err());

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trust.toml");
        assert_eq!(TrustStore::load(&path).unwrap(), TrustStore::default());
        let mut trust = TrustStore::default();
        trust.add(key.public(), "my key");
        trust.save(&path).unwrap();
        assert_eq!(TrustStore::load(&path).unwrap(), trust);
        std::fs::write(&path, "version = 2").unwrap();
        let error = format!("{:?}", TrustStore::load(&path).unwrap_err());
        assert!(error.contains("newer"), "{error}");
    }
}
