//! Lines to a server: each request gets its one answer, and nothing makes the server deaf.
//!
//! The server is the real one, with a tool that gives back its arguments. The lines are read a
//! second time, naively, to know which answers there have to be.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use kami_core::component::Artifact;
use kami_core::grants::Grant;
use kami_core::mcp::{Server, ServerOptions};
use kami_core::registry::{DataDir, InstallOptions, Registry};
use kami_core::resolve::{HostOptions, Resolver};
use kami_core::signing::{SignedArtifact, TrustStore, Unsigned};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::examples;

/// The longest that a server may take over a few lines, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends `bytes` to a server, and then a request that it has to answer.
///
/// # Panics
/// Where an answer is missing, is one too many, is no message, or answers nobody.
pub fn check(bytes: &[u8]) {
    let ping = unused_id(bytes);
    let mut input = bytes.to_vec();
    let last = json!({"jsonrpc": "2.0", "id": ping, "method": "ping"});
    input.extend(format!("\n{last}\n").as_bytes());

    let output = SCENE.runtime.block_on(async {
        let conversation = tokio::time::timeout(PATIENCE, SCENE.converse(&input));
        conversation.await.expect("the server comes to an end")
    });
    let output = String::from_utf8(output).expect("the server writes text");
    assert!(output.ends_with('\n') && !output.contains("\n\n"), "{output:?}");
    let mut answers = Answers::default();
    for line in output.lines() {
        answers.take(line);
    }
    assert_eq!(answers.by_id.remove(&canonical(&json!(ping).to_string())), Some(1), "{output}");
    Expected::read(bytes).check(&answers);
}

/// A registry with one tool, and where its servers run.
struct Scene {
    resolver: Arc<Resolver>,
    runtime: Runtime,
    _directory: tempfile::TempDir,
}

/// One for all inputs: a server keeps nothing from one connection to the next.
static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let data = DataDir::new(directory.path().join("data"));
    data.create().expect("the data directory can be made");
    let artifact = Artifact::parse(Arc::clone(examples::artifact(0, None).bytes()));
    let artifact = artifact.expect("it is an artifact");
    let unsigned = SignedArtifact::verify(
        artifact,
        &TrustStore::default(),
        Unsigned::Allow,
        SystemTime::now(),
    );
    let unsigned = unsigned.expect("it may be unsigned");
    let mut registry = Registry::open(&data).expect("the registry can be made");
    registry
        .install(&unsigned, &Grant::default(), &InstallOptions::default())
        .expect("it can be installed");
    let resolver = Resolver::open(&data, HostOptions::default());
    let resolver = Arc::new(resolver.expect("the registry can be read"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Scene { resolver, runtime: runtime.expect("a runtime starts"), _directory: directory }
});

impl Scene {
    /// Says `input` to a new server, and gives all that it answers.
    async fn converse(&self, input: &[u8]) -> Vec<u8> {
        let options = ServerOptions { watch_interval: PATIENCE, ..ServerOptions::default() };
        let server = Server::new(Arc::clone(&self.resolver), options);
        let (client, stream) = tokio::io::duplex(1 << 16);
        let (server_input, server_output) = tokio::io::split(stream);
        let serving = server.serve_stdio(server_input, server_output, std::future::pending());
        let (mut from_server, mut to_server) = tokio::io::split(client);
        let sending = async {
            to_server.write_all(input).await.expect("the server reads");
            to_server.shutdown().await.expect("the server is there");
        };
        let mut output = Vec::new();
        let receiving = from_server.read_to_end(&mut output);
        let (served, (), received) = tokio::join!(serving, sending, receiving);
        served.expect("the server ends well");
        received.expect("the server writes");
        output
    }
}

/// An id that no line has.
fn unused_id(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut id = "the last".to_owned();
    while text.contains(&id) {
        id.push('!');
    }
    id
}

/// One spelling for each id; what is too large for a number here keeps its own.
fn canonical(id: &str) -> String {
    serde_json::from_str::<Value>(id).map_or_else(|_| id.to_owned(), |value| value.to_string())
}

/// What the server said.
#[derive(Debug, Default)]
struct Answers {
    by_id: HashMap<String, usize>,
    /// Errors that answer a line without an id.
    anonymous: usize,
}

impl Answers {
    fn take(&mut self, line: &str) {
        let message: HashMap<String, &RawValue> = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("the server wrote `{line}`: {error}"));
        let get = |name: &str| message.get(name).map(|value| value.get());
        assert_eq!(get("jsonrpc"), Some("\"2.0\""), "{line}");
        let Some(id) = get("id") else {
            assert!(get("method").is_some_and(|method| method.starts_with('"')), "{line}");
            return;
        };
        assert!(get("method").is_none(), "the server asks something: {line}");
        assert!(get("result").is_some() != get("error").is_some(), "{line}");
        if id == "null" {
            assert!(get("error").is_some(), "{line}");
            self.anonymous += 1;
        } else {
            *self.by_id.entry(canonical(id)).or_default() += 1;
        }
    }
}

/// Which answers there have to be.
#[derive(Debug, Default)]
struct Expected {
    /// How many requests there are of each id.
    requests: HashMap<String, usize>,
    /// How many lines are no message, and say so without doubt.
    nonsense: usize,
    /// How many lines may or may not be answered, and by which id is not clear.
    doubtful: usize,
    /// Requests that were called off, and may be answered or not.
    cancelled: Vec<String>,
}

impl Expected {
    fn read(bytes: &[u8]) -> Self {
        let mut expected = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line).trim_ascii();
            if !line.is_empty() {
                expected.line(line);
            }
        }
        expected
    }

    fn line(&mut self, line: &[u8]) {
        if !line.starts_with(b"{") {
            self.nonsense += 1;
            return;
        }
        // What is nested too deep for this reading, or says something twice, is in doubt.
        let message = serde_json::from_slice(line).map(Members::once);
        let Ok(Some(message)) = message else {
            self.doubtful += 1;
            return;
        };
        let is_request = message.get("jsonrpc").is_some_and(|version| version == "2.0")
            && message.get("method").is_some_and(Value::is_string);
        match message.get("id") {
            Some(id) if is_request && (id.is_string() || id.is_i64()) => {
                *self.requests.entry(id.to_string()).or_default() += 1;
            }
            None if is_request => {
                let cancelled = message.get("params").and_then(|params| params.get("requestId"));
                self.cancelled.extend(cancelled.map(Value::to_string));
            }
            _ => self.doubtful += 1,
        }
    }

    fn check(&self, answers: &Answers) {
        let total = answers.by_id.values().sum::<usize>() + answers.anonymous;
        let requests = self.requests.values().sum::<usize>();
        assert!(total <= requests + self.nonsense + self.doubtful, "{self:?} {answers:?}");
        assert!(answers.anonymous >= self.nonsense, "{self:?} {answers:?}");
        for (id, asked) in &self.requests {
            let answered = answers.by_id.get(id).copied().unwrap_or(0);
            // Of several under one id, those that come too early are refused without it.
            let least = usize::from(!self.cancelled.contains(id));
            assert!(answered >= least, "`{id}` is not answered: {self:?} {answers:?}");
            let most = asked + self.doubtful;
            assert!(answered <= most, "`{id}` is answered too often: {self:?} {answers:?}");
        }
        let unasked = answers.by_id.keys().filter(|id| !self.requests.contains_key(*id)).count();
        assert!(unasked <= self.doubtful, "nobody asked: {self:?} {answers:?}");
    }
}

/// The members of an object, as often as they stand there.
struct Members(Vec<(String, Value)>);

impl Members {
    /// The object, where none stands there twice.
    fn once(self) -> Option<HashMap<String, Value>> {
        let count = self.0.len();
        let members: HashMap<_, _> = self.0.into_iter().collect();
        (members.len() == count).then_some(members)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        from.deserialize_map(Reader)
    }
}

/// Conversations of both eras, and lines that break the rules.
pub fn examples() -> Vec<Vec<u8>> {
    let client = json!({"name": "x", "version": "1"});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}});
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let call = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {
        "name": "t", "arguments": {"x": [1, null, "é"]}, "_meta": {"progressToken": 1}}});
    let level = json!({"jsonrpc": "2.0", "id": 2, "method": "logging/setLevel",
        "params": {"level": "debug"}});
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": "a", "reason": "r"}});
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    let stateless = |id: u64, method: &str, mut params: Value| {
        params["_meta"] = meta.clone();
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    };
    let discover = stateless(3, "server/discover", json!({}));
    let call_too = stateless(4, "tools/call", json!({"name": "t", "arguments": {}}));
    let listen =
        stateless(5, "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    let rules = "{\n[]\n\"x\"\n{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}\n{\"id\":7}\n\
         {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"no/such\"}\n{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{}}";
    [
        format!("{hello}\n{ready}\n{list}\n{call}\n{cancel}\n{level}\n{call}"),
        format!("{discover}\n{call_too}\n{listen}"),
        format!("{list}\n{hello}"),
        rules.to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}
