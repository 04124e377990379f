//! For how long a stream of events goes on: as long as the token holds that opened it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::auth::{Gate, Identity};

/// How often it is looked whether the token still holds. So long, at the most, goes on what was opened
/// with one that does not.
const INTERVAL: Duration = Duration::from_secs(3);

/// For how long nobody looks again before something is said: a tool may say a lot.
const FRESH: Duration = Duration::from_millis(100);

/// Who opened a stream.
pub(super) struct Standing {
    gate: Arc<Gate>,
    identity: Arc<Identity>,
    looked: Instant,
    next: Pin<Box<Sleep>>,
}

impl Standing {
    pub(super) fn new(gate: Arc<Gate>, identity: Arc<Identity>) -> Self {
        let next = Box::pin(sleep(INTERVAL));
        Self { gate, identity, looked: Instant::now(), next }
    }

    /// Whether it has ended; otherwise it is polled again when it may have.
    pub(super) fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        while let Poll::Ready(()) = self.next.as_mut().poll(context) {
            if !self.look() {
                return true;
            }
            self.next.as_mut().reset(Instant::now() + INTERVAL);
        }
        false
    }

    /// Whether something may be said.
    pub(super) fn still_holds(&mut self) -> bool {
        self.looked.elapsed() < FRESH || self.look()
    }

    fn look(&mut self) -> bool {
        self.looked = Instant::now();
        // What cannot be found out is not a reason to go on.
        self.gate.confirm(&self.identity).is_ok()
    }
}
