//! Reading the log, while others write it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use super::chain::failed;
use super::event::AuditEvent;
use super::line::{LineDamage, VERSION, version};
use super::lines::{self, Lines, Next};
use super::time::UtcTime;
use super::{AuditDamage, AuditError};
use crate::registry::DataDir;

/// One record of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Its number; the first record has 1.
    pub sequence: u64,
    /// When it happened, by the clock of that process. Records of several processes may be out of
    /// order by a moment.
    pub time: UtcTime,
    /// What happened.
    pub event: AuditEvent,
    /// The line as it stands in the file: JSON, with the hashes of the chain.
    pub line: String,
}

/// Which records are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Those about a tool of this name on the wire, or a package of this id.
    pub tool: Option<String>,
    /// Those of this kind, as [`AuditEvent::kind`] names it; `denial` for calls in which something
    /// was denied.
    pub kind: Option<String>,
    /// Those from this moment on.
    pub since: Option<UtcTime>,
}

impl AuditFilter {
    /// Every word that [`Self::kind`] may be.
    pub const KINDS: &[&str] = &[
        "call",
        "denial",
        "refusal",
        "install",
        "uninstall",
        "grant",
        "policy",
        "trust",
        "keygen",
        "secret",
        "token",
        "recovery",
        "retention",
    ];

    /// Whether a record is wanted.
    pub fn wants(&self, record: &AuditRecord) -> bool {
        let AuditRecord { event, time, .. } = record;
        let kind = |kind: &String| match kind.as_str() {
            "denial" => !event.denials().is_empty(),
            kind => event.kind() == kind,
        };
        self.kind.as_ref().is_none_or(kind)
            && self.tool.as_ref().is_none_or(|name| event.is_about(name))
            && self.since.is_none_or(|since| *time >= since)
    }
}

/// Reads records in order, and goes on with those that are written later.
///
/// It checks no hash: [`verify`](super::verify) does.
pub struct AuditReader {
    directory: PathBuf,
    /// The file that is being read.
    number: u32,
    /// Where in it the next record begins.
    offset: u64,
    /// How many records of it were read.
    line: u64,
    /// The file, opened at that place.
    lines: Option<Lines>,
}

/// The last records of a log.
#[derive(Debug, Default)]
pub struct Tail {
    /// The records, oldest first.
    pub records: Vec<AuditRecord>,
    /// The lines that could not be read.
    pub damage: Vec<AuditDamage>,
}

#[derive(Deserialize)]
struct Read {
    seq: u64,
    time: UtcTime,
    #[serde(flatten)]
    event: AuditEvent,
}

impl AuditReader {
    /// Begins with the oldest record that is kept; where there is no log, with the first that will be.
    pub fn new(data: &DataDir) -> Self {
        Self::at(data.audit_dir(), 0)
    }

    fn at(directory: PathBuf, number: u32) -> Self {
        Self { directory, number, offset: 0, line: 0, lines: None }
    }

    /// The last `count` records that are wanted; the reader goes on after the last of the log.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn tail(&mut self, count: usize, filter: &AuditFilter) -> Result<Tail, AuditError> {
        let mut tail = Tail::default();
        let mut found: VecDeque<AuditRecord> = VecDeque::new();
        let mut end = None;
        for number in self.numbers()?.into_iter().rev() {
            let mut reader = Self::at(self.directory.clone(), number);
            let room = count - found.len();
            let mut of_file = VecDeque::new();
            while let Some(record) = reader.next_in_file()? {
                match record {
                    Ok(record) if filter.wants(&record) => {
                        of_file.push_back(record);
                        if of_file.len() > room {
                            of_file.pop_front();
                        }
                    }
                    Ok(_) => {}
                    Err(damage) => tail.damage.push(damage),
                }
            }
            end.get_or_insert((number, reader.offset, reader.line));
            of_file.append(&mut found);
            found = of_file;
            if found.len() >= count {
                break;
            }
        }
        if let Some(end) = end {
            (self.number, self.offset, self.line) = end;
            self.lines = None;
        }
        tail.records = found.into();
        Ok(tail)
    }

    /// The next record; `None` where there is none yet. Ask again later.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn next_record(&mut self) -> Result<Option<Result<AuditRecord, AuditDamage>>, AuditError> {
        loop {
            // Asked for first: once there is a next file, this one is whole.
            let next = self.numbers()?.into_iter().find(|number| *number > self.number);
            if self.number > 0
                && let Some(record) = self.next_in_file()?
            {
                return Ok(Some(record));
            }
            match next {
                Some(next) => *self = Self::at(std::mem::take(&mut self.directory), next),
                None => return Ok(None),
            }
        }
    }

    fn numbers(&self) -> Result<Vec<u32>, AuditError> {
        lines::numbers(&self.directory).map_err(failed("list", &self.directory))
    }

    fn next_in_file(&mut self) -> Result<Option<Result<AuditRecord, AuditDamage>>, AuditError> {
        let path = lines::path(&self.directory, self.number);
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => match File::open(&path) {
                Ok(file) => {
                    let lines = Lines::new(file, self.offset, u64::MAX);
                    self.lines.insert(lines.map_err(failed("read", &path))?)
                }
                // It was old enough to be removed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed("open", path)(error)),
            },
        };
        let record = match lines.next().map_err(failed("read", &path))? {
            Next::Line(text) => parse(text),
            // A writer is at work, or ended in the middle of it: what it wrote is read again.
            Next::Torn | Next::End => {
                self.lines = None;
                return Ok(None);
            }
        };
        self.offset = lines.offset;
        self.line += 1;
        let line = self.line;
        Ok(Some(record.map_err(|source| AuditDamage::Line { path, line, source })))
    }
}

fn parse(line: &[u8]) -> Result<AuditRecord, LineDamage> {
    let text = std::str::from_utf8(line).map_err(|_| LineDamage::Malformed)?;
    match version(line) {
        Some(VERSION) => {}
        Some(other) => return Err(LineDamage::Version(other)),
        None => return Err(LineDamage::Malformed),
    }
    let read: Read = serde_json::from_str(text).map_err(|_| LineDamage::Malformed)?;
    let Read { seq: sequence, time, event } = read;
    Ok(AuditRecord { sequence, time, event, line: text.to_owned() })
}
