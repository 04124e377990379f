//! A folder of text files: which files are in it, and how one is read.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use ignore::WalkBuilder;
use ignore::overrides::{Override, OverrideBuilder};
use kami_guest::prelude::*;

/// The largest file that is read or searched. Larger text files are data, not reading matter.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// The folder that the tools work on. Paths given and returned are relative to it.
pub struct Folder {
    root: PathBuf,
}

/// The files found in a folder.
#[derive(Debug, PartialEq, Eq)]
#[kami_type]
pub struct Listing {
    /// paths relative to the folder, in alphabetical order
    pub files: Vec<String>,
    /// true if there are more files than were asked for
    pub truncated: bool,
}

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// The folder is not there: it was not granted.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, String> {
        let root = root.into();
        match root.is_dir() {
            true => Ok(Self { root }),
            false => Err(format!(
                "no folder is mounted at {}: the operator grants one with `--mount docs=FOLDER`",
                root.display()
            )),
        }
    }

    /// Lists the files below `folder` that match `glob`.
    ///
    /// # Errors
    /// The sub-folder is not there, or the glob is not valid.
    pub fn list(
        &self,
        folder: Option<&str>,
        glob: Option<&str>,
        limit: usize,
    ) -> Result<Listing, String> {
        let mut files: Vec<String> =
            self.walk(folder, glob)?.take(limit.saturating_add(1)).collect();
        let truncated = files.len() > limit;
        files.truncate(limit);
        Ok(Listing { files, truncated })
    }

    /// Walks the files in a stable order, leaving out what the ignore files leave out.
    ///
    /// The walk always starts at the root, whose ignore files also hold for a sub-folder.
    pub fn walk(
        &self,
        folder: Option<&str>,
        glob: Option<&str>,
    ) -> Result<impl Iterator<Item = String>, String> {
        let scope = match folder {
            Some(folder) => self.resolve(folder)?,
            None => self.root.clone(),
        };
        if !scope.is_dir() {
            return Err(format!(
                "there is no folder `{}`: see `list_files` without `folder`",
                folder.unwrap_or_default()
            ));
        }
        let root = self.root.clone();
        let glob = self.glob(glob)?;
        let walk = WalkBuilder::new(&self.root)
            .parents(false)
            .git_global(false)
            .require_git(false)
            .sort_by_file_name(Ord::cmp)
            .filter_entry(move |entry| {
                entry.path().starts_with(&scope) || scope.starts_with(entry.path())
            })
            .build();
        Ok(walk
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
            .filter(move |entry| !glob.matched(entry.path(), false).is_ignore())
            .filter_map(move |entry| {
                let path = entry.path().strip_prefix(&root).ok()?;
                path.to_str().map(|path| path.replace('\\', "/"))
            }))
    }

    /// Reads a text file.
    ///
    /// # Errors
    /// There is no such file, it is too large, or it is binary.
    pub fn read(&self, path: &str) -> Result<String, String> {
        let mut file = File::open(self.resolve(path)?).map_err(|error| {
            format!("can't open `{path}`: {error}; `list_files` shows what is there")
        })?;
        let mut bytes = Vec::new();
        file.by_ref()
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("can't read `{path}`: {error}"))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(format!("`{path}` is larger than {MAX_FILE_BYTES} bytes"));
        }
        String::from_utf8(bytes)
            .ok()
            .filter(|text| !text.contains('\0'))
            .ok_or_else(|| format!("`{path}` is not a text file in UTF-8"))
    }

    /// The path on disk of a relative path. The sandbox confines it anyhow; this explains.
    fn resolve(&self, path: &str) -> Result<PathBuf, String> {
        let relative = Path::new(path);
        let inside = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        match inside {
            true => Ok(self.root.join(relative).components().collect()),
            false => Err(format!(
                "`{path}` leads out of the folder: give a path relative to it, without `..`"
            )),
        }
    }

    /// A filter for files. It is not given to the walk, where it would trump the ignore files.
    fn glob(&self, glob: Option<&str>) -> Result<Override, String> {
        let mut filter = OverrideBuilder::new(&self.root);
        match glob {
            Some(glob) => filter.add(glob).and_then(|filter| filter.build()),
            None => filter.build(),
        }
        .map_err(|error| format!("`glob` is not valid: {error}"))
    }
}
