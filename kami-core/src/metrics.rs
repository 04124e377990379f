//! What calls take, in numbers for a monitoring system.
//!
//! There is one set of numbers for a whole server, and none for each tool or client: what is installed
//! and who calls would be told to whoever may read them, and a client could have any number of them kept.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::call::{Outcome, Report};
use crate::engine::Engine;

/// The outcome of a call that went well.
const OK: &str = "ok";

/// The outcome of a call that needs answers before it goes on, in another call.
const INPUT_REQUIRED: &str = "input-required";

/// From a call that does next to nothing to the longest that anybody waits for, in seconds.
pub(crate) const DURATIONS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0,
    60.0,
];

/// From the smallest memory that a program has to the largest that there may be, in bytes.
pub(crate) const MEMORIES: [f64; 7] = [
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
];

/// One label with one value, neither of which a client makes up.
type Label = [(&'static str, &'static str); 1];

/// Counts calls. Clones count together.
#[derive(Clone)]
pub struct Metrics {
    outcomes: Family<Label, Counter>,
    total: Histogram,
    inside: Histogram,
    memory: Histogram,
    cpu: Counter<f64, AtomicU64>,
    fuel: Counter,
}

/// Writes what was counted.
pub struct Exposition(Registry);

impl Metrics {
    /// Counts from zero, and what is read from `engine` meanwhile.
    pub fn new(engine: &Engine) -> (Self, Exposition) {
        let metrics = Self {
            outcomes: Family::default(),
            total: Histogram::new(DURATIONS),
            inside: Histogram::new(DURATIONS),
            memory: Histogram::new(MEMORIES),
            cpu: Counter::default(),
            fuel: Counter::default(),
        };
        let mut registry = Registry::with_prefix("kami");
        let Self { outcomes, total, inside, memory, cpu, fuel } = metrics.clone();
        registry.register("calls", "Calls, by `ok` or the code of what went wrong", outcomes);
        registry.register_with_unit(
            "call_duration",
            "From arguments to outcome, waiting for a place included",
            Unit::Seconds,
            total,
        );
        registry.register_with_unit(
            "guest_duration",
            "Setting up the sandbox and running the guest in it",
            Unit::Seconds,
            inside,
        );
        registry.register_with_unit(
            "guest_memory_peak",
            "The most linear memory that a call had at once",
            Unit::Bytes,
            memory,
        );
        let help = "How long the guests' own code ran on a processor";
        registry.register_with_unit("guest_cpu", help, Unit::Seconds, cpu);
        registry.register("guest_fuel", "Fuel that was burnt, where it is metered", fuel);
        registry.register_collector(Box::new(Host(engine.clone())));
        (metrics, Exposition(registry))
    }

    /// Counts a call that was refused, or that nobody waited for any more, under its code.
    pub fn refused(&self, code: &'static str) {
        self.outcomes.get_or_create(&[("outcome", code)]).inc();
    }

    /// Counts a call that was made.
    pub fn ended<T>(&self, report: &Report<T>) {
        let code = match &report.outcome {
            Outcome::Complete(_) => OK,
            Outcome::InputRequired(_) => INPUT_REQUIRED,
            Outcome::Failed(error) => error.code(),
        };
        self.outcomes.get_or_create(&[("outcome", code)]).inc();
        let stats = &report.stats;
        self.total.observe(stats.total.as_secs_f64());
        if stats.is_sum {
            return;
        }
        // One that never got a place was in no sandbox.
        if stats.inside > Duration::ZERO {
            self.inside.observe(stats.inside.as_secs_f64());
            #[expect(clippy::cast_precision_loss, reason = "nobody has so much memory")]
            self.memory.observe(stats.memory_peak_bytes as f64);
        }
        self.cpu.inc_by(stats.cpu.as_secs_f64());
        self.fuel.inc_by(stats.fuel.unwrap_or_default());
    }
}

impl Exposition {
    /// What this is in HTTP.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All numbers, as OpenMetrics and Prometheus read them.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.0) {
            // A string takes everything.
            tracing::error!(%error, "the metrics cannot be written");
        }
        text
    }
}

/// What the engine knows by itself, read when somebody asks.
struct Host(Engine);

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host(..)")
    }
}

impl Collector for Host {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (scheduler, cache) = (self.0.scheduler(), self.0.cache_lookups());
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let places = self.0.places();
        let mut gauge = |name, help, value| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("calls_running", "Calls that have a place", number(scheduler.running()))?;
        gauge("calls_waiting", "Calls that wait for one", number(scheduler.waiting()))?;
        gauge("places", "The most calls that run at once", i64::from(places))?;
        let mut counter = |name, help, value: u64| {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        };
        counter("native_code_cache_hits", "Components whose native code was kept", cache.hits)?;
        counter("native_code_cache_misses", "Components that had to be compiled", cache.misses)
    }
}
