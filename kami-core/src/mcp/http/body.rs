//! The body of a reply: whole, or a stream of events.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use super::backlog::Account;
use super::standing::Standing;
use super::streams::Pace;

/// How often a stream without news says that it is still there, for proxies in between.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How much of a reply is given at a time over HTTP/2, where it is seen by that whether its client takes
/// it.
const PART: usize = 16 << 10;

/// The body of a reply.
pub(super) struct ReplyBody {
    content: Content,
    /// How it is taken, over HTTP/2.
    taken: Option<Taken>,
}

enum Content {
    /// All of it, or what is left; `None` once it is taken.
    Whole(Option<Bytes>),
    /// As it comes.
    Events(Box<Events>),
}

/// How a client takes a reply over HTTP/2.
pub(super) struct Taken {
    pub(super) account: Arc<Account>,
    pub(super) pace: Arc<Pace>,
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
    /// For how long whoever reads them may.
    standing: Option<Standing>,
}

impl ReplyBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { content: Content::Whole(Some(bytes)), taken: None }
    }

    /// Events for `first`, for the messages that come while `work` is done, and for what it gives.
    pub(super) fn events(
        first: Option<Vec<u8>>,
        messages: mpsc::UnboundedReceiver<Vec<u8>>,
        work: Task,
    ) -> Self {
        let silence = Box::pin(tokio::time::sleep(KEEP_ALIVE));
        let (work, last, standing) = (Some(work), None, None);
        let events = Events { first, messages, work, last, silence, standing };
        Self { content: Content::Events(Box::new(events)), taken: None }
    }

    /// The same without anything in it.
    pub(super) fn emptied(self) -> Self {
        Self { content: Content::Whole(None), ..self }
    }

    /// How many bytes there are, if that is known.
    pub(super) fn length(&self) -> Option<usize> {
        match &self.content {
            Content::Whole(bytes) => Some(bytes.as_ref().map_or(0, Bytes::len)),
            Content::Events(_) => None,
        }
    }

    /// Has a stream of events end where whoever reads it may not do so any more.
    pub(super) fn lasts_while(&mut self, standing: impl FnOnce() -> Standing) {
        if let Content::Events(events) = &mut self.content {
            events.standing = Some(standing());
        }
    }

    /// Counts what is not taken.
    pub(super) fn is_taken(&mut self, taken: Taken) {
        if let Content::Whole(whole) = &mut self.content {
            *whole = whole.take().map(|bytes| taken.account.count(bytes));
            if whole.is_none() {
                taken.pace.done();
            }
        }
        self.taken = Some(taken);
    }
}

impl Events {
    /// Whether something may be said; otherwise nothing more is.
    fn still(&mut self) -> bool {
        let holds = self.standing.as_mut().is_none_or(Standing::still_holds);
        if !holds {
            (self.first, self.last, self.work) = (None, None, None);
            self.messages.close();
        }
        holds
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.standing.as_mut().is_some_and(|standing| standing.is_over(context)) {
            self.work = None;
            return Poll::Ready(None);
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(self.still().then(|| event(&first)));
        }
        loop {
            let said = match self.messages.poll_recv(context) {
                Poll::Ready(said) => said,
                Poll::Pending => None,
            };
            if let Some(said) = said {
                if !self.still() {
                    return Poll::Ready(None);
                }
                self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
                return Poll::Ready(Some(event(&said)));
            }
            let Some(work) = &mut self.work else {
                let last = self.last.take();
                return Poll::Ready(last.filter(|_| self.still()).map(|last| event(&last)));
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
        let Self { content, taken } = self.get_mut();
        if let Some(taken) = taken {
            taken.pace.asked();
            taken.account.moved();
        }
        let part = match content {
            Content::Whole(whole) => match (whole.take(), &taken) {
                (Some(mut rest), Some(_)) if rest.len() > PART => {
                    let part = rest.split_to(PART);
                    *whole = Some(rest);
                    Some(part)
                }
                (rest, _) => rest,
            },
            Content::Events(events) => match (events.poll_event(context), &taken) {
                (Poll::Ready(Some(event)), Some(taken)) => Some(taken.account.count(event)),
                (Poll::Ready(event), _) => event,
                (Poll::Pending, _) => return Poll::Pending,
            },
        };
        let over = part.is_none() || matches!(content, Content::Whole(None));
        if let Some(taken) = taken.as_ref().filter(|_| over) {
            taken.pace.done();
        }
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, |length| SizeHint::with_exact(length as u64))
    }
}
