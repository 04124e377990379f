//! The files of the log, and the lines in them.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::line::MAX_LINE;

/// How the names of log files end.
const EXTENSION: &str = ".jsonl";

/// Where the file with this number is.
pub(super) fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08}{EXTENSION}"))
}

/// The numbers of the files that are there, in order; other files are none of the log's.
pub(super) fn numbers(directory: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.parse().ok());
        // Only the one way to write a number counts.
        numbers.extend(number.filter(|n| path(directory, *n).file_name() == Some(&name)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a file line by line, however long it claims a line to be.
pub(super) struct Lines {
    reader: io::Take<BufReader<File>>,
    line: Vec<u8>,
    /// Where the next line begins.
    pub(super) offset: u64,
    /// How many lines were read.
    pub(super) number: u64,
}

/// What comes next in a file.
pub(super) enum Next<'a> {
    /// A line, without its newline.
    Line(&'a [u8]),
    /// What a writer leaves that ends in the middle of a line: the line lacks its newline; or, where
    /// the power failed and the file system had made room but not yet filled it, begins with a zero.
    Torn,
    /// Nothing more.
    End,
}

impl Lines {
    /// Reads `file` from `offset` on, and no further than to `end`.
    pub(super) fn new(mut file: File, offset: u64, end: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(offset))?;
        let reader = BufReader::with_capacity(64 << 10, file).take(end.saturating_sub(offset));
        Ok(Self { reader, line: Vec::new(), offset, number: 0 })
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        self.line.clear();
        // One byte more than fits, so that what is too long is seen to be; and its newline.
        let most = MAX_LINE as u64 + 2;
        let length = (&mut self.reader).take(most).read_until(b'\n', &mut self.line)?;
        if length == 0 {
            return Ok(Next::End);
        }
        if self.line.first() == Some(&0) {
            return Ok(Next::Torn);
        }
        match self.line.strip_suffix(b"\n") {
            None if length <= MAX_LINE => Ok(Next::Torn),
            complete => {
                self.offset += length as u64;
                self.number += 1;
                Ok(Next::Line(complete.unwrap_or(&self.line)))
            }
        }
    }
}
