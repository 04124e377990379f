//! A CSV table in memory, from text or from a file in a granted folder.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path};

use csv::{ReaderBuilder, StringRecord};
use kami_guest::prelude::*;

use crate::cell;

/// The largest table that is read; in memory it takes a few times as much of the sandbox's 256 MB.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// How many names are shown to a caller who named a file that is not there.
const NAMES_SHOWN: usize = 20;

/// What is tried where no delimiter is given.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// Where a table comes from. Its first row names the columns.
#[derive(Clone, Debug, Default)]
#[kami_type]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// the CSV file's path in the granted folder, for example `sales/2026.csv`; give either this
    /// or `csv`
    pub path: Option<String>,
    /// the CSV text itself, with a header row; give either this or `path`
    pub csv: Option<String>,
    /// the character between columns; if left out, the one of comma, semicolon, tab and `|` that
    /// the header row has most of
    pub delimiter: Option<char>,
}

/// Rows and columns, as written.
pub struct Table {
    columns: Vec<String>,
    rows: Vec<StringRecord>,
}

impl Table {
    /// Reads a table; a path is looked up below `folder`.
    ///
    /// # Errors
    /// There is no such file, or it is not a CSV table in UTF-8.
    pub fn read(source: &Source, folder: &Path) -> Result<Self, String> {
        let text = match (&source.path, &source.csv) {
            (Some(path), None) => &read_file(folder, path)?,
            (None, Some(text)) => text,
            (None, None) => return Err("give the table: either `path` or `csv`".to_owned()),
            (Some(_), Some(_)) => return Err("give either `path` or `csv`, not both".to_owned()),
        };
        let delimiter = source.delimiter.unwrap_or_else(|| guess_delimiter(text));
        let delimiter = u8::try_from(delimiter).map_err(|_| {
            format!("`delimiter` is {delimiter:?}: it has to be an ASCII character")
        })?;
        let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
        let columns: Vec<String> = reader
            .headers()
            .map_err(|error| format!("the header row can't be read: {error}"))?
            .iter()
            .map(|name| name.trim().to_owned())
            .collect();
        if columns.is_empty() {
            return Err("the table is empty: it needs a header row that names the columns".into());
        }
        let rows = reader
            .into_records()
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the table can't be read: {error}"))?;
        Ok(Self { columns, rows })
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows below the header.
    pub fn rows(&self) -> &[StringRecord] {
        &self.rows
    }

    /// The position of a column.
    ///
    /// # Errors
    /// There is no such column; the error says which there are.
    pub fn column(&self, name: &str) -> Result<usize, String> {
        self.columns.iter().position(|column| column == name).ok_or_else(|| {
            let columns = self.columns.join("`, `");
            format!("there is no column `{name}`: the columns are `{columns}`")
        })
    }

    /// Whether every cell of a column that is not empty is a number.
    pub fn is_numeric(&self, column: usize) -> bool {
        self.rows
            .iter()
            .map(|row| &row[column])
            .all(|text| cell::is_empty(text) || cell::number(text).is_some())
    }
}

fn read_file(folder: &Path, path: &str) -> Result<String, String> {
    let relative = Path::new(path);
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(inside) {
        return Err(format!(
            "`{path}` leads out of the folder: give a path relative to it, without `..`"
        ));
    }
    let file = File::open(folder.join(relative))
        .map_err(|error| format!("can't open `{path}`: {error}; {}", names_in(folder)))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("can't read `{path}`: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("`{path}` is larger than {MAX_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| format!("`{path}` is not text in UTF-8"))
}

/// What there is to choose from, for a caller who guessed wrong.
fn names_in(folder: &Path) -> String {
    let Ok(entries) = fs::read_dir(folder) else {
        return "no folder is granted: the operator grants one with `--mount data=FOLDER`"
            .to_owned();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            Some(if is_folder { name + "/" } else { name })
        })
        .collect();
    names.sort();
    let more = names.len().saturating_sub(NAMES_SHOWN);
    names.truncate(NAMES_SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "the folder is empty".to_owned(),
        (false, 0) => format!("the folder holds {}", names.join(", ")),
        (false, more) => format!("the folder holds {} and {more} more", names.join(", ")),
    }
}

fn guess_delimiter(text: &str) -> char {
    let header = text.lines().next().unwrap_or_default();
    let count = |delimiter: &char| header.matches(*delimiter).count();
    // Of equals the first is meant, so that a table of one column is split at commas.
    DELIMITERS.into_iter().rev().max_by_key(count).unwrap_or(',')
}
