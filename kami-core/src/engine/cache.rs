//! Native code on disk, used only if this data directory made it.
//!
//! Whoever can plant native code owns the host, so a file is a MAC followed by the code, and the
//! MAC covers the digest of the WebAssembly it was made from and the engine that made it. The key
//! is made on first use and never leaves the directory. The bytes that are checked are the bytes
//! that are loaded: nothing is mapped by path after the check.
//!
//! What was used longest ago goes first when there is too much, whichever engine made it; so the
//! code of engines that are gone goes too. Several processes may use and clean one directory: a file
//! that has gone is compiled again.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::digest::Digest;
use crate::{atomic_file, private_directory};

type HmacSha256 = Hmac<Sha256>;

const KEY_LENGTH: usize = 32;
const MAC_LENGTH: usize = 32;

/// The largest native code that is read back: about ten times the largest component in use.
const MAX_BYTES: u64 = 1 << 30;

/// How much is kept, by every engine together. A tool has about a megabyte.
const ROOM: Room = Room { bytes: 4 << 30, files: 2_000 };

/// An empty directory is that of an engine which is gone, if it was not used for this long: one that
/// an engine has just made is empty too.
const UNUSED: Duration = Duration::from_secs(24 * 3600);

/// The native code of one engine configuration.
pub(super) struct NativeCache {
    root: PathBuf,
    directory: PathBuf,
    mac: HmacSha256,
    room: Room,
}

/// How much may be kept.
#[derive(Debug, Clone, Copy)]
struct Room {
    bytes: u64,
    files: usize,
}

impl NativeCache {
    /// Opens the cache below `root` for the engine with `fingerprint`.
    pub(super) fn open(root: &Path, fingerprint: &str) -> io::Result<Self> {
        let directory = root.join(fingerprint);
        make_private(root)?;
        make_private(&directory)?;
        let key = read_or_make_key(&root.join("key"))?;
        let mut mac = HmacSha256::new_from_slice(&key).map_err(io::Error::other)?;
        mac.update(b"kami:native-code/v1\n");
        mac.update(fingerprint.as_bytes());
        Ok(Self { root: root.to_owned(), directory, mac, room: ROOM })
    }

    /// The native code made from `source`, if it is there and authentic.
    pub(super) fn load(&self, source: &[u8]) -> Option<Vec<u8>> {
        let digest = Digest::of(source);
        let path = self.path(&digest);
        // Ours are files. Reading a pipe would never end, and a link leads out of the directory.
        let found = fs::symlink_metadata(&path).ok()?;
        if !found.is_file() {
            tracing::warn!(path = %path.display(), "this is not a file of ours; compiling");
            return None;
        }
        let mut file = fs::File::open(&path).ok()?;
        let mut mac = [0; MAC_LENGTH];
        file.read_exact(&mut mac).ok()?;
        // Room for all of it at once: growing would copy it again and again.
        let mut native = Vec::with_capacity(found.len().min(MAX_BYTES) as usize);
        (&mut file).take(MAX_BYTES).read_to_end(&mut native).ok()?;
        if self.mac(&digest, &native).verify_slice(&mac).is_err() {
            tracing::warn!(path = %path.display(), "cached native code is not authentic; compiling");
            return None;
        }
        // It was used: others go before it. On a disk that is read-only none goes.
        let _ = file.set_modified(SystemTime::now());
        Some(native)
    }

    /// Keeps `native` for the next process, and makes room for it.
    ///
    /// # Errors
    /// Where it cannot be kept, as on a full disk, which only costs time later; or where what is too
    /// much cannot be removed.
    pub(super) fn store(&self, source: &[u8], native: &[u8]) -> io::Result<()> {
        // Somebody may have removed them while this process ran.
        make_private(&self.root)?;
        make_private(&self.directory)?;
        let digest = Digest::of(source);
        let mac = self.mac(&digest, native).finalize().into_bytes();
        let path = self.path(&digest);
        let stored = atomic_file::replace(&path, &[&mac[..], native].concat());
        // Room is made also where there was none, for the next time.
        stored.and(self.make_room(&path))
    }

    /// Where the code of this engine is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Removes what was used longest ago, until the rest is no more than there is room for. What
    /// was `just_stored` stays.
    fn make_room(&self, just_stored: &Path) -> io::Result<()> {
        let mut kept = Vec::new();
        for engine in fs::read_dir(&self.root)? {
            let engine = engine?;
            if engine.file_type()?.is_dir() {
                self.list(&engine.path(), &mut kept)?;
            }
        }
        kept.sort_by_key(|file| std::cmp::Reverse((file.path == just_stored, file.used)));
        let mut bytes = 0;
        for (count, file) in kept.iter().enumerate() {
            bytes += file.bytes;
            let fits = bytes <= self.room.bytes && count < self.room.files;
            if !fits && file.path != just_stored {
                unless_gone(fs::remove_file(&file.path))?;
            }
        }
        Ok(())
    }

    /// Lists the files of one engine, and removes its directory if it has none and is not in use.
    fn list(&self, engine: &Path, kept: &mut Vec<Kept>) -> io::Result<()> {
        let before = kept.len();
        for file in fs::read_dir(engine)? {
            let file = file?;
            // Another process may clean at the same time.
            let Ok(about) = file.metadata() else { continue };
            let used = about.modified()?;
            kept.push(Kept { path: file.path(), bytes: about.len(), used });
        }
        if kept.len() == before && engine != self.directory {
            let changed = fs::metadata(engine).and_then(|about| about.modified());
            if changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNUSED)) {
                // Unless another process has just put something there.
                let _ = fs::remove_dir(engine);
            }
        }
        Ok(())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}.cwasm", digest.hex()))
    }

    fn mac(&self, digest: &Digest, native: &[u8]) -> HmacSha256 {
        let mut mac = self.mac.clone();
        mac.update(digest.as_bytes());
        mac.update(native);
        mac
    }
}

/// A file of the cache.
struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// What is to be removed may have been removed by another process.
fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn make_private(directory: &Path) -> io::Result<()> {
    private_directory::create(directory).map_err(|unfit| about(directory, io::Error::other(unfit)))
}

/// Reads the key, or makes it; of two processes that make it at once, one wins and both use its key.
fn read_or_make_key(path: &Path) -> io::Result<[u8; KEY_LENGTH]> {
    if let Some(key) = read_key(path)? {
        return Ok(key);
    }
    let mut key = [0; KEY_LENGTH];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    io::Write::write_all(&mut file, &key)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(key),
        Err(_) => read_key(path)?.ok_or_else(|| about(path, io::Error::other("no key of ours"))),
    }
}

fn read_key(path: &Path) -> io::Result<Option<[u8; KEY_LENGTH]>> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.try_into().ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(about(path, error)),
    }
}

/// An error that tells which file it is about.
fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_authentic_code_for_the_same_source_and_engine_is_loaded() {
        let root = tempfile::tempdir().unwrap();
        let cache = NativeCache::open(root.path(), "engine-a").unwrap();
        cache.store(b"source", b"native").unwrap();
        assert_eq!(cache.load(b"source").as_deref(), Some(&b"native"[..]));
        assert_eq!(cache.load(b"other source"), None);

        let reopened = NativeCache::open(root.path(), "engine-a").unwrap();
        assert_eq!(reopened.load(b"source").as_deref(), Some(&b"native"[..]));

        // Neither a transplant to another source nor one to another engine is believed.
        let file = fs::read(cache.path(&Digest::of(b"source"))).unwrap();
        fs::write(cache.path(&Digest::of(b"other source")), &file).unwrap();
        assert_eq!(cache.load(b"other source"), None);
        let other = NativeCache::open(root.path(), "engine-b").unwrap();
        fs::write(other.path(&Digest::of(b"source")), &file).unwrap();
        assert_eq!(other.load(b"source"), None);
    }

    #[test]
    fn what_was_used_longest_ago_makes_room_whichever_engine_made_it() {
        let root = tempfile::tempdir().unwrap();
        let open = |engine: &str| NativeCache::open(root.path(), engine).unwrap();
        let (old, mut new) = (open("engine-a"), open("engine-b"));
        let age = |cache: &NativeCache, source: &[u8], hours: u64| {
            let file = fs::File::options().write(true).open(cache.path(&Digest::of(source)));
            let then = SystemTime::now() - Duration::from_secs(hours * 3600);
            file.unwrap().set_modified(then).unwrap();
        };
        old.store(b"of another engine", b"native").unwrap();
        age(&old, b"of another engine", 9);
        for (source, hours) in [(b"first ", 8), (b"second", 7), (b"third ", 6)] {
            new.store(source, b"native").unwrap();
            age(&new, source, hours);
        }
        assert!(new.load(b"first ").is_some(), "using it makes it the youngest");

        new.room = Room { bytes: 1 << 20, files: 3 };
        new.store(b"fourth", b"native").unwrap();
        assert_eq!(old.load(b"of another engine"), None);
        assert_eq!(new.load(b"second"), None);
        for source in [b"first ", b"third ", b"fourth"] {
            assert!(new.load(source).is_some());
        }

        new.room = Room { bytes: 10, files: 3 };
        new.store(b"fifth ", b"native").unwrap();
        assert!(new.load(b"fifth ").is_some(), "what is stored is kept, however large");
        assert_eq!(new.load(b"fourth"), None);

        let unused = SystemTime::now() - 2 * UNUSED;
        let directory = fs::File::open(&old.directory).unwrap();
        directory.set_modified(unused).unwrap();
        new.store(b"sixth ", b"native").unwrap();
        assert!(!old.directory.exists(), "nobody uses that engine any more");
        // One that does after all makes it again.
        old.store(b"back", b"native").unwrap();
        assert!(old.load(b"back").is_some());
    }

    #[cfg(unix)]
    #[test]
    fn neither_links_nor_pipes_are_read() {
        let root = tempfile::tempdir().unwrap();
        let cache = NativeCache::open(root.path(), "engine").unwrap();
        cache.store(b"source", b"native").unwrap();
        let path = cache.path(&Digest::of(b"source"));
        let elsewhere = root.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert_eq!(cache.load(b"source"), None, "even if it leads to authentic code");
        cache.store(b"source", b"native").unwrap();
        assert!(cache.load(b"source").is_some(), "the link was replaced");
        assert!(elsewhere.exists());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_write_to_what_is_used() {
        use std::os::unix::fs::PermissionsExt as _;

        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("cache");
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let cache = NativeCache::open(&root, "engine").unwrap();
        let modes = || {
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            [mode(&root), mode(&root.join("engine"))]
        };
        assert_eq!(modes(), [0o700; 2]);
        for exposed in [&root, &root.join("engine")] {
            for mode in [0o720, 0o702, 0o777] {
                set(exposed, mode);
                assert!(NativeCache::open(&root, "engine").is_err(), "{mode:o}");
                assert!(cache.store(b"source", b"native").is_err(), "{mode:o}");
            }
            set(exposed, 0o700);
        }
        // What is made anew by a process that runs is as private.
        fs::remove_dir_all(&root).unwrap();
        cache.store(b"source", b"native").unwrap();
        assert_eq!(modes(), [0o700; 2]);
    }

    #[test]
    fn no_altered_byte_is_loaded() {
        let root = tempfile::tempdir().unwrap();
        let cache = NativeCache::open(root.path(), "engine").unwrap();
        cache.store(b"source", b"native").unwrap();
        let path = cache.path(&Digest::of(b"source"));
        let file = fs::read(&path).unwrap();
        for at in 0..file.len() {
            let mut altered = file.clone();
            altered[at] ^= 1;
            fs::write(&path, altered).unwrap();
            assert_eq!(cache.load(b"source"), None, "byte {at}");
        }
        fs::write(&path, &file[..10]).unwrap();
        assert_eq!(cache.load(b"source"), None, "truncated");
    }
}
