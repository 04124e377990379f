//! Reaches for files.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, Write as _};

use kami_guest::prelude::*;

/// Reads a file.
#[kami_tool]
fn read(path: String) -> Result<String, Error> {
    fs::read_to_string(path)
}

/// Names what is in a directory.
#[kami_tool]
fn list(path: String) -> Result<String, Error> {
    let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into()));
    let mut names: Vec<String> = names.collect::<Result<_, Error>>()?;
    names.sort();
    Ok(names.join(" "))
}

/// A way to change files.
#[kami_type]
enum Change {
    Write,
    Append,
    Truncate,
    Remove,
    MakeDirectory,
    RenameTo,
    LinkTo,
}

/// Changes a file in one of many ways.
#[kami_tool]
fn change(how: Change, path: String, other: Option<String>) -> Result<String, Error> {
    let other = other.unwrap_or_default();
    match how {
        Change::Write => fs::write(path, "changed"),
        Change::Append => {
            OpenOptions::new().append(true).open(path).and_then(|mut file| file.write_all(b"!"))
        }
        Change::Truncate => OpenOptions::new().write(true).truncate(true).open(path).map(drop),
        Change::Remove => fs::remove_file(path),
        Change::MakeDirectory => fs::create_dir(path),
        Change::RenameTo => fs::rename(path, other),
        Change::LinkTo => fs::hard_link(path, other),
    }?;
    Ok("changed".to_owned())
}

/// Makes a symbolic link in the mount `/work`, and reads through it.
#[kami_tool]
fn read_through_link(target: String) -> Result<String, String> {
    link(&target)?;
    fs::read_to_string("/work/link").map_err(|error| error.to_string())
}

#[cfg(target_family = "wasm")]
fn link(target: &str) -> Result<(), String> {
    let directories = wasip2::filesystem::preopens::get_directories();
    let work = directories.iter().find(|(_, path)| path == "/work").ok_or("no /work")?;
    work.0.symlink_at(target, "link").map_err(|code| format!("not linked: {code:?}"))
}

#[cfg(not(target_family = "wasm"))]
fn link(_: &str) -> Result<(), String> {
    unreachable!("this is a guest")
}

/// Keeps a note in its scratch directory, and names what was there before.
#[kami_tool]
fn scratch(note: String, wait_millis: u64) -> Result<String, Error> {
    let before = list("/scratch".to_owned())?;
    fs::write("/scratch/note", &note)?;
    std::thread::sleep(std::time::Duration::from_millis(wait_millis));
    let own = fs::read_to_string("/scratch/note")?;
    Ok(format!("before: [{before}], own: {own}, all: {}", list("/scratch".to_owned())?))
}

/// Opens a file again and again without closing it.
#[kami_tool]
fn hoard(path: String) -> String {
    let mut files = Vec::new();
    loop {
        match File::open(&path) {
            Ok(file) => files.push(file),
            Err(error) => return format!("{} files, then: {error}", files.len()),
        }
    }
}
