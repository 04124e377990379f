//! The author's keys: `keys/NAME.key` in the data directory, with a passphrase or without.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use kami_core::atomic_file;
use kami_core::audit::AuditEvent;
use kami_core::registry::{DataDir, Registry};
use kami_core::signing::{
    Passphrase, PublicKey, Rotation, RotationError, SecretKey, TrustError, TrustStore,
};

use super::audit;
use super::passphrase::PassphraseOptions;
use crate::exit::{Exit, Failure};
use crate::shell::Shell;

/// The name of the key that is used where none is named.
pub const DEFAULT: &str = "default";

/// Where the key called `name` is.
///
/// # Errors
/// Where the name could lead out of the directory.
pub fn path(data: &DataDir, name: &str) -> anyhow::Result<PathBuf> {
    // The name of what opens the secrets, which is no key to sign with.
    let valid = name != "secrets"
        && (1..=64).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !valid {
        let message = format!("`{name}` is not a key's name");
        return Err(Failure::new(Exit::Usage, message)
            .help("use 1 to 64 of A-Z, a-z, 0-9, `-` and `_`, and not `secrets`")
            .into());
    }
    Ok(data.keys_dir().join(format!("{name}.key")))
}

/// Makes a key, keeps it, and trusts it here.
///
/// # Errors
/// Where there is one of that name already, or it cannot be kept.
pub fn make(
    data: &DataDir,
    name: &str,
    passphrase: Option<&Passphrase>,
) -> anyhow::Result<PublicKey> {
    let public = create(data, name, passphrase)?.public();
    TrustStore::update(&data.trust_file(), |trust| -> Result<(), TrustError> {
        trust.add(public, name);
        Ok(())
    })?;
    Ok(public)
}

/// Makes a key that follows `old`: the new one is trusted here in the place of the old one, and
/// what is pinned to that follows. Gives the statement by which it follows elsewhere, which is
/// kept beside the key.
///
/// # Errors
/// Where there is one of that name already, `old` is revoked here, or the new one cannot be kept.
pub fn make_successor(
    data: &DataDir,
    old: &SecretKey,
    name: &str,
    passphrase: Option<&Passphrase>,
) -> anyhow::Result<Rotation> {
    data.create()?;
    let trust_file = data.trust_file();
    if let Some(revoked) = TrustStore::load(&trust_file)?.revocation(&old.public()) {
        let (key, date) = (old.public(), revoked.date);
        return Err(anyhow::Error::from(RotationError::Revoked { key, date })
            .context(Failure::new(Exit::Refused, "a revoked key names no successor")));
    }
    let new = create(data, name, passphrase)?;
    let rotation = Rotation::sign(old, &new)?;
    let statement = format!("{rotation}\n");
    atomic_file::replace(&statement_path(data, name)?, statement.as_bytes())
        .context("writing the rotation statement")?;
    TrustStore::update(&trust_file, |trust| -> Result<(), TrustError> {
        // The maker's own word counts here, whether or not the old key's still does.
        if trust.rotate(&rotation, SystemTime::now()).is_err() {
            trust.add(new.public(), name);
        }
        Ok(())
    })?;
    Registry::open(data)?.rotate_pins(&rotation)?;
    Ok(rotation)
}

/// Where the statement is by which the key called `name` follows another.
///
/// # Errors
/// Where the name could lead out of the directory.
pub fn statement_path(data: &DataDir, name: &str) -> anyhow::Result<PathBuf> {
    Ok(path(data, name)?.with_extension("rotation"))
}

/// Makes a key and keeps it.
fn create(
    data: &DataDir,
    name: &str,
    passphrase: Option<&Passphrase>,
) -> anyhow::Result<SecretKey> {
    data.create()?;
    let path = path(data, name)?;
    if path.exists() {
        let message = format!("there is a key called `{name}` already, in {}", path.display());
        return Err(Failure::new(Exit::Refused, message)
            .help("give another name with --name, or remove that file if nobody trusts the key")
            .into());
    }
    let log = audit::open(data)?;
    let key = SecretKey::generate()?;
    let mut file = tempfile::NamedTempFile::new_in(data.keys_dir())
        .with_context(|| format!("writing {}", path.display()))?;
    match passphrase {
        Some(passphrase) => file.write_all(key.to_encrypted_pem(passphrase)?.as_ref())?,
        None => file.write_all(key.to_pem()?.as_ref())?,
    }
    file.as_file().sync_all()?;
    // Another process that makes the same key at the same moment keeps its own.
    file.persist_noclobber(&path).with_context(|| format!("writing {}", path.display()))?;
    log.append(AuditEvent::Keygen { name: name.to_owned(), key: key.public().to_string() })?;
    Ok(key)
}

/// Reads the key called `name`. The default key is made where there is none yet, so that the first
/// signature of a new author needs no other command before it.
///
/// # Errors
/// Where there is none, it is not a key, or its passphrase is not known.
pub fn read_or_make(
    data: &DataDir,
    name: &str,
    options: &PassphraseOptions,
    shell: &Shell,
) -> anyhow::Result<SecretKey> {
    if name == DEFAULT && !path(data, name)?.exists() {
        let public = make(data, name, None)?;
        let place = path(data, name)?;
        shell.status("Created", format_args!("{}: your key, trusted here", place.display()));
        shell.note(format_args!("others trust it with: cargo kami trust add {public} --label YOU"));
    }
    read(data, name, options, shell)
}

/// Reads the key called `name`, with its passphrase where it has one.
///
/// # Errors
/// Where there is none, it is not a key, or its passphrase is not known.
pub fn read(
    data: &DataDir,
    name: &str,
    options: &PassphraseOptions,
    shell: &Shell,
) -> anyhow::Result<SecretKey> {
    let text = read_text(data, name)?;
    let key = if SecretKey::is_encrypted(&text) {
        SecretKey::from_encrypted_pem(&text, &options.tell(name, shell)?)
    } else {
        SecretKey::from_pem(&text)
    };
    key.with_context(|| format!("reading the key `{name}`"))
}

/// Whether the key called `name` has a passphrase.
///
/// # Errors
/// Where there is none, or it cannot be read.
pub fn is_protected(data: &DataDir, name: &str) -> anyhow::Result<bool> {
    Ok(SecretKey::is_encrypted(&read_text(data, name)?))
}

fn read_text(data: &DataDir, name: &str) -> anyhow::Result<String> {
    let path = path(data, name)?;
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("there is no key called `{name}`: {} is missing", path.display());
            Err(Failure::new(Exit::NotFound, message)
                .help(format!("make one: cargo kami keygen --name {name}"))
                .into())
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}
