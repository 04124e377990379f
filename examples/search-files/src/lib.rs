//! Search, list and read over one granted folder, the way a person uses ripgrep and less.
//!
//! The operator binds a folder to the mount `docs`; its files are all that these tools see.
//! What `.gitignore` and `.ignore` leave out, hidden files and binary files are not searched
//! or listed. That is for relevance: what keeps a secret from the model is not to mount it.

mod folder;
mod read;
mod search;

pub use folder::{Folder, Listing};
pub use read::read;
pub use search::{Match, Matches, Query, search};

use kami_guest::prelude::*;

/// Where the sandbox shows the folder that the operator granted.
const DOCS: &str = "/docs";

/// Searches the lines of all text files for a regular expression, as ripgrep does.
///
/// Skips what `.gitignore` leaves out, hidden files and binary files. Each match comes with its
/// file and line number, which `read_file` takes.
#[kami_tool]
pub fn search_files(query: Query) -> Result<Matches, String> {
    search::search(&Folder::open(DOCS)?, &query)
}

/// Lists the files of the folder by path, leaving out what `.gitignore` leaves out.
#[kami_tool]
pub fn list_files(
    /// list only below this folder, for example `src/net`; everything if left out
    folder: Option<String>,
    /// list only files that match this glob, for example `*.md` or `**/tests/*.rs`
    glob: Option<String>,
    /// how many files to list at most
    #[kami(default = 200)]
    #[schemars(range(min = 1, max = 5000))]
    limit: usize,
) -> Result<Listing, String> {
    Folder::open(DOCS)?.list(folder.as_deref(), glob.as_deref(), limit)
}

/// Reads a text file, or some lines of it, each line after its number and a tab.
#[kami_tool]
pub fn read_file(
    /// the file's path as `search_files` and `list_files` give it, for example `src/lib.rs`
    path: String,
    /// the first line to read, counted from 1
    #[kami(default = 1)]
    #[schemars(range(min = 1))]
    first_line: usize,
    /// how many lines to read at most
    #[kami(default = 200)]
    #[schemars(range(min = 1, max = 2000))]
    max_lines: usize,
) -> Result<String, String> {
    read::read(&Folder::open(DOCS)?, &path, first_line, max_lines)
}
