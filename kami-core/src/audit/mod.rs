//! What happened, in a form that shows when it was altered.
//!
//! Every install, change of a grant or of trust, call, denial and refusal is one line of JSON in a
//! log that only grows:
//!
//! ```text
//! audit/00000001.jsonl   records; the highest number is the newest file
//! audit/head             where the log begins and ends, authenticated
//! audit/key              the key that authenticates it
//! audit/lock             held by whoever writes
//! ```
//!
//! Each record carries the hash of the one before it and its own, which is over both. An edit, an
//! insertion, a removal or another order breaks this chain at that place, also from one file to the
//! next. The end of the chain is in `head`, under a MAC. [`verify`] checks it all.
//!
//! # What this protects against, and what not
//! It finds every change by whoever lacks the key: another program, a restored backup, a disk. Who
//! may write to the whole data directory can read the key too, and make another log that holds; so
//! can, for records that no head covers yet because a writer was killed just then, who may write to
//! the log alone. Against both, note the end of the log ([`head`]) somewhere else from time to time:
//! [`verify`] then tells whether the log still leads there. Before a record is written, whoever
//! controls this process can leave it out; nothing in here prevents that.
//!
//! # What is not in it
//! Results of calls, values of secrets, and arguments, of which there is a digest unless an operator
//! asks for more ([`AuditArguments`]).
//!
//! # How it is written
//! A call must not wait for a disk, so that an [`AuditLog`] has a thread that writes: all that came
//! in since the last time, as one batch. What waits for it is bounded. A call reserves its [`Place`]
//! before it begins, and so can neither find the queue full afterwards nor go unrecorded when it is
//! cancelled. While the log cannot be written, no place is given, and nothing is called.

mod chain;
mod event;
mod line;
mod lines;
mod read;
#[cfg(test)]
mod tests;
mod time;
mod verify;

use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::registry::{DataDir, RegistryError};
use chain::Chain;

pub use event::{
    Arguments, AuditArguments, AuditEvent, CallRecord, DenialRecord, Scrub, SecretAction,
    TokenAction, TrustAction,
};
pub use line::{ChainHead, ChainHeadError, HeadDamage, LineDamage};
pub use read::{AuditFilter, AuditReader, AuditRecord, Tail};
pub use time::{UtcTime, UtcTimeError};
pub use verify::{Verified, head, verify};

/// How many records may wait for the writer. At a call every 20 µs, that is a disk that hangs for
/// a tenth of a second; at ten calls a second, one that hangs for minutes.
const QUEUE: usize = 4096;

/// How long a record waits for others to be written with. Each batch costs a sync of the disk and a
/// new head, which is a fifth of the work of a busy server if it is done as often as it can be; and
/// of the calls that run meanwhile, each takes several times as long, which fewer than one in a
/// hundred should.
const COMPANY: Duration = Duration::from_millis(25);

/// How long the writer waits before it tries again to write what it could not.
const RETRY: Duration = Duration::from_secs(1);

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// How much of a call's arguments is recorded.
    pub arguments: AuditArguments,
    /// Takes secrets out of every text.
    pub scrub: Scrub,
    /// A new file is begun when the last one is at least this long.
    pub max_file_bytes: u64,
    /// The most files that are kept; the oldest go first.
    pub max_files: NonZeroU32,
    /// Whether the disk is waited for.
    pub durability: Durability,
}

impl Default for AuditOptions {
    /// Digests of arguments; 16 files of 16 MiB, which hold about half a million calls.
    fn default() -> Self {
        Self {
            arguments: AuditArguments::Digest,
            scrub: Scrub::default(),
            max_file_bytes: 16 << 20,
            max_files: const { NonZeroU32::new(16).unwrap() },
            durability: Durability::EachBatch,
        }
    }
}

/// Whether the writer waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After each batch. A record is on disk some ten milliseconds after it was made; after a power cut
    /// the log holds.
    #[default]
    EachBatch,
    /// Not at all. The log survives the end of this process, however sudden; after a power cut it may
    /// seem truncated.
    LeftToSystem,
}

/// Why the log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] RegistryError),
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another process did not let go of the lock.
    #[error("another process has held {} for long: try again, or end that process", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// The log is not what was written; it is left as it is.
    #[error("the audit log is damaged")]
    Damaged(#[from] AuditDamage),
    /// A record that cannot be written down.
    #[error("a record of the audit log cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    /// The operating system gives no thread.
    #[error("cannot start the thread that writes the audit log")]
    Thread(#[source] io::Error),
    /// The writer could not write, and tries again.
    #[error("the audit log cannot be written")]
    Failed(#[source] Arc<AuditError>),
    /// The writer has ended.
    #[error("the audit log is closed")]
    Closed,
}

/// What is wrong with a log, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditDamage {
    /// Nothing says where the log ends.
    #[error("{}: {source}", path.display())]
    Head {
        /// The file of the head, or of its key.
        path: PathBuf,
        /// What is wrong.
        source: HeadDamage,
    },
    /// A record is not what was written.
    #[error("{}, line {line}: {source}", path.display())]
    Line {
        /// In which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        source: LineDamage,
    },
    /// A line does not end, and is not the last one of the log.
    #[error("{}, line {line}: it is cut off", path.display())]
    Torn {
        /// In which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
    },
    /// A file is gone.
    #[error("{} is missing: a whole file was removed", path.display())]
    MissingFile {
        /// Which file.
        path: PathBuf,
    },
    /// The last records are gone.
    #[error("{} ends before record {expected}, the last that was written: records were removed from the end", path.display())]
    Truncated {
        /// The number of the last record.
        expected: u64,
        /// The file in which it should be.
        path: PathBuf,
    },
    /// Another record stands where the last one was written.
    #[error("{}: record {sequence} is not the one that was written last, or not where it was", path.display())]
    Replaced {
        /// The number of the last record.
        sequence: u64,
        /// The file in which it stands.
        path: PathBuf,
    },
    /// The log does not lead to a place that was noted elsewhere.
    #[error("record {} is {}, and {} was expected: this is another log, or it was written anew", found.sequence, found.hash, expect.hash)]
    Unexpected {
        /// The place.
        expect: ChainHead,
        /// What is there.
        found: ChainHead,
    },
    /// The log ends before a place that was noted elsewhere.
    #[error("the log ends before record {}: records were removed, or the log was begun anew", expect.sequence)]
    NotReached {
        /// The place.
        expect: ChainHead,
    },
    /// What was expected is older than all that is kept, and cannot be compared.
    #[error("record {} is not kept any more: the log begins after record {}", expect.sequence, dropped.sequence)]
    Dropped {
        /// The place.
        expect: ChainHead,
        /// The last record that was dropped.
        dropped: ChainHead,
    },
}

/// The log, opened for writing by this process.
///
/// Dropping it writes what waits.
#[derive(Debug)]
pub struct AuditLog {
    queue: Arc<Queue>,
    options: AuditOptions,
    writer: Option<JoinHandle<()>>,
}

/// Room for one record.
#[must_use]
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    permit: OwnedSemaphorePermit,
    scrub: Scrub,
    arguments: AuditArguments,
}

/// What waits for the writer, and what the writer says.
#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// Something waits, or the log is being closed.
    woken: Condvar,
    places: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Who wants to know when all that waits now is written.
    flushes: Vec<Flush>,
    closing: bool,
    /// The writer must be woken, which takes a system call.
    rest: Option<Rest>,
    /// Why the last attempt to write failed.
    failure: Option<Arc<AuditError>>,
    ended: bool,
}

/// What the writer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Anything to do.
    Work,
    /// More records than the first, for a while: writing some at once costs as much as one.
    Company,
}

impl State {
    /// Whether the writer rests and should not any more.
    fn wakes(&self) -> bool {
        let pressing = self.closing || !self.flushes.is_empty() || self.entries.len() >= QUEUE / 4;
        match self.rest {
            None => false,
            Some(Rest::Work) => true,
            Some(Rest::Company) => pressing,
        }
    }
}

#[derive(Debug)]
struct Entry {
    record: (UtcTime, AuditEvent),
    /// Given back once the record is written.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes the writer if it sleeps.
    fn give(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        if state.wakes() {
            state.rest = None;
            drop(state);
            self.woken.notify_one();
        }
    }

    fn push(&self, event: AuditEvent, permit: Option<OwnedSemaphorePermit>) {
        let record = (UtcTime::now(), event);
        self.give(|state| state.entries.push(Entry { record, _permit: permit }));
    }

    /// Whether records are being written.
    fn check(&self) -> Result<(), AuditError> {
        let state = self.lock();
        match &state.failure {
            _ if state.ended => Err(AuditError::Closed),
            Some(failure) => Err(AuditError::Failed(Arc::clone(failure))),
            None => Ok(()),
        }
    }
}

impl Place {
    /// How much of a call's arguments is to be recorded.
    pub fn arguments(&self) -> AuditArguments {
        self.arguments
    }

    /// Records an event in this place, without waiting for anything.
    pub fn record(self, event: AuditEvent) {
        let Self { queue, permit, scrub, .. } = self;
        queue.push(event.bound(&scrub), Some(permit));
    }
}

impl AuditLog {
    /// Opens the log in `data`, makes it if there is none, and starts the thread that writes it.
    ///
    /// # Errors
    /// Where it is damaged so that it cannot be continued, or cannot be written.
    pub fn open(data: &DataDir, options: AuditOptions) -> Result<Self, AuditError> {
        let chain = Chain::open(data, options.clone())?;
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            woken: Condvar::new(),
            places: Arc::new(Semaphore::new(QUEUE)),
        });
        let writer = Writer { queue: Arc::clone(&queue), chain };
        let thread = std::thread::Builder::new().name("kami-audit".to_owned());
        let writer = thread.spawn(move || writer.run()).map_err(AuditError::Thread)?;
        Ok(Self { queue, options, writer: Some(writer) })
    }

    /// Reserves room for one record; waits while as many records wait as may.
    ///
    /// # Errors
    /// While the log cannot be written. What is to be recorded must not be done then.
    pub async fn reserve(&self) -> Result<Place, AuditError> {
        self.queue.check()?;
        let permit = match Arc::clone(&self.queue.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = Arc::clone(&self.queue.places).acquire_owned();
                waiting.await.map_err(|_| AuditError::Closed)?
            }
        };
        // The writer may have failed while this waited for it.
        self.queue.check()?;
        let AuditOptions { scrub, arguments, .. } = &self.options;
        let (queue, scrub) = (Arc::clone(&self.queue), scrub.clone());
        Ok(Place { queue, permit, scrub, arguments: *arguments })
    }

    /// Records an event, once there is room for it; it is written soon after.
    ///
    /// # Errors
    /// While the log cannot be written.
    pub async fn record(&self, event: AuditEvent) -> Result<(), AuditError> {
        self.reserve().await?.record(event);
        Ok(())
    }

    /// Records an event and waits until it is written. Not for async code, whose thread it blocks.
    ///
    /// # Errors
    /// Where it could not be written.
    pub fn append(&self, event: AuditEvent) -> Result<(), AuditError> {
        // Whoever waits for each record needs no bound on how many wait.
        self.queue.push(event.bound(&self.options.scrub), None);
        let written = self.request_flush();
        written.blocking_recv().map_err(|_| AuditError::Closed)?.map_err(AuditError::Failed)
    }

    /// Waits until all that was recorded is written.
    ///
    /// # Errors
    /// Where it could not be written. The writer goes on trying.
    pub async fn flush(&self) -> Result<(), AuditError> {
        let written = self.request_flush();
        written.await.map_err(|_| AuditError::Closed)?.map_err(AuditError::Failed)
    }

    fn request_flush(&self) -> oneshot::Receiver<Result<(), Arc<AuditError>>> {
        let (sender, receiver) = oneshot::channel();
        self.queue.give(|state| {
            // After its end nobody would answer.
            if !state.ended {
                state.flushes.push(sender);
            }
        });
        receiver
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.queue.give(|state| state.closing = true);
        if let Some(writer) = self.writer.take() {
            // A panic was reported by its thread, and by every record since.
            let _ = writer.join();
        }
    }
}

/// Waits to hear that everything before it is written.
type Flush = oneshot::Sender<Result<(), Arc<AuditError>>>;

/// The thread that writes.
struct Writer {
    queue: Arc<Queue>,
    chain: Chain,
}

/// Says that the writer has ended, however it did.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        state.flushes.clear();
        // Whoever waits for room gets none.
        self.0.places.close();
    }
}

impl Writer {
    fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.queue));
        let mut unwritten: Vec<Entry> = Vec::new();
        let mut failing = false;
        loop {
            let (mut flushes, closing) = self.collect(&mut unwritten);
            let (records, permits): (Vec<_>, Vec<_>) =
                unwritten.drain(..).map(|entry| (entry.record, entry._permit)).unzip();
            let result = self.chain.append(&records);
            let failure = result.err().map(Arc::new);
            self.queue.lock().failure.clone_from(&failure);
            // It is tried again and again, and said once.
            match (std::mem::replace(&mut failing, failure.is_some()), &failure) {
                (false, Some(error)) => tracing::error!(
                    error = error as &dyn std::error::Error,
                    "the audit log cannot be written, and no tool is called until it can: make room \
                     on its disk, or let the server write to it"
                ),
                (true, None) => {
                    tracing::warn!("the audit log is written again, and tools are called")
                }
                _ => {}
            }
            if failure.is_some() {
                let entries = records.into_iter().zip(permits);
                unwritten.extend(entries.map(|(record, _permit)| Entry { record, _permit }));
            }
            for flush in flushes.drain(..) {
                // Who asked may have gone.
                let _ = flush.send(failure.clone().map_or(Ok(()), Err));
            }
            if closing {
                return;
            }
        }
    }

    /// Waits until there is something to write, and takes all of it.
    fn collect(&self, unwritten: &mut Vec<Entry>) -> (Vec<Flush>, bool) {
        let failed = !unwritten.is_empty();
        let retry = Instant::now() + RETRY;
        let mut state = self.queue.lock();
        loop {
            let due = failed && Instant::now() >= retry;
            let wanted = !state.flushes.is_empty() || (!failed && !state.entries.is_empty());
            if due || wanted || state.closing {
                break;
            }
            state.rest = Some(Rest::Work);
            state = if failed {
                let left = retry.saturating_duration_since(Instant::now());
                let woken = self.queue.woken.wait_timeout(state, left);
                woken.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.queue.woken.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
            state.rest = None;
        }
        if !failed {
            state.rest = Some(Rest::Company);
            if !state.wakes() {
                let woken = self
                    .queue
                    .woken
                    .wait_timeout_while(state, COMPANY, |state| state.rest.is_some());
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
            state.rest = None;
        }
        unwritten.append(&mut state.entries);
        (std::mem::take(&mut state.flushes), state.closing)
    }
}
