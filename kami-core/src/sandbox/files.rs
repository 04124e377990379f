//! The file system that a guest sees: every operation is judged here before it is carried out.
//!
//! This stands between the guest and wasmtime's own file system, which keeps paths below the
//! directories they start from, and read-only what is read-only. It implements the interfaces as a
//! whole, so that none of their functions can be reached around it, not even one that a later
//! version adds. What it adds:
//!
//! - Everything that is written counts against a [`Budget`].
//! - Only files and directories are opened. A pipe, a device or a socket would block a thread of
//!   the host where no time limit reaches, and `/proc` would show the host itself.
//! - No links are made. A hard link would make a file of a read-only mount writable in another one;
//!   a symbolic one would wait for somebody outside the sandbox to follow it.
//! - What is denied is remembered for the operator, and what is used for whoever asked for it.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, Dir, File, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, OutputStream, Pollable, StreamError,
    StreamResult,
};
use wasmtime_wasi::{OpenMode, async_trait};

use super::denials::Denials;
use super::mounts;
use super::scratch::{ENTRY_BYTES, Room};
use crate::grants::{Access, Denial, DenialRule, Effective, Limit};

use types::{ErrorCode, HostDescriptor as _};

/// The longest path that a guest may name, and the longest target of a link that it may read, in
/// bytes. No system takes longer ones; what is longer is not even passed on.
const MAX_PATH_BYTES: usize = 4096;

/// The most entries of directories that a guest may hold listed at once. The host keeps them, at
/// about a hundred bytes each.
const MAX_LISTED: usize = 128 << 10;

/// The most of a path that a denial repeats, in characters.
const MAX_SHOWN_CHARS: usize = 200;

/// What one call may still write. Nothing comes back by deleting.
#[derive(Clone)]
pub(super) struct Budget(Arc<Purse>);

struct Purse {
    limit: u64,
    spent: AtomicU64,
    /// The kept scratch directory, which has the same limit for all calls together.
    room: Option<Arc<Room>>,
    denials: Denials,
}

/// The limit of bytes written to files is reached.
#[derive(Debug, thiserror::Error)]
#[error("the limit of bytes written to files is reached")]
struct OverBudget;

impl From<OverBudget> for ErrorCode {
    fn from(_: OverBudget) -> Self {
        Self::InsufficientSpace
    }
}

impl Budget {
    pub(super) fn new(limit: u64, room: Option<Arc<Room>>, denials: Denials) -> Self {
        Self(Arc::new(Purse { limit, spent: AtomicU64::new(0), room, denials }))
    }

    /// Takes `bytes` before they are written.
    fn spend(&self, bytes: u64) -> Result<Spent, OverBudget> {
        let purse = &*self.0;
        let add = |spent: u64| spent.checked_add(bytes).filter(|spent| *spent <= purse.limit);
        let order = Ordering::Relaxed;
        let fits = purse.spent.fetch_update(order, order, add).is_ok();
        let has_room = |room: &Arc<Room>| room.charge(bytes, purse.limit);
        if fits && purse.room.as_ref().is_none_or(has_room) {
            return Ok(Spent { budget: self.clone(), bytes });
        }
        if fits {
            purse.spent.fetch_sub(bytes, order);
        }
        let megabytes = purse.limit >> 20;
        purse.denials.push(Denial {
            thing: format!("writing more than {megabytes} MiB to files"),
            rule: DenialRule::Limit(Limit::Write),
            line: format!("max-write-mb = {}", megabytes * 2),
        });
        Err(OverBudget)
    }

    /// Says that something is about to change, which may make room for later calls.
    fn touch(&self) {
        if let Some(room) = &self.0.room {
            room.touch();
        }
    }

    /// What writing `length` bytes at `offset` costs: a hole before them counts as if it were
    /// filled, as filling it later would cost only what is written.
    fn spend_at(&self, file: &fs::File, offset: u64, length: usize) -> Result<Spent, OverBudget> {
        if length == 0 {
            return self.spend(0);
        }
        let end = file.metadata().map_or(0, |found| found.len());
        self.spend(offset.saturating_sub(end).saturating_add(length as u64))
    }
}

/// Bytes that are paid for, and written when this is dropped at the latest.
struct Spent {
    budget: Budget,
    bytes: u64,
}

impl Spent {
    /// Gives back what was taken for something that then did not come about.
    fn give_back(mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let purse = &*self.budget.0;
        purse.spent.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(room) = &purse.room {
            room.give_back(bytes);
        }
    }

    /// Gives it back unless `result` is a success.
    fn keep_for<T, E>(self, result: &Result<T, E>) {
        if result.is_err() {
            self.give_back();
        }
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        if let Some(room) = &self.budget.0.room {
            room.wrote(self.bytes);
        }
    }
}

/// The file system of one call.
pub(super) struct Files {
    wasi: WasiFilesystemCtx,
    roots: Vec<(Dir, String)>,
    effective: Arc<Effective>,
    denials: Denials,
    budget: Budget,
    /// Where the guest sees what stands behind each of its descriptors.
    places: HashMap<u32, Place>,
    /// How many entries each open listing holds.
    listed: HashMap<u32, usize>,
}

/// Where the guest sees a file or directory.
#[derive(Clone)]
struct Place {
    /// One of [`Files::roots`].
    root: usize,
    /// Below it, as the guest wrote it: no part of it was checked, and all of it is for people.
    path: String,
}

impl Files {
    /// A file system with `roots`, which are directories and where the guest sees them.
    pub(super) fn new(
        roots: Vec<(Dir, String)>,
        effective: Arc<Effective>,
        denials: Denials,
        budget: Budget,
    ) -> Self {
        Self {
            wasi: WasiFilesystemCtx::default(),
            roots,
            effective,
            denials,
            budget,
            places: HashMap::new(),
            listed: HashMap::new(),
        }
    }

    /// The file system as the linker wants it.
    pub(super) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> FilesView<'a> {
        FilesView { files: self, table }
    }

    fn place(&self, rep: u32) -> Place {
        self.places.get(&rep).cloned().unwrap_or(Place { root: 0, path: String::new() })
    }

    /// Where the guest sees `path` below the directory `rep`; shortened, and fit for one line.
    fn shown(&self, rep: u32, path: &str) -> String {
        let place = self.place(rep);
        let root = self.roots.get(place.root).map_or("", |(_, guest_path)| guest_path.as_str());
        let whole = joined(root, &joined(&place.path, path));
        let mut shown: String = whole.escape_debug().take(MAX_SHOWN_CHARS).collect();
        if shown.len() < whole.len() && shown.chars().count() == MAX_SHOWN_CHARS {
            shown.push('…');
        }
        shown
    }

    fn note(&self, rep: u32, path: &str, access: Access) {
        if let Some(recorder) = self.effective.recorder() {
            recorder.file(&self.shown(rep, path), access);
        }
    }

    /// Remembers that something was tried that nobody may do.
    fn unsafe_attempt(&self, thing: String) {
        self.denials.push(Denial { thing, rule: DenialRule::Unsafe, line: String::new() });
    }

    fn led_out(&self, rep: u32, path: &str) {
        let shown = self.shown(rep, path);
        self.unsafe_attempt(format!("`{shown}`, which leads out of its directory,"));
    }

    fn special(&self, rep: u32, path: &str) {
        let shown = self.shown(rep, path);
        self.unsafe_attempt(format!("`{shown}`, which is neither file nor directory,"));
    }
}

/// `below` as seen from where `base` is; both may be empty.
fn joined(base: &str, below: &str) -> String {
    match (base, below) {
        (base, "" | ".") => base.to_owned(),
        ("", below) => below.to_owned(),
        (base, below) => format!("{base}/{below}"),
    }
}

/// Whether `path` leaves the directory it starts from without any link's help.
fn leads_out(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    path.starts_with('/')
}

/// Names the file system for the linker.
pub(super) struct KamiFiles;

impl HasData for KamiFiles {
    type Data<'a> = FilesView<'a>;
}

/// The file system of one call, with the table that holds its descriptors.
pub(super) struct FilesView<'a> {
    files: &'a mut Files,
    table: &'a mut ResourceTable,
}

impl FilesView<'_> {
    /// Wasmtime's own implementation, which carries out what is permitted.
    fn wasi(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: &mut self.files.wasi, table: self.table }
    }

    fn dir(&self, fd: &Resource<Descriptor>) -> FsResult<Dir> {
        match self.table.get(fd)? {
            Descriptor::Dir(dir) => Ok(dir.clone()),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn file(&self, fd: &Resource<Descriptor>) -> FsResult<File> {
        match self.table.get(fd)? {
            Descriptor::File(file) => Ok(file.clone()),
            Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    /// Refuses paths that no system takes, before anybody copies them.
    fn check_path(path: &str) -> FsResult<()> {
        if path.len() > MAX_PATH_BYTES { Err(ErrorCode::NameTooLong.into()) } else { Ok(()) }
    }

    /// Refuses changes of what is read-only, and notes the others.
    fn check_change(&self, fd: &Resource<Descriptor>, path: &str) -> FsResult<()> {
        let permissions = match self.table.get(fd)? {
            Descriptor::File(file) => file.perms,
            Descriptor::Dir(dir) => dir.perms,
        };
        if permissions.write_not_permitted() {
            let root = self.files.roots.get(self.files.place(fd.rep()).root);
            let guest_path = root.map_or("", |(_, guest_path)| guest_path.as_str());
            let thing = format!("changing `{}`", self.files.shown(fd.rep(), path));
            self.files.denials.push(self.files.effective.change_denied(thing, guest_path));
            return Err(ErrorCode::NotPermitted.into());
        }
        self.files.budget.touch();
        self.files.note(fd.rep(), path, Access::ReadWrite);
        Ok(())
    }

    /// Remembers where looking at a path, which takes no permission, led out of its directory.
    fn looked<T>(&self, fd: u32, path: &str, result: FsResult<T>) -> FsResult<T> {
        if is_not_permitted(&result) {
            self.files.led_out(fd, path);
        }
        result
    }

    /// The same for a change, which the system may refuse for other reasons, too.
    fn changed<T>(&self, fd: u32, path: &str, result: FsResult<T>) -> FsResult<T> {
        if is_not_permitted(&result) && leads_out(path) {
            self.files.led_out(fd, path);
        }
        result
    }

    /// Opens by wasmtime's own means, once it is known that there is a file or a directory. Who
    /// replaces it by a pipe in between can hold up a thread; on Linux there is no in between.
    async fn open_elsewhere(
        &mut self,
        fd: Resource<Descriptor>,
        opening: Opening,
    ) -> FsResult<Resource<Descriptor>> {
        let Opening { follow, path, create, flags } = opening;
        let rep = fd.rep();
        let found = self.wasi().stat_at(Resource::new_borrow(rep), follow, path.clone()).await;
        let is_new = match found.map(|found| found.type_) {
            Ok(
                types::DescriptorType::RegularFile
                | types::DescriptorType::Directory
                | types::DescriptorType::SymbolicLink,
            ) => false,
            Ok(_) => {
                self.files.special(rep, &path);
                return Err(ErrorCode::NotPermitted.into());
            }
            Err(error)
                if create.contains(types::OpenFlags::CREATE)
                    && matches!(error.downcast_ref(), Some(ErrorCode::NoEntry)) =>
            {
                true
            }
            Err(error) => return self.looked(rep, &path, Err(error)),
        };
        let cost = if is_new { ENTRY_BYTES } else { 0 };
        let spent = self.files.budget.spend(cost).map_err(ErrorCode::from)?;
        let opened = self.wasi().open_at(fd, follow, path, create, flags).await;
        spent.keep_for(&opened);
        opened
    }
}

fn is_not_permitted<T>(result: &FsResult<T>) -> bool {
    let code = result.as_ref().err().and_then(|error| error.downcast_ref());
    matches!(code, Some(ErrorCode::NotPermitted))
}

/// What a guest wants to open.
struct Opening {
    follow: types::PathFlags,
    path: String,
    create: types::OpenFlags,
    flags: types::DescriptorFlags,
}

impl Opening {
    fn changes(&self) -> bool {
        self.create.intersects(types::OpenFlags::CREATE | types::OpenFlags::TRUNCATE)
            || self.flags.contains(types::DescriptorFlags::WRITE)
    }

    /// The combinations that wasmtime refuses, too.
    fn check(&self) -> Result<(), ErrorCode> {
        let sync = types::DescriptorFlags::FILE_INTEGRITY_SYNC
            | types::DescriptorFlags::DATA_INTEGRITY_SYNC
            | types::DescriptorFlags::REQUESTED_WRITE_SYNC;
        let making =
            types::OpenFlags::CREATE | types::OpenFlags::EXCLUSIVE | types::OpenFlags::TRUNCATE;
        if self.flags.intersects(sync) {
            Err(ErrorCode::Unsupported)
        } else if self.create.contains(types::OpenFlags::DIRECTORY)
            && self.create.intersects(making)
        {
            Err(ErrorCode::Invalid)
        } else {
            Ok(())
        }
    }
}

/// What came of trying to open something in one step.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux has such a step"))]
enum Opened {
    File(fs::File),
    Directory(fs::File),
    /// Neither file nor directory, or part of the system's state.
    Special,
    /// The path leads out of the directory that it starts from.
    LedOut,
    Failed(ErrorCode),
    /// This system has no such step.
    Unavailable,
}

/// Opening in one step, so that it does not matter who exchanges files meanwhile.
#[cfg(target_os = "linux")]
mod step {
    use rustix::fs::{
        FileType, Mode, OFlags, ResolveFlags, fcntl_getfl, fcntl_setfl, fstat, openat2,
    };
    use rustix::io::Errno;

    use super::*;

    /// How often resolving is tried again when something is renamed meanwhile, as the kernel then
    /// cannot tell whether the path stays inside.
    const ATTEMPTS: usize = 64;

    /// Looks at what is there, and then opens it without waiting: should it have become a pipe in
    /// between, this returns at once, and what was opened is judged again.
    pub(super) fn open(dir: &fs::File, opening: &Opening, budget: &Budget) -> Opened {
        let follow = opening.follow.contains(types::PathFlags::SYMLINK_FOLLOW);
        let base = if follow { OFlags::CLOEXEC } else { OFlags::CLOEXEC | OFlags::NOFOLLOW };
        let create = opening.create.contains(types::OpenFlags::CREATE);
        let is_new = match resolve(dir, &opening.path, base | OFlags::PATH) {
            Ok(found) => match kind(&found) {
                Some(FileType::RegularFile | FileType::Directory) => false,
                Some(FileType::Symlink) => return Opened::Failed(ErrorCode::Loop),
                _ => return Opened::Special,
            },
            Err(Errno::NOENT) if create => true,
            // Old kernels do not know this step, and some containers forbid it.
            Err(Errno::NOSYS | Errno::PERM) => return Opened::Unavailable,
            Err(error) => return refused(error),
        };
        let spent = match budget.spend(if is_new { ENTRY_BYTES } else { 0 }) {
            Ok(spent) => spent,
            Err(over) => return Opened::Failed(over.into()),
        };
        let opened = resolve(dir, &opening.path, base | flags(opening) | OFlags::NONBLOCK);
        spent.keep_for(&opened);
        match opened {
            Ok(file) => judged(file, opening),
            Err(error) => refused(error),
        }
    }

    fn flags(opening: &Opening) -> OFlags {
        let (create, wanted) = (opening.create, opening.flags);
        let write = opening.changes();
        // What is not opened to write is opened to read, whether the guest then may or not.
        let read = wanted.contains(types::DescriptorFlags::READ)
            || !wanted.contains(types::DescriptorFlags::WRITE);
        let mut flags = OFlags::NOCTTY;
        flags |= match (read, write) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        flags.set(OFlags::CREATE, create.contains(types::OpenFlags::CREATE));
        flags.set(OFlags::TRUNC, create.contains(types::OpenFlags::TRUNCATE));
        if create.contains(types::OpenFlags::CREATE | types::OpenFlags::EXCLUSIVE) {
            flags |= OFlags::EXCL;
        }
        flags
    }

    fn resolve(dir: &fs::File, path: &str, flags: OFlags) -> Result<fs::File, Errno> {
        let mode =
            if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..ATTEMPTS {
            match openat2(dir, path, flags, mode, within) {
                Err(Errno::AGAIN) => {}
                result => return result.map(fs::File::from),
            }
        }
        Err(Errno::AGAIN)
    }

    fn kind(file: &fs::File) -> Option<FileType> {
        fstat(file).ok().map(|found| FileType::from_raw_mode(found.st_mode))
    }

    fn judged(file: fs::File, opening: &Opening) -> Opened {
        if mounts::shows_system(&file) {
            return Opened::Special;
        }
        match kind(&file) {
            Some(FileType::Directory) => Opened::Directory(file),
            Some(FileType::RegularFile) if opening.create.contains(types::OpenFlags::DIRECTORY) => {
                Opened::Failed(ErrorCode::NotDirectory)
            }
            Some(FileType::RegularFile) => {
                // Some file systems would take it as a wish not to wait for the disk.
                let waiting = fcntl_getfl(&file).map(|flags| flags - OFlags::NONBLOCK);
                match waiting.and_then(|flags| fcntl_setfl(&file, flags)) {
                    Ok(()) => Opened::File(file),
                    Err(error) => Opened::Failed(ErrorCode::from(std::io::Error::from(error))),
                }
            }
            _ => Opened::Special,
        }
    }

    fn refused(error: Errno) -> Opened {
        match error {
            Errno::XDEV => Opened::LedOut,
            // A pipe without a reader, or a device without a driver, came in between.
            Errno::NXIO | Errno::NODEV => Opened::Special,
            // A guest that renames without end must not get a slower and weaker way to open.
            Errno::AGAIN => Opened::Failed(ErrorCode::Busy),
            other => Opened::Failed(ErrorCode::from(std::io::Error::from(other))),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod step {
    use super::*;

    pub(super) fn open(_: &fs::File, _: &Opening, _: &Budget) -> Opened {
        Opened::Unavailable
    }
}

/// How many entries `dir` has, or one more than `most`.
#[cfg(unix)]
fn count_entries(dir: &fs::File, most: usize) -> std::io::Result<usize> {
    use rustix::fs::{Mode, OFlags, openat};

    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listing = openat(dir, c".", flags, Mode::empty())?;
    let mut count = 0;
    for entry in rustix::fs::Dir::new(listing)? {
        entry?;
        count += 1;
        if count > most {
            break;
        }
    }
    Ok(count)
}

/// Elsewhere a directory cannot be listed by its handle, and is not counted.
#[cfg(not(unix))]
fn count_entries(_: &fs::File, _: usize) -> std::io::Result<usize> {
    Ok(0)
}

/// Runs what may wait for the disk where waiting hurts nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    wasmtime_wasi::runtime::spawn_blocking(work).await
}

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let mut directories = Vec::with_capacity(self.files.roots.len());
        for (root, (dir, guest_path)) in self.files.roots.iter().enumerate() {
            let fd = self.table.push(Descriptor::Dir(dir.clone()))?;
            self.files.places.insert(fd.rep(), Place { root, path: String::new() });
            directories.push((fd, guest_path.clone()));
        }
        Ok(directories)
    }
}

impl types::Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        if self.table.get(&error)?.is::<OverBudget>() {
            return Ok(Some(ErrorCode::InsufficientSpace));
        }
        self.wasi().filesystem_error_code(error)
    }
}

impl types::HostDescriptor for FilesView<'_> {
    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: types::PathFlags,
        path: String,
        create: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let opening = Opening { follow, path, create, flags };
        opening.check()?;
        Self::check_path(&opening.path)?;
        if opening.changes() {
            self.check_change(&fd, &opening.path)?;
        }
        let (dir, rep) = (self.dir(&fd)?, fd.rep());
        let (shared, budget) = (Arc::clone(&dir.dir), self.files.budget.clone());
        let (opening, opened) = blocking(move || {
            let opened = step::open(&shared, &opening, &budget);
            (opening, opened)
        })
        .await;
        let path = opening.path.clone();
        let mut mode = if opening.changes() { OpenMode::WRITE } else { OpenMode::empty() };
        mode.set(
            OpenMode::READ,
            flags.contains(types::DescriptorFlags::READ)
                || !flags.contains(types::DescriptorFlags::WRITE),
        );
        let descriptor = match opened {
            Opened::File(file) => Descriptor::File(File::new(file, dir.perms, mode, false)),
            Opened::Directory(file) => Descriptor::Dir(Dir::new(file, dir.perms, mode, false)),
            Opened::Special => {
                self.files.special(rep, &path);
                return Err(ErrorCode::NotPermitted.into());
            }
            Opened::LedOut => {
                self.files.led_out(rep, &path);
                return Err(ErrorCode::NotPermitted.into());
            }
            Opened::Failed(code) => return Err(code.into()),
            Opened::Unavailable => {
                let opened = self.open_elsewhere(fd, opening).await?;
                self.remember(&opened, rep, &path);
                return Ok(opened);
            }
        };
        let opened = self.table.push(descriptor)?;
        self.remember(&opened, rep, &path);
        Ok(opened)
    }

    async fn write(
        &mut self,
        fd: Resource<Descriptor>,
        buffer: Vec<u8>,
        offset: types::Filesize,
    ) -> FsResult<types::Filesize> {
        let file = self.file(&fd)?;
        self.check_change(&fd, "")?;
        let _spent = self
            .files
            .budget
            .spend_at(&file.file, offset, buffer.len())
            .map_err(ErrorCode::from)?;
        self.wasi().write(fd, buffer, offset).await
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: types::Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        let file = self.file(&fd)?;
        self.check_change(&fd, "")?;
        let inner = self.wasi().write_via_stream(fd, offset)?;
        self.charged(inner, file, Some(offset))
    }

    fn append_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let file = self.file(&fd)?;
        self.check_change(&fd, "")?;
        let inner = self.wasi().append_via_stream(fd)?;
        self.charged(inner, file, None)
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: types::Filesize) -> FsResult<()> {
        let file = self.file(&fd)?;
        self.check_change(&fd, "")?;
        let length = file.file.metadata().map_or(0, |found| found.len());
        let growth = size.saturating_sub(length);
        let spent = self.files.budget.spend(growth).map_err(ErrorCode::from)?;
        let result = self.wasi().set_size(fd, size).await;
        spent.keep_for(&result);
        result
    }

    async fn create_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        Self::check_path(&path)?;
        self.check_change(&fd, &path)?;
        let spent = self.files.budget.spend(ENTRY_BYTES).map_err(ErrorCode::from)?;
        let rep = fd.rep();
        let result = self.wasi().create_directory_at(fd, path.clone()).await;
        spent.keep_for(&result);
        self.changed(rep, &path, result)
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        _: types::PathFlags,
        path: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        let shown = self.files.shown(fd.rep(), &path);
        self.files.unsafe_attempt(format!("a hard link to `{shown}`"));
        Err(ErrorCode::NotPermitted.into())
    }

    async fn symlink_at(
        &mut self,
        fd: Resource<Descriptor>,
        _: String,
        path: String,
    ) -> FsResult<()> {
        let shown = self.files.shown(fd.rep(), &path);
        self.files.unsafe_attempt(format!("a symbolic link at `{shown}`"));
        Err(ErrorCode::NotPermitted.into())
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        Self::check_path(&path)?;
        let rep = fd.rep();
        let result = self.wasi().readlink_at(fd, path.clone()).await;
        let target = self.looked(rep, &path, result)?;
        if target.len() > MAX_PATH_BYTES {
            return Err(ErrorCode::NameTooLong.into());
        }
        Ok(target)
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        for (fd, path) in [(&fd, &path), (&new_fd, &new_path)] {
            Self::check_path(path)?;
            self.check_change(fd, path)?;
        }
        let (rep, new_rep) = (fd.rep(), new_fd.rep());
        let result = self.wasi().rename_at(fd, path.clone(), new_fd, new_path.clone()).await;
        let result = self.changed(rep, &path, result);
        self.changed(new_rep, &new_path, result)
    }

    async fn remove_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        Self::check_path(&path)?;
        self.check_change(&fd, &path)?;
        let rep = fd.rep();
        let result = self.wasi().remove_directory_at(fd, path.clone()).await;
        self.changed(rep, &path, result)
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        Self::check_path(&path)?;
        self.check_change(&fd, &path)?;
        let rep = fd.rep();
        let result = self.wasi().unlink_file_at(fd, path.clone()).await;
        self.changed(rep, &path, result)
    }

    async fn stat_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: types::PathFlags,
        path: String,
    ) -> FsResult<types::DescriptorStat> {
        Self::check_path(&path)?;
        let rep = fd.rep();
        let result = self.wasi().stat_at(fd, follow, path.clone()).await;
        let found = self.looked(rep, &path, result)?;
        self.files.note(rep, &path, Access::ReadOnly);
        Ok(found)
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        Self::check_path(&path)?;
        let rep = fd.rep();
        let result = self.wasi().metadata_hash_at(fd, follow, path.clone()).await;
        self.looked(rep, &path, result)
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: types::PathFlags,
        path: String,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        Self::check_path(&path)?;
        self.check_change(&fd, &path)?;
        if !follow.contains(types::PathFlags::SYMLINK_FOLLOW) {
            let rep = fd.rep();
            let set = self.wasi().set_times_at(fd, follow, path.clone(), accessed, modified).await;
            return self.changed(rep, &path, set);
        }
        // Wasmtime opens what is there, whatever it is.
        let (create, flags) = (types::OpenFlags::empty(), types::DescriptorFlags::READ);
        let opened = self.open_at(fd, follow, path, create, flags).await?;
        let borrowed = Resource::new_borrow(opened.rep());
        let result = self.wasi().set_times(borrowed, accessed, modified).await;
        types::HostDescriptor::drop(self, opened).map_err(FsError::trap)?;
        result
    }

    async fn read_directory(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<types::DirectoryEntryStream>> {
        let dir = self.dir(&fd)?;
        self.files.note(fd.rep(), "", Access::ReadOnly);
        let most = MAX_LISTED.saturating_sub(self.files.listed.values().sum());
        let count = blocking(move || count_entries(&dir.dir, most)).await?;
        if count > most {
            let shown = self.files.shown(fd.rep(), "");
            self.files.unsafe_attempt(format!("listing `{shown}`, with too many entries,"));
            return Err(ErrorCode::InsufficientMemory.into());
        }
        let listing = self.wasi().read_directory(fd).await?;
        self.files.listed.insert(listing.rep(), count);
        Ok(listing)
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.files.places.remove(&fd.rep());
        self.wasi().drop(fd)
    }

    // What follows reaches nothing that was not opened above, and changes at most times.

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        length: types::Filesize,
        offset: types::Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.wasi().read(fd, length, offset).await
    }

    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: types::Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        self.wasi().read_via_stream(fd, offset)
    }

    async fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        self.check_change(&fd, "")?;
        self.wasi().set_times(fd, accessed, modified).await
    }

    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        offset: types::Filesize,
        length: types::Filesize,
        advice: types::Advice,
    ) -> FsResult<()> {
        self.wasi().advise(fd, offset, length, advice).await
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.wasi().sync_data(fd).await
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.wasi().sync(fd).await
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<types::DescriptorFlags> {
        self.wasi().get_flags(fd).await
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<types::DescriptorType> {
        self.wasi().get_type(fd).await
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<types::DescriptorStat> {
        self.wasi().stat(fd).await
    }

    async fn is_same_object(
        &mut self,
        a: Resource<Descriptor>,
        b: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        self.wasi().is_same_object(a, b).await
    }

    async fn metadata_hash(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<types::MetadataHashValue> {
        self.wasi().metadata_hash(fd).await
    }
}

impl types::HostDirectoryEntryStream for FilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        listing: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        self.wasi().read_directory_entry(listing).await
    }

    fn drop(&mut self, listing: Resource<types::DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.files.listed.remove(&listing.rep());
        types::HostDirectoryEntryStream::drop(&mut self.wasi(), listing)
    }
}

impl FilesView<'_> {
    fn remember(&mut self, opened: &Resource<Descriptor>, parent: u32, path: &str) {
        self.files.note(parent, path, Access::ReadOnly);
        let Place { root, path: base } = self.files.place(parent);
        // A guest that goes down without end gets no longer names for it.
        let mut path = joined(&base, path);
        path.truncate(path.floor_char_boundary(MAX_PATH_BYTES));
        self.files.places.insert(opened.rep(), Place { root, path });
    }

    /// Puts a stream that charges in the place of `inner`.
    fn charged(
        &mut self,
        inner: Resource<DynOutputStream>,
        file: File,
        at: Option<u64>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let inner = self.table.delete(inner)?;
        let budget = self.files.budget.clone();
        let charged = Charged { inner, file: file.file, at, budget, under_way: None };
        let charged: DynOutputStream = Box::new(charged);
        Ok(self.table.push(charged)?)
    }
}

/// A stream to a file of which every byte is paid for beforehand.
struct Charged {
    inner: DynOutputStream,
    file: Arc<fs::File>,
    /// Where the next byte goes; `None` at the end of the file, wherever that is.
    at: Option<u64>,
    budget: Budget,
    /// What the last write cost, which may not be over yet. The next one is not begun before.
    under_way: Option<Spent>,
}

impl Charged {
    fn charge(&mut self, length: usize) -> StreamResult<()> {
        let charged = match &mut self.at {
            Some(at) => {
                let charged = self.budget.spend_at(&self.file, *at, length);
                *at = at.saturating_add(length as u64);
                charged
            }
            None => self.budget.spend(length as u64),
        };
        let over = |over| StreamError::LastOperationFailed(wasmtime::Error::new(over));
        self.under_way = Some(charged.map_err(over)?);
        Ok(())
    }
}

#[async_trait]
impl Pollable for Charged {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Charged {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.charge(bytes.len())?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.charge(bytes.len())?;
        let result = self.inner.blocking_write_and_flush(bytes).await;
        self.under_way = None;
        result
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: u64, denials: &Denials) -> Budget {
        Budget::new(limit, None, denials.clone())
    }

    #[test]
    fn a_budget_is_spent_to_the_last_byte_and_says_when_it_is_over() {
        let denials = Denials::new(Arc::new(()));
        let budget = budget(1 << 20, &denials);
        let spent = budget.spend(1 << 20).unwrap();
        assert!(denials.take().0.is_empty());
        assert!(budget.spend(1).is_err());
        assert!(budget.spend(u64::MAX).is_err());
        assert_eq!(denials.take().0.len(), 1, "the same thing is told once");
        spent.give_back();
        assert!(budget.spend(1 << 20).is_ok());
    }

    #[test]
    fn holes_count_as_if_they_were_filled() {
        let file = tempfile::tempfile().unwrap();
        let budget = budget(100, &Denials::new(Arc::new(())));
        file.set_len(10).unwrap();
        assert!(budget.spend_at(&file, 5, 5).is_ok(), "5 bytes over what is there");
        assert!(budget.spend_at(&file, 60, 46).is_err(), "a hole of 50 and 46 bytes");
        assert!(budget.spend_at(&file, u64::MAX, 1).is_err());
        assert!(budget.spend_at(&file, u64::MAX, 0).is_ok());
        assert!(budget.spend_at(&file, 60, 45).is_ok(), "one byte less");
        assert!(budget.spend(1).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_state_of_the_system_is_not_opened_by_way_of_a_directory_around_it() {
        let root = fs::File::open("/").unwrap();
        let open = |path: &str| {
            let opening = Opening {
                follow: types::PathFlags::empty(),
                path: path.to_owned(),
                create: types::OpenFlags::empty(),
                flags: types::DescriptorFlags::READ,
            };
            step::open(&root, &opening, &budget(0, &Denials::new(Arc::new(()))))
        };
        assert!(matches!(open("etc"), Opened::Directory(_)));
        assert!(matches!(open("etc/passwd"), Opened::File(_)));
        for path in ["proc", "proc/version", "proc/self/environ", "sys/kernel"] {
            assert!(matches!(open(path), Opened::Special), "{path}");
        }
    }

    #[test]
    fn paths_that_climb_out_are_known_by_their_looks() {
        for out in ["..", "../a", "a/../..", "/", "/a", "./..", "a//../../b", "//"] {
            assert!(leads_out(out), "{out}");
        }
        for inside in ["", ".", "a", "a/..", "a/../b", "./a/./..", "..a", "a/...", "a/"] {
            assert!(!leads_out(inside), "{inside}");
        }
    }
}
