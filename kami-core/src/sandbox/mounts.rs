//! Directories of the host that a guest sees: vetted once, held open, and looked after.
//!
//! A guest gets the very directory that was vetted, by handle: whatever is put in its place later,
//! by another tool or by anybody else, is not what the guest sees. What lies in the directory is
//! not looked through here, as it may be anything tomorrow; each opening is judged for itself, in
//! [`super::files`].

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::grants::{Access, Mount};

/// Why a directory cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// It is not there, or cannot be opened.
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
    Link {
        /// Which directory.
        path: PathBuf,
        /// Where it leads.
        real: PathBuf,
    },
    /// It shows processes or devices, as `/proc` does.
    #[error("cannot mount {}: it shows the state of the system, not files", .0.display())]
    System(PathBuf),
    /// Something else stands where it was when it was vetted.
    #[error(
        "{} is not the directory that was bound: it was moved, removed or replaced; \
         start the server again to bind what is there now",
        .0.display()
    )]
    Moved(PathBuf),
}

/// A directory that was vetted and is held open.
pub(super) struct Bound {
    path: PathBuf,
    identity: Identity,
    dir: Dir,
}

impl Bound {
    /// Vets and opens the directory of `mount`.
    ///
    /// Refuses what is not a directory, what is reached through links, and what overlaps `private`.
    pub(super) fn open(mount: &Mount<'_>, private: Option<&Path>) -> Result<Self, MountError> {
        let path = mount.host_path;
        let failed = |source| MountError::Io { path: path.into(), source };
        let real = fs::canonicalize(path).map_err(failed)?;
        if real != path {
            return Err(MountError::Link { path: path.into(), real });
        }
        if let Some(private) = private.and_then(|private| fs::canonicalize(private).ok())
            && (real.starts_with(&private) || private.starts_with(&real))
        {
            return Err(MountError::Private { path: path.into(), private });
        }
        if !real.is_dir() {
            return Err(MountError::NotADirectory(real));
        }
        let handle = open_without_links(path).map_err(failed)?;
        if shows_system(&handle) {
            return Err(MountError::System(real));
        }
        let identity = Identity::of(&handle.metadata().map_err(failed)?, path);
        Ok(Self { path: real, identity, dir: preopen(handle, mount.access) })
    }

    /// The directory, for one call, unless something else stands in its place by now.
    ///
    /// The guest would be safe from what stands there. The operator, who named a path, would not
    /// learn that the guest works somewhere else.
    pub(super) fn dir(&self) -> Result<Dir, MountError> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_dir() && Identity::of(&found, &self.path) == self.identity => {
                Ok(self.dir.clone())
            }
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(MountError::Io { path: self.path.clone(), source })
            }
            _ => Err(MountError::Moved(self.path.clone())),
        }
    }
}

/// Wraps an open directory for a guest.
pub(super) fn preopen(handle: File, access: Access) -> Dir {
    match access {
        Access::ReadOnly => Dir::new(handle, FsPerms::ReadOnly, OpenMode::READ, false),
        Access::ReadWrite => {
            Dir::new(handle, FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE, false)
        }
    }
}

/// What tells one directory from another at the same path.
#[derive(PartialEq, Eq)]
#[cfg(unix)]
struct Identity {
    device: u64,
    inode: u64,
}

#[cfg(unix)]
impl Identity {
    fn of(found: &fs::Metadata, _: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        Self { device: found.dev(), inode: found.ino() }
    }
}

/// Elsewhere files have no number that the standard library tells; where the path leads has to do.
#[derive(PartialEq, Eq)]
#[cfg(not(unix))]
struct Identity(Option<PathBuf>);

#[cfg(not(unix))]
impl Identity {
    fn of(_: &fs::Metadata, path: &Path) -> Self {
        Self(fs::canonicalize(path).ok())
    }
}

/// Opens a directory of ours, whose parents are trusted.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;

        let mut flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        // Only Linux lets a directory be passed through that one may not list.
        #[cfg(target_os = "linux")]
        {
            flags |= OFlags::PATH;
        }
        options.custom_flags(flags.bits().cast_signed());
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt as _;

        /// `FILE_FLAG_BACKUP_SEMANTICS`, without which no directory can be opened.
        const BACKUP_SEMANTICS: u32 = 0x0200_0000;
        options.custom_flags(BACKUP_SEMANTICS);
    }
    options.open(path)
}

/// Opens a directory only if no part of its path is a link, all in one step.
#[cfg(target_os = "linux")]
fn open_without_links(path: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::Errno;

    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(CWD, path, flags, Mode::empty(), resolve) {
        Ok(handle) => Ok(handle.into()),
        // Old kernels do not know it, and some containers forbid it.
        Err(Errno::NOSYS | Errno::PERM) => open_and_compare(path),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_without_links(path: &Path) -> io::Result<File> {
    open_and_compare(path)
}

/// Opens a directory and then asks again whether a link has come into its path meanwhile. A link
/// that comes and goes between the two is missed.
fn open_and_compare(path: &Path) -> io::Result<File> {
    let handle = open_directory(path)?;
    if fs::canonicalize(path)? != path {
        return Err(io::Error::other("a link was put into its path just now"));
    }
    Ok(handle)
}

/// Whether `handle` is of a file system that shows the kernel's state, such as `/proc`, in which
/// what looks like a file may be a process's memory or a switch of the machine.
#[cfg(target_os = "linux")]
pub(super) fn shows_system(handle: &File) -> bool {
    /// procfs, sysfs, devpts, debugfs, tracefs, securityfs, configfs, cgroup, cgroup2, bpf, pstore,
    /// efivarfs, selinuxfs, binfmt_misc and nsfs, as `linux/magic.h` numbers them.
    const KINDS: [u64; 15] = [
        0x9fa0,
        0x6265_6572,
        0x1cd1,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0x6265_6570,
        0x0027_e0eb,
        0x6367_7270,
        0xcafe_4a11,
        0x6165_676c,
        0xde5e_81e4,
        0xf97c_ff8c,
        0x4249_4e4d,
        0x6e73_6673,
    ];

    // What cannot be told is not shown.
    let kind = rustix::fs::fstatfs(handle).map(|found| found.f_type);
    kind.map_or(true, |kind| KINDS.contains(&u64::from((kind as u64) as u32)))
}

/// Elsewhere no directory is known to do that.
#[cfg(not(target_os = "linux"))]
pub(super) fn shows_system(_: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path, private: Option<&Path>) -> Result<Bound, MountError> {
        let guest_path = "/docs".to_owned();
        Bound::open(&Mount { guest_path, host_path: path, access: Access::ReadOnly }, private)
    }

    fn refusal(path: &Path, private: &Path) -> MountError {
        bind(path, Some(private)).map(drop).unwrap_err()
    }

    #[test]
    fn files_missing_and_private_directories_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let inner = root.join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(root.join("file"), b"").unwrap();
        assert!(bind(&root, None).is_ok());
        assert!(matches!(refusal(&inner, &root), MountError::Private { .. }));
        assert!(matches!(refusal(&root, &inner), MountError::Private { .. }));
        assert!(matches!(refusal(&root.join("file"), &inner), MountError::NotADirectory(_)));
        assert!(matches!(refusal(Path::new("/nowhere/at/all"), &inner), MountError::Io { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_anywhere_in_the_path_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let real = root.join("real");
        fs::create_dir_all(real.join("inner")).unwrap();
        std::os::unix::fs::symlink(&real, root.join("link")).unwrap();
        for path in [root.join("link"), root.join("link/inner"), root.join("real/../real")] {
            let refused = bind(&path, None).map(drop).unwrap_err();
            assert!(matches!(refused, MountError::Link { .. }), "{}", path.display());
            #[cfg(target_os = "linux")]
            assert!(path.ends_with("../real") || open_without_links(&path).is_err());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_a_directory_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let (path, aside, secret) = (root.join("bound"), root.join("aside"), root.join("secret"));
        fs::create_dir(&path).unwrap();
        fs::create_dir(&secret).unwrap();
        let bound = bind(&path, None).unwrap();
        let moved = || matches!(bound.dir(), Err(MountError::Moved(_)));
        assert!(!moved());
        fs::rename(&path, &aside).unwrap();
        assert!(moved(), "nothing is there");
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        assert!(moved(), "a link is there");
        fs::remove_file(&path).unwrap();
        fs::rename(&secret, &path).unwrap();
        assert!(moved(), "another directory is there");
        fs::rename(&path, &secret).unwrap();
        fs::rename(&aside, &path).unwrap();
        assert!(!moved(), "it is back");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_shows_the_state_of_the_system_is_refused() {
        for path in ["/proc", "/proc/sys", "/sys/kernel"] {
            let refused = bind(Path::new(path), None).map(drop).unwrap_err();
            assert!(matches!(refused, MountError::System(_)), "{path}");
        }
    }
}
