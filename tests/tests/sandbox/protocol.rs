//! What goes back and forth between a guest and its client: questions, states, tasks, headers.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;

use kami_core::grants::Capabilities;
use kami_core::manifest::{Annotations, ToolDefinition};
use kami_tests::door::{Door, Reply, request};
use kami_tests::guests::{guest, program};
use kami_tests::lab::{Lab, seal};
use kami_tests::server::PATIENCE;
use serde_json::{Value, json};

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// A registry with all that the conformance suite looks for.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.install(guest("conformance"));
    lab.install(guest("conformance-tasks"));
    lab
}

/// A request that stands for itself, of a client that can do this.
fn able(capabilities: &Value, method: &str, params: Value) -> Value {
    let mut message = request(1, method, params);
    message["params"]["_meta"][CAPABILITIES] = capabilities.clone();
    message
}

fn call(tool: &str, more: &[(&str, Value)]) -> Value {
    let mut params = json!({"name": tool, "arguments": {}});
    for (name, value) in more {
        params[name] = value.clone();
    }
    able(&json!({"elicitation": {}, "sampling": {}, "roots": {}}), "tools/call", params)
}

/// The one message of a reply.
fn answer(reply: &Reply) -> Value {
    reply.messages().pop().expect("there is an answer")
}

#[test]
fn a_state_opens_for_the_request_that_it_was_given_for_and_no_other() {
    let (lab, tool) = (lab(), "test_input_required_result_request_state");
    let door = Door::start(lab.data());
    let asked = answer(&door.post(&[], &call(tool, &[])));
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let state = asked["result"]["requestState"].as_str().expect("there is a state").to_owned();
    let answers = json!({"confirm": {"action": "accept", "content": {"ok": true}}});
    let with = |tool: &str, state: &str, arguments: Value| {
        let more = [
            ("requestState", json!(state)),
            ("inputResponses", answers.clone()),
            ("arguments", arguments),
        ];
        answer(&door.post(&[], &call(tool, &more)))
    };
    let tampered = format!("{state}-TAMPERED");
    let mut flipped = state.clone().into_bytes();
    let at = flipped.len() / 2;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).expect("it is ASCII");
    for (why, tool, state, arguments) in [
        ("it was added to", tool, tampered.as_str(), json!({})),
        ("it was changed", tool, flipped.as_str(), json!({})),
        ("other arguments", tool, state.as_str(), json!({"x": 1})),
        ("another tool", "test_input_required_result_multi_round", state.as_str(), json!({})),
        ("none at all", tool, "", json!({})),
    ] {
        let refused = with(tool, state, arguments);
        assert_eq!(refused["error"]["code"], -32602, "{why}: {refused}");
    }
    let done = with(tool, &state, json!({}));
    assert_eq!(done["result"]["resultType"], "complete", "{done}");
    // Another server of the same directory knows the keys, and one of another does not.
    drop(door);
    let again = Door::start(lab.data());
    let more = [("requestState", json!(state)), ("inputResponses", answers)];
    let message = call(tool, &more);
    assert_eq!(answer(&again.post(&[], &message))["result"]["resultType"], "complete");
    // What is refused before it becomes a task is recorded, too.
    let params = json!({"name": "slow_compute", "arguments": {}, "requestState": "forged"});
    let refused = answer(&again.post(&[], &with_tasks("tools/call", params)));
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert!(again.finish().success());
    let logs = std::fs::read_dir(lab.data().audit_dir()).expect("there is a log");
    let logs = logs.map(|file| std::fs::read_to_string(file.expect("it is there").path()));
    let recorded = logs.filter_map(Result::ok).any(|log| {
        log.lines().any(|line| line.contains("slow_compute") && line.contains("KAMI-STATE"))
    });
    assert!(recorded, "the refusal is in no file of the log");
    let elsewhere = Lab::new();
    elsewhere.install(guest("conformance"));
    let elsewhere = Door::start(elsewhere.data());
    assert_eq!(answer(&elsewhere.post(&[], &message))["error"]["code"], -32602);
}

#[test]
fn no_client_is_asked_for_what_it_did_not_offer() {
    let lab = lab();
    let door = Door::start(lab.data());
    for (tool, lacking) in [
        ("test_input_required_result_elicitation", "elicitation"),
        ("test_input_required_result_sampling", "sampling"),
        ("test_input_required_result_list_roots", "roots"),
    ] {
        let params = json!({"name": tool, "arguments": {}});
        let reply = door.post(&[], &able(&json!({}), "tools/call", params.clone()));
        let error = &answer(&reply)["error"];
        assert_eq!((reply.status, &error["code"]), (400, &json!(-32021)), "{reply:?}");
        assert!(error["data"]["requiredCapabilities"][lacking].is_object(), "{error}");

        let session = door.open_session("2025-11-25");
        let message = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
        let told = answer(&door.post(&[("Mcp-Session-Id", &session)], &message));
        assert_eq!(told["result"]["isError"], true, "{told}");
        let text = told["result"]["content"][0]["text"].as_str().expect("it is text");
        assert!(text.ends_with("[KAMI-INPUT]") && text.contains(lacking), "{text}");
    }
}

/// The messages of a stream, as they come.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn next(&mut self) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).expect("the server talks") > 0, "it is over");
            if let Some(message) = line.strip_prefix("data: ") {
                return serde_json::from_str(message).expect("it is JSON");
            }
        }
    }
}

/// Opens a session of a client that can be asked.
fn open_session(door: &Door) -> String {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {}, "sampling": {}},
        "clientInfo": {"name": "kami-tests", "version": "1"},
    });
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    door.post(&[], &hello).header("mcp-session-id").expect("there is a session").to_owned()
}

#[test]
fn a_question_is_answered_by_the_session_that_was_asked() {
    let lab = lab();
    let door = Door::start(lab.data());
    let sessions = [open_session(&door), open_session(&door)];
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "test_elicitation", "arguments": {"message": "Who are you?"},
    }});
    let ask = |session: &str| {
        let headers = [("Mcp-Session-Id", session)];
        let text = door.request("POST", "/mcp", &headers, &message.to_string());
        Stream(BufReader::new(door.send(text.as_bytes())))
    };
    let mut streams = sessions.each_ref().map(|session| ask(session));
    let asked = streams.each_mut().map(Stream::next);
    for question in &asked {
        assert_eq!(question["method"], "elicitation/create");
        assert_eq!(question["params"]["message"], "Who are you?");
    }
    let reply = |session: &str, question: &Value, name: &str| {
        let content = json!({"username": name, "email": "a@example.com"});
        let result = json!({"action": "accept", "content": content});
        let message = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
        assert_eq!(door.post(&[("Mcp-Session-Id", session)], &message).status, 202);
    };
    // Both have the same id, and each is answered in its own session: the second one first.
    assert_eq!(asked[0]["id"], asked[1]["id"]);
    // What nobody asked is no answer, and neither is one without a session.
    reply(&sessions[0], &json!({"id": "kami-999"}), "nobody");
    reply(&sessions[0], &json!({"id": 1}), "nobody");
    for (at, name) in [(1, "Grace"), (0, "Ada")] {
        reply(&sessions[at], &asked[at], name);
        let done = streams[at].next();
        assert_eq!(done["id"], 7, "{done}");
        let text = done["result"]["content"][0]["text"].as_str().expect("it is text");
        assert!(text.contains(name), "{text}");
    }
    // A client that refuses is no failure of the host's.
    let mut stream = ask(&sessions[0]);
    let question = stream.next();
    let error = json!({"code": -1, "message": "User rejected"});
    let message = json!({"jsonrpc": "2.0", "id": question["id"], "error": error});
    assert_eq!(door.post(&[("Mcp-Session-Id", &sessions[0])], &message).status, 202);
    let done = stream.next();
    assert_eq!(done["result"]["isError"], true, "{done}");
    // A session that ends takes its questions with it.
    let mut stream = ask(&sessions[1]);
    stream.next();
    door.ask("DELETE", "/mcp", &[("Mcp-Session-Id", &sessions[1])], "");
    // First the question is taken back.
    assert_eq!(stream.next()["method"], "notifications/cancelled");
    let text = stream.next()["result"]["content"][0]["text"].clone();
    assert!(text.as_str().is_some_and(|text| text.contains("gone")), "{text}");
}

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A request of a client that knows tasks.
fn with_tasks(method: &str, params: Value) -> Value {
    able(&json!({"elicitation": {}, "extensions": {TASKS: {}}}), method, params)
}

fn task(door: &Door, tool: &str, arguments: Value) -> String {
    let params = json!({"name": tool, "arguments": arguments});
    let begun = answer(&door.post(&[], &with_tasks("tools/call", params)));
    assert_eq!(begun["result"]["resultType"], "task", "{begun}");
    begun["result"]["taskId"].as_str().expect("it has an id").to_owned()
}

fn about(door: &Door, method: &str, id: &str, more: &[(&str, Value)]) -> Value {
    let mut params = json!({"taskId": id});
    for (name, value) in more {
        params[name] = value.clone();
    }
    answer(&door.post(&[], &with_tasks(method, params)))
}

/// Asks until the task is in one of these states.
fn until(door: &Door, id: &str, states: &[&str]) -> Value {
    let started = std::time::Instant::now();
    loop {
        let told = about(door, "tasks/get", id, &[]);
        if states.iter().any(|state| told["result"]["status"] == *state) {
            return told["result"].clone();
        }
        assert!(started.elapsed() < PATIENCE, "{told}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_task_outlives_its_server_and_is_not_done_twice() {
    let lab = lab();
    // The same tool, in a package that reaches the network: nobody says that to run it twice does no harm.
    let (tasks, requests) = (
        guest("conformance-tasks"),
        Capabilities {
            net: vec!["example.com".parse().expect("it is a host")],
            ..Capabilities::default()
        },
    );
    let slow = tasks.manifest().tool("slow_compute").expect("there is such a tool").clone();
    let slow = ToolDefinition { annotations: Annotations::default(), ..slow };
    lab.install(&seal(tasks.component(), "writer", vec![slow], &requests));
    let (reader, writer) =
        ("dev.kami.conformance-tasks/slow_compute", "dev.kami.test.writer/slow_compute");
    let door = Door::start(lab.data());
    let harmless = task(&door, reader, json!({"seconds": 3.0}));
    let slow = task(&door, writer, json!({"seconds": 3.0}));
    let parked = task(&door, "confirm_delete", json!({"filename": "notes.txt"}));
    let asked = until(&door, &parked, &["input_required"]);
    assert!(asked["inputRequests"]["confirm"].is_object(), "{asked}");
    assert_eq!(about(&door, "tasks/get", &slow, &[])["result"]["status"], "working");
    // It is killed, and cleans nothing up.
    drop(door);

    let door = Door::start(lab.data());
    // Nobody knows how far it had come.
    let failed = until(&door, &slow, &["failed"]);
    assert!(failed["error"]["message"].as_str().is_some_and(|m| m.contains("server ended")));
    let again = until(&door, &harmless, &["completed"]);
    assert_eq!(again["result"]["isError"], false, "{again}");
    let answers = json!({"confirm": {"action": "accept", "content": {"confirm": true}}});
    let acknowledged = about(&door, "tasks/update", &parked, &[("inputResponses", answers)]);
    assert!(acknowledged["result"]["status"].is_null(), "{acknowledged}");
    let done = until(&door, &parked, &["completed"]);
    let text = &done["result"]["content"][0]["text"];
    assert_eq!(text, "notes.txt would be deleted", "{done}");

    let slow = task(&door, reader, json!({"seconds": 50.0}));
    about(&door, "tasks/cancel", &slow, &[]);
    let cancelled = about(&door, "tasks/get", &slow, &[]);
    assert_eq!(cancelled["result"]["status"], "cancelled");
    // A cancelled task keeps no server from its end.
    assert!(door.finish().success());
}

#[test]
fn only_an_id_that_was_given_names_a_task() {
    let lab = lab();
    let door = Door::start(lab.data());
    let id = task(&door, "slow_compute", json!({"seconds": 0.0}));
    until(&door, &id, &["completed"]);
    let (guessed, upper) = ("0".repeat(32), id.to_uppercase());
    for other in ["", "../registry", "..%2fregistry", &guessed, &upper, &format!("{id}.json")] {
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let told = about(&door, method, other, &[("inputResponses", json!({}))]);
            assert_eq!(told["error"]["code"], -32602, "{method} {other}: {told}");
        }
    }
    // Who does not know tasks hears of none.
    let params = json!({"taskId": id});
    let reply = door.post(&[], &able(&json!({}), "tasks/get", params));
    assert_eq!((reply.status, &answer(&reply)["error"]["code"]), (400, &json!(-32021)));
}

#[test]
fn headers_that_say_something_else_are_refused() {
    let lab = lab();
    let door = Door::start(lab.data());
    let message = able(
        &json!({}),
        "tools/call",
        json!({
            "name": "test_custom_header", "arguments": {"value": "eu"},
        }),
    );
    let judged = |headers: &[(&str, &str)]| {
        let reply = door.post(headers, &message);
        (reply.status, answer(&reply)["error"]["code"].clone())
    };
    assert_eq!(judged(&[("Mcp-Param-Value", "eu")]), (200, Value::Null));
    assert_eq!(judged(&[("Mcp-Param-Value", "=?base64?ZXU=?=")]), (200, Value::Null));
    let mismatch = (400, json!(-32020));
    for headers in [
        vec![],
        vec![("Mcp-Param-Value", "us")],
        vec![("Mcp-Param-Value", "eu"), ("mcp-param-value", "eu")],
        vec![("Mcp-Param-Value", "eu"), ("Mcp-Name", "greet")],
        vec![("Mcp-Param-Value", "eu"), ("Mcp-Name", "")],
        vec![("Mcp-Param-Value", "eu"), ("Mcp-Method", "tools/list")],
        vec![("Mcp-Param-Value", "eu"), ("Mcp-Method", "")],
        vec![("Mcp-Param-Value", "eu"), ("MCP-Protocol-Version", "")],
        vec![("Mcp-Param-Value", "eu"), ("MCP-Protocol-Version", "2025-11-25")],
        vec![("Mcp-Param-Value", "eu"), ("MCP-Protocol-Version", "v999")],
        vec![("Mcp-Param-Value", "eu"), ("mcp-method", "tools/call")],
    ] {
        assert_eq!(judged(&headers), mismatch, "{headers:?}");
    }
}

#[test]
fn no_resource_is_read_that_nobody_offers() {
    let lab = lab();
    let door = Door::start(lab.data());
    let read =
        |uri: &str| answer(&door.post(&[], &request(1, "resources/read", json!({"uri": uri}))));
    assert!(read("test://static-text")["result"]["contents"][0]["text"].is_string());
    assert!(read("test://template/a%2Fb/data")["result"].is_object());
    for uri in [
        "test://static-text2",
        "test://static-tex",
        "test://template//data",
        "test://template/1/2/data",
        "test://template/1/data/../../x",
        "TEST://static-text",
        "file:///etc/passwd",
    ] {
        let told = read(uri);
        assert_eq!(told["error"]["code"], -32602, "{uri}: {told}");
        assert_eq!(told["error"]["data"]["uri"], uri);
    }
    for uri in ["", "no uri", "test://{id}"] {
        assert_eq!(read(uri)["error"]["code"], -32602, "{uri}");
    }
}

#[test]
fn a_trace_goes_on_in_the_log_and_nothing_else_does() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let lab = lab();
    let door = Door::start_at("127.0.0.1:0", lab.data(), &[], "kami_core=debug");
    let traced = |trace: &str| {
        let mut message = call("test_error_handling", &[]);
        message["params"]["_meta"]["traceparent"] = json!(trace);
        assert_eq!(answer(&door.post(&[], &message))["result"]["isError"], true);
    };
    traced(TRACE);
    let forged = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\nWARN forged";
    traced(forged);
    traced(&TRACE.to_uppercase());
    let started = std::time::Instant::now();
    while !door.log().contains(TRACE) {
        assert!(started.elapsed() < PATIENCE, "{}", door.log());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(!door.log().contains("forged") && !door.log().contains("00F067AA"), "{}", door.log());
}

#[test]
fn the_host_holds_nothing_that_the_suite_looks_for() {
    let mut binary = Vec::new();
    let mut file = std::fs::File::open(program()).expect("the program is there");
    file.read_to_end(&mut binary).expect("it can be read");
    let mut names = Vec::new();
    for package in ["conformance", "conformance-tasks"] {
        let manifest = guest(package).manifest();
        names.extend(manifest.tools.iter().map(|tool| tool.name.to_string()));
        names.extend(manifest.prompts.iter().map(|prompt| prompt.name.to_string()));
        names.extend(manifest.resources.iter().map(|resource| resource.uri.to_string()));
        let forms = manifest.resource_templates.iter();
        names.extend(forms.map(|form| form.uri_template.as_str().to_owned()));
    }
    // Everybody's first tool is called that, and the one of `cargo kami new` is too.
    names.retain(|name| name != "greet");
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let found = memchr::memmem::find(&binary, name.as_bytes());
        assert_eq!(found, None, "the host knows of `{name}`");
    }
}
