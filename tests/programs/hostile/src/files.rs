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
    raw::link("/work", &target, "link")?;
    fs::read_to_string("/work/link").map_err(|error| error.to_string())
}

/// Something to do with a path that no standard library has looked at.
#[kami_type]
enum Reach {
    Read,
    Stat,
    ReadLink,
    Create,
    MakeDirectory,
    Remove,
    RenameTo,
    LinkTo,
    SymlinkTo,
    Touch,
}

/// Hands a path, repeated, to the host as it is.
#[kami_tool]
fn reach(
    how: Reach,
    directory: String,
    path: String,
    repeat: Option<u32>,
    other: Option<String>,
) -> Result<String, String> {
    let path = path.repeat(repeat.unwrap_or(1) as usize);
    raw::reach(&how, &directory, &path, &other.unwrap_or_default())
}

/// One step of filling a directory.
type Step = Box<dyn FnMut(&str) -> Result<(), String>>;

/// A way to fill a disk.
#[kami_type]
enum Filling {
    WriteAll,
    Write,
    Stream,
    Append,
    Grow,
    Hole,
    Files,
    Directories,
}

/// Fills directories by turns until it is stopped, and says after how many steps, and by what.
#[kami_tool]
fn fill(how: Filling, directories: Vec<String>, most: Option<u32>) -> Result<String, String> {
    let most = most.unwrap_or(u32::MAX);
    let mut steps = 0;
    let mut step: Step = match how {
        Filling::WriteAll => {
            let path = |directory: &str| format!("{directory}/full");
            let files = directories.iter().map(|directory| File::create(path(directory)));
            let mut files = files.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
            let mut turn = 0;
            Box::new(move |_| {
                turn = (turn + 1) % files.len();
                // The standard library does not ask what went wrong with a stream.
                files[turn].write_all(&[1; 1 << 20]).map_err(|_| "an error".to_owned())
            })
        }
        Filling::Files => {
            let mut at = 0;
            Box::new(move |directory| {
                at += 1;
                let made = File::create_new(format!("{directory}/{at}")).map(drop);
                made.map_err(|error| format!("{:?}", error.kind()))
            })
        }
        Filling::Directories => {
            let mut at = 0;
            Box::new(move |directory| {
                at += 1;
                let made = fs::create_dir(format!("{directory}/{at}"));
                made.map_err(|error| format!("{:?}", error.kind()))
            })
        }
        other => raw::filling(&other, &directories),
    };
    while steps < most {
        let directory = &directories[steps as usize % directories.len()];
        if let Err(error) = step(directory) {
            return Ok(format!("{steps}, then {error}"));
        }
        steps += 1;
    }
    Ok(format!("{steps}"))
}

/// Reads a file again and again, and says what it ever got.
#[kami_tool]
fn insist(path: String, times: u32) -> String {
    let read = |_| match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => format!("{:?}", error.kind()),
    };
    let seen: std::collections::BTreeSet<String> = (0..times).map(read).collect();
    seen.into_iter().collect::<Vec<_>>().join(", ")
}

/// Counts what is in a directory, names that are no text included.
#[kami_tool]
fn count_names(directory: String) -> Result<String, String> {
    raw::count_names(&directory)
}

/// Adds a file to its scratch directory, and names what is there then.
#[kami_tool]
fn keep(name: String, kibibytes: u32) -> Result<String, Error> {
    fs::write(format!("/scratch/{name}"), vec![1; kibibytes as usize * 1024])?;
    list("/scratch".to_owned())
}

/// Empties its scratch directory.
#[kami_tool]
fn discard() -> Result<String, Error> {
    for entry in fs::read_dir("/scratch")? {
        fs::remove_file(entry?.path())?;
    }
    list("/scratch".to_owned())
}

/// The host's functions themselves.
#[cfg(target_family = "wasm")]
mod raw {
    use wasip2::filesystem::preopens::get_directories;
    use wasip2::filesystem::types::{
        Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
        filesystem_error_code,
    };
    use wasip2::io::streams::{OutputStream, StreamError};

    use super::{Filling, Reach, Step};

    fn directory(path: &str) -> Result<Descriptor, String> {
        let found = get_directories().into_iter().find(|(_, at)| at == path);
        found.map(|(directory, _)| directory).ok_or_else(|| format!("no {path}"))
    }

    fn told(code: ErrorCode) -> String {
        code.name().to_owned()
    }

    pub(super) fn link(at: &str, target: &str, path: &str) -> Result<(), String> {
        let linked = directory(at)?.symlink_at(target, path);
        linked.map_err(|code| format!("not linked: {code:?}"))
    }

    fn read(at: &Descriptor, path: &str) -> Result<String, ErrorCode> {
        let (create, flags) = (OpenFlags::empty(), DescriptorFlags::READ);
        let (bytes, _) =
            at.open_at(PathFlags::SYMLINK_FOLLOW, path, create, flags)?.read(1000, 0)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(super) fn reach(how: &Reach, at: &str, path: &str, other: &str) -> Result<String, String> {
        let at = directory(at)?;
        // The other path starts with the directory that it is below, as in `/work:name`.
        let to = || {
            let (at, path) = other.split_once(':').ok_or("no other path")?;
            Ok::<_, String>((directory(at)?, path))
        };
        let done = |result: Result<(), ErrorCode>| result.map(|()| "done".to_owned());
        let follow = PathFlags::SYMLINK_FOLLOW;
        let result = match how {
            Reach::Read => read(&at, path),
            Reach::Stat => at.stat_at(follow, path).map(|found| format!("{:?}", found.type_)),
            Reach::ReadLink => at.readlink_at(path),
            Reach::Create => {
                done(at.open_at(follow, path, OpenFlags::CREATE, DescriptorFlags::WRITE).map(drop))
            }
            Reach::MakeDirectory => done(at.create_directory_at(path)),
            Reach::Remove => done(at.unlink_file_at(path)),
            Reach::RenameTo => {
                let (to, new) = to()?;
                done(at.rename_at(path, &to, new))
            }
            Reach::LinkTo => {
                let (to, new) = to()?;
                done(at.link_at(PathFlags::empty(), path, &to, new))
            }
            Reach::SymlinkTo => done(at.symlink_at(other, path)),
            Reach::Touch => {
                done(at.set_times_at(follow, path, NewTimestamp::Now, NewTimestamp::Now))
            }
        };
        result.map_err(told)
    }

    fn create(at: &str) -> Descriptor {
        let (create, flags) = (OpenFlags::CREATE, DescriptorFlags::WRITE);
        let at = directory(at).expect("it is bound");
        at.open_at(PathFlags::empty(), "full", create, flags).expect("it can be made")
    }

    fn push(stream: &OutputStream) -> Result<(), String> {
        // As much as the function takes at once.
        stream.blocking_write_and_flush(&[1; 4096]).map_err(|error| match error {
            StreamError::LastOperationFailed(error) => {
                filesystem_error_code(&error).map_or("unknown".to_owned(), told)
            }
            StreamError::Closed => "closed".to_owned(),
        })
    }

    pub(super) fn filling(how: &Filling, directories: &[String]) -> Step {
        const CHUNK: u64 = 1 << 20;

        let file = create(&directories[0]);
        let mut at = 0;
        match how {
            Filling::Write => Box::new(move |_| {
                at += CHUNK;
                file.write(&[1; CHUNK as usize], at - CHUNK).map(drop).map_err(told)
            }),
            Filling::Stream => {
                let stream = file.write_via_stream(0).expect("it can be written");
                Box::new(move |_| {
                    let _open = &file;
                    push(&stream)
                })
            }
            Filling::Append => {
                let stream = file.append_via_stream().expect("it can be written");
                Box::new(move |_| {
                    let _open = &file;
                    push(&stream)
                })
            }
            Filling::Hole => Box::new(move |_| {
                at += 16 * CHUNK;
                file.write(&[1], at).map(drop).map_err(told)
            }),
            _ => Box::new(move |_| {
                at += CHUNK;
                file.set_size(at).map_err(told)
            }),
        }
    }

    pub(super) fn count_names(at: &str) -> Result<String, String> {
        let listing = directory(at)?.read_directory().map_err(told)?;
        let (mut named, mut nameless) = (0, 0);
        loop {
            match listing.read_directory_entry() {
                Ok(Some(_)) => named += 1,
                Ok(None) => return Ok(format!("{named} named, {nameless} nameless")),
                Err(ErrorCode::IllegalByteSequence) => nameless += 1,
                Err(code) => return Err(told(code)),
            }
        }
    }
}

#[cfg(not(target_family = "wasm"))]
mod raw {
    use super::{Filling, Reach, Step};

    pub(super) fn link(_: &str, _: &str, _: &str) -> Result<(), String> {
        unreachable!("this is a guest")
    }

    pub(super) fn reach(_: &Reach, _: &str, _: &str, _: &str) -> Result<String, String> {
        unreachable!("this is a guest")
    }

    pub(super) fn filling(_: &Filling, _: &[String]) -> Step {
        unreachable!("this is a guest")
    }

    pub(super) fn count_names(_: &str) -> Result<String, String> {
        unreachable!("this is a guest")
    }
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
