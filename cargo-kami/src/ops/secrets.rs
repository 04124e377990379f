//! The store of secrets with its key, which a keyring, a file or a person keeps.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use kami_core::registry::DataDir;
use kami_core::secrets::{
    KeySource, KeyringEntry, Passphrase, SealingKey, SecretSource, SecretStore, Secrets, StoreKey,
};

use crate::env_vars;
use crate::exit::{Exit, Failure};
use crate::ops::keyring;
use crate::shell::Shell;

/// What keeps the key of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Keeper {
    /// The operating system's keyring
    Keyring,
    /// The file keys/secrets.key in the data directory
    KeyFile,
    /// Whoever knows the passphrase
    Passphrase,
}

impl Keeper {
    fn keeps(self, source: &KeySource) -> bool {
        matches!(
            (self, source),
            (Self::Keyring, KeySource::Keyring(_))
                | (Self::KeyFile, KeySource::KeyFile)
                | (Self::Passphrase, KeySource::Passphrase)
        )
    }
}

/// The secrets that are kept; none where none ever were.
///
/// # Errors
/// Where there is no key for them, or it does not open them.
pub fn open(data: &DataDir, shell: &Shell) -> anyhow::Result<Secrets> {
    let store = SecretStore::of(data);
    match store.source()? {
        Some(source) => Ok(store.read(&find(&source, data, shell)?)?),
        None => Ok(Secrets::default()),
    }
}

/// Opens the secrets for whoever loads a tool that may use some.
pub fn source(data: &DataDir, shell: &Shell) -> SecretSource {
    let (data, shell) = (data.clone(), shell.clone());
    Arc::new(move || open(&data, &shell).map_err(Into::into))
}

/// Changes the secrets that are kept, and gives what keeps their key. No other process changes them
/// meanwhile. `wish` is for the first secret, with which a key is made.
///
/// # Errors
/// Where `change` fails, or the secrets cannot be opened or written; they stay as they are then.
pub fn change(
    data: &DataDir,
    wish: Option<Keeper>,
    shell: &Shell,
    change: impl FnOnce(&mut Secrets) -> anyhow::Result<()>,
) -> anyhow::Result<KeySource> {
    data.create()?;
    let store = SecretStore::of(data);
    loop {
        // A person is asked before others are kept waiting.
        let before = store.source()?;
        let key = match &before {
            Some(source) => Ready::Old(find_wished(source, wish, data, shell)?),
            None => choose(wish, shell)?,
        };
        let locked = store.lock()?;
        if locked.source()? != before {
            continue;
        }
        let key = key.make(data, shell)?;
        let mut secrets = locked.read(&key)?;
        change(&mut secrets)?;
        locked.write(&secrets, &key)?;
        return Ok(key.source());
    }
}

/// Seals the secrets that are kept with a new key, and has the old one forgotten.
///
/// # Errors
/// Where they cannot be opened, or there is no such keeper; the old key holds then.
pub fn rekey(data: &DataDir, keeper: Keeper, shell: &Shell) -> anyhow::Result<KeySource> {
    data.create()?;
    let store = SecretStore::of(data);
    let before = store.source()?;
    let Some(source) = &before else {
        let message = "there are no secrets yet, and so no key";
        let help = "cargo kami secret set NAME --key KEEPER chooses one with the first secret";
        return Err(Failure::new(Exit::NotFound, message).help(help).into());
    };
    if keeper == Keeper::KeyFile && *source == KeySource::KeyFile {
        // The new key would take the place of the old one before the secrets are sealed with it.
        let message = "the key is in a file already; to have another, go by way of a passphrase";
        return Err(Failure::new(Exit::Refused, message).into());
    }
    let old = find(source, data, shell)?;
    let new = match (keeper, source) {
        // The environment has the old one.
        (Keeper::Passphrase, KeySource::Passphrase) => Ready::Passphrase(new_passphrase(shell)?),
        _ => choose(Some(keeper), shell)?,
    };
    let locked = store.lock()?;
    let secrets = locked.read(&old)?;
    let new = new.make(data, shell)?;
    locked.write(&secrets, &new)?;
    match source {
        KeySource::Keyring(entry) => keyring::forget(entry)?,
        KeySource::KeyFile => {
            let path = data.secrets_key_file();
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        KeySource::Passphrase => {}
    }
    Ok(new.source())
}

/// A key, or how to make one once no other process can make another.
enum Ready {
    Old(StoreKey),
    Passphrase(Passphrase),
    Keyring,
    KeyFile,
    /// A keyring, or else a file.
    Any,
}

impl Ready {
    fn make(self, data: &DataDir, shell: &Shell) -> anyhow::Result<StoreKey> {
        match self {
            Self::Old(key) => Ok(key),
            Self::Passphrase(passphrase) => Ok(StoreKey::Passphrase(passphrase)),
            Self::Keyring => new_keyring_key(),
            Self::KeyFile => key_file(&data.secrets_key_file()),
            Self::Any => new_keyring_key().or_else(|error| {
                let file = data.secrets_key_file();
                shell.note(format_args!("{error}, so {} has it", file.display()));
                key_file(&file)
            }),
        }
    }
}

/// What is to keep the key of a new store: what is wished, or a passphrase where there is one in the
/// environment, or a keyring, or a file.
fn choose(wish: Option<Keeper>, shell: &Shell) -> anyhow::Result<Ready> {
    Ok(match (wish, given()?) {
        (Some(Keeper::Passphrase) | None, Some(passphrase)) => Ready::Passphrase(passphrase),
        (Some(Keeper::Passphrase), None) => Ready::Passphrase(new_passphrase(shell)?),
        (Some(Keeper::Keyring), _) => Ready::Keyring,
        (None, None) if keyring::KNOWN => Ready::Any,
        (Some(Keeper::KeyFile), _) | (None, None) => Ready::KeyFile,
    })
}

fn find_wished(
    source: &KeySource,
    wish: Option<Keeper>,
    data: &DataDir,
    shell: &Shell,
) -> anyhow::Result<StoreKey> {
    if wish.is_some_and(|keeper| !keeper.keeps(source)) {
        let message = format!("the key of the secrets comes from elsewhere already: {source}");
        let help = "change it with: cargo kami secret rekey --key KEEPER";
        return Err(Failure::new(Exit::Refused, message).help(help).into());
    }
    find(source, data, shell)
}

/// The key of a store that is there.
fn find(source: &KeySource, data: &DataDir, shell: &Shell) -> anyhow::Result<StoreKey> {
    match source {
        KeySource::Keyring(entry) => Ok(StoreKey::Keyring(entry.clone(), keyring::read(entry)?)),
        KeySource::KeyFile => {
            let path = data.secrets_key_file();
            read_key_file(&path)?.map(StoreKey::KeyFile).ok_or_else(|| {
                let message = format!("the key of the secrets is missing: {}", path.display());
                let help =
                    "put a backup of that file in its place; without it the secrets are lost";
                Failure::new(Exit::Secrets, message).help(help).into()
            })
        }
        KeySource::Passphrase => {
            let given = match given()? {
                Some(given) => given,
                None => ask("Passphrase of the secrets:", shell)?,
            };
            Ok(StoreKey::Passphrase(given))
        }
    }
}

fn given() -> anyhow::Result<Option<Passphrase>> {
    let variable = env_vars::SECRETS_PASSPHRASE;
    let Some(value) = variable.get() else { return Ok(None) };
    let wrong = || Failure::new(Exit::Secrets, format!("{} is not text", variable.name));
    Ok(Passphrase::new(value.into_string().map_err(|_| wrong())?))
}

fn new_passphrase(shell: &Shell) -> anyhow::Result<Passphrase> {
    let chosen = ask("New passphrase for the secrets:", shell)?;
    if ask("The same again:", shell)? == chosen {
        Ok(chosen)
    } else {
        let message = "the two passphrases differ; nothing was changed";
        Err(Failure::new(Exit::Usage, message).into())
    }
}

fn ask(prompt: &str, shell: &Shell) -> anyhow::Result<Passphrase> {
    let typed = shell.hidden(prompt).context("reading the passphrase")?;
    let typed = typed.ok_or_else(|| {
        let message = "the secrets need a passphrase, and nobody can be asked here";
        let variable = env_vars::SECRETS_PASSPHRASE.name;
        Failure::new(Exit::Secrets, message).help(format!("set {variable}"))
    })?;
    let empty = || Failure::new(Exit::Usage, "an empty passphrase protects nothing");
    Passphrase::new(typed).ok_or_else(empty).map_err(Into::into)
}

fn new_keyring_key() -> anyhow::Result<StoreKey> {
    let (entry, key) = (KeyringEntry::generate()?, SealingKey::generate()?);
    keyring::keep(&entry, &key)?;
    Ok(StoreKey::Keyring(entry, key))
}

/// The key in the file at `path`, which is made where there is none.
fn key_file(path: &Path) -> anyhow::Result<StoreKey> {
    if let Some(key) = read_key_file(path)? {
        return Ok(StoreKey::KeyFile(key));
    }
    let key = SealingKey::generate()?;
    let writing = || format!("writing {}", path.display());
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).with_context(writing)?;
    file.write_all(key.to_text().as_bytes()).with_context(writing)?;
    file.as_file().sync_all().with_context(writing)?;
    file.persist_noclobber(path).with_context(writing)?;
    kami_core::atomic_file::sync_directory(directory).with_context(writing)?;
    Ok(StoreKey::KeyFile(key))
}

fn read_key_file(path: &Path) -> anyhow::Result<Option<SealingKey>> {
    match fs::read_to_string(path).map(zeroize::Zeroizing::new) {
        Ok(text) => SealingKey::from_text(&text)
            .map(Some)
            .with_context(|| Failure::new(Exit::Secrets, format!("reading {}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}
