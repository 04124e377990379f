//! The transport: one message per line, over any pair of byte streams.
//!
//! This is the seam between bytes and the session. Calls of tools part from everything else here:
//! they are begun as they are read, and answer for themselves. It differs from the one that rmcp brings in
//! what it promises a client:
//!
//! - every line that deserves an answer gets one, and the next line is read whatever this one was;
//! - replies and notifications leave in the order in which the session gave them;
//! - the end of the input is passed on only when every request that was accepted is answered.
//!
//! A request that changes how later ones are understood (`initialize`, `logging/setLevel`) is
//! answered before the next line is read, so that a client need not wait between lines.

use std::io;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorData, JsonRpcMessage, RequestId,
    ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};

use super::calls::{Accepted, Calls};
use super::handler::Handler;
use super::lines::{LONGEST, Line, LineReader};
use super::message::{Fate, Refusal, brief, read};
use super::outbox::Outbox;
use super::questions::Questions;
use super::stdin::Stdin;
use super::unanswered::{Ticket, Unanswered};

/// The most calls that are begun together: the first reply waits for the last of them, if all are of
/// quick tools.
const MOST_TOGETHER: usize = 8;

/// The most bytes that may wait to be written before nothing more is read, so that a client which
/// sends without reading costs bounded memory.
const MOST_UNWRITTEN: usize = 64 << 20;

/// The standard input and output of this process, as the ends of a transport.
///
/// Where both are pipes, as MCP clients start a server, they are read and written without a hop
/// to a blocking thread, and a thread that has just read looks for more for a tenth of a millisecond
/// before it sleeps. While a server uses them, nothing else may write to the standard output.
///
/// # Panics
/// Outside of a tokio runtime with I/O enabled.
pub fn stdio_pipes()
-> (impl AsyncRead + Send + Unpin + 'static, impl AsyncWrite + Send + Unpin + 'static) {
    let (input, output) = rmcp::transport::stdio_pipes();
    (Stdin::or(input), output)
}

/// Messages over lines.
pub(super) struct StdioTransport<R> {
    lines: LineReader<R>,
    outbox: Outbox,
    unanswered: Arc<Unanswered>,
    questions: Arc<Questions>,
    calls: Calls,
    /// Calls that were read, and are begun before anything is waited for.
    batch: Vec<Accepted>,
    /// The request that has to be answered before the next line is read.
    turning_point: Option<RequestId>,
    /// True once nothing more is read: the input is over, or someone outside says so.
    ended: watch::Sender<bool>,
    /// Takes the error that ended the input, if one did.
    read_failed: Option<oneshot::Sender<io::Error>>,
}

impl<R: AsyncRead + Send + Unpin> StdioTransport<R> {
    /// Reads from `input` until it is over or `ended` is set, and sets it then.
    pub(super) fn new(
        input: R,
        outbox: Outbox,
        handler: Arc<Handler>,
        ended: watch::Sender<bool>,
        read_failed: oneshot::Sender<io::Error>,
    ) -> Self {
        let unanswered = Arc::new(Unanswered::with_room_for(handler.accepted()));
        let questions = Arc::<Questions>::default();
        let (waiting, asking) = (Arc::clone(&unanswered), Arc::clone(&questions));
        Self {
            lines: LineReader::new(input),
            calls: Calls::new(handler, outbox.clone(), waiting, asking),
            outbox,
            unanswered,
            questions,
            batch: Vec::with_capacity(MOST_TOGETHER),
            turning_point: None,
            ended,
            read_failed: Some(read_failed),
        }
    }

    /// The next message for the session, or `None` at the end of the input.
    async fn next_message(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if !self.may_read_on() {
                self.calls.begin(self.batch.drain(..));
                // The answer to a question may be next, and what it makes room for.
                tokio::select! {
                    () = self.unanswered.room() => {}
                    () = self.questions.any() => {}
                }
                self.outbox.below(MOST_UNWRITTEN).await;
            }
            let mut size = 0;
            let fate = match self.lines.next().await {
                Ok(Line::Text(text)) => {
                    size = text.len();
                    read(text)
                }
                Ok(Line::TooLong) => {
                    let why = format!("a message has at most {LONGEST} bytes");
                    Fate::Refuse(Refusal::invalid(None, why))
                }
                Ok(Line::End) => return None,
                Err(error) => {
                    if let Some(read_failed) = self.read_failed.take() {
                        // Where nobody listens any more, nobody wants to know.
                        let _ = read_failed.send(error);
                    }
                    return None;
                }
            };
            match fate {
                Fate::Ignore => {}
                Fate::Refuse(refusal) => self.outbox.push(&refusal),
                Fate::Reply(reply) => {
                    self.calls.begin(self.batch.drain(..));
                    self.questions.answered(reply);
                }
                Fate::Enter(request) => match self.expect(&request.id, size) {
                    Ok(ticket) => self.batch.push(Accepted { request, ticket }),
                    Err(refused) => self.outbox.push(&refused),
                },
                Fate::Accept(message) => match self.admit(&message, size) {
                    Ok(()) => return Some(*message),
                    Err(refused) => self.outbox.push(&refused),
                },
            }
        }
    }

    /// Whether the next line is there already, and may be read before the calls so far are begun.
    fn may_read_on(&self) -> bool {
        self.lines.has_line()
            && self.batch.len() < MOST_TOGETHER
            && self.unanswered.has_room()
            && self.outbox.is_below(MOST_UNWRITTEN)
    }

    /// Takes note of what a message means for those to come, or says why it cannot be accepted.
    fn admit(&mut self, message: &ClientJsonRpcMessage, size: usize) -> Result<(), Value> {
        // What came before it comes first.
        self.calls.begin(self.batch.drain(..));
        match message {
            JsonRpcMessage::Request(request) => {
                self.expect(&request.id, size)?;
                if let ClientRequest::InitializeRequest(_) | ClientRequest::SetLevelRequest(_) =
                    request.request
                {
                    self.turning_point = Some(request.id.clone());
                }
            }
            JsonRpcMessage::Notification(notification) => {
                // A cancelled request is never answered: see the service loop of rmcp.
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    self.unanswered.cancel(id);
                    self.turning_point.take_if(|turning_point| turning_point == id);
                }
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
        }
        Ok(())
    }

    /// Takes note that a request is to be answered.
    fn expect(&self, id: &RequestId, size: usize) -> Result<Ticket, Value> {
        let refused = |id: Option<&RequestId>, why: String| {
            let error = ErrorData::invalid_request(why, None);
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        };
        if !self.unanswered.has_room() {
            let why = "too much is not answered yet: answer what was asked first";
            return Err(refused(Some(id), why.to_owned()));
        }
        let ticket = self.unanswered.insert(id.clone(), size);
        ticket.ok_or_else(|| {
            // Under its own id, the error would pass for the answer to the first request.
            refused(None, format!("the request with the id `{}` is not answered yet", brief(id)))
        })
    }

    fn settle(&mut self, id: &RequestId) {
        self.unanswered.settle(id);
        self.turning_point.take_if(|turning_point| turning_point == id);
    }
}

impl<R: AsyncRead + Send + Unpin> Transport<RoleServer> for StdioTransport<R> {
    type Error = io::Error;

    /// Puts the message in the queue at once; the future only tells whether there still is one.
    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let answered = match &message {
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        if let Some(id) = answered {
            self.settle(id);
        }
        self.outbox.push(&message);
        std::future::ready(self.outbox.state())
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        let mut ended = self.ended.subscribe();
        if !*ended.borrow() {
            if self.turning_point.is_some() {
                return changed_by_send().await;
            }
            let message = tokio::select! {
                message = self.next_message() => message,
                _ = ended.wait_for(|ended| *ended) => None,
            };
            if message.is_some() {
                return message;
            }
            self.ended.send_replace(true);
        }
        self.questions.close();
        self.unanswered.none().await;
        self.outbox.below(1).await;
        None
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for `send`, which alone changes what is waited for: it borrows the transport, so the
/// service loop has to drop the future that waits here, and asks again afterwards.
async fn changed_by_send<T>() -> T {
    std::future::pending().await
}

impl<R> Drop for StdioTransport<R> {
    fn drop(&mut self) {
        self.unanswered.cancel_all();
        self.outbox.close();
    }
}
