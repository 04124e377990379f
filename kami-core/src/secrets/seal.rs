//! The form of a sealed file: one readable line that says where its key comes from, then bytes that
//! only this key opens.
//!
//! ```text
//! kami:secrets/v1 {"passphrase":{"salt":"...","memory-kib":65536,"passes":3}}
//! <24 bytes of nonce> <XChaCha20-Poly1305 of all secrets, with the line as associated data>
//! ```

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::digest::{from_hex, hex};
use crate::signing::Passphrase;

/// How every file begins; the version follows. It is part of what is authenticated, so that what is
/// sealed here opens nowhere else.
const DOMAIN: &str = "kami:secrets/v";

/// The one version that exists.
const VERSION: u32 = 1;

/// How the text of a [`SealingKey`] begins.
const KEY_PREFIX: &str = "kami:secrets-key/v1 ";

const NONCE_LENGTH: usize = 24;
const TAG_LENGTH: usize = 16;

/// The longest first line, several times what is written.
const MAX_LINE: usize = 1024;

/// What sealing adds to the length of what is sealed, at most.
pub(super) const MAX_OVERHEAD: usize = MAX_LINE + NONCE_LENGTH + TAG_LENGTH;

/// Where the key of a store comes from. The file says it in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// An entry of the operating system's keyring.
    Keyring(KeyringEntry),
    /// A file beside the other keys.
    KeyFile,
    /// A passphrase that somebody knows.
    Passphrase,
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Keyring(_) => "keyring",
            Self::KeyFile => "key-file",
            Self::Passphrase => "passphrase",
        })
    }
}

/// The name of one store's entry in a keyring: 32 hex digits by chance, so that a data directory
/// can be moved, and two of them never share a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyringEntry([u8; 16]);

impl KeyringEntry {
    /// A name that no other store has.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        random().map(Self)
    }
}

impl fmt::Display for KeyringEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl TryFrom<String> for KeyringEntry {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        from_hex(&text).map(Self).ok_or("expected 32 hex digits")
    }
}

impl From<KeyringEntry> for String {
    fn from(entry: KeyringEntry) -> String {
        entry.to_string()
    }
}

/// 32 random bytes that seal a store. They are never shown, and are wiped when dropped.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; 32]>);

/// Text that is not what [`SealingKey::to_text`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key of a store of secrets")]
pub struct KeyFormatError;

impl SealingKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice())?;
        Ok(Self(key))
    }

    /// The key as a keyring or a file keeps it.
    pub fn to_text(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(hex(self.0.as_slice()));
        let mut text = Zeroizing::new(String::with_capacity(KEY_PREFIX.len() + digits.len()));
        text.push_str(KEY_PREFIX);
        text.push_str(&digits);
        text
    }

    /// Reads what [`SealingKey::to_text`] gave; a line's end after it does no harm.
    ///
    /// # Errors
    /// Where the text is anything else.
    pub fn from_text(text: &str) -> Result<Self, KeyFormatError> {
        let digits = text.trim_end().strip_prefix(KEY_PREFIX).ok_or(KeyFormatError)?;
        from_hex(digits).map(|key| Self(Zeroizing::new(key))).ok_or(KeyFormatError)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

/// What opens a store, found by whoever embeds this crate.
#[derive(Debug, Clone)]
pub enum StoreKey {
    /// From the entry of a keyring.
    Keyring(KeyringEntry, SealingKey),
    /// From the key file.
    KeyFile(SealingKey),
    /// From a person or the environment.
    Passphrase(Passphrase),
}

impl StoreKey {
    /// What a file says that is sealed with this key.
    pub fn source(&self) -> KeySource {
        match self {
            Self::Keyring(entry, _) => KeySource::Keyring(entry.clone()),
            Self::KeyFile(_) => KeySource::KeyFile,
            Self::Passphrase(_) => KeySource::Passphrase,
        }
    }
}

/// The readable line, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Protection {
    Keyring { entry: KeyringEntry },
    KeyFile {},
    Passphrase(Derivation),
}

/// How Argon2id makes a key of a passphrase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Derivation {
    salt: String,
    memory_kib: u32,
    passes: u32,
}

impl Derivation {
    /// What RFC 9106 recommends where memory is scarce: a tenth of a second here, and 64 MiB for
    /// each guess of an attacker.
    const MEMORY_KIB: u32 = 64 * 1024;
    const PASSES: u32 = 3;

    /// What a file may ask for, so that a hostile one takes neither memory nor time without end.
    const MOST_MEMORY_KIB: u32 = 1024 * 1024;
    const MOST_PASSES: u32 = 16;

    fn generate() -> Result<Self, getrandom::Error> {
        let salt = hex(&random::<16>()?);
        Ok(Self { salt, memory_kib: Self::MEMORY_KIB, passes: Self::PASSES })
    }

    fn key(&self, passphrase: &Passphrase) -> Option<SealingKey> {
        if self.memory_kib > Self::MOST_MEMORY_KIB || self.passes > Self::MOST_PASSES {
            return None;
        }
        let salt: [u8; 16] = from_hex(&self.salt)?;
        let params = Params::new(self.memory_kib, self.passes, 1, Some(32)).ok()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut key = Zeroizing::new([0; 32]);
        argon2
            .hash_password_into(passphrase.expose().as_bytes(), &salt, key.as_mut_slice())
            .ok()?;
        Some(SealingKey(key))
    }
}

/// Why a file is not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OpenError {
    /// It is something else, or damaged where it can be read.
    Format,
    /// It says another version.
    Version(u32),
    /// Its key comes from elsewhere.
    Source(KeySource),
    /// The key does not fit the rest.
    Key,
}

/// A file, its first line read.
pub(super) struct Sealed<'a> {
    protection: Protection,
    /// With the line's end.
    line: &'a [u8],
    nonce: &'a [u8; NONCE_LENGTH],
    sealed: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Reads the first line; nothing is decrypted.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, OpenError> {
        let end = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
        let (line, rest) = bytes.split_at(end.ok_or(OpenError::Format)? + 1);
        let text = std::str::from_utf8(line).map_err(|_| OpenError::Format)?;
        let protection = read_line(text.trim_end_matches('\n'))?;
        let (nonce, sealed) = rest.split_first_chunk().ok_or(OpenError::Format)?;
        Ok(Self { protection, line, nonce, sealed })
    }

    pub(super) fn source(&self) -> KeySource {
        match &self.protection {
            Protection::Keyring { entry } => KeySource::Keyring(entry.clone()),
            Protection::KeyFile {} => KeySource::KeyFile,
            Protection::Passphrase(_) => KeySource::Passphrase,
        }
    }

    /// Decrypts the rest.
    pub(super) fn open(&self, key: &StoreKey) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if key.source() != self.source() {
            return Err(OpenError::Source(self.source()));
        }
        let key = match (key, &self.protection) {
            (StoreKey::Passphrase(passphrase), Protection::Passphrase(derivation)) => {
                derivation.key(passphrase).ok_or(OpenError::Format)?
            }
            (StoreKey::Passphrase(_), _) => return Err(OpenError::Source(self.source())),
            (StoreKey::Keyring(_, key) | StoreKey::KeyFile(key), _) => key.clone(),
        };
        let payload = Payload { msg: self.sealed, aad: self.line };
        let opened = cipher(&key).decrypt(&XNonce::from(*self.nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| OpenError::Key)
    }
}

fn read_line(line: &str) -> Result<Protection, OpenError> {
    let rest = line.strip_prefix(DOMAIN).ok_or(OpenError::Format)?;
    let (version, protection) = rest.split_once(' ').ok_or(OpenError::Format)?;
    match version.parse() {
        Ok(VERSION) => serde_json::from_str(protection).map_err(|_| OpenError::Format),
        Ok(other) => Err(OpenError::Version(other)),
        Err(_) => Err(OpenError::Format),
    }
}

/// The bytes of a file with `plain` in it. A nonce of 24 random bytes is never drawn twice.
pub(super) fn seal(plain: &[u8], key: &StoreKey) -> Result<Vec<u8>, getrandom::Error> {
    let (protection, key) = match key {
        StoreKey::Keyring(entry, key) => {
            (Protection::Keyring { entry: entry.clone() }, key.clone())
        }
        StoreKey::KeyFile(key) => (Protection::KeyFile {}, key.clone()),
        StoreKey::Passphrase(passphrase) => {
            let derivation = Derivation::generate()?;
            let key = derivation.key(passphrase).expect("the usual parameters are possible");
            (Protection::Passphrase(derivation), key)
        }
    };
    let protection = serde_json::to_string(&protection).expect("it is text and numbers");
    let mut file = format!("{DOMAIN}{VERSION} {protection}\n").into_bytes();
    let nonce: [u8; NONCE_LENGTH] = random()?;
    let payload = Payload { msg: plain, aad: &file };
    let sealed = cipher(&key).encrypt(&XNonce::from(nonce), payload);
    let sealed = sealed.expect("a set of secrets is far below the cipher's limit");
    file.extend(nonce);
    file.extend(sealed);
    Ok(file)
}

fn cipher(key: &SealingKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.0.as_slice().try_into().expect("the key has 32 bytes"))
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &[u8], key: &StoreKey) -> Result<Vec<u8>, OpenError> {
        Sealed::parse(bytes)?.open(key).map(|plain| plain.to_vec())
    }

    fn key_file() -> StoreKey {
        StoreKey::KeyFile(SealingKey::generate().unwrap())
    }

    fn passphrase(text: &str) -> StoreKey {
        StoreKey::Passphrase(Passphrase::new(text.to_owned()).unwrap())
    }

    #[test]
    fn every_kind_of_key_opens_what_it_sealed_and_nothing_else() {
        let entry = KeyringEntry::generate().unwrap();
        let keyring = || StoreKey::Keyring(entry.clone(), SealingKey::generate().unwrap());
        for [right, wrong] in [
            [key_file(), key_file()],
            [keyring(), keyring()],
            [passphrase("correct horse"), passphrase("correct horsf")],
        ] {
            let file = seal(b"plain", &right).unwrap();
            assert_eq!(Sealed::parse(&file).unwrap().source(), right.source());
            assert_eq!(open(&file, &right).unwrap(), b"plain");
            assert_eq!(open(&file, &wrong), Err(OpenError::Key), "{wrong:?}");
            assert_ne!(seal(b"plain", &right).unwrap(), file, "a nonce is used twice");
        }
    }

    #[test]
    fn a_key_from_elsewhere_is_not_even_tried() {
        let file = seal(b"plain", &key_file()).unwrap();
        let told = OpenError::Source(KeySource::KeyFile);
        assert_eq!(open(&file, &passphrase("correct horse")), Err(told));
    }

    #[test]
    fn no_altered_byte_is_opened() {
        let key = key_file();
        let file = seal(b"plain", &key).unwrap();
        for at in 0..file.len() {
            for bit in [1, 0x20, 0x80] {
                let mut altered = file.clone();
                altered[at] ^= bit;
                assert!(open(&altered, &key).is_err(), "byte {at}");
            }
        }
        for end in 0..file.len() {
            assert!(open(&file[..end], &key).is_err(), "{end} bytes");
        }
        assert!(open(&[&file[..], b"\0"].concat(), &key).is_err());
        // Nor one that means the same where it can be read.
        let brace = file.iter().position(|byte| *byte == b'{').unwrap() + 1;
        let spaced = [&file[..brace], b" ", &file[brace..]].concat();
        assert_eq!(open(&spaced, &key), Err(OpenError::Key));
    }

    #[test]
    fn hostile_lines_are_refused_before_they_cost_anything() {
        let line = |text: &str| open(&[text.as_bytes(), &[0; 60]].concat(), &passphrase("p"));
        let derive = |memory: u64, passes: u64| {
            let salt = "0".repeat(32);
            let numbers = format!(r#""memory-kib":{memory},"passes":{passes}"#);
            line(&format!("kami:secrets/v1 {{\"passphrase\":{{\"salt\":\"{salt}\",{numbers}}}}}\n"))
        };
        assert_eq!(derive(64, 1), Err(OpenError::Key), "this one is possible");
        for (memory, passes) in [(1 << 31, 1), (1 << 40, 1), (64, 1 << 31), (0, 1), (64, 0)] {
            assert_eq!(derive(memory, passes), Err(OpenError::Format), "{memory} {passes}");
        }
        assert_eq!(line("kami:secrets/v2 {\"new\":1}\n"), Err(OpenError::Version(2)));
        for noise in
            ["", "\n", "kami:secrets/v\n", "kami:secrets/v1\n", "kami:secrets/v1 {}\n", "noise\n"]
        {
            assert_eq!(line(noise), Err(OpenError::Format), "{noise:?}");
        }
        assert_eq!(line(&"x".repeat(MAX_LINE * 2)), Err(OpenError::Format));
    }

    #[test]
    fn keys_are_read_as_they_are_written_and_never_shown() {
        let key = SealingKey::generate().unwrap();
        let text = key.to_text();
        assert_eq!(*SealingKey::from_text(&format!("{}\n", *text)).unwrap().0, *key.0);
        for bad in ["", "kami:secrets-key/v1 00", &text[4..], &text.to_uppercase()] {
            assert_eq!(SealingKey::from_text(bad).unwrap_err(), KeyFormatError, "{bad}");
        }
        assert_eq!(format!("{:?}", StoreKey::KeyFile(key)), "KeyFile(SealingKey(..))");
        assert_eq!(format!("{:?}", passphrase("p")), "Passphrase(Passphrase)");
    }
}
