//! Requests over TLS, by the real program: to whom, with which secret, and to nobody else.
//!
//! The program trusts the platform's authorities. On Linux and its like, `SSL_CERT_FILE` names them;
//! elsewhere a test would have to change the machine.
#![cfg(all(unix, not(target_vendor = "apple")))]

use std::fs;

use kami_core::grants::Capabilities;
use kami_tests::lab::{Lab, hostile, id, limits};
use kami_tests::server::{Server, text};
use kami_tests::tls::{Authority, VALID};
use kami_tests::web::Web;
use serde_json::{Value, json};

use super::scene::{NET_TOOLS, UNHURRIED};

/// Names of this machine that a certificate of it lists.
const HERE: &[&str] = &["127.0.0.1", "localhost"];

const SECRET: &str = "ghp_over-TLS-only-0123";

/// A data directory, and an authority that its programs trust.
struct Place {
    lab: Lab,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        let place = Self { lab: Lab::with_neighbour(), authority: Authority::new() };
        fs::write(place.roots(), place.authority.pem()).expect("files can be written");
        place
    }

    fn roots(&self) -> String {
        self.lab.path("roots.pem").into_os_string().into_string().expect("the path is text")
    }

    /// A server whose certificate holds.
    fn web(&self) -> Web {
        Web::start_secure(self.authority.identity(HERE, VALID))
    }

    /// Installs a package with everything that it asks for.
    fn install(&self, name: &str, requests: Value) {
        let requests: Capabilities = serde_json::from_value(requests).expect("they are requests");
        let requests = Capabilities { limits: limits(64, UNHURRIED), ..requests };
        self.lab.install(&hostile(name, NET_TOOLS, &requests));
    }

    fn serve(&self) -> Server {
        let roots = self.roots();
        Server::start_in(self.lab.data(), &[("SSL_CERT_FILE", &roots)])
    }
}

#[test]
fn a_grant_of_one_request_over_tls_is_one_of_nothing_else() {
    let place = Place::new();
    let (web, other, plain) = (place.web(), place.web(), Web::start());
    let (origin, port) = (web.origin(), web.port());
    place.install("exact", json!({"net": [format!("GET {origin}/ok")]}));
    let mut server = place.serve();
    let mut call = |tool: &str, arguments: &Value| {
        let answer = server.call(&id(&format!("exact/{tool}")), arguments);
        let (text, is_error) = text(&answer);
        (text.to_owned(), is_error)
    };

    let ok = json!({"method": "GET", "url": format!("{origin}/ok")});
    assert_eq!(call("request", &ok), ("200 fine".to_owned(), false));
    let mut denied = Vec::new();
    for (method, url) in [
        ("POST", format!("{origin}/ok")),
        ("HEAD", format!("{origin}/ok")),
        ("DELETE", format!("{origin}/ok")),
        ("GET", format!("{origin}/")),
        ("GET", format!("{origin}/ok/more")),
        ("GET", format!("{origin}/OK")),
        ("GET", format!("{origin}/secret")),
        ("GET", format!("{}/ok", other.origin())),
        ("GET", "https://127.0.0.1/ok".to_owned()),
        ("GET", format!("http://127.0.0.1:{port}/ok")),
        ("GET", format!("{}/ok", plain.origin())),
        ("GET", format!("https://localhost:{port}/ok")),
        ("GET", format!("https://[::1]:{port}/ok")),
        ("GET", format!("https://127.0.0.2:{port}/ok")),
    ] {
        let (text, is_error) = call("request", &json!({"method": method, "url": url}));
        assert!(is_error && text.contains("denied by the host's policy"), "{method} {url}: {text}");
        denied.push(format!("{method} {}", url.strip_suffix('/').unwrap_or(&url)));
    }
    for (tool, address) in [
        ("connect", format!("127.0.0.1:{port}")),
        ("connect", format!("localhost:{port}")),
        ("connect", other.address()),
        ("send_datagram", format!("127.0.0.1:{port}")),
    ] {
        let (text, is_error) = call(tool, &json!({"address": address}));
        let refused = text.contains("Permission denied") || text.contains("failed to lookup");
        assert!(is_error && refused, "{tool} {address}: {text}");
    }
    assert!(call("resolve", &json!({"name": "localhost"})).1, "names can be looked up");
    assert_eq!((web.visits(), web.requests().len()), (1, 1), "the one that is granted");

    // The page that is granted sends its visitors away; they do not arrive.
    let targets = [
        format!("{origin}/secret"),
        format!("https://localhost:{port}/ok"),
        format!("{}/ok", other.origin()),
        format!("{}/ok", plain.origin()),
        format!("http://127.0.0.1:{port}/ok"),
    ];
    for to in &targets {
        let url = format!("{origin}/ok?redirect={to}");
        let (text, is_error) = call("follow", &json!({"url": url}));
        assert!(is_error && text.contains("denied by the host's policy"), "{to}: {text}");
        denied.push(format!("GET {to}"));
    }
    let home = json!({"url": format!("{origin}/ok?redirect={origin}/ok")});
    assert_eq!(call("follow", &home), ("fine".to_owned(), false));
    assert_eq!(call("request", &ok), ("200 fine".to_owned(), false));

    let requests = 1 + targets.len() + 3;
    assert_eq!((web.visits(), web.requests().len()), (requests, requests));
    assert_eq!((other.visits(), plain.visits()), (0, 0));
    let (status, log) = server.finish();
    assert!(status.success(), "{status}: {log}");
    for request in denied {
        assert!(log.contains(&request), "the operator does not hear of `{request}`: {log}");
    }
}

#[test]
fn a_certificate_that_does_not_hold_gets_no_request() {
    let place = Place::new();
    let authority = &place.authority;
    let stranger = Authority::new();
    let servers = [
        ("trusted", place.web()),
        ("of a stranger", Web::start_secure(stranger.identity(HERE, VALID))),
        ("expired", Web::start_secure(authority.identity(HERE, (2020, 2021)))),
        ("not yet valid", Web::start_secure(authority.identity(HERE, (2998, 2999)))),
        ("of another name", Web::start_secure(authority.identity(&["example.org"], VALID))),
        ("of another address", Web::start_secure(authority.identity(&["127.0.0.2"], VALID))),
        ("without TLS", Web::start()),
    ];
    let origin = |web: &Web| format!("https://{}", web.address());
    let net: Vec<String> = servers.iter().map(|(_, web)| origin(web)).collect();
    let header = "Authorization: Bearer {KAMI_TEST_TOKEN}";
    // The worst of them is the one that would get a secret.
    let host = servers[1].1.address();
    let secrets = json!({"KAMI_TEST_TOKEN": {"inject": {"host": host, "header": header}}});
    place.install("visitor", json!({"net": net, "secrets": secrets}));
    keep(&place.lab);
    let mut server = place.serve();
    for (whose, web) in &servers {
        let url = format!("{}/page", origin(web));
        let answer = server.call(&id("visitor/get"), &json!({"url": url}));
        let (text, is_error) = text(&answer);
        if *whose == "trusted" {
            assert_eq!((text, is_error, web.requests().len()), ("200 fine", false, 1));
        } else {
            assert!(is_error && text.contains(" failed: "), "{whose}: {text}");
            assert_eq!((web.visits(), web.requests().len()), (1, 0), "{whose}: {text}");
        }
    }
    let (status, log) = server.finish();
    assert!(status.success(), "{status}: {log}");
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn a_secret_goes_over_tls_to_its_host_and_does_not_come_back() {
    let place = Place::new();
    let (web, other) = (place.web(), place.web());
    let header = "Authorization: Bearer {KAMI_TEST_TOKEN}";
    let injected = json!({"host": web.address(), "header": header});
    place.install(
        "trusted",
        json!({
            "net": [web.origin(), other.origin(), format!("http://{}", web.address())],
            "secrets": {"KAMI_TEST_TOKEN": {"inject": injected}},
        }),
    );
    keep(&place.lab);
    let mut server = place.serve();
    let mut get = |url: String| {
        let answer = server.call(&id("trusted/get"), &json!({"url": url}));
        text(&answer).0.to_owned()
    };
    let heard = get(format!("{}/echo", web.origin()));
    assert!(heard.starts_with("200 heard: Bearer ****") && !heard.contains(SECRET), "{heard}");
    assert_eq!(get(format!("{}/echo", other.origin())), "200 heard: ");
    assert_eq!(web.heard(), [format!("Bearer {SECRET}")]);
    assert_eq!(other.heard(), [""; 0]);
    let (status, log) = server.finish();
    assert!(status.success() && !log.contains(SECRET), "{status}: {log}");
}

/// Keeps the secret as an operator does.
fn keep(lab: &Lab) {
    let arguments =
        ["secret", "set", "KAMI_TEST_TOKEN", "--key", "key-file", "--from-env", "TOKEN_HERE"];
    lab.cargo_kami_in(&[("TOKEN_HERE", SECRET)], &arguments).expect(0, "Kept KAMI_TEST_TOKEN");
}
