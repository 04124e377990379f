//! Ed25519 keys: public ones, which everybody may see, and secret ones, which nobody does.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::digest::{Digest, from_hex, hex};

/// The cost of trying one passphrase: 16 MiB, five times over. OpenSSL refuses to use more than
/// 32 MiB for a key file, and with this little memory five passes are what OWASP asks for.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);

/// How an encrypted file begins.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// A public key, written `ed25519:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The first 16 hex digits of the key's digest, for people to compare.
    pub fn fingerprint(&self) -> String {
        hex(&Digest::of(&self.0).as_bytes()[..8])
    }

    /// The 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes the raw bytes of whoever claims to have signed; nothing is known about them yet.
    pub(super) fn claimed(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Whether `signature` over `message` is by this key.
    pub(super) fn made(&self, signature: &[u8; 64], message: &[u8]) -> bool {
        let signature = Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
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

/// What protects a file of keys or secrets. It is never shown, and is wiped when dropped.
#[derive(Clone, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes what was typed; `None` where that is nothing, which would protect nothing.
    pub fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        if text.is_empty() { None } else { Some(Self(text)) }
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
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
    /// The file is encrypted, and this is not what it was encrypted with.
    #[error("the passphrase is wrong, or the key's file is damaged")]
    Passphrase,
}

impl SecretKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub fn generate() -> Result<Self, SecretKeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(SecretKeyError::Random)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Whether the text of a key's file can be read with a passphrase only.
    pub fn is_encrypted(text: &str) -> bool {
        text.trim_start().starts_with(ENCRYPTED)
    }

    /// Reads a PKCS#8 PEM file, as OpenSSL and others write it.
    ///
    /// # Errors
    /// Where the text is anything else.
    pub fn from_pem(text: &str) -> Result<Self, SecretKeyError> {
        SigningKey::from_pkcs8_pem(text).map(Self).map_err(|_| SecretKeyError::Format)
    }

    /// Reads a PKCS#8 PEM file that is encrypted with a passphrase. This takes a tenth of a second
    /// or more, on purpose.
    ///
    /// # Errors
    /// Where the text is anything else, or the passphrase another one.
    pub fn from_encrypted_pem(text: &str, passphrase: &Passphrase) -> Result<Self, SecretKeyError> {
        let (label, document) =
            pkcs8::SecretDocument::from_pem(text).map_err(|_| SecretKeyError::Format)?;
        if label != "ENCRYPTED PRIVATE KEY" {
            return Err(SecretKeyError::Format);
        }
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
            .map_err(|_| SecretKeyError::Format)?;
        // A wrong passphrase gives noise, which only by chance ends as padding does.
        let plain =
            encrypted.decrypt(passphrase.0.as_bytes()).map_err(|_| SecretKeyError::Passphrase)?;
        SigningKey::from_pkcs8_der(plain.as_bytes())
            .map(Self)
            .map_err(|_| SecretKeyError::Passphrase)
    }

    /// Writes the key as PKCS#8 PEM, as OpenSSL does.
    ///
    /// # Errors
    /// Where the key cannot be encoded.
    pub fn to_pem(&self) -> Result<impl AsRef<[u8]> + use<>, SecretKeyError> {
        let pem =
            self.document().to_pkcs8_pem(LineEnding::LF).map_err(|_| SecretKeyError::Format)?;
        Ok(PemText(pem))
    }

    /// Writes the key as PKCS#8 PEM, encrypted by PBES2 with scrypt and AES-256-CBC. OpenSSL reads
    /// that too.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes, or the key cannot be encoded.
    pub fn to_encrypted_pem(
        &self,
        passphrase: &Passphrase,
    ) -> Result<impl AsRef<[u8]> + use<>, SecretKeyError> {
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        getrandom::fill(&mut salt).map_err(SecretKeyError::Random)?;
        getrandom::fill(&mut iv).map_err(SecretKeyError::Random)?;
        let format = |_| SecretKeyError::Format;
        let (cost, block, passes) = SCRYPT;
        let cost = scrypt::Params::new(cost, block, passes).map_err(|_| SecretKeyError::Format)?;
        let parameters = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv)
            .map_err(|_| SecretKeyError::Format)?;
        let plain = self.document().to_pkcs8_der().map_err(format)?;
        let encrypted = PrivateKeyInfoRef::try_from(plain.as_bytes())
            .and_then(|key| key.encrypt_with_params(parameters, passphrase.0.as_bytes()))
            .map_err(format)?;
        let pem = encrypted
            .to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF)
            .map_err(|_| SecretKeyError::Format)?;
        Ok(PemText(pem))
    }

    /// The key without its public half, which would make it a version of PKCS#8 that OpenSSL does
    /// not read.
    fn document(&self) -> KeypairBytes {
        KeypairBytes { secret_key: self.0.to_bytes(), public_key: None }
    }

    /// The key that others check signatures with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`, whose beginning says what it is.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
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
