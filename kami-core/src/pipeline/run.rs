//! From a pipeline and its arguments to an outcome.
//!
//! Each step is a call like any other, with a witness of its own: it is recorded, it waits for a place
//! of its own, and it runs under what its own package was granted. The pipeline itself holds no place,
//! so that none of its steps waits for one that it has itself.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::Pipeline;
use super::source::{Fallback, OnError, Step, Wire};
use crate::audit::AuditLog;
use crate::call::{
    CallArguments, CallError, CallReport, CallStats, Captured, Content, ContentBody, Continuation,
    EventSink, GuestEvent, Outcome, ToolResult, call_as,
};
use crate::grants::Limits;
use crate::manifest::JsonObject;
use crate::metrics::Metrics;
use crate::resolve::{CatalogEntry, ResolveError, Resolver};
use crate::scheduler::Principal;
use crate::telemetry::{Telemetry, TraceParent};
use crate::witness::{UNRECORDED, Witness};

/// What each step is to whoever follows traces.
const TOOL_CALL: &str = "tools/call";

/// How many steps of one call run at once.
const MOST_AT_ONCE: usize = 8;

/// When it is worth to try again where as many pipelines are called as may be.
const RETRY: Duration = Duration::from_secs(1);

/// How much memory the results may take that are kept for later steps, by estimate.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// The most bytes of a result that is put together: what a tool's structured content may have.
const MAX_RESULT_BYTES: usize = 4 << 20;

/// The most bytes of what a step said that is told when it fails.
const MAX_SAID_BYTES: usize = 4 << 10;

/// On whose behalf a pipeline is called, and who hears of it.
#[derive(Clone)]
pub struct Caller {
    /// Whose places the steps take.
    pub principal: Principal,
    /// Where each step is recorded.
    pub audit: Option<Arc<AuditLog>>,
    /// Who calls, by its own word.
    pub client: Option<String>,
    /// Who calls, as they have shown to be.
    pub identity: Option<String>,
    /// Counts each step.
    pub metrics: Option<Metrics>,
    /// Tells each step to whoever follows traces.
    pub telemetry: Option<Telemetry>,
    /// The trace that the call is a part of.
    pub trace: Option<TraceParent>,
    /// Hears what the steps log, and how many have ended.
    pub events: Arc<dyn EventSink>,
    /// What a client would be told of a result, which is what later steps point into.
    pub document: fn(ToolResult) -> Value,
    /// Hears what came of each step.
    pub tell: Arc<dyn Fn(&Ended<'_>) + Send + Sync>,
}

/// A step that has ended.
pub struct Ended<'a> {
    /// What it called.
    pub entry: &'a CatalogEntry,
    /// What came of it, or why it was refused.
    pub came: Result<&'a CallReport, &'a ResolveError>,
}

/// Calls a pipeline.
///
/// Dropping the returned future ends the guests of all steps that run.
///
/// # Security
/// The arguments come from a client and every result from a guest. All of them are bounded, and a
/// value goes to the place that the file names and to no other, whatever is in it.
pub async fn call(
    resolver: &Arc<Resolver>,
    pipeline: &Arc<Pipeline>,
    arguments: CallArguments,
    caller: Caller,
) -> CallReport {
    let started = Instant::now();
    let limit = pipeline.source.limit;
    let mut run = Run::new(resolver, pipeline, caller);
    let live = pipeline.live.try_acquire();
    let outcome = match (accepted(pipeline, &arguments), &live) {
        (Err(error), _) => Err(error),
        (Ok(()), Err(_)) => Err(CallError::Busy { retry: RETRY }),
        (Ok(()), Ok(_)) => {
            let (input, _) = arguments.into_parts();
            match tokio::time::timeout(limit, run.all(input)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(CallError::TimedOut { limit }),
            }
        }
    };
    // Who cancels a call waits for nothing, but who is answered knows that all of it has ended.
    run.running.shutdown().await;
    let mut stats = run.stats;
    stats.total = started.elapsed();
    stats.inside = if run.begun { stats.total } else { Duration::ZERO };
    stats.is_sum = true;
    CallReport {
        outcome: outcome.map_or_else(Outcome::Failed, Outcome::Complete),
        stats,
        denials: Vec::new(),
        denials_omitted: 0,
        stdout: Captured::default(),
        stderr: Captured::default(),
    }
}

/// Whether the arguments are what a direct call may have, and fit.
fn accepted(pipeline: &Pipeline, arguments: &CallArguments) -> Result<(), CallError> {
    let most = Limits::default().argument_bytes();
    if arguments.text().len() > most {
        return Err(too_large(most));
    }
    let problems = pipeline.plan.arguments().problems(arguments.value(), "arguments");
    if problems.is_empty() { Ok(()) } else { Err(CallError::InvalidArguments(problems)) }
}

fn too_large(most: usize) -> CallError {
    CallError::InvalidArguments(vec![format!("they are larger than {} KiB", most >> 10)])
}

/// What has become of a step so far.
enum State {
    Waiting,
    Running,
    /// It gave this, which is kept as long as somebody needs it.
    Done(Option<Arc<Value>>),
    /// It gave nothing.
    Without,
}

impl State {
    fn has_ended(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Without)
    }
}

/// Whose result takes the place of a step's.
#[derive(Clone, Copy)]
enum Whose {
    Step,
    /// The fallback that the file has for it.
    File,
}

/// What came of one call of a step, with what it took.
struct Came {
    result: Result<ToolResult, String>,
    stats: CallStats,
}

struct Run<'a> {
    resolver: &'a Arc<Resolver>,
    pipeline: &'a Arc<Pipeline>,
    caller: Caller,
    states: Vec<State>,
    /// How many values are still taken from each step.
    takers: Vec<usize>,
    kept: Vec<usize>,
    /// What the last step gave, where that is the result.
    last: Option<ToolResult>,
    running: JoinSet<(usize, Came)>,
    begun: bool,
    stats: CallStats,
}

impl<'a> Run<'a> {
    fn new(resolver: &'a Arc<Resolver>, pipeline: &'a Arc<Pipeline>, caller: Caller) -> Self {
        let source = &pipeline.source;
        let count = source.steps.len();
        let mut takers = vec![0; count];
        let output = source.output.iter().flatten().filter_map(|wire| wire.step);
        source.steps.iter().flat_map(Step::needs).chain(output).for_each(|at| takers[at] += 1);
        Self {
            resolver,
            pipeline,
            caller,
            states: (0..count).map(|_| State::Waiting).collect(),
            takers,
            kept: vec![0; count],
            last: None,
            running: JoinSet::new(),
            begun: false,
            stats: CallStats::default(),
        }
    }

    async fn all(&mut self, input: Value) -> Result<ToolResult, CallError> {
        loop {
            self.begin_ready(&input)?;
            let Some(ended) = self.running.join_next().await else { break };
            let (at, Came { result, stats }) = match ended {
                Ok(ended) => ended,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return Err(self.failed(0, "it was interrupted [KAMI-HOST]")),
            };
            self.add(&stats);
            match result {
                Ok(result) => self.done(at, result, Whose::Step)?,
                Err(said) => self.gave_nothing(at, &said)?,
            }
        }
        self.result(&input)
    }

    /// Begins what waits for nothing more, and passes over what will never get what it needs.
    fn begin_ready(&mut self, input: &Value) -> Result<(), CallError> {
        let pipeline = Arc::clone(self.pipeline);
        let mut at = 0;
        while at < self.states.len() && self.running.len() < MOST_AT_ONCE {
            let step = &pipeline.source.steps[at];
            let mut awaited = step.needs().chain(step.after.iter().copied());
            if matches!(self.states[at], State::Waiting)
                && awaited.all(|before| self.states[before].has_ended())
            {
                let without = step.needs().find(|at| matches!(self.states[*at], State::Without));
                match without {
                    None => self.begin(at, step, input)?,
                    Some(missing) => {
                        let missing = &pipeline.source.steps[missing].name.value;
                        let said = format!("it was not called, as `{missing}` gave nothing");
                        self.release(step);
                        self.gave_nothing(at, &said)?;
                    }
                }
            }
            at += 1;
        }
        Ok(())
    }

    fn begin(&mut self, at: usize, step: &Step, input: &Value) -> Result<(), CallError> {
        let requests = &self.pipeline.steps[at].package.manifest.requests;
        let most = requests.limits.argument_bytes();
        let arguments = self.composed(&step.wires, input, most);
        let arguments = arguments.and_then(|arguments| {
            let Value::Object(mut object) = arguments else {
                return Err(CallError::InvalidArguments(vec!["they are no object".to_owned()]));
            };
            for literal in &step.literals {
                literal.target.value.put(&mut object, literal.value.clone());
            }
            Ok(object)
        });
        self.release(step);
        match arguments {
            Ok(arguments) => {
                let call = StepCall {
                    resolver: Arc::clone(self.resolver),
                    pipeline: Arc::clone(self.pipeline),
                    caller: self.caller.clone(),
                    at,
                };
                let called = call.made(arguments.into()).in_current_span();
                self.running.spawn(async move { (at, called.await) });
                self.states[at] = State::Running;
                self.begun = true;
                Ok(())
            }
            Err(error) => self.gave_nothing(at, &error.for_model()),
        }
    }

    /// Puts values together, of which the whole has at most so many bytes as JSON.
    fn composed(&self, wires: &[Wire], input: &Value, most: usize) -> Result<Value, CallError> {
        let mut whole = Value::Object(JsonObject::new());
        let mut left = most;
        for wire in wires {
            let document = match wire.step.map(|at| &self.states[at]) {
                None => input,
                Some(State::Done(Some(document))) => document,
                Some(_) => continue,
            };
            let Some(value) = wire.source.value.pointer.of(document) else { continue };
            // Before it is copied: the same large value may be taken to many places.
            let length = length(value, left).ok_or_else(|| too_large(most))?;
            left -= length;
            let target = &wire.target.value;
            match &mut whole {
                Value::Object(object) if !target.tokens().is_empty() => {
                    target.put(object, value.clone());
                }
                whole => *whole = value.clone(),
            }
        }
        Ok(whole)
    }

    /// Lets go of results that nobody takes any more, now that a step has what it needs.
    fn release(&mut self, step: &Step) {
        for at in step.needs() {
            self.takers[at] -= 1;
            if self.takers[at] == 0
                && let State::Done(document) = &mut self.states[at]
            {
                *document = None;
                self.kept[at] = 0;
            }
        }
    }

    fn done(&mut self, at: usize, result: ToolResult, whose: Whose) -> Result<(), CallError> {
        let is_result = self.pipeline.source.output.is_none() && at + 1 == self.states.len();
        let document = match (is_result, self.takers[at]) {
            (true, _) => {
                self.last = Some(result);
                None
            }
            (false, 0) => None,
            (false, _) => Some(Arc::new((self.caller.document)(result))),
        };
        if let Some(document) = &document {
            self.kept[at] = weight(document);
            if self.kept.iter().sum::<usize>() > MAX_KEPT_BYTES {
                self.kept[at] = 0;
                let most = MAX_KEPT_BYTES >> 20;
                let said = format!("with what it gave, more than {most} MiB are kept [KAMI-SIZE]");
                return match whose {
                    Whose::Step => self.gave_nothing(at, &said),
                    // Nothing is left to take its place.
                    Whose::File => Err(self.failed(at, &said)),
                };
            }
        }
        self.end(at, State::Done(document));
        Ok(())
    }

    /// Goes on without the result of a step, if that is what the file says.
    fn gave_nothing(&mut self, at: usize, said: &str) -> Result<(), CallError> {
        match &self.pipeline.source.steps[at].on_error.value {
            OnError::Stop => return Err(self.failed(at, said)),
            OnError::Continue => self.end(at, State::Without),
            OnError::Instead(fallback) => {
                let fallback = fallback.clone().into_result();
                return self.done(at, fallback, Whose::File);
            }
        }
        Ok(())
    }

    fn end(&mut self, at: usize, state: State) {
        self.states[at] = state;
        let ended = self.states.iter().filter(|state| state.has_ended()).count();
        #[expect(clippy::cast_precision_loss, reason = "there are 64 steps at most")]
        let (progress, total) = (ended as f64, self.states.len() as f64);
        let message = Some(self.pipeline.source.steps[at].name.value.to_string());
        self.caller.events.event(GuestEvent::Progress { progress, total: Some(total), message });
    }

    fn failed(&self, at: usize, said: &str) -> CallError {
        let step = &self.pipeline.source.steps[at];
        let mut said = said.to_owned();
        if said.len() > MAX_SAID_BYTES {
            said.truncate(said.floor_char_boundary(MAX_SAID_BYTES));
            said.push('…');
        }
        CallError::Step {
            step: step.name.value.to_string(),
            tool: step.tool.value.to_string(),
            said,
        }
    }

    fn result(&mut self, input: &Value) -> Result<ToolResult, CallError> {
        let last = self.states.len().saturating_sub(1);
        let Some(wires) = &self.pipeline.source.output else {
            return match self.last.take() {
                Some(result) => self.fitting(result),
                None => Err(self.failed(last, "it gave nothing")),
            };
        };
        let whole = self
            .composed(wires, input, MAX_RESULT_BYTES)
            .map_err(|_| CallError::TooLarge { limit_bytes: MAX_RESULT_BYTES })?;
        if !whole.is_object() {
            return Err(CallError::BadReply("its structured content is no object".to_owned()));
        }
        self.fitting(structured(whole))
    }

    /// A result that is what clients were told it would be.
    fn fitting(&self, result: ToolResult) -> Result<ToolResult, CallError> {
        let Some(schema) = self.pipeline.plan.results() else { return Ok(result) };
        let Some(structured) = &result.structured else {
            let reason = "it has an output schema, and no structured content";
            return Err(CallError::BadReply(reason.to_owned()));
        };
        let problems = schema.problems(structured, "structured content");
        if problems.is_empty() {
            return Ok(result);
        }
        let reason = format!("it does not fit its output schema: {}", problems.join("; "));
        Err(CallError::BadReply(reason))
    }

    fn add(&mut self, stats: &CallStats) {
        let sum = &mut self.stats;
        sum.memory_peak_bytes = sum.memory_peak_bytes.max(stats.memory_peak_bytes);
        sum.cpu += stats.cpu;
        sum.events_dropped += stats.events_dropped;
        sum.fuel = match (sum.fuel, stats.fuel) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or_default().saturating_add(other.unwrap_or_default())),
        };
    }
}

/// One call of a step, on its way.
struct StepCall {
    resolver: Arc<Resolver>,
    pipeline: Arc<Pipeline>,
    caller: Caller,
    at: usize,
}

impl StepCall {
    async fn made(self, arguments: CallArguments) -> Came {
        let refused = |said: String| Came { result: Err(said), stats: CallStats::default() };
        let step = &self.pipeline.source.steps[self.at];
        let caller = &self.caller;
        let witness = Witness::new(caller.audit.as_ref(), caller.client.clone()).await;
        let Ok(witness) = witness else {
            caller.metrics.iter().for_each(|metrics| metrics.refused(UNRECORDED));
            return refused(format!("it cannot be recorded, and so is not made [{UNRECORDED}]"));
        };
        let span = caller.telemetry.as_ref();
        let span = span.map(|telemetry| telemetry.begin(TOOL_CALL, caller.trace.as_ref()));
        let witness = witness.of(caller.identity.as_deref());
        let mut witness = witness.counted_by(caller.metrics.as_ref()).told_in(span);
        let known = &self.pipeline.steps[self.at];
        let entry = match self.current(known) {
            Ok(entry) => entry,
            Err(error) => {
                let said = error.for_client(&step.tool.value.to_string());
                witness.refused(&step.tool.value.to_string(), &error);
                return refused(said);
            }
        };
        let package = &entry.package;
        let method = format!("pipeline {} step {}", self.pipeline.package.id(), step.name.value);
        let name = entry.wire_name.as_str();
        let about = &package.manifest.package;
        witness.saw(name, method, about, package.digest, arguments.text());
        let tool = match self.resolver.resolve(&entry).await {
            Ok(tool) => tool,
            Err(error) => {
                witness.refused(name, &error);
                (caller.tell)(&Ended { entry: &entry, came: Err(&error) });
                return refused(error.for_client(name));
            }
        };
        witness.knows(tool.verified());
        let events =
            StepEvents { to: Arc::clone(&caller.events), step: step.name.value.to_string() };
        let events = witness.watch(Arc::new(events));
        let report = call_as(caller.principal, &tool, arguments, Continuation::default(), events);
        let report = report.await;
        witness.ended(&report);
        (caller.tell)(&Ended { entry: &entry, came: Ok(&report) });
        let CallReport { outcome, stats, denials, .. } = report;
        let result = match outcome {
            Outcome::Complete(result) => Ok(result),
            Outcome::InputRequired(_) => Err(
                "it asked for input, and nobody is asked in the middle of a pipeline [KAMI-INPUT]"
                    .to_owned(),
            ),
            Outcome::Failed(error) => {
                let denied = denials.first().map(|denial| format!("; {}", denial.for_model()));
                Err(error.for_model() + &denied.unwrap_or_default())
            }
        };
        Came { result, stats }
    }

    /// The tool as it is installed and granted now. One that was replaced since the steps were set
    /// beside each other may be another one.
    fn current(&self, known: &CatalogEntry) -> Result<CatalogEntry, ResolveError> {
        let now = self.resolver.catalog()?.find(&known.full_name())?;
        match now.package.digest == known.package.digest {
            true => Ok(now),
            false => Err(ResolveError::Pipeline {
                package: self.pipeline.package.id().clone(),
                reason: format!("`{}` was replaced meanwhile: call again", known.full_name()),
            }),
        }
    }
}

/// What a step says, told as its own. How far it has come means nothing beside the other steps.
struct StepEvents {
    to: Arc<dyn EventSink>,
    step: String,
}

impl EventSink for StepEvents {
    fn event(&self, event: GuestEvent) {
        self.to.event(match event {
            GuestEvent::Log { level, message } => {
                GuestEvent::Log { level, message: format!("{}: {message}", self.step) }
            }
            GuestEvent::Progress { .. } => return,
            changed @ GuestEvent::ListChanged(_) => changed,
        });
    }
}

impl Fallback {
    fn into_result(self) -> ToolResult {
        let Self { text, structured } = self;
        let structured = structured.map(Value::Object);
        let text = text.or(structured.as_ref().map(Value::to_string)).unwrap_or_default();
        ToolResult { content: vec![plain(text)], structured }
    }
}

fn structured(whole: Value) -> ToolResult {
    ToolResult { content: vec![plain(whole.to_string())], structured: Some(whole) }
}

fn plain(text: String) -> Content {
    Content { body: ContentBody::Text(text), annotations: None }
}

/// How long a value is as JSON, if it is no longer than `most`.
fn length(value: &Value, most: usize) -> Option<usize> {
    struct Counted(usize);

    impl io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut left = Counted(most);
    serde_json::to_writer(&mut left, value).ok().map(|()| most - left.0)
}

/// How much memory a value takes, roughly.
fn weight(value: &Value) -> usize {
    const NODE: usize = size_of::<Value>();
    // A member has its key beside it, and its place in the index.
    const MEMBER: usize = NODE + 48;
    match value {
        Value::String(text) => NODE + text.len(),
        Value::Array(items) => NODE + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => {
            let member = |(key, member): (&String, &Value)| MEMBER + key.len() + weight(member);
            NODE + members.iter().map(member).sum::<usize>()
        }
        _ => NODE,
    }
}
