//! Servers that keep their guests waiting, have no end, or make no sense.
//!
//! Each is left by the limit that is the tightest. What they say reaches the guest as it is told
//! here, or not at all.

use std::net::TcpListener;

use kami_core::grants::Capabilities;
use kami_tests::lab::{Lab, hostile, id, limits};
use kami_tests::server::{Server, text};
use kami_tests::web::Web;
use serde_json::{Value, json};

use super::scene::{Expect as _, HASTY, NET_TOOLS, Scene, UNHURRIED, beside_neighbour};

/// How long guests wait where nothing comes, in milliseconds. Where something does, they have time.
const SHORT: u64 = 300;

/// By how much the server may grow while a dozen guests ask for what has no end. Each has memory of
/// its own; an answer that was kept would be gigabytes.
#[cfg(target_os = "linux")]
const MAX_GROWTH: u64 = 128 << 20;

/// A page, and what comes of asking for it.
type Page = (&'static str, &'static str);

/// What is told of a call that [`HASTY`] ended.
const OUT_OF_TIME: &str = "the tool ran longer than its limit of 200 ms [KAMI-TIMEOUT]";

/// What a guest hears of a body that stops coming, and of one that ends before its end. Once there
/// is a head, wasmtime-wasi-http gives no codes, but words.
const LATE_BODY: &str = "connection read timeout";
const BROKEN_BODY: &str = "hyper error: error reading a body from connection";

/// Pages whose next byte never comes, or does not complete what was begun.
const SLOW: &[Page] = &[
    ("slow-status", "ConnectionReadTimeout"),
    ("slow-head", "ConnectionReadTimeout"),
    ("half-head", "ConnectionReadTimeout"),
    ("half-body", LATE_BODY),
    ("half-chunk", LATE_BODY),
    ("huge-chunk", LATE_BODY),
    // Leading zeros without end: nothing of it is kept, and no byte of the body comes.
    ("long-size", LATE_BODY),
    ("endless-interim", "ConnectionReadTimeout"),
];

/// Pages that never end, and are cut off for what they are long before the clock.
const ENDLESS: &[Page] = &[
    ("endless-header", "HttpProtocolError"),
    ("endless-headers", "HttpProtocolError"),
    ("endless-status", "HttpProtocolError"),
    ("endless-trailers", BROKEN_BODY),
    ("long-extension", BROKEN_BODY),
    ("garbage", "HttpProtocolError"),
];

/// Pages without sense, and those that have just enough of it.
const SENSELESS: &[Page] = &[
    ("128-headers", "200 with 4 bytes"),
    ("50000-headers", "HttpProtocolError"),
    ("huge-header", "HttpProtocolError"),
    ("impossible-chunk", BROKEN_BODY),
    ("short-body", BROKEN_BODY),
    ("short-chunks", BROKEN_BODY),
    ("no-chunk", BROKEN_BODY),
    ("two-lengths", "HttpProtocolError"),
    ("no-length", "HttpProtocolError"),
    ("length-and-chunks", "200 with 2 bytes"),
    ("bare-return", "HttpProtocolError"),
    ("nul", "HttpProtocolError"),
    ("no-name", "HttpProtocolError"),
    ("old", "200 with 4 bytes"),
    ("ancient", "HttpProtocolError"),
    ("future", "HttpProtocolError"),
    ("other-protocol", "HttpProtocolError"),
    ("switch", "101 with 0 bytes"),
    ("no-status", "HttpProtocolError"),
    ("nothing", "HttpProtocolError"),
];

/// Pages that keep sending, a little within each wait: only the clock of the call ends them.
const TRICKLING: &[Page] =
    &[("slow-body", OUT_OF_TIME), ("slow-chunks", OUT_OF_TIME), ("tiny-chunks", OUT_OF_TIME)];

/// What one asks a page with, and how impatiently where it is a slow one.
fn ask(page: &Page, url: &str) -> Value {
    let url = format!("{url}/rude/{}", page.0);
    match (SLOW.contains(page), page.1) {
        (false, _) => json!({"method": "GET", "url": url}),
        (true, LATE_BODY) => json!({"method": "GET", "url": url, "body_millis": SHORT}),
        (true, _) => json!({"method": "GET", "url": url, "head_millis": SHORT}),
    }
}

#[test]
fn servers_that_answer_without_end_or_sense_are_left() {
    let scene = Scene::shared();
    let web = scene.web.origin();
    let mut wrong = Vec::new();
    for page in [SLOW, ENDLESS, SENSELESS].concat() {
        let called = scene.call("web/ask", ask(&page, &web));
        called.denies(&[]);
        if called.text() != page.1 {
            wrong.push(format!("{}: {}", page.0, called.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What comes behind an answer is not another one.
    let called = scene.call("web/get", json!({"url": format!("{web}/rude/two-answers")}));
    assert!(!called.text().contains("second"), "{called:?}");
    let tls = scene.call("secure/get", json!({"url": format!("https://{}", scene.web.address())}));
    assert!(tls.text().contains(" failed: "), "it speaks no TLS: {tls:?}");
    scene
        .call("web/get", json!({"url": format!("{web}/endless")}))
        .fails(&format!("{} answered with more than 1048576 bytes", scene.web.address()));
}

#[test]
fn servers_that_keep_guests_waiting_are_left() {
    let scene = Scene::shared();
    let web = scene.web.origin();
    for path in ["never", "drip"] {
        let url = format!("{web}/{path}");
        scene.call("hurried/get", json!({"url": url})).fails(OUT_OF_TIME);
        scene
            .call("web/get", json!({"url": url, "timeout_millis": 100}))
            .fails(&format!("request to {} timed out", scene.web.address()));
    }
    for page in TRICKLING {
        scene.call("hurried/ask", ask(page, &web)).fails(page.1);
    }
}

#[test]
fn servers_that_read_nothing_are_left() {
    let scene = Scene::shared();
    let web = scene.web.origin();
    let upload = |package: &str, page: &str, bytes: u64| {
        let arguments = json!({"url": format!("{web}/{page}"), "bytes": bytes});
        scene.call(&format!("{package}/upload"), arguments)
    };
    upload("web", "page", 0).gives("200");
    upload("hurried", "rude/deaf", 1 << 30).fails(OUT_OF_TIME);
}

#[test]
fn servers_that_never_speak_are_left() {
    // The system accepts in its name, and nobody takes what it accepted.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let lab = Lab::with_neighbour();
    let net = [format!("https://{address}"), format!("http://{address}")];
    let requests = Capabilities {
        net: net.iter().map(|entry| entry.parse().unwrap()).collect(),
        limits: limits(64, HASTY),
        ..Capabilities::default()
    };
    lab.install(&hostile("visitor", NET_TOOLS, &requests));
    let resolver = lab.resolver(&[]);
    let calls = net.iter().map(|url| ("visitor/get", json!({"url": url}))).collect();
    for called in beside_neighbour(&resolver, calls) {
        called.fails(OUT_OF_TIME).denies(&[]);
    }
}

/// Whatever has no end is not kept: the server's memory grows by no more than buffers.
#[cfg(target_os = "linux")]
#[test]
fn no_server_fills_the_hosts_memory() {
    let lab = Lab::with_neighbour();
    let web = Web::start();
    for (name, millis) in [("visitor", UNHURRIED), ("hasty", HASTY)] {
        let requests = Capabilities {
            net: vec![web.origin().parse().unwrap()],
            limits: limits(64, millis),
            ..Capabilities::default()
        };
        lab.install(&hostile(name, NET_TOOLS, &requests));
    }
    let mut server = Server::start(lab.data());
    let visit = |server: &mut Server, name: &str, page: &Page| {
        server.begin(&id(&format!("{name}/ask")), &ask(page, &web.origin()))
    };
    let fine = &SENSELESS[0];
    let call = visit(&mut server, "visitor", fine);
    assert_eq!(text(&server.result(call)), (fine.1, false));
    let before = server.peak_memory();
    let calls = [SLOW, ENDLESS].concat().into_iter().map(|page| ("visitor", page));
    let calls = calls.chain(TRICKLING.iter().map(|page| ("hasty", *page)));
    let calls: Vec<_> = calls.map(|(name, page)| (visit(&mut server, name, &page), page)).collect();
    for (call, page) in calls {
        let answer = server.result(call);
        assert_eq!(text(&answer), (page.1, true), "{}", page.0);
    }
    let call = visit(&mut server, "visitor", fine);
    assert_eq!(text(&server.result(call)), (fine.1, false));
    let grown = server.peak_memory() - before;
    assert!(grown < MAX_GROWTH, "it grew by {} KiB", grown >> 10);
}
