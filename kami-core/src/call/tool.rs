//! Calls of tools.

use std::sync::Arc;
use std::time::Instant;

use super::entry::{admitted, enter};
use super::{
    CallArguments, CallError, CallStats, Content, ContentBody, Continuation, EventSink,
    InputRequired, Outcome, Report, Said, cut,
};
use crate::resolve::VerifiedTool;
use crate::sandbox::{Entry, contract, v0_1};
use crate::scheduler::Principal;
use crate::schema::Schema;
use crate::secrets::Scrubber;
use serde_json::Value;

/// The most pieces of content in one result.
const MAX_CONTENT: usize = 1000;

/// The most bytes of structured content, which takes many times that once it is parsed.
const MAX_STRUCTURED_BYTES: usize = 4 << 20;

/// What came of a call, and what it took.
pub type CallReport = Report<ToolResult>;

/// What came of a call.
pub type CallOutcome = Outcome<ToolResult>;

/// What a tool gives.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// For the model, in order.
    pub content: Vec<Content>,
    /// For programs: a value that fits the output schema.
    pub structured: Option<Value>,
}

/// Calls a tool on behalf of the default [`Principal`]; see [`call_as`].
pub async fn call(
    tool: &VerifiedTool,
    arguments: impl Into<CallArguments>,
    events: Arc<dyn EventSink>,
) -> CallReport {
    call_as(Principal::default(), tool, arguments, Continuation::default(), events).await
}

/// Calls a tool on behalf of a principal, or goes on with a call that needed input.
///
/// Waits for a place if as many calls run as may, as the [`scheduler`](crate::scheduler) tells; the
/// time limit starts after that. Dropping the returned future ends the guest.
///
/// # Security
/// `arguments` and `continuation` come from a client, and all that the guest does is hostile: both
/// are bounded, and neither can make this panic or outlast the time limit.
pub async fn call_as(
    principal: Principal,
    tool: &VerifiedTool,
    arguments: impl Into<CallArguments>,
    continuation: Continuation,
    events: Arc<dyn EventSink>,
) -> CallReport {
    let started = Instant::now();
    let package = tool.verified();
    let sandbox = package.sandbox();
    let limits = sandbox.effective().limits();
    let (arguments, request) = arguments.into().into_parts();
    if request.len() + continuation.size() > limits.argument_bytes() {
        let error = CallError::answers_too_large(limits.argument_bytes());
        return Report::without_entry(error, started);
    }
    let problems = tool.arguments().problems(&arguments, "arguments");
    if !problems.is_empty() {
        return Report::without_entry(CallError::InvalidArguments(problems), started);
    }
    drop(arguments);
    let name = tool.definition().name.as_str();
    let mut report = admitted(principal, package, events, async |store| match sandbox.entry() {
        Entry::V0_2(exports) => {
            let instance = exports.instantiate(store).await?;
            let guest = exports.tools.load(&mut *store, &instance)?;
            let request = contract::tools::CallRequest {
                name: name.to_owned(),
                arguments: (*request).to_owned(),
                continuation: continuation.into(),
            };
            let outcome = guest.call_call(store, &request).await?;
            Ok(outcome_of(outcome, limits.output_bytes(), tool.results()))
        }
        Entry::V0_1(pre) => {
            let guest: v0_1::KamiTool = pre.instantiate_async(&mut *store).await?;
            let reply = guest.kami_tool_tool().call_run(store, &request).await?;
            Ok(match reply {
                Ok(text) => within(limits.output_bytes(), ToolResult::text(text)),
                Err(message) => Outcome::Failed(CallError::Tool(cut(message))),
            })
        }
    })
    .await;
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
    let package = tool.verified();
    let sandbox = package.sandbox();
    let place = sandbox.admit(Principal::default(), package.priority()).await;
    let _place = place.map_err(CallError::from)?;
    let limit = sandbox.effective().limits().execution();
    let report = enter(sandbox, Arc::new(()), limit, async |store| {
        sandbox.entry().instantiate(store).await.map(Outcome::Complete)
    })
    .await;
    match report.outcome {
        Outcome::Complete(()) => Ok(report.stats),
        Outcome::InputRequired(_) => unreachable!("nothing above asks for input"),
        Outcome::Failed(error) => Err(error),
    }
}

fn outcome_of(
    outcome: contract::tools::CallOutcome,
    limit_bytes: usize,
    schema: Option<&Schema>,
) -> CallOutcome {
    match outcome {
        contract::tools::CallOutcome::Complete(result) => complete(result, limit_bytes, schema),
        contract::tools::CallOutcome::InputRequired(asked) => asked_for(asked),
        contract::tools::CallOutcome::Error(error) => Outcome::Failed(error.into()),
    }
}

/// What a guest asks, if it can be asked.
pub(super) fn asked_for<T>(asked: crate::sandbox::types::InputRequired) -> Outcome<T> {
    match InputRequired::read(asked) {
        Ok(input) => Outcome::InputRequired(input),
        Err(problem) => Outcome::Failed(CallError::BadReply(cut(problem))),
    }
}

fn complete(
    result: contract::tools::ToolResult,
    limit_bytes: usize,
    schema: Option<&Schema>,
) -> CallOutcome {
    let bad = |reason| Outcome::Failed(CallError::BadReply(reason));
    if result.content.len() > MAX_CONTENT {
        return bad(format!("it has more than {MAX_CONTENT} pieces of content"));
    }
    let structured_limit = limit_bytes.min(MAX_STRUCTURED_BYTES);
    if result.structured.as_ref().is_some_and(|text| text.len() > structured_limit) {
        return Outcome::Failed(CallError::TooLarge { limit_bytes: structured_limit });
    }
    let structured = match result.structured.as_deref().map(serde_json::from_str).transpose() {
        Ok(structured) => structured,
        Err(error) => return bad(format!("its structured content is not JSON ({error})")),
    };
    if let Some(schema) = schema {
        let Some(structured) = &structured else {
            return bad("it has an output schema, and no structured content".to_owned());
        };
        let problems = schema.problems(structured, "structured content");
        if !problems.is_empty() {
            return bad(format!("it does not fit its output schema: {}", problems.join("; ")));
        }
    }
    let content = result.content.into_iter().map(Content::from).collect();
    within(limit_bytes, ToolResult { content, structured })
}

/// A result that is no larger than it may be.
fn within(limit_bytes: usize, result: ToolResult) -> CallOutcome {
    let size = result.content.iter().map(Content::size).sum::<usize>();
    match size > limit_bytes {
        true => Outcome::Failed(CallError::TooLarge { limit_bytes }),
        false => Outcome::Complete(result),
    }
}

impl ToolResult {
    fn text(text: String) -> Self {
        let content = Content { body: ContentBody::Text(text), annotations: None };
        Self { content: vec![content], structured: None }
    }
}

impl Said for ToolResult {
    fn scrub(&mut self, scrubber: &Scrubber) {
        if let Some(structured) = &mut self.structured {
            scrubber.scrub_json(structured);
        }
        self.content.scrub(scrubber);
    }
}
