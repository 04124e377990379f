//! The real server over HTTP, in a process of its own, and raw requests to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kami_core::registry::DataDir;
use serde_json::{Value, json};

use crate::guests::program;
use crate::server::PATIENCE;
#[cfg(target_os = "linux")]
use crate::soak::Vitals;

/// The revision of the protocol in which each request stands for itself.
const VERSION: &str = "2026-07-28";

/// How much of a server's log is kept, from its end.
const KEPT_LOG: usize = 4 << 20;

/// A server that listens on a port of this machine.
pub struct Door {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<u8>>>,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    /// The body, without what HTTP puts around its chunks.
    pub body: String,
}

impl Door {
    /// Starts a server on `data`.
    ///
    /// # Panics
    /// Where it does not say where it listens.
    pub fn start(data: &DataDir) -> Self {
        Self::start_with(data, &[])
    }

    /// The same, with more flags.
    ///
    /// # Panics
    /// Where it does not say where it listens.
    pub fn start_with(data: &DataDir, flags: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", data, flags, "warn")
    }

    /// The same, at an address, with as much in its log as is said.
    ///
    /// # Panics
    /// Where it does not say where it listens.
    pub fn start_at(address: &str, data: &DataDir, flags: &[&str], log: &str) -> Self {
        let mut command = Command::new(program());
        command.args(["serve", "--http", address, "--data-dir"]).arg(data.path()).args(flags);
        command.env("KAMI_LOG", log).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            let read = stderr.read_line(&mut line).expect("the server talks");
            assert!(read > 0, "the server ended before it listened");
            let rest = line.split_once("http://").and_then(|(_, rest)| rest.split_once("/mcp"));
            if let Some((address, _)) = rest {
                break address.parse().expect("it is an address");
            }
        };
        // Somebody has to read on, or the server would wait for it.
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            while let Ok(read @ 1..) = stderr.read(&mut chunk) {
                let mut kept = kept.lock().expect("nobody panics over a log");
                kept.extend_from_slice(&chunk[..read]);
                let old = kept.len().saturating_sub(KEPT_LOG);
                kept.drain(..old);
            }
        });
        Self { child, address, log }
    }

    /// The end of what it has logged so far.
    ///
    /// # Panics
    /// Where whoever reads it has.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().expect("nobody panics over a log")).into_owned()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a connection and sends something.
    pub fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is more than nothing");
        stream.write_all(bytes).expect("the server reads");
        stream
    }

    /// Makes one request, with some headers more or other than those that a client has to send;
    /// one without a value is left out.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        Reply::read(self.send(self.request(method, path, headers, body).as_bytes()))
    }

    /// The same as text.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> String {
        let host = self.address.to_string();
        let usual = [
            ("Host", host.as_str()),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
        ];
        let repeated = repeated(body);
        let repeated = repeated.iter().map(|(name, value)| (*name, value.as_str()));
        let named = |name: &str| headers.iter().any(|(other, _)| *other == name);
        let usual: Vec<_> = usual.into_iter().chain(repeated).collect();
        let kept = usual.iter().filter(|(name, _)| !named(name));
        let all = kept.chain(headers.iter().filter(|(_, value)| !value.is_empty()));
        let all: String = all.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\n{all}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }

    /// Makes a request of the protocol, and gives the reply.
    pub fn post(&self, headers: &[(&str, &str)], message: &Value) -> Reply {
        self.ask("POST", "/mcp", headers, &message.to_string())
    }

    /// Opens a session in a revision that has such, and gives its id.
    ///
    /// # Panics
    /// Where there is none, or another revision is agreed on.
    pub fn open_session(&self, version: &str) -> String {
        let client = json!({"name": "kami-tests", "version": "1"});
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client});
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let opened = self.post(&[], &hello);
        assert_eq!(opened.messages()[0]["result"]["protocolVersion"], version, "{opened:?}");
        opened.header("mcp-session-id").expect("there is a session").to_owned()
    }

    /// Calls a tool, and gives its result.
    ///
    /// # Panics
    /// Where there is none.
    pub fn call(&self, tool: &str, arguments: &Value) -> Value {
        let reply = self.post(&[], &call(1, tool, arguments));
        let message = reply.messages().pop().expect("there is a reply");
        assert_eq!((reply.status, &message["id"]), (200, &json!(1)), "{reply:?}");
        message["result"].clone()
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server's process holds.
    #[cfg(target_os = "linux")]
    pub fn vitals(&self) -> Vitals {
        Vitals::of(self.child.id()).expect("the server lives")
    }

    /// The most memory that the server has had so far, in bytes.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        crate::server::peak_memory(self.child.id())
    }

    /// Tells the server to end.
    ///
    /// # Panics
    /// Where its process has no id.
    pub fn terminate(&self) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("it is a process");
        // SAFETY: it sends a signal to a child that is not waited for yet, so the id is its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }

    /// Tells the server to end, and waits until it has.
    pub fn finish(mut self) -> ExitStatus {
        self.terminate();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => return status,
                None => assert!(Instant::now() < deadline, "the server goes on"),
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // It may have ended by itself; then both fail, and that is as it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The headers that repeat what a request says that stands for itself.
fn repeated(body: &str) -> Vec<(&'static str, String)> {
    let message: Value = serde_json::from_str(body).unwrap_or_default();
    let params = &message["params"];
    let version = &params["_meta"]["io.modelcontextprotocol/protocolVersion"];
    let (Some(version), Some(method)) = (version.as_str(), message["method"].as_str()) else {
        return Vec::new();
    };
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => params["taskId"].as_str(),
        _ => None,
    };
    let name = name.map(|name| ("Mcp-Name", name.to_owned()));
    let others = [("MCP-Protocol-Version", version.to_owned()), ("Mcp-Method", method.to_owned())];
    others.into_iter().chain(name).collect()
}

/// A call that stands for itself.
pub fn call(id: u64, tool: &str, arguments: &Value) -> Value {
    request(id, "tools/call", json!({"name": tool, "arguments": arguments}))
}

/// A request that stands for itself.
pub fn request(id: u64, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

impl Reply {
    /// Reads to the end of the connection.
    pub fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the server answers and closes");
        let text = String::from_utf8(bytes).expect("the server speaks UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("there is a head");
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = match head.contains("transfer-encoding: chunked") {
            true => joined(body),
            false => body.to_owned(),
        };
        Self { status: status.expect("there is a status"), head, body }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// All messages of the body, whether it is one or a stream of events.
    pub fn messages(&self) -> Vec<Value> {
        let parse = |text| serde_json::from_str(text).expect("it is JSON");
        match self.header("content-type") {
            Some("text/event-stream") => self
                .body
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .map(parse)
                .collect(),
            _ => vec![parse(&self.body)],
        }
    }
}

/// The chunks of a body, put together.
fn joined(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk has a size");
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
