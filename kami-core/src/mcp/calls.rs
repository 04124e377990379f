//! What takes a guest to answer, from its line to its reply.
//!
//! This is the way that has to be short. It passes rmcp's service loop by: a call writes its
//! notifications and its reply itself.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use rmcp::model::{ErrorCode, ErrorData, Implementation, RequestId, RequestMetaObject};
use serde::Serialize;
use tracing::Instrument as _;

use super::abilities::Abilities;
use super::answer::Answer;
use super::events::{Progress, guest_level};
use super::handler::Handler;
use super::message::brief;
use super::outbox::Outbox;
use super::outcome;
use super::questions::Questions;
use super::request::GuestRequest;
use super::session::{Era, survive};
use super::unanswered::{Ticket, Unanswered};
use super::wire::{Wire, json};
use crate::auth::Identity;
use crate::call::Level;
use crate::telemetry::TraceParent;

/// A call that takes no longer is quick: another thread would take a good part of that to wake up.
const QUICK: Duration = Duration::from_micros(200);

/// The code of a call that was under way when its server had to end.
const ENDED: &str = "KAMI-ENDED";

/// The most names of quick tools that one connection keeps.
const MOST_REMEMBERED: usize = 1024;

/// The longest name that is kept, in bytes; a client may write what it likes.
const LONGEST_REMEMBERED: usize = 256;

/// What holds for a call: what its `_meta` says, and for the rest what the session agreed on.
pub(super) struct Terms {
    pub(super) era: Era,
    /// Who calls, by its own word.
    pub(super) client: Option<String>,
    /// From which level on the client wants to hear what the tool logs.
    pub(super) log_level: Option<Level>,
    /// What it wants to hear of how far the tool has come.
    pub(super) progress: Option<Arc<Progress>>,
    /// What it can be asked for.
    pub(super) abilities: Abilities,
    /// Whether it knows tasks.
    pub(super) tasks: bool,
    /// The span of its own that the request is a part of.
    pub(super) trace: Option<TraceParent>,
}

/// Who asks, and how it is told and asked in turn.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) identity: Arc<Identity>,
    pub(super) wire: Arc<dyn Wire>,
    /// Where a session takes its answers.
    pub(super) questions: Option<Arc<Questions>>,
    /// Whether this request was counted already.
    pub(super) counted: bool,
}

/// A reply, as text.
pub(super) struct Replied {
    pub(super) text: Vec<u8>,
    /// Which error it tells, if it does.
    pub(super) error: Option<ErrorCode>,
}

/// The reply to a request.
#[derive(Serialize)]
struct Reply {
    jsonrpc: &'static str,
    id: RequestId,
    #[serde(flatten)]
    content: ReplyContent,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ReplyContent {
    Result(Answer),
    Error(ErrorData),
}

/// The calls of a connection that may have many at once.
///
/// Most tools have done their work in less time than it takes to have another thread do it. Calls of
/// tools that did so the last time are made as they are read, and their replies written together.
/// Any other is a task of its own, and so becomes one that did not end at once: a tool that was quick
/// and is so no more keeps others waiting once, for a tick of the epoch at the most.
#[derive(Clone)]
pub(super) struct Calls(Arc<Shared>);

struct Shared {
    handler: Arc<Handler>,
    outbox: Outbox,
    unanswered: Arc<Unanswered>,
    questions: Arc<Questions>,
    /// The names under which tools were called that were quick.
    quick: Mutex<HashSet<String>>,
}

/// A call that was taken note of.
pub(super) struct Accepted {
    pub(super) request: GuestRequest,
    pub(super) ticket: Ticket,
}

/// A call that is made, whose reply is queued unless it is cancelled.
type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Calls {
    pub(super) fn new(
        handler: Arc<Handler>,
        outbox: Outbox,
        unanswered: Arc<Unanswered>,
        questions: Arc<Questions>,
    ) -> Self {
        let quick = Mutex::default();
        Self(Arc::new(Shared { handler, outbox, unanswered, questions, quick }))
    }

    /// Begins calls.
    pub(super) fn begin(&self, calls: impl IntoIterator<Item = Accepted>) {
        for mut accepted in calls {
            self.0.handler.see_through(&mut accepted.request);
            match accepted.request.tool().is_some_and(|name| self.0.is_quick(name)) {
                true => self.make(accepted),
                false => {
                    let at = At::of(&accepted);
                    self.spawn(at, self.answer(accepted));
                }
            }
        }
        self.0.outbox.write();
    }

    fn answer(&self, Accepted { request, ticket }: Accepted) -> Answering {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let Shared { handler, outbox, unanswered, questions, .. } = &*shared;
            let id = request.id.clone();
            let caller = Caller {
                identity: Arc::clone(handler.identity()),
                wire: Arc::new(outbox.clone()),
                questions: Some(Arc::clone(questions)),
                counted: false,
            };
            let reply = reply_to(handler, caller, request).await;
            // Whoever cancelled the call meanwhile gets no reply.
            unanswered.answer(&id, ticket, || outbox.queue(reply.text));
        })
    }

    /// Makes a call here and now, as far as it can be.
    fn make(&self, accepted: Accepted) {
        let at = At::of(&accepted);
        let mut answering = self.answer(accepted);
        let started = Instant::now();
        let polled = answering.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let slow = polled.is_pending() || started.elapsed() > QUICK;
        if let Some(name) = at.name.as_ref().filter(|_| slow) {
            self.0.forget(name);
        }
        if polled.is_pending() {
            // The task polls it again, and then it is the task that is woken.
            self.spawn(at, answering);
        }
    }

    fn spawn(&self, At { id, ticket, name }: At, answering: Answering) {
        let shared = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            let started = Instant::now();
            answering.await;
            shared.outbox.write();
            if let Some(name) = name.filter(|_| started.elapsed() <= QUICK) {
                shared.remember(name);
            }
        });
        let task = task.abort_handle();
        self.0.unanswered.is_ended_by(&id, ticket, move || task.abort());
    }
}

/// What a call is known by while it is made.
struct At {
    id: RequestId,
    ticket: Ticket,
    /// The tool's, if it is a call of one.
    name: Option<String>,
}

impl At {
    fn of(Accepted { request, ticket }: &Accepted) -> Self {
        let name = request.tool().map(str::to_owned);
        Self { id: request.id.clone(), ticket: *ticket, name }
    }
}

impl Shared {
    fn quick(&self) -> MutexGuard<'_, HashSet<String>> {
        self.quick.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_quick(&self, name: &str) -> bool {
        self.quick().contains(name)
    }

    fn remember(&self, name: String) {
        let mut quick = self.quick();
        // A client may call one tool by several names, and ones that lead nowhere.
        if name.len() <= LONGEST_REMEMBERED && quick.len() < MOST_REMEMBERED {
            quick.insert(name);
        }
    }

    fn forget(&self, name: &str) {
        self.quick().remove(name);
    }
}

/// Has a guest answer a request, and gives the reply.
pub(super) async fn reply_to(
    handler: &Arc<Handler>,
    caller: Caller,
    request: GuestRequest,
) -> Replied {
    let id = request.id.clone();
    let answered = survive(answer(handler, caller, request)).await;
    let error = answered.as_ref().err().map(|error| error.code);
    let content = answered.map_or_else(ReplyContent::Error, ReplyContent::Result);
    Replied { text: json(&Reply { jsonrpc: "2.0", id, content }), error }
}

async fn answer(
    handler: &Arc<Handler>,
    caller: Caller,
    request: GuestRequest,
) -> Result<Answer, ErrorData> {
    let terms = Terms::of(&request.meta, handler)?;
    let era = terms.era;
    let is_call = request.tool().is_some();
    // Nothing of this is worked out unless somebody reads it.
    let span = tracing::debug_span!(
        "request",
        method = request.asked.method(),
        name = ?brief(request.asked.name()),
        trace = terms.trace.as_ref().map(TraceParent::as_str),
    );
    let answering = handler.answer(caller, request, terms).instrument(span);
    let mut answer = tokio::select! {
        biased;
        answer = answering => answer?,
        () = handler.closed() => cut_short(is_call)?,
    };
    answer.finish(era, handler);
    Ok(answer)
}

/// The span that a request is a part of, as its client says.
fn trace_parent(meta: &RequestMetaObject) -> Option<TraceParent> {
    let parent: TraceParent = meta.get("traceparent")?.as_str()?.parse().ok()?;
    Some(parent.with_state(meta.get("tracestate").and_then(|state| state.as_str())))
}

/// What is answered in the place of a guest that the end of the server ended.
fn cut_short(is_call: bool) -> Result<Answer, ErrorData> {
    let text = format!("the server ended before the tool did: ask again in a while [{ENDED}]");
    match is_call {
        true => Ok(outcome::failure(text).into()),
        false => Err(ErrorData::internal_error(text, None)),
    }
}

impl Terms {
    /// What holds for a task: nobody listens to it.
    pub(super) fn of_a_task() -> Self {
        Self {
            era: Era::Stateless,
            client: None,
            log_level: None,
            progress: None,
            abilities: Abilities::default(),
            tasks: true,
            trace: None,
        }
    }

    fn of(meta: &RequestMetaObject, handler: &Handler) -> Result<Self, ErrorData> {
        let session = handler.client();
        let era = Era::of(meta, session.is_some())?;
        let named =
            |client: &Implementation| format!("{} {}", brief(&client.name), brief(&client.version));
        let client = match meta.client_info() {
            Some(client) => Some(named(&client)),
            None => session.map(|session| named(&session.client_info)),
        };
        let log_level = match era {
            Era::Stateless => meta.log_level().map(guest_level),
            Era::Session => Some(handler.log_level()),
        };
        let (abilities, tasks) = match (era, meta.client_capabilities()) {
            (Era::Stateless, Some(capabilities)) => {
                (Abilities::of(&capabilities), capabilities.supports_tasks())
            }
            _ => (handler.abilities(), false),
        };
        let progress = meta.get_progress_token().map(Progress::under);
        let trace = trace_parent(meta);
        Ok(Self { era, client, log_level, progress, abilities, tasks, trace })
    }
}
