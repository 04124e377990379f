//! The operating system's keyring: macOS Keychain, Windows Credential Manager, or the Secret Service
//! of a desktop, where this build has the feature `secret-service`.

use anyhow::Context as _;
use kami_core::secrets::{KeyringEntry, SealingKey};

use crate::exit::{Exit, Failure};

#[cfg(target_os = "macos")]
use apple_native_keyring_store::keychain as native;
#[cfg(windows)]
use windows_native_keyring_store as native;
#[cfg(all(unix, not(target_os = "macos"), feature = "secret-service"))]
use zbus_secret_service_keyring_store as native;

/// Under which name entries stand in the keyring, so that their owner knows whose they are.
#[cfg(any(target_os = "macos", windows, feature = "secret-service"))]
const SERVICE: &str = "kami secrets";

/// Whether this build knows a keyring. There may be none on this machine nevertheless.
pub const KNOWN: bool = cfg!(any(target_os = "macos", windows, feature = "secret-service"));

/// The key that is kept in an entry.
///
/// # Errors
/// Where there is no keyring, it stays locked, or the entry is missing or not a key.
pub fn read(entry: &KeyringEntry) -> anyhow::Result<SealingKey> {
    let text = backend::read(entry).context(unavailable("cannot be read from"))?;
    SealingKey::from_text(&text).context(unavailable("is damaged in"))
}

/// Keeps a key in an entry.
///
/// # Errors
/// Where there is no keyring, or it stays locked.
pub fn keep(entry: &KeyringEntry, key: &SealingKey) -> anyhow::Result<()> {
    backend::keep(entry, &key.to_text()).context(unavailable("cannot be kept in"))
}

/// Removes an entry.
///
/// # Errors
/// Where there is no keyring, it stays locked, or there is no such entry.
pub fn forget(entry: &KeyringEntry) -> anyhow::Result<()> {
    backend::forget(entry).context(unavailable("cannot be removed from"))
}

fn unavailable(what: &str) -> Failure {
    let message = format!("the key of the secrets {what} the keyring of this system");
    Failure::new(Exit::Secrets, message)
}

#[cfg(any(target_os = "macos", windows, feature = "secret-service"))]
mod backend {
    use keyring_core::Entry;
    use zeroize::Zeroizing;

    use super::{KeyringEntry, SERVICE, native};

    fn open(entry: &KeyringEntry) -> keyring_core::Result<Entry> {
        use keyring_core::api::CredentialStoreApi as _;

        native::Store::new()?.build(SERVICE, &entry.to_string(), None)
    }

    pub fn read(entry: &KeyringEntry) -> keyring_core::Result<Zeroizing<String>> {
        open(entry)?.get_password().map(Zeroizing::new)
    }

    pub fn keep(entry: &KeyringEntry, text: &str) -> keyring_core::Result<()> {
        open(entry)?.set_password(text)
    }

    pub fn forget(entry: &KeyringEntry) -> keyring_core::Result<()> {
        open(entry)?.delete_credential()
    }
}

#[cfg(not(any(target_os = "macos", windows, feature = "secret-service")))]
mod backend {
    use zeroize::Zeroizing;

    use super::KeyringEntry;

    /// There is none to ask.
    #[derive(Debug, thiserror::Error)]
    #[error(
        "this build of cargo-kami knows no keyring here: install it with --features secret-service, \
         or take a passphrase or a key file"
    )]
    pub struct Unknown;

    pub fn read(_: &KeyringEntry) -> Result<Zeroizing<String>, Unknown> {
        Err(Unknown)
    }

    pub fn keep(_: &KeyringEntry, _: &str) -> Result<(), Unknown> {
        Err(Unknown)
    }

    pub fn forget(_: &KeyringEntry) -> Result<(), Unknown> {
        Err(Unknown)
    }
}
