//! From a verified tool and JSON arguments to an outcome.
//!
//! Each call enters a fresh sandbox and leaves nothing behind. Whatever the guest does, the caller
//! gets a [`CallReport`] within the time limit, and dropping the future ends the guest at once.

mod arguments;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap};

use crate::component::Component;
use crate::engine::{Engine, EngineError, Metering};
use crate::grants::{Denial, Effective};
use crate::manifest::{ManifestError, ToolDefinition, parse_description};
use crate::resolve::VerifiedTool;
use crate::sandbox::{
    CpuExhausted, Entry, Refusal, Sandbox, SandboxError, State, Surroundings, Tool, contract,
    is_out_of_memory, types, v0_1,
};
use crate::scheduler::Principal;
use crate::secrets::Scrubber;

pub use arguments::CallArguments;

pub use crate::sandbox::{Captured, Collected, EventSink, GuestEvent, Level, Listing};

/// The longest that a component may take to describe itself, which is a matter of microseconds.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(5);

/// When to come again where a call has a place and the engine's pool has none, as while components
/// describe themselves, which takes no longer as a rule.
const POOL_RETRY: Duration = Duration::from_secs(1);

/// When to come again where the machine has no memory left: other calls have it, and end.
const MEMORY_RETRY: Duration = Duration::from_secs(1);

/// The most pieces of content in one result.
const MAX_CONTENT: usize = 1000;

/// The most bytes of structured content, which takes many times that once it is parsed.
const MAX_STRUCTURED_BYTES: usize = 4 << 20;

/// The longest message of a guest that is passed on.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// What came of a call, and what it took.
#[derive(Debug)]
pub struct CallReport {
    /// What the caller gets.
    pub outcome: CallOutcome,
    /// What it took.
    pub stats: CallStats,
    /// What was denied to the guest on the way, for the operator.
    pub denials: Vec<Denial>,
    /// How many more there were, of which no more is known.
    pub denials_omitted: u64,
    /// The end of what the guest wrote to stdout, for the operator.
    pub stdout: Captured,
    /// The end of what the guest wrote to stderr, for the operator.
    pub stderr: Captured,
}

/// What came of a call.
#[derive(Debug)]
pub enum CallOutcome {
    /// The tool gave a result.
    Complete(ToolResult),
    /// It did not.
    Failed(CallError),
}

/// What a call took.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallStats {
    /// From arguments to outcome, waiting for a place included.
    pub total: Duration,
    /// Setting up the sandbox and running the guest in it.
    pub inside: Duration,
    /// The most linear memory that there was at once.
    pub memory_peak_bytes: u64,
    /// The fuel that was burnt, where it is metered.
    pub fuel: Option<u64>,
    /// How long the guest's own code ran on a processor.
    pub cpu: Duration,
    /// Log lines and progress notices that were dropped, as there were too many.
    pub events_dropped: u64,
}

/// What a tool gives.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// For the model, in order.
    pub content: Vec<Content>,
    /// For programs: a value that fits the output schema.
    pub structured: Option<Value>,
}

/// One piece of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// The piece itself.
    pub body: ContentBody,
    /// Hints about it.
    pub annotations: Option<ContentAnnotations>,
}

/// The kinds of content.
#[derive(Debug, Clone, PartialEq)]
pub enum ContentBody {
    /// Text.
    Text(String),
    /// A picture.
    Image(Media),
    /// A sound.
    Audio(Media),
    /// A resource, contents included.
    Resource(ResourceContents),
    /// A pointer to a resource.
    ResourceLink(ResourceLink),
}

/// Binary media with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The bytes, not encoded.
    pub data: Vec<u8>,
    /// Such as `image/png`.
    pub mime_type: String,
}

/// A resource with its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceContents {
    /// Its URI.
    pub uri: String,
    /// Its media type.
    pub mime_type: Option<String>,
    /// What it holds.
    pub body: ResourceBody,
}

/// What a resource holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceBody {
    /// Text.
    Text(String),
    /// Bytes, not encoded.
    Blob(Vec<u8>),
}

/// A pointer to a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceLink {
    /// Its URI.
    pub uri: String,
    /// Its name, for programs.
    pub name: String,
    /// Its name, for people.
    pub title: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Its media type.
    pub mime_type: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// Hints about a piece of content.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentAnnotations {
    /// For whom it is meant; empty: for everyone.
    pub audience: Vec<Role>,
    /// From 0 (optional) to 1 (required).
    pub priority: Option<f64>,
    /// ISO 8601.
    pub last_modified: Option<String>,
}

/// Who is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The arguments don't fit the schema: path and problem, one per line.
    #[error("the arguments don't fit the input schema: {}", .0.join("; "))]
    InvalidArguments(Vec<String>),
    /// The tool says that it failed, in its own words.
    #[error("{0}")]
    Tool(String),
    /// The wall-clock limit was reached, in the guest or in a host call.
    #[error("the tool ran longer than its limit of {} ms", .limit.as_millis())]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The guest used up its time on a processor.
    #[error("the tool computed longer than its limit of {} ms", .limit.as_millis())]
    OutOfCpu {
        /// The limit.
        limit: Duration,
    },
    /// The guest gave up after more memory was refused to it.
    #[error("the tool needs more memory than its limit of {} MiB", .limit_bytes >> 20)]
    OutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// The fuel limit was reached.
    #[error("the tool burnt all of its {limit} units of fuel")]
    OutOfFuel {
        /// The limit.
        limit: u64,
    },
    /// The stack limit was reached.
    #[error("the tool used up its stack, as endless recursion does")]
    StackOverflow,
    /// The guest held on to more of the host's things than it may.
    #[error("the tool holds more than its limit of {limit} open files, streams and the like")]
    TooManyHandles {
        /// The limit.
        limit: usize,
    },
    /// The guest handed over more than its result may have.
    #[error("the tool's result is larger than its limit of {} KiB", .limit_bytes >> 10)]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The package was called too often.
    #[error("the tool is called too often: try again in {} ms", .retry.as_millis().max(1))]
    TooOften {
        /// When another call may begin.
        retry: Duration,
    },
    /// Too many calls wait already, or this one waited too long for a place.
    #[error("the server is busy: retry in {} s", .retry.as_secs().max(1))]
    Busy {
        /// When it is worth to try again, by how long calls took lately.
        retry: Duration,
    },
    /// The machine had no memory or address space left for the guest, though its limits permit more.
    #[error("the machine has no memory left for this call: retry in {} s", .retry.as_secs().max(1))]
    Exhausted {
        /// When it is worth to try again.
        retry: Duration,
    },
    /// The guest panicked.
    #[error("the tool crashed (panic)")]
    Panicked {
        /// The panic's message, for the operator.
        message: String,
        /// `src/lib.rs:LINE:COLUMN`, for the operator.
        location: String,
    },
    /// The guest called `exit`.
    #[error("the tool exited with status {0} instead of answering")]
    Exited(i32),
    /// The guest trapped in another way.
    #[error("the tool crashed ({reason})")]
    Trapped {
        /// What happened, in a few words.
        reason: String,
    },
    /// The guest's answer is not one.
    #[error("the tool gave a reply that is not valid: {0}")]
    BadReply(String),
    /// The tool needs an answer from the client, which this host does not ask for.
    #[error("the tool asked the client a question, which this host does not support")]
    InputRequired,
    /// The sandbox could not be set up; nothing of the tool ran.
    #[error("the tool could not be started")]
    Sandbox(#[source] SandboxError),
}

impl CallError {
    /// A stable code by which people and programs look this up.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidArguments(_) => "KAMI-ARGUMENTS",
            Self::Tool(_) => "KAMI-TOOL",
            Self::TimedOut { .. } => "KAMI-TIMEOUT",
            Self::OutOfMemory { .. } => "KAMI-MEMORY",
            Self::OutOfFuel { .. } => "KAMI-FUEL",
            Self::StackOverflow => "KAMI-STACK",
            Self::OutOfCpu { .. } => "KAMI-CPU",
            Self::TooManyHandles { .. } => "KAMI-HANDLES",
            Self::TooLarge { .. } => "KAMI-SIZE",
            Self::TooOften { .. } => "KAMI-RATE",
            Self::Busy { .. } => "KAMI-BUSY",
            Self::Exhausted { .. } => "KAMI-EXHAUSTED",
            Self::Panicked { .. } => "KAMI-PANIC",
            Self::Exited(_) => "KAMI-EXIT",
            Self::Trapped { .. } => "KAMI-TRAP",
            Self::BadReply(_) => "KAMI-REPLY",
            Self::InputRequired => "KAMI-INPUT",
            Self::Sandbox(_) => "KAMI-SANDBOX",
        }
    }

    /// What the model reads: the tool's own words, or one short line that ends in the code.
    pub fn for_model(&self) -> String {
        match self {
            Self::Tool(message) => message.clone(),
            other => format!("{other} [{}]", other.code()),
        }
    }
}

/// Calls a tool on behalf of the default [`Principal`]; see [`call_as`].
pub async fn call(
    tool: &VerifiedTool,
    arguments: impl Into<CallArguments>,
    events: Arc<dyn EventSink>,
) -> CallReport {
    call_as(Principal::default(), tool, arguments, events).await
}

/// Calls a tool on behalf of a principal.
///
/// Waits for a place if as many calls run as may, as the [`scheduler`](crate::scheduler) tells; the
/// time limit starts after that. Dropping the returned future ends the guest.
///
/// # Security
/// `arguments` come from a client, and all that the guest does is hostile: both are bounded, and
/// neither can make this panic or outlast the time limit.
pub async fn call_as(
    principal: Principal,
    tool: &VerifiedTool,
    arguments: impl Into<CallArguments>,
    events: Arc<dyn EventSink>,
) -> CallReport {
    let started = Instant::now();
    let sandbox = tool.sandbox();
    let limits = sandbox.effective().limits();
    let (arguments, request) = arguments.into().into_parts();
    if request.len() > limits.argument_bytes() {
        let problem = format!("they are larger than {} KiB", limits.argument_bytes() >> 10);
        return CallReport::without_entry(CallError::InvalidArguments(vec![problem]), started);
    }
    let problems = tool.arguments().problems(&arguments);
    if !problems.is_empty() {
        return CallReport::without_entry(CallError::InvalidArguments(problems), started);
    }
    drop(arguments);
    let _place = match sandbox.admit(principal, tool.priority()).await {
        Ok(place) => place,
        Err(refusal) => return CallReport::without_entry(refusal.into(), started),
    };
    let name = tool.definition().name.as_str();
    let mut report =
        enter(sandbox, events, limits.execution(), async |store| match sandbox.entry() {
            Entry::V0_2(pre) => {
                let guest = pre.instantiate_async(&mut *store).await?;
                let request = contract::CallRequest {
                    name: name.to_owned(),
                    arguments: request,
                    continuation: types::Continuation { answers: Vec::new(), state: None },
                };
                let outcome = guest.kami_tool_tools().call_call(store, &request).await?;
                Ok(outcome_of(outcome, limits.output_bytes()))
            }
            Entry::V0_1(pre) => {
                let guest: v0_1::KamiTool = pre.instantiate_async(&mut *store).await?;
                let reply = guest.kami_tool_tool().call_run(store, &request).await?;
                Ok(match reply {
                    Ok(text) => within(limits.output_bytes(), ToolResult::text(text)),
                    Err(message) => CallOutcome::Failed(CallError::Tool(cut(message))),
                })
            }
        })
        .await;
    report.scrub(sandbox.scrubber());
    report.stats.total = started.elapsed();
    report
}

/// Enters a tool's sandbox and leaves it again, as every call does around the guest's own work.
///
/// The first entry of a process touches memory that later ones find ready.
///
/// # Errors
/// Where the sandbox cannot be set up or entered.
pub async fn warm_up(tool: &VerifiedTool) -> Result<CallStats, CallError> {
    let sandbox = tool.sandbox();
    let place = sandbox.admit(Principal::default(), tool.priority()).await;
    let _place = place.map_err(CallError::from)?;
    let limit = sandbox.effective().limits().execution();
    let report = enter(sandbox, Arc::new(()), limit, async |store| {
        match sandbox.entry() {
            Entry::V0_2(pre) => {
                pre.instantiate_async(store).await?;
            }
            Entry::V0_1(pre) => {
                pre.instantiate_async(store).await?;
            }
        }
        Ok(CallOutcome::Complete(ToolResult::text(String::new())))
    })
    .await;
    match report.outcome {
        CallOutcome::Complete(_) => Ok(report.stats),
        CallOutcome::Failed(error) => Err(error),
    }
}

/// Asks a component which tools it has, in a sandbox without any capability.
///
/// # Errors
/// Where it cannot be run, ends early, or describes nothing sensible.
pub async fn describe(
    engine: &Engine,
    component: &Component,
) -> Result<Vec<ToolDefinition>, DescribeError> {
    let code = engine.compile(component, Metering::Off)?;
    let sandbox = Sandbox::new(
        engine,
        component,
        &code,
        Effective::nothing(),
        &Surroundings::default(),
        None,
    )?;
    let mut description = String::new();
    let report = enter(&sandbox, Arc::new(()), DESCRIBE_LIMIT, async |store| {
        description = match sandbox.entry() {
            Entry::V0_2(pre) => {
                let guest: Tool = pre.instantiate_async(&mut *store).await?;
                guest.kami_tool_tools().call_describe(store).await?
            }
            Entry::V0_1(pre) => {
                let guest = pre.instantiate_async(&mut *store).await?;
                v0_1_description(&guest.kami_tool_tool().call_describe(store).await?)
            }
        };
        Ok(CallOutcome::Complete(ToolResult::text(String::new())))
    })
    .await;
    match report.outcome {
        CallOutcome::Complete(_) => Ok(parse_description(&description)?),
        CallOutcome::Failed(error) => {
            Err(DescribeError::Failed { error, stderr: report.stderr.text })
        }
    }
}

/// Why a component could not be asked which tools it has.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// It cannot be compiled.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It cannot be sandboxed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// It ended before it answered.
    #[error("the component cannot describe itself: {error}")]
    Failed {
        /// How it ended.
        #[source]
        error: CallError,
        /// What it wrote to stderr.
        stderr: String,
    },
    /// What it answered is no description.
    #[error("the component's description is not valid")]
    Description(#[from] ManifestError),
}

/// Brings the first contract's description of its one tool into today's shape.
fn v0_1_description(text: &str) -> String {
    let mut tool = match serde_json::from_str(text) {
        Ok(Value::Object(tool)) => tool,
        // Not an object: leave it for the parser to say so.
        _ => return text.to_owned(),
    };
    let schema = ["input_schema", "inputSchema"].iter().find_map(|key| tool.shift_remove(*key));
    let schema = schema.unwrap_or_else(|| serde_json::json!({"type": "object"}));
    tool.insert("inputSchema".into(), schema);
    serde_json::json!({"tools": [tool]}).to_string()
}

/// Enters a fresh sandbox, runs `body` in it within `limit`, and reports how that ended.
async fn enter(
    sandbox: &Sandbox,
    events: Arc<dyn EventSink>,
    limit: Duration,
    body: impl AsyncFnOnce(&mut wasmtime::Store<State>) -> wasmtime::Result<CallOutcome>,
) -> CallReport {
    let started = Instant::now();
    let mut store = match sandbox.store(events).await {
        Ok(store) => store,
        Err(error) => return CallReport::without_entry(CallError::Sandbox(error), started),
    };
    let cpu = store.data().cpu();
    let ended = tokio::time::timeout(limit, cpu.measure(body(&mut store))).await;
    let inside = started.elapsed();
    let state = store.data();
    let stderr = state.take_stderr();
    let outcome = match ended {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => CallOutcome::Failed(classify(&error, sandbox, state, &stderr.text)),
        Err(_) => CallOutcome::Failed(CallError::TimedOut { limit }),
    };
    let stats = CallStats {
        total: inside,
        inside,
        memory_peak_bytes: state.memory_peak_bytes(),
        fuel: sandbox.fuel_burnt(&store),
        cpu: cpu.spent(),
        events_dropped: state.events_dropped(),
    };
    let (denials, denials_omitted) = state.take_denials();
    CallReport { outcome, stats, denials, denials_omitted, stdout: state.take_stdout(), stderr }
}

/// Tells from wasmtime's error, the sandbox's state and the guest's last words how it ended.
fn classify(error: &wasmtime::Error, sandbox: &Sandbox, state: &State, stderr: &str) -> CallError {
    let limits = sandbox.effective().limits();
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return CallError::Exited(exit.0);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Busy { retry: POOL_RETRY };
    }
    if error.is::<CpuExhausted>() {
        return CallError::OutOfCpu { limit: limits.cpu() };
    }
    let trap = error.downcast_ref::<Trap>();
    match trap {
        Some(Trap::OutOfFuel) => return CallError::OutOfFuel { limit: limits.fuel().unwrap_or(0) },
        Some(Trap::StackOverflow) => return CallError::StackOverflow,
        _ => {}
    }
    let root = error.root_cause();
    if is_out_of_memory(error) {
        return CallError::Exhausted { retry: MEMORY_RETRY };
    }
    if is_out_of_handles(root) {
        return CallError::TooManyHandles { limit: limits.handles() };
    }
    if let Some((location, message)) = last_panic(stderr) {
        return CallError::Panicked { message, location };
    }
    // A panic comes first: a guest may well survive that memory was refused to it. One that does
    // not is ended by its allocator, which does not panic.
    if state.memory_was_refused() {
        return CallError::OutOfMemory { limit_bytes: limits.memory_bytes() };
    }
    if state.memory_ran_out() {
        return CallError::Exhausted { retry: MEMORY_RETRY };
    }
    let root = root.to_string();
    if root.contains("fuel allocated for hostcalls") {
        return CallError::TooLarge { limit_bytes: limits.output_bytes() };
    }
    let reason = match trap {
        Some(trap) => trap.to_string(),
        None => root.lines().next().unwrap_or("no reason given").to_owned(),
    };
    CallError::Trapped { reason: cut(reason) }
}

/// Whether what ended the guest is that it held too many handles: of those that it knows, or of what
/// the host keeps behind them.
fn is_out_of_handles(root: &(dyn std::error::Error + 'static)) -> bool {
    matches!(root.downcast_ref(), Some(ResourceTableError::Full))
        || root.to_string().ends_with("store handle limit exceeded")
}

/// Finds the last panic in what a guest wrote: its location, and the first line of its message.
///
/// Rust writes `thread 'main' panicked at src/lib.rs:5:9:` and the message on the next line.
fn last_panic(stderr: &str) -> Option<(String, String)> {
    let (_, after) = stderr.rsplit_once(" panicked at ")?;
    let mut lines = after.lines();
    let location = lines.next()?.trim_end_matches(':');
    let is_location = location.rsplitn(3, ':').take(2).all(|part| part.parse::<u32>().is_ok());
    let message = lines.next().unwrap_or_default();
    is_location.then(|| (cut(location.to_owned()), cut(message.to_owned())))
}

fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        message.push('…');
    }
    message
}

impl CallReport {
    /// Strikes the secrets that the tool may use out of everything that it said.
    fn scrub(&mut self, scrubber: &Scrubber) {
        if scrubber.is_empty() {
            return;
        }
        match &mut self.outcome {
            CallOutcome::Complete(result) => result.scrub(scrubber),
            CallOutcome::Failed(error) => error.scrub(scrubber),
        }
        for captured in [&mut self.stdout, &mut self.stderr] {
            strike(&mut captured.text, scrubber);
        }
        for denial in &mut self.denials {
            strike(&mut denial.thing, scrubber);
            strike(&mut denial.line, scrubber);
        }
    }

    fn without_entry(error: CallError, started: Instant) -> Self {
        Self {
            outcome: CallOutcome::Failed(error),
            stats: CallStats { total: started.elapsed(), ..CallStats::default() },
            denials: Vec::new(),
            denials_omitted: 0,
            stdout: Captured::default(),
            stderr: Captured::default(),
        }
    }
}

fn strike(text: &mut String, scrubber: &Scrubber) {
    if let Cow::Owned(scrubbed) = scrubber.scrub_str(text) {
        *text = scrubbed;
    }
}

impl CallError {
    fn scrub(&mut self, scrubber: &Scrubber) {
        match self {
            Self::Tool(text) | Self::BadReply(text) | Self::Trapped { reason: text } => {
                strike(text, scrubber);
            }
            Self::Panicked { message, location } => {
                strike(message, scrubber);
                strike(location, scrubber);
            }
            Self::InvalidArguments(problems) => {
                problems.iter_mut().for_each(|problem| strike(problem, scrubber));
            }
            // The others hold nothing that a tool said.
            _ => {}
        }
    }
}

impl ToolResult {
    fn scrub(&mut self, scrubber: &Scrubber) {
        if let Some(structured) = &mut self.structured {
            scrubber.scrub_json(structured);
        }
        self.content.iter_mut().for_each(|content| content.scrub(scrubber));
    }

    fn text(text: String) -> Self {
        let content = Content { body: ContentBody::Text(text), annotations: None };
        Self { content: vec![content], structured: None }
    }
}

/// A result that is no larger than it may be.
fn within(limit_bytes: usize, result: ToolResult) -> CallOutcome {
    let size = result.content.iter().map(Content::size).sum::<usize>();
    match size > limit_bytes {
        true => CallOutcome::Failed(CallError::TooLarge { limit_bytes }),
        false => CallOutcome::Complete(result),
    }
}

impl Content {
    fn scrub(&mut self, scrubber: &Scrubber) {
        let bytes = |bytes: &mut Vec<u8>| *bytes = scrubber.scrub_bytes(std::mem::take(bytes));
        let text = |text: &mut String| strike(text, scrubber);
        match &mut self.body {
            ContentBody::Text(content) => text(content),
            ContentBody::Image(media) | ContentBody::Audio(media) => {
                bytes(&mut media.data);
                text(&mut media.mime_type);
            }
            ContentBody::Resource(resource) => {
                text(&mut resource.uri);
                resource.mime_type.iter_mut().for_each(text);
                match &mut resource.body {
                    ResourceBody::Text(content) => text(content),
                    ResourceBody::Blob(blob) => bytes(blob),
                }
            }
            ContentBody::ResourceLink(link) => {
                let texts = [&mut link.title, &mut link.description, &mut link.mime_type];
                texts.into_iter().flatten().for_each(text);
                text(&mut link.uri);
                text(&mut link.name);
            }
        }
        if let Some(modified) = self.annotations.as_mut().and_then(|a| a.last_modified.as_mut()) {
            text(modified);
        }
    }

    /// The bytes of all its texts and data.
    fn size(&self) -> usize {
        self.body.size() + self.annotations.as_ref().map_or(0, ContentAnnotations::size)
    }
}

impl ContentAnnotations {
    /// What they take as JSON, about.
    fn size(&self) -> usize {
        let modified = self.last_modified.as_ref().map_or(0, String::len);
        modified + self.audience.len() * r#""assistant","#.len()
    }
}

impl ContentBody {
    fn size(&self) -> usize {
        match self {
            ContentBody::Text(text) => text.len(),
            ContentBody::Image(media) | ContentBody::Audio(media) => {
                media.data.len() + media.mime_type.len()
            }
            ContentBody::Resource(resource) => {
                resource.uri.len()
                    + resource.mime_type.as_ref().map_or(0, String::len)
                    + match &resource.body {
                        ResourceBody::Text(text) => text.len(),
                        ResourceBody::Blob(bytes) => bytes.len(),
                    }
            }
            ContentBody::ResourceLink(link) => {
                let texts = [&link.title, &link.description, &link.mime_type];
                let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
                link.uri.len() + link.name.len() + texts
            }
        }
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rate(retry) => Self::TooOften { retry },
            Refusal::Busy(retry) => Self::Busy { retry },
        }
    }
}

fn outcome_of(outcome: contract::CallOutcome, limit_bytes: usize) -> CallOutcome {
    match outcome {
        contract::CallOutcome::Complete(result) => complete(result, limit_bytes),
        contract::CallOutcome::InputRequired(_) => CallOutcome::Failed(CallError::InputRequired),
        contract::CallOutcome::Error(types::Error { kind, message }) => {
            CallOutcome::Failed(match kind {
                types::ErrorKind::InvalidArguments => {
                    CallError::InvalidArguments(vec![cut(message)])
                }
                types::ErrorKind::NotFound | types::ErrorKind::Failed => {
                    CallError::Tool(cut(message))
                }
            })
        }
    }
}

fn complete(result: contract::ToolResult, limit_bytes: usize) -> CallOutcome {
    if result.content.len() > MAX_CONTENT {
        let reason = format!("it has more than {MAX_CONTENT} pieces of content");
        return CallOutcome::Failed(CallError::BadReply(reason));
    }
    let structured_limit = limit_bytes.min(MAX_STRUCTURED_BYTES);
    if result.structured.as_ref().is_some_and(|text| text.len() > structured_limit) {
        return CallOutcome::Failed(CallError::TooLarge { limit_bytes: structured_limit });
    }
    let structured = match result.structured.as_deref().map(serde_json::from_str).transpose() {
        Ok(structured) => structured,
        Err(error) => {
            let reason = format!("its structured content is not JSON ({error})");
            return CallOutcome::Failed(CallError::BadReply(reason));
        }
    };
    let content = result.content.into_iter().map(Content::from).collect();
    within(limit_bytes, ToolResult { content, structured })
}

impl From<types::Content> for Content {
    fn from(content: types::Content) -> Self {
        let media = |media: types::Media| Media { data: media.data, mime_type: media.mime_type };
        let body = match content.body {
            types::ContentBody::Text(text) => ContentBody::Text(text),
            types::ContentBody::Image(image) => ContentBody::Image(media(image)),
            types::ContentBody::Audio(audio) => ContentBody::Audio(media(audio)),
            types::ContentBody::Resource(resource) => ContentBody::Resource(ResourceContents {
                uri: resource.uri,
                mime_type: resource.mime_type,
                body: match resource.body {
                    types::ResourceBody::Text(text) => ResourceBody::Text(text),
                    types::ResourceBody::Blob(bytes) => ResourceBody::Blob(bytes),
                },
            }),
            types::ContentBody::ResourceLink(link) => ContentBody::ResourceLink(ResourceLink {
                uri: link.uri,
                name: link.name,
                title: link.title,
                description: link.description,
                mime_type: link.mime_type,
                size: link.size,
            }),
        };
        let role = |role: types::Role| match role {
            types::Role::User => Role::User,
            types::Role::Assistant => Role::Assistant,
        };
        let annotations = content.annotations.map(|hints| ContentAnnotations {
            audience: hints.audience.into_iter().map(role).collect(),
            priority: hints.priority,
            last_modified: hints.last_modified,
        });
        Self { body, annotations }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_found_in_what_a_guest_wrote() {
        let stderr = "noise\n\nthread 'main' (1) panicked at src/lib.rs:12:5:\nindex out of bounds\nnote: run with\n";
        let (location, message) = last_panic(stderr).unwrap();
        assert_eq!(
            (location.as_str(), message.as_str()),
            ("src/lib.rs:12:5", "index out of bounds")
        );
        for other in
            ["", "nothing panicked at all", "x panicked at the disco\n", " panicked at a:b:c:\n"]
        {
            assert_eq!(last_panic(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_first_contracts_description_is_understood() {
        let text = r#"{"name": "echo", "description": "Echoes", "input_schema": {"type": "object"}, "version": "1"}"#;
        let tools = parse_description(&v0_1_description(text)).unwrap();
        assert_eq!((tools.len(), tools[0].name.as_str()), (1, "echo"));
        assert!(parse_description(&v0_1_description("not json")).is_err());
    }

    #[test]
    fn the_model_reads_the_tools_own_words_or_one_line_with_a_code() {
        assert_eq!(CallError::Tool("no such city".into()).for_model(), "no such city");
        let limit = Duration::from_millis(50);
        assert_eq!(
            CallError::TimedOut { limit }.for_model(),
            "the tool ran longer than its limit of 50 ms [KAMI-TIMEOUT]"
        );
    }
}
