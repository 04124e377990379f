//! Private directories that live as long as a call, or as long as a package is installed, and how
//! they go away again.
//!
//! A guest may fill its directory with whatever it likes, nested as deeply as it likes. So removal
//! does not recurse, uses short paths, and holds one directory open at a time; and where there is
//! much to remove, a thread of its own does it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::name::PackageId;

/// The file whose lock says that a directory is in use.
const LOCK: &str = "lock";

/// How many entries are removed at once on the thread that ends the call. Some file systems take
/// milliseconds for a directory.
const REMOVED_INLINE: usize = 16;

/// A directory without a lock is swept only when it is this old: a new one gets its lock at once.
const UNLOCKED_AGE: Duration = Duration::from_secs(60);

/// What a file or directory counts for beside its bytes, about what it takes on the disk. So the
/// bound on bytes bounds their number, too.
pub(super) const ENTRY_BYTES: u64 = 4 << 10;

/// For how long the size of a kept directory is believed in where nothing of ours was written. It
/// may be another process that writes.
const MEASURE_AGE: Duration = Duration::from_secs(1);

/// The most entries that are counted in a kept directory; where there are more, it is full.
const MAX_MEASURED: usize = 1_000_000;

/// A private directory, removed when dropped.
pub(super) struct Scratch {
    bin: PathBuf,
    lock: Option<File>,
}

impl Scratch {
    /// Makes one below `parent`, which must be private itself.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        let bin = tempfile::Builder::new().prefix("call-").tempdir_in(parent)?.keep();
        let mut scratch = Self { bin, lock: None };
        let lock = File::create_new(scratch.bin.join(LOCK))?;
        lock.lock()?;
        scratch.lock = Some(lock);
        fs::create_dir(scratch.path())?;
        Ok(scratch)
    }

    /// What the guest gets.
    pub(super) fn path(&self) -> PathBuf {
        self.bin.join("0")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.lock.take();
        let mut removal = Removal::new(std::mem::take(&mut self.bin));
        match removal.advance(REMOVED_INLINE) {
            Ok(true) => {}
            Ok(false) => drop(REMOVER.send(removal)),
            Err(error) => tracing::warn!(%error, "a scratch directory is left for the next sweep"),
        }
    }
}

/// The directory that all calls of one package share.
///
/// It lies at `0` below a directory named after the package, so that it is removed as those of
/// single calls are.
pub(super) struct Kept {
    bin: PathBuf,
    room: Arc<Room>,
    /// One measures at a time, and whoever waits finds it done.
    measuring: tokio::sync::Mutex<()>,
}

impl Kept {
    /// The directory of `package` below `parent`, which must be private itself.
    pub(super) fn new(parent: &Path, package: &PackageId) -> Self {
        let bin = parent.join(package.as_str());
        Self { bin, room: Arc::default(), measuring: tokio::sync::Mutex::default() }
    }

    /// What the guest gets, and how much is in it.
    pub(super) async fn enter(&self) -> io::Result<(PathBuf, Arc<Room>)> {
        let path = self.bin.join("0");
        let _measuring = self.measuring.lock().await;
        if self.room.is_stale() || !path.is_dir() {
            let (room, path) = (Arc::clone(&self.room), path.clone());
            let measure = move || fs::create_dir_all(&path).map(|()| room.measure(&path));
            tokio::task::spawn_blocking(measure).await.map_err(io::Error::other)??;
        }
        Ok((path, Arc::clone(&self.room)))
    }
}

/// How much a kept directory holds, which is known only by looking: what is written by the calls
/// that share it is added to what was found last.
#[derive(Default)]
pub(super) struct Room(Mutex<Ledger>);

#[derive(Default)]
struct Ledger {
    /// What was found, when, and how much of what was charged had been written when looking began.
    found: Option<(u64, Instant)>,
    written_before: u64,
    /// Everything charged since the process began, and what of it is written by now.
    charged: u64,
    written: u64,
    /// Whether something may have changed since looking began.
    touched: bool,
}

impl Room {
    /// Charges `bytes`, unless the directory would hold more than `limit`.
    pub(super) fn charge(&self, bytes: u64, limit: u64) -> bool {
        let mut ledger = self.lock();
        let found = ledger.found.map_or(0, |(bytes, _)| bytes);
        let since = ledger.charged.saturating_sub(ledger.written_before);
        // What costs nothing, such as opening a file to read, is never refused.
        let held = found.saturating_add(since).saturating_add(bytes);
        let fits = bytes == 0 || held <= limit;
        if fits {
            ledger.charged = ledger.charged.saturating_add(bytes);
        }
        fits
    }

    /// Says that what was charged is written now, and would be found.
    pub(super) fn wrote(&self, bytes: u64) {
        let mut ledger = self.lock();
        ledger.written = ledger.written.saturating_add(bytes);
        ledger.touched = true;
    }

    /// Takes back a charge for what then did not come about.
    pub(super) fn give_back(&self, bytes: u64) {
        let mut ledger = self.lock();
        ledger.charged = ledger.charged.saturating_sub(bytes);
    }

    /// Says that something is about to change, be it for the better.
    pub(super) fn touch(&self) {
        self.lock().touched = true;
    }

    fn is_stale(&self) -> bool {
        let ledger = self.lock();
        ledger.touched || ledger.found.is_none_or(|(_, when)| when.elapsed() > MEASURE_AGE)
    }

    /// Looks how much there is. What is written meanwhile may count twice, and is not missed.
    fn measure(&self, path: &Path) {
        let mut ledger = self.lock();
        ledger.touched = false;
        let written_before = ledger.written;
        drop(ledger);
        let found = size_below(path);
        let mut ledger = self.lock();
        ledger.found = Some((found, Instant::now()));
        ledger.written_before = written_before;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sizes of all files below `path`, and [`ENTRY_BYTES`] for everything. Sparse files count in
/// full. What cannot be looked through, as it is too much or too deep, counts as endless; the guest
/// may still delete it.
fn size_below(path: &Path) -> u64 {
    let mut directories = vec![path.to_owned()];
    let (mut seen, mut bytes) = (0, 0_u64);
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            // Another call has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => return u64::MAX,
        };
        for entry in entries {
            seen += 1;
            let Some(entry) = entry.ok().filter(|_| seen <= MAX_MEASURED) else { return u64::MAX };
            match entry.metadata() {
                Ok(found) if found.is_dir() => directories.push(entry.path()),
                Ok(found) => bytes = bytes.saturating_add(found.len()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => return u64::MAX,
            }
            bytes = bytes.saturating_add(ENTRY_BYTES);
        }
    }
    bytes
}

/// Removes what `package` kept below `parent`; that there is nothing is fine.
///
/// # Errors
/// Where it cannot be removed.
pub fn forget(parent: &Path, package: &PackageId) -> io::Result<()> {
    let bin = parent.join(package.as_str());
    if !bin.try_exists()? {
        return Ok(());
    }
    let mut removal = Removal::new(bin);
    while !removal.advance(usize::MAX)? {}
    Ok(())
}

/// Finishes large removals. Where the thread cannot be started, the next sweep does it.
static REMOVER: LazyLock<Sender<Removal>> = LazyLock::new(|| {
    let (sender, removals) = mpsc::channel::<Removal>();
    let remove = move || {
        for mut removal in removals {
            let ended = loop {
                match removal.advance(REMOVED_INLINE) {
                    Ok(false) => {}
                    ended => break ended,
                }
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "a scratch directory is left for the next sweep");
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("kami-scratch".into()).spawn(remove) {
        tracing::warn!(%error, "large scratch directories are left for the next sweep");
    }
    sender
});

/// Removes directories that killed processes left below `parent`.
pub(crate) fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for bin in entries.flatten().map(|entry| entry.path()) {
        if is_abandoned(&bin) {
            // A failure here is tried again at the next start.
            drop(REMOVER.send(Removal::new(bin)));
        }
    }
}

fn is_abandoned(bin: &Path) -> bool {
    match File::open(bin.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(_) => {
            let made = fs::metadata(bin).and_then(|found| found.modified());
            made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > UNLOCKED_AGE))
        }
    }
}

/// A removal under way: `bin` holds directories called 0, 1, 2..., of which those from `at` to
/// `next` are still there.
struct Removal {
    bin: PathBuf,
    at: u64,
    next: u64,
}

impl Removal {
    fn new(bin: PathBuf) -> Self {
        // What an earlier, interrupted removal has moved here goes first into the numbering.
        let numbers = fs::read_dir(&bin).into_iter().flatten().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
        let next = numbers.max().map_or(1, |most| most.saturating_add(1));
        Self { bin, at: 0, next }
    }

    /// Removes up to about `most` entries; says whether all is gone.
    fn advance(&mut self, most: usize) -> io::Result<bool> {
        let mut left = most;
        while self.at < self.next {
            let directory = self.bin.join(self.at.to_string());
            match fs::read_dir(&directory) {
                Ok(entries) => {
                    for entry in entries {
                        let Some(rest) = left.checked_sub(1) else { return Ok(false) };
                        left = rest;
                        self.remove(&entry?)?;
                    }
                    match fs::remove_dir(&directory) {
                        // A listing may miss what stands near entries that go away meanwhile.
                        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => continue,
                        result => result?,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.at += 1;
        }
        match fs::remove_file(self.bin.join(LOCK)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::remove_dir(&self.bin)?;
        Ok(true)
    }

    /// Moves a directory up beside the others, so that no path ever grows; removes all else.
    fn remove(&mut self, entry: &fs::DirEntry) -> io::Result<()> {
        if entry.file_type()?.is_dir() {
            fs::rename(entry.path(), self.bin.join(self.next.to_string()))?;
            self.next += 1;
            Ok(())
        } else {
            fs::remove_file(entry.path())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_is_gone_with_its_call() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path()).unwrap();
        fs::create_dir(scratch.path().join("inner")).unwrap();
        fs::write(scratch.path().join("inner/file"), "x").unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn depth_and_breadth_are_removed_without_recursion() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path()).unwrap();
        // Built from the inside out, as no path may be longer than the system allows.
        let spare = scratch.path().join("spare");
        fs::create_dir(&spare).unwrap();
        for _ in 0..300 {
            let outer = scratch.path().join("outer");
            fs::create_dir(&outer).unwrap();
            fs::rename(&spare, outer.join("d")).unwrap();
            fs::rename(&outer, &spare).unwrap();
        }
        for at in 0..500 {
            fs::write(scratch.path().join(format!("f{at}")), "x").unwrap();
        }
        drop(scratch);
        let gone = || fs::read_dir(parent.path()).unwrap().count() == 0;
        for _ in 0..500 {
            if gone() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the directory is still there");
    }

    #[tokio::test]
    async fn a_kept_directory_counts_what_is_in_it_and_what_is_being_written() {
        let parent = tempfile::tempdir().unwrap();
        let package: PackageId = "dev.example.tool".parse().unwrap();
        let kept = Kept::new(parent.path(), &package);
        let (path, room) = kept.enter().await.unwrap();
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/file"), [0; 1000]).unwrap();
        let limit = 4 * ENTRY_BYTES;
        assert!(room.charge(3 * ENTRY_BYTES + 1000, limit), "it was empty");
        assert!(!room.charge(ENTRY_BYTES, limit), "by what was charged");
        room.wrote(3 * ENTRY_BYTES + 1000);
        let (_, room) = kept.enter().await.unwrap();
        assert!(!room.charge(ENTRY_BYTES, limit), "by what is there");
        assert!(room.charge(ENTRY_BYTES - 1000, limit));
        room.give_back(ENTRY_BYTES - 1000);
        assert!(room.charge(ENTRY_BYTES - 1000, limit));
        room.touch();
        let (_, room) = kept.enter().await.unwrap();
        assert!(!room.charge(1, limit), "by what is there and what is not written yet");
        room.wrote(ENTRY_BYTES - 1000);
        fs::remove_dir_all(path.join("a")).unwrap();
        let (_, room) = kept.enter().await.unwrap();
        assert!(room.charge(limit, limit), "it is empty again");

        forget(parent.path(), &package).unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        forget(parent.path(), &package).unwrap();
    }

    #[test]
    fn only_abandoned_directories_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let live = Scratch::new(parent.path()).unwrap();
        let killed = parent.path().join("call-killed");
        fs::create_dir_all(killed.join("0/x")).unwrap();
        fs::write(killed.join(LOCK), "").unwrap();
        sweep(parent.path());
        for _ in 0..500 {
            if !killed.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        assert!(!killed.exists());
        assert!(live.path().exists());
    }
}
