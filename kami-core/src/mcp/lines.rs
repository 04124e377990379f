//! A byte stream cut into lines, none longer than a bound.

use std::io;

use memchr::memchr;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The most bytes that one line may have.
///
/// MCP clients send file contents as base64 in arguments, and 16 MiB carries 12 MiB of them. The
/// bound is what one client can make the server hold for an unfinished message.
pub(super) const LONGEST: usize = 16 << 20;

/// A buffer that grew beyond this for one long line is given back rather than kept.
const KEPT_CAPACITY: usize = 1 << 20;

/// Reads lines; a read that is dropped half way goes on where it was.
pub(super) struct LineReader<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    /// The line was handed out, so that the next read begins a new one.
    complete: bool,
    /// The rest of the current line is thrown away up to its end.
    skipping: bool,
}

/// What comes next in the stream.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// A line without its end.
    Text(&'a [u8]),
    /// A line of more than [`LONGEST`] bytes, reported once and then skipped.
    TooLong,
    /// The stream is over.
    End,
}

enum Step {
    More,
    Complete,
    TooLong,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(super) fn new(input: R) -> Self {
        const READ_SIZE: usize = 64 << 10;
        let input = BufReader::with_capacity(READ_SIZE, input);
        Self { input, line: Vec::new(), complete: false, skipping: false }
    }

    /// Whether a whole line was read already, so that [`Self::next`] gives it without waiting.
    pub(super) fn has_line(&self) -> bool {
        memchr(b'\n', self.input.buffer()).is_some()
    }

    /// The next line. What follows the last line end counts as a line too, unless it is empty.
    pub(super) async fn next(&mut self) -> io::Result<Line<'_>> {
        if self.complete {
            self.complete = false;
            self.line.clear();
            self.line.shrink_to(KEPT_CAPACITY);
        }
        loop {
            let available = self.input.fill_buf().await?;
            if available.is_empty() {
                if self.line.is_empty() {
                    return Ok(Line::End);
                }
                self.complete = true;
                return Ok(Line::Text(&self.line));
            }
            let end = memchr(b'\n', available);
            let content = &available[..end.unwrap_or(available.len())];
            let step = if self.skipping {
                self.skipping = end.is_none();
                Step::More
            } else if self.line.len() + content.len() > LONGEST {
                self.line.clear();
                self.skipping = end.is_none();
                Step::TooLong
            } else {
                self.line.extend_from_slice(content);
                if end.is_some() { Step::Complete } else { Step::More }
            };
            let consumed = end.map_or(available.len(), |end| end + 1);
            self.input.consume(consumed);
            match step {
                Step::More => {}
                Step::TooLong => return Ok(Line::TooLong),
                Step::Complete => {
                    self.complete = true;
                    return Ok(Line::Text(&self.line));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn read_all(input: &[u8]) -> Vec<String> {
        let mut reader = LineReader::new(input);
        let mut lines = Vec::new();
        loop {
            match reader.next().await.unwrap() {
                Line::Text(text) => lines.push(String::from_utf8_lossy(text).into_owned()),
                Line::TooLong => lines.push("<too long>".to_owned()),
                Line::End => return lines,
            }
        }
    }

    #[tokio::test]
    async fn the_last_line_needs_no_end() {
        assert_eq!(read_all(b"a\n\nb").await, ["a", "", "b"]);
        assert_eq!(read_all(b"a\n").await, ["a"]);
    }

    #[tokio::test]
    async fn a_line_may_have_the_longest_length_and_not_a_byte_more() {
        let mut input = vec![b'x'; LONGEST];
        input.extend_from_slice(b"\nshort\n");
        let lines = read_all(&input).await;
        assert_eq!((lines[0].len(), lines[1].as_str()), (LONGEST, "short"));

        input.insert(0, b'x');
        assert_eq!(read_all(&input).await, ["<too long>", "short"]);
        let endless = vec![b'x'; 3 * LONGEST];
        assert_eq!(read_all(&endless).await, ["<too long>"]);
    }

    #[tokio::test]
    async fn a_dropped_read_loses_nothing() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut reader = LineReader::new(server);
        client.write_all(b"one ").await.unwrap();
        {
            let mut next = std::pin::pin!(reader.next());
            let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx)));
            assert!(poll.await.is_pending());
        }
        client.write_all(b"line\n").await.unwrap();
        assert_eq!(reader.next().await.unwrap(), Line::Text(b"one line"));
    }
}
