//! A call of a tool, from its line to its reply.
//!
//! This is the way that has to be short. It passes rmcp's service loop by: a call writes its
//! notifications and its reply itself.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use rmcp::model::{
    CallToolResult, ErrorData, Implementation, ProgressToken, RequestId, RequestMetaObject,
};
use serde::Serialize;

use super::events::guest_level;
use super::handler::{Handler, supported_versions};
use super::message::brief;
use super::outbox::Outbox;
use super::session::{Era, survive};
use super::unanswered::{Ticket, Unanswered};
use super::wire::{Wire, json};
use crate::auth::Identity;
use crate::call::{CallArguments, Level};

/// A call that takes no longer is quick: another thread would take a good part of that to wake up.
const QUICK: Duration = Duration::from_micros(200);

/// The most names of quick tools that one connection keeps.
const MOST_REMEMBERED: usize = 1024;

/// The longest name that is kept, in bytes; a client may write what it likes.
const LONGEST_REMEMBERED: usize = 256;

/// A request to call a tool.
#[derive(Debug)]
pub(super) struct ToolCall {
    pub(super) id: RequestId,
    /// As the client names the tool.
    pub(super) name: String,
    pub(super) arguments: CallArguments,
    pub(super) meta: RequestMetaObject,
}

/// What holds for a call: what its `_meta` says, and for the rest what the session agreed on.
pub(super) struct Terms {
    pub(super) era: Era,
    /// Who calls, by its own word.
    pub(super) client: Option<String>,
    /// From which level on the client wants to hear what the tool logs.
    pub(super) log_level: Option<Level>,
    /// Under which token it wants to hear how far the tool has come.
    pub(super) progress: Option<ProgressToken>,
}

/// The reply to a call.
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
    Result(CallToolResult),
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
    /// The names under which tools were called that were quick.
    quick: Mutex<HashSet<String>>,
}

/// A call that was taken note of.
pub(super) struct Accepted {
    pub(super) call: ToolCall,
    pub(super) ticket: Ticket,
}

/// A call that is made, whose reply is queued unless it is cancelled.
type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Calls {
    pub(super) fn new(handler: Arc<Handler>, outbox: Outbox, unanswered: Arc<Unanswered>) -> Self {
        Self(Arc::new(Shared { handler, outbox, unanswered, quick: Mutex::default() }))
    }

    /// Begins calls.
    pub(super) fn begin(&self, calls: impl IntoIterator<Item = Accepted>) {
        for accepted in calls {
            match self.0.is_quick(&accepted.call.name) {
                true => self.make(accepted),
                false => {
                    let at = At::of(&accepted);
                    self.spawn(at, self.answer(accepted));
                }
            }
        }
        self.0.outbox.write();
    }

    fn answer(&self, Accepted { call, ticket }: Accepted) -> Answering {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let Shared { handler, outbox, unanswered, .. } = &*shared;
            let (id, wire) = (call.id.clone(), Arc::new(outbox.clone()));
            let reply = reply_to(handler, handler.identity(), call, wire).await;
            // Whoever cancelled the call meanwhile gets no reply.
            unanswered.answer(&id, ticket, || outbox.queue(reply));
        })
    }

    /// Makes a call here and now, as far as it can be.
    fn make(&self, accepted: Accepted) {
        let at = At::of(&accepted);
        let mut answering = self.answer(accepted);
        let started = Instant::now();
        let polled = answering.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() || started.elapsed() > QUICK {
            self.0.forget(&at.name);
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
            if started.elapsed() <= QUICK {
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
    name: String,
}

impl At {
    fn of(Accepted { call, ticket }: &Accepted) -> Self {
        Self { id: call.id.clone(), ticket: *ticket, name: call.name.clone() }
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

/// Makes a call on behalf of somebody, to whom notifications go through `wire`, and gives the reply.
pub(super) async fn reply_to(
    handler: &Handler,
    identity: &Identity,
    call: ToolCall,
    wire: Arc<dyn Wire>,
) -> Vec<u8> {
    let id = call.id.clone();
    let answered = survive(answer(handler, identity, call, wire)).await;
    let content = answered.map_or_else(ReplyContent::Error, ReplyContent::Result);
    json(&Reply { jsonrpc: "2.0", id, content })
}

async fn answer(
    handler: &Handler,
    identity: &Identity,
    call: ToolCall,
    wire: Arc<dyn Wire>,
) -> Result<CallToolResult, ErrorData> {
    let terms = Terms::of(&call.meta, handler)?;
    let era = terms.era;
    let mut result = handler.call(identity, call, terms, wire).await?;
    match era {
        Era::Stateless => handler.stamp(result.meta.get_or_insert_default()),
        // The field is younger than the era.
        Era::Session => result.result_type = None,
    }
    Ok(result)
}

impl Terms {
    fn of(meta: &RequestMetaObject, handler: &Handler) -> Result<Self, ErrorData> {
        let session = handler.client();
        let era = Era::of(meta, session.is_some())?;
        if let Some(version) = meta.protocol_version() {
            let supported = supported_versions();
            if !supported.contains(&version) {
                return Err(ErrorData::unsupported_protocol_version(version, &supported));
            }
            let missing = meta.missing_required_keys(&version);
            if !missing.is_empty() {
                let missing = missing.join("`, `");
                let message = format!("`_meta` lacks `{missing}`, or its value is not valid");
                return Err(ErrorData::invalid_params(message, None));
            }
        }
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
        Ok(Self { era, client, log_level, progress: meta.get_progress_token() })
    }
}
