//! The file in which secrets are kept, replaced as a whole and changed by one process at a time.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::seal::{MAX_OVERHEAD, OpenError, Sealed, seal};
use super::{KeySource, Secrets, StoreKey};
use crate::atomic_file;
use crate::registry::DataDir;

/// The sealed secrets of a data directory.
#[derive(Debug, Clone)]
pub struct SecretStore {
    file: PathBuf,
    lock_file: PathBuf,
}

/// Why there are no secrets to be had. A file that is refused stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum SecretStoreError {
    /// The file cannot be read, written or locked.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is something else, or its readable part is damaged.
    #[error("{} is not a store of secrets, or is damaged: put a backup in its place", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
    },
    /// The file is from the future.
    #[error(
        "{} has version {version}, which is newer than this program knows: update cargo-kami",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The store wants another kind of key than was given.
    #[error("{} is sealed with a key from elsewhere: {source_of_key}", path.display())]
    OtherSource {
        /// Which file.
        path: PathBuf,
        /// Where its key comes from.
        source_of_key: KeySource,
    },
    /// The key is wrong, or the file was changed: these cannot be told apart.
    #[error("{} cannot be opened with this {source_of_key}: {}", path.display(), reason(source_of_key))]
    Key {
        /// Which file.
        path: PathBuf,
        /// Where the key came from.
        source_of_key: KeySource,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes: {0}")]
    Random(getrandom::Error),
}

fn reason(source: &KeySource) -> &'static str {
    match source {
        KeySource::Passphrase => "the passphrase is wrong, or the file was changed",
        KeySource::Keyring(_) | KeySource::KeyFile => {
            "the key is another's, or the file was changed"
        }
    }
}

impl SecretStore {
    /// The store of a data directory; nothing is made or read.
    pub fn of(data: &DataDir) -> Self {
        Self { file: data.secrets_file(), lock_file: data.secrets_lock_file() }
    }

    /// Where the secrets are, or would be.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Where the key comes from; `None` while nothing was ever kept.
    ///
    /// # Errors
    /// Where the file is there but is not a store that this version knows.
    pub fn source(&self) -> Result<Option<KeySource>, SecretStoreError> {
        let Some(bytes) = self.bytes()? else { return Ok(None) };
        let sealed = Sealed::parse(&bytes).map_err(|error| self.refused(error, None))?;
        Ok(Some(sealed.source()))
    }

    /// Opens the secrets; none while nothing was ever kept.
    ///
    /// # Errors
    /// Where the file is not a store, the key does not open it, or it was changed.
    ///
    /// # Security
    /// Every byte of the file is authenticated before one is believed, but for its first line, which
    /// says which key to take and is bounded. An older copy of the same file is not recognised.
    pub fn read(&self, key: &StoreKey) -> Result<Secrets, SecretStoreError> {
        let Some(bytes) = self.bytes()? else { return Ok(Secrets::default()) };
        let refused = |error| self.refused(error, Some(key.source()));
        let plain = Sealed::parse(&bytes).and_then(|sealed| sealed.open(key)).map_err(refused)?;
        Secrets::decode(&plain).ok_or_else(|| refused(OpenError::Format))
    }

    /// Waits until no other process changes the store, and keeps others waiting.
    ///
    /// # Errors
    /// Where the file that stands for the lock cannot be made or locked.
    pub fn lock(&self) -> Result<LockedStore<'_>, SecretStoreError> {
        let path = &self.lock_file;
        let failed = |source| SecretStoreError::Io { action: "lock", path: path.clone(), source };
        atomic_file::ensure(path).map_err(failed)?;
        let lock = File::options().read(true).write(true).open(path).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(LockedStore { store: self, _lock: lock })
    }

    fn bytes(&self) -> Result<Option<Vec<u8>>, SecretStoreError> {
        let limit = Secrets::MAX_BYTES + MAX_OVERHEAD;
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            // One byte more than fits shows that the file is none of ours.
            File::open(&self.file)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) if bytes.len() > limit => Err(self.refused(OpenError::Format, None)),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => {
                Err(SecretStoreError::Io { action: "read", path: self.file.clone(), source })
            }
        }
    }

    fn refused(&self, error: OpenError, key: Option<KeySource>) -> SecretStoreError {
        let path = self.file.clone();
        match (error, key) {
            (OpenError::Version(version), _) => SecretStoreError::Newer { path, version },
            (OpenError::Source(source_of_key), _) => {
                SecretStoreError::OtherSource { path, source_of_key }
            }
            (OpenError::Key, Some(source_of_key)) => SecretStoreError::Key { path, source_of_key },
            (OpenError::Format | OpenError::Key, _) => SecretStoreError::Format { path },
        }
    }
}

/// A store that nobody else changes while this value lives.
#[derive(Debug)]
pub struct LockedStore<'a> {
    store: &'a SecretStore,
    /// The operating system lets go of the lock when the file is closed, however a process ends.
    _lock: File,
}

impl LockedStore<'_> {
    /// Replaces the whole store, and seals it with `key` from now on.
    ///
    /// # Errors
    /// Where the file cannot be written; the old one is then still there.
    pub fn write(&self, secrets: &Secrets, key: &StoreKey) -> Result<(), SecretStoreError> {
        let bytes = seal(&secrets.encode(), key).map_err(SecretStoreError::Random)?;
        let path = &self.store.file;
        let failed = |source| SecretStoreError::Io { action: "write", path: path.clone(), source };
        atomic_file::replace(path, &bytes).map_err(failed)
    }
}

impl std::ops::Deref for LockedStore<'_> {
    type Target = SecretStore;

    fn deref(&self) -> &SecretStore {
        self.store
    }
}

#[cfg(test)]
mod tests {
    use super::super::set::tests::{secret, secrets};
    use super::super::{Passphrase, SealingKey};
    use super::*;
    use std::fs;

    fn store() -> (tempfile::TempDir, SecretStore) {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::new(directory.path().join("data"));
        data.create().unwrap();
        (directory, SecretStore::of(&data))
    }

    fn key() -> StoreKey {
        StoreKey::KeyFile(SealingKey::generate().unwrap())
    }

    #[test]
    fn secrets_are_kept_and_not_to_be_read_in_the_file() {
        let (_directory, store) = store();
        let key = key();
        assert_eq!(store.source().unwrap(), None);
        assert_eq!(store.read(&key).unwrap(), Secrets::default());
        let all = secrets(&[("GITHUB_TOKEN", "ghp_0123456789"), ("OTHER", "another value")]);
        store.lock().unwrap().write(&all, &key).unwrap();
        assert_eq!(store.source().unwrap(), Some(KeySource::KeyFile));
        assert_eq!(store.read(&key).unwrap(), all);
        let file = fs::read(store.path()).unwrap();
        for plain in ["ghp_", "another", "GITHUB", "OTHER"] {
            let found = file.windows(plain.len()).any(|part| part == plain.as_bytes());
            assert!(!found, "{plain} can be read in the file");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let (_directory, store) = store();
        store.lock().unwrap().write(&Secrets::default(), &key()).unwrap();
        let mode = fs::metadata(store.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_refused_stays_as_it_is() {
        let (_directory, store) = store();
        let key = key();
        store.lock().unwrap().write(&secrets(&[("A", "value of a")]), &key).unwrap();
        let good = fs::read(store.path()).unwrap();
        let mut altered = good.clone();
        *altered.last_mut().unwrap() ^= 1;
        let newer = [b"kami:secrets/v2", &good[15..]].concat();
        let endless = vec![b'x'; Secrets::MAX_BYTES + MAX_OVERHEAD + 1];
        for (file, told) in [
            (altered, "the key is another's, or the file was changed"),
            (newer, "has version 2, which is newer"),
            (b"noise".to_vec(), "is not a store of secrets"),
            (Vec::new(), "is not a store of secrets"),
            (endless, "is not a store of secrets"),
        ] {
            fs::write(store.path(), &file).unwrap();
            let error = store.read(&key).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert!(fs::read(store.path()).unwrap() == file);
        }
    }

    #[test]
    fn a_wrong_passphrase_says_so_and_another_key_names_the_right_one() {
        let (_directory, store) = store();
        let passphrase =
            |text: &str| StoreKey::Passphrase(Passphrase::new(text.to_owned()).unwrap());
        store.lock().unwrap().write(&Secrets::default(), &passphrase("correct horse")).unwrap();
        let error = store.read(&passphrase("wrong horse")).unwrap_err().to_string();
        assert!(error.contains("the passphrase is wrong"), "{error}");
        let error = store.read(&key()).unwrap_err().to_string();
        assert!(error.contains("from elsewhere: passphrase"), "{error}");
    }

    #[test]
    fn changes_at_the_same_time_lose_nothing() {
        const WRITERS: usize = 8;

        let (_directory, store) = store();
        let key = key();
        std::thread::scope(|scope| {
            for at in 0..WRITERS {
                let (store, key) = (&store, &key);
                scope.spawn(move || {
                    let locked = store.lock().unwrap();
                    let mut all = locked.read(key).unwrap();
                    let name = format!("NAME_{at}").parse().unwrap();
                    all.insert(name, secret("some value")).unwrap();
                    locked.write(&all, key).unwrap();
                });
            }
        });
        assert_eq!(store.read(&key).unwrap().iter().count(), WRITERS);
    }
}
