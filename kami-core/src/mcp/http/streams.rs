//! The requests of one connection over HTTP/2, each of which is a stream.
//!
//! hyper gives each stream to an executor, which is this: so a stream whose client takes nothing is
//! given up by itself, a client that gives up many is left, and all end with their connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::listener::WRITE_TIMEOUT;
use crate::rate::TokenBucket;

/// How many requests in a minute a client may begin and not wait for. Each of them has cost something,
/// and as none of them is open any more, nothing else bounds how many there are (CVE-2023-44487).
const MOST_GIVEN_UP: u64 = 600;

/// A connection on which nothing was asked from one tick to the next is closed.
const TICK: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// How the stream goes that this task is about.
    static PACE: Arc<Pace>;
}

/// How a reply goes.
pub(super) struct Pace {
    began: Instant,
    /// When hyper last asked for more of the reply, in milliseconds since then; 0 before there is one.
    asked: AtomicU64,
    /// Whether it has all of it.
    done: AtomicBool,
}

impl Pace {
    /// That of the stream that this task is about.
    pub(super) fn current() -> Option<Arc<Self>> {
        PACE.try_with(Arc::clone).ok()
    }

    /// Takes note that more is asked for. A stream of events is asked at least as often as it says
    /// that it is still there, unless its client takes nothing.
    pub(super) fn asked(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.asked.store(since.max(1), Ordering::Relaxed);
    }

    pub(super) fn done(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// Ends when there is a reply and nobody has taken any of it for too long.
    async fn stalled(&self) {
        loop {
            let silence = match self.asked.load(Ordering::Relaxed) {
                0 => Duration::ZERO,
                asked => self.began.elapsed().saturating_sub(Duration::from_millis(asked)),
            };
            match WRITE_TIMEOUT.checked_sub(silence) {
                None | Some(Duration::ZERO) => return,
                Some(rest) => sleep(rest).await,
            }
        }
    }
}

/// The streams of one connection.
#[derive(Clone)]
pub(super) struct Streams(Arc<Shared>);

struct Shared {
    open: AtomicUsize,
    begun: AtomicU64,
    given_up: TokenBucket,
    closed: watch::Sender<bool>,
}

impl Streams {
    /// Those of a connection that `closed` closes.
    pub(super) fn new(closed: watch::Sender<bool>) -> Self {
        let given_up = TokenBucket::per_minute(MOST_GIVEN_UP);
        let (open, begun) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(Shared { open, begun, given_up, closed }))
    }

    /// Ends when no request has been open for a while.
    pub(super) async fn idle(&self) {
        let mut before = None;
        loop {
            let begun = self.0.begun.load(Ordering::Relaxed);
            if self.0.open.load(Ordering::Relaxed) == 0 && before == Some(begun) {
                return;
            }
            before = Some(begun);
            sleep(TICK).await;
        }
    }

    /// Ends when the connection is to be closed, and has all streams end too.
    pub(super) async fn closed(&self) {
        let mut closed = self.0.closed.subscribe();
        // The sender is here.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Closes the connection.
    pub(super) fn close(&self) {
        self.0.closed.send_replace(true);
    }
}

/// One that is open.
struct Open {
    shared: Arc<Shared>,
    pace: Arc<Pace>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        let done = self.pace.done.load(Ordering::Relaxed);
        if !done && self.shared.given_up.take().is_err() && !self.shared.closed.send_replace(true) {
            tracing::debug!("a client gives up too many requests: its connection is closed");
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (asked, done) = (AtomicU64::new(0), AtomicBool::new(false));
        let pace = Arc::new(Pace { began: Instant::now(), asked, done });
        self.0.open.fetch_add(1, Ordering::Relaxed);
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        let open = Open { shared: Arc::clone(&self.0), pace: Arc::clone(&pace) };
        let streams = self.clone();
        tokio::spawn(async move {
            let open = open;
            tokio::select! {
                () = PACE.scope(pace, stream) => {}
                () = open.pace.stalled() => tracing::debug!("a client does not take its reply"),
                () = streams.closed() => {}
            }
        });
    }
}
