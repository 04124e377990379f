//! How long a guest's own code has run on a processor.
//!
//! A guest runs while its call's future is polled. So the thread's own clock is read before and
//! after each poll, and at each tick of the epoch in between, where a guest that has used up its
//! time is ended. Waiting costs no time here, nor does a machine that is busy with others.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// The processor time of one call. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct CpuClock(Arc<Readings>);

#[derive(Default)]
struct Readings {
    /// Nanoseconds in polls that ended.
    spent: AtomicU64,
    /// The thread's clock when the current poll began.
    since: AtomicU64,
}

impl CpuClock {
    /// The time in all polls that ended.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.0.spent.load(Ordering::Relaxed))
    }

    /// The time up to now, read on the thread that polls.
    pub(super) fn running(&self) -> Duration {
        let since = self.0.since.load(Ordering::Relaxed);
        self.spent() + Duration::from_nanos(thread_nanos().saturating_sub(since))
    }

    /// Counts the time of every poll of `future`.
    pub(crate) fn measure<F: Future>(&self, future: F) -> impl Future<Output = F::Output> {
        Measured { clock: self.clone(), future }
    }
}

struct Measured<F> {
    clock: CpuClock,
    future: F,
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with `self`, is never moved out of it, and `Measured` has no
        // `Drop` that could; `clock` is not pinned.
        let (clock, future) = unsafe {
            let this = self.get_unchecked_mut();
            (&this.clock.0, Pin::new_unchecked(&mut this.future))
        };
        let since = thread_nanos();
        clock.since.store(since, Ordering::Relaxed);
        let polled = future.poll(context);
        clock.spent.fetch_add(thread_nanos().saturating_sub(since), Ordering::Relaxed);
        polled
    }
}

/// The processor time of this thread.
#[cfg(unix)]
fn thread_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer, and the clock is one of the calling thread.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } != 0;
    if failed {
        return 0;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Where threads have no clock that is read as easily, the wall clock counts: never less.
#[cfg(not(unix))]
fn thread_nanos() -> u64 {
    use std::sync::LazyLock;
    use std::time::Instant;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn work_counts_and_waiting_does_not() {
        let clock = CpuClock::default();
        let work = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
            clock.running()
        };
        let running = clock.measure(work).await;
        assert!(running > Duration::ZERO && running <= clock.spent(), "{running:?}");
        assert!(clock.spent() < Duration::from_millis(90), "{:?}", clock.spent());
    }
}
