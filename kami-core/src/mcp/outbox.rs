//! The way out: messages in the order in which they were given, one per line.
//!
//! Whoever gives a message writes it at once, without waking another task, as long as the output
//! takes it; messages that come meanwhile are written by whoever writes already. What the output
//! does not take is left to a task that waits for it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::wire::{Wire, json};

/// The queue of lines to write. Clones are the same queue.
#[derive(Clone)]
pub(super) struct Outbox(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Told when the task has to do something.
    left_over: Notify,
    /// Told when less waits to be written.
    written: Notify,
}

type Output = Box<dyn AsyncWrite + Send + Unpin>;

struct State {
    /// Absent while somebody writes.
    output: Option<Output>,
    /// The output, with what it did not take, for the task to go on with.
    left_over: Option<(Output, Vec<u8>)>,
    /// What came while somebody wrote.
    queue: Vec<u8>,
    /// How much is not written yet, of all of it.
    backlog: usize,
    /// Nothing more is to come.
    closed: bool,
    /// The output takes nothing any more.
    broken: bool,
}

impl Outbox {
    /// A queue, and the task that helps to write it to `output`, until it is closed.
    pub(super) fn open(
        output: impl AsyncWrite + Send + Unpin + 'static,
    ) -> (Self, impl Future<Output = io::Result<()>> + Send + 'static) {
        let state = State {
            output: Some(Box::new(output)),
            left_over: None,
            queue: Vec::new(),
            backlog: 0,
            closed: false,
            broken: false,
        };
        let shared =
            Shared { state: Mutex::new(state), left_over: Notify::new(), written: Notify::new() };
        let outbox = Self(Arc::new(shared));
        (outbox.clone(), async move {
            let result = outbox.0.help().await;
            if result.is_err() {
                outbox.0.break_off();
            }
            result
        })
    }

    /// Gives a message.
    pub(super) fn push(&self, message: &impl Serialize) {
        self.send(json(message));
    }

    /// Gives a message that need not be written before [`Self::write`] is called.
    pub(super) fn queue(&self, mut message: Vec<u8>) {
        message.push(b'\n');
        let mut state = self.0.lock();
        if !state.broken && !state.closed {
            state.backlog += message.len();
            state.queue.append(&mut message);
        }
    }

    /// Writes what was queued.
    pub(super) fn write(&self) {
        let mut state = self.0.lock();
        if state.queue.is_empty() {
            return;
        }
        if let Some(output) = state.output.take() {
            let queue = std::mem::take(&mut state.queue);
            drop(state);
            self.0.write_on(output, queue);
        }
    }

    /// Waits until fewer than `bytes` wait to be written, or none ever will.
    pub(super) async fn below(&self, bytes: usize) {
        loop {
            let mut written = std::pin::pin!(self.0.written.notified());
            // From here on, nothing is missed that happens before it is waited for.
            written.as_mut().enable();
            if self.is_below(bytes) {
                return;
            }
            written.await;
        }
    }

    /// Whether fewer than `bytes` wait to be written, or none ever will.
    pub(super) fn is_below(&self, bytes: usize) -> bool {
        let state = self.0.lock();
        state.broken || state.backlog < bytes
    }

    /// Whether the output still takes anything.
    pub(super) fn state(&self) -> io::Result<()> {
        if self.0.lock().broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// Ends the task once everything is written; what is given from now on goes nowhere.
    pub(super) fn close(&self) {
        self.0.lock().closed = true;
        self.0.left_over.notify_one();
    }
}

impl Wire for Outbox {
    fn send(&self, mut message: Vec<u8>) {
        message.push(b'\n');
        self.0.take(message);
    }
}

/// How much of a chunk was taken.
enum Taken {
    All,
    /// The output takes no more for now, as the task will see for itself.
    UpTo(usize),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.broken || state.closed {
            // A line for a broken output goes where all the others went.
            return;
        }
        state.backlog += line.len();
        if state.output.is_none() || !state.queue.is_empty() {
            state.queue.extend_from_slice(&line);
        }
        let Some(output) = state.output.take() else { return };
        let chunk = if state.queue.is_empty() { line } else { std::mem::take(&mut state.queue) };
        drop(state);
        self.write_on(output, chunk);
    }

    /// Writes `chunk`, and what comes meanwhile, as far as the output takes it.
    fn write_on(&self, mut output: Output, mut chunk: Vec<u8>) {
        loop {
            match write_now(&mut output, &chunk) {
                Ok(Taken::All) => {}
                Ok(Taken::UpTo(taken)) => {
                    let mut state = self.lock();
                    state.backlog -= taken;
                    chunk.drain(..taken);
                    state.left_over = Some((output, chunk));
                    drop(state);
                    self.left_over.notify_one();
                    self.written.notify_waiters();
                    return;
                }
                Err(_) => {
                    // The task meets the same error, and tells it.
                    self.lock().left_over = Some((output, chunk));
                    self.left_over.notify_one();
                    return;
                }
            }
            let mut state = self.lock();
            state.backlog -= chunk.len();
            let closed = state.closed;
            if state.queue.is_empty() {
                state.output = Some(output);
                drop(state);
                self.written.notify_waiters();
                if closed {
                    self.left_over.notify_one();
                }
                return;
            }
            chunk.clear();
            std::mem::swap(&mut chunk, &mut state.queue);
            drop(state);
            self.written.notify_waiters();
        }
    }

    /// Writes what is left over, as often as something is, until the queue is closed and empty.
    async fn help(&self) -> io::Result<()> {
        loop {
            self.left_over.notified().await;
            let (left_over, idle) = {
                let mut state = self.lock();
                let left_over = state.left_over.take();
                let idle =
                    if left_over.is_none() && state.closed { state.output.take() } else { None };
                (left_over, idle)
            };
            if let Some(mut output) = idle {
                return output.shutdown().await;
            }
            if let Some((mut output, chunk)) = left_over {
                output.write_all(&chunk).await?;
                output.flush().await?;
                self.lock().backlog -= chunk.len();
                self.write_on(output, Vec::new());
            }
        }
    }

    fn break_off(&self) {
        let mut state = self.lock();
        state.broken = true;
        state.queue = Vec::new();
        drop(state);
        self.written.notify_waiters();
    }
}

/// Writes as much of `chunk` as `output` takes without waiting.
fn write_now(output: &mut Output, chunk: &[u8]) -> io::Result<Taken> {
    let mut context = Context::from_waker(Waker::noop());
    let mut taken = 0;
    while taken < chunk.len() {
        match Pin::new(&mut *output).poll_write(&mut context, &chunk[taken..]) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => taken += written,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(Taken::UpTo(taken)),
        }
    }
    match Pin::new(output).poll_flush(&mut context) {
        Poll::Ready(flushed) => flushed.map(|()| Taken::All),
        Poll::Pending => Ok(Taken::UpTo(taken)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, duplex};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn lines_of_many_arrive_whole_through_a_narrow_output() {
        const PUSHERS: usize = 8;
        const LINES: usize = 200;
        // Narrower than a line, so that the task has to help.
        let (mut reader, output) = duplex(7);
        let (outbox, writing) = Outbox::open(output);
        let writing = tokio::spawn(writing);
        let pushers = (0..PUSHERS).map(|pusher| {
            let outbox = outbox.clone();
            tokio::task::spawn_blocking(move || {
                (0..LINES).for_each(|line| outbox.push(&(pusher, line)));
            })
        });
        let pushers: Vec<_> = pushers.collect();
        let closing = tokio::spawn(async move {
            for pusher in pushers {
                pusher.await.unwrap();
            }
            outbox.below(1).await;
            outbox.close();
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        closing.await.unwrap();
        writing.await.unwrap().unwrap();

        let mut next = [0; PUSHERS];
        for line in text.lines() {
            let (pusher, line): (usize, usize) = serde_json::from_str(line).unwrap();
            assert_eq!(next[pusher], line, "in the order in which each gave them");
            next[pusher] += 1;
        }
        assert_eq!(next, [LINES; PUSHERS]);
    }

    #[tokio::test]
    async fn a_broken_output_keeps_nobody_waiting() {
        let (reader, output) = duplex(1);
        let (outbox, writing) = Outbox::open(output);
        drop(reader);
        outbox.push(&"lost");
        assert!(writing.await.is_err());
        outbox.below(1).await;
        assert!(outbox.state().is_err());
    }

    #[tokio::test]
    async fn what_is_given_before_the_end_is_written_after_it() {
        let (mut reader, output) = duplex(1);
        let (outbox, writing) = Outbox::open(output);
        outbox.push(&"kept");
        outbox.close();
        outbox.push(&"late");
        let writing = tokio::spawn(writing);
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!(text, "\"kept\"\n");
    }
}
