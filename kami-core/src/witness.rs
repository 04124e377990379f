//! The record of a call, whatever comes of it.
//!
//! A [`Witness`] is made before anything is looked up for a call, and holds a place in the log from
//! then on: what cannot be recorded is not called. It is told what came of the call. A witness that
//! is dropped without having been told saw a call that was cancelled, and records that.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::audit::{
    Arguments, AuditArguments, AuditError, AuditEvent, AuditLog, CallRecord, DenialRecord, Place,
};
use crate::call::{EventSink, GuestEvent, Outcome, Report};
use crate::digest::Digest;
use crate::grants::Denial;
use crate::manifest::Package;
use crate::metrics::Metrics;
use crate::resolve::{ResolveError, VerifiedPackage};
use crate::secrets::Scrubber;
use crate::telemetry::CallSpan;

/// What the outcome of a call is called that went well.
const OK: &str = "ok";

/// The outcome of a call that needs answers before it goes on, in another call.
const INPUT_REQUIRED: &str = "input-required";

/// The outcome of a call that nobody waited for any more.
const CANCELLED: &str = "KAMI-CANCELLED";

/// The code of a call that was refused because it could not be recorded.
pub const UNRECORDED: &str = "KAMI-AUDIT";

/// Sees to it that one call is recorded.
#[must_use]
pub struct Witness {
    /// `None` once it is recorded, or where there is no log.
    place: Option<Place>,
    started: Instant,
    client: Option<String>,
    identity: Option<String>,
    /// Counts what comes of the call, until that is known.
    metrics: Option<Metrics>,
    /// Tells it to whoever follows traces, until it is known.
    span: Option<CallSpan>,
    call: Option<Box<CallRecord>>,
    /// The arguments, where all of them are to be kept.
    arguments: Option<String>,
    /// Finds the secrets that the tool may use, once that is known.
    scrubber: Option<Scrubber>,
    /// What was denied so far.
    denied: Arc<Mutex<Vec<DenialRecord>>>,
}

impl Witness {
    /// Takes a place in the log, if there is one. `client` is who calls, by its own word.
    ///
    /// # Errors
    /// While the log cannot be written: the call must not be made.
    pub async fn new(
        log: Option<&Arc<AuditLog>>,
        client: Option<String>,
    ) -> Result<Self, AuditError> {
        let place = match log {
            Some(log) => Some(log.reserve().await?),
            None => None,
        };
        Ok(Self {
            place,
            started: Instant::now(),
            client,
            identity: None,
            metrics: None,
            span: None,
            call: None,
            arguments: None,
            scrubber: None,
            denied: Arc::default(),
        })
    }

    /// Notes who calls, as they have shown to be.
    pub fn of(mut self, identity: Option<&str>) -> Self {
        self.identity = identity.map(str::to_owned);
        self
    }

    /// Has what comes of the call counted.
    pub fn counted_by(mut self, metrics: Option<&Metrics>) -> Self {
        self.metrics = metrics.cloned();
        self
    }

    /// Has what comes of the call told in a span.
    pub fn told_in(mut self, span: Option<CallSpan>) -> Self {
        self.span = span;
        self
    }

    /// Notes what of which package is asked for, by which method, and with what. `digest` is that of
    /// the package's file.
    pub fn saw(
        &mut self,
        name: &str,
        method: impl Into<Cow<'static, str>>,
        package: &Package,
        digest: Digest,
        arguments: &str,
    ) {
        if let Some(span) = &mut self.span {
            span.saw(name, package);
        }
        let Some(place) = &self.place else {
            return;
        };
        self.call = Some(Box::new(CallRecord {
            tool: name.to_owned(),
            method: method.into(),
            package: package.id.clone(),
            version: package.version.clone(),
            digest,
            client: self.client.clone(),
            identity: self.identity.clone(),
            arguments: Arguments::of(arguments, AuditArguments::Digest),
            outcome: Cow::Borrowed(CANCELLED),
            micros: 0,
            fuel: None,
            denials: Vec::new(),
            denials_omitted: 0,
        }));
        let in_full = place.arguments() == AuditArguments::Full;
        self.arguments = in_full.then(|| arguments.to_owned());
    }

    /// Notes which secrets the package may use, so that none of them is recorded.
    pub fn knows(&mut self, package: &VerifiedPackage) {
        self.scrubber = Some(package.sandbox().scrubber().clone());
    }

    /// Passes on what happens to a guest, and keeps what is denied to it for the record. Give the call
    /// the sink that this gives: a call that is cancelled reports nothing.
    pub fn watch(&self, events: Arc<dyn EventSink>) -> Arc<dyn EventSink> {
        if self.place.is_none() {
            return events;
        }
        Arc::new(Watched { events, denied: Arc::clone(&self.denied) })
    }

    /// Records that the call was refused before anything of the tool ran. `name` is what was asked
    /// for.
    pub fn refused(self, name: &str, error: &ResolveError) {
        self.refused_as(name, error.code(), error.to_string());
    }

    /// The same, under a stable code and with a reason in words.
    pub fn refused_as(mut self, name: &str, code: &'static str, reason: String) {
        self.count_refusal(code);
        let package = self.call.take().map(|call| call.package);
        if let Some(place) = self.place.take() {
            place.record(AuditEvent::Refusal {
                tool: name.to_owned(),
                package,
                code: Cow::Borrowed(code),
                reason,
                client: self.client.take(),
                identity: self.identity.take(),
            });
        }
    }

    /// Counts that the call was refused, and records nothing: whoever is refused so often must not push
    /// what others did out of any log.
    pub fn overlooks(mut self, code: &'static str) {
        if let Some(metrics) = self.metrics.take() {
            metrics.refused(code);
        }
        self.span = None;
    }

    /// Records what came of the call.
    pub fn ended<T>(mut self, report: &Report<T>) {
        if let Some(metrics) = self.metrics.take() {
            metrics.ended(report);
        }
        if let Some(span) = self.span.take() {
            let failure = match &report.outcome {
                Outcome::Failed(error) => Some(error.code()),
                Outcome::Complete(_) | Outcome::InputRequired(_) => None,
            };
            span.end(failure, Some(&report.stats));
        }
        if let Some(call) = &mut self.call {
            call.outcome = Cow::Borrowed(match &report.outcome {
                Outcome::Complete(_) => OK,
                Outcome::InputRequired(_) => INPUT_REQUIRED,
                Outcome::Failed(error) => error.code(),
            });
            call.fuel = report.stats.fuel;
            call.denials_omitted = report.denials_omitted;
        }
        self.record();
    }

    /// Counts a call of which nothing else is known, under its code.
    fn count_refusal(&mut self, code: &'static str) {
        if let Some(metrics) = self.metrics.take() {
            metrics.refused(code);
        }
        if let Some(span) = self.span.take() {
            span.end(Some(code), None);
        }
    }

    fn scrubbed(&self, mut denial: DenialRecord) -> DenialRecord {
        if let Some(Cow::Owned(thing)) =
            self.scrubber.as_ref().map(|scrubber| scrubber.scrub_str(&denial.thing))
        {
            denial.thing = thing;
        }
        denial
    }

    fn record(&mut self) {
        if let (Some(place), Some(mut call)) = (self.place.take(), self.call.take()) {
            // As long as nobody knows the secrets, nothing that could hold one is kept.
            if let Some((json, scrubber)) = self.arguments.take().zip(self.scrubber.as_ref()) {
                call.arguments = Arguments::of(&scrubber.scrub_str(&json), AuditArguments::Full);
            }
            let denied = std::mem::take(&mut *lock(&self.denied));
            call.denials = denied.into_iter().map(|denial| self.scrubbed(denial)).collect();
            call.micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
            place.record(AuditEvent::Call(call));
        }
    }
}

/// Takes events on their way.
struct Watched {
    events: Arc<dyn EventSink>,
    denied: Arc<Mutex<Vec<DenialRecord>>>,
}

impl EventSink for Watched {
    fn event(&self, event: GuestEvent) {
        self.events.event(event);
    }

    fn denied(&self, denial: &Denial) {
        let (thing, rule) = (denial.thing.clone(), denial.rule.to_string());
        lock(&self.denied).push(DenialRecord { thing, rule });
        self.events.denied(denial);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.count_refusal(CANCELLED);
        self.record();
    }
}
