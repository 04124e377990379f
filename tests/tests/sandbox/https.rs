//! The server over TLS, with certificates that are good, renewed, broken or somebody else's.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kami_tests::door::{Door, call};
use kami_tests::http::{Client, Version, trusting};
use kami_tests::lab::Lab;
use kami_tests::server::PATIENCE;
use kami_tests::tls::{Authority, Key, pem};
use serde_json::{Value, json};

/// Both versions, as a client offers them.
const BOTH: &[&str] = &["h2", "http/1.1"];

/// A data directory, an authority, and where a server has its certificate and key.
struct Place {
    lab: Lab,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        Self { lab: Lab::with_neighbour(), authority: Authority::new() }
    }

    fn certificate(&self) -> PathBuf {
        self.lab.path("server.pem")
    }

    fn key(&self) -> PathBuf {
        self.lab.path("server.key")
    }

    /// Writes a certificate for this machine and its key, and gives the certificate.
    fn issue(&self) -> Vec<u8> {
        let key = new_key();
        let (text, certificate) = self.authority.issue(&key);
        self.write_key(&pem("PRIVATE KEY", &key.serialize_der()));
        replace(&self.certificate(), &text);
        certificate
    }

    fn write_key(&self, text: &str) {
        replace(&self.key(), text);
        private(&self.key(), 0o600);
    }

    fn flags(&self) -> Vec<String> {
        let text = |path: PathBuf| path.into_os_string().into_string().expect("the path is text");
        ["--tls-cert", &text(self.certificate()), "--tls-key", &text(self.key())]
            .map(str::to_owned)
            .to_vec()
    }

    fn serve(&self, more: &[&str]) -> Door {
        let flags = self.flags();
        let flags: Vec<&str> =
            flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Door::start_at("127.0.0.1:0", self.lab.data(), &flags, "info,kami_core::mcp=debug")
    }

    fn client(&self, door: &Door, alpn: &[&str]) -> Result<(Client, Version), String> {
        Client::secure(door.address(), trusting(&self.authority, alpn))
    }

    /// The certificate that a server shows, to who is answered there.
    fn shown(&self, door: &Door) -> Vec<u8> {
        let (client, _) = self.client(door, BOTH).expect("TLS is agreed on");
        assert_eq!(add(&client), json!({"result": 3}));
        client.certificate.expect("there is one")
    }
}

fn new_key() -> Key {
    Key::generate().expect("there is entropy")
}

/// Puts a file in the place of another one, as programs that renew certificates do.
fn replace(path: &std::path::Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("files can be written");
    fs::rename(new, path).expect("files can be renamed");
}

#[cfg(unix)]
fn private(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;

    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the file is ours");
}

#[cfg(not(unix))]
fn private(_: &std::path::Path, _: u32) {}

fn add(client: &Client) -> Value {
    let answer = client.post(&call(1, "add", &json!({"a": 1, "b": 2}))).expect("it is answered");
    answer.result()["structuredContent"].clone()
}

#[track_caller]
fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it never holds");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn tools_are_called_over_tls_and_without_it_nobody_is_answered() {
    let place = Place::new();
    let certificate = place.issue();
    let token = place.lab.cargo_kami(&["token", "create", "ci"]);
    let bearer = format!("Bearer {}", token.stdout.trim());
    let door = place.serve(&["--auth", "tokens", "--allow-host", "tools.example.com"]);
    for (offered, spoken) in [
        (BOTH, Version::Two),
        (&["h2"], Version::Two),
        (&["http/1.1", "h2"], Version::Two),
        (&["http/1.1"], Version::One),
        (&[], Version::One),
    ] {
        let (client, version) = place.client(&door, offered).expect("TLS is agreed on");
        assert_eq!((version, &client.certificate), (spoken, &Some(certificate.clone())));
        let body = call(1, "add", &json!({"a": 1, "b": 2})).to_string();
        let answer = client.ask("POST", "/mcp", &[("authorization", &bearer)], &body);
        let sum = answer.expect("it is answered").result();
        assert_eq!(sum["structuredContent"], json!({"result": 3}));
        // Whoever gives tokens is looked for over TLS, too.
        let refused = client.ask("POST", "/mcp", &[], &body).expect("it is answered");
        let challenge = refused.headers["www-authenticate"].to_str().expect("it is text");
        let base =
            format!(r#"resource_metadata="https://localhost:{}/.well"#, door.address().port());
        assert!(refused.status == 401 && challenge.contains(&base), "{challenge}");
    }
    // What was agreed on is what is spoken, and what nobody has is not agreed on.
    let config = trusting(&place.authority, &["spdy/3"]);
    assert!(Client::secure(door.address(), config).is_err());
    // Whoever does not trust its authority does not talk to it.
    let stranger = trusting(&Authority::new(), BOTH);
    assert!(Client::secure(door.address(), stranger).is_err());

    // Without TLS, or with none that makes sense, nobody gets anything but an alert.
    for sent in [
        &b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        &[0x16, 3, 1, 0xff, 0xff, 1],
        &[0; 4096],
    ] {
        let mut stream = TcpStream::connect(door.address()).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is more than nothing");
        stream.write_all(sent).expect("the server reads");
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        let mut answer = Vec::new();
        // It may be reset, where not all was read.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 16 && !answer.starts_with(b"HTTP"), "{answer:?}");
    }
    // One that stops in the middle keeps nobody waiting, and is closed.
    let mut stalled = TcpStream::connect(door.address()).expect("the server listens");
    stalled.write_all(&[0x16, 3, 1]).expect("the server reads");
    stalled.set_read_timeout(Some(PATIENCE)).expect("it is more than nothing");
    let (client, _) = place.client(&door, BOTH).expect("TLS is agreed on");
    assert_eq!(client.ask("GET", "/health", &[], "").expect("it is answered").body, "alive\n");
    assert_eq!(stalled.read(&mut [0; 64]).expect("it is closed"), 0);
    until(|| door.log().contains("TLS was not agreed on"));
    assert!(!door.log().contains("ERROR"), "{}", door.log());
    assert!(door.finish().success());
}

#[test]
fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
    let place = Place::new();
    let first = place.issue();
    let door = place.serve(&[]);
    assert_eq!(place.shown(&door), first);
    let (client, _) = place.client(&door, BOTH).expect("TLS is agreed on");

    // The key comes first, then its certificate: in between, they do not belong together.
    let key = new_key();
    let (text, second) = place.authority.issue(&key);
    place.write_key(&pem("PRIVATE KEY", &key.serialize_der()));
    until(|| door.log().contains("is not that of the certificate"));
    assert_eq!(place.shown(&door), first);
    replace(&place.certificate(), &text);
    until(|| place.shown(&door) == second);
    assert!(door.log().contains("the certificate was renewed"), "{}", door.log());

    // What is broken, half written or not there leaves the one before.
    for (broken, words) in [
        (Some("nothing of use\n"), "holds no certificate"),
        (Some(&text[..text.len() / 2]), "is damaged"),
        (None, "cannot be read"),
    ] {
        match broken {
            Some(broken) => replace(&place.certificate(), broken),
            None => fs::remove_file(place.certificate()).expect("it is there"),
        }
        until(|| door.log().contains(words));
        assert_eq!(place.shown(&door), second, "{words}");
    }
    let third = place.issue();
    until(|| place.shown(&door) == third);
    // Who was connected before goes on.
    assert_eq!(add(&client), json!({"result": 3}));
    assert!(door.finish().success());
}

#[test]
fn files_that_make_no_tls_are_refused_with_the_reason() {
    let place = Place::new();
    place.issue();
    let good = (
        fs::read_to_string(place.certificate()).expect("it is there"),
        fs::read_to_string(place.key()).expect("it is there"),
    );
    let fails = |words: &[&str], code: i32| {
        let flags = place.flags();
        let mut command = vec!["serve", "--http", "127.0.0.1:0"];
        command.extend(flags.iter().map(String::as_str));
        let ran = place.lab.cargo_kami(&command);
        for words in words {
            ran.expect(code, words);
        }
        assert!(!ran.stderr.contains("Serving"), "{}", ran.stderr);
    };
    let other = pem("PRIVATE KEY", &new_key().serialize_der());
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                  DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let odd = pem("PRIVATE KEY", b"no key");
    let stray = pem("CERTIFICATE", b"no certificate");
    let huge = "x".repeat(2 << 20);
    for (certificate, key, words) in [
        (&*good.0, &*other, &["server.key is not that of the certificate in", "server.pem"][..]),
        (&good.0, encrypted, &["server.key is encrypted", "openssl pkey"]),
        (&good.0, legacy, &["server.key is encrypted"]),
        (&good.0, &good.0, &["server.key holds no private key"]),
        (&good.0, &odd, &["the key in", "cannot be used"]),
        (&good.0, "", &["server.key holds no private key"]),
        (&good.1, &good.1, &["server.pem holds no certificate", "BEGIN CERTIFICATE"]),
        (&stray, &good.1, &["the certificate in", "server.pem cannot be used"]),
        (&huge, &good.1, &["server.pem is no file of a certificate"]),
    ] {
        replace(&place.certificate(), certificate);
        place.write_key(key);
        fails(words, 1);
    }
    place.issue();
    fs::remove_file(place.key()).expect("it is there");
    fails(&["server.key cannot be read"], 1);
    fs::create_dir(place.key()).expect("directories can be made");
    fails(&["server.key is no file"], 1);
    for flags in [
        &["--http", "127.0.0.1:0", "--tls-cert", "x"][..],
        &["--http", "127.0.0.1:0", "--tls-key", "x"],
        &["--tls-cert", "x", "--tls-key", "x"],
    ] {
        place.lab.cargo_kami(&[&["serve"], flags].concat()).expect(2, "means nothing without");
    }
}

#[test]
fn keys_are_read_in_every_form_and_exposed_ones_are_told_of() {
    let place = Place::new();
    let curve = new_key();
    let der = curve.serialize_der();
    // The key of SEC 1 stands in the one of PKCS#8, behind what says of which kind it is.
    let inner = der.windows(4).position(|w| w == [2, 1, 1, 4]).expect("it is there") - 2;
    let rsa = include_bytes!("../../src/rsa-2048.pk8");
    let rsa_key = Key::try_from(&rsa[..]).expect("the file is a key");
    let ed25519 = Key::generate_for(&rcgen::PKCS_ED25519).expect("there is entropy");
    for (key, text) in [
        (&curve, pem("PRIVATE KEY", &der)),
        (&curve, pem("EC PRIVATE KEY", &der[inner..])),
        (&rsa_key, pem("PRIVATE KEY", rsa)),
        (&rsa_key, pem("RSA PRIVATE KEY", &rsa[26..])),
        (&ed25519, pem("PRIVATE KEY", &ed25519.serialize_der())),
    ] {
        let (certificate, _) = place.authority.issue(key);
        replace(&place.certificate(), &certificate);
        place.write_key(&text);
        let door = place.serve(&[]);
        place.shown(&door);
        assert!(!door.log().contains("others may read the key"), "{}", door.log());
    }
    if cfg!(unix) {
        private(&place.key(), 0o644);
        let started = place.serve(&[]);
        // It is said before anybody is served.
        assert!(started.log().contains("others may read the key"), "{}", started.log());
        place.shown(&started);
    }
}
