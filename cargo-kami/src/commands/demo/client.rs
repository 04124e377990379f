//! A small MCP client that talks to the real server, as a child process, over its stdin and stdout.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use kami_core::registry::DataDir;
use serde_json::{Value, json};

/// How long the server may take to end once its input has ended.
const FAREWELL: Duration = Duration::from_secs(10);

pub struct Client {
    server: Server,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    last_id: u64,
}

/// The child, which does not outlive its parent's interest in it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then both fail, and that is as it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What came back from a call.
pub struct Reply {
    pub result: Value,
    pub round_trip: Duration,
    pub inside: Option<Duration>,
}

impl Client {
    /// Starts the server on `data`.
    pub fn start(data: &DataDir) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut server = Command::new(program);
        // What this person has set for servers of their own is not for this one.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"KAMI_") {
                server.env_remove(name);
            }
        }
        let mut server = server
            .args(["--quiet", "serve", "--stats", "--data-dir"])
            .arg(data.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map(Server)
            .context("starting the server")?;
        let input = server.0.stdin.take().context("the server has no stdin")?;
        let output = server.0.stdout.take().context("the server has no stdout")?;
        Ok(Self { server, input, output: BufReader::new(output).lines(), last_id: 0 })
    }

    /// Opens the session; gives the server's name and version.
    pub fn initialize(&mut self) -> anyhow::Result<String> {
        let hello = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "kami-demo", "version": env!("CARGO_PKG_VERSION")},
        });
        let answer = self.request("initialize", hello)?;
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let (name, version) = (&answer["serverInfo"]["name"], &answer["serverInfo"]["version"]);
        Ok(format!(
            "{} {}, protocol {}",
            text(name),
            text(version),
            text(&answer["protocolVersion"])
        ))
    }

    /// The names of the tools.
    pub fn list_tools(&mut self) -> anyhow::Result<Vec<String>> {
        let answer = self.request("tools/list", json!({}))?;
        let tools = answer["tools"].as_array().context("tools/list gave no list")?;
        Ok(tools.iter().filter_map(|tool| tool["name"].as_str()).map(str::to_owned).collect())
    }

    /// Calls a tool.
    pub fn call(&mut self, tool: &str, arguments: &Value) -> anyhow::Result<Reply> {
        let started = Instant::now();
        let result = self.request("tools/call", json!({"name": tool, "arguments": arguments}))?;
        let round_trip = started.elapsed();
        let inside = result["_meta"]["dev.kami/stats"]["insideMicros"].as_u64();
        Ok(Reply { result, round_trip, inside: inside.map(Duration::from_micros) })
    }

    /// Ends the input; the server must then end by itself, and well.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self { mut server, input, .. } = self;
        drop(input);
        let started = Instant::now();
        while started.elapsed() < FAREWELL {
            if let Some(status) = server.0.try_wait()? {
                ensure!(status.success(), "the server ended with {status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the server goes on after its input has ended")
    }

    fn request(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        loop {
            let line = self.output.next().context("the server ended without an answer")??;
            let mut message: Value = serde_json::from_str(&line)
                .with_context(|| format!("the server wrote `{line}`"))?;
            if message["id"] != id {
                continue;
            }
            if let Some(error) = message.get("error") {
                bail!("{method} was answered with {error}");
            }
            return Ok(message["result"].take());
        }
    }

    fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        writeln!(self.input, "{message}").context("writing to the server")
    }
}
