//! The real server, in a process of its own, and a client that talks to it over stdin and stdout.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kami_core::registry::DataDir;
use serde_json::{Value, json};

use crate::guests::{program, without_settings};

/// The longest that anything may take which ends at all, on a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How much of the server's log is kept at least, from its end.
const KEPT_LOG: usize = 16 << 20;

/// A server with one client.
pub struct Server {
    child: Running,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Option<JoinHandle<String>>,
    last_id: u64,
    answers: HashMap<u64, Value>,
    notifications: Vec<Value>,
}

/// A child that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then both fail, and that is as it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts a server on `data`, with warnings in its log, and opens a session.
    pub fn start(data: &DataDir) -> Self {
        Self::start_in(data, &[])
    }

    /// The same, with more in its environment.
    pub fn start_in(data: &DataDir, environment: &[(&str, &str)]) -> Self {
        Self::start_with(data, &[], environment)
    }

    /// The same, with more flags.
    pub fn start_with(data: &DataDir, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::run(Command::new(program()), data, flags, environment)
    }

    /// The same, from a shell that has run `setup` before, such as `ulimit`, and becomes the server.
    #[cfg(unix)]
    pub fn start_after(setup: &str, data: &DataDir, flags: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{setup} && exec \"$0\" \"$@\"")]).arg(program());
        Self::run(command, data, flags, &[])
    }

    fn run(
        mut command: Command,
        data: &DataDir,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        command.args(["--quiet", "serve", "--data-dir"]).arg(data.path()).args(flags);
        without_settings(&mut command);
        command.env("KAMI_LOG", "warn").env("NO_COLOR", "1");
        command.envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Running(command.spawn().expect("the server starts"));
        let output = BufReader::new(child.0.stdout.take().expect("stdout is a pipe"));
        let mut stderr = child.0.stderr.take().expect("stderr is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            // The receiver is gone once the test is over.
            let _ = output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line));
        });
        let log = thread::spawn(move || {
            let (mut log, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
            // What was read before an error is worth showing too.
            while let Ok(read @ 1..) = stderr.read(&mut chunk) {
                log.extend_from_slice(&chunk[..read]);
                if log.len() > 2 * KEPT_LOG {
                    log.drain(..log.len() - KEPT_LOG);
                }
            }
            String::from_utf8_lossy(&log).into_owned()
        });
        let input = child.0.stdin.take();
        let (log, answers, notifications) = (Some(log), HashMap::new(), Vec::new());
        let mut server = Self { child, input, lines, log, last_id: 0, answers, notifications };
        let hello = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "kami-tests", "version": "1"},
        });
        server.request("initialize", &hello);
        server.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        server
    }

    /// Calls a tool and waits for its result.
    pub fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let id = self.begin(tool, arguments);
        self.result(id)
    }

    /// Sends a call, and gives its id.
    pub fn begin(&mut self, tool: &str, arguments: &Value) -> u64 {
        self.ask("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// Says that nobody waits for the result of the request `id` any more.
    pub fn cancel(&mut self, id: u64) {
        let params = json!({"requestId": id});
        self.send(
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}),
        );
    }

    /// Waits for the result of the request `id`.
    ///
    /// # Panics
    /// Where it is an error, or where the server writes anything but messages.
    pub fn result(&mut self, id: u64) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                assert!(answer.get("error").is_none(), "request {id} was answered with {answer}");
                return answer["result"].clone();
            }
            let Some((answered, message)) = self.receive(deadline) else {
                panic!("request {id} is not answered within {PATIENCE:?}");
            };
            self.answers.insert(answered, message);
        }
    }

    /// The next answer to any request, an error included, with the id of the request; `None` where
    /// none comes.
    ///
    /// # Panics
    /// Where the server writes anything but messages, or ends.
    pub fn answer(&mut self) -> Option<(u64, Value)> {
        match self.answers.keys().next().copied() {
            Some(id) => self.answers.remove_entry(&id),
            None => self.receive(Instant::now() + PATIENCE),
        }
    }

    /// Reads the next answer.
    fn receive(&mut self, deadline: Instant) -> Option<(u64, Value)> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => panic!("the server has ended"),
            };
            let message: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("the server wrote `{line}`: {error}"));
            assert_eq!(message["jsonrpc"], "2.0", "{line}");
            if let Some(id) = message["id"].as_u64() {
                let known = id <= self.last_id && !self.answers.contains_key(&id);
                assert!(known, "nobody asked for {line}");
                return Some((id, message));
            }
            assert!(message["method"].is_string(), "{line}");
            self.notifications.push(message);
        }
    }

    /// Takes the notifications that came before the last result.
    pub fn notifications(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.notifications)
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.child.0.id()
    }

    /// The most memory that the server has had so far, in bytes.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.child.0.id())
    }

    /// Ends the input, and waits for the server to end; gives how it did, and its log.
    pub fn finish(mut self) -> (ExitStatus, String) {
        drop(self.input.take());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.0.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "the server goes on without input"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        let log = self.log.take().map(|log| log.join().expect("reading does not panic"));
        (status, log.unwrap_or_default())
    }

    /// Makes a request, and waits for its result.
    pub fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.ask(method, params);
        self.result(id)
    }

    /// Sends a request, and gives its id.
    pub fn ask(&mut self, method: &str, params: &Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    fn send(&mut self, message: &Value) {
        let input = self.input.as_mut().expect("the input is open until the end");
        writeln!(input, "{message}").expect("the server reads");
    }
}

/// The text of a result, and whether it is an error.
pub fn text(result: &Value) -> (&str, bool) {
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    (text, result["isError"].as_bool().unwrap_or_default())
}

/// The most memory that a process has had so far, in bytes.
#[cfg(target_os = "linux")]
pub(crate) fn peak_memory(process: u32) -> u64 {
    crate::soak::Vitals::of(process).expect("the process runs, on Linux").peak << 10
}
