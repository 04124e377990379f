//! Whether a host directory is fit to be seen by a guest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How many entries below a mount are looked at. A larger tree is taken as it is.
const MAX_VETTED: usize = 50_000;

/// Why a directory cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// It is not there, or cannot be read.
    #[error("cannot mount {}", path.display())]
    Io {
        /// Which directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is a file, or something stranger.
    #[error("cannot mount {}: it is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// It holds, or lies in, the directory with keys, registry and native code.
    #[error("cannot mount {}: it overlaps the data directory {}", path.display(), private.display())]
    Private {
        /// Which directory.
        path: PathBuf,
        /// What it overlaps.
        private: PathBuf,
    },
    /// It holds something that is neither file nor directory nor link.
    #[error(
        "cannot mount a directory that holds {}: opening a pipe, device or socket can block the host",
        .0.display()
    )]
    Special(PathBuf),
}

/// Refuses what is not a directory, what overlaps `private`, and what holds pipes or devices.
///
/// A guest that opens a named pipe pins a thread of the host until someone opens the other end,
/// which no time limit can end. Guests cannot make pipes, so it is enough to look beforehand.
pub(super) fn vet(path: &Path, private: Option<&Path>) -> Result<(), MountError> {
    let io = |source| MountError::Io { path: path.into(), source };
    let real = fs::canonicalize(path).map_err(io)?;
    if !real.is_dir() {
        return Err(MountError::NotADirectory(path.into()));
    }
    if let Some(private) = private.and_then(|private| fs::canonicalize(private).ok())
        && (real.starts_with(&private) || private.starts_with(&real))
    {
        return Err(MountError::Private { path: path.into(), private });
    }
    let mut directories = vec![real];
    let mut seen = 0;
    while let Some(directory) = directories.pop() {
        // What cannot be listed here cannot be listed by the guest either.
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MAX_VETTED {
                return Ok(());
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                directories.push(entry.path());
            } else if !kind.is_file() && !kind.is_symlink() {
                return Err(MountError::Special(entry.path()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_directories_are_fit() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), b"").unwrap();
        assert!(vet(directory.path(), None).is_ok());
    }

    #[test]
    fn files_missing_and_private_directories_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(directory.path().join("file"), b"").unwrap();
        let vet = |path: &Path, private: &Path| vet(path, Some(private)).unwrap_err();
        assert!(matches!(vet(&inner, directory.path()), MountError::Private { .. }));
        assert!(matches!(vet(directory.path(), &inner), MountError::Private { .. }));
        let file = directory.path().join("file");
        assert!(matches!(vet(&file, &inner), MountError::NotADirectory(_)));
        assert!(matches!(vet(Path::new("/nowhere/at/all"), &inner), MountError::Io { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn sockets_make_a_directory_unfit() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(
            matches!(vet(directory.path(), None), Err(MountError::Special(path)) if path.ends_with("socket"))
        );
    }
}
