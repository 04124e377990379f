//! Private directories that live as long as a call, and how they go away again.
//!
//! A guest may fill its directory with whatever it likes, nested as deeply as it likes. So removal
//! does not recurse, uses short paths, and holds one directory open at a time; and where there is
//! much to remove, a thread of its own does it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

/// The file whose lock says that a directory is in use.
const LOCK: &str = "lock";

/// How many entries are removed at once on the thread that ends the call. Some file systems take
/// milliseconds for a directory.
const REMOVED_INLINE: usize = 16;

/// A directory without a lock is swept only when it is this old: a new one gets its lock at once.
const UNLOCKED_AGE: Duration = Duration::from_secs(60);

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
