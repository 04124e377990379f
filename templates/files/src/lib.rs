//! A tool for AI agents that reads the directory which the operator gives it.

use std::fs;
use std::io;
use std::path::Path;

use kami_guest::prelude::*;

/// Where the sandbox shows the mount `docs` of Cargo.toml.
const DOCS: &str = "/docs";

/// A line that was found.
#[derive(Debug, PartialEq, Eq)]
#[kami_type]
pub struct Line {
    /// the file's path
    pub file: String,
    /// the line's number, counted from 1
    pub number: usize,
    /// the line itself
    pub text: String,
}

/// Finds the lines that contain a text, in every text file of the directory.
#[kami_tool]
pub fn find_lines(
    /// the text to find, in upper and lower case as it is
    text: String,
    /// how many lines to return at most
    #[kami(default = 50)]
    #[schemars(range(min = 1, max = 1000))]
    limit: usize,
) -> Result<Vec<Line>, String> {
    let mut found = Vec::new();
    find(Path::new(DOCS), &text, limit, &mut found)
        .map_err(|error| format!("the directory cannot be read: {error}"))?;
    Ok(found)
}

/// Goes through `directory` in the order of names until `limit` lines are found.
fn find(directory: &Path, text: &str, limit: usize, found: &mut Vec<Line>) -> io::Result<()> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find(&path, text, limit, found)?;
        } else if let Ok(content) = fs::read_to_string(&path) {
            // What cannot be read as text is no text file.
            let lines = content
                .lines()
                .enumerate()
                .filter(|(_, line)| line.contains(text));
            found.extend(lines.map(|(at, line)| Line {
                file: path.display().to_string(),
                number: at + 1,
                text: line.to_owned(),
            }));
        }
        if found.len() >= limit {
            found.truncate(limit);
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_lines_in_all_directories() {
        let directory = std::env::temp_dir().join(format!("find-lines-{}", std::process::id()));
        fs::create_dir_all(directory.join("below")).unwrap();
        fs::write(directory.join("a.txt"), "one\ntwo\n").unwrap();
        fs::write(directory.join("below/b.txt"), "two again").unwrap();
        fs::write(directory.join("c.bin"), [0xff, 0xfe]).unwrap();

        let mut found = Vec::new();
        find(&directory, "two", 10, &mut found).unwrap();
        let places: Vec<_> = found
            .iter()
            .map(|line| (line.number, line.text.as_str()))
            .collect();
        assert_eq!(places, [(2, "two"), (1, "two again")]);

        let mut first = Vec::new();
        find(&directory, "two", 1, &mut first).unwrap();
        assert_eq!(first.len(), 1);
        fs::remove_dir_all(directory).unwrap();
    }
}
