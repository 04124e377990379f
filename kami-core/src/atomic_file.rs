//! Files that are replaced as a whole: after a crash there is the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tempfile::NamedTempFile;

/// How the names of unfinished files begin.
const UNFINISHED: &str = ".unfinished-";

/// After this long without a write, an unfinished file's writer is gone: a write takes seconds.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Replaces the file at `path`, making its directory if needed; only the owner may read it.
///
/// # Errors
/// Where the bytes cannot be written to the same file system; the old file is then untouched.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut file = unfinished(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Makes an empty file at `path` that only the owner may read; one that is there stays as it is.
///
/// The file is closed before it appears under its name: closing a database's file would drop the
/// locks that other connections of this process hold on it.
///
/// # Errors
/// Where the file cannot be made.
pub fn ensure(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    match unfinished(directory)?.into_temp_path().persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

/// Makes a file at `path` that only the owner may read; one that is there stays as it is.
///
/// # Errors
/// Where the file cannot be made.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = unfinished(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => sync_directory(directory),
    }
}

/// Removes the files that writers in `directory` began and, killed, never finished.
///
/// # Errors
/// Where the directory cannot be listed, or an abandoned file cannot be removed.
pub fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            continue;
        }
        match remove_abandoned(&entry) {
            // Its writer finished it, or another sweeper was here first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn remove_abandoned(entry: &fs::DirEntry) -> io::Result<()> {
    let written = entry.metadata()?.modified()?;
    // A time in the future says nothing, so that file stays.
    if written.elapsed().is_ok_and(|age| age > ABANDONED) {
        fs::remove_file(entry.path())
    } else {
        Ok(())
    }
}

/// `tempfile` creates with mode 0600, and removes the file if it is not persisted.
fn unfinished(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory)
}

/// Makes a rename last through a power cut, where directories can be synced.
///
/// # Errors
/// Where the directory cannot be opened or synced.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn replaces_and_leaves_no_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/file");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        ensure(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        fs::write(&path, b"content").unwrap();
        ensure(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_abandoned_files_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let hours_ago = SystemTime::now() - 3 * ABANDONED;
        for (name, written) in [
            ("kept.wasm", hours_ago),
            (".unfinished-old", hours_ago),
            (".unfinished-new", SystemTime::now()),
        ] {
            File::create(directory.path().join(name)).unwrap().set_modified(written).unwrap();
        }
        sweep(directory.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".unfinished-new", "kept.wasm"]);
    }
}
