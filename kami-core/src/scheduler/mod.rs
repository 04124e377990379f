//! Which call begins next, and which is told to come again later.
//!
//! A [`Scheduler`] has a number of places, and each call that runs holds one. A call begins at once
//! where a place is free and its tool has room; else it waits in a line of bounded length, for a
//! bounded time. It knows nothing of what a call does.
//!
//! # Who is next
//! When a place is free, three questions are asked, and a tool that is at its limit stands back in
//! all of them, so that it keeps nobody waiting but its own calls.
//!
//! 1. Of which [`Priority`]? While all of them wait, of 13 places 9 go to high, 3 to normal and 1
//!    to low, evenly mixed. So a higher one goes before, and a lower one never starves: with strict
//!    order it would, and ageing would let a long line of low ones overtake whatever comes new.
//! 2. Of whom? Of the [`Principal`] that holds the fewest places; among equals they take turns. So
//!    principals share places, and not only beginnings: who makes long calls gets no more of the
//!    server than who makes short ones.
//! 3. Of which tool? A principal's tools take turns, and each one's calls come in order.
//!
//! # Who waits for nothing
//! A call that finds the line full is refused at once, and one that waits too long is refused then;
//! both are told when to come again. One principal cannot fill the line.
//!
//! A call that nobody waits for any more is dropped: it leaves the line, and a place that was just
//! given to it goes to the next one.

mod line;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::digest::Digest;
use line::{Line, Ticket};

/// The places that there are where nobody says how many.
///
/// Each reserves about 4 GiB of address space and no memory until it is used; 1,000 of them fit any
/// 64-bit Linux, and stay far below the kernel's default limit of mappings.
pub const DEFAULT_PLACES: u32 = 256;

/// The most calls that wait where nobody says how many: each holds its arguments.
const DEFAULT_WAITING: usize = 1024;

/// With the calls that run, fewer than a connection may have unanswered: a client that asks for too
/// much hears so, and is not left unread.
const DEFAULT_WAITING_OF_ONE: usize = 512;

/// How long a person looks at a model that waits.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);

/// How many calls run at once, and how many wait for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleOptions {
    /// The most calls at once.
    pub places: u32,
    /// The most calls that wait; none does where it is zero.
    pub most_waiting: usize,
    /// The most calls that wait of one principal.
    pub most_waiting_of_one: usize,
    /// The longest that a call waits.
    pub patience: Duration,
}

impl Default for ScheduleOptions {
    fn default() -> Self {
        Self {
            places: DEFAULT_PLACES,
            most_waiting: DEFAULT_WAITING,
            most_waiting_of_one: DEFAULT_WAITING_OF_ONE,
            patience: DEFAULT_PATIENCE,
        }
    }
}

/// On whose behalf calls are made: places are shared evenly between principals.
///
/// The default one is whoever embeds this crate and names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Principal(u128);

impl Principal {
    /// Somebody who is nobody else, such as a connection.
    pub fn unnamed() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(u128::from(LAST.fetch_add(1, Ordering::Relaxed)) + 1)
    }

    /// The one of this name, wherever it is said.
    pub fn named(name: &str) -> Self {
        // The other ones have no such bit.
        Self(key(name) | 1 << 127)
    }
}

/// How urgent the calls of a package are. Its operator says so, and nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// After others, and yet in their turn.
    Low,
    /// Where nothing is said.
    #[default]
    Normal,
    /// Before others.
    High,
}

impl Priority {
    /// All of them, the lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        })
    }
}

/// Calls that share a limit: those of one package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    key: u128,
    limit: usize,
}

impl Lane {
    /// The lane of this name, of whose calls `limit` may run at once, and one in any case.
    ///
    /// What runs is counted by name. Where limits differ, as after a change of the grant, each call
    /// is held to the one that it came with.
    pub fn new(name: &str, limit: usize) -> Self {
        Self { key: key(name), limit: limit.max(1) }
    }
}

/// What a call asks for.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// On whose behalf.
    pub principal: Principal,
    /// With which others it shares a limit.
    pub lane: Lane,
    /// How urgent it is.
    pub priority: Priority,
    /// The longest that it waits, if that is less than [`ScheduleOptions::patience`].
    pub patience: Duration,
}

/// Why a call may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As many wait as may.
    Full {
        /// When it is worth to come again: an estimate in whole seconds, from 1 to 60.
        retry: Duration,
    },
    /// It waited for as long as it may.
    Late {
        /// The same.
        retry: Duration,
    },
}

impl Refusal {
    /// When it is worth to come again.
    pub fn retry(self) -> Duration {
        match self {
            Self::Full { retry } | Self::Late { retry } => retry,
        }
    }
}

/// Gives places to calls. Clones mean the same scheduler.
#[derive(Clone)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

struct Shared {
    line: Mutex<Line<oneshot::Sender<Permit>>>,
    options: ScheduleOptions,
}

/// A call's place, given to the next one when this is dropped.
#[must_use]
pub struct Permit {
    shared: Arc<Shared>,
    claim: Claim,
    since: Instant,
}

impl Scheduler {
    /// A scheduler all of whose places are free.
    pub fn new(options: ScheduleOptions) -> Self {
        let line = Mutex::new(Line::new(options));
        Self { shared: Arc::new(Shared { line, options }) }
    }

    /// How many calls of one principal run or wait at the most; any more are refused.
    pub fn most_of_one(&self) -> usize {
        let ScheduleOptions { places, most_waiting, most_waiting_of_one, .. } = self.shared.options;
        most_waiting.min(most_waiting_of_one).saturating_add(places as usize)
    }

    /// Waits for a place, for as long as the claim and this scheduler's options permit. A future
    /// that is dropped has left nothing behind.
    ///
    /// # Errors
    /// Where too many wait already, or it waited too long.
    ///
    /// # Panics
    /// Where it has to wait outside of a tokio runtime with timers.
    pub async fn admit(&self, claim: Claim) -> Result<Permit, Refusal> {
        let (mut waiting, place) = {
            let mut line = self.shared.lock();
            if line.take(&claim) {
                drop(line);
                return Ok(Permit::new(&self.shared, claim));
            }
            let (give, place) = oneshot::channel();
            let ticket = line.join(claim, give).map_err(|retry| Refusal::Full { retry })?;
            (Waiting { shared: &self.shared, claim, ticket: Some(ticket) }, place)
        };
        match tokio::time::timeout(claim.patience.min(self.shared.options.patience), place).await {
            Ok(Ok(permit)) => {
                waiting.ticket = None;
                Ok(permit)
            }
            _ => Err(Refusal::Late { retry: self.shared.lock().retry(&claim) }),
        }
    }

    /// How many calls run.
    pub fn running(&self) -> usize {
        self.shared.lock().running()
    }

    /// How many calls wait.
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiting()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line<oneshot::Sender<Permit>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    fn new(shared: &Arc<Shared>, claim: Claim) -> Self {
        Self { shared: Arc::clone(shared), claim, since: Instant::now() }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("claim", &self.claim).finish_non_exhaustive()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let held = self.since.elapsed();
        let next = self.shared.lock().release(&self.claim, held);
        if let Some((claim, give)) = next {
            // Where nobody waits for it any more, what comes back is dropped, and so given on.
            let _ = give.send(Self::new(&self.shared, claim));
        }
    }
}

/// Leaves the line when it is dropped before its turn.
struct Waiting<'a> {
    shared: &'a Shared,
    claim: Claim,
    /// `None` once it has a place.
    ticket: Option<Ticket>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.lock().leave(&self.claim, ticket);
        }
    }
}

/// Stands for a name: two that differ in it are not to be found.
fn key(name: &str) -> u128 {
    let digest = Digest::of(name.as_bytes());
    digest.as_bytes().iter().take(16).fold(0, |key, byte| key << 8 | u128::from(*byte))
}
