//! What a soak found, and whether that is as promised.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::vitals::Vitals;

/// The least that resident memory may gain, in KiB. Allocators keep what was freed for each thread,
/// and which thread a large answer meets is chance. Over a million calls it is 17 bytes a call.
const LEAST_MARGIN: u64 = 16 << 10;

/// How many calls a server runs at once, as each place keeps the image of its last guest.
const PLACES: u64 = 256;

/// What the audit log may take: its sixteen files of 16 MiB, and what a batch adds to each.
const MOST_AUDIT: u64 = 17 * (16 << 20);

/// What a soak found.
#[derive(Debug)]
pub struct Report {
    /// The seed by which it can be repeated.
    pub seed: u64,
    /// How many calls of each kind had which outcome, those before the first look included.
    pub outcomes: BTreeMap<(&'static str, &'static str), u64>,
    /// How many changes an operator made meanwhile.
    pub changes: u64,
    /// How long the calls took.
    pub elapsed: Duration,
    /// What the server held before its first call.
    pub fresh: Vitals,
    /// What it held after the calls that fill pools and caches, at rest.
    pub warm: Vitals,
    /// What it held while nothing was called, each with the number of calls by then.
    pub samples: Vec<(u64, Vitals)>,
    /// The most that it held while calls were under way.
    pub busiest: Vitals,
    /// What it held in the end, at rest.
    pub end: Vitals,
    /// The bytes of the whole data directory, and those of the audit log in it.
    pub disk: (u64, u64),
}

impl Report {
    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// How many KiB of resident memory the server may gain: a tenth, or [`LEAST_MARGIN`].
    ///
    /// With all places filled, a gigabyte is resident, nearly all of it the engine's places. What
    /// the allocator holds free in its arenas, and what of the images of memories is mapped just
    /// then, wavers by some 60 MiB from one look to the next.
    pub fn margin(&self) -> u64 {
        (self.warm.resident / 10).max(LEAST_MARGIN)
    }

    /// How many KiB the line through the second half of the samples gains from its one end to the
    /// other (least squares).
    pub fn trend(&self) -> f64 {
        let half = &self.samples[self.samples.len() / 2..];
        let (Some((first, _)), Some((last, _))) = (half.first(), half.last()) else { return 0.0 };
        let points = || half.iter().map(|(calls, at)| (*calls as f64, at.resident as f64));
        let count = half.len() as f64;
        let (x, y) = points().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (x, y) = (x / count, y / count);
        let above: f64 = points().map(|point| (point.0 - x) * (point.1 - y)).sum();
        let below: f64 = points().map(|point| (point.0 - x).powi(2)).sum();
        if below == 0.0 { 0.0 } else { above / below * (last - first) as f64 }
    }

    /// What is not as promised, in words; nothing where all is well.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let (warm, end, margin) = (&self.warm, &self.end, self.margin());
        if end.resident > warm.resident + margin {
            let (end, warm) = (end.resident, warm.resident);
            faults.push(format!(
                "{end} KiB are resident after all calls, and {warm} KiB were after the first \
                 ones: more than {margin} KiB were gained"
            ));
        }
        // Half of it, as the second half is half of the way.
        if self.trend() > margin as f64 / 2.0 {
            faults.push(format!(
                "resident memory grows: by {:.0} KiB over the second half, where {} KiB would be \
                 chance",
                self.trend(),
                margin / 2
            ));
        }
        for ((name, end), (_, warm)) in end.counts().into_iter().zip(warm.counts()) {
            if end > warm {
                faults.push(format!("{end} {name} are left, and there were {warm}"));
            }
        }
        let images = warm.images + self.changes.min(PLACES);
        if end.images > images {
            faults.push(format!("{} images of memories are left, of {images}", end.images));
        }
        if end.scratch > 0 {
            faults.push(format!("{} scratch directories are left", end.scratch));
        }
        if self.disk.1 > MOST_AUDIT {
            faults.push(format!("the audit log takes {} bytes", self.disk.1));
        }
        faults
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let outcomes = self.outcomes.iter().map(
            |((kind, outcome), calls)| json!({"kind": kind, "outcome": outcome, "calls": calls}),
        );
        let samples = self.samples.iter().map(|(calls, at)| {
            let mut at = at.json();
            at["calls"] = (*calls).into();
            at
        });
        json!({
            "seed": self.seed,
            "calls": self.calls(),
            "outcomes": outcomes.collect::<Value>(),
            "changes": self.changes,
            "seconds": self.elapsed.as_secs_f64(),
            "fresh": self.fresh.json(),
            "warm": self.warm.json(),
            "samples": samples.collect::<Value>(),
            "busiest": self.busiest.json(),
            "end": self.end.json(),
            "marginKib": self.margin(),
            "trendKib": self.trend(),
            "dataBytes": self.disk.0,
            "auditBytes": self.disk.1,
            "faults": self.faults(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for ((kind, outcome), calls) in &self.outcomes {
            let shown = if *kind == last { "" } else { kind };
            writeln!(f, "{shown:<28} {outcome:<20} {calls:>9}")?;
            last = kind;
        }
        let (calls, seconds) = (self.calls(), self.elapsed.as_secs_f64());
        let rate = calls as f64 / seconds;
        writeln!(f, "\n{calls} calls in {seconds:.0} s, {rate:.0} a second; seed {}", self.seed)?;
        writeln!(f, "{} changes of grants, packages and policy meanwhile\n", self.changes)?;

        let columns = [&self.fresh, &self.warm, &self.busiest, &self.end];
        writeln!(f, "{:<20} {:>9} {:>9} {:>9} {:>9}", "", "fresh", "warm", "busiest", "end")?;
        let mut row = |name: &str, of: &dyn Fn(&Vitals) -> u64| {
            let [fresh, warm, busiest, end] = columns.map(of);
            writeln!(f, "{name:<20} {fresh:>9} {warm:>9} {busiest:>9} {end:>9}")
        };
        row("resident, KiB", &|at| at.resident)?;
        row("  of no file, KiB", &|at| at.anonymous)?;
        row("  at its most, KiB", &|at| at.peak)?;
        for (at, (name, _)) in self.end.counts().iter().enumerate() {
            row(name, &|vitals| vitals.counts()[at].1)?;
        }
        let (data, audit) = self.disk;
        writeln!(
            f,
            "\nmemory may gain {} KiB and gained {}; the second half's trend is {:+.0} KiB",
            self.margin(),
            self.end.resident as i64 - self.warm.resident as i64,
            self.trend()
        )?;
        write!(f, "the data directory has {data} bytes, {audit} of them the audit log's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report of ten looks, at the resident KiB that `resident` says for each.
    fn report(resident: impl Fn(u64) -> u64) -> Report {
        let at = |look| Vitals { resident: resident(look), threads: 7, ..Vitals::default() };
        Report {
            seed: 1,
            outcomes: BTreeMap::from([(("sum", "answered"), 1000)]),
            changes: 0,
            elapsed: Duration::from_secs(1),
            fresh: Vitals::default(),
            warm: at(0),
            samples: (1..=10).map(|look| (look * 100, at(look))).collect(),
            busiest: at(10),
            end: at(10),
            disk: (0, 0),
        }
    }

    #[test]
    fn what_stays_flat_or_wavers_is_as_promised() {
        assert_eq!(report(|_| 100_000).faults(), [""; 0]);
        assert_eq!(report(|look| 100_000 + look % 2 * 4000).faults(), [""; 0]);
        assert_eq!(report(|look| 200_000 - look * 10_000).faults(), [""; 0]);
    }

    #[test]
    fn what_grows_or_is_left_is_named() {
        let fault = |report: &Report, words: &str| {
            let faults = report.faults();
            assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:?}");
        };
        fault(&report(|look| 100_000 + look * 2000), "were gained");
        // It fell before, so that only the second half shows it.
        let grows = report(|look| if look < 6 { 200_000 } else { 100_000 + look * 5000 });
        assert_eq!(grows.trend().round(), 20_000.0);
        fault(&grows, "resident memory grows");
        for (leave, words) in [
            (|end: &mut Vitals| end.threads += 1, "8 threads are left, and there were 7"),
            (|end| end.files += 1, "1 files are left"),
            (|end| end.sockets += 1, "1 sockets are left"),
            (|end| end.scratch += 1, "1 scratch directories are left"),
        ] as [(fn(&mut Vitals), &str); 4]
        {
            let mut report = report(|_| 100_000);
            leave(&mut report.end);
            fault(&report, words);
        }
        let full = Report { disk: (1 << 30, 1 << 30), ..report(|_| 100_000) };
        fault(&full, "the audit log takes");
    }
}
