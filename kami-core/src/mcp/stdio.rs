//! The transport: one message per line, over any pair of byte streams.
//!
//! This is the seam between bytes and the session. It differs from the one that rmcp brings in
//! what it promises a client:
//!
//! - every line that deserves an answer gets one, and the next line is read whatever this one was;
//! - replies and notifications leave in the order in which the session gave them;
//! - the end of the input is passed on only when every request that was accepted is answered.
//!
//! A request that changes how later ones are understood (`initialize`, `logging/setLevel`) is
//! answered before the next line is read, so that a client need not wait between lines.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;

use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcMessage, RequestId,
    ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::{mpsc, oneshot, watch};

use super::lines::{LONGEST, Line, LineReader};
use super::message::{Fate, Refusal, brief, read};

/// The most requests that may wait for an answer. Beyond it, nothing is read until one of them is
/// answered or ends at its time limit.
const MOST_UNANSWERED: usize = 1024;

/// The most bytes of requests that may wait for an answer, for the same reason.
const MOST_UNANSWERED_BYTES: usize = 64 << 20;

/// The most bytes that may wait to be written before nothing more is read, so that a client which
/// sends without reading costs bounded memory.
const MOST_UNWRITTEN: usize = 64 << 20;

/// The standard input and output of this process, as the ends of a transport.
///
/// Where both are pipes, as MCP clients start a server, they are read and written without a hop
/// to a blocking thread. While a server uses them, nothing else may write to the standard output.
///
/// # Panics
/// Outside of a tokio runtime with I/O enabled.
pub fn stdio_pipes()
-> (impl AsyncRead + Send + Unpin + 'static, impl AsyncWrite + Send + Unpin + 'static) {
    rmcp::transport::stdio_pipes()
}

/// Messages over lines.
pub(super) struct StdioTransport<R> {
    lines: LineReader<R>,
    outbox: Outbox,
    unanswered: Unanswered,
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
        ended: watch::Sender<bool>,
        read_failed: oneshot::Sender<io::Error>,
    ) -> Self {
        Self {
            lines: LineReader::new(input),
            outbox,
            unanswered: Unanswered::default(),
            turning_point: None,
            ended,
            read_failed: Some(read_failed),
        }
    }

    /// The next message, or `None` at the end of the input.
    async fn next_message(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            self.outbox.below(MOST_UNWRITTEN).await;
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
                Fate::Accept(message) => match self.admit(&message, size) {
                    Ok(()) => return Some(*message),
                    Err(why) => self.outbox.push(&Refusal::invalid(None, why)),
                },
            }
        }
    }

    /// Takes note of what a message means for those to come, or says why it cannot be accepted.
    fn admit(&mut self, message: &ClientJsonRpcMessage, size: usize) -> Result<(), String> {
        match message {
            JsonRpcMessage::Request(request) => {
                if !self.unanswered.insert(request.id.clone(), size) {
                    // Under its own id, the error would pass for the answer to the first request.
                    let id = brief(&request.id);
                    return Err(format!("the request with the id `{id}` is not answered yet"));
                }
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
                    self.settle(id);
                }
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
        }
        Ok(())
    }

    fn settle(&mut self, id: &RequestId) {
        self.unanswered.remove(id);
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
            if self.turning_point.is_some() || self.unanswered.is_full() {
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
        if !self.unanswered.is_empty() {
            return changed_by_send().await;
        }
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

/// The requests that were accepted, and not yet answered or cancelled, with their sizes.
#[derive(Default)]
struct Unanswered {
    sizes: HashMap<RequestId, usize>,
    bytes: usize,
}

impl Unanswered {
    /// Adds a request, unless its id is in use.
    fn insert(&mut self, id: RequestId, size: usize) -> bool {
        match self.sizes.entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(size);
                self.bytes += size;
                true
            }
        }
    }

    fn remove(&mut self, id: &RequestId) {
        self.bytes -= self.sizes.remove(id).unwrap_or(0);
    }

    fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    fn is_full(&self) -> bool {
        self.sizes.len() >= MOST_UNANSWERED || self.bytes >= MOST_UNANSWERED_BYTES
    }
}

/// The queue of lines to write, in order.
pub(super) struct Outbox {
    queue: mpsc::UnboundedSender<Vec<u8>>,
    backlog: watch::Sender<Backlog>,
}

/// How far the writing is behind.
#[derive(Debug, Default)]
struct Backlog {
    bytes: usize,
    /// The output takes nothing any more.
    broken: bool,
}

impl Outbox {
    /// A queue, and the task that writes it to `output` until the queue is dropped.
    pub(super) fn open(
        output: impl AsyncWrite + Send + Unpin + 'static,
    ) -> (Self, impl Future<Output = io::Result<()>> + Send + 'static) {
        let (queue, lines) = mpsc::unbounded_channel();
        let backlog = watch::Sender::new(Backlog::default());
        let outbox = Self { queue, backlog: backlog.clone() };
        let writing = async move {
            let result = write_lines(output, lines, &backlog).await;
            backlog.send_modify(|backlog| backlog.broken = true);
            result
        };
        (outbox, writing)
    }

    fn push(&self, message: &impl Serialize) {
        let mut line = match serde_json::to_vec(message) {
            Ok(line) => line,
            Err(error) => {
                // Every message consists of strings, finite numbers and string-keyed maps.
                tracing::error!(%error, "a message cannot be written as JSON");
                return;
            }
        };
        line.push(b'\n');
        self.backlog.send_modify(|backlog| backlog.bytes += line.len());
        // A line for a broken output goes where all the others went.
        let _ = self.queue.send(line);
    }

    /// Waits until fewer than `bytes` wait to be written, or none ever will.
    async fn below(&self, bytes: usize) {
        let mut backlog = self.backlog.subscribe();
        // The sender lives in `self`, so there always is an answer.
        let _ = backlog.wait_for(|backlog| backlog.broken || backlog.bytes < bytes).await;
    }

    fn state(&self) -> io::Result<()> {
        if self.backlog.borrow().broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

/// Writes lines as they come, several at once where they queue up.
async fn write_lines(
    output: impl AsyncWrite + Unpin,
    mut lines: mpsc::UnboundedReceiver<Vec<u8>>,
    backlog: &watch::Sender<Backlog>,
) -> io::Result<()> {
    const MOST_AT_ONCE: usize = 64;
    let mut output = BufWriter::with_capacity(64 << 10, output);
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, MOST_AT_ONCE).await > 0 {
        let mut written = 0;
        for line in batch.drain(..) {
            output.write_all(&line).await?;
            written += line.len();
        }
        output.flush().await?;
        backlog.send_modify(|backlog| backlog.bytes -= written);
    }
    output.shutdown().await
}
