//! What a client says first, by which it is known which version of HTTP it speaks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::listener::Stream;

/// What a client that speaks HTTP/2 says first (RFC 9113).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// Reads until it is clear which version a client speaks, and gives the connection as if nothing had
/// been read.
pub(super) async fn greeting(mut stream: Stream) -> io::Result<(Greeted, Version)> {
    let mut read = Vec::with_capacity(PREFACE.len());
    let version = loop {
        let missing = PREFACE.len() - read.len();
        let more = (&mut stream).take(missing as u64).read_buf(&mut read).await?;
        if !PREFACE.starts_with(&read) || more == 0 {
            break Version::One;
        }
        if read.len() == PREFACE.len() {
            break Version::Two;
        }
    };
    Ok((Greeted { read: read.into(), stream }, version))
}

/// A connection of which the beginning was read before.
pub(super) struct Greeted {
    read: Bytes,
    stream: Stream,
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_greeting_tells_the_version_and_is_not_lost() {
        for (said, version) in [
            ("GET / HTTP/1.1\r\n\r\n", Version::One),
            ("POST /mcp HTTP/1.1\r\n\r\n", Version::One),
            ("PRI", Version::One),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Version::One),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", Version::Two),
            ("", Version::One),
        ] {
            let (mut client, server) = tokio::io::duplex(3);
            let says = tokio::spawn(async move { client.write_all(said.as_bytes()).await });
            let (mut greeted, told) = greeting(Box::pin(server)).await.unwrap();
            let mut heard = String::new();
            greeted.read_to_string(&mut heard).await.unwrap();
            says.await.unwrap().unwrap();
            assert_eq!((heard.as_str(), told), (said, version));
        }
    }
}
