//! A regular expression over the lines of many files.

use kami_guest::prelude::*;
use regex::RegexBuilder;

use crate::Folder;

/// The longest piece of a line that is shown. Minified files have lines of megabytes.
const MAX_LINE_CHARS: usize = 300;

/// What to search for, and where.
#[derive(Debug)]
#[kami_type]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// the regular expression to look for in each line (Rust syntax: no look-around and no
    /// back-references), for example `fn \w+_test` or `TODO|FIXME`
    #[schemars(length(min = 1, max = 1000))]
    pub pattern: String,
    /// whether capital and small letters are the same
    #[serde(default)]
    pub ignore_case: bool,
    /// search only below this folder, for example `src/net`; everything if left out
    pub folder: Option<String>,
    /// search only files that match this glob, for example `*.md` or `**/tests/*.rs`
    pub glob: Option<String>,
    /// how many lines to show before and after each match
    #[serde(default)]
    #[schemars(range(min = 0, max = 10))]
    pub context: usize,
    /// how many matching lines to return at most
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: usize,
}

fn default_limit() -> usize {
    50
}

/// A line that matches.
#[derive(Debug, PartialEq, Eq)]
#[kami_type]
pub struct Match {
    /// the file's path
    pub file: String,
    /// the line's number, counted from 1
    pub line: usize,
    /// the line itself, cut if it is very long
    pub text: String,
    /// the lines before it, as many as `context` asks for
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// the lines after it, as many as `context` asks for
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

/// All lines that match, file by file.
#[derive(Debug, PartialEq, Eq)]
#[kami_type]
pub struct Matches {
    /// the matching lines, by file and line
    pub matches: Vec<Match>,
    /// how many text files were searched
    pub files_searched: usize,
    /// true if the search ended early because `limit` was reached
    pub truncated: bool,
}

/// Searches a folder.
///
/// # Errors
/// The pattern, the glob or the sub-folder is not valid.
pub fn search(folder: &Folder, query: &Query) -> Result<Matches, String> {
    let pattern = RegexBuilder::new(&query.pattern)
        .case_insensitive(query.ignore_case)
        .build()
        .map_err(|error| format!("`pattern` is not a valid regular expression: {error}"))?;
    let mut found = Matches { matches: Vec::new(), files_searched: 0, truncated: false };
    for file in folder.walk(query.folder.as_deref(), query.glob.as_deref())? {
        // A file that is binary, too large or gone by now has no lines to show.
        let Ok(text) = folder.read(&file) else {
            continue;
        };
        found.files_searched += 1;
        let lines: Vec<&str> = text.lines().collect();
        let matching = (0..lines.len()).filter(|&index| pattern.is_match(lines[index]));
        for index in matching {
            if found.matches.len() == query.limit {
                found.truncated = true;
                return Ok(found);
            }
            found.matches.push(Match::at(&file, &lines, index, query.context));
        }
    }
    Ok(found)
}

impl Match {
    fn at(file: &str, lines: &[&str], index: usize, context: usize) -> Self {
        let end = (index + 1).saturating_add(context);
        Self {
            file: file.to_owned(),
            line: index + 1,
            text: shorten(lines[index]),
            before: shorten_all(&lines[index.saturating_sub(context)..index]),
            after: shorten_all(&lines[index + 1..lines.len().min(end)]),
        }
    }
}

fn shorten_all(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| shorten(line)).collect()
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(MAX_LINE_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}
