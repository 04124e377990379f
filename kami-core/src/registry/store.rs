//! The artifacts themselves: one file each, named by its digest.
//!
//! A file appears whole or not at all, and one that no package refers to is harmless. What is
//! read back is just bytes: whoever wants to run them hashes and verifies them.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{DataDir, RegistryError};
use crate::atomic_file;
use crate::component::MAX_BYTES;
use crate::digest::Digest;

/// Stores what is installed, unless it is there already. A file with other content is replaced.
pub(super) fn put(dir: &DataDir, path: PathBuf, bytes: &[u8]) -> Result<(), RegistryError> {
    let stored = if holds(&path, bytes) {
        // Its first writer may not have come to this before a power cut.
        atomic_file::sync_directory(&dir.artifacts_dir())
    } else {
        atomic_file::replace(&path, bytes)
    };
    stored.map_err(|source| RegistryError::Io { action: "write", path, source })
}

/// Whether the file can be read and has exactly this content.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    // The metadata first: opening what is no regular file could block.
    let alike = |found: fs::Metadata| found.is_file() && found.len() == bytes.len() as u64;
    fs::symlink_metadata(path).is_ok_and(alike)
        && fs::read(path).is_ok_and(|stored| stored == bytes)
}

impl DataDir {
    /// Reads an artifact.
    ///
    /// # Errors
    /// Where it is missing, which a package that another process has just replaced or uninstalled
    /// leads to as well, or cannot be read.
    ///
    /// # Security
    /// The bytes are not trusted: they may be anything, and need to be hashed and verified.
    pub fn read_artifact(&self, digest: Digest) -> Result<Vec<u8>, RegistryError> {
        Self::read_stored(self.artifact_file(digest), digest)
    }

    /// Reads the text of a pipeline.
    ///
    /// # Errors
    /// As with [`Self::read_artifact`], or where it is not text.
    ///
    /// # Security
    /// As with [`Self::read_artifact`].
    pub fn read_pipeline(&self, digest: Digest) -> Result<String, RegistryError> {
        let path = self.pipeline_file(digest);
        let bytes = Self::read_stored(path.clone(), digest)?;
        String::from_utf8(bytes).map_err(|error| {
            let source = io::Error::new(io::ErrorKind::InvalidData, error);
            RegistryError::Io { action: "read", path, source }
        })
    }

    fn read_stored(path: PathBuf, digest: Digest) -> Result<Vec<u8>, RegistryError> {
        match read_bounded(&path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(RegistryError::ArtifactMissing { digest, path })
            }
            Err(source) => Err(RegistryError::Io { action: "read", path, source }),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    let most = MAX_BYTES as u64;
    let mut bytes = Vec::with_capacity(found.len().min(most) as usize);
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than any artifact"));
    }
    Ok(bytes)
}

/// Removes an artifact, if it is there.
pub(super) fn remove(dir: &DataDir, digest: Digest) -> Result<(), RegistryError> {
    for path in [dir.artifact_file(digest), dir.pipeline_file(digest)] {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(RegistryError::Io { action: "remove", path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes what killed installers left behind.
pub(super) fn sweep(dir: &DataDir) -> Result<(), RegistryError> {
    let path = dir.artifacts_dir();
    atomic_file::sweep(&path).map_err(|source| RegistryError::Io { action: "tidy", path, source })
}
