//! The standard input of this process.
//!
//! A client that has its answer often sends the next request at once. On an idle machine, the system
//! then takes several times as long to wake the thread that waits for it as that takes to answer. So
//! the thread looks for the next message itself for a moment, if the last one came as soon, and if
//! the client has a core of its own meanwhile.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rmcp::transport::io::StdioReader;
use tokio::io::{AsyncRead, ReadBuf};

/// The standard input.
pub(super) enum Stdin {
    /// A pipe, as MCP clients make one.
    #[cfg(target_os = "linux")]
    Pipe(attentive::Pipe),
    /// Anything else.
    Other(StdioReader),
}

impl Stdin {
    /// Prefers a pipe over `other`, which reads the same.
    pub(super) fn or(other: StdioReader) -> Self {
        #[cfg(target_os = "linux")]
        if let Some(pipe) = attentive::Pipe::stdin() {
            return Self::Pipe(pipe);
        }
        Self::Other(other)
    }
}

impl AsyncRead for Stdin {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            #[cfg(target_os = "linux")]
            Self::Pipe(pipe) => pipe.poll(context, buffer),
            Self::Other(other) => Pin::new(other).poll_read(context, buffer),
        }
    }
}

#[cfg(target_os = "linux")]
mod attentive {
    use std::hint::spin_loop;
    use std::time::{Duration, Instant};

    use rustix::io::Errno;
    use tokio::net::unix::pipe::{OpenOptions, Receiver};

    use super::*;

    /// How long the next message is looked for: what it takes a client to wake up, and to write one.
    const ATTENTION: Duration = Duration::from_micros(100);

    /// How often a thread pauses between two looks.
    const PAUSES: usize = 16;

    /// A pipe whose reader stays awake for a moment.
    pub(in super::super) struct Pipe {
        pipe: Receiver,
        /// Whether there is a core for the client meanwhile.
        able: bool,
        /// When there was nothing to read.
        waiting_since: Option<Instant>,
        /// Whether what was read last came within [`ATTENTION`].
        lively: bool,
    }

    impl Pipe {
        /// The standard input, opened anew: only so is it without blocking for this reader alone.
        pub(super) fn stdin() -> Option<Self> {
            let pipe = OpenOptions::new().open_receiver("/proc/self/fd/0").ok()?;
            let able = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
            Some(Self { pipe, able, waiting_since: None, lively: false })
        }

        pub(super) fn poll(
            &mut self,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let ready @ Poll::Ready(_) = Pin::new(&mut self.pipe).poll_read(context, buffer) {
                self.was_read();
                return ready;
            }
            // Looked for once, and then waited for.
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            while self.able && self.lively && since.elapsed() < ATTENTION {
                match rustix::io::read(&self.pipe, buffer.initialize_unfilled()) {
                    Err(Errno::AGAIN | Errno::INTR) => (0..PAUSES).for_each(|_| spin_loop()),
                    read => {
                        buffer.advance(read?);
                        self.was_read();
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            Poll::Pending
        }

        fn was_read(&mut self) {
            if let Some(since) = self.waiting_since.take() {
                self.lively = since.elapsed() < 2 * ATTENTION;
            }
        }
    }
}
