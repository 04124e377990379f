//! HTTP/2 by hand, for what no honest client sends.

use std::io::{ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::server::PATIENCE;

/// Kinds of frames (RFC 9113).
pub const DATA: u8 = 0;
/// The head of a request or reply.
pub const HEADERS: u8 = 1;
/// What a stream depends on, which nobody heeds any more.
pub const PRIORITY: u8 = 2;
/// A stream is given up.
pub const RST_STREAM: u8 = 3;
/// What a side can do.
pub const SETTINGS: u8 = 4;
/// Whether somebody is there.
pub const PING: u8 = 6;
/// The connection ends.
pub const GOAWAY: u8 = 7;
/// More may be sent.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a head.
pub const CONTINUATION: u8 = 9;

/// The stream ends with this frame.
pub const END_STREAM: u8 = 1;
/// The head ends with this frame.
pub const END_HEADERS: u8 = 4;
/// This answers a frame.
pub const ACK: u8 = 1;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection.
pub struct Frames(TcpStream);

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// What is said about it.
    pub flags: u8,
    /// What it is about; 0 for the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// A frame, as it is written.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head, with no field in a table and none packed.
pub fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in fields {
        head.push(0);
        for text in [name, value] {
            // A length beyond 126 goes on in groups of seven bits.
            match text.len() {
                short @ ..127 => head.push(u8::try_from(short).expect("it is short")),
                long => {
                    head.push(127);
                    let mut rest = long - 127;
                    while rest >= 128 {
                        head.push(u8::try_from(rest % 128).expect("it is small") | 128);
                        rest /= 128;
                    }
                    head.push(u8::try_from(rest).expect("it is small"));
                }
            }
            head.extend_from_slice(text.as_bytes());
        }
    }
    head
}

/// The head of a request to `/mcp`, with some fields more.
pub fn post<'a>(more: &[(&'a str, &'a str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/mcp"),
        (":authority", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    head(&[&usual[..], more].concat())
}

impl Frames {
    /// Connects, with some settings: each an identifier and a value.
    ///
    /// # Panics
    /// Where nobody listens.
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is more than nothing");
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat();
        stream.write_all(&hello).expect("the server reads");
        Self(stream)
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.0
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Errors
    /// Where the server takes no more.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes)
    }

    /// Makes a request whose body is `body`.
    ///
    /// # Errors
    /// Where the server takes no more.
    pub fn ask(&mut self, stream: u32, fields: &[(&str, &str)], body: &str) -> Result<()> {
        let head = frame(HEADERS, END_HEADERS, stream, &post(fields));
        let body = frame(DATA, END_STREAM, stream, body.as_bytes());
        self.send(&[head, body].concat())
    }

    /// The next frame; `None` at the end of the connection.
    ///
    /// # Panics
    /// Where nothing comes for longer than anything should take.
    pub fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let mut fill = |bytes: &mut [u8]| match self.0.read_exact(bytes) {
            Ok(()) => true,
            Err(error) => {
                let waits = [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind());
                assert!(!waits, "the server says nothing");
                false
            }
        };
        if !fill(&mut head) {
            return None;
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if !fill(&mut payload) {
            return None;
        }
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// Reads to the end of the connection, and gives the reason that the server gave.
    pub fn reason(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.read() {
            if frame.kind == GOAWAY {
                let code = frame.payload.get(4..8).and_then(|code| code.try_into().ok());
                reason = code.map(u32::from_be_bytes);
            }
        }
        reason
    }

    /// Reads the body of the reply on a stream, and answers what has to be answered meanwhile; `None`
    /// where the stream or connection ends before.
    pub fn body(&mut self, stream: u32) -> Option<String> {
        let mut body = Vec::new();
        loop {
            let read = self.read()?;
            match (read.kind, read.stream == stream) {
                (DATA, true) => body.extend_from_slice(&read.payload),
                (RST_STREAM, true) => return None,
                (SETTINGS | PING, _) => self.acknowledge(&read),
                _ => {}
            }
            let over = [DATA, HEADERS].contains(&read.kind) && read.flags & END_STREAM != 0;
            if over && read.stream == stream {
                return String::from_utf8(body).ok();
            }
        }
    }

    /// Answers what has to be answered.
    pub fn acknowledge(&mut self, read: &Frame) {
        if read.flags & ACK == 0 && [SETTINGS, PING].contains(&read.kind) {
            let payload = if read.kind == PING { &read.payload[..] } else { &[] };
            // The server may have closed the connection meanwhile.
            let _ = self.send(&frame(read.kind, ACK, 0, payload));
        }
    }
}
