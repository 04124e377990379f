//! A call of a tool, from its line to its reply.
//!
//! This is the way that has to be short. It passes rmcp's service loop by: a call is a task of its
//! own, which writes its notifications and its reply itself.

use std::sync::Arc;

use rmcp::model::{
    CallToolResult, ErrorData, Implementation, ProgressToken, RequestId, RequestMetaObject,
};
use serde::Serialize;

use super::events::guest_level;
use super::handler::{Handler, supported_versions};
use super::outbox::Outbox;
use super::session::{Era, survive};
use super::unanswered::Unanswered;
use super::wire::{Wire, json};
use crate::call::Level;
use crate::manifest::JsonObject;

/// A request to call a tool.
#[derive(Debug)]
pub(super) struct ToolCall {
    pub(super) id: RequestId,
    /// As the client names the tool.
    pub(super) name: String,
    pub(super) arguments: JsonObject,
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

/// Where the calls of one connection are made that has many at once.
pub(super) struct Calls {
    handler: Arc<Handler>,
    outbox: Outbox,
    unanswered: Arc<Unanswered>,
}

impl Calls {
    pub(super) fn new(handler: Arc<Handler>, outbox: Outbox, unanswered: Arc<Unanswered>) -> Self {
        Self { handler, outbox, unanswered }
    }

    /// Begins a call that was taken note of.
    pub(super) fn begin(&self, call: ToolCall) {
        let id = call.id.clone();
        let (handler, outbox) = (Arc::clone(&self.handler), self.outbox.clone());
        let unanswered = Arc::clone(&self.unanswered);
        let task = tokio::spawn(async move {
            let id = call.id.clone();
            let reply = reply_to(&handler, call, Arc::new(outbox.clone())).await;
            // Whoever cancelled the call meanwhile gets no reply.
            if unanswered.settle(&id) {
                outbox.send(reply);
            }
        });
        let task = task.abort_handle();
        self.unanswered.is_ended_by(&id, move || task.abort());
    }
}

/// Makes a call, whose notifications go to `wire`, and gives the reply.
pub(super) async fn reply_to(handler: &Handler, call: ToolCall, wire: Arc<dyn Wire>) -> Vec<u8> {
    let id = call.id.clone();
    let answered = survive(answer(handler, call, wire)).await;
    let content = answered.map_or_else(ReplyContent::Error, ReplyContent::Result);
    json(&Reply { jsonrpc: "2.0", id, content })
}

async fn answer(
    handler: &Handler,
    call: ToolCall,
    wire: Arc<dyn Wire>,
) -> Result<CallToolResult, ErrorData> {
    let terms = Terms::of(&call.meta, handler)?;
    let era = terms.era;
    let mut result = handler.call(call, terms, wire).await?;
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
        let named = |client: &Implementation| format!("{} {}", client.name, client.version);
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
