//! Where a picture's bytes come from.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The largest file that is read: any camera's JPEG, and little enough to hold beside its pixels.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;

/// How many names are shown to a caller who named a file that is not there.
const NAMES_SHOWN: usize = 20;

/// Bytes that were given, or a file in a folder.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// A path relative to the granted folder.
    Path(String),
    /// Base64, perhaps as a `data:` URL.
    Base64(String),
}

impl Source {
    /// Takes the one that was given.
    ///
    /// # Errors
    /// Neither or both were.
    pub fn new(path: Option<String>, base64: Option<String>) -> Result<Self, String> {
        match (path, base64) {
            (Some(path), None) => Ok(Self::Path(path)),
            (None, Some(base64)) => Ok(Self::Base64(base64)),
            (None, None) => Err("give the picture: either `path` or `image_base64`".to_owned()),
            (Some(_), Some(_)) => Err("give either `path` or `image_base64`, not both".to_owned()),
        }
    }

    /// Reads the bytes; a path is looked up below `folder`.
    ///
    /// # Errors
    /// There is no such file, it is too large, or the base64 is not valid.
    pub fn read(&self, folder: &Path) -> Result<Vec<u8>, String> {
        match self {
            Self::Path(path) => read_file(folder, path),
            Self::Base64(text) => {
                let text = match text.strip_prefix("data:").and_then(|url| url.split_once(',')) {
                    Some((_, data)) => data,
                    None => text,
                };
                STANDARD
                    .decode(text.trim())
                    .map_err(|error| format!("`image_base64` is not base64: {error}"))
            }
        }
    }
}

fn read_file(folder: &Path, path: &str) -> Result<Vec<u8>, String> {
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
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("can't read `{path}`: {error}"))?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(format!("`{path}` is larger than {MAX_FILE_BYTES} bytes")),
        false => Ok(bytes),
    }
}

/// What there is to choose from, for a caller who guessed wrong.
fn names_in(folder: &Path) -> String {
    let Ok(entries) = fs::read_dir(folder) else {
        return "no folder is granted: the operator grants one with `--mount images=FOLDER`"
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
