//! What a guest writes to its stdout and stderr: kept, bounded, and shown to the operator only.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The most bytes that a guest may write before the stream makes it wait for the host.
const WRITE_PERMIT: usize = 64 << 10;

/// The end of what a guest wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The last bytes, as text; what is not UTF-8 is replaced.
    pub text: String,
    /// How many bytes came before them and were dropped.
    pub dropped: u64,
}

/// An output stream that keeps the last bytes, as many as it may, and drops the rest.
///
/// Dropping rather than failing: a tool that logs a lot is not broken, and its panic comes last.
#[derive(Clone)]
pub(crate) struct Capture {
    limit: usize,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    bytes: VecDeque<u8>,
    dropped: u64,
}

impl Capture {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, kept: Arc::default() }
    }

    pub(crate) fn take(&self) -> Captured {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = std::mem::take(&mut kept.bytes).into();
        Captured { text: String::from_utf8_lossy(&bytes).into_owned(), dropped: kept.dropped }
    }

    fn append(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let new = &bytes[bytes.len().saturating_sub(self.limit)..];
        let overflow = (kept.bytes.len() + new.len()).saturating_sub(self.limit);
        kept.bytes.drain(..overflow);
        kept.bytes.extend(new);
        kept.dropped += (overflow + bytes.len() - new.len()) as u64;
    }
}

impl IsTerminal for Capture {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Capture {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Capture {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Capture {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_PERMIT)
    }
}

impl AsyncWrite for Capture {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_end_and_counts_the_rest() {
        const LIMIT: usize = 1000;
        let capture = Capture::new(LIMIT);
        capture.append(b"first ");
        capture.append(&vec![b'x'; LIMIT * 2]);
        capture.append(b"last");
        let captured = capture.take();
        assert_eq!(captured.text.len(), LIMIT);
        assert!(captured.text.ends_with("xlast"));
        assert_eq!(captured.dropped, (6 + LIMIT + 4) as u64);
    }
}
