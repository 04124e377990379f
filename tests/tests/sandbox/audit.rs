//! What guests did and tried is known afterwards, and nobody can make it otherwise unseen.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use kami_core::audit::{self, AuditEvent, AuditReader, CallRecord};
use kami_core::digest::Digest;
use kami_core::grants::{Capabilities, SecretName, SecretRequest};
use kami_tests::guests::program;
use kami_tests::lab::{Lab, hostile, id, limits};
use kami_tests::server::{PATIENCE, Server, text};
use kami_tests::web::Web;
use serde_json::{Value, json};

use super::scene::{UNHURRIED, install_for_limits};
use super::secrets::nowhere_in;

/// A text that is in no log unless it was put there.
const PRIVATE: &str = "arguments-that-are-nobody-s-business";

fn events(lab: &Lab) -> Vec<AuditEvent> {
    let mut reader = AuditReader::new(lab.data());
    let mut events = Vec::new();
    while let Some(record) = reader.next_record().expect("the log can be read") {
        events.push(record.expect("the line can be read").event);
    }
    events
}

fn calls(lab: &Lab) -> Vec<CallRecord> {
    let call = |event| match event {
        AuditEvent::Call(call) => Some(*call),
        _ => None,
    };
    events(lab).into_iter().filter_map(call).collect()
}

/// All bytes of the log.
fn written(lab: &Lab) -> String {
    let path = lab.data().audit_dir().join("00000001.jsonl");
    fs::read_to_string(path).expect("the log is text")
}

#[test]
fn calls_denials_and_refusals_are_in_the_log_and_arguments_are_not() {
    let lab = Lab::with_neighbour();
    install_for_limits(&lab);
    let mut server = Server::start(lab.data());
    server.call("add", &json!({"a": 1, "b": 2}));
    server.call("add", &json!({"a": PRIVATE}));
    server.call(&id("limited/connect"), &json!({"address": "192.0.2.1:80"}));
    server.call(&id("hasty/spin"), &json!({}));
    server.call(&id("starved/count"), &json!({"to": 1_000_000_000}));
    fs::write(lab.data().trust_file(), "version = 1\n").expect("the file can be written");
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let answer = server.call("add", &json!({"a": 1, "b": 2}));
        if text(&answer).1 || Instant::now() > deadline {
            break answer;
        }
    };
    assert!(text(&refused).0.ends_with("[KAMI-SIGNATURE]"), "{refused}");
    let (status, log) = server.finish();
    assert!(status.success(), "{log}");

    let calls = calls(&lab);
    let outcomes: Vec<(String, String)> =
        calls.iter().map(|call| (call.tool.to_string(), call.outcome.to_string())).collect();
    let expected = [
        ("add", "ok"),
        ("add", "KAMI-ARGUMENTS"),
        ("connect", "KAMI-TOOL"),
        ("hasty_spin", "KAMI-TIMEOUT"),
        ("starved_count", "KAMI-FUEL"),
    ];
    let expected = expected.map(|(tool, outcome)| (tool.to_owned(), outcome.to_owned()));
    assert_eq!(outcomes[..5], expected);
    assert_eq!(calls[0].package.as_str(), id("neighbour"));
    assert_eq!(calls[0].client.as_deref(), Some("kami-tests 1"));
    let arguments = audit::Arguments::Digest(Digest::of(br#"{"a":1,"b":2}"#));
    assert_eq!(calls[0].arguments, arguments, "anybody can check arguments that they know");
    let denied: Vec<_> = calls[2].denials.iter().map(|denial| denial.thing.as_str()).collect();
    assert!(denied[0].contains("192.0.2.1:80"), "{denied:?}");
    assert!(calls[3].micros >= 200_000, "{:?}", calls[3]);
    assert!(calls[4].fuel.is_some(), "{:?}", calls[4]);
    let refusals: Vec<_> = events(&lab)
        .into_iter()
        .filter_map(|event| match event {
            AuditEvent::Refusal { tool, code, .. } => Some((tool, code.into_owned())),
            _ => None,
        })
        .collect();
    assert_eq!(refusals, [("add".to_owned(), "KAMI-SIGNATURE".to_owned())]);
    assert!(!written(&lab).contains(PRIVATE));
    lab.cargo_kami(&["log", "verify"]).expect(0, "Verified");
}

#[test]
fn the_log_is_shown_with_one_line_for_each_record() {
    let lab = Lab::with_neighbour();
    let call = lab.cargo_kami(&["call", "add", "--input", r#"{"a": 1, "b": 2}"#]);
    assert_eq!(call.code, Some(0), "{call:?}");
    lab.cargo_kami(&["trust", "remove", &lab.key().public().to_string()]).expect(0, "Removed");
    let call = lab.cargo_kami(&["call", "add", "--input", "{}"]);
    assert_eq!(call.code, Some(15), "{call:?}");
    let log = lab.cargo_kami(&["log"]);
    let lines: Vec<&str> = log.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{log:?}");
    assert!(
        lines[0].contains("call      add (dev.kami.test.neighbour 0.1.0): ok after"),
        "{log:?}"
    );
    assert!(lines[1].contains("trust     remove `lab`: ed25519:"), "{log:?}");
    assert!(lines[2].contains("refusal   `add`") && lines[2].contains("[KAMI-SIGNATURE]"));
}

#[test]
fn arguments_are_in_the_log_for_who_asks_for_them() {
    let lab = Lab::with_neighbour();
    let input = json!({"a": 1, "b": 2}).to_string();
    let call = ["call", "add", "--input", &input, "--audit-arguments", "full"];
    assert_eq!(lab.cargo_kami(&call).code, Some(0));
    assert_eq!(calls(&lab)[0].arguments, audit::Arguments::Full(input));
}

#[test]
fn a_secret_among_arguments_that_are_kept_is_in_no_file() {
    const SECRET: &str = "ghp_S3cr+t/Va=lue~0123";
    let lab = Lab::with_neighbour();
    let set = ["secret", "set", "KAMI_TEST_TOKEN", "--key", "key-file", "--from-env", "TOKEN_HERE"];
    lab.cargo_kami_in(&[("TOKEN_HERE", SECRET)], &set).expect(0, "Kept");
    let name: SecretName = "KAMI_TEST_TOKEN".parse().expect("it is a name");
    let request = SecretRequest { env: true, ..SecretRequest::default() };
    let requests = Capabilities {
        secrets: [(name, request)].into(),
        limits: limits(64, UNHURRIED),
        ..Capabilities::default()
    };
    lab.install(&hostile("trusted", &["betray"], &requests));
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let forms = [
        SECRET.to_owned(),
        STANDARD.encode(SECRET),
        URL_SAFE.encode(SECRET),
        "ghp_S3cr%2Bt%2FVa%3Dlue~0123".to_owned(),
        hex,
    ];
    let tool = id("trusted/betray");
    for form in &forms {
        let input = json!({"how": format!("in {form} out")}).to_string();
        let call = ["call", &tool, "--input", &input, "--audit-arguments", "full"];
        let called = lab.cargo_kami(&call);
        assert_eq!(called.code, Some(0), "{called:?}");
        nowhere_in(&lab.data().path().join("audit"), form);
    }
    for form in &forms {
        nowhere_in(lab.data().path(), form);
    }
    // What is no secret is kept.
    assert_eq!(written(&lab).matches("in ").count(), forms.len(), "{}", written(&lab));
}

#[test]
fn what_an_operator_does_is_in_the_log() {
    let lab = Lab::with_neighbour();
    let file =
        lab.data().artifact_file(lab.registry().packages().expect("it is readable")[0].digest);
    let copy = lab.path("neighbour.wasm");
    fs::copy(file, &copy).expect("files can be copied");
    let copy = copy.to_str().expect("the path is text");
    assert_eq!(lab.cargo_kami(&["uninstall", "neighbour"]).code, Some(0));
    lab.cargo_kami(&["install", copy]).expect(16, "nobody can be asked");
    assert_eq!(lab.cargo_kami(&["install", copy, "--yes"]).code, Some(0));
    assert_eq!(lab.cargo_kami(&["keygen", "--name", "other"]).code, Some(0));
    let kinds: Vec<_> = events(&lab).iter().map(AuditEvent::kind).collect();
    assert_eq!(kinds, ["uninstall", "refusal", "install", "keygen"]);
    let shown = lab.cargo_kami(&["log", "--kind", "install", "--json"]);
    let record: Value = serde_json::from_str(&shown.stdout).expect("it is one line of JSON");
    assert_eq!(record["package"], id("neighbour"), "{record}");
    assert_eq!(record["signer"], lab.key().public().to_string(), "{record}");
    assert!(record["grant"].is_object(), "{record}");
}

#[test]
fn every_altered_byte_of_the_log_is_found_and_nothing_is_recorded_on_top_of_it() {
    let lab = Lab::with_neighbour();
    for _ in 0..3 {
        let call = lab.cargo_kami(&["call", "add", "--input", r#"{"a": 1, "b": 2}"#]);
        assert_eq!(call.code, Some(0), "{call:?}");
    }
    let path = lab.data().audit_dir().join("00000001.jsonl");
    let whole = fs::read(&path).expect("the log can be read");
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).expect("files can be written");
        let found = audit::verify(lab.data(), None);
        assert!(matches!(found, Err(audit::AuditError::Damaged(_))), "byte {at}: {found:?}");
    }
    let before_last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n');
    let before_last = before_last.expect("there are several lines");
    fs::write(&path, &whole[..=before_last]).expect("files can be written");
    let verified = lab.cargo_kami(&["log", "verify"]);
    verified.expect(21, "ends before record 3").expect(21, "records were removed from the end");
    for command in [&["call", "add", "--input", r#"{"a": 1, "b": 2}"#][..], &["serve"][..]] {
        let refused = lab.cargo_kami(command);
        refused.expect(21, "nothing was done, as it could not be recorded");
        assert_eq!(refused.stdout, "", "{command:?}");
    }
    fs::write(&path, &whole).expect("files can be written");
    lab.cargo_kami(&["log", "verify"]).expect(0, "3 records");
}

#[test]
fn the_end_of_the_log_can_be_noted_elsewhere() {
    let lab = Lab::with_neighbour();
    let call = ["call", "add", "--input", r#"{"a": 1, "b": 2}"#];
    lab.cargo_kami(&call);
    let noted = lab.cargo_kami(&["log", "head"]).stdout.trim().to_owned();
    lab.cargo_kami(&call);
    lab.cargo_kami(&["log", "verify", "--expect", &noted]).expect(0, "2 records");
    fs::remove_dir_all(lab.data().audit_dir()).expect("directories can be removed");
    for _ in 0..2 {
        lab.cargo_kami(&call);
    }
    lab.cargo_kami(&["log", "verify"]).expect(0, "2 records");
    lab.cargo_kami(&["log", "verify", "--expect", &noted]).expect(21, "this is another log");
}

/// A server that cannot record does not serve, and serves again once it can.
#[test]
fn nothing_is_called_while_it_cannot_be_recorded() {
    let lab = Lab::with_neighbour();
    let mut server = Server::start(lab.data());
    let mut call = || server.call("add", &json!({"a": 1, "b": 2}));
    assert_eq!(text(&call()).0, "3");
    let head = lab.data().audit_dir().join("head");
    let aside = lab.path("head");
    fs::rename(&head, &aside).expect("files can be moved");
    fs::create_dir(&head).expect("directories can be made");
    let mut until = |refused: bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = call();
            if text(&answer).0.contains("[KAMI-AUDIT]") == refused {
                return answer;
            }
            assert!(Instant::now() < deadline, "{answer}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    assert!(text(&until(true)).1, "a refusal is an error");
    fs::remove_dir(&head).expect("directories can be removed");
    fs::rename(&aside, &head).expect("files can be moved");
    assert_eq!(text(&until(false)).0, "3");
    let (status, log) = server.finish();
    assert!(status.success() && log.contains("the audit log cannot be written"), "{log}");
    audit::verify(lab.data(), None).expect("the log holds");
}

#[test]
fn a_server_that_is_killed_leaves_a_log_that_holds() {
    let lab = Lab::with_neighbour();
    for round in 0..5 {
        let mut server = Server::start(lab.data());
        for n in 0..(round * 30) {
            server.begin("add", &json!({"a": n, "b": 1}));
        }
        // Its value ends it at once.
        drop(server);
        audit::verify(lab.data(), None).expect("the log holds");
    }
    let mut server = Server::start(lab.data());
    server.call("add", &json!({"a": 1, "b": 2}));
    server.finish();
    let verified = audit::verify(lab.data(), None).expect("the log holds");
    assert_eq!((verified.beyond_head, verified.torn_bytes), (0, 0));
    assert_eq!(calls(&lab).last().map(|call| call.outcome.to_string()), Some("ok".to_owned()));
}

#[test]
fn who_follows_the_log_hears_of_what_happens_until_nobody_listens() {
    let lab = Lab::with_neighbour();
    let call = ["call", "add", "--input", r#"{"a": 1, "b": 2}"#];
    lab.cargo_kami(&call);
    let mut following = Command::new(program());
    following.args(["log", "--follow", "--kind", "call", "--data-dir"]).arg(lab.data().path());
    let mut following = following.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(following.stdout.take().expect("it is a pipe")).lines();
    for _ in 0..3 {
        let line = lines.next().expect("there is a record").expect("it is text");
        assert!(line.contains("add (dev.kami.test.neighbour 0.1.0): ok"), "{line}");
        lab.cargo_kami(&call);
    }
    drop(lines);
    // Nothing more is written: it notices by itself.
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match following.try_wait().expect("a child can be waited for") {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            None => {
                following.kill().expect("a child can be killed");
                panic!("it goes on for nobody");
            }
        }
    };
    assert_eq!(status.code(), Some(20));
}

#[test]
fn a_call_that_is_cancelled_is_in_the_log() {
    let lab = Lab::with_neighbour();
    let web = Web::start();
    let patient = Capabilities {
        net: vec![web.address().parse().unwrap()],
        limits: limits(16, UNHURRIED),
        ..Capabilities::default()
    };
    lab.install(&hostile("patient", &["try_and_wait"], &patient));
    let mut server = Server::start(lab.data());
    let arguments =
        json!({"address": "192.0.2.1:80", "then": web.address(), "millis": UNHURRIED / 2});
    let request = server.begin(&id("patient/try_and_wait"), &arguments);
    let deadline = Instant::now() + PATIENCE;
    while web.visits() == 0 {
        assert!(Instant::now() < deadline, "the call does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    server.cancel(request);
    server.call("add", &json!({"a": 1, "b": 2}));
    server.finish();
    let calls = calls(&lab);
    let cancelled = calls.iter().find(|call| call.outcome == "KAMI-CANCELLED");
    let cancelled = cancelled.unwrap_or_else(|| panic!("{calls:?}"));
    // What it tried before that is not forgotten.
    let [denied] = cancelled.denials.as_slice() else { panic!("{cancelled:?}") };
    assert!(denied.thing.contains("192.0.2.1:80"), "{denied:?}");
}

#[test]
fn files_that_are_run_and_the_policy_are_in_the_log_too() {
    let lab = Lab::with_neighbour();
    let tools = ["connect", "ramble"];
    let file = lab.hand_out("runner.wasm", &hostile("runner", &tools, &Capabilities::default()));
    let input = json!({"address": "192.0.2.1:80"}).to_string();
    for command in ["run", "record"] {
        let arguments = [command, &file, "--yes", "--tool", "connect", "--input", &input];
        lab.cargo_kami(&arguments).expect(19, "KAMI-");
    }
    let clients: Vec<_> = calls(&lab).into_iter().map(|call| call.client.unwrap()).collect();
    assert_eq!(clients, ["cargo kami run", "cargo kami record"]);

    let policy = lab.data().policy_file();
    let contents = ["version = 1\n", "version = 1\n[default]\nrefuse = true\n"];
    fs::write(&policy, contents[0]).unwrap();
    let mut server = Server::start(lab.data());
    server.call("add", &json!({"a": 1, "b": 2}));
    fs::write(&policy, contents[1]).unwrap();
    let recorded = || -> Vec<_> {
        let policies = events(&lab).into_iter().filter_map(|event| match event {
            AuditEvent::Policy { digest, .. } => Some(digest),
            _ => None,
        });
        policies.collect()
    };
    let deadline = Instant::now() + PATIENCE;
    while recorded().len() < 2 {
        assert!(Instant::now() < deadline, "{:?}", recorded());
        std::thread::sleep(Duration::from_millis(20));
    }
    server.finish();
    assert_eq!(recorded(), contents.map(|text| Some(Digest::of(text.as_bytes()))));
}
