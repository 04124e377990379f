//! Appending to the log, by one process among several.
//!
//! A batch is written under the lock, in this order: the records; then, if the disk is to be
//! waited for, a sync; then the head, which replaces the old one by rename. So the head never
//! speaks of a record that is not there, and a writer that ends at any moment leaves records
//! beyond the head, of which the last may be torn. The next writer, under the lock, adopts those
//! that follow the chain, cuts off the torn one, and records that it did ([`AuditEvent::Recovery`]).
//! It changes nothing else: a whole line that does not follow the chain is no accident.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hmac::KeyInit as _;

use super::event::AuditEvent;
use super::line::{self, ChainHead, Head, HeadDamage, HeadKey, MAX_HEAD};
use super::lines::{self, Lines, Next};
use super::time::UtcTime;
use super::{AuditDamage, AuditError, AuditOptions, Durability};
use crate::atomic_file;
use crate::registry::DataDir;

/// How long another process may hold the lock. It is held for one batch at a time.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// Between two tries to get the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

const KEY_LENGTH: usize = 32;

/// The log, opened for writing.
pub(super) struct Chain {
    directory: PathBuf,
    options: AuditOptions,
    lock: File,
    key: HeadKey,
    known: Option<Known>,
}

/// What this process knows of the end of the log, as of when it last had the lock.
struct Known {
    head: Head,
    /// The bytes of the head's file; other bytes mean that another process wrote.
    written: Vec<u8>,
    file: File,
}

/// What a writer left that ended in the middle of its work.
#[derive(Default)]
struct Leftovers {
    adopted: u64,
    discarded_bytes: u64,
}

/// The lock, held.
struct Held<'a>(&'a File);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // It would be let go of with the file at the latest.
        let _ = self.0.unlock();
    }
}

pub(super) fn failed(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> AuditError {
    let path = path.into();
    move |source| AuditError::Io { action, path, source }
}

pub(super) fn lock_path(directory: &Path) -> PathBuf {
    directory.join("lock")
}

pub(super) fn head_path(directory: &Path) -> PathBuf {
    directory.join("head")
}

fn key_path(directory: &Path) -> PathBuf {
    directory.join("key")
}

/// A file that is its owner's alone, opened as `options` say.
fn private(options: &mut OpenOptions, path: &Path) -> Result<File, AuditError> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path).map_err(failed("open", path))
}

/// Tries `lock` until it succeeds, for as long as one waits for another process.
pub(super) fn wait_for(
    path: &Path,
    lock: impl Fn() -> Result<(), TryLockError>,
) -> Result<(), AuditError> {
    let started = Instant::now();
    loop {
        match lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(failed("lock", path)(source)),
            Err(TryLockError::WouldBlock) if started.elapsed() > LOCK_LIMIT => {
                return Err(AuditError::Busy { path: path.into() });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

/// The key that authenticates the head; `None` where there is none.
pub(super) fn read_key(directory: &Path) -> Result<Option<HeadKey>, AuditError> {
    let path = key_path(directory);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let key = <[u8; KEY_LENGTH]>::try_from(bytes).ok();
    let key = key.and_then(|key| HeadKey::new_from_slice(&key).ok());
    key.map(Some).ok_or_else(|| AuditDamage::Head { path, source: HeadDamage::Key }.into())
}

/// The bytes of the head's file; `None` where there is none.
pub(super) fn read_head(directory: &Path) -> Result<Option<Vec<u8>>, AuditError> {
    let path = head_path(directory);
    let mut bytes = Vec::new();
    let read =
        File::open(&path).and_then(|file| file.take(MAX_HEAD as u64).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

impl Chain {
    /// Opens the log in `data`, makes it if there is none, and looks whether it can be continued.
    pub(super) fn open(data: &DataDir, options: AuditOptions) -> Result<Self, AuditError> {
        data.create()?;
        let directory = data.audit_dir();
        let path = lock_path(&directory);
        let lock = private(OpenOptions::new().read(true).write(true).create(true), &path)?;
        wait_for(&path, || lock.try_lock())?;
        let held = Held(&lock);
        let key = read_or_make_key(&directory)?;
        drop(held);
        let mut chain = Self { directory, options, lock, key, known: None };
        chain.append(&[])?;
        Ok(chain)
    }

    /// Appends events as one batch; where that fails, none of them is in the log.
    pub(super) fn append(&mut self, events: &[(UtcTime, AuditEvent)]) -> Result<(), AuditError> {
        wait_for(&lock_path(&self.directory), || self.lock.try_lock())?;
        let _held = Held(&self.lock);
        let known = self.known.take();
        let (mut known, leftovers) = self.catch_up(known)?;
        let before = known.head.clone();
        let mut records = Vec::new();
        if leftovers.adopted > 0 || leftovers.discarded_bytes > 0 {
            let Leftovers { adopted, discarded_bytes } = leftovers;
            records.push((UtcTime::now(), AuditEvent::Recovery { adopted, discarded_bytes }));
        }
        let records = records.iter().chain(events);
        if let Err(error) = self.write(&mut known, records) {
            self.undo(&before, known.head.last_file);
            return Err(error);
        }
        if before.first_file != known.head.first_file {
            self.remove_before(known.head.first_file);
        }
        self.known = Some(known);
        Ok(())
    }

    fn path(&self, number: u32) -> PathBuf {
        lines::path(&self.directory, number)
    }

    fn open_file(&self, number: u32) -> Result<File, AuditError> {
        private(OpenOptions::new().read(true).append(true).create(true), &self.path(number))
    }

    /// Finds the end of the log; what this process knows is good as long as nobody else wrote.
    fn catch_up(&self, known: Option<Known>) -> Result<(Known, Leftovers), AuditError> {
        let written = read_head(&self.directory)?;
        if let Some(known) = known
            && written.as_ref() == Some(&known.written)
            && self.ends_with(&known)?
        {
            return Ok((known, Leftovers::default()));
        }
        let head = match &written {
            Some(bytes) => Head::read(bytes, &self.key).map_err(|source| self.damaged(source))?,
            None => {
                if holds_records(&self.directory)? {
                    return Err(self.damaged(HeadDamage::Missing).into());
                }
                Head::start()
            }
        };
        self.recover(head, written.unwrap_or_default())
    }

    fn damaged(&self, source: HeadDamage) -> AuditDamage {
        AuditDamage::Head { path: head_path(&self.directory), source }
    }

    /// Whether the log ends where its head says.
    fn ends_with(&self, known: &Known) -> Result<bool, AuditError> {
        let number = known.head.last_file;
        let path = self.path(number);
        // By its path: another file may stand in the place of the one that is open.
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("read", path)(error)),
        };
        Ok(length == known.head.bytes && !self.path(number + 1).exists())
    }

    /// Goes from the head to the end of the last file, adopts what follows the chain, and cuts off
    /// what is torn.
    fn recover(&self, head: Head, written: Vec<u8>) -> Result<(Known, Leftovers), AuditError> {
        self.check_last(&head)?;
        let mut head = head;
        let mut leftovers = Leftovers::default();
        loop {
            let path = self.path(head.last_file);
            let file = self.open_file(head.last_file)?;
            let reading = failed("read", &path);
            let length = file.metadata().map_err(failed("read", &path))?.len();
            let copy = file.try_clone().map_err(failed("open", &path))?;
            let mut lines = Lines::new(copy, head.bytes, length).map_err(reading)?;
            let torn = loop {
                let next = match lines.next().map_err(failed("read", &path))? {
                    Next::Line(text) => line::follow(head.last, text),
                    Next::Torn => break true,
                    Next::End => break false,
                };
                head.last = next.map_err(|source| AuditDamage::Line {
                    path: path.clone(),
                    line: lines.number,
                    source,
                })?;
                head.bytes = lines.offset;
                leftovers.adopted += 1;
            };
            if torn {
                file.set_len(head.bytes).map_err(failed("shorten", &path))?;
                leftovers.discarded_bytes = length - head.bytes;
            }
            if !self.path(head.last_file + 1).exists() {
                self.remove_before(head.first_file);
                return Ok((Known { head, written, file }, leftovers));
            }
            // A new file is begun once the one before it is whole.
            if torn {
                return Err(AuditDamage::Torn { path, line: lines.number + 1 }.into());
            }
            head.last_file += 1;
            head.bytes = 0;
        }
    }

    /// Whether the last record that the head knows is where the head says.
    fn check_last(&self, head: &Head) -> Result<(), AuditError> {
        let path = self.path(head.last_file);
        let truncated =
            || AuditDamage::Truncated { expected: head.last.sequence, path: path.clone() };
        if head.bytes == 0 {
            return Ok(());
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(AuditDamage::MissingFile { path }.into());
            }
            Err(error) => return Err(failed("open", path)(error)),
        };
        // With the newline before it, so that the line is seen to begin where it does.
        let start = head.bytes.saturating_sub(line::MAX_LINE as u64 + 2);
        let mut end = Vec::new();
        let mut reader = file;
        io::Seek::seek(&mut reader, io::SeekFrom::Start(start))
            .and_then(|_| reader.take(head.bytes - start).read_to_end(&mut end))
            .map_err(failed("read", &path))?;
        let text = end.strip_suffix(b"\n").filter(|_| end.len() as u64 == head.bytes - start);
        let text = text.ok_or_else(truncated)?;
        let text = text.rsplit(|byte| *byte == b'\n').next().unwrap_or(text);
        match line::read(text) {
            Ok((found, _)) if found == head.last => Ok(()),
            _ => Err(AuditDamage::Replaced { sequence: head.last.sequence, path }.into()),
        }
    }

    fn write<'a>(
        &self,
        known: &mut Known,
        records: impl Iterator<Item = &'a (UtcTime, AuditEvent)>,
    ) -> Result<(), AuditError> {
        let mut buffer = Vec::new();
        for (time, event) in records {
            if known.head.bytes + buffer.len() as u64 >= self.options.max_file_bytes {
                self.put(known, &mut buffer)?;
                if let Some(event) = self.rotate(known)? {
                    known.head.last = line::write(known.head.last, *time, &event, &mut buffer)?;
                }
            }
            known.head.last = line::write(known.head.last, *time, event, &mut buffer)?;
        }
        self.put(known, &mut buffer)?;
        let written = known.head.write(&self.key)?;
        if written != known.written {
            self.replace_head(&written)?;
            known.written = written;
        }
        Ok(())
    }

    /// Writes whole lines to the current file.
    fn put(&self, known: &mut Known, buffer: &mut Vec<u8>) -> Result<(), AuditError> {
        if buffer.is_empty() {
            return Ok(());
        }
        let path = self.path(known.head.last_file);
        known.file.write_all(buffer).map_err(failed("write", &path))?;
        if self.options.durability == Durability::EachBatch {
            known.file.sync_data().map_err(failed("write", &path))?;
        }
        known.head.bytes += buffer.len() as u64;
        buffer.clear();
        Ok(())
    }

    /// Begins a new file; says what is dropped for it, if there are too many now.
    fn rotate(&self, known: &mut Known) -> Result<Option<AuditEvent>, AuditError> {
        let head = &mut known.head;
        head.last_file += 1;
        head.bytes = 0;
        known.file = self.open_file(head.last_file)?;
        if self.options.durability == Durability::EachBatch {
            atomic_file::sync_directory(&self.directory)
                .map_err(failed("write", &self.directory))?;
        }
        let first = head.last_file.saturating_sub(self.options.max_files.get() - 1);
        if first <= head.first_file {
            return Ok(None);
        }
        head.before = if first == head.last_file { head.last } else { self.before(first)? };
        head.first_file = first;
        Ok(Some(AuditEvent::Retention { through: head.before }))
    }

    /// The last record before a file, as the file's first record names it.
    fn before(&self, number: u32) -> Result<ChainHead, AuditError> {
        let path = self.path(number);
        let file = File::open(&path).map_err(failed("open", &path))?;
        let mut lines = Lines::new(file, 0, u64::MAX).map_err(failed("read", &path))?;
        let first = match lines.next().map_err(failed("read", &path))? {
            Next::Line(text) => line::read(text),
            Next::Torn | Next::End => return Err(AuditDamage::Torn { path, line: 1 }.into()),
        };
        let (found, hash) = first.map_err(|source| AuditDamage::Line { path, line: 1, source })?;
        Ok(ChainHead { sequence: found.sequence.saturating_sub(1), hash })
    }

    /// The name of the new file is always the same, as only who has the lock writes it.
    fn replace_head(&self, bytes: &[u8]) -> Result<(), AuditError> {
        let path = head_path(&self.directory);
        let unfinished = self.directory.join("head.unfinished");
        let options = &mut OpenOptions::new();
        let mut file = private(options.write(true).create(true).truncate(true), &unfinished)?;
        let mut write = || {
            file.write_all(bytes)?;
            if self.options.durability == Durability::EachBatch {
                file.sync_all()?;
            }
            fs::rename(&unfinished, &path)
        };
        write().map_err(failed("write", &path))
    }

    /// Takes back a batch of which a part may be written; what cannot be taken back follows the
    /// chain, and is adopted by the next writer.
    fn undo(&self, before: &Head, reached: u32) {
        let mut undone = Ok(());
        for number in before.last_file + 1..=reached {
            undone = undone.and(match fs::remove_file(self.path(number)) {
                // It is the one that could not be made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            });
        }
        let shorten = |file: File| file.set_len(before.bytes);
        let options = &mut OpenOptions::new();
        undone =
            undone.and(options.write(true).open(self.path(before.last_file)).and_then(shorten));
        if let Err(error) = undone {
            tracing::warn!(%error, "an unfinished batch stays in the audit log");
        }
    }

    /// Removes the files that are not kept any more. One that stays does no harm.
    fn remove_before(&self, first: u32) {
        for number in (1..first).rev() {
            match fs::remove_file(self.path(number)) {
                Ok(()) => {}
                // Those before it went earlier.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(error) => {
                    tracing::warn!(%error, number, "an old file of the audit log stays");
                    return;
                }
            }
        }
    }
}

/// Whether there is anything that a head should know of. A new log has an empty file for a moment
/// before it has a head.
pub(super) fn holds_records(directory: &Path) -> Result<bool, AuditError> {
    let numbers = lines::numbers(directory).map_err(failed("list", directory))?;
    for number in numbers {
        let path = lines::path(directory, number);
        if fs::metadata(&path).map_err(failed("read", path))?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the key, or makes it; the caller holds the lock.
fn read_or_make_key(directory: &Path) -> Result<HeadKey, AuditError> {
    if let Some(key) = read_key(directory)? {
        return Ok(key);
    }
    let path = key_path(directory);
    if head_path(directory).exists() {
        return Err(AuditDamage::Head { path, source: HeadDamage::Key }.into());
    }
    let mut key = [0; KEY_LENGTH];
    getrandom::fill(&mut key).map_err(io::Error::other).map_err(failed("make", &path))?;
    atomic_file::replace(&path, &key).map_err(failed("write", &path))?;
    read_key(directory)?.ok_or_else(|| AuditDamage::Head { path, source: HeadDamage::Key }.into())
}
