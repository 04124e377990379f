//! Secrets that the host adds to requests: who sees them, and who does not.

use std::sync::Arc;

use kami_core::call::GuestEvent;
use kami_core::grants::{Capabilities, Grant, Injection, SecretName, SecretRequest};
use kami_core::resolve::{HostOptions, Resolver};
use kami_core::secrets::{Secret, SecretValue, Secrets};
use kami_tests::lab::{Called, Lab, hostile, limits};
use kami_tests::web::Web;
use serde_json::{Value, json};

use super::scene::{Expect as _, UNHURRIED, beside_neighbour};

const SECRET: &str = "ghp_S3cr+t/Va=lue~0123";

fn name() -> SecretName {
    "KAMI_TEST_TOKEN".parse().unwrap()
}

/// A package that may use one secret, at one server.
struct Safe {
    web: Web,
    resolver: Arc<Resolver>,
    _lab: Lab,
}

impl Safe {
    fn new(env: bool) -> Self {
        let lab = Lab::with_neighbour();
        let web = Web::start();
        let inject = Injection {
            host: web.address().parse().unwrap(),
            header: "Authorization: Bearer {KAMI_TEST_TOKEN}".parse().unwrap(),
        };
        let request = SecretRequest { inject: Some(inject), env, ..SecretRequest::default() };
        let net = vec![web.origin().parse().unwrap(), "http://127.0.0.2".parse().unwrap()];
        let requests = Capabilities {
            net,
            secrets: [(name(), request)].into(),
            limits: limits(64, UNHURRIED),
            ..Capabilities::default()
        };
        let tools = ["plunder", "betray", "request"];
        lab.install(&hostile("trusted", &tools, &requests));
        let kept = Grant { secrets: Default::default(), ..Grant::all(&requests) };
        lab.install_with(&hostile("distrusted", &tools, &requests), &kept);
        let open = || {
            let mut secrets = Secrets::default();
            let value = SecretValue::new(SECRET.to_owned())?;
            let set = std::time::SystemTime::now();
            secrets.insert(name(), Secret { value, set })?;
            Ok(secrets)
        };
        let options = HostOptions { secrets: Some(Arc::new(open)), ..HostOptions::default() };
        let resolver = Arc::new(Resolver::open(lab.data(), options).unwrap());
        Self { web, resolver, _lab: lab }
    }

    fn call(&self, tool: &str, arguments: Value) -> Called {
        beside_neighbour(&self.resolver, vec![(tool, arguments)]).remove(0)
    }
}

/// Fails if anything that came of a call tells the secret.
#[track_caller]
fn tells_nothing(called: &Called) {
    let told = format!("{called:?}");
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent = "ghp_S3cr%2Bt%2FVa%3Dlue~0123";
    // The middle of its base64 form at each of the three places where it can begin.
    let base64 =
        ["Z2hwX1MzY3IrdC9WYT1sdWV+MDEy", "aHBfUzNjcit0L1ZhPWx1ZX4wMT", "ocF9TM2NyK3QvVmE9bHVlfjAx"];
    for form in [SECRET, &hex, percent].into_iter().chain(base64) {
        assert!(!told.contains(form), "{form} is in {told}");
    }
}

#[test]
fn the_server_sees_an_injected_secret_and_the_guest_never_does() {
    let safe = Safe::new(false);
    let origin = safe.web.origin();
    let complement: Vec<u8> = SECRET.bytes().map(|byte| !byte).collect();
    let pages = ["echo", "echo/drip", "echo/head", "echo/encoded", "page"];
    let urls: Vec<String> = pages.iter().map(|page| format!("{origin}/{page}")).collect();
    let called = safe.call("trusted/plunder", json!({"urls": urls, "complement": complement}));
    let loot = called.structured();
    assert_eq!(safe.web.heard(), vec![format!("Bearer {SECRET}"); pages.len()]);
    assert_eq!(loot["in_memory"], false, "{called:?}");
    assert_eq!(loot["finds"], true, "the search finds what is there");
    assert!(!loot["environment"].to_string().contains("KAMI_TEST_TOKEN"));
    let answers = loot["answers"].as_array().unwrap();
    assert!(answers[0].as_str().unwrap().contains("heard: Bearer ****"), "{answers:?}");
    assert!(answers[4].as_str().unwrap().ends_with("fine"), "{answers:?}");
    tells_nothing(&called);
}

#[test]
fn an_answer_that_cannot_be_searched_is_not_given() {
    let safe = Safe::new(false);
    let url = format!("{}/echo/gzip", safe.web.origin());
    let called = safe.call("trusted/request", json!({"method": "GET", "url": url}));
    assert!(!called.text().contains("heard"), "{called:?}");
    let url = format!("{}/echo", safe.web.origin());
    // Neither a part nor a disguise can be asked for.
    for header in ["range: bytes=7-9", "accept-encoding: gzip", "te: trailers"] {
        let arguments = json!({"method": "GET", "url": url, "header": header});
        let called = safe.call("trusted/request", arguments);
        assert!(called.text().contains("Bearer ****"), "{header}: {called:?}");
        tells_nothing(&called);
    }
    assert!(
        !safe.web.requests().iter().any(|head| head.contains("gzip") || head.contains("range"))
    );
}

#[test]
fn a_secret_goes_to_its_host_only_and_only_where_it_is_granted() {
    let safe = Safe::new(false);
    let url = format!("{}/page", safe.web.origin());
    safe.call("distrusted/request", json!({"method": "GET", "url": url})).gives("200 fine");
    assert_eq!(safe.web.heard(), Vec::<String>::new());
    // The guest's own header gives way.
    let header = "authorization: Bearer mine";
    let arguments = json!({"method": "GET", "url": url, "header": header});
    safe.call("trusted/request", arguments).gives("200 fine");
    assert_eq!(safe.web.heard(), [format!("Bearer {SECRET}")]);
}

#[test]
fn what_a_guest_says_of_a_secret_that_it_was_given_is_struck_out() {
    let safe = Safe::new(true);
    for how in ["answer", "error", "panic"] {
        let called = safe.call("trusted/betray", json!({"how": how}));
        tells_nothing(&called);
        assert!(format!("{called:?}").contains("****"), "{how}: {called:?}");
    }
    safe.call("distrusted/betray", json!({"how": "answer"})).gives("it is nothing");
}

#[test]
fn what_a_guest_logs_of_a_secret_or_asks_for_with_it_is_struck_out() {
    let safe = Safe::new(true);
    let called = safe.call("trusted/betray", json!({"how": "log"}));
    tells_nothing(&called);
    let [GuestEvent::Log { message, .. }, GuestEvent::Progress { message: Some(step), .. }] =
        called.events.as_slice()
    else {
        panic!("{called:?}");
    };
    assert!(message.starts_with("****") && step.starts_with("****"), "{called:?}");
    // The operator reads denials, and they are recorded.
    let url = format!("http://192.0.2.1/{SECRET}");
    let called = safe.call("trusted/request", json!({"method": "GET", "url": url}));
    tells_nothing(&called);
    let [denial] = called.report.denials.as_slice() else { panic!("{called:?}") };
    assert!(denial.thing.starts_with("GET http://192.0.2.1/****"), "{denial}");
}
