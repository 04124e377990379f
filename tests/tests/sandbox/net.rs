//! The network: HTTP requests to what is granted, and nothing else.

use serde_json::json;

use super::scene::{Expect as _, Scene};

const UNASKED: &str = "the tool's manifest does not ask for it";

#[test]
fn sockets_lead_nowhere_that_is_granted_for_requests_only() {
    let scene = Scene::new();
    let (address, visits) = (scene.web.address(), scene.web.visits());
    for (tool, address) in [
        // Not even where the package may reach the address by HTTP.
        ("web/connect", &*address),
        ("limited/connect", &*address),
    ] {
        let called = scene.call(tool, json!({"address": address}));
        assert!(called.text().contains("Permission denied"), "{tool}: {called:?}");
        called.denies(&[&format!("a socket to tcp://{address} is denied: {UNASKED}")]);
    }
    let called = scene.call("web/listen", json!({"address": "127.0.0.1:0"}));
    assert!(called.text().contains("Permission denied"), "{called:?}");
    called.denies(&["listening or receiving at 127.0.0.1:0 is denied: no tool may do that"]);
    // Binding to no address in particular is no denial yet; listening there is, at some port.
    let called = scene.call("web/listen", json!({"address": "0.0.0.0:0"}));
    assert!(called.text().contains("Permission denied"), "{called:?}");
    let [denial] = called.report.denials.as_slice() else { panic!("{called:?}") };
    assert!(denial.to_string().starts_with("listening or receiving at 0.0.0.0:"), "{denial}");

    // There are no datagrams at all, so that nobody is asked where they were to go.
    let called = scene.call("web/send_datagram", json!({"address": address}));
    assert!(called.text().contains("Permission denied"), "{called:?}");
    called.denies(&[]);
    assert_eq!(scene.web.visits(), visits);
}

#[test]
fn names_are_looked_up_for_granted_requests_only() {
    let called = Scene::shared().call("web/resolve", json!({"name": "localhost"}));
    let text = called.text();
    assert!(text.contains("failed to lookup") || text.contains("denied"), "{called:?}");
    called.denies(&[&format!("looking up `localhost` is denied: {UNASKED}")]);
}

#[test]
fn sockets_lead_to_what_is_granted_for_sockets() {
    let scene = Scene::shared();
    let (address, port) = (scene.web.address(), scene.web.port());
    let connect =
        |package: &str, to: &str| scene.call(&format!("{package}/connect"), json!({"address": to}));
    let connected = format!("connected to {address}");
    connect("dialler", &address).gives(&connected).denies(&[]);
    connect("ranged", &address).gives(&connected).denies(&[]);
    for (package, to) in [
        ("dialler", scene.elsewhere.address()),
        ("dialler", format!("127.0.0.2:{port}")),
        ("ranged", scene.elsewhere.address()),
        ("exact", address.clone()),
    ] {
        let called = connect(package, &to);
        assert!(called.text().contains("Permission denied"), "{package} {to}: {called:?}");
        assert_eq!(called.report.denials.len(), 1, "{package} {to}: {called:?}");
    }
    // A grant of an address is none of the names that lead there.
    let called = connect("dialler", &format!("localhost:{port}"));
    called.denies(&[&format!("looking up `localhost` is denied: {UNASKED}")]);
    assert_eq!(scene.elsewhere.visits(), 0);
}

#[test]
fn a_looked_up_name_leads_only_where_it_led() {
    let scene = Scene::new();
    let port = scene.web.port();
    let connect = |package: &str, to: String| {
        scene.call(&format!("{package}/connect"), json!({"address": to}))
    };
    // The name is granted; that it may lead to this machine is not.
    let called = connect("caller", format!("localhost:{port}"));
    assert!(!called.text().contains("connected"), "{called:?}");
    // Both are: by that name, and by no address that the guest makes up.
    let called = connect("insider", format!("localhost:{port}"));
    assert!(called.text().starts_with("connected to"), "{called:?}");
    let called = connect("insider", format!("127.0.0.1:{}", scene.elsewhere.port()));
    assert!(called.text().contains("Permission denied"), "{called:?}");
    let called = connect("insider", format!("localhost:{}", scene.elsewhere.port()));
    assert!(called.text().contains("Permission denied"), "{called:?}");
    assert_eq!(scene.elsewhere.visits(), 0);
}

#[test]
fn a_grant_of_one_request_is_one_of_nothing_else() {
    let scene = Scene::new();
    let (web, address) = (scene.web.origin(), scene.web.address());
    let send = |method: &str, url: &str, header: Option<&str>| {
        let arguments = json!({"method": method, "url": url, "header": header});
        scene.call("exact/request", arguments)
    };
    send("GET", &format!("{web}/ok"), None).gives("200 fine").denies(&[]);
    send("GET", &format!("{web}/ok?query=free"), None).gives("200 fine").denies(&[]);
    let visits = scene.web.visits();
    let by_name = format!("http://localhost:{}/ok", scene.web.port());
    for (method, url, header) in [
        ("POST", format!("{web}/ok"), None),
        ("HEAD", format!("{web}/ok"), None),
        ("DELETE", format!("{web}/ok"), None),
        ("GET", web.clone(), None),
        ("GET", format!("{web}/"), None),
        ("GET", format!("{web}/ok/"), None),
        ("GET", format!("{web}/OK"), None),
        ("GET", format!("{web}/ok/../secret"), None),
        ("GET", format!("{web}/%2e%2e/ok"), None),
        ("GET", format!("{web}//ok"), None),
        ("GET", format!("{web}/ok"), Some("x-http-method-override: DELETE")),
        ("GET", format!("{}/ok", scene.elsewhere.origin()), None),
        ("GET", format!("https://{address}/ok"), None),
        ("GET", by_name, None),
    ] {
        let called = send(method, &url, header);
        assert!(!called.text().contains("fine"), "{method} {url}: {called:?}");
        assert_eq!(called.report.denials.len(), 1, "{method} {url}: {called:?}");
    }
    assert_eq!((scene.web.visits(), scene.elsewhere.visits()), (visits, 0));
    // Not by a redirect from the page that is granted either.
    let follow = format!("{web}/ok?redirect={web}/secret");
    let called = scene.call("exact/follow", json!({"url": follow}));
    assert!(called.text().contains("denied"), "{called:?}");
    assert_eq!(called.report.denials.len(), 1, "{called:?}");
}

#[test]
fn requests_go_where_both_sides_permit() {
    let scene = Scene::shared();
    let (web, elsewhere) = (scene.web.origin(), scene.elsewhere.origin());
    let by_name = format!("http://localhost:{}", scene.web.port());
    let secure = format!("https://{}", scene.web.address());

    let get = |package: &str, url: &str| scene.call(&format!("{package}/get"), json!({"url": url}));
    get("web", &format!("{web}/page")).gives("200 fine").denies(&[]);

    for (package, url, rule) in [
        ("web", &elsewhere, UNASKED),
        ("web", &by_name, UNASKED),
        ("web", &secure, UNASKED),
        ("web", &"http://192.0.2.1".to_owned(), UNASKED),
        ("web", &"http://[::1]:80".to_owned(), UNASKED),
        ("ungranted", &web, "the operator did not grant it"),
    ] {
        let host = url.split("://").nth(1).expect("it is a URL");
        let shown = url.strip_suffix(":80").unwrap_or(url);
        get(package, url)
            .fails(&format!("request to {host} denied by the host's policy"))
            .denies(&[&format!("GET {shown}/ is denied: {rule}")]);
    }
    assert_eq!(scene.elsewhere.visits(), 0);
}

#[test]
fn a_granted_name_does_not_lead_to_this_machine() {
    let scene = Scene::new();
    let host = format!("localhost:{}", scene.web.port());
    let visits = scene.web.visits();
    let called = scene.call("named/get", json!({"url": format!("http://{host}/")}));
    called.fails(&format!("request to {host} denied by the host's policy"));
    let [denial] = called.report.denials.as_slice() else { panic!("{called:?}") };
    let told = denial.to_string();
    assert!(told.starts_with(&format!("GET http://{host}/, which is ")), "{told}");
    assert!(told.contains("is denied: the address is not a public one"), "{told}");
    assert_eq!(scene.web.visits(), visits);
}

#[test]
fn a_redirect_is_a_request_like_any_other() {
    let scene = Scene::shared();
    let (web, elsewhere) = (scene.web.origin(), scene.elsewhere.origin());
    let follow =
        |to: &str| scene.call("web/follow", json!({"url": format!("{web}/redirect?{to}")}));
    follow(&format!("{web}/page")).gives("fine");
    follow(&format!("{elsewhere}/page"))
        .fails(&format!("request to {} denied by the host's policy", scene.elsewhere.address()))
        .denies(&[&format!(
            "GET {elsewhere}/page is denied: the tool's manifest does not ask for it"
        )]);
    assert_eq!(scene.elsewhere.visits(), 0);
}

#[test]
fn malformed_urls_go_nowhere() {
    let scene = Scene::new();
    let address = scene.web.address();
    let visits = scene.web.visits();
    for url in [
        format!("http://{address}@127.0.0.1/"),
        format!("http://127.0.0.1@{address}/"),
        format!("http://{address}:1/"),
        format!("ftp://{address}/"),
        "http:///page".to_owned(),
        "http://127.1/".to_owned(),
        format!("http://{address} /"),
        "http://2130706433/".to_owned(),
    ] {
        let called = scene.call("web/get", json!({"url": url}));
        assert!(!called.text().contains("fine"), "{url}: {called:?}");
        assert!(
            matches!(called.report.outcome, kami_core::call::CallOutcome::Failed(_)),
            "{url}: {called:?}"
        );
    }
    assert_eq!(scene.web.visits(), visits);
}

#[test]
fn no_request_is_a_tunnel_or_a_mirror() {
    let scene = Scene::new();
    let (web, address) = (scene.web.origin(), scene.web.address());
    let ask =
        |method: &str, url: &str| scene.call("web/ask", json!({"method": method, "url": url}));
    ask("GET", &format!("{web}/page")).gives("200 with 4 bytes").denies(&[]);
    // The grant is of every method, and one that nobody knows is as good as any.
    ask("FROBNICATE", &format!("{web}/page")).gives("200 with 4 bytes").denies(&[]);
    let visits = scene.web.visits();
    for method in ["CONNECT", "TRACE", "connect", "Trace"] {
        let called = ask(method, &format!("{web}/page"));
        let told = format!("{method} {web}/page is denied: no tool may do that");
        called.fails("HttpRequestDenied").denies(&[&told]);
    }
    // As a proxy is asked: the path is the authority of somebody else.
    let called = ask("CONNECT", &web);
    assert_eq!(called.report.denials.len(), 1, "{called:?}");
    for method in ["", "GET /secret HTTP/1.1\r\nhost: x\r\n\r\nGET", "GE T", "G\u{00c9}T", "GET\n"]
    {
        ask(method, &format!("{web}/page")).fails("no such method").denies(&[]);
    }
    for (url, told) in [
        (format!("{web}/page HTTP/1.1\r\nx: y\r\n\r\nGET /secret"), "no such path"),
        (format!("{web}/page\r\nx: y"), "no such path"),
        (format!("http://{address}\r\nx: y/page"), "no such authority"),
    ] {
        ask("GET", &url).fails(told).denies(&[]);
    }
    assert_eq!(scene.web.visits(), visits);
}

#[test]
fn no_header_makes_a_request_another_one() {
    let scene = Scene::new();
    let url = format!("{}/page", scene.web.origin());
    let ask = |header: &str| {
        scene.call("web/ask", json!({"method": "GET", "url": url, "header": header}))
    };
    ask("x-mine: 1").gives("200 with 4 bytes").denies(&[]);
    let visits = scene.web.visits();
    for header in [
        "x-mine: 1\r\n\r\nGET /secret HTTP/1.1",
        "x-mine: 1\nx-other: 2",
        "x-mine\r\nx-other: 1",
        "host: elsewhere.example",
        "Host: 127.0.0.1",
        "connection: upgrade",
        "upgrade: h2c",
        "transfer-encoding: chunked",
        "proxy-authorization: basic x",
    ] {
        let called = ask(header);
        assert!(called.text().starts_with("no such header: "), "{header}: {called:?}");
    }
    for header in ["x-http-method: DELETE", "X-Method-Override: PUT"] {
        let called = ask(header);
        called.fails("HttpRequestDenied");
        assert_eq!(called.report.denials.len(), 1, "{called:?}");
    }
    assert_eq!(scene.web.visits(), visits);
}

#[test]
fn no_redirect_leads_to_this_machine_or_to_metadata() {
    let scene = Scene::new();
    let (web, port) = (scene.web.origin(), scene.web.port());
    let follow = |package: &str, to: &str| {
        let url = format!("{web}/redirect?{to}");
        scene.call(&format!("{package}/follow"), json!({"url": url}))
    };
    follow("anywhere", &format!("{web}/page")).gives("fine").denies(&[]);
    let visits = scene.web.visits();
    let targets = [
        format!("http://localhost:{port}/page"),
        format!("http://127.0.0.2:{port}/page"),
        format!("http://[::1]:{port}/page"),
        format!("http://[::ffff:127.0.0.2]:{port}/page"),
        format!("http://[64:ff9b::7f00:2]:{port}/page"),
        format!("http://0.0.0.0:{port}/page"),
        format!("{}/page", scene.elsewhere.origin()),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[::ffff:169.254.169.254]/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/meta-data/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "https://192.168.0.1/".to_owned(),
    ];
    for to in &targets {
        let called = follow("anywhere", to);
        assert!(called.text().contains("denied by the host's policy"), "{to}: {called:?}");
        assert_eq!(called.report.denials.len(), 1, "{to}: {called:?}");
    }
    // Each was sent away once, and came back to no server.
    assert_eq!(scene.web.visits(), visits + targets.len());
    assert_eq!(scene.elsewhere.visits(), 0);
}
