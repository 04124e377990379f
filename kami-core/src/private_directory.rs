//! Directories of keys and of native code, in which nobody else writes.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::Path;

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// It is another user's, or others may write to it.
    #[error(
        "it belongs to another user or may be written by others: make it yours alone (chmod 700)"
    )]
    Exposed,
    /// Something else has its name.
    #[error("it is not a directory: remove it")]
    NotADirectory,
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Makes a directory and those above it, where they are not there; only their owner may enter the new
/// ones, and nobody else may write to one that is there.
pub(crate) fn create(directory: &Path) -> Result<(), Unfit> {
    let failed = |source: io::Error| match fs::metadata(directory) {
        Ok(found) if !found.is_dir() => Unfit::NotADirectory,
        _ => Unfit::Io(source),
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(failed)?;
    if is_exposed(directory)? { Err(Unfit::Exposed) } else { Ok(()) }
}

/// Whether anybody else may change what is in a directory.
#[cfg(unix)]
fn is_exposed(directory: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;

    let found = fs::metadata(directory)?;
    if found.mode() & 0o022 != 0 {
        return Ok(true);
    }
    if found.uid() == rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    // Where the file system has other users than the system, a file made here belongs to whoever
    // this process is to it.
    let own = tempfile::tempfile_in(directory)?.metadata()?.uid();
    Ok(found.uid() != own)
}

/// Other systems give a profile's directories to its user alone.
#[cfg(not(unix))]
fn is_exposed(_: &Path) -> io::Result<bool> {
    Ok(false)
}
