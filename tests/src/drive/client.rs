//! The client of every measurement: it does little itself, so that what it sees is the server.
//!
//! It speaks the protocol's revision of 2026-07-28, in which each request stands for itself, and
//! neither builds nor parses JSON while the clock runs: requests are written around their ids, and
//! of an answer only its id is looked at, and whether it is a good one.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::samples::Samples;

/// The revision of the protocol that is spoken.
const VERSION: &str = "2026-07-28";

/// A call, to be made any number of times.
#[derive(Debug, Clone)]
pub struct Request {
    tool: String,
    /// What stands after the id.
    rest: String,
    /// No answer is shorter.
    least: usize,
}

impl Request {
    /// A call of `tool`.
    pub fn call(tool: &str, arguments: &Value) -> Self {
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta()});
        let rest = format!(r#","method":"tools/call","params":{params}}}"#);
        Self { tool: tool.to_owned(), rest, least: 0 }
    }

    /// A request for the first page of the list of tools.
    fn list() -> Self {
        let params = json!({"_meta": meta()});
        let rest = format!(r#","method":"tools/list","params":{params}}}"#);
        Self { tool: String::new(), rest, least: 0 }
    }

    /// A call of `echo`, whose answer holds as much text as the call.
    pub fn echo(bytes: usize) -> Self {
        let text: String =
            "The quick brown fox jumps over the lazy dog. ".chars().cycle().take(bytes).collect();
        let mut request = Self::call("echo", &json!({"text": text}));
        request.least = bytes;
        request
    }

    fn write(&self, id: u64, buffer: &mut Vec<u8>) {
        buffer.clear();
        write!(buffer, r#"{{"jsonrpc":"2.0","id":{id}{}"#, self.rest)
            .expect("there is room in memory");
    }

    /// Panics unless `answer` is a good one.
    fn check(&self, answer: &[u8]) {
        let head = &answer[..answer.len().min(200)];
        let tail = &answer[answer.len().saturating_sub(400)..];
        let bad = [&b"\"error\":"[..], b"\"isError\":true"]
            .into_iter()
            .any(|mark| contains(head, mark) || contains(tail, mark));
        assert!(
            !bad && answer.len() >= self.least,
            "`{}` was answered with {}",
            self.tool,
            String::from_utf8_lossy(head)
        );
    }
}

/// What every request says about the protocol and its client.
fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "drive", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A server in a process of its own, and its only client, over pipes.
pub struct Piped {
    child: Child,
    input: ChildStdin,
    output: Reader<ChildStdout>,
    line: Vec<u8>,
    last_id: u64,
}

impl Piped {
    /// Starts a server.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the server starts");
        let input = child.stdin.take().expect("stdin is a pipe");
        let output = Reader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, input, output, line: Vec::new(), last_id: 0 }
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Makes a call, and waits for its answer.
    ///
    /// # Panics
    /// Where the answer is an error, or none comes.
    pub fn call(&mut self, request: &Request) {
        self.send(request);
        let (id, answer) = self.output.message().expect("the server answers");
        assert_eq!(id, self.last_id);
        request.check(answer);
    }

    /// Makes a call any number of times, one after the other.
    pub fn one_by_one(&mut self, request: &Request, calls: usize) -> Samples {
        let mut samples = Samples::default();
        (0..calls).for_each(|_| samples.time(|| self.call(request)));
        samples
    }

    /// Makes a call any number of times, one after the other, while others are on their way.
    pub fn among(&mut self, request: &Request, calls: usize) -> Samples {
        let mut samples = Samples::default();
        (0..calls).for_each(|_| samples.time(|| self.call_among(request)));
        samples
    }

    /// Makes a call, and waits for its answer, while others are on their way.
    pub fn call_among(&mut self, request: &Request) {
        self.send(request);
        loop {
            let (id, answer) = self.output.message().expect("the server answers");
            if id == self.last_id {
                return request.check(answer);
            }
        }
    }

    /// Asks for the first page of the list of tools.
    pub fn list(&mut self) {
        self.call(&Request::list());
    }

    /// Makes a call any number of times, so that `at_once` of them are always on their way; tells how
    /// long all of them took, and each.
    pub fn at_once(
        &mut self,
        request: &Request,
        at_once: usize,
        calls: usize,
    ) -> (Duration, Samples) {
        let first = self.last_id + 1;
        let started = Instant::now();
        let (mut begun, mut samples) = (Vec::with_capacity(calls), Samples::default());
        for _ in 0..at_once.min(calls) {
            begun.push(Instant::now());
            self.send(request);
        }
        for _ in 0..calls {
            let (id, answer) = self.output.message().expect("the server answers");
            request.check(answer);
            let place = usize::try_from(id - first).expect("the id is one of this run");
            samples.push(begun[place].elapsed());
            if begun.len() < calls {
                begun.push(Instant::now());
                self.send(request);
            }
        }
        (started.elapsed(), samples)
    }

    /// Sends a call whose answer is read later, or never.
    pub fn send(&mut self, request: &Request) {
        self.last_id += 1;
        request.write(self.last_id, &mut self.line);
        self.line.push(b'\n');
        self.input.write_all(&self.line).expect("the server reads");
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // It may have ended by itself; then both fail, and that is as it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of a server, of which most are answers.
struct Reader<R> {
    input: BufReader<R>,
    line: Vec<u8>,
}

impl<R: Read> Reader<R> {
    fn new(input: R) -> Self {
        Self { input: BufReader::with_capacity(256 << 10, input), line: Vec::new() }
    }

    /// The next answer, with its id; what else the server says is passed over.
    fn message(&mut self) -> io::Result<(u64, &[u8])> {
        use std::io::BufRead as _;

        loop {
            self.line.clear();
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(id) = id_of(&self.line) {
                return Ok((id, &self.line));
            }
        }
    }
}

/// The id of an answer; every server writes it among the first members.
fn id_of(answer: &[u8]) -> Option<u64> {
    const MARK: &[u8] = b"\"id\":";
    let head = &answer[..answer.len().min(64)];
    let at = head.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let digits = head[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// A connection to a server, kept for many requests.
pub struct Http {
    stream: TcpStream,
    address: String,
    buffer: Vec<u8>,
    body: Vec<u8>,
    last_id: u64,
}

impl Http {
    /// Connects to `address`, for as long as it takes until a server listens there.
    ///
    /// # Panics
    /// Where none does within ten seconds.
    pub fn connect(address: &str) -> Self {
        let started = Instant::now();
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) => {
                    assert!(started.elapsed() < Duration::from_secs(10), "{address}: {error}");
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        };
        stream.set_nodelay(true).expect("the socket takes options");
        let address = address.to_owned();
        Self { stream, address, buffer: Vec::new(), body: Vec::new(), last_id: 0 }
    }

    /// Makes a call, and waits for its answer.
    ///
    /// # Panics
    /// Where the answer is an error, or none comes.
    pub fn call(&mut self, request: &Request) {
        self.last_id += 1;
        request.write(self.last_id, &mut self.body);
        self.buffer.clear();
        write!(
            self.buffer,
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {VERSION}\r\n\
             Mcp-Method: tools/call\r\nMcp-Name: {}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            request.tool,
            self.body.len()
        )
        .expect("there is room in memory");
        self.buffer.extend_from_slice(&self.body);
        self.stream.write_all(&self.buffer).expect("the server reads");
        let answer = self.answer().expect("the server answers");
        let body = &self.buffer[answer..];
        assert_eq!(id_of(body), Some(self.last_id), "{}", String::from_utf8_lossy(&self.buffer));
        request.check(body);
    }

    /// Reads one response into the buffer, and tells where its body begins.
    fn answer(&mut self) -> io::Result<usize> {
        const END: &[u8] = b"\r\n\r\n";
        self.buffer.clear();
        let mut chunk = [0; 64 << 10];
        let (mut body, mut length) = (0, usize::MAX);
        while self.buffer.len().saturating_sub(body) < length || body == 0 {
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&chunk[..read]);
            if body == 0
                && let Some(end) = self.buffer.windows(END.len()).position(|part| part == END)
            {
                body = end + END.len();
                length = content_length(&self.buffer[..end]).ok_or_else(|| {
                    let head = String::from_utf8_lossy(&self.buffer).into_owned();
                    io::Error::other(format!("the response has no length: {head}"))
                })?;
            }
        }
        Ok(body)
    }

    /// Makes a call any number of times, one after the other.
    pub fn one_by_one(&mut self, request: &Request, calls: usize) -> Samples {
        let mut samples = Samples::default();
        (0..calls).for_each(|_| samples.time(|| self.call(request)));
        samples
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_a_notification() {
        assert_eq!(id_of(br#"{"jsonrpc":"2.0","id":17,"result":{}}"#), Some(17));
        assert_eq!(id_of(br#"{"jsonrpc":"2.0","method":"notifications/message"}"#), None);
    }

    #[test]
    #[should_panic(expected = "`echo` was answered with")]
    fn an_answer_that_is_too_short_is_none() {
        Request::echo(1024).check(br#"{"jsonrpc":"2.0","id":17,"result":{"content":[]}}"#);
    }
}
