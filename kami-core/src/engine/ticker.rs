//! The thread that advances an engine's epoch.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a spinning guest is made to yield. A limit is exceeded by this at the most.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Advances an engine's epoch until it is dropped.
///
/// It is an OS thread of its own, because a task on the async runtime starves when every worker
/// runs a guest that never yields, which is just when the ticks are needed.
pub(super) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(engine: &wasmtime::Engine) -> io::Result<Self> {
        let engine = engine.weak();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("kami-epoch".into()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let Some(engine) = engine.upgrade() else { break };
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // Closing the channel wakes the thread at once.
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic, and a drop has nobody to tell.
            let _ = thread.join();
        }
    }
}
