//! Notes as files of a directory.

use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use kami_guest::prelude::*;

/// What a note is called: 1 to 64 of `A-Z a-z 0-9 _ -`, so that it is a file's name and leads nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[kami_type]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9_-]{1,64}$"))]
pub struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        match (1..=64).contains(&name.len()) && name.chars().all(fits) {
            true => Ok(Self(name.to_owned())),
            false => Err("a note's name is 1 to 64 of `A-Z a-z 0-9 _ -`".to_owned()),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A directory with one file for each note.
pub struct Notebook {
    directory: PathBuf,
}

impl Notebook {
    /// The notebook in a directory that is there.
    pub fn open(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The names that begin with a text, in alphabetical order.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn names(&self, beginning: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if let (Some(name), Some("txt")) = (stem(&path), extension(&path))
                && name.starts_with(beginning)
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The text of a note, if there is one of that name.
    ///
    /// # Errors
    /// It is there and can't be read.
    pub fn read(&self, name: &Name) -> io::Result<Option<String>> {
        match fs::read_to_string(self.path(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a text under a name, in place of what was there.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, name: &Name, text: &str) -> io::Result<()> {
        fs::write(self.path(name), text)
    }

    /// Deletes a note.
    ///
    /// # Errors
    /// It isn't there, or can't be deleted.
    pub fn delete(&self, name: &Name) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.directory.join(format!("{name}.txt"))
    }
}

fn stem(path: &Path) -> Option<&str> {
    path.file_stem()?.to_str()
}

fn extension(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}
