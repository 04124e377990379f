//! Some lines of a file, numbered.

use std::fmt::Write;

use crate::Folder;

/// The longest answer in bytes; a caller reads on from the line where it ends.
const MAX_BYTES: usize = 64 * 1024;

/// Reads up to `max_lines` lines from `first_line` on, and says how to read on.
///
/// # Errors
/// The file can't be read, or ends before `first_line`.
pub fn read(
    folder: &Folder,
    path: &str,
    first_line: usize,
    max_lines: usize,
) -> Result<String, String> {
    let text = folder.read(path)?;
    let total = text.lines().count();
    let first = first_line.max(1);
    if first > total.max(1) {
        return Err(format!("`{path}` has {total} lines: `first_line` {first} is past its end"));
    }
    let mut answer = String::new();
    let mut next = first;
    for line in text.lines().skip(first - 1).take(max_lines) {
        if next > first && answer.len() + line.len() > MAX_BYTES {
            break;
        }
        let _ = writeln!(answer, "{next}\t{line}");
        next += 1;
    }
    if next <= total {
        let _ = writeln!(answer, "[{total} lines in all: read on with first_line = {next}]");
    }
    Ok(answer)
}
