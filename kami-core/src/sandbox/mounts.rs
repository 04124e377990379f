//! Whether a host directory is fit to be seen by a guest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The most entries below a mount, so that looking through them ends.
const MAX_VETTED: usize = 1_000_000;

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
    /// It is reached by way of a link, which may lead elsewhere tomorrow.
    #[error(
        "cannot mount {}: it is {} now, by way of a link; bind that directory itself",
        path.display(),
        real.display()
    )]
    Moved {
        /// Which directory.
        path: PathBuf,
        /// Where it leads.
        real: PathBuf,
    },
    /// It holds more than can be looked through.
    #[error("cannot mount {}: it holds more than {MAX_VETTED} entries", .0.display())]
    TooLarge(PathBuf),
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
    in_place(path, private)?;
    let real = path.to_owned();
    let mut directories = vec![real];
    let mut seen = 0;
    while let Some(directory) = directories.pop() {
        // What cannot be listed here cannot be listed by the guest either.
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MAX_VETTED {
                return Err(MountError::TooLarge(path.into()));
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

/// Refuses a directory that is not where it was when the operator bound it.
///
/// Another tool with write access to its parent could have put a link in its place, so this is
/// asked again on every call.
pub(super) fn in_place(path: &Path, private: Option<&Path>) -> Result<(), MountError> {
    let real =
        fs::canonicalize(path).map_err(|source| MountError::Io { path: path.into(), source })?;
    if real != path {
        return Err(MountError::Moved { path: path.into(), real });
    }
    if !real.is_dir() {
        return Err(MountError::NotADirectory(real));
    }
    if let Some(private) = private.and_then(|private| fs::canonicalize(private).ok())
        && (real.starts_with(&private) || private.starts_with(&real))
    {
        return Err(MountError::Private { path: path.into(), private });
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
        assert!(vet(&fs::canonicalize(directory.path()).unwrap(), None).is_ok());
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
    fn a_link_in_the_place_of_a_directory_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let (bound, secret) = (root.join("bound"), root.join("secret"));
        fs::create_dir(&bound).unwrap();
        fs::create_dir(&secret).unwrap();
        assert!(in_place(&bound, None).is_ok());
        fs::remove_dir(&bound).unwrap();
        std::os::unix::fs::symlink(&secret, &bound).unwrap();
        assert!(
            matches!(in_place(&bound, None), Err(MountError::Moved { real, .. }) if real == secret)
        );
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
