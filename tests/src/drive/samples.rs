//! How long something took, many times.

use std::fmt;
use std::time::{Duration, Instant};

/// Durations of the same thing, in the order in which they were measured.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Notes one more.
    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Does something, and notes how long it took.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.push(started.elapsed());
        done
    }

    /// Adds those of another measurement of the same thing.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The half of them are shorter.
    ///
    /// # Panics
    /// Where there are none.
    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    /// All but one in a hundred are shorter.
    ///
    /// # Panics
    /// Where there are none.
    pub fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1).expect("something was measured");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list that fits memory"
        )]
        let place = (last as f64 * share).round() as usize;
        sorted[place]
    }
}

/// A duration, as people read it: in the unit that leaves one to three digits before the point.
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_secs_f64() * 1e6;
        let (value, unit) = match micros {
            ..1e3 => (micros, "µs"),
            1e3..1e6 => (micros / 1e3, "ms"),
            _ => (micros / 1e6, "s"),
        };
        let digits = match value {
            ..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        write!(f, "{value:.digits$} {unit}")
    }
}

/// How many times as long as `base` something took.
pub fn ratio(samples: Duration, base: Duration) -> f64 {
    samples.as_secs_f64() / base.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_places_in_the_order_of_length() {
        let mut samples = Samples::default();
        (0..=100).rev().for_each(|n| samples.push(Duration::from_micros(n)));
        assert_eq!(samples.median(), Duration::from_micros(50));
        assert_eq!(samples.p99(), Duration::from_micros(99));
    }

    #[test]
    fn durations_are_shown_with_three_digits() {
        let shown = |nanos| Shown(Duration::from_nanos(nanos)).to_string();
        assert_eq!(shown(9_870), "9.87 µs");
        assert_eq!(shown(98_700), "98.7 µs");
        assert_eq!(shown(4_000_000), "4.00 ms");
        assert_eq!(shown(123_000_000), "123 ms");
        assert_eq!(shown(1_500_000_000), "1.50 s");
    }
}
