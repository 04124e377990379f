//! The author's keys: `keys/NAME.key` in the data directory.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use kami_core::audit::AuditEvent;
use kami_core::registry::DataDir;
use kami_core::signing::{PublicKey, SecretKey, TrustStore};

use super::audit;
use crate::exit::{Exit, Failure};
use crate::shell::Shell;

/// The name of the key that is used where none is named.
pub const DEFAULT: &str = "default";

/// Where the key called `name` is.
///
/// # Errors
/// Where the name could lead out of the directory.
pub fn path(data: &DataDir, name: &str) -> anyhow::Result<PathBuf> {
    let valid = (1..=64).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !valid {
        let message = format!("`{name}` is not a key's name");
        return Err(Failure::new(Exit::Usage, message)
            .help("use 1 to 64 of A-Z, a-z, 0-9, `-` and `_`")
            .into());
    }
    Ok(data.keys_dir().join(format!("{name}.key")))
}

/// Makes a key, keeps it, and trusts it here.
///
/// # Errors
/// Where there is one of that name already, or it cannot be kept.
pub fn make(data: &DataDir, name: &str) -> anyhow::Result<PublicKey> {
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
    file.write_all(key.to_pem()?.as_ref())?;
    file.as_file().sync_all()?;
    // Another process that makes the same key at the same moment keeps its own.
    file.persist_noclobber(&path).with_context(|| format!("writing {}", path.display()))?;
    let mut trust = TrustStore::load(&data.trust_file())?;
    trust.add(key.public(), name);
    trust.save(&data.trust_file())?;
    log.append(AuditEvent::Keygen { name: name.to_owned(), key: key.public().to_string() })?;
    Ok(key.public())
}

/// Reads the key called `name`. The default key is made where there is none yet, so that the first
/// signature of a new author needs no other command before it.
///
/// # Errors
/// Where there is none, or it is not a key.
pub fn read_or_make(data: &DataDir, name: &str, shell: &Shell) -> anyhow::Result<SecretKey> {
    if name == DEFAULT && !path(data, name)?.exists() {
        let public = make(data, name)?;
        let place = path(data, name)?;
        shell.status("Created", format_args!("{}: your key, trusted here", place.display()));
        shell.note(format_args!("others trust it with: cargo kami trust add {public} --label YOU"));
    }
    read(data, name)
}

/// Reads the key called `name`.
///
/// # Errors
/// Where there is none, or it is not a key.
pub fn read(data: &DataDir, name: &str) -> anyhow::Result<SecretKey> {
    let path = path(data, name)?;
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("there is no key called `{name}`: {} is missing", path.display());
            return Err(Failure::new(Exit::NotFound, message)
                .help(format!("make one: cargo kami keygen --name {name}"))
                .into());
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    SecretKey::from_pem(&text).with_context(|| format!("reading {}", path.display()))
}
