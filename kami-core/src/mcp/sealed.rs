//! What a guest wants back when it is entered anew, on its way through a client.
//!
//! A client carries it and is not trusted with it: it is sealed under a key of this host, so that
//! nobody reads or changes it, and opens only where everything else is as it was: who asks, for what,
//! of which artifact, with which arguments. It does not open for ever, and neither does a key seal.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::atomic_file;
use crate::digest::Digest;

/// How long a person may take until the answer is of no use.
const LIFETIME: Duration = Duration::from_secs(3600);

/// How long one key seals. It opens for as long again.
const KEY_LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// What is sealed here opens nowhere else.
const DOMAIN: &str = "kami:request-state/v1";

const ROOT_LENGTH: usize = 32;
const NONCE_LENGTH: usize = 24;
const NUMBER_LENGTH: usize = 8;

/// The most characters of a sealed state: several times what a guest may want back.
const MOST_SEALED: usize = 256 << 10;

/// The keys that seal, one after the other, all from one root.
pub(super) struct StateKeys {
    root: Zeroizing<[u8; ROOT_LENGTH]>,
    clock: fn() -> SystemTime,
}

/// Everything that has to be as it was.
pub(super) struct Binding<'a> {
    /// Who asks; empty where nobody is asked who they are.
    pub(super) owner: &'a str,
    /// The method, and the name of what is asked for.
    pub(super) asked: (&'a str, &'a str),
    /// Of the artifact.
    pub(super) artifact: Digest,
    /// As they are written.
    pub(super) arguments: &'a str,
}

/// A state that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum StateError {
    /// It was changed, is another request's, or was sealed elsewhere or long ago.
    #[error("`requestState` is not one that this server gave for this request")]
    Foreign,
    /// Too much time has passed.
    #[error("`requestState` has expired: begin anew")]
    Expired,
}

impl StateKeys {
    /// Keys that no other process has.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub(super) fn generate(clock: fn() -> SystemTime) -> io::Result<Self> {
        let mut root = Zeroizing::new([0; ROOT_LENGTH]);
        getrandom::fill(root.as_mut_slice()).map_err(io::Error::other)?;
        Ok(Self { root, clock })
    }

    /// The keys of all servers of one data directory: what one has sealed, another opens.
    ///
    /// # Errors
    /// Where the root cannot be read or, if there is none, made.
    pub(super) fn open(path: &Path, clock: fn() -> SystemTime) -> io::Result<Self> {
        let read = || -> io::Result<Self> {
            let bytes = Zeroizing::new(std::fs::read(path)?);
            let root = bytes.as_slice().try_into().map_err(|_| io::ErrorKind::InvalidData)?;
            Ok(Self { root: Zeroizing::new(root), clock })
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                atomic_file::create(path, Self::generate(clock)?.root.as_slice())?;
                // Another process may have been faster.
                read()
            }
            other => other,
        }
    }

    /// Seals what a guest wants back.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub(super) fn seal(&self, state: &[u8], binding: &Binding<'_>) -> io::Result<String> {
        let now = self.now();
        let number = now / KEY_LIFETIME.as_secs();
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let until = now + LIFETIME.as_secs();
        let plain = [until.to_be_bytes().as_slice(), state].concat();
        let bound = binding.bytes();
        let payload = Payload { msg: &plain, aad: &bound };
        let sealed = self.key(number).encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| io::Error::other("the state cannot be sealed"))?;
        Ok(URL_SAFE_NO_PAD.encode([&number.to_be_bytes(), nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what was sealed.
    ///
    /// # Errors
    /// Where anything is not as it was.
    pub(super) fn unseal(
        &self,
        sealed: &str,
        binding: &Binding<'_>,
    ) -> Result<Vec<u8>, StateError> {
        if sealed.len() > MOST_SEALED {
            return Err(StateError::Foreign);
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| StateError::Foreign)?;
        let (number, rest) =
            bytes.split_first_chunk::<NUMBER_LENGTH>().ok_or(StateError::Foreign)?;
        let (nonce, sealed) =
            rest.split_first_chunk::<NONCE_LENGTH>().ok_or(StateError::Foreign)?;
        let (now, number) = (self.now(), u64::from_be_bytes(*number));
        let newest = now / KEY_LIFETIME.as_secs();
        if number > newest || newest - number > 1 {
            return Err(StateError::Foreign);
        }
        let bound = binding.bytes();
        let payload = Payload { msg: sealed, aad: &bound };
        let plain = self.key(number).decrypt(&XNonce::from(*nonce), payload);
        let plain = plain.map_err(|_| StateError::Foreign)?;
        let (until, state) =
            plain.split_first_chunk::<NUMBER_LENGTH>().ok_or(StateError::Foreign)?;
        match u64::from_be_bytes(*until) < now {
            true => Err(StateError::Expired),
            false => Ok(state.to_vec()),
        }
    }

    fn key(&self, number: u64) -> XChaCha20Poly1305 {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.root.as_slice())
            .expect("a key of any length will do");
        mac.update(DOMAIN.as_bytes());
        mac.update(&number.to_be_bytes());
        XChaCha20Poly1305::new(&mac.finalize().into_bytes())
    }

    fn now(&self) -> u64 {
        // A clock before 1970 is wrong anyway.
        (self.clock)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

impl Binding<'_> {
    /// No two of them have the same bytes: each text comes with its length.
    fn bytes(&self) -> Vec<u8> {
        let (method, name) = self.asked;
        let artifact = self.artifact.to_string();
        let arguments = Digest::of(self.arguments.as_bytes()).to_string();
        let mut bytes = Vec::from(DOMAIN);
        for part in [self.owner, method, name, &artifact, &arguments] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const NOON: u64 = 1_000 * 6 * 3600;

    fn binding() -> Binding<'static> {
        Binding {
            owner: "ada",
            asked: ("tools/call", "book"),
            artifact: Digest::of(b"artifact"),
            arguments: "{}",
        }
    }

    #[test]
    fn what_is_sealed_opens_where_all_is_as_it_was() {
        let keys = StateKeys::generate(|| at(NOON)).unwrap();
        let sealed = keys.seal(b"state", &binding()).unwrap();
        assert_eq!(keys.unseal(&sealed, &binding()).unwrap(), b"state");
        assert_ne!(keys.seal(b"state", &binding()).unwrap(), sealed, "no two are alike");
        assert!(!sealed.contains("state"));
        let others = [
            Binding { owner: "eve", ..binding() },
            Binding { asked: ("prompts/get", "book"), ..binding() },
            Binding { asked: ("tools/call", "boo"), ..binding() },
            Binding { asked: ("tools/callb", "ook"), ..binding() },
            Binding { artifact: Digest::of(b"another"), ..binding() },
            Binding { arguments: "{ }", ..binding() },
        ];
        for other in others {
            assert_eq!(keys.unseal(&sealed, &other), Err(StateError::Foreign));
        }
        let elsewhere = StateKeys::generate(|| at(NOON)).unwrap();
        assert_eq!(elsewhere.unseal(&sealed, &binding()), Err(StateError::Foreign));
    }

    #[test]
    fn nothing_that_was_touched_opens() {
        let keys = StateKeys::generate(|| at(NOON)).unwrap();
        let sealed = keys.seal(b"state", &binding()).unwrap();
        for at in 0..sealed.len() {
            let mut touched = sealed.clone().into_bytes();
            touched[at] = if touched[at] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(touched).unwrap();
            assert!(keys.unseal(&touched, &binding()).is_err(), "{at}");
            assert!(keys.unseal(&sealed[..at], &binding()).is_err(), "cut at {at}");
        }
        for text in ["", "-TAMPERED", "====", "\u{fc}", &format!("{sealed}-TAMPERED")] {
            assert!(keys.unseal(text, &binding()).is_err(), "{text}");
        }
        let long = "A".repeat(MOST_SEALED + 4);
        assert_eq!(keys.unseal(&long, &binding()), Err(StateError::Foreign));
    }

    #[test]
    fn a_state_expires_and_so_does_a_key() {
        let root = Zeroizing::new([7; ROOT_LENGTH]);
        let keys = |clock| StateKeys { root: root.clone(), clock };
        let last = keys(|| at(NOON + 6 * 3600 - 1)).seal(b"state", &binding()).unwrap();
        let next = keys(|| at(NOON + 6 * 3600 + 1800));
        assert_eq!(next.unseal(&last, &binding()).unwrap(), b"state", "by the key before");
        let late = keys(|| at(NOON + 6 * 3600 + 3600));
        assert_eq!(late.unseal(&last, &binding()), Err(StateError::Expired));
        let never = keys(|| at(NOON + 3 * 6 * 3600));
        assert_eq!(never.unseal(&last, &binding()), Err(StateError::Foreign), "its key is gone");
        let early = keys(|| at(NOON - 1));
        assert_eq!(early.unseal(&last, &binding()), Err(StateError::Foreign), "from the future");
    }

    #[test]
    fn servers_of_one_directory_share_their_keys() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("request-state.key");
        let clock = || at(NOON);
        let sealed = StateKeys::open(&path, clock).unwrap().seal(b"s", &binding()).unwrap();
        assert_eq!(
            StateKeys::open(&path, clock).unwrap().unseal(&sealed, &binding()).unwrap(),
            b"s"
        );
        std::fs::write(&path, b"short").unwrap();
        assert!(StateKeys::open(&path, clock).is_err());
    }
}
