//! What a process holds, as Linux tells it below `/proc`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What a process holds at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Resident memory, in KiB.
    pub resident: u64,
    /// The part of it that is no file's.
    pub anonymous: u64,
    /// The most that was ever resident, in KiB.
    pub peak: u64,
    /// Threads.
    pub threads: u64,
    /// Descriptors of files and directories.
    pub files: u64,
    /// Descriptors of what memories of guests begin with: one for each component that is ready, and
    /// for each that was and whose place in the pool nobody took since.
    pub images: u64,
    /// Descriptors of sockets.
    pub sockets: u64,
    /// Descriptors of pipes.
    pub pipes: u64,
    /// Other descriptors, such as those on which events are awaited.
    pub others: u64,
    /// Entries of the directory in which calls get theirs.
    pub scratch: u64,
}

impl Vitals {
    /// Looks at a process, and into `scratch`.
    ///
    /// # Errors
    /// Where it has ended, or this is not Linux.
    pub(super) fn with_scratch(process: u32, scratch: &Path) -> io::Result<Self> {
        Ok(Self { scratch: entries(scratch)?, ..Self::of(process)? })
    }

    /// Looks at a process.
    ///
    /// # Errors
    /// Where it has ended, or this is not Linux.
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let proc = PathBuf::from(format!("/proc/{process}"));
        let status = fs::read_to_string(proc.join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.ok_or_else(|| io::Error::other(format!("its status has no {name}")))
        };
        let mut vitals = Self {
            resident: field("VmRSS")?,
            anonymous: field("RssAnon")?,
            peak: field("VmHWM")?,
            threads: field("Threads")?,
            ..Self::default()
        };
        for descriptor in fs::read_dir(proc.join("fd"))? {
            // It may be closed meanwhile.
            let Ok(target) = fs::read_link(descriptor?.path()) else { continue };
            let target = target.to_string_lossy();
            *match target.split_once(':') {
                Some(("socket", _)) => &mut vitals.sockets,
                Some(("pipe", _)) => &mut vitals.pipes,
                Some(("/memfd", _)) => &mut vitals.images,
                _ if target.starts_with('/') => &mut vitals.files,
                _ => &mut vitals.others,
            } += 1;
        }
        Ok(vitals)
    }

    /// Whether it holds no more threads, descriptors and scratch directories than `before`.
    pub(super) fn is_back_at(&self, before: &Self) -> bool {
        self.counts().iter().zip(before.counts()).all(|((_, now), (_, before))| *now <= before)
    }

    /// What must not become more, with its name.
    pub(super) fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("threads", self.threads),
            ("files", self.files),
            ("sockets", self.sockets),
            ("pipes", self.pipes),
            ("other descriptors", self.others),
            ("scratch directories", self.scratch),
        ]
    }

    pub(super) fn json(&self) -> Value {
        let mut all = json!({
            "residentKib": self.resident,
            "anonymousKib": self.anonymous,
            "peakKib": self.peak,
            "images": self.images,
        });
        for (name, count) in self.counts() {
            all[name] = count.into();
        }
        all
    }
}

fn entries(directory: &Path) -> io::Result<u64> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(entries.count() as u64),
        // It is made when it is first needed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// The bytes of all files below `directory`.
pub(super) fn size_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_below(&entry.path()),
        // What goes away meanwhile takes no room.
        found => found.map_or(0, |found| found.len()),
    };
    entries.flatten().map(size).sum()
}
