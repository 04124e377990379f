//! The server over HTTP: both eras, pages that must stay out, and clients that misbehave.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kami_tests::door::{Door, Reply, call, request};
use kami_tests::guests::program;
use kami_tests::lab::{Lab, id};
use kami_tests::server::PATIENCE;
use serde_json::{Value, json};

use super::scene::{install_for_limits, install_hermit};

fn add(door: &Door) -> Value {
    door.call("add", &json!({"a": 1, "b": 2}))["structuredContent"].clone()
}

#[test]
fn a_request_that_stands_for_itself_gets_a_reply_in_json() {
    let lab = Lab::with_neighbour();
    let door = Door::start(lab.data());
    let reply = door.post(&[], &call(7, "add", &json!({"a": 1, "b": 2})));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let message = &reply.messages()[0];
    assert_eq!((&message["id"], &message["result"]["resultType"]), (&json!(7), &json!("complete")));
    assert_eq!(message["result"]["structuredContent"], json!({"result": 3}));
    assert_eq!(message["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "kami");
    let listed = &door.post(&[], &request(8, "tools/list", json!({}))).messages()[0];
    assert_eq!(listed["result"]["tools"][0]["name"], "add", "{listed}");
    let early = &door.post(&[], &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
    assert_eq!(early.messages()[0]["error"]["code"], -32602, "{early:?}");
}

#[test]
fn a_session_is_opened_used_and_ended() {
    let lab = Lab::with_neighbour();
    let door = Door::start(lab.data());
    let session = door.open_session("2025-11-25");
    let session = [("Mcp-Session-Id", session.as_str())];
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(door.post(&session, &ready).status, 202);
    let params = json!({"name": "add", "arguments": {"a": 1, "b": 2}});
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
    let reply = door.post(&session, &call);
    let result = &reply.messages()[0]["result"];
    assert_eq!(result["structuredContent"], json!({"result": 3}), "{reply:?}");
    assert!(result.get("resultType").is_none(), "{reply:?}");

    let news = door.send(door.request("GET", "/mcp", &session, "").as_bytes());
    // The head has come once there are bytes.
    assert_eq!(news.peek(&mut [0]).expect("it is answered"), 1);
    assert_eq!(door.ask("DELETE", "/mcp", &session, "").status, 200);
    // The news end with their session.
    assert_eq!(Reply::read(news).header("content-type"), Some("text/event-stream"));
    assert_eq!(door.post(&session, &call).status, 404);
    assert_eq!(door.post(&[("Mcp-Session-Id", "guessed")], &call).status, 404);
}

#[test]
fn what_changes_is_said_once_and_on_the_stream_that_was_opened_last() {
    let lab = Lab::with_neighbour();
    let door = Door::start(lab.data());
    let session = door.open_session("2025-11-25");
    let session = [("Mcp-Session-Id", session.as_str())];
    let listen = || door.send(door.request("GET", "/mcp", &session, "").as_bytes());
    // Of this, it hears although it does not listen yet.
    install_hermit(&lab);
    let first = listen();
    let mut news = String::new();
    let mut reading = BufReader::new(first.try_clone().expect("it can be read twice"));
    while !news.contains("list_changed") {
        let read = reading.read_line(&mut news).expect("there is news");
        assert!(read > 0, "the stream ended: {news}");
    }
    // A client that opens another one may not know that the first one is still there.
    let second = listen();
    let mut rest = String::new();
    reading.read_to_string(&mut rest).expect("the first stream ends");
    assert!(!rest.contains("list_changed"), "{rest}");
    install_for_limits(&lab);
    let mut news = String::new();
    let mut reading = BufReader::new(second);
    while !news.contains("list_changed") {
        let read = reading.read_line(&mut news).expect("there is news");
        assert!(read > 0, "the stream ended: {news}");
    }
    // Nor does one keep the server from its end.
    assert!(door.finish().success());
}

#[test]
fn subscriptions_of_all_connections_are_bounded_together() {
    let lab = Lab::with_neighbour();
    let door = Door::start(lab.data());
    let listen = request(1, "subscriptions/listen", json!({"notifications": {}})).to_string();
    let open = || door.send(door.request("POST", "/mcp", &[], &listen).as_bytes());
    let streams: Vec<_> = (0..64).map(|_| open()).collect();
    for stream in &streams {
        assert_eq!(stream.peek(&mut [0]).expect("it is acknowledged"), 1);
    }
    let refused = Reply::read(open());
    assert_eq!(refused.messages()[0]["error"]["code"], -32600, "{refused:?}");
    drop(streams);
    // Each that was closed makes room for another.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = BufReader::new(open());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).expect("it is answered");
        }
        if head.contains("text/event-stream") {
            break;
        }
        assert!(Instant::now() < deadline, "no room is made: {head}");
    }
}

#[test]
fn who_opens_no_session_sets_nothing_that_others_meet() {
    let lab = Lab::new();
    install_for_limits(&lab);
    let door = Door::start(lab.data());
    // It names a revision that has sessions, and opens none.
    let without = |method: &str, mut params: Value| {
        params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2025-11-25"});
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    };
    let arguments = json!({"times": 1, "bytes": 4});
    let chatter = json!({"name": id("limited/chatter"), "arguments": arguments});
    let heard = || door.post(&[], &without("tools/call", chatter.clone())).messages().len();
    assert_eq!(heard(), 2, "an error of the tool is heard by default, and then the reply");
    let level = without("logging/setLevel", json!({"level": "emergency"}));
    let refused = door.post(&[], &level);
    assert_eq!(refused.messages()[0]["error"]["code"], -32600, "{refused:?}");
    assert_eq!(heard(), 2);

    // A session has a level of its own.
    let (quiet, other) = (door.open_session("2025-11-25"), door.open_session("2025-11-25"));
    let quiet = [("Mcp-Session-Id", quiet.as_str())];
    let other = [("Mcp-Session-Id", other.as_str())];
    assert!(door.post(&quiet, &level).messages()[0]["result"].is_object());
    let heard = |session| {
        let call = without("tools/call", chatter.clone());
        door.post(session, &call).messages().len()
    };
    assert_eq!((heard(&quiet), heard(&other)), (1, 2));
}

#[test]
fn each_connection_without_a_session_waits_on_its_own_account() {
    let lab = Lab::new();
    install_hermit(&lab);
    // Of two places in the line, one client gets one.
    let door = Door::start_with(lab.data(), &["--max-concurrent", "1", "--max-queued", "2"]);
    let sleep = call(1, &id("hermit/sleep"), &json!({"millis": 1_000})).to_string();
    let begin = || door.send(door.request("POST", "/mcp", &[], &sleep).as_bytes());
    let begun = [begin(), begin(), begin()];
    for reply in begun.map(Reply::read) {
        assert_eq!(reply.messages()[0]["result"]["isError"], false, "{reply:?}");
    }

    // All calls of a session are those of one client: one runs, one waits, and the others are refused.
    let session = door.open_session("2025-11-25");
    let session = [("Mcp-Session-Id", session.as_str())];
    let (replied, replies) = mpsc::channel();
    for request in 1..=4 {
        let params = json!({"name": id("hermit/sleep"), "arguments": {"millis": 50_000}});
        let call =
            json!({"jsonrpc": "2.0", "id": request, "method": "tools/call", "params": params});
        let waiting = door.request("POST", "/mcp", &session, &call.to_string());
        let (waiting, replied) = (door.send(waiting.as_bytes()), replied.clone());
        thread::spawn(move || replied.send(Reply::read(waiting).body));
    }
    let next = || replies.recv_timeout(PATIENCE).expect("it is answered");
    for refused in [next(), next()] {
        assert!(refused.contains("KAMI-BUSY"), "{refused}");
    }
    for request in 1..=4 {
        let params = json!({"requestId": request});
        let cancel =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
        assert_eq!(door.post(&session, &cancel).status, 202);
    }
    assert_eq!([next(), next()], ["", ""], "what was cancelled is not answered");
}

#[test]
fn what_a_tool_says_comes_before_its_reply() {
    let lab = Lab::new();
    install_for_limits(&lab);
    let door = Door::start(lab.data());
    let mut message = call(7, &id("limited/chatter"), &json!({"times": 3, "bytes": 4}));
    message["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("warning");
    message["params"]["_meta"]["progressToken"] = json!("so far");
    let reply = door.post(&[], &message);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let messages = reply.messages();
    let (last, said) = messages.split_last().expect("there are some");
    assert_eq!((&last["id"], &last["result"]["isError"]), (&json!(7), &json!(false)), "{last}");
    let methods: Vec<_> = said.iter().filter_map(|said| said["method"].as_str()).collect();
    assert_eq!(methods, ["notifications/message", "notifications/progress"].repeat(3));
    assert!(said.iter().all(|said| said["params"].to_string().contains("cccc")), "{said:?}");
}

#[test]
fn pages_of_elsewhere_are_not_answered() {
    let lab = Lab::with_neighbour();
    let door = Door::start(lab.data());
    let message = call(1, "add", &json!({"a": 1, "b": 2}));
    for (headers, status) in [
        ([("Host", "localhost:3000")], 200),
        ([("Host", "[::1]")], 200),
        ([("Host", "rebound.example")], 403),
        ([("Host", "127.0.0.1.example")], 403),
        ([("Host", "localhost@elsewhere.example")], 403),
        ([("Host", "192.168.0.1")], 403),
        ([("Origin", "http://localhost:8080")], 200),
        ([("Origin", "https://127.0.0.1")], 200),
        ([("Origin", "https://elsewhere.example")], 403),
        ([("Origin", "http://localhost.elsewhere.example")], 403),
        ([("Origin", "null")], 403),
        ([("Origin", "file://")], 403),
    ] {
        assert_eq!(door.post(&headers, &message).status, status, "{headers:?}");
    }
    // Whoever stands in between may have looked at the other one.
    let twice = [("Host", "localhost"), ("Host", "elsewhere.example")];
    assert_eq!(door.post(&twice, &message).status, 403);
    // Lists may be given in parts.
    let parts = [("Accept", "application/json"), ("Accept", "text/event-stream")];
    assert_eq!(door.post(&parts, &message).status, 200);
}

#[test]
fn what_is_no_message_is_refused_and_the_next_is_answered() {
    let lab = Lab::with_neighbour();
    let door = Door::start(lab.data());
    let good = call(1, "add", &json!({"a": 1, "b": 2})).to_string();
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(17 << 20));
    let old = [("MCP-Protocol-Version", "1999-01-01")];
    for (method, path, headers, body, status) in [
        ("POST", "/mcp", &[][..], "{", 400),
        ("POST", "/mcp", &[], "[]", 400),
        ("POST", "/mcp", &[], "", 202),
        ("POST", "/mcp", &[], r#"{"jsonrpc":"2.0","id":1,"method":"nonsense"}"#, 200),
        ("POST", "/mcp", &[], &request(1, "nonsense", json!({})).to_string(), 404),
        ("POST", "/mcp", &[], &request(1, "ping", json!({})).to_string(), 404),
        ("POST", "/mcp", &[], &large, 413),
        ("POST", "/mcp", &[("Content-Type", "text/plain")], &good, 415),
        ("POST", "/mcp", &[("Content-Type", "")], &good, 415),
        ("POST", "/mcp", &[("Accept", "application/json")], &good, 406),
        ("POST", "/mcp", &[("Accept", "*/*")], &good, 200),
        ("POST", "/mcp", &old, &good, 400),
        ("POST", "/other", &[], &good, 404),
        ("PUT", "/mcp", &[], &good, 405),
        ("GET", "/mcp", &[], "", 405),
        ("DELETE", "/mcp", &[], "", 400),
    ] {
        let reply = door.ask(method, path, headers, body);
        assert_eq!(reply.status, status, "{method} {path} {headers:?}: {reply:?}");
        assert_eq!(add(&door), json!({"result": 3}), "after {method} {path} {headers:?}");
    }
    // One that is not finished keeps nobody else waiting.
    let mut slow = door.send(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Le");
    let mut slower = door.send(
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: \
        application/json\r\nAccept: */*\r\nContent-Length: 100\r\n\r\n{",
    );
    assert_eq!(add(&door), json!({"result": 3}));
    for stream in [&mut slow, &mut slower] {
        stream.write_all(b" ").expect("it is still listened to");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn bodies_that_never_end_fill_no_memory_and_keep_nobody_out() {
    const CONNECTIONS: usize = 48;
    const SENT: usize = 15 << 20;
    let lab = Lab::with_neighbour();
    let door = Door::start(lab.data());
    let length = format!("Content-Length: {}", 16 << 20);
    let head = door.request("POST", "/mcp", &[], "").replace("Content-Length: 0", &length);
    let mut unfinished = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = door.send(head.as_bytes());
        // One that is refused may be closed before all of it is sent.
        let _ = stream.write_all(" ".repeat(SENT).as_bytes());
        unfinished.push(stream);
        assert_eq!(add(&door), json!({"result": 3}), "beside {} others", unfinished.len());
    }
    let peak = door.peak_memory();
    assert!(peak < (CONNECTIONS * SENT * 2 / 3) as u64, "{peak} bytes of memory");
}

#[test]
fn whoever_closes_the_connection_ends_the_guest() {
    let lab = Lab::new();
    install_hermit(&lab);
    let door = Door::start(lab.data());
    let spin = call(1, &id("hermit/sleep"), &json!({"millis": 50_000})).to_string();
    let started = Instant::now();
    for _ in 0..3 {
        let waiting = door.send(door.request("POST", "/mcp", &[], &spin).as_bytes());
        thread::sleep(Duration::from_millis(100));
        drop(waiting);
    }
    let reply = door.post(&[], &call(2, &id("hermit/sleep"), &json!({"millis": 1})));
    assert_eq!(reply.messages()[0]["result"]["isError"], false, "{reply:?}");
    assert!(started.elapsed() < Duration::from_secs(40), "nobody waited for those that were left");
}

#[test]
fn a_cancelled_call_of_a_session_ends() {
    let lab = Lab::new();
    install_hermit(&lab);
    let door = Door::start(lab.data());
    let session = door.open_session("2025-06-18");
    let session = [("Mcp-Session-Id", session.as_str())];
    let params = json!({"name": id("hermit/sleep"), "arguments": {"millis": 50_000}});
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
    let waiting = door.request("POST", "/mcp", &session, &call.to_string());
    let waiting = door.send(waiting.as_bytes());
    let started = Instant::now();
    let answered = thread::spawn(move || Reply::read(waiting));
    let params = json!({"requestId": 2});
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
    // Before it is known, there is nothing to cancel.
    while !answered.is_finished() {
        assert_eq!(door.post(&session, &cancel).status, 202);
        assert!(started.elapsed() < PATIENCE, "it goes on");
    }
    let answered = answered.join().expect("reading does not panic");
    assert_eq!(answered.body, "", "what was cancelled is not answered");
    assert!(started.elapsed() < Duration::from_secs(40), "it was not waited for");
}

#[test]
fn an_address_that_others_reach_is_refused_and_the_end_is_clean() {
    let lab = Lab::with_neighbour();
    let mut command = Command::new(program());
    command.args(["serve", "--http", "0.0.0.0:0", "--data-dir"]).arg(lab.data().path());
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("listen on 127.0.0.1"), "{said}");

    let door = Door::start(lab.data());
    assert_eq!(add(&door), json!({"result": 3}));
    assert!(door.finish().success());
}
