//! How often something may happen: a token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Permits a number of events in a minute, and as many at once.
///
/// It is full at the beginning, and a token comes back at even intervals: short bursts pass, and no
/// longer stretch has more events than it may.
#[derive(Debug)]
pub struct TokenBucket {
    interval: Duration,
    capacity: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: u32,
    /// When the last token came back.
    since: Instant,
}

impl TokenBucket {
    /// Permits `per_minute` events in a minute; none at all where that is zero.
    pub fn per_minute(per_minute: u64) -> Self {
        let capacity = u32::try_from(per_minute).unwrap_or(u32::MAX);
        let interval = Duration::from_secs(60) / capacity.max(1);
        let state = State { tokens: capacity, since: Instant::now() };
        Self { interval, capacity, state: Mutex::new(state) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// Where there is none: how long it takes until there is.
    pub fn take(&self) -> Result<(), Duration> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(state.since);
        let back = elapsed.as_nanos() / self.interval.as_nanos().max(1);
        let back = u32::try_from(back).unwrap_or(u32::MAX);
        state.tokens = state.tokens.saturating_add(back).min(self.capacity);
        // What is over of an interval counts for the next token, unless the bucket is full.
        state.since = match state.tokens == self.capacity {
            true => now,
            false => state.since + self.interval * back,
        };
        match state.tokens.checked_sub(1) {
            Some(left) => {
                state.tokens = left;
                Ok(())
            }
            None => Err(self.interval.saturating_sub(now.saturating_duration_since(state.since))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let bucket = TokenBucket::per_minute(60);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        for _ in 0..60 {
            assert_eq!(bucket.take_at(at(0)), Ok(()));
        }
        let wait = bucket.take_at(at(250)).unwrap_err();
        assert!(wait > Duration::from_millis(700) && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(bucket.take_at(at(1100)), Ok(()));
        assert!(bucket.take_at(at(1200)).is_err());
        assert_eq!(bucket.take_at(at(2100)), Ok(()), "what was over of the interval counts");
    }

    #[test]
    fn no_stretch_has_more_than_it_may() {
        let bucket = TokenBucket::per_minute(600);
        let start = Instant::now();
        let passed = (0..60_000)
            .filter(|millis| bucket.take_at(start + Duration::from_millis(*millis)).is_ok())
            .count();
        assert!((1199..=1200).contains(&passed), "a full bucket and a minute's tokens: {passed}");
    }

    #[test]
    fn nothing_passes_where_nothing_may() {
        assert!(TokenBucket::per_minute(0).take().is_err());
    }
}
