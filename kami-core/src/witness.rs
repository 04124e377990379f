//! The record of a call, whatever comes of it.
//!
//! A [`Witness`] is made before anything is looked up for a call, and holds a place in the log from
//! then on: what cannot be recorded is not called. It is told what came of the call. A witness that
//! is dropped without having been told saw a call that was cancelled, and records that.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use crate::audit::{
    Arguments, AuditArguments, AuditError, AuditEvent, AuditLog, CallRecord, DenialRecord, Place,
};
use crate::call::{CallOutcome, CallReport};
use crate::manifest::JsonObject;
use crate::resolve::{CatalogEntry, ResolveError, VerifiedTool};
use crate::secrets::Scrubber;

/// What the outcome of a call is called that went well.
const OK: &str = "ok";

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
    call: Option<Box<CallRecord>>,
    /// The arguments, where all of them are to be kept.
    arguments: Option<String>,
    /// Finds the secrets that the tool may use, once that is known.
    scrubber: Option<Scrubber>,
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
            call: None,
            arguments: None,
            scrubber: None,
        })
    }

    /// Notes which tool is called, and with what.
    pub fn saw(&mut self, entry: &CatalogEntry, arguments: &JsonObject) {
        let Some(place) = &self.place else {
            return;
        };
        // A map of JSON values with text for keys can always be written.
        let json = serde_json::to_string(arguments).unwrap_or_default();
        self.call = Some(Box::new(CallRecord {
            tool: entry.wire_name.clone(),
            package: entry.package.id().clone(),
            version: entry.package.manifest.package.version.clone(),
            digest: entry.package.digest,
            client: self.client.clone(),
            arguments: Arguments::of(&json, AuditArguments::Digest),
            outcome: Cow::Borrowed(CANCELLED),
            micros: 0,
            fuel: None,
            denials: Vec::new(),
            denials_omitted: 0,
        }));
        self.arguments = (place.arguments() == AuditArguments::Full).then_some(json);
    }

    /// Notes which secrets the tool may use, so that none of them is recorded.
    pub fn knows(&mut self, tool: &VerifiedTool) {
        self.scrubber = Some(tool.sandbox().scrubber().clone());
    }

    /// Records that the call was refused before anything of the tool ran. `name` is what was asked
    /// for.
    pub fn refused(self, name: &str, error: &ResolveError) {
        self.refused_as(name, error.code(), error.to_string());
    }

    /// The same, under a stable code and with a reason in words.
    pub fn refused_as(mut self, name: &str, code: &'static str, reason: String) {
        let package = self.call.take().map(|call| call.package);
        if let Some(place) = self.place.take() {
            place.record(AuditEvent::Refusal {
                tool: name.to_owned(),
                package,
                code: Cow::Borrowed(code),
                reason,
                client: self.client.take(),
            });
        }
    }

    /// Records what came of the call.
    pub fn ended(mut self, report: &CallReport) {
        if let Some(call) = &mut self.call {
            call.outcome = Cow::Borrowed(match &report.outcome {
                CallOutcome::Complete(_) => OK,
                CallOutcome::Failed(error) => error.code(),
            });
            call.fuel = report.stats.fuel;
            call.denials = report
                .denials
                .iter()
                .map(|denial| DenialRecord {
                    thing: denial.thing.clone(),
                    rule: denial.rule.to_string(),
                })
                .collect();
        }
        self.record();
    }

    fn record(&mut self) {
        if let (Some(place), Some(mut call)) = (self.place.take(), self.call.take()) {
            // As long as nobody knows the secrets, nothing that could hold one is kept.
            if let Some((json, scrubber)) = self.arguments.take().zip(self.scrubber.as_ref()) {
                call.arguments = Arguments::of(&scrubber.scrub_str(&json), AuditArguments::Full);
            }
            call.micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
            place.record(AuditEvent::Call(call));
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.record();
    }
}
