//! The server over HTTP/2, by a client that behaves.

use std::time::{Duration, Instant};

use kami_tests::door::{Door, Reply, call};
use kami_tests::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, frame, head};
use kami_tests::http::{Client, Version};
use kami_tests::lab::{Lab, id};
use serde_json::json;

use super::scene::install_hermit;

fn add(id: u64) -> String {
    call(id, "add", &json!({"a": id, "b": 2})).to_string()
}

#[test]
fn requests_over_http2_are_answered_as_over_http1() {
    let lab = Lab::with_neighbour();
    let door = Door::start(lab.data());
    let [one, two] =
        [Version::One, Version::Two].map(|version| Client::plain(door.address(), version));
    let good = add(1);
    for (method, path, headers, body, status) in [
        ("POST", "/mcp", &[][..], &*good, 200),
        ("POST", "/mcp", &[], "{", 400),
        ("POST", "/mcp", &[], "", 202),
        ("POST", "/mcp", &[("accept", "text/plain")], &good, 200),
        ("POST", "/other", &[], &good, 404),
        ("PUT", "/mcp", &[], &good, 405),
        ("GET", "/mcp", &[], "", 405),
        ("GET", "/health", &[], "", 200),
        ("HEAD", "/metrics", &[], "", 200),
        ("POST", "/mcp", &[("origin", "http://elsewhere.example")], &good, 403),
        ("POST", "/mcp", &[("mcp-session-id", "guessed")], "{\"id\":1,\"method\":\"ping\"}", 404),
    ] {
        let answers =
            [&one, &two].map(|client| client.ask(method, path, headers, body).expect("an answer"));
        let what = format!("{method} {path} {headers:?}: {answers:?}");
        assert_eq!(answers.each_ref().map(|answer| answer.status), [status; 2], "{what}");
        let kinds = answers.each_ref().map(|answer| answer.headers.get("content-type").cloned());
        assert_eq!(kinds[0], kinds[1], "{what}");
        assert_eq!(answers[0].body.is_empty(), answers[1].body.is_empty(), "{what}");
    }

    // As many at once as may be, each with its own reply.
    let pending: Vec<_> =
        (1..=100).map(|id| two.begin(two.request("POST", "/mcp", &[], &add(id)))).collect();
    for (answer, id) in pending.into_iter().map(|pending| pending.answer()).zip(1..) {
        let result = answer.expect("it is answered").result();
        assert_eq!(result["structuredContent"], json!({"result": id + 2}));
    }

    // A session, and what is said of it.
    let session = door.open_session("2025-11-25");
    let news = two.begin(two.request("GET", "/mcp", &[("mcp-session-id", &session)], ""));
    install_hermit(&lab);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(door.ask("DELETE", "/mcp", &[("Mcp-Session-Id", &session)], "").status, 200);
    let news = news.answer().expect("the stream ends with its session");
    assert!(news.body.contains("list_changed"), "{news:?}");
    assert!(door.finish().success());
}

/// Over HTTP/2, `:authority` is what `Host` is before.
#[test]
fn a_request_over_http2_names_one_host_and_the_right_one() {
    let lab = Lab::with_neighbour();
    let door = Door::start(lab.data());
    let body = add(1);
    let ask = |authority: &str, host: Option<&str>, origin: Option<&str>| {
        let mut client = Client::plain(door.address(), Version::Two);
        client.base = format!("http://{authority}");
        let headers = [("host", host), ("origin", origin)];
        let headers: Vec<_> =
            headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        client.ask("POST", "/mcp", &headers, &body).expect("it is answered").status
    };
    let own = door.address().to_string();
    for (authority, host, origin, status) in [
        (&*own, None, None, 200),
        ("localhost", None, None, 200),
        ("[::1]:80", None, Some("http://localhost:5173"), 200),
        ("localhost", Some("localhost"), None, 200),
        ("localhost", Some("LOCALHOST"), None, 200),
        ("elsewhere.example", None, None, 403),
        ("elsewhere.example", Some("localhost"), None, 403),
        ("localhost", Some("elsewhere.example"), None, 403),
        ("localhost", Some("127.0.0.1"), None, 403),
        ("localhost:1", Some("localhost"), None, 403),
        ("localhost.elsewhere.example", None, None, 403),
        ("somebody@localhost", None, None, 403),
        ("localhost", None, Some("http://elsewhere.example"), 403),
    ] {
        assert_eq!(ask(authority, host, origin), status, "{authority} {host:?} {origin:?}");
    }

    // Written by hand: without either of them, with two hosts, and with the host alone.
    for (fields, answered) in [
        (&[][..], "this server answers to localhost, 127.0.0.1 and [::1] alone"),
        (
            &[("host", "localhost"), ("host", "elsewhere.example")],
            "a request names one host, and comes from one page",
        ),
        (&[("host", "localhost")], "3"),
    ] {
        let mut frames = Frames::connect(door.address(), &[]);
        let usual = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/mcp"),
            ("content-type", "application/json"),
            ("accept", "*/*"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "add"),
        ];
        let block = head(&[&usual[..], fields].concat());
        let ended = frame(DATA, END_STREAM, 1, body.as_bytes());
        let sent = [frame(HEADERS, END_HEADERS, 1, &block), ended].concat();
        frames.send(&sent).expect("the server reads");
        let body = frames.body(1).expect("it is answered");
        assert!(body.contains(answered), "{fields:?}: {body}");
    }

    // The same over HTTP/1.1, where a target may name a host too.
    let text = door.request("POST", "/mcp", &[("Host", "localhost")], &body);
    for (target, status) in
        [("http://localhost/mcp", "200"), ("http://elsewhere.example/mcp", "403")]
    {
        let text = text.replacen("/mcp", target, 1);
        let reply = Reply::read(door.send(text.as_bytes()));
        assert_eq!(reply.status.to_string(), status, "{target}: {reply:?}");
    }
}

#[test]
fn a_server_that_ends_answers_what_was_asked_over_http2() {
    let lab = Lab::with_neighbour();
    install_hermit(&lab);
    let door = Door::start_with(lab.data(), &["--drain-seconds", "60"]);
    let client = Client::plain(door.address(), Version::Two);
    let ready = client.post(&call(1, "add", &json!({"a": 1, "b": 2}))).expect("it is answered");
    assert_eq!(ready.result()["structuredContent"], json!({"result": 3}));
    // So that it is compiled by then.
    door.call(&id("hermit/sleep"), &json!({"millis": 1}));
    let sleep = call(2, &id("hermit/sleep"), &json!({"millis": 2000})).to_string();
    let sleeping = client.begin(client.request("POST", "/mcp", &[], &sleep));
    std::thread::sleep(Duration::from_millis(500));
    door.terminate();
    std::thread::sleep(Duration::from_millis(300));
    // Nothing more is begun.
    let late = client.ask("POST", "/mcp", &[], &add(3));
    assert!(
        late.as_ref().is_err() || late.as_ref().is_ok_and(|late| late.status == 503),
        "{late:?}"
    );
    let slept = sleeping.answer().expect("it is answered").result();
    assert_eq!(slept["isError"], false, "{slept}");
    assert!(door.ended().success());
}

#[test]
fn who_resets_a_stream_ends_its_guest() {
    let lab = Lab::with_neighbour();
    install_hermit(&lab);
    let door = Door::start(lab.data());
    let mut frames = Frames::connect(door.address(), &[]);
    let started = Instant::now();
    // It has one place.
    let sleep = |millis: u64| call(1, &id("hermit/sleep"), &json!({"millis": millis})).to_string();
    let name = id("hermit/sleep");
    let fields =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", &name)];
    for stream in [1, 3, 5] {
        frames.ask(stream, &fields, &sleep(50_000)).expect("the server reads");
        std::thread::sleep(Duration::from_millis(100));
        frames.send(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).expect("the server reads");
    }
    frames.ask(7, &fields, &sleep(1)).expect("the server reads");
    let body = frames.body(7).expect("it is answered");
    assert!(body.contains("\"isError\":false"), "{body}");
    assert!(started.elapsed() < Duration::from_secs(40), "nobody waited for those that were left");

    // So it is where the connection ends.
    frames.ask(9, &fields, &sleep(50_000)).expect("the server reads");
    std::thread::sleep(Duration::from_millis(100));
    drop(frames);
    let reply = door.post(&[], &call(2, &name, &json!({"millis": 1})));
    assert_eq!(reply.messages()[0]["result"]["isError"], false, "{reply:?}");
    assert!(started.elapsed() < Duration::from_secs(40), "nobody waited for those that were left");
}
