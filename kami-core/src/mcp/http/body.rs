//! The body of a reply: whole, or a stream of events.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

/// How often a stream without news says that it is still there, for proxies in between.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The body of a reply.
pub(super) enum ReplyBody {
    /// All of it; `None` once it is taken.
    Whole(Option<Bytes>),
    /// As it comes.
    Events(Events),
}

/// What says the messages of a stream, and gives the last one. It ends with the stream.
pub(super) struct Task(pub(super) JoinHandle<Option<Vec<u8>>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Messages, as server-sent events.
pub(super) struct Events {
    first: Option<Vec<u8>>,
    messages: mpsc::UnboundedReceiver<Vec<u8>>,
    /// What says the messages, until it is done.
    work: Option<Task>,
    last: Option<Vec<u8>>,
    silence: Pin<Box<Sleep>>,
}

impl ReplyBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes))
    }

    /// Events for `first`, for the messages that come while `work` is done, and for what it gives.
    pub(super) fn events(
        first: Option<Vec<u8>>,
        messages: mpsc::UnboundedReceiver<Vec<u8>>,
        work: Task,
    ) -> Self {
        let silence = Box::pin(tokio::time::sleep(KEEP_ALIVE));
        Self::Events(Events { first, messages, work: Some(work), last: None, silence })
    }
}

impl Events {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(event(&first)));
        }
        loop {
            let said = match self.messages.poll_recv(context) {
                Poll::Ready(said) => said,
                Poll::Pending => None,
            };
            if let Some(said) = said {
                self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
                return Poll::Ready(Some(event(&said)));
            }
            let Some(work) = &mut self.work else {
                return Poll::Ready(self.last.take().map(|last| event(&last)));
            };
            match Pin::new(&mut work.0).poll(context) {
                Poll::Ready(last) => (self.work, self.last) = (None, last.ok().flatten()),
                Poll::Pending => break,
            }
        }
        self.silence.as_mut().poll(context).map(|()| {
            self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
            Some(Bytes::from_static(b":\n\n"))
        })
    }
}

/// A message, which has no line breaks, as an event.
fn event(message: &[u8]) -> Bytes {
    [b"event: message\ndata: ", message, b"\n\n"].concat().into()
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => {
                events.poll_event(context).map(|event| event.map(|event| Ok(Frame::data(event))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Events(_) => SizeHint::default(),
        }
    }
}
