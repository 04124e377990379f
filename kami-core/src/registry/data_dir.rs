//! Where everything lies on disk.

use std::path::{Path, PathBuf};

use super::RegistryError;
use crate::digest::Digest;
use crate::private_directory::{self, Unfit};

/// The directory that holds all of one operator's state.
///
/// ```text
/// registry.db                        what is installed, and what it was granted
/// store/sha256/<digest>.wasm         the artifacts, by the SHA-256 of all their bytes
/// cache/                             native code, which can be made again
/// keys/                              secret keys, and statements by which one follows another
/// trust.toml                         the public keys that are trusted or revoked
/// trust.lock                         held while that file is changed
/// secrets.kami                       the secrets of tools, sealed
/// secrets.lock                       whoever changes them holds a lock on this
/// config.toml                        options of commands, where there is one
/// kami-policy.toml                   the operator's policy, where there is one
/// scratch/                           one directory for each running call that may write files
/// scratch-kept/<id>/                 what a package keeps from call to call
/// audit/                             what happened
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Takes the path; nothing is made or read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database of the registry.
    pub fn registry_file(&self) -> PathBuf {
        self.path.join("registry.db")
    }

    /// The artifacts, one directory for each hash algorithm.
    pub fn store_dir(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Where the artifact with this digest is, if it is installed.
    pub fn artifact_file(&self, digest: Digest) -> PathBuf {
        self.artifacts_dir().join(format!("{}.wasm", digest.hex()))
    }

    /// Where the pipeline with this digest is, if it is installed.
    pub fn pipeline_file(&self, digest: Digest) -> PathBuf {
        self.artifacts_dir().join(format!("{}.toml", digest.hex()))
    }

    pub(super) fn artifacts_dir(&self) -> PathBuf {
        self.store_dir().join("sha256")
    }

    /// Native code, which can be made again.
    pub fn cache_dir(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// Secret keys.
    pub fn keys_dir(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// The public keys that are trusted.
    pub fn trust_file(&self) -> PathBuf {
        self.path.join("trust.toml")
    }

    /// What a program that uses this directory is to do where nobody tells it, unless another file is
    /// named.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// The operator's policy, unless another file is named.
    pub fn policy_file(&self) -> PathBuf {
        self.path.join("kami-policy.toml")
    }

    /// The secrets of tools, sealed.
    pub fn secrets_file(&self) -> PathBuf {
        self.path.join("secrets.kami")
    }

    /// What is locked while the secrets are changed, as they are replaced themselves.
    pub fn secrets_lock_file(&self) -> PathBuf {
        self.path.join("secrets.lock")
    }

    /// The key that opens the secrets, where neither a keyring nor a person keeps one.
    pub fn secrets_key_file(&self) -> PathBuf {
        self.keys_dir().join("secrets.key")
    }

    /// The root of the keys that seal what guests want back through a client.
    pub fn request_state_key_file(&self) -> PathBuf {
        self.keys_dir().join("request-state.key")
    }

    /// Calls that go on as tasks.
    pub fn tasks_dir(&self) -> PathBuf {
        self.path.join("tasks")
    }

    /// The private directories of running calls.
    pub fn scratch_dir(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// The private directories of packages that keep theirs, each named after its package.
    pub fn kept_scratch_dir(&self) -> PathBuf {
        self.path.join("scratch-kept")
    }

    /// The log of what happened.
    pub fn audit_dir(&self) -> PathBuf {
        self.path.join("audit")
    }

    /// Makes all directories that are not there; only their owner may enter the new ones.
    ///
    /// That of the cache is not among them: who has native code to keep makes it, and can do without.
    ///
    /// # Errors
    /// Where one of the paths is something else than a directory, or cannot be made one.
    pub fn create(&self) -> Result<(), RegistryError> {
        let directories =
            [self.artifacts_dir(), self.keys_dir(), self.scratch_dir(), self.audit_dir()];
        // From the outside in, so that the path to blame is the one that is reported.
        create_private(&self.path)?;
        directories.iter().try_for_each(|directory| create_private(directory))
    }
}

fn create_private(directory: &Path) -> Result<(), RegistryError> {
    let path = || directory.to_owned();
    private_directory::create(directory).map_err(|unfit| match unfit {
        Unfit::Exposed => RegistryError::Exposed { path: path() },
        Unfit::NotADirectory => RegistryError::NotADirectory { path: path() },
        Unfit::Io(source) => {
            RegistryError::Io { action: "create the directory", path: path(), source }
        }
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let home = tempfile::tempdir().unwrap();
        let data = DataDir::new(home.path().join("data"));
        data.create().unwrap();
        for mode in [0o777, 0o720, 0o702] {
            fs::set_permissions(data.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(data.create(), Err(RegistryError::Exposed { .. })), "{mode:o}");
        }
        fs::set_permissions(data.path(), fs::Permissions::from_mode(0o755)).unwrap();
        data.create().unwrap();
    }
}
