//! The gate before the handler: which era a request speaks, and what every reply bears.
//!
//! Everything but calls of tools, which have a way of their own, comes through here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use rmcp::RoleServer;
use rmcp::model::{
    ClientNotification, ClientRequest, ErrorData, NumberOrString, ProgressToken, ProtocolVersion,
    RequestMetaObject, ServerConfig, ServerResult,
};
use rmcp::service::{NotificationContext, RequestContext, Service};

use super::handler::{Handler, supported_versions};
use crate::auth::Identity;
use crate::scheduler::Principal;

/// The most `subscriptions/listen` requests at a time: one per client and kind of news would do.
const MOST_SUBSCRIPTIONS: usize = 64;

/// The most of them that one client has of whom it is known who it is.
const MOST_OF_ONE: usize = 16;

/// The longest name of a revision, in bytes: it is repeated where it is not known.
const LONGEST_VERSION: usize = 32;

/// The longest token, in bytes: it is repeated in every notification of progress.
const LONGEST_TOKEN: usize = 256;

/// One connection, as rmcp's service loop sees it.
///
/// rmcp keeps one era per connection once the first request has chosen it. Here each request
/// speaks for itself, as the revision of 2026-07-28 asks of a server for both.
pub(super) struct Session {
    handler: Arc<Handler>,
    identity: Arc<Identity>,
    subscriptions: Arc<Subscriptions>,
}

/// How a request names the protocol that it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// In its own `_meta`.
    Stateless,
    /// By the `initialize` that came before it.
    Session,
}

impl Session {
    /// The connection of somebody. It shares its subscriptions with others.
    pub(super) fn new(
        handler: Arc<Handler>,
        identity: Arc<Identity>,
        subscriptions: Arc<Subscriptions>,
    ) -> Self {
        Self { handler, identity, subscriptions }
    }
}

/// The subscriptions that are open on all connections.
#[derive(Default)]
pub(super) struct Subscriptions(Mutex<HashMap<Principal, usize>>);

/// One of them, until it is dropped.
struct Subscription<'a> {
    subscriptions: &'a Subscriptions,
    principal: Principal,
}

impl Subscriptions {
    /// Opens one more for somebody, unless there are too many.
    fn open(&self, identity: &Identity) -> Option<Subscription<'_>> {
        // Where nobody is asked who they are, a connection is somebody, and may be all that there are.
        let most = if identity.name().is_some() { MOST_OF_ONE } else { MOST_SUBSCRIPTIONS };
        let (mut open, principal) = (self.lock(), identity.principal());
        let own = open.get(&principal).copied().unwrap_or_default();
        if own >= most || open.values().sum::<usize>() >= MOST_SUBSCRIPTIONS {
            return None;
        }
        open.insert(principal, own + 1);
        Some(Subscription { subscriptions: self, principal })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Principal, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        let mut open = self.subscriptions.lock();
        match open.get_mut(&self.principal) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(open.remove(&self.principal)),
        }
    }
}

impl Era {
    /// The era of a request with this `_meta`, where a session is open or not.
    pub(super) fn of(meta: &RequestMetaObject, in_session: bool) -> Result<Self, ErrorData> {
        check_meta(meta)?;
        match meta.protocol_version() {
            Some(version) => {
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
                Ok(if version.has_initialize() { Self::Session } else { Self::Stateless })
            }
            None if in_session => Ok(Self::Session),
            None => Err(ErrorData::invalid_params(
                "the protocol version is unknown: send `initialize` first, or name it in `_meta` \
                 as `io.modelcontextprotocol/protocolVersion`, with \
                 `io.modelcontextprotocol/clientCapabilities` beside it",
                None,
            )),
        }
    }
}

/// Refuses reserved members of `_meta` that cannot be read, which rmcp takes for absent ones.
fn check_meta(meta: &RequestMetaObject) -> Result<(), ErrorData> {
    let members = [
        ("io.modelcontextprotocol/protocolVersion", meta.protocol_version().is_some()),
        ("io.modelcontextprotocol/logLevel", meta.log_level().is_some()),
        ("progressToken", meta.get_progress_token().is_some()),
    ];
    if let Some(ProgressToken(NumberOrString::String(token))) = meta.get_progress_token()
        && token.len() > LONGEST_TOKEN
    {
        let message = format!("`_meta`: a `progressToken` has at most {LONGEST_TOKEN} bytes");
        return Err(ErrorData::invalid_params(message, None));
    }
    let version = meta.get("io.modelcontextprotocol/protocolVersion").and_then(|v| v.as_str());
    if version.is_some_and(|version| version.len() > LONGEST_VERSION) {
        let message = "`_meta`: that is no revision of the protocol";
        return Err(ErrorData::invalid_params(message, None));
    }
    for (name, readable) in members {
        if meta.get(name).is_some_and(|value| !value.is_null()) && !readable {
            let message = format!("`_meta`: the value of `{name}` is not valid");
            return Err(ErrorData::invalid_params(message, None));
        }
    }
    Ok(())
}

impl Service<RoleServer> for Session {
    async fn handle_request(
        &self,
        request: ClientRequest,
        mut context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        context.extensions.insert(Arc::clone(&self.identity));
        let needs_no_session =
            matches!(request, ClientRequest::InitializeRequest(_) | ClientRequest::PingRequest(_));
        let in_session = needs_no_session || self.handler.client().is_some();
        let era = Era::of(&context.meta, in_session)?;
        let _subscription = match &request {
            ClientRequest::SubscriptionsListenRequest(_) => {
                let message = "too many subscriptions are open: cancel one first";
                let opened = self.subscriptions.open(&self.identity);
                Some(opened.ok_or_else(|| ErrorData::invalid_request(message, None))?)
            }
            _ => None,
        };
        let answering = Service::handle_request(&*self.handler, request, context);
        let mut result = survive(answering).await?;
        if era == Era::Stateless {
            let meta = match &mut result {
                ServerResult::ListToolsResult(result) => &mut result.meta,
                ServerResult::ListPromptsResult(result) => &mut result.meta,
                ServerResult::ListResourcesResult(result) => &mut result.meta,
                ServerResult::ListResourceTemplatesResult(result) => &mut result.meta,
                // rmcp itself identifies the server on the others.
                _ => return Ok(result),
            };
            self.handler.stamp(meta.get_or_insert_default());
        }
        Ok(result)
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Service::handle_notification(&*self.handler, notification, context).await
    }

    fn get_info(&self) -> ServerConfig {
        Service::get_info(&*self.handler)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        supported_versions()
    }
}

/// Turns a panic, which would leave a request without an answer, into an error.
pub(super) async fn survive<T>(
    answering: impl Future<Output = Result<T, ErrorData>>,
) -> Result<T, ErrorData> {
    let mut answering = pin!(answering);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))).unwrap_or_else(|_| {
            let message = "the server made a mistake; its log says more";
            Poll::Ready(Err(ErrorData::internal_error(message, None)))
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::ErrorCode;

    #[tokio::test]
    async fn a_panic_is_answered_too() {
        assert!(survive(async { Ok(()) }).await.is_ok());
        let answered = survive::<()>(async { panic!("a mistake") }).await;
        assert_eq!(answered.unwrap_err().code, ErrorCode::INTERNAL_ERROR);
    }
}
