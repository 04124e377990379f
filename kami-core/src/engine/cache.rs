//! Native code on disk, used only if this data directory made it.
//!
//! Whoever can plant native code owns the host, so a file is a MAC followed by the code, and the
//! MAC covers the digest of the WebAssembly it was made from and the engine that made it. The key
//! is made on first use and never leaves the directory. The bytes that are checked are the bytes
//! that are loaded: nothing is mapped by path after the check.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::atomic_file;
use crate::digest::Digest;

type HmacSha256 = Hmac<Sha256>;

const KEY_LENGTH: usize = 32;
const MAC_LENGTH: usize = 32;

/// The largest native code that is read back: about ten times the largest component in use.
const MAX_BYTES: u64 = 1 << 30;

/// The native code of one engine configuration.
pub(super) struct NativeCache {
    directory: PathBuf,
    mac: HmacSha256,
}

impl NativeCache {
    /// Opens the cache below `root` for the engine with `fingerprint`.
    pub(super) fn open(root: &Path, fingerprint: &str) -> io::Result<Self> {
        let directory = root.join(fingerprint);
        create_private_directory(&directory)?;
        let key = read_or_make_key(&root.join("key"))?;
        let mut mac = HmacSha256::new_from_slice(&key).map_err(io::Error::other)?;
        mac.update(b"kami:native-code/v1\n");
        mac.update(fingerprint.as_bytes());
        Ok(Self { directory, mac })
    }

    /// The native code made from `source`, if it is there and authentic.
    pub(super) fn load(&self, source: &[u8]) -> Option<Vec<u8>> {
        let digest = Digest::of(source);
        let path = self.path(&digest);
        let mut bytes = Vec::new();
        fs::File::open(&path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        let (mac, native) = bytes.split_first_chunk::<MAC_LENGTH>()?;
        if self.mac(&digest, native).verify_slice(mac).is_err() {
            tracing::warn!(path = %path.display(), "cached native code is not authentic; compiling");
            return None;
        }
        bytes.drain(..MAC_LENGTH);
        Some(bytes)
    }

    /// Keeps `native` for the next process. A full disk only costs time later.
    pub(super) fn store(&self, source: &[u8], native: &[u8]) {
        let digest = Digest::of(source);
        let mac = self.mac(&digest, native).finalize().into_bytes();
        let path = self.path(&digest);
        if let Err(error) = atomic_file::replace(&path, &[&mac[..], native].concat()) {
            tracing::warn!(%error, path = %path.display(), "cannot keep native code");
        }
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

fn create_private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
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
        Err(_) => read_key(path)?.ok_or_else(|| io::Error::other("the cache's key is malformed")),
    }
}

fn read_key(path: &Path) -> io::Result<Option<[u8; KEY_LENGTH]>> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.try_into().ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_authentic_code_for_the_same_source_and_engine_is_loaded() {
        let root = tempfile::tempdir().unwrap();
        let cache = NativeCache::open(root.path(), "engine-a").unwrap();
        cache.store(b"source", b"native");
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
    fn no_altered_byte_is_loaded() {
        let root = tempfile::tempdir().unwrap();
        let cache = NativeCache::open(root.path(), "engine").unwrap();
        cache.store(b"source", b"native");
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
