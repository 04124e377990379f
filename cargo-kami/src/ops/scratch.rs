//! Unfinished work that goes away unless it is kept: on an error, on a panic, and on Ctrl-C.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::exit::Exit;

/// How the names of unfinished files and directories begin.
const PREFIX: &str = ".unfinished-";

/// A directory under a temporary name.
#[derive(Debug)]
pub struct ScratchDir {
    // Dropped in this order: nothing is left to clean up when the watch ends.
    directory: tempfile::TempDir,
    _watched: Watched,
}

impl ScratchDir {
    /// Makes one inside `parent`, so that it can be renamed to its place.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new(parent: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        // As any other new directory, and not private as temporary ones are.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let directory = builder.tempdir_in(parent)?;
        let watched = Watched::new(directory.path());
        Ok(Self { directory, _watched: watched })
    }

    /// Where it is for now.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Gives it its name; an empty directory that has it is replaced.
    ///
    /// # Errors
    /// Where the name is taken. The directory is then gone.
    pub fn keep(self, path: &Path) -> io::Result<()> {
        match fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(self.path(), path)?;
        // It is no longer where it would be removed.
        let _ = self.directory.keep();
        Ok(())
    }
}

/// Replaces the file at `path` as a whole: who reads it finds the old bytes or the new ones.
///
/// # Errors
/// Where the bytes cannot be written; the old file is then untouched.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    // As any other new file, and not private as temporary ones are.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(directory)?;
    let _watched = Watched::new(file.path());
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// What Ctrl-C removes before it ends the process.
static UNFINISHED: LazyLock<Mutex<BTreeSet<PathBuf>>> = LazyLock::new(|| {
    let watching = std::thread::Builder::new().name("ctrl-c".to_owned()).spawn(watch);
    if let Err(error) = watching {
        tracing::warn!(%error, "an interrupted build will leave its temporary files");
    }
    Mutex::default()
});

fn unfinished() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for Ctrl-C and ends the process, on a thread of its own, as the others are busy.
fn watch() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let interrupted = runtime.map(|runtime| runtime.block_on(tokio::signal::ctrl_c()));
    if let Ok(Ok(())) = interrupted {
        // Held to the end: nothing new is begun.
        let unfinished = unfinished();
        for path in unfinished.iter() {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        std::process::exit(Exit::Interrupted as i32);
    }
}

/// Enters a path among the unfinished ones until it is dropped.
#[derive(Debug)]
struct Watched(PathBuf);

impl Watched {
    fn new(path: &Path) -> Self {
        unfinished().insert(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        unfinished().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_without_a_trace() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("new/x.wasm");
        for bytes in [b"one", b"two"] {
            replace_file(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(names(path.parent().unwrap()), ["x.wasm"]);
    }

    #[test]
    fn a_directory_is_kept_or_gone() {
        let home = tempfile::tempdir().unwrap();
        drop(ScratchDir::new(home.path()).unwrap());
        assert_eq!(names(home.path()), Vec::<String>::new());

        let place = home.path().join("place");
        fs::create_dir(&place).unwrap();
        let directory = ScratchDir::new(home.path()).unwrap();
        fs::write(directory.path().join("f"), "").unwrap();
        directory.keep(&place).unwrap();
        assert_eq!(names(home.path()), ["place"]);

        let directory = ScratchDir::new(home.path()).unwrap();
        assert!(directory.keep(&place).is_err(), "it is not empty");
        assert_eq!(names(home.path()), ["place"]);
    }
}
