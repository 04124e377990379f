//! Tasks as they are kept: a file each, replaced as a whole, so that a task outlives its server.
//!
//! Several servers may share one directory. Who changes a task holds the directory's lock meanwhile,
//! and each server holds a lock of its own for as long as it lives: a task whose server is gone is
//! nobody's any more, and the next server sees to it.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::atomic_file;
use crate::audit::UtcTime;
use crate::call::{Answer, InputMethod, InputRequest};
use crate::digest::{Digest, hex};
use crate::manifest::JsonObject;
use crate::private_directory;

/// The version of a record's shape.
const FORMAT: u32 = 1;

/// The most tasks that are kept, finished ones included, and the most bytes that they may have before
/// one more is begun.
const MOST_KEPT: usize = 10_000;
const MOST_BYTES: u64 = 1 << 30;

/// The part of both that one owner may have, where there are several.
const SHARE: u64 = 8;

/// How long a task is kept, from its beginning on, in milliseconds: a day.
pub(super) const LIFETIME: u64 = 24 * 3600 * 1000;

/// How many bytes name a task. The first ones tell its owner, so that it is known from the names of files
/// how much each has; nobody guesses the others, which are random.
const ID_BYTES: usize = 16;
const OWNER_BYTES: usize = 4;

/// What a client calls a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct TaskId(String);

/// A text that names no task.
#[derive(Debug, thiserror::Error)]
#[error("not the id of a task")]
pub(super) struct TaskIdError;

/// Everything that is known of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    pub(super) id: TaskId,
    /// Who may ask for it; empty where nobody is asked who they are.
    pub(super) owner: String,
    /// Which server sees to it.
    server: String,
    created: u64,
    updated: u64,
    /// The tool, by the name that no other package can take.
    pub(super) tool: String,
    /// The artifact that it is of.
    pub(super) artifact: Digest,
    /// What it was called with.
    pub(super) arguments: String,
    pub(super) status: Status,
}

/// How far it has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(super) enum Status {
    /// A guest is at it, with these answers and what it wanted back.
    Working { answers: Vec<(String, Value)>, state: Option<Vec<u8>> },
    /// A guest will go on once all of this is answered.
    InputRequired {
        requests: Vec<Question>,
        answers: BTreeMap<String, Value>,
        state: Option<Vec<u8>>,
    },
    /// The tool gave a result, also if that says that it failed.
    Completed { result: JsonObject },
    /// There is no result.
    Failed { code: i32, message: String },
    /// Nobody wants it any more.
    Cancelled,
}

/// Something that a guest asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) key: String,
    pub(super) method: String,
    pub(super) params: JsonObject,
}

impl From<&InputRequest> for Question {
    fn from(request: &InputRequest) -> Self {
        let InputRequest { key, method, params } = request;
        Self { key: key.clone(), method: method.to_string(), params: params.clone() }
    }
}

impl Question {
    /// Whether it can still be asked.
    pub(super) fn is_known(&self) -> bool {
        [InputMethod::Elicitation, InputMethod::Sampling, InputMethod::Roots]
            .iter()
            .any(|method| method.as_str() == self.method)
    }
}

impl TaskId {
    fn generate(owner: &str) -> io::Result<Self> {
        let mut id = [0; ID_BYTES];
        let (whose, random) = id.split_at_mut(OWNER_BYTES);
        whose.copy_from_slice(&Digest::of(owner.as_bytes()).as_bytes()[..OWNER_BYTES]);
        getrandom::fill(random).map_err(io::Error::other)?;
        Ok(Self(hex(&id)))
    }

    /// How all names of tasks of its owner begin.
    fn owner(&self) -> &str {
        &self.0[..2 * OWNER_BYTES]
    }
}

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, TaskIdError> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match digits && text.len() == 2 * ID_BYTES {
            true => Ok(Self(text.to_owned())),
            false => Err(TaskIdError),
        }
    }
}

impl TryFrom<String> for TaskId {
    type Error = TaskIdError;

    fn try_from(text: String) -> Result<Self, TaskIdError> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

impl Status {
    /// Whether nothing comes after it.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed { .. } | Self::Cancelled)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Working { .. } => "working",
            Self::InputRequired { .. } => "input_required",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a guest begins with that is entered for the first time, or again.
    pub(super) fn working(answers: Vec<Answer>, state: Option<Vec<u8>>) -> Self {
        let answers = answers.into_iter().map(|Answer { key, result }| (key, result)).collect();
        Self::Working { answers, state }
    }
}

impl Record {
    /// What a client sees of it, but for what came of it.
    pub(super) fn outline(&self, poll: u64) -> JsonObject {
        let time = |millis| Value::from(UtcTime::from_millis(millis).to_string());
        JsonObject::from_iter([
            ("taskId".to_owned(), String::from(self.id.clone()).into()),
            ("status".to_owned(), self.status.name().into()),
            ("createdAt".to_owned(), time(self.created)),
            ("lastUpdatedAt".to_owned(), time(self.updated)),
            ("ttlMs".to_owned(), LIFETIME.into()),
            ("pollIntervalMs".to_owned(), poll.into()),
        ])
    }

    /// Whether a guest is at it.
    pub(super) fn is_working(&self) -> bool {
        matches!(self.status, Status::Working { .. })
    }

    fn is_over(&self, now: u64) -> bool {
        now.saturating_sub(self.created) > LIFETIME
    }
}

/// The tasks of one data directory, as one server sees them.
pub(super) struct Records {
    directory: PathBuf,
    server: String,
    clock: fn() -> u64,
    /// Locked for as long as this server lives.
    _alive: File,
}

impl Records {
    /// Opens the directory, which is made if it is not there.
    pub(super) fn open(directory: &Path, clock: fn() -> u64) -> io::Result<Self> {
        private_directory::create(directory).map_err(io::Error::other)?;
        let server = TaskId::generate("")?.0;
        let alive = File::create(directory.join(format!("{server}.alive")))?;
        alive.lock()?;
        Ok(Self { directory: directory.to_owned(), server, clock, _alive: alive })
    }

    fn path(&self, id: &TaskId) -> PathBuf {
        self.directory.join(format!("{}.json", id.0))
    }

    fn locked(&self) -> io::Result<File> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.directory.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// Begins a task.
    ///
    /// # Errors
    /// Where there are too many, or it cannot be kept.
    pub(super) fn begin(
        &self,
        owner: &str,
        (tool, artifact): (&str, Digest),
        arguments: &str,
        status: Status,
    ) -> io::Result<Record> {
        let _lock = self.locked()?;
        let id = TaskId::generate(owner)?;
        // Who is one of many cannot have what others are kept in forgotten.
        let share = (!owner.is_empty()).then(|| (id.owner(), SHARE));
        for (whose, part) in share.into_iter().chain([("", 1)]) {
            if self.has_room(whose, part)? {
                continue;
            }
            self.forget()?;
            self.forget_finished(whose)?;
            if !self.has_room(whose, part)? {
                return Err(io::Error::other("no more tasks are kept until others are forgotten"));
            }
        }
        let now = (self.clock)();
        let record = Record {
            format: FORMAT,
            id,
            owner: owner.to_owned(),
            server: self.server.clone(),
            created: now,
            updated: now,
            tool: tool.to_owned(),
            artifact,
            arguments: arguments.to_owned(),
            status,
        };
        self.write(&record)?;
        Ok(record)
    }

    /// The task with an id, if there is one and its time is not over.
    pub(super) fn get(&self, id: &TaskId) -> io::Result<Option<Record>> {
        let bytes = match fs::read(self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let record: Record = serde_json::from_slice(&bytes)?;
        let known = record.format == FORMAT && !record.is_over((self.clock)());
        Ok(known.then_some(record))
    }

    /// Changes a task, which is this server's from then on, unless `change` has nothing to change; says
    /// whether it had.
    pub(super) fn change(
        &self,
        id: &TaskId,
        change: impl FnOnce(&Record) -> Option<Status>,
    ) -> io::Result<Option<(Record, bool)>> {
        let _lock = self.locked()?;
        let Some(mut record) = self.get(id)? else { return Ok(None) };
        let Some(status) = change(&record) else { return Ok(Some((record, false))) };
        record.status = status;
        record.server.clone_from(&self.server);
        record.updated = (self.clock)();
        self.write(&record)?;
        Ok(Some((record, true)))
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        atomic_file::replace(&self.path(&record.id), &serde_json::to_vec(record)?)
    }

    /// Whether there is room for one more of those whose names begin so, who have a part of all room.
    fn has_room(&self, whose: &str, part: u64) -> io::Result<bool> {
        let (mut count, mut bytes) = (0, 0);
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(whose)) {
                count += 1;
                // One that is gone by now takes no room.
                bytes += entry.metadata().map_or(0, |found| found.len());
            }
        }
        Ok(count < MOST_KEPT as u64 / part && bytes < MOST_BYTES / part)
    }

    /// Removes what is over.
    fn forget(&self) -> io::Result<()> {
        for id in self.ids()? {
            let over = match self.get(&id) {
                Ok(found) => found.is_none(),
                // Nobody can read it, and a later version may have written it.
                Err(_) => self.is_old(&id),
            };
            if over {
                fs::remove_file(self.path(&id))?;
            }
        }
        atomic_file::sweep(&self.directory)
    }

    /// Whether its file was last written longer ago than any task is kept.
    fn is_old(&self, id: &TaskId) -> bool {
        let written = fs::metadata(self.path(id)).and_then(|found| found.modified());
        let since = written.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let since = since.and_then(|since| u64::try_from(since.as_millis()).ok());
        since.is_some_and(|since| (self.clock)().saturating_sub(since) > LIFETIME)
    }

    /// Removes the half of those that are done and whose names begin so, whose clients had the longest
    /// time to ask.
    fn forget_finished(&self, whose: &str) -> io::Result<()> {
        let mut finished = Vec::new();
        for id in self.ids()?.into_iter().filter(|id| id.0.starts_with(whose)) {
            if let Ok(Some(record)) = self.get(&id)
                && record.status.is_last()
            {
                finished.push((record.updated, id));
            }
        }
        finished.sort_by_key(|(updated, _)| *updated);
        let half = finished.len().div_ceil(2);
        finished[..half].iter().try_for_each(|(_, id)| fs::remove_file(self.path(id)))
    }

    fn ids(&self) -> io::Result<Vec<TaskId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.and_then(|id| id.parse::<TaskId>().ok()));
        }
        Ok(ids)
    }

    /// Forgets what is over, and gives the tasks that are nobody's: their servers are gone.
    pub(super) fn orphans(&self) -> io::Result<Vec<Record>> {
        let _lock = self.locked()?;
        self.forget()?;
        let mut orphans = Vec::new();
        for id in self.ids()? {
            match self.get(&id) {
                Ok(None) => {}
                Ok(Some(record)) => orphans.extend(self.adopted(record)?),
                Err(error) => tracing::warn!(%error, task = %id.0, "a task cannot be read"),
            }
        }
        Ok(orphans)
    }

    /// The task with an id, if it is nobody's: it is this server's from then on.
    pub(super) fn adopt(&self, id: &TaskId) -> io::Result<Option<Record>> {
        let _lock = self.locked()?;
        self.get(id)?.map_or(Ok(None), |record| self.adopted(record))
    }

    fn adopted(&self, mut record: Record) -> io::Result<Option<Record>> {
        if !record.is_working() || record.server == self.server || !self.is_gone(&record.server)? {
            return Ok(None);
        }
        record.server.clone_from(&self.server);
        self.write(&record)?;
        Ok(Some(record))
    }

    /// Whether a server does not live any more; then its lock goes too.
    fn is_gone(&self, server: &str) -> io::Result<bool> {
        let path = self.directory.join(format!("{server}.alive"));
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => fs::remove_file(path).map(|()| true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // Whoever finds it unlocked removes it as well.
        let _ = fs::remove_file(self.directory.join(format!("{}.alive", self.server)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool() -> (&'static str, Digest) {
        ("dev.example.t/slow", Digest::of(b"artifact"))
    }

    fn working() -> Status {
        Status::working(Vec::new(), None)
    }

    #[test]
    fn a_task_outlives_its_server_and_is_nobodys_then() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("tasks");
        let first = Records::open(&directory, || 1000).unwrap();
        let task = first.begin("ada", tool(), "{}", working()).unwrap();
        let parked = first.begin("ada", tool(), "{}", working()).unwrap();
        let parked_status = Status::InputRequired {
            requests: Vec::new(),
            answers: BTreeMap::new(),
            state: Some(vec![1, 2]),
        };
        first.change(&parked.id, |_| Some(parked_status)).unwrap();

        let second = Records::open(&directory, || 2000).unwrap();
        assert_eq!(second.get(&task.id).unwrap().unwrap().owner, "ada");
        assert!(second.orphans().unwrap().is_empty(), "the first one lives");
        drop(first);
        let orphans = second.orphans().unwrap();
        assert_eq!(orphans.iter().map(|record| &record.id).collect::<Vec<_>>(), [&task.id]);
        assert!(second.orphans().unwrap().is_empty(), "it is the second one's now");
        drop(second);

        let late = Records::open(&directory, || 1001 + LIFETIME).unwrap();
        assert!(late.get(&task.id).unwrap().is_none());
        assert!(late.orphans().unwrap().is_empty());
        let left: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_str().unwrap().ends_with(".json")), "{left:?}");
    }

    #[test]
    fn what_is_last_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let records = Records::open(&root.path().join("tasks"), || 1000).unwrap();
        let task = records.begin("", tool(), "{}", working()).unwrap();
        let unless_last = |record: &Record| (!record.status.is_last()).then_some(Status::Cancelled);
        let changed = records.change(&task.id, unless_last).unwrap().unwrap();
        assert!(changed.0.status.is_last() && changed.1);
        let again = |record: &Record| {
            (!record.status.is_last()).then(|| Status::Failed { code: 0, message: String::new() })
        };
        let (kept, changed) = records.change(&task.id, again).unwrap().unwrap();
        assert!(matches!(kept.status, Status::Cancelled) && !changed);
    }

    #[test]
    fn one_of_many_has_a_share_and_takes_nobodys_place() {
        let root = tempfile::tempdir().unwrap();
        let records = Records::open(&root.path().join("tasks"), || 1000).unwrap();
        let eve = TaskId::generate("eve").unwrap();
        // As if she had begun as many as she may, and they went on.
        for number in 0..MOST_KEPT as u64 / SHARE {
            let name = format!("{}{number:024x}.json", eve.owner());
            fs::write(records.directory.join(name), "{}").unwrap();
        }
        assert!(records.begin("eve", tool(), "{}", working()).is_err());
        let task = records.begin("ada", tool(), "{}", working()).unwrap();
        assert!(records.get(&task.id).unwrap().is_some());
    }

    #[test]
    fn what_nobody_can_read_is_kept_for_as_long_as_a_task_and_no_longer() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("tasks");
        fs::create_dir(&directory).unwrap();
        let file = directory.join("0123456789abcdef0123456789abcdef.json");
        fs::write(&file, "not a task").unwrap();
        for (clock, kept) in
            [((|| 1000) as fn() -> u64, true), (|| u64::MAX, false), (|| u64::MAX, false)]
        {
            let records = Records::open(&directory, clock).unwrap();
            assert!(records.orphans().unwrap().is_empty());
            assert_eq!(file.exists(), kept);
        }
    }

    #[test]
    fn only_an_id_names_a_file() {
        for text in ["", "..", "../registry", "0123", &"g".repeat(32), &"A".repeat(32)] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
        assert!("0123456789abcdef0123456789abcdef".parse::<TaskId>().is_ok());
    }
}
