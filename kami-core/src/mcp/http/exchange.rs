//! From a request to its reply, and to what is said before it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ErrorCode, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::{mpsc, oneshot, watch};

use super::body::{ReplyBody, Task};
use super::headers::Spoken;
use super::room::Held;
use super::sessions::HttpSession;
use super::{Reply, accepted, reply};
use crate::auth::Identity;
use crate::call::Listing;
use crate::mcp::calls::Replied;
use crate::mcp::handler::Handler;
use crate::mcp::session::{Session, Subscriptions};
use crate::mcp::wire::{Wire, json};

/// What comes of a request in the end: its reply, if it gets one.
type Work = Pin<Box<dyn Future<Output = Option<Replied>> + Send>>;

/// One request, while it is answered.
pub(super) struct Exchange {
    said: mpsc::UnboundedSender<Vec<u8>>,
    heard: mpsc::UnboundedReceiver<Vec<u8>>,
}

/// The way of what is said before the reply.
struct Said(mpsc::UnboundedSender<Vec<u8>>);

impl Wire for Said {
    fn send(&self, message: Vec<u8>) {
        // Whoever closed the connection does not want to hear it.
        let _ = self.0.send(message);
    }
}

impl Exchange {
    pub(super) fn new() -> Self {
        let (said, heard) = mpsc::unbounded_channel();
        Self { said, heard }
    }

    /// Where messages go that come before the reply.
    pub(super) fn wire(&self) -> Arc<dyn Wire> {
        Arc::new(Said(self.said.clone()))
    }

    /// Gives the reply as JSON with the `status` that goes with its error, or as the end of a stream where something is said before it; none at
    /// all where there is none.
    ///
    /// The work ends with the connection.
    pub(super) async fn answer(
        mut self,
        work: impl Future<Output = Option<Replied>> + Send + 'static,
        status: impl FnOnce(Option<ErrorCode>) -> StatusCode,
    ) -> Reply {
        let mut work: Work = Box::pin(work);
        let last = tokio::select! {
            biased;
            last = &mut work => last,
            Some(first) = self.heard.recv() => return events(Some(first), self.heard, work),
        };
        match (self.heard.try_recv(), last) {
            (Ok(first), last) => {
                events(Some(first), self.heard, Box::pin(std::future::ready(last)))
            }
            (Err(_), Some(Replied { text, error })) => {
                reply(status(error), "application/json", text.into())
            }
            (Err(_), None) => accepted(),
        }
    }
}

/// A stream of what is said while `work` is done. It is done in a task of its own, so that its limits
/// on time hold also where nobody reads.
fn events(first: Option<Vec<u8>>, heard: mpsc::UnboundedReceiver<Vec<u8>>, work: Work) -> Reply {
    let work = Task(tokio::spawn(async { work.await.map(|reply| reply.text) }));
    let mut reply = Response::new(ReplyBody::events(first, heard, work));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}

/// Has rmcp's service loop answer one request of somebody.
pub(super) async fn ask(
    handler: Arc<Handler>,
    identity: Arc<Identity>,
    subscriptions: Arc<Subscriptions>,
    request: ClientJsonRpcMessage,
    spoken: Spoken,
    room: Held,
) -> Reply {
    let exchange = Exchange::new();
    let (answer, answered) = oneshot::channel();
    let transport =
        OneRequest { request: Some(request), said: exchange.said.clone(), answer: Some(answer) };
    let work = async move {
        let _room = room;
        let client = handler.client().map(|client| (*client).clone());
        let session = Session::new(handler, identity, subscriptions);
        let running = rmcp::service::serve_directly(session, transport, client);
        let answer = answered.await.ok();
        drop(running);
        answer
    };
    exchange.answer(work, move |error| spoken.status(error)).await
}

/// What changes, for a session that waits to hear of it until it or the server `ended`.
pub(super) fn news(session: Arc<HttpSession>, mut ended: watch::Receiver<bool>) -> Reply {
    let exchange = Exchange::new();
    let wire = exchange.wire();
    let work = async move {
        let say = |changed: &[Listing]| {
            for told in session.handler().notifications(changed) {
                wire.send(json(&ServerJsonRpcMessage::notification(told)));
            }
        };
        tokio::select! {
            () = session.listen(say) => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
        None
    };
    events(None, exchange.heard, Box::pin(work))
}

/// A transport that brings one request, and takes what is said until it is answered.
struct OneRequest {
    request: Option<ClientJsonRpcMessage>,
    said: mpsc::UnboundedSender<Vec<u8>>,
    answer: Option<oneshot::Sender<Replied>>,
}

impl Transport<RoleServer> for OneRequest {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let text = json(&message);
        // Whoever closed the connection does not want to hear it.
        let error = match &message {
            JsonRpcMessage::Error(error) => Some(error.error.code),
            _ => None,
        };
        match (&message, self.answer.take()) {
            (JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_), Some(answer)) => {
                let _ = answer.send(Replied { text, error });
            }
            (_, waiting) => {
                self.answer = waiting;
                let _ = self.said.send(text);
            }
        }
        std::future::ready(Ok(()))
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        match self.request.take() {
            Some(request) => Some(request),
            // The end comes with the answer, and from outside.
            None => std::future::pending().await,
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_reads_ends_all_the_same_and_with_its_stream() {
        let exchange = Exchange::new();
        let wire = exchange.wire();
        let (done, finished) = oneshot::channel();
        let reply = exchange
            .answer(
                async move {
                    wire.send(b"first".to_vec());
                    tokio::task::yield_now().await;
                    done.send(()).ok()?;
                    None
                },
                |_| StatusCode::OK,
            )
            .await;
        finished.await.expect("it goes on without a reader");
        drop(reply);

        let exchange = Exchange::new();
        let wire = exchange.wire();
        let (held, ended) = oneshot::channel::<()>();
        let reply = exchange
            .answer(
                async move {
                    let _held = held;
                    wire.send(b"first".to_vec());
                    std::future::pending().await
                },
                |_| StatusCode::OK,
            )
            .await;
        drop(reply);
        ended.await.expect_err("it ends with the stream");
    }
}
