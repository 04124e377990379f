//! Whether the log is what was written, from the first record that is kept to the last.
//!
//! The chain alone finds every edit, insertion, reordering and removal that does not reach the end.
//! The head finds the rest: it is authenticated, and names the first file, the record before it, the
//! last record and where that one ends.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::chain::{failed, head_path, holds_records, lock_path, read_head, read_key, wait_for};
use super::line::{self, ChainHead, Head, HeadDamage, LineDamage};
use super::lines::{self, Lines, Next};
use super::{AuditDamage, AuditError};
use crate::registry::DataDir;

/// A log that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many records were checked.
    pub records: u64,
    /// In how many files.
    pub files: usize,
    /// The last record that was removed because it was old; sequence number 0: none was.
    pub dropped: ChainHead,
    /// The last record.
    pub head: ChainHead,
    /// How many of the records the head does not cover yet: a writer ended between writing them and
    /// the head. The next writer adopts them and says so in the log.
    pub beyond_head: u64,
    /// How many bytes a writer left that ended in the middle of a line; the next one removes them.
    pub torn_bytes: u64,
}

/// The log as it was at one moment.
struct Snapshot {
    head: Head,
    files: Vec<LogFile>,
}

struct LogFile {
    number: u32,
    path: PathBuf,
    file: File,
    length: u64,
}

/// Checks every record that is kept in the log of `data`.
///
/// With `expect`, a place that was noted elsewhere, as [`head`] gave it, the log must still lead
/// there: that finds even a log that was replaced as a whole, together with its key.
///
/// Others may write meanwhile: what is checked is the log as it was at the beginning.
///
/// # Errors
/// [`AuditError::Damaged`] with the file, the line and what is wrong; others where the log cannot be
/// read.
pub fn verify(data: &DataDir, expect: Option<ChainHead>) -> Result<Verified, AuditError> {
    let directory = data.audit_dir();
    let Some(Snapshot { head, files }) = snapshot(&directory)? else {
        let nothing = ChainHead::start();
        let verified = Verified {
            records: 0,
            files: 0,
            dropped: nothing,
            head: nothing,
            beyond_head: 0,
            torn_bytes: 0,
        };
        return match expect {
            Some(expect) if expect != nothing => Err(AuditDamage::NotReached { expect }.into()),
            _ => Ok(verified),
        };
    };
    check_numbers(&directory, &head, &files)?;
    let mut walk = Walk::new(&head, expect);
    let count = files.len();
    for (at, file) in files.into_iter().enumerate() {
        walk.file(file, at + 1 == count)?;
    }
    walk.end(&directory, count)
}

/// The last record of the log, whose head is authenticated; nothing else is checked.
///
/// # Errors
/// Where the head is damaged or cannot be read.
pub fn head(data: &DataDir) -> Result<ChainHead, AuditError> {
    let snapshot = snapshot(&data.audit_dir())?;
    Ok(snapshot.map_or(ChainHead::start(), |snapshot| snapshot.head.last))
}

/// Opens everything while no writer is at work; what is open stays readable afterwards.
fn snapshot(directory: &Path) -> Result<Option<Snapshot>, AuditError> {
    let path = lock_path(directory);
    let lock = match File::open(&path) {
        Ok(lock) => Some(lock),
        // A copy of a log is checked without one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("open", path)(error)),
    };
    if let Some(lock) = &lock {
        wait_for(&path, || lock.try_lock_shared())?;
    }
    let damaged =
        |source| AuditError::from(AuditDamage::Head { path: head_path(directory), source });
    let Some(bytes) = read_head(directory)? else {
        return if holds_records(directory)? {
            Err(damaged(HeadDamage::Missing))
        } else {
            Ok(None)
        };
    };
    let key = read_key(directory)?.ok_or_else(|| damaged(HeadDamage::Key))?;
    let head = Head::read(&bytes, &key).map_err(damaged)?;
    let numbers = lines::numbers(directory).map_err(failed("list", directory))?;
    let open = |number| {
        let path = lines::path(directory, number);
        let file = File::open(&path).map_err(failed("open", &path))?;
        let length = file.metadata().map_err(failed("read", &path))?.len();
        Ok(LogFile { number, path, file, length })
    };
    let files = numbers.into_iter().map(open).collect::<Result<_, AuditError>>()?;
    Ok(Some(Snapshot { head, files }))
}

/// Whether the files are those that the head speaks of, and perhaps others before and after them.
fn check_numbers(directory: &Path, head: &Head, files: &[LogFile]) -> Result<(), AuditDamage> {
    let first = files.first().map_or(head.first_file, |file| file.number.min(head.first_file));
    let last = files.last().map_or(head.last_file, |file| file.number.max(head.last_file));
    let missing = |number: &u32| files.binary_search_by_key(number, |file| file.number).is_err();
    match (first..=last).find(missing) {
        // A new log is without a file until something is written.
        Some(_) if head.last.sequence == 0 && files.is_empty() => Ok(()),
        Some(number) => Err(AuditDamage::MissingFile { path: lines::path(directory, number) }),
        None => Ok(()),
    }
}

/// How far the check has come.
struct Walk<'a> {
    head: &'a Head,
    expect: Option<ChainHead>,
    /// The last record that was read; `None` where it is not known what comes before.
    place: Option<ChainHead>,
    verified: Verified,
    /// The record that the head speaks of was found where the head says.
    reached: bool,
}

impl<'a> Walk<'a> {
    fn new(head: &'a Head, expect: Option<ChainHead>) -> Self {
        let verified = Verified {
            records: 0,
            files: 0,
            dropped: head.before,
            head: head.before,
            beyond_head: 0,
            torn_bytes: 0,
        };
        Self { head, expect, place: None, verified, reached: head.last.sequence == 0 }
    }

    fn file(&mut self, file: LogFile, is_last: bool) -> Result<(), AuditError> {
        let LogFile { number, path, file, length } = file;
        if number == self.head.first_file {
            // Files before it are kept no more, and stay only if their removal was cut short.
            if self.place.is_some_and(|place| place != self.head.before) {
                return Err(
                    AuditDamage::Line { path, line: 1, source: LineDamage::Previous }.into()
                );
            }
            self.place = Some(self.head.before);
        }
        let reading = || failed("read", &path);
        let mut lines = Lines::new(file, 0, length).map_err(reading())?;
        loop {
            let found = match lines.next().map_err(reading())? {
                Next::Line(text) => match self.place {
                    Some(place) => line::follow(place, text),
                    None => line::read(text).map(|(found, _)| found),
                },
                Next::Torn if is_last && self.reached => {
                    self.verified.torn_bytes = length - lines.offset;
                    return Ok(());
                }
                Next::Torn => {
                    return Err(AuditDamage::Torn { path, line: lines.number + 1 }.into());
                }
                Next::End => return Ok(()),
            };
            let line = lines.number;
            let found =
                found.map_err(|source| AuditDamage::Line { path: path.clone(), line, source })?;
            self.place = Some(found);
            self.compare(found, number, lines.offset, &path)?;
        }
    }

    /// Compares a record with what the head says, and with what is expected.
    fn compare(
        &mut self,
        found: ChainHead,
        number: u32,
        end: u64,
        path: &Path,
    ) -> Result<(), AuditDamage> {
        if number < self.head.first_file {
            return Ok(());
        }
        self.verified.records += 1;
        self.verified.head = found;
        let last = self.head.last;
        if found.sequence == last.sequence {
            if found != last || number != self.head.last_file || end != self.head.bytes {
                let path = path.to_owned();
                return Err(AuditDamage::Replaced { sequence: found.sequence, path });
            }
            self.reached = true;
        } else if found.sequence > last.sequence {
            self.verified.beyond_head += 1;
        }
        match self.expect {
            Some(expect) if expect.sequence == found.sequence && expect != found => {
                Err(AuditDamage::Unexpected { expect, found })
            }
            _ => Ok(()),
        }
    }

    fn end(self, directory: &Path, files: usize) -> Result<Verified, AuditError> {
        if !self.reached {
            let path = lines::path(directory, self.head.last_file);
            let expected = self.head.last.sequence;
            return Err(AuditDamage::Truncated { expected, path }.into());
        }
        let dropped = self.head.before;
        match self.expect {
            Some(expect) if expect.sequence > self.verified.head.sequence => {
                Err(AuditDamage::NotReached { expect }.into())
            }
            Some(expect) if expect.sequence == dropped.sequence && expect != dropped => {
                Err(AuditDamage::Unexpected { expect, found: dropped }.into())
            }
            Some(expect) if expect.sequence < dropped.sequence => {
                Err(AuditDamage::Dropped { expect, dropped }.into())
            }
            _ => Ok(Verified { files, ..self.verified }),
        }
    }
}
