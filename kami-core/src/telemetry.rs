//! What happens, told to OpenTelemetry: a span for each time that a guest is entered, and numbers.
//!
//! Only the interface of OpenTelemetry is used here, which does nothing by itself; whoever embeds this
//! crate brings what collects and sends. Names are those of its conventions for the Model Context
//! Protocol where these have one, and begin with `kami` where they have none.
//!
//! # Security
//! What is told are names, codes, times and sizes: no arguments, no results, and no words of a guest.
//! A name is that of something installed, and never what a client made up. Of what a client says about
//! its trace, only the numbers are taken; its `tracestate` is free text, and goes nowhere.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use opentelemetry::global::BoxedTracer;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};

use crate::call::CallStats;
use crate::engine::Engine;
use crate::manifest::Package;
use crate::metrics::{DURATIONS, MEMORIES};

/// Makes spans and counts. Clones count together.
#[derive(Debug, Clone)]
pub struct Telemetry(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    tracer: BoxedTracer,
    operation: Histogram<f64>,
    inside: Histogram<f64>,
    memory: Histogram<u64>,
    cpu: Counter<f64>,
    fuel: Counter<u64>,
}

impl Telemetry {
    /// Tells to `tracer` and `meter`, also numbers of `engine`, which lives as long as they are collected.
    pub fn new(tracer: BoxedTracer, meter: &Meter, engine: &Engine) -> Self {
        let seconds = |name: &'static str, help: &'static str| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(help);
            histogram.with_boundaries(DURATIONS.to_vec()).build()
        };
        let instruments = Instruments {
            operation: seconds(
                "mcp.server.operation.duration",
                "From a request that takes a guest to its outcome",
            ),
            inside: seconds(
                "kami.guest.duration",
                "Setting up the sandbox and running the guest in it",
            ),
            memory: meter
                .u64_histogram("kami.guest.memory.peak")
                .with_unit("By")
                .with_description("The most linear memory that a call had at once")
                .with_boundaries(MEMORIES.to_vec())
                .build(),
            cpu: meter
                .f64_counter("kami.guest.cpu.time")
                .with_unit("s")
                .with_description("How long the guests' own code ran on a processor")
                .build(),
            fuel: meter
                .u64_counter("kami.guest.fuel")
                .with_description("Fuel that was burnt, where it is metered")
                .build(),
            tracer,
        };
        watch(meter, engine);
        Self(Arc::new(instruments))
    }

    /// Begins to tell of a request, which is a part of a client's span if it said so.
    pub fn begin(&self, method: &'static str, parent: Option<&TraceParent>) -> CallSpan {
        let mut attributes = vec![KeyValue::new("mcp.method.name", method)];
        if method == TOOL_CALL {
            attributes.push(KeyValue::new("gen_ai.operation.name", "execute_tool"));
        }
        CallSpan {
            telemetry: self.clone(),
            parent: parent.map(|parent| parent.context.clone()),
            begun: SystemTime::now(),
            started: Instant::now(),
            method,
            name: Cow::Borrowed(method),
            attributes,
            version: None,
        }
    }
}

/// Has numbers of an engine read whenever somebody collects them.
fn watch(meter: &Meter, engine: &Engine) {
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let gauge = |name: &'static str, help, read: Box<dyn Fn(&Engine) -> u64 + Send + Sync>| {
        let engine = engine.clone();
        let gauge = meter.u64_observable_gauge(name).with_description(help);
        gauge.with_callback(move |observer| observer.observe(read(&engine), &[])).build();
    };
    let running = move |engine: &Engine| number(engine.scheduler().running());
    let waiting = move |engine: &Engine| number(engine.scheduler().waiting());
    gauge("kami.calls.running", "Calls that have a place", Box::new(running));
    gauge("kami.calls.waiting", "Calls that wait for one", Box::new(waiting));
    let places = |engine: &Engine| engine.places().into();
    gauge("kami.places", "The most calls that run at once", Box::new(places));
    let counter = |name: &'static str, help, read: fn(&Engine) -> u64| {
        let engine = engine.clone();
        let counter = meter.u64_observable_counter(name).with_description(help);
        counter.with_callback(move |observer| observer.observe(read(&engine), &[])).build();
    };
    let help = "Components whose native code was kept";
    counter("kami.native_code_cache.hits", help, |engine| engine.cache_lookups().hits);
    let help = "Components that had to be compiled";
    counter("kami.native_code_cache.misses", help, |engine| engine.cache_lookups().misses);
}

const TOOL_CALL: &str = "tools/call";
const PROMPT: &str = "prompts/get";

/// One request, until it is known what came of it. Nothing is told of one that is dropped before.
pub struct CallSpan {
    telemetry: Telemetry,
    parent: Option<SpanContext>,
    begun: SystemTime,
    started: Instant,
    method: &'static str,
    name: Cow<'static, str>,
    /// What the numbers are told apart by.
    attributes: Vec<KeyValue>,
    version: Option<String>,
}

impl CallSpan {
    /// Notes what of which package is asked for.
    pub fn saw(&mut self, name: &str, package: &Package) {
        let key = match self.method {
            TOOL_CALL => Some("gen_ai.tool.name"),
            PROMPT => Some("gen_ai.prompt.name"),
            _ => None,
        };
        if let Some(key) = key {
            self.name = Cow::Owned(format!("{} {name}", self.method));
            self.attributes.push(KeyValue::new(key, name.to_owned()));
        }
        self.attributes.push(KeyValue::new("kami.package.id", package.id.to_string()));
        self.version = Some(package.version.to_string());
    }

    /// Ends with what came of it: `failure` is the code of what went wrong, and `stats` is what the
    /// guest took, if it was entered.
    pub fn end(mut self, failure: Option<&'static str>, stats: Option<&CallStats>) {
        if let Some(code) = failure {
            // The conventions have a word of their own for what a tool says itself.
            let kind = if code == "KAMI-TOOL" { "tool_error" } else { code };
            self.attributes.push(KeyValue::new("error.type", kind));
        }
        let took = self.started.elapsed();
        let Instruments { tracer, operation, inside, memory, cpu, fuel } = &*self.telemetry.0;
        let attributes = &*self.attributes;
        operation.record(took.as_secs_f64(), attributes);
        let mut details = self.attributes.clone();
        let version = self.version.take();
        details.extend(version.map(|version| KeyValue::new("kami.package.version", version)));
        if let Some(stats) = stats.filter(|stats| !stats.inside.is_zero() && !stats.is_sum) {
            let [seconds, busy] = [stats.inside, stats.cpu].map(|time| time.as_secs_f64());
            let peak = stats.memory_peak_bytes;
            inside.record(seconds, attributes);
            memory.record(peak, attributes);
            cpu.add(busy, attributes);
            fuel.add(stats.fuel.unwrap_or_default(), attributes);
            let peak = i64::try_from(peak).unwrap_or(i64::MAX);
            details.push(KeyValue::new("kami.guest.duration", seconds));
            details.push(KeyValue::new("kami.guest.cpu.time", busy));
            details.push(KeyValue::new("kami.guest.memory.peak", peak));
        }
        let context = match self.parent {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(self.name)
            .with_kind(SpanKind::Server)
            .with_start_time(self.begun)
            .with_attributes(details);
        let mut span = tracer.build_with_context(builder, &context);
        if let Some(code) = failure {
            span.set_status(Status::error(code));
        }
        // The clock of the day may have been set meanwhile.
        span.end_with_timestamp(self.begun + took);
    }
}

/// The span of a client that a request is a part of, as W3C's `traceparent` has it.
#[derive(Debug, Clone)]
pub struct TraceParent {
    text: String,
    context: SpanContext,
}

/// Text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: expected 00-TRACE-SPAN-FLAGS in lowercase hexadecimal digits")]
pub struct TraceParentError;

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        const DIGITS: [usize; 4] = [2, 32, 16, 2];
        let is_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let parts: Vec<&str> = text.splitn(5, '-').collect();
        let [version, trace, span, flags] = *parts else { return Err(TraceParentError) };
        let fits = parts.iter().map(|part| part.len()).eq(DIGITS);
        if !fits || version == "ff" || !parts.iter().all(|part| is_hex(part)) {
            return Err(TraceParentError);
        }
        let trace = TraceId::from_hex(trace).map_err(|_| TraceParentError)?;
        let span = SpanId::from_hex(span).map_err(|_| TraceParentError)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| TraceParentError)?;
        let sampled = TraceFlags::new(flags) & TraceFlags::SAMPLED;
        let context = SpanContext::new(trace, span, sampled, true, TraceState::default());
        if !context.is_valid() {
            return Err(TraceParentError);
        }
        Ok(Self { text: text.to_owned(), context })
    }
}

impl TraceParent {
    /// As it came.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_four_groups_of_digits() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent: TraceParent = text.parse().unwrap();
        assert_eq!(parent.as_str(), text);
        assert!(parent.context.is_sampled() && parent.context.is_remote());
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-000f067aa0ba902b7-01",
            "00-é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(bad.parse::<TraceParent>().unwrap_err(), TraceParentError, "{bad}");
        }
    }
}
