//! Conversations with a server over lines, as a client has them.
//!
//! Registry, sandbox and guest are real; what tools may do is the matter of other tests.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf,
};
use tokio::task::JoinHandle;

use super::{ServeError, Server, ServerOptions, lines};
use crate::auth::ToolSelection;
use crate::component::{Artifact, Component, fixtures};
use crate::grants::Grant;
use crate::registry::{DataDir, InstallOptions, Registry};
use crate::resolve::{HostOptions, Resolver};
use crate::signing::{SignedArtifact, TrustStore, Unsigned};

/// Long for a machine, short for a person who waits for a failing test.
const PATIENCE: Duration = Duration::from_secs(30);

/// A component of the first contract: it gives back the arguments `{}`, and loops for ever on others.
const GUEST: &str = r#"(component
    (core module $module
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "describe") (result i32) i32.const 0)
        (func (export "run") (param $text i32) (param $length i32) (result i32)
            (loop (br_if 0 (i32.gt_u (local.get $length) (i32.const 2))))
            (i32.store offset=4 (i32.const 0) (local.get $text))
            (i32.store offset=8 (i32.const 0) (local.get $length))
            i32.const 0))
    (core instance $core (instantiate $module))
    (func $run (param "input" string) (result (result string (error string)))
        (canon lift (core func $core "run")
            (memory (core memory $core "memory")) (realloc (core func $core "realloc"))))
    (func $describe (result string)
        (canon lift (core func $core "describe") (memory (core memory $core "memory"))))
    (instance $tool (export "run" (func $run)) (export "describe" (func $describe)))
    (export "kami:tool/tool@0.1.0" (instance $tool)))"#;

/// A registry that a server reads, in a directory that goes with it.
struct Scene {
    directory: DataDir,
    _root: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDir::new(root.path().join("data"));
        directory.create().unwrap();
        Self { directory, _root: root }
    }

    fn server(&self) -> Server {
        let resolver = Resolver::open(&self.directory, HostOptions::default()).unwrap();
        let watch_interval = Duration::from_millis(20);
        Server::new(
            Arc::new(resolver),
            ServerOptions { watch_interval, ..ServerOptions::default() },
        )
    }

    /// Installs [`GUEST`] as a tool called `name`, as another process would, and gives its file.
    fn install(&self, name: &str) -> PathBuf {
        let component = Component::parse(wat::parse_str(GUEST).unwrap()).unwrap();
        let manifest = fixtures::manifest(&format!("dev.example.{name}"), "1.0.0", name);
        let artifact = Artifact::parse(component.seal(&manifest, None)).unwrap();
        let file = self.directory.artifact_file(artifact.digest());
        let unsigned = SignedArtifact::verify(
            artifact,
            &TrustStore::default(),
            Unsigned::Allow,
            SystemTime::now(),
        );
        let mut registry = Registry::open(&self.directory).unwrap();
        registry
            .install(&unsigned.unwrap(), &Grant::default(), &InstallOptions::default())
            .unwrap();
        file
    }
}

/// A client at the other end of the server's streams.
struct Client {
    output: Option<WriteHalf<DuplexStream>>,
    input: BufReader<ReadHalf<DuplexStream>>,
    serving: JoinHandle<Result<(), ServeError>>,
    scene: Scene,
}

impl Client {
    fn connect() -> Self {
        Self::connect_to(Scene::new())
    }

    fn connect_to(scene: Scene) -> Self {
        let server = scene.server();
        Self::connect_with(scene, server)
    }

    fn connect_with(scene: Scene, server: Server) -> Self {
        let (client, stream) = tokio::io::duplex(1 << 16);
        let serving = tokio::spawn(async move {
            let (input, output) = tokio::io::split(stream);
            server.serve_stdio(input, output, std::future::pending()).await
        });
        let (input, output) = tokio::io::split(client);
        Self { output: Some(output), input: BufReader::new(input), serving, scene }
    }

    async fn send(&mut self, line: impl AsRef<[u8]>) {
        let output = self.output.as_mut().unwrap();
        output.write_all(line.as_ref()).await.unwrap();
        output.write_all(b"\n").await.unwrap();
    }

    async fn receive(&mut self) -> Value {
        let mut line = String::new();
        let reading = self.input.read_line(&mut line);
        tokio::time::timeout(PATIENCE, reading).await.expect("an answer").unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    async fn ask(&mut self, request: &Value) -> Value {
        self.send(request.to_string()).await;
        self.receive().await
    }

    async fn initialize(&mut self, version: &str) -> Value {
        let reply = self.ask(&initialize(version)).await;
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        reply
    }

    /// Ends the input, and gives what was still said.
    async fn finish(mut self) -> Vec<Value> {
        let mut output = self.output.take().unwrap();
        output.shutdown().await.unwrap();
        let mut rest = String::new();
        let reading = self.input.read_to_string(&mut rest);
        tokio::time::timeout(PATIENCE, reading).await.expect("the end").unwrap();
        self.serving.await.unwrap().unwrap();
        rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn initialize(version: &str) -> Value {
    let client = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client});
    json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params})
}

/// A request of 2026-07-28.
fn stateless(id: i64, method: &str, mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// A line, the id that its refusal bears and the code.
type Hostile = (Vec<u8>, Value, i64);

fn hostile_lines() -> Vec<Hostile> {
    let null = Value::Null;
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"x","arguments":{{"a":{nested}}}}}}}"#
    );
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"a":"{}"}}}}"#,
        "x".repeat(lines::LONGEST)
    );
    let padding = "x".repeat(64 << 10);
    let large = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"{padding}","version":"1"}}}}}}"#
    );
    let large_id = format!(r#"{{"jsonrpc":"2.0","id":"{padding}","method":"ping"}}"#);
    let long_id = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, &padding[..300]);
    let long_token = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"x","_meta":{{"progressToken":"{}","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#,
        &padding[..300]
    );
    let mut table: Vec<Hostile> = vec![
        (large.into_bytes(), json!(7), -32600),
        (large_id.into_bytes(), null.clone(), -32600),
        (long_id.into_bytes(), null.clone(), -32600),
        (long_token.into_bytes(), json!(7), -32602),
        (b"\xff\xfe{}".to_vec(), null.clone(), -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"\xff\"}".to_vec(), null.clone(), -32700),
        (nested.into_bytes(), null.clone(), -32600),
        (deep.into_bytes(), json!(7), -32602),
        (long.into_bytes(), null.clone(), -32600),
        (vec![0; 1000], null.clone(), -32700),
    ];
    let texts = [
        ("{", null.clone(), -32700),
        ("}", null.clone(), -32700),
        ("hello", null.clone(), -32700),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping"} trailing"#, null.clone(), -32700),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping""#, null.clone(), -32700),
        ("null", null.clone(), -32600),
        ("7", null.clone(), -32600),
        (r#""ping""#, null.clone(), -32600),
        ("[]", null.clone(), -32600),
        (r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#, null.clone(), -32600),
        (r#"["2.0",7,"ping"]"#, null.clone(), -32600),
        ("[1,", null.clone(), -32700),
        ("{}", null.clone(), -32600),
        (r#"{"id":7,"method":"ping"}"#, json!(7), -32600),
        (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, json!(7), -32600),
        (r#"{"jsonrpc":2.0,"id":7,"method":"ping"}"#, json!(7), -32600),
        (r#"{"jsonrpc":"2.0","id":7}"#, json!(7), -32600),
        (r#"{"jsonrpc":"2.0","id":7,"method":5}"#, json!(7), -32600),
        (r#"{"jsonrpc":"2.0","id":7,"method":null}"#, json!(7), -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, null.clone(), -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, null.clone(), -32600),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, null.clone(), -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, json!(1.5), -32600),
        (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#, null.clone(), -32600),
        (r#"{"jsonrpc":"2.0","id":7,"method":"no/such\nmethod"}"#, json!(7), -32601),
        (r#"{"jsonrpc":"2.0","id":7,"method":"no/such","params":5}"#, json!(7), -32601),
        (r#"{"jsonrpc":"2.0","id":7,"method":"prompts/lists"}"#, json!(7), -32601),
        (r#"{"jsonrpc":"2.0","id":"a","method":"tools/call"}"#, json!("a"), -32602),
        (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":5}}"#, json!(7), -32602),
        (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":[]}"#, json!(7), -32602),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":[]}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":"{}"}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"n":1e999}}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"\ud800"}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"no-such-tool"}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":5}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"cursor":5}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"cursor":"!"}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":5}}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2099-01-01","io.modelcontextprotocol/clientCapabilities":{}}}}"#,
            json!(7),
            -32022,
        ),
        (r#"{"jsonrpc":"2.0","id":7,"method":"server/discover"}"#, json!(7), -32602),
        (r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{}}"#, json!(7), -32602),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"logging/setLevel","params":{"level":"loud"}}"#,
            json!(7),
            -32602,
        ),
        (r#"{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen"}"#, json!(7), -32602),
    ];
    table.extend(texts.map(|(line, id, code)| (line.as_bytes().to_vec(), id, code)));
    table
}

/// Lines that JSON-RPC forbids to answer.
const SILENT: &[&str] = &[
    "",
    "   ",
    "\r",
    r#"{"jsonrpc":"2.0","method":"notifications/no-such-thing"}"#,
    r#"{"jsonrpc":"2.0","method":"tools/call","params":5}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":5}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"never sent"}}"#,
    r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
    r#"{"jsonrpc":"2.0","id":{},"result":5}"#,
    r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"an echo of ours"}}"#,
];

/// Sends every hostile line, and after each one a request that has to be answered.
async fn survive_hostility(client: &mut Client) {
    let ping = json!({"jsonrpc": "2.0", "id": "ping", "method": "ping"});
    let pong = json!({"jsonrpc": "2.0", "id": "ping", "result": {}});
    for (line, id, code) in hostile_lines() {
        let shown = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
        client.send(&line).await;
        let reply = client.receive().await;
        assert_eq!(
            (&reply["id"], &reply["error"]["code"]),
            (&id, &json!(code)),
            "{shown}: {reply}"
        );
        assert!(reply.as_object().unwrap().contains_key("id"), "{shown}: {reply}");
        assert_eq!(client.ask(&ping).await, pong, "after {shown}");
    }
    for line in SILENT {
        client.send(line).await;
        assert_eq!(client.ask(&ping).await, pong, "after {line:?}");
    }
}

#[tokio::test]
async fn nothing_makes_a_session_deaf() {
    let mut client = Client::connect();
    client.initialize("2025-11-25").await;
    survive_hostility(&mut client).await;
    assert_eq!(client.finish().await, Vec::<Value>::new());
}

#[tokio::test]
async fn nothing_before_initialize_ends_the_connection() {
    let mut client = Client::connect();
    survive_hostility(&mut client).await;
    let early = client.ask(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    assert_eq!(early["error"]["code"], -32602, "{early}");
    assert!(
        early["error"]["message"].as_str().unwrap().contains("send `initialize` first"),
        "{early}"
    );
    let reply = client.initialize("2025-11-25").await;
    assert_eq!(reply["result"]["serverInfo"]["name"], "kami", "{reply}");
}

#[tokio::test]
async fn every_revision_is_spoken() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let reply = Client::connect().initialize(version).await;
        let result = &reply["result"];
        assert_eq!(result["protocolVersion"], version);
        let capabilities = json!({
            "completions": {},
            "logging": {},
            "prompts": {"listChanged": true},
            "resources": {"subscribe": true, "listChanged": true},
            "tools": {"listChanged": true},
        });
        assert_eq!(result["capabilities"], capabilities);
        assert_eq!(
            result["serverInfo"],
            json!({"name": "kami", "version": env!("CARGO_PKG_VERSION")})
        );
    }
    for other in ["2026-07-28", "2099-01-01", "", "nonsense"] {
        let reply = Client::connect().initialize(other).await;
        assert_eq!(reply["result"]["protocolVersion"], "2025-11-25", "{other}");
    }

    let reply = Client::connect().ask(&stateless(1, "server/discover", json!({}))).await;
    let result = &reply["result"];
    let versions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];
    assert_eq!(result["supportedVersions"], json!(versions));
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "kami");
    assert!(result["ttlMs"].as_u64().unwrap() > 0, "{result}");
}

#[tokio::test]
async fn both_eras_are_served_on_one_connection() {
    let mut client = Client::connect();
    let modern = client.ask(&stateless(1, "tools/list", json!({}))).await;
    client.initialize("2025-06-18").await;
    let legacy = client.ask(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    let again = client.ask(&stateless(1, "tools/list", json!({}))).await;

    assert_eq!(modern, again);
    assert_eq!(modern["result"]["resultType"], "complete");
    assert_eq!(modern["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "kami");
    assert_eq!((&modern["result"]["tools"], &legacy["result"]["tools"]), (&json!([]), &json!([])));
    assert_eq!(modern["result"]["cacheScope"], "private");
    assert_eq!(legacy["result"].as_object().unwrap().len(), 1, "{legacy}");

    let removed = client.ask(&stateless(2, "logging/setLevel", json!({"level": "info"}))).await;
    assert_eq!(removed["error"]["code"], -32601, "{removed}");
    let removed = client.ask(&stateless(3, "ping", json!({}))).await;
    assert_eq!(removed["error"]["code"], -32601, "{removed}");
}

#[tokio::test]
async fn a_client_need_not_wait_between_lines_and_the_end_is_clean() {
    let mut client = Client::connect();
    client.send(initialize("2025-11-25").to_string()).await;
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    for id in 0..500 {
        client.send(json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"}).to_string()).await;
    }
    let output = client.output.as_mut().unwrap();
    output
        .write_all(br#"{"jsonrpc":"2.0","id":"last, without an end","method":"ping"}"#)
        .await
        .unwrap();

    let replies = client.finish().await;
    assert_eq!(replies.len(), 502);
    assert_eq!(replies[0]["id"], "init");
    assert!(replies.iter().all(|reply| reply["result"].is_object()), "{replies:?}");
}

#[tokio::test]
async fn a_subscription_is_acknowledged_and_closed_in_good_order() {
    let mut client = Client::connect();
    let wish = json!({"notifications": {"toolsListChanged": true, "otherThings": true}});
    let acknowledged = client.ask(&stateless(4, "subscriptions/listen", wish)).await;
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(acknowledged["params"]["notifications"], json!({"toolsListChanged": true}));

    // The id is in use until then.
    let duplicate = client.ask(&stateless(4, "tools/list", json!({}))).await;
    assert_eq!((&duplicate["id"], &duplicate["error"]["code"]), (&Value::Null, &json!(-32600)));

    let rest = client.finish().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!((&rest[0]["id"], &rest[0]["result"]["resultType"]), (&json!(4), &json!("complete")));
}

#[tokio::test]
async fn a_cancelled_request_is_not_answered_and_frees_its_id() {
    let mut client = Client::connect();
    let listen = stateless(4, "subscriptions/listen", json!({"notifications": {}}));
    client.ask(&listen).await;
    client
        .send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}"#)
        .await;
    let reply = client.ask(&stateless(5, "tools/list", json!({}))).await;
    assert_eq!(reply["id"], 5, "{reply}");
    assert_eq!(client.finish().await, Vec::<Value>::new());
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let mut client = Client::connect();
    for id in 0..64 {
        let reply =
            client.ask(&stateless(id, "subscriptions/listen", json!({"notifications": {}}))).await;
        assert_eq!(reply["method"], "notifications/subscriptions/acknowledged", "{reply}");
    }
    let reply =
        client.ask(&stateless(64, "subscriptions/listen", json!({"notifications": {}}))).await;
    assert_eq!(reply["error"]["code"], -32600, "{reply}");
    assert_eq!(client.finish().await.len(), 64);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_server() {
    let client = Client::connect();
    let Client { output, input, serving, .. } = client;
    drop(input);
    let mut output = output.unwrap();
    output.write_all(b"{\n").await.unwrap();
    // Both halves of the stream are gone now, so that the refusal has nowhere to go.
    drop(output);
    let served = tokio::time::timeout(PATIENCE, serving).await.expect("the end").unwrap();
    assert!(matches!(served, Err(ServeError::Write(_))), "{served:?}");
}

#[tokio::test]
async fn a_shutdown_counts_as_the_end_of_the_input() {
    let scene = Scene::new();
    let server = scene.server();
    let (_client, stream) = tokio::io::duplex(64);
    let (input, output) = tokio::io::split(stream);
    let serving = server.serve_stdio(input, output, std::future::ready(()));
    tokio::time::timeout(PATIENCE, serving).await.expect("the end").unwrap();
}

#[tokio::test]
async fn a_client_that_reads_nothing_keeps_no_server_from_its_end() {
    let scene = Scene::new();
    let server = scene.server();
    let (mut client, stream) = tokio::io::duplex(64);
    let (input, output) = tokio::io::split(stream);
    let (told, shutdown) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let shutdown = async { drop(shutdown.await) };
        server.serve_stdio(input, output, shutdown).await
    });
    for _ in 0..100 {
        client.write_all(b"[]\n").await.unwrap();
    }
    told.send(()).unwrap();
    let served = tokio::time::timeout(PATIENCE, serving).await.expect("the end").unwrap();
    assert!(served.is_ok(), "{served:?}");
    drop(client);
}

fn call(id: i64, tool: &str, arguments: Value) -> Value {
    stateless(id, "tools/call", json!({"name": tool, "arguments": arguments}))
}

#[tokio::test]
async fn an_installation_is_announced_in_both_eras_and_the_tool_answers() {
    let mut client = Client::connect();
    let wish = json!({"notifications": {"toolsListChanged": true}});
    client.ask(&stateless(1, "subscriptions/listen", wish)).await;
    client.initialize("2025-11-25").await;
    // Answered after the news of the session are open.
    client.ask(&json!({"jsonrpc": "2.0", "id": 2, "method": "ping"})).await;

    client.scene.install("echo");
    let mut news = [client.receive().await, client.receive().await];
    news.sort_by_key(|message| message.get("params").is_some());
    assert_eq!(news[0], json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    assert_eq!(news[1]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);

    let list = client.ask(&stateless(3, "tools/list", json!({}))).await;
    let tool = &list["result"]["tools"][0];
    assert_eq!((&tool["name"], &tool["description"]), (&json!("echo"), &json!("A tool.")));
    assert_eq!(tool["annotations"], json!({"readOnlyHint": true, "openWorldHint": false}));
    let reply = client.ask(&call(4, "echo", json!({}))).await;
    assert_eq!(reply["result"]["content"], json!([{"type": "text", "text": "{}"}]), "{reply}");
    assert_eq!(reply["result"]["isError"], false);
    let unknown = client.ask(&call(5, "ecko", json!({}))).await;
    let message = "there is no tool `ecko`; did you mean `echo`?";
    assert_eq!(unknown["error"], json!({"code": -32602, "message": message}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_ends_and_never_holds_up_others() {
    let scene = Scene::new();
    scene.install("echo");
    let mut client = Client::connect_to(scene);
    client.send(call(1, "echo", json!({"loop": "for ever"})).to_string()).await;
    let reply = client.ask(&call(2, "echo", json!({}))).await;
    assert_eq!((&reply["id"], &reply["result"]["isError"]), (&json!(2), &json!(false)), "{reply}");
    client
        .send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await;
    assert_eq!(client.finish().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_input_waits_for_calls() {
    let scene = Scene::new();
    scene.install("echo");
    let mut client = Client::connect_to(scene);
    client.send(call(1, "echo", json!({"loop": "up to the limit"})).to_string()).await;
    let replies = client.finish().await;
    let text = "the tool ran longer than its limit of 5000 ms [KAMI-TIMEOUT]";
    assert_eq!(
        replies[0]["result"]["content"],
        json!([{"type": "text", "text": text}]),
        "{replies:?}"
    );
    assert_eq!(replies[0]["result"]["isError"], true);
}

#[tokio::test]
async fn a_tampered_tool_is_refused_and_the_others_are_served() {
    let scene = Scene::new();
    scene.install("echo");
    let file = scene.install("victim");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();

    let mut client = Client::connect_to(scene);
    let refused = client.ask(&call(1, "victim", json!({}))).await;
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    let text = refused["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.ends_with("[KAMI-TAMPERED]"), "{text}");
    let list = client.ask(&stateless(2, "tools/list", json!({}))).await;
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 2);
    let served = client.ask(&call(3, "echo", json!({}))).await;
    assert_eq!(served["result"]["isError"], false, "{served}");
}

#[tokio::test]
async fn pages_of_some_tools_are_those_of_a_list_without_the_others() {
    let scene = Scene::new();
    for name in ["a1", "a2", "b1", "b2", "a3", "b3", "a4"] {
        scene.install(name);
    }
    let resolver = Resolver::open(&scene.directory, HostOptions::default()).unwrap();
    let tools = ToolSelection {
        include: vec!["a*".parse().unwrap()],
        exclude: vec!["dev.example.a3/*".parse().unwrap()],
        ..ToolSelection::default()
    };
    let page_size = NonZeroUsize::new(2).unwrap();
    let options = ServerOptions { page_size, tools, ..ServerOptions::default() };
    let server = Server::new(Arc::new(resolver), options);
    let mut client = Client::connect_with(scene, server);
    let (mut seen, mut cursor) = (Vec::new(), None);
    for id in 10.. {
        let params = cursor.map_or(json!({}), |cursor: Value| json!({"cursor": cursor}));
        let page = client.ask(&stateless(id, "tools/list", params)).await["result"].clone();
        let tools = page["tools"].as_array().unwrap();
        seen.push(tools.iter().map(|tool| tool["name"].to_string()).collect::<Vec<_>>());
        cursor = page.get("nextCursor").cloned();
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [vec!["\"a1\"", "\"a2\""], vec!["\"a4\""]]);
}
