//! Who is let in over HTTP: tokens that are good, bad, old or somebody else's.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kami_core::auth::NewToken;
use kami_core::registry::{Token, ToolSelection};
use kami_tests::door::{Door, Reply, call, request};
use kami_tests::guests::program;
use kami_tests::issuer::{Issuer, SigningKey, in_seconds, unsigned};
use kami_tests::lab::{Lab, id};
use kami_tests::server::{PATIENCE, Server};
use serde_json::{Value, json};

use super::scene::{install_for_limits, install_hermit};

/// Makes a token by the command that operators use.
fn token(lab: &Lab, name: &str, flags: &[&str]) -> String {
    let made = lab.cargo_kami(&[&["token", "create", name], flags].concat());
    made.expect(0, "Created the token");
    made.stdout.trim().to_owned()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A server that asks for tokens.
fn guarded(lab: &Lab) -> Door {
    Door::start_with(lab.data(), &["--auth", "tokens"])
}

/// Makes a request with a token.
fn ask(door: &Door, token: &str, message: &Value) -> Reply {
    door.post(&[("Authorization", &bearer(token))], message)
}

/// The names of all tools that somebody sees.
fn listed(door: &Door, token: &str) -> Vec<String> {
    let reply = ask(door, token, &request(1, "tools/list", json!({})));
    let tools = reply.messages()[0]["result"]["tools"].as_array().cloned();
    let names = tools.unwrap_or_else(|| panic!("there is no list: {reply:?}"));
    names.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
}

/// Waits until something holds.
#[track_caller]
fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it never holds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn add() -> Value {
    call(1, "add", &json!({"a": 1, "b": 2}))
}

/// Fails unless a request is refused with a status and, as it is written, a challenge. `BASE` stands
/// for where the server is.
#[track_caller]
fn challenged(door: &Door, reply: &Reply, status: u16, challenge: &str) {
    let base = format!("http://{}", door.address());
    let given = reply.header("www-authenticate").map(|given| given.replace(&base, "BASE"));
    assert_eq!((reply.status, given.as_deref()), (status, Some(challenge)), "{reply:?}");
}

const METADATA: &str =
    r#"scope="kami:call", resource_metadata="BASE/.well-known/oauth-protected-resource/mcp""#;

/// The challenge to who shows something that counts for nothing.
fn invalid(why: &str) -> String {
    format!(r#"bearer error="invalid_token", error_description="{why}", {METADATA}"#)
}

#[test]
fn who_shows_no_good_token_is_refused_and_told_why() {
    let lab = Lab::with_neighbour();
    let good = token(&lab, "ci", &[]);
    let door = guarded(&lab);
    let ask = |authorization: &str| door.post(&[("Authorization", authorization)], &add());
    assert_eq!(ask(&bearer(&good)).status, 200);

    let nothing = format!("bearer {METADATA}");
    challenged(&door, &door.post(&[], &add()), 401, &nothing);
    challenged(&door, &ask("Basic dXNlcjpwYXNz"), 401, &nothing);
    challenged(&door, &door.ask("GET", "/mcp", &[], ""), 401, &nothing);
    challenged(&door, &door.ask("DELETE", "/mcp", &[], ""), 401, &nothing);
    let unknown = "the token is unknown, or was revoked";
    let other = "the token is of no kind that is accepted here";
    let (long, malformed) = ("the token is too long", "the token is malformed");
    let huge = "x".repeat(9 << 10);
    for (shown, why) in [
        ("Bearer kami_", unknown),
        ("Bearer kami_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", unknown),
        (&bearer(&good[..good.len() - 1]), unknown),
        (&bearer(&format!("{good}=")), unknown),
        (&bearer(&good.to_uppercase()), other),
        ("Bearer eyJhbGciOiJub25lIn0.e30.", other),
        ("Bearer", malformed),
        ("Bearer ", malformed),
        ("Bearer two words", malformed),
        ("Bearer \"kami_x\"", malformed),
        (&bearer(&huge), long),
    ] {
        challenged(&door, &ask(shown), 401, &invalid(why));
    }
    // What is longer than a head may be is not even read to its end.
    assert!(matches!(ask(&bearer(&"x".repeat(100 << 10))).status, 401 | 431));

    // In an address it would be in everybody's logs.
    let query = format!("/mcp?access_token={good}");
    let body = add().to_string();
    let in_header = "a token comes in the header authorization";
    let malformed =
        |why| format!(r#"bearer error="invalid_request", error_description="{why}", {METADATA}"#);
    for headers in [&[][..], &[("Authorization", &*bearer(&good))]] {
        challenged(&door, &door.ask("POST", &query, headers, &body), 400, &malformed(in_header));
    }
    let twice = [("Authorization", &*bearer(&good)), ("Authorization", "Bearer kami_x")];
    challenged(&door, &door.post(&twice, &add()), 400, &malformed("there are several tokens"));
    assert_eq!(ask(&bearer(&good)).status, 200);
}

#[test]
fn a_token_gets_its_tools_and_of_others_hears_nothing() {
    let lab = Lab::with_neighbour();
    install_for_limits(&lab);
    let pattern = id("twin/*");
    let one = token(&lab, "one", &["--tools", "add", "--tools", &pattern]);
    let but = token(&lab, "but", &["--exclude", "add"]);
    let all = token(&lab, "all", &[]);
    let scoped = token(&lab, "scoped", &["--scope", "tool:add"]);
    let door = guarded(&lab);
    let twin = listed(&door, &all).into_iter().find(|name| name.contains("twin"));
    let twin = twin.expect("the package is installed");
    assert_eq!(listed(&door, &one), ["add", &twin]);
    assert_eq!(listed(&door, &scoped), ["add"]);
    let (but_one, everything) = (listed(&door, &but), listed(&door, &all));
    assert_eq!(but_one.len() + 1, everything.len());
    assert!(!but_one.contains(&"add".to_owned()) && everything.contains(&"add".to_owned()));

    for (token, status) in [(&one, 200), (&scoped, 200), (&all, 200)] {
        let reply = ask(&door, token, &add());
        let result = &reply.messages()[0]["result"]["structuredContent"];
        assert_eq!((reply.status, result), (status, &json!({"result": 3})), "{reply:?}");
    }
    // By whatever name it is called, it is as if it were not there.
    let answer = |token: &str, name: &str| {
        let reply = ask(&door, token, &call(1, name, &json!({"a": 1, "b": 2})));
        let [message] = &reply.messages()[..] else { panic!("{reply:?}") };
        (reply.status, message["error"]["code"].clone(), message.to_string().replace(name, "NAME"))
    };
    let spin = id("hasty/spin");
    for (token, hidden) in [(&but, "add"), (&but, &id("neighbour/add")), (&one, &spin)] {
        let missing = "a".repeat(hidden.len());
        assert_eq!(answer(token, hidden), answer(token, &missing), "{hidden}");
        assert_eq!(answer(token, hidden).1, json!(-32602));
    }
    // Nor is it named to who mistypes.
    assert!(!answer(&but, "addd").2.contains("`add`"));
    assert!(answer(&all, "addd").2.contains("`add`"));
}

#[test]
fn what_is_not_offered_is_there_for_nobody() {
    let lab = Lab::with_neighbour();
    install_for_limits(&lab);
    let flags = ["--tools", "add,refuse", "--exclude", "refuse"];
    let mut server = Server::start_with(lab.data(), &flags, &[]);
    let id_of_list = server.ask("tools/list", &json!({}));
    let tools = server.result(id_of_list)["tools"].clone();
    let names: Vec<_> =
        tools.as_array().expect("it is a list").iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["add"]);
    let sum = server.call("add", &json!({"a": 1, "b": 2}));
    assert_eq!(sum["structuredContent"], json!({"result": 3}));
    let hidden = server.begin(&id("limited/refuse"), &json!({}));
    let (answered, message) = server.answer().expect("it is answered");
    assert_eq!((answered, &message["error"]["code"]), (hidden, &json!(-32602)), "{message}");
    let (status, log) = server.finish();
    assert!(status.success(), "{log}");

    // A token gets no more than what is offered.
    let all = token(&lab, "all", &[]);
    let door = Door::start_with(lab.data(), &[&flags[..], &["--auth", "tokens"]].concat());
    assert_eq!(listed(&door, &all), ["add"]);
    let refused = ask(&door, &all, &call(1, &id("limited/refuse"), &json!({})));
    assert_eq!(refused.messages()[0]["error"]["code"], -32602, "{refused:?}");
}

#[test]
fn who_may_only_see_tools_calls_none() {
    let lab = Lab::with_neighbour();
    let reader = token(&lab, "reader", &["--scope", "kami:read"]);
    let door = guarded(&lab);
    assert_eq!(listed(&door, &reader), ["add"]);
    let why = "the scopes of the token do not permit this";
    let insufficient =
        format!(r#"bearer error="insufficient_scope", error_description="{why}", {METADATA}"#);
    challenged(&door, &ask(&door, &reader, &add()), 403, &insufficient);
    let unknown = ask(&door, &reader, &call(1, "nothing", &json!({})));
    assert_eq!((unknown.status, &unknown.messages()[0]["error"]["code"]), (200, &json!(-32602)));
    assert!(door.finish().success());
    let log = lab.cargo_kami(&["log", "--kind", "refusal"]).stdout;
    assert!(log.contains("`add` as token:reader: ") && log.contains("[KAMI-SCOPE]"), "{log}");
}

#[test]
fn a_token_that_is_revoked_or_over_is_refused_at_the_next_request() {
    let lab = Lab::with_neighbour();
    let revoked = token(&lab, "ci", &["--expires", "1h"]);
    let short = NewToken::generate().expect("there is entropy");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("it is later than 1970").as_secs();
    lab.registry()
        .add_token(&terms("short", now, Some(now + 2)), short.hash())
        .expect("it can be added");
    let door = guarded(&lab);
    assert_eq!(ask(&door, &revoked, &add()).status, 200);
    lab.cargo_kami(&["token", "revoke", "ci"]).expect(0, "Revoked ci");
    let reply = ask(&door, &revoked, &add());
    challenged(&door, &reply, 401, &invalid("the token is unknown, or was revoked"));
    // Another one of the same name is another one.
    let again = token(&lab, "ci", &[]);
    assert_eq!(ask(&door, &again, &add()).status, 200);
    assert_eq!(ask(&door, &revoked, &add()).status, 401);

    let deadline = Instant::now() + PATIENCE;
    let over = loop {
        let reply = ask(&door, short.expose(), &add());
        if reply.status != 200 {
            break reply;
        }
        assert!(Instant::now() < deadline, "it goes on");
        std::thread::sleep(Duration::from_millis(100));
    };
    challenged(&door, &over, 401, &invalid("the token has expired"));
}

#[test]
fn a_session_is_there_for_who_opened_it_alone() {
    let lab = Lab::with_neighbour();
    let (alice, mallory) = (token(&lab, "alice", &[]), token(&lab, "mallory", &[]));
    let door = guarded(&lab);
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "kami-tests", "version": "1"},
    });
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let opened = ask(&door, &alice, &hello);
    let session = opened.header("mcp-session-id").expect("there is a session").to_owned();
    let params = json!({"name": "add", "arguments": {"a": 1, "b": 2}});
    let sum = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
    let within = |token: &str, method, message: &str| {
        let authorization = bearer(token);
        let headers = [("Mcp-Session-Id", &*session), ("Authorization", &*authorization)];
        door.ask(method, "/mcp", &headers, message)
    };
    let sum = sum.to_string();
    assert_eq!(within(&alice, "POST", &sum).status, 200);
    for (method, message) in [("POST", &*sum), ("GET", ""), ("DELETE", "")] {
        assert_eq!(within(&mallory, method, message).status, 404, "{method}");
    }
    let unnamed = [("Mcp-Session-Id", &*session)];
    assert_eq!(door.ask("POST", "/mcp", &unnamed, &sum).status, 401);
    let result = within(&alice, "POST", &sum).messages()[0]["result"].clone();
    assert_eq!(result["structuredContent"], json!({"result": 3}), "it was not ended by others");
    assert_eq!(within(&alice, "DELETE", "").status, 200);
    assert_eq!(within(&alice, "POST", &sum).status, 404);
}

#[test]
fn each_identity_has_a_rate_of_its_own_and_is_named_in_the_log() {
    let lab = Lab::with_neighbour();
    let (slow, other) = (token(&lab, "slow", &["--rate", "2"]), token(&lab, "other", &[]));
    let flags = ["--auth", "tokens", "--max-calls-per-minute", "4"];
    let door = Door::start_with(lab.data(), &flags);
    // Whatever sessions and connections it opens.
    let refused = |token: &str| {
        let outcomes = (0..6).map(|_| ask(&door, token, &add()).body.contains("KAMI-RATE"));
        outcomes.filter(|refused| *refused).count()
    };
    assert_eq!((refused(&slow), refused(&other)), (4, 2));
    assert!(door.finish().success());
    let log = lab.cargo_kami(&["log", "--lines", "100"]).stdout;
    let lines = |words: &[&str]| {
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    };
    assert_eq!(lines(&[" as token:slow", ": ok after"]), 2, "{log}");
    assert_eq!(lines(&[" as token:other", ": ok after"]), 4, "{log}");
    assert_eq!(lines(&[" as token:slow", "[KAMI-RATE]"]), 4, "{log}");
    assert_eq!(
        lines(&["create `slow`: kami:call, all tools, 2 calls a minute, until "]),
        1,
        "{log}"
    );
}

/// Every file below a directory that holds some bytes.
fn files_with(directory: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if fs::read(&path).is_ok_and(|all| all.windows(bytes.len()).any(|w| w == bytes)) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_token_is_in_no_log_no_file_no_guest_and_no_answer() {
    let lab = Lab::with_neighbour();
    install_for_limits(&lab);
    let good = token(&lab, "ci", &[]);
    let bad = "kami_this-one-counts-for-nothing-but-may-be-good-elsewhere";
    let key = SigningKey::new("one", "ES256");
    let issuer = Issuer::start(&[&key]);
    let url = issuer.url();
    let (access, old) = (claims(&issuer), but(&claims(&issuer), &json!({"exp": 1})));
    let (access, old) = (key.sign(&access), key.sign(&old));
    let flags = [
        "--auth",
        "tokens",
        "--oauth-issuer",
        &url,
        "--oauth-audience",
        AUDIENCE,
        "--audit-arguments",
        "full",
        "--stats",
    ];
    let door = Door::start_at("127.0.0.1:0", lab.data(), &flags, "trace");
    let mut said = String::new();
    for token in [&*good, bad, &access, &old] {
        for tool in ["add", &id("limited/probe"), &id("limited/panic"), "nothing"] {
            let mut message = call(1, tool, &json!({"a": 1, "b": 2}));
            message["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("debug");
            let reply = ask(&door, token, &message);
            said += &(reply.head + &reply.body);
        }
        said += &door.ask("POST", &format!("/mcp?access_token={token}"), &[], "{}").body;
    }
    said += &door.log();
    assert!(said.contains("\"result\":3") && said.contains("invalid_token"), "{said}");
    assert!(door.finish().success());
    let signature = |token: &str| token.rsplit_once('.').expect("it has parts").1.to_owned();
    for random in [&good[5..], &bad[5..], &signature(&access), &signature(&old)] {
        assert!(!said.contains(random), "{said}");
        assert_eq!(files_with(lab.data().path(), random.as_bytes()), [""; 0]);
    }
}

#[test]
fn an_address_that_others_reach_needs_tokens_and_a_name() {
    let lab = Lab::with_neighbour();
    let good = token(&lab, "ci", &[]);
    let fails = |flags: &[&str], words: &str| {
        let mut command = Command::new(program());
        command.args(["serve", "--http", "0.0.0.0:0"]).args(flags);
        let output = command.arg("--data-dir").arg(lab.data().path()).output();
        let output = output.expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(words), "{said}");
        assert!(!said.contains("Serving"), "what is refused is not said to be served: {said}");
    };
    let public = ["--public-url", "https://tools.example.com"];
    fails(&public, "--auth tokens");
    fails(&["--auth", "tokens"], "--public-url");
    fails(&["--auth", "nothing"], "tokens");

    let flags = [&public[..], &["--auth", "tokens", "--allow-host", "10.0.0.5"]].concat();
    let door = Door::start_at("0.0.0.0:0", lab.data(), &flags, "warn");
    let authorization = bearer(&good);
    for (host, origin, status) in [
        ("tools.example.com", "", 200),
        ("TOOLS.example.com:443", "https://tools.example.com", 200),
        ("10.0.0.5:3000", "", 200),
        ("localhost", "", 200),
        ("tools.example.com", "http://tools.example.com", 403),
        ("tools.example.com", "https://tools.example.com.elsewhere.example", 403),
        ("tools.example.com", "https://elsewhere.example", 403),
        ("tools.example.com.elsewhere.example", "", 403),
        ("10.0.0.6", "", 403),
        ("somebody@tools.example.com", "", 403),
        ("rebound.example", "", 403),
    ] {
        let headers = [("Host", host), ("Origin", origin), ("Authorization", &authorization)];
        assert_eq!(door.post(&headers, &add()).status, status, "{host} {origin}");
    }
    let unnamed = door.post(&[("Host", "tools.example.com")], &add());
    let base = r#"="https://tools.example.com/.well-known/oauth-protected-resource/mcp""#;
    assert!(unnamed.status == 401 && unnamed.head.contains(base), "{unnamed:?}");
    assert_eq!(door.post(&[("Host", "rebound.example")], &add()).status, 403, "and no challenge");
}

/// A stream that somebody has open.
struct Open(std::thread::JoinHandle<String>);

impl Open {
    /// Opens a stream by a request, and waits until there is one.
    fn new(door: &Door, method: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let mut stream = door.send(door.request(method, "/mcp", headers, body).as_bytes());
        let mut head = vec![0; 15];
        stream.read_exact(&mut head).expect("it is answered");
        assert_eq!(head, b"HTTP/1.1 200 OK");
        // Longer than anything that ends by itself takes.
        stream.set_read_timeout(Some(PATIENCE * 2)).expect("it is more than nothing");
        Self(std::thread::spawn(move || {
            let mut rest = String::new();
            stream.read_to_string(&mut rest).expect("it ends");
            rest
        }))
    }

    /// Both kinds: a listener of a session, and a subscription.
    fn both(door: &Door, token: &str) -> [Self; 2] {
        let authorization = bearer(token);
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "kami-tests", "version": "1"},
        });
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let opened = ask(door, token, &hello);
        let session = opened.header("mcp-session-id").expect("there is a session").to_owned();
        let headers = [("Authorization", &*authorization), ("Mcp-Session-Id", &session)];
        let notifications = json!({"notifications": {"toolsListChanged": true}});
        let listen = request(1, "subscriptions/listen", notifications).to_string();
        [Self::new(door, "GET", &headers, ""), Self::new(door, "POST", &headers[..1], &listen)]
    }

    fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

#[test]
fn what_a_token_opened_ends_with_it() {
    let lab = Lab::with_neighbour();
    let (revoked, good) = (token(&lab, "ci", &[]), token(&lab, "other", &[]));
    let short = NewToken::generate().expect("there is entropy");
    let key = SigningKey::new("one", "ES256");
    let issuer = Issuer::start(&[&key]);
    let door = trusting(&lab, &issuer, &["--auth", "tokens"]);
    let now = u64::try_from(in_seconds(0)).expect("it is later than 1970");
    let terms = terms("short", now, Some(now + 20));
    lab.registry().add_token(&terms, short.hash()).expect("it is new");
    // Clocks may differ by thirty seconds.
    let access = key.sign(&but(&claims(&issuer), &json!({"exp": in_seconds(-10)})));
    let lasting = key.sign(&claims(&issuer));

    let kept = [Open::both(&door, &good), Open::both(&door, &lasting)];
    let over = [short.expose(), &access].map(|token| Open::both(&door, token));
    for (streams, token) in over.iter().zip([short.expose(), &access]) {
        until(|| streams.iter().all(Open::is_over));
        assert_eq!(ask(&door, token, &add()).status, 401, "not before it is over");
    }
    let ended = Open::both(&door, &revoked);
    std::thread::sleep(Duration::from_secs(1));
    assert!(!ended.iter().any(Open::is_over));
    lab.cargo_kami(&["token", "revoke", "ci"]).expect(0, "Revoked ci");
    // News come before anybody would have looked again, and are not for them.
    install_hermit(&lab);
    until(|| ended.iter().all(Open::is_over));
    for stream in ended {
        let said = stream.0.join().expect("reading does not panic");
        assert!(!said.contains("list_changed"), "{said}");
    }
    // Others hear of it, and go on.
    assert!(!kept.iter().flatten().any(Open::is_over));
    assert!(door.finish().success());
    for stream in kept.into_iter().flatten() {
        let said = stream.0.join().expect("reading does not panic");
        assert!(said.contains("list_changed"), "{said}");
    }
}

/// The terms of a token, as the registry has them.
fn terms(name: &str, created_at: u64, expires_at: Option<u64>) -> Token {
    Token {
        name: name.parse().expect("it is a name"),
        scopes: ["kami:call".parse().expect("it is a scope")].into(),
        tools: ToolSelection::default(),
        calls_per_minute: None,
        created_at,
        expires_at,
    }
}

/// Even if it was made in the same second.
#[test]
fn a_token_under_the_name_of_another_is_somebody_else() {
    let lab = Lab::with_neighbour();
    let now = u64::try_from(in_seconds(0)).expect("it is later than 1970");
    let [first, second] = [(); 2].map(|()| NewToken::generate().expect("there is entropy"));
    let name = "ci".parse().expect("it is a name");
    let terms = terms("ci", now, None);
    lab.registry().add_token(&terms, first.hash()).expect("it is new");
    let door = guarded(&lab);
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "kami-tests", "version": "1"},
    });
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let opened = ask(&door, first.expose(), &hello);
    let session = opened.header("mcp-session-id").expect("there is a session").to_owned();
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    let within = |token: &NewToken| {
        let authorization = bearer(token.expose());
        let headers = [("Mcp-Session-Id", &*session), ("Authorization", &*authorization)];
        door.post(&headers, &ping).status
    };
    assert_eq!(within(&first), 200);
    lab.registry().remove_token(&name).expect("it is there");
    lab.registry().add_token(&terms, second.hash()).expect("the name is free");
    assert_eq!((within(&first), within(&second)), (401, 404));
    assert_eq!(ask(&door, second.expose(), &add()).status, 200);
}

/// A proxy with TLS is what leads others here.
#[test]
fn who_gives_tokens_is_named_by_https_to_who_comes_from_elsewhere() {
    let lab = Lab::with_neighbour();
    token(&lab, "ci", &[]);
    let flags = ["--auth", "tokens", "--allow-host", "tools.example.com"];
    let door = Door::start_with(lab.data(), &flags);
    for (host, base) in [
        ("tools.example.com", "https://tools.example.com"),
        ("tools.example.com:8443", "https://tools.example.com:8443"),
        ("localhost:3000", "http://localhost:3000"),
        ("127.0.0.1", "http://127.0.0.1"),
    ] {
        let path = "/.well-known/oauth-protected-resource/mcp";
        let refused = door.post(&[("Host", host)], &add());
        let challenge = refused.header("www-authenticate").expect("there is a challenge");
        assert!(challenge.contains(&format!("\"{base}{path}\"")), "{challenge}");
        let metadata = door.ask("GET", path, &[("Host", host)], "");
        let metadata: Value = serde_json::from_str(&metadata.body).expect("it is JSON");
        assert_eq!(metadata["resource"], format!("{base}/mcp"));
    }
    let flags = [&flags[..], &["--public-url", "http://10.0.0.5:3000"]].concat();
    let door = Door::start_with(lab.data(), &flags);
    let refused = door.post(&[("Host", "tools.example.com")], &add());
    assert!(refused.head.contains("\"http://10.0.0.5:3000/.well-known/"), "{refused:?}");
}

#[test]
fn what_stands_beside_the_protocol_tells_strangers_little() {
    let lab = Lab::with_neighbour();
    let door = guarded(&lab);
    for (path, body) in [("/health", "alive\n"), ("/health/ready", "ready\n")] {
        // Whoever watches may know this machine by another name.
        let reply = door.ask("GET", path, &[("Host", "10.1.2.3:3000")], "");
        assert_eq!((reply.status, &*reply.body), (200, body));
    }
    for path in ["", "/mcp"] {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        let reply = door.ask("GET", &path, &[], "");
        let metadata: Value = serde_json::from_str(&reply.body).expect("it is JSON");
        let expected = json!({
            "resource": format!("http://{}/mcp", door.address()),
            "scopes_supported": ["kami:read", "kami:call"],
            "bearer_methods_supported": ["header"],
            "resource_name": "KAMI",
        });
        assert_eq!((reply.status, metadata), (200, expected));
        assert_eq!(door.ask("GET", &path, &[("Host", "rebound.example")], "").status, 403);
        assert_eq!(door.ask("POST", &path, &[], "").status, 405);
    }
    // A registry that cannot be read any more is no reason to be restarted, but to get no clients.
    fs::write(lab.data().registry_file(), "noise").expect("it can be written");
    until(|| door.ask("GET", "/health/ready", &[], "").status == 503);
    assert_eq!(door.ask("GET", "/health", &[], "").status, 200);

    let open = Lab::with_neighbour();
    let open = Door::start(open.data());
    let nothing = open.ask("GET", "/.well-known/oauth-protected-resource", &[], "");
    assert_eq!(nothing.status, 404, "nobody is asked for a token");
}

#[test]
fn a_server_that_is_about_to_end_takes_no_more_and_finishes_what_it_has() {
    let lab = Lab::with_neighbour();
    install_hermit(&lab);
    let door = Door::start(lab.data());
    let sleep = call(7, &id("hermit/sleep"), &json!({"millis": 1_500})).to_string();
    let begun = door.send(door.request("POST", "/mcp", &[], &sleep).as_bytes());
    until(|| door.ask("GET", "/metrics", &[], "").body.contains("kami_calls_running 1\n"));
    door.terminate();
    until(|| door.ask("GET", "/health/ready", &[], "").status == 503);
    assert_eq!(door.ask("GET", "/health", &[], "").status, 200);
    let refused = door.post(&[], &add());
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{refused:?}");
    let finished = Reply::read(begun);
    assert_eq!(finished.messages()[0]["result"]["isError"], false, "{finished:?}");
    assert!(door.finish().success());
}

#[test]
fn what_calls_take_is_told_in_numbers_to_who_may_know() {
    let lab = Lab::with_neighbour();
    install_for_limits(&lab);
    let good = bearer(&token(&lab, "ci", &["--rate", "5"]));
    let door = Door::start_with(lab.data(), &["--auth", "tokens"]);
    let headers = [("Authorization", &*good)];
    let (spin, refuse) = (id("hasty/spin"), id("limited/refuse"));
    for tool in ["add", "add", &refuse, &spin, "nothing", "add"] {
        let arguments = match tool {
            "add" => json!({"a": 1, "b": 2}),
            tool if tool == refuse => json!({"words": "no"}),
            _ => json!({}),
        };
        assert_eq!(door.post(&headers, &call(1, tool, &arguments)).status, 200);
    }
    let reply = door.ask("GET", "/metrics", &[], "");
    let kind = reply.header("content-type");
    assert_eq!(kind, Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    for line in [
        r#"kami_calls_total{outcome="ok"} 2"#,
        r#"kami_calls_total{outcome="KAMI-TOOL"} 1"#,
        r#"kami_calls_total{outcome="KAMI-TIMEOUT"} 1"#,
        r#"kami_calls_total{outcome="KAMI-UNKNOWN"} 1"#,
        r#"kami_calls_total{outcome="KAMI-RATE"} 1"#,
        "kami_call_duration_seconds_count 4",
        r#"kami_call_duration_seconds_bucket{le="0.1"} 3"#,
        "kami_guest_memory_peak_bytes_count 4",
        "kami_guest_fuel_total 0",
        "kami_calls_running 0",
        "kami_calls_waiting 0",
        "# EOF",
    ] {
        assert!(reply.body.lines().any(|found| found == line), "{line} is not in\n{}", reply.body);
    }
    let number = |name: &str| -> f64 {
        let line = reply.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no {name}: {reply:?}"))
    };
    assert!(number("kami_guest_cpu_seconds_total") > 0.1, "one has spun for 200 ms: {reply:?}");
    assert!(
        number("kami_native_code_cache_hits_total") + number("kami_native_code_cache_misses_total")
            >= 3.0
    );
    // Neither who calls nor what is installed is told, and no page of elsewhere is told anything.
    for word in ["ci", "add", "hasty", "nothing"] {
        assert!(!reply.body.contains(&format!("\"{word}")), "{reply:?}");
    }
    let page = [("Origin", "https://elsewhere.example")];
    assert_eq!(door.ask("GET", "/metrics", &page, "").status, 403);
    assert_eq!(door.ask("POST", "/metrics", &[], "").status, 405);

    // Where a proxy may bring others, they have to show who they are.
    let flags = ["--auth", "tokens", "--public-url", "https://tools.example.com"];
    let door = Door::start_with(lab.data(), &flags);
    assert_eq!(door.ask("GET", "/metrics", &[], "").status, 401);
    assert_eq!(door.ask("GET", "/metrics", &headers, "").status, 200);
}

#[test]
fn only_pages_that_are_named_talk_to_a_server_from_a_browser() {
    let lab = Lab::with_neighbour();
    let good = bearer(&token(&lab, "ci", &[]));
    let app = "https://app.example.com";
    let flags = ["--auth", "tokens", "--cors-origin", app];
    let door = Door::start_with(lab.data(), &flags);
    let asks = ("Access-Control-Request-Method", "POST");
    let preflight = door.ask("OPTIONS", "/mcp", &[("Origin", app), asks], "");
    assert_eq!(preflight.status, 204, "{preflight:?}");
    assert_eq!(preflight.header("access-control-allow-origin"), Some(app));
    assert_eq!(preflight.header("vary"), Some("origin"));
    let allowed = preflight.header("access-control-allow-headers").expect("there are some");
    for name in ["authorization", "mcp-session-id", "mcp-protocol-version", "last-event-id"] {
        assert!(allowed.contains(name), "{name} is not in {allowed}");
    }
    let reply = door.post(&[("Origin", app), ("Authorization", &good)], &add());
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some(app)));
    let exposed = reply.header("access-control-expose-headers").expect("there are some");
    assert!(exposed.contains("mcp-session-id") && exposed.contains("www-authenticate"));
    // A page has to be able to read what it is to show.
    let refused = door.post(&[("Origin", app)], &add());
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(app)));

    for page in ["https://elsewhere.example", "http://app.example.com", "null"] {
        let preflight = door.ask("OPTIONS", "/mcp", &[("Origin", page), asks], "");
        assert_eq!(preflight.status, 403, "{page}");
        let reply = door.post(&[("Origin", page), ("Authorization", &good)], &add());
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (403, None));
    }
    // A page of this machine is answered, as ever, and no browser lets it read that.
    let local = door.post(&[("Origin", "http://localhost"), ("Authorization", &good)], &add());
    assert_eq!((local.status, local.header("access-control-allow-origin")), (200, None));
    let plain = Lab::with_neighbour();
    let plain = Door::start(plain.data());
    let preflight = plain.ask("OPTIONS", "/mcp", &[("Origin", "http://localhost"), asks], "");
    assert_eq!((preflight.status, preflight.header("vary")), (405, None));
}

/// For whom tokens of the issuer are.
const AUDIENCE: &str = "https://tools.example.com/mcp";

/// What an access token says that is good for an hour.
fn claims(issuer: &Issuer) -> Value {
    json!({
        "iss": issuer.url(), "aud": AUDIENCE, "sub": "alice", "client_id": "app", "jti": "1",
        "iat": in_seconds(0), "exp": in_seconds(3600), "scope": "openid kami:call",
    })
}

/// The same with some members other or, where they are `null`, left out.
fn but(claims: &Value, others: &Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in others.as_object().expect("it is an object") {
        claims[name] = value.clone();
    }
    claims.as_object_mut().expect("it is an object").retain(|_, value| !value.is_null());
    claims
}

/// A server that takes the tokens of an issuer.
fn trusting(lab: &Lab, issuer: &Issuer, flags: &[&str]) -> Door {
    let url = issuer.url();
    let oauth = ["--oauth-issuer", &url, "--oauth-audience", AUDIENCE];
    Door::start_with(lab.data(), &[&oauth[..], flags].concat())
}

#[test]
fn an_access_token_holds_by_every_algorithm_that_proves_something() {
    let lab = Lab::with_neighbour();
    let algorithms =
        ["ES256", "ES384", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    let keys = algorithms.map(|algorithm| SigningKey::new(algorithm, algorithm));
    let issuer = Issuer::start(&keys.each_ref());
    let door = trusting(&lab, &issuer, &[]);
    let claims = claims(&issuer);
    for key in &keys {
        let token = key.sign(&claims);
        assert_eq!(ask(&door, &token, &add()).status, 200, "{token}");
        // What was changed on the way does not hold.
        let (message, signature) = token.rsplit_once('.').expect("it has parts");
        let admin = key.sign(&but(&claims, &json!({"sub": "admin"})));
        let (other, _) = admin.rsplit_once('.').expect("it has parts");
        let broken = "the signature of the token does not hold";
        for changed in
            [format!("{other}.{signature}"), format!("{message}."), format!("{message}.AA")]
        {
            challenged(&door, &ask(&door, &changed, &add()), 401, &invalid(broken));
        }
    }
    // One key serves for what it is, whatever its name.
    let unnamed = keys[2].sign_as(&json!({"alg": "EdDSA"}), &claims);
    assert_eq!(ask(&door, &unnamed, &add()).status, 200);
    let confused = keys[0].sign_as(&json!({"alg": "ES384", "kid": "ES256"}), &claims);
    let missing = "the token is signed by a key that its issuer has not";
    challenged(&door, &ask(&door, &confused, &add()), 401, &invalid(missing));
}

#[test]
fn an_access_token_that_is_not_for_this_or_not_for_now_is_refused() {
    let lab = Lab::with_neighbour();
    let key = SigningKey::new("one", "ES256");
    let issuer = Issuer::start(&[&key]);
    let door = trusting(&lab, &issuer, &[]);
    let good = claims(&issuer);
    for others in [
        json!({}),
        json!({"aud": ["https://other.example", AUDIENCE]}),
        json!({"nbf": in_seconds(-10)}),
        // Clocks differ.
        json!({"exp": in_seconds(-10)}),
        json!({"nbf": in_seconds(10)}),
        json!({"scope": null, "scp": ["kami:call"]}),
        json!({"scope": null, "scp": "other kami:call"}),
    ] {
        let reply = ask(&door, &key.sign(&but(&good, &others)), &add());
        assert_eq!(reply.status, 200, "{others}: {reply:?}");
    }
    let (issuer_of, audience) =
        ("the token is of another issuer", "the token is for another audience");
    let malformed = "the token is malformed";
    for (others, why) in [
        (json!({"iss": "https://elsewhere.example"}), issuer_of),
        (json!({"iss": format!("{}/", issuer.url())}), issuer_of),
        (json!({"aud": "https://tools.example.com/other"}), audience),
        (json!({"aud": format!("{AUDIENCE}/")}), audience),
        (json!({"aud": []}), audience),
        (json!({"exp": in_seconds(-40)}), "the token has expired"),
        (json!({"exp": 0}), "the token has expired"),
        (json!({"nbf": in_seconds(40)}), "the token is not valid yet"),
        (json!({"sub": null}), "the token names nobody"),
        (json!({"sub": ""}), "the token names nobody"),
        (json!({"cnf": {"jkt": "x"}}), "the token is bound to a key, which cannot be checked here"),
        (json!({"exp": null}), malformed),
        (json!({"exp": "tomorrow"}), malformed),
        (json!({"aud": null}), malformed),
        (json!({"iss": null}), malformed),
        (json!({"iss": [issuer.url()]}), malformed),
    ] {
        let token = key.sign(&but(&good, &others));
        challenged(&door, &ask(&door, &token, &add()), 401, &invalid(why));
    }
    let unaccepted = "the token is not signed in a way that is accepted";
    let header = |header: Value| key.sign_as(&header, &good);
    for (token, why) in [
        (unsigned(&good), unaccepted),
        (key.forge_by_hmac(&good), unaccepted),
        (header(json!({"alg": "none", "kid": "one"})), unaccepted),
        (header(json!({"alg": "es256", "kid": "one"})), unaccepted),
        (
            header(json!({"alg": "ES256", "kid": "one", "crit": ["exp"]})),
            "the token asks for what is not understood here",
        ),
        (
            header(json!({"alg": "ES256", "kid": "one", "typ": "logout+jwt"})),
            "the token is no access token",
        ),
        (header(json!(["ES256", "one", null, null])), malformed),
        (header(json!({"kid": "one"})), malformed),
        ("one.two".to_owned(), malformed),
        ("a.b.c".to_owned(), malformed),
        (format!("{}.x", key.sign(&good)), malformed),
        ("x".repeat(8 << 10), malformed),
        ("x".repeat((8 << 10) + 1), "the token is too long"),
        (key.sign(&but(&good, &json!({"scope": "x".repeat(8 << 10)}))), "the token is too long"),
        // Of the other kind, which this server does not take.
        ("kami_AAAA".to_owned(), "the token is of no kind that is accepted here"),
    ] {
        challenged(&door, &ask(&door, &token, &add()), 401, &invalid(why));
    }
    // Somebody else's key of the same name.
    let stranger = SigningKey::new("one", "ES256");
    let broken = "the signature of the token does not hold";
    challenged(&door, &ask(&door, &stranger.sign(&good), &add()), 401, &invalid(broken));
}

#[test]
fn an_access_token_permits_what_its_scopes_say() {
    let lab = Lab::with_neighbour();
    install_for_limits(&lab);
    let key = SigningKey::new("one", "EdDSA");
    let issuer = Issuer::start(&[&key]);
    let door = trusting(&lab, &issuer, &[]);
    let with = |scope: &str| key.sign(&but(&claims(&issuer), &json!({"scope": scope})));
    let insufficient = |metadata: &str| {
        let why = "the scopes of the token do not permit this";
        format!(r#"bearer error="insufficient_scope", error_description="{why}", {metadata}"#)
    };
    assert_eq!(listed(&door, &with("tool:add")), ["add"]);
    assert_eq!(ask(&door, &with("tool:add"), &add()).status, 200);
    let all = listed(&door, &with("kami:read"));
    assert!(all.len() > 10 && all == listed(&door, &with("kami:call")));
    let forbidden = ask(&door, &with("kami:read tool:refuse"), &add());
    challenged(&door, &forbidden, 403, &insufficient(METADATA));
    for nothing in ["", "openid profile", "kami:calls", "tool:"] {
        let list = request(1, "tools/list", json!({}));
        let reply = ask(&door, &with(nothing), &list);
        challenged(&door, &reply, 403, &insufficient(METADATA));
    }
    let metadata = door.ask("GET", "/.well-known/oauth-protected-resource/mcp", &[], "");
    let metadata: Value = serde_json::from_str(&metadata.body).expect("it is JSON");
    assert_eq!(metadata["authorization_servers"], json!([issuer.url()]));

    // An issuer may have words of its own for it, and then only these count.
    let own = trusting(&lab, &issuer, &["--oauth-scope", "tools.use", "--oauth-scope", "mcp"]);
    assert_eq!(ask(&own, &with("mcp tools.use"), &add()).status, 200);
    let wanted = METADATA.replace("kami:call", "tools.use mcp");
    for too_little in ["mcp", "kami:call", "tools.use kami:call"] {
        challenged(&own, &ask(&own, &with(too_little), &add()), 403, &insufficient(&wanted));
    }
    challenged(&own, &own.post(&[], &add()), 401, &format!("bearer {wanted}"));
    assert!(door.finish().success());
    let log = lab.cargo_kami(&["log", "--kind", "call", "--lines", "1000"]).stdout;
    assert!(log.contains(": ok after") && log.contains(" as oauth:alice"), "{log}");
}

#[test]
fn a_key_that_was_replaced_counts_no_more_and_its_successor_at_once() {
    let lab = Lab::with_neighbour();
    let (old, new) = (SigningKey::new("old", "ES256"), SigningKey::new("new", "ES256"));
    let issuer = Issuer::start(&[&old]);
    let door = trusting(&lab, &issuer, &[]);
    let good = claims(&issuer);
    assert_eq!(ask(&door, &old.sign(&good), &add()).status, 200);
    let visits = issuer.visits();
    assert_eq!(ask(&door, &old.sign(&good), &add()).status, 200);
    assert_eq!(issuer.visits(), visits, "keys are kept");
    issuer.publish(&[&new]);
    assert_eq!(ask(&door, &new.sign(&good), &add()).status, 200);
    let gone = "the token is signed by a key that its issuer has not";
    challenged(&door, &ask(&door, &old.sign(&good), &add()), 401, &invalid(gone));
}

#[test]
fn unknown_keys_have_an_issuer_asked_seldom_and_keep_nobody_out() {
    let lab = Lab::with_neighbour();
    let key = SigningKey::new("one", "ES256");
    let issuer = Issuer::start(&[&key]);
    let door = trusting(&lab, &issuer, &[]);
    let good = claims(&issuer);
    let started = Instant::now();
    for number in 0..200 {
        let header = json!({"alg": "ES256", "kid": format!("unknown-{number}")});
        assert_eq!(ask(&door, &key.sign_as(&header, &good), &add()).status, 401);
        if number % 20 == 0 {
            assert_eq!(ask(&door, &key.sign(&good), &add()).status, 200);
        }
    }
    // Six reads at once, and one in ten seconds; each is of metadata in two places, and of keys.
    let reads = 6 + started.elapsed().as_secs() / 10 + 1;
    assert!(issuer.visits() as u64 <= 3 * reads, "{} visits", issuer.visits());
}

#[test]
fn an_issuer_that_is_away_or_another_one_lets_nobody_in() {
    let lab = Lab::with_neighbour();
    let own = token(&lab, "ci", &[]);
    let key = SigningKey::new("one", "ES256");
    let issuer = Issuer::start(&[&key]);
    issuer.pose_as("https://elsewhere.example");
    let door = trusting(&lab, &issuer, &["--auth", "tokens"]);
    let good = key.sign(&claims(&issuer));
    let refused = ask(&door, &good, &add());
    assert_eq!((refused.status, refused.header("www-authenticate")), (503, None), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    // What is logged is read by another thread.
    until(|| door.log().contains("is that of another issuer"));
    assert_eq!(ask(&door, &own, &add()).status, 200, "tokens of this program need no issuer");
    // It is asked again.
    issuer.pose_as(&issuer.url());
    assert_eq!(ask(&door, &good, &add()).status, 200);
    assert!(!door.log().contains(&good), "{}", door.log());

    // Where its keys are can be said, and then its metadata is not asked for.
    issuer.pose_as("https://elsewhere.example");
    let keys = format!("{}/keys", issuer.url());
    let door = trusting(&lab, &issuer, &["--oauth-jwks", &keys]);
    assert_eq!(ask(&door, &good, &add()).status, 200);

    for (flags, words) in [
        (["--oauth-issuer", "http://issuer.example"], "https://HOST/PATH"),
        (["--oauth-issuer", "https://issuer.example"], "--oauth-audience"),
        (["--oauth-audience", AUDIENCE], "--oauth-issuer"),
    ] {
        let mut command = vec!["serve", "--http", "127.0.0.1:0"];
        command.extend(flags);
        lab.cargo_kami(&command).expect(2, words);
    }
}
