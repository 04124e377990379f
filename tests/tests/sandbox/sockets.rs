//! The server at a Unix socket: whose it is, and what is there before and after it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kami_tests::door::{Door, call};
use kami_tests::guests::program;
use kami_tests::http::{Client, Version};
use kami_tests::lab::Lab;
use kami_tests::server::PATIENCE;
use serde_json::json;

/// Where a server is to listen; its path is short, whatever the lab's is.
struct Place {
    lab: Lab,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("kami").tempdir_in("/tmp");
        Self { lab: Lab::with_neighbour(), directory: directory.expect("directories can be made") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("mcp.sock")
    }

    fn address(&self) -> String {
        format!("unix:{}", self.path().display())
    }

    fn serve(&self) -> Door {
        Door::start_at(&self.address(), self.lab.data(), &[], "warn")
    }

    /// Fails unless a server does not start, for this reason.
    #[track_caller]
    fn is_refused(&self, words: &str) {
        let ran = self.lab.cargo_kami(&["serve", "--http", &self.address()]);
        assert!(ran.stderr.contains(words) && !ran.stderr.contains("Serving"), "{}", ran.stderr);
    }

    #[track_caller]
    fn is_served(&self) {
        for version in [Version::One, Version::Two] {
            let client = Client::through(&self.path(), version);
            let sum = client.post(&call(1, "add", &json!({"a": 1, "b": 2})));
            let sum = sum.expect("it is answered").result();
            assert_eq!(sum["structuredContent"], json!({"result": 3}), "{version:?}");
        }
    }

    /// What is in the directory.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).expect("it can be listed");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("it can be listed").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_unix_socket_is_for_its_user_alone_and_goes_with_its_server() {
    let place = Place::new();
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let door = place.serve();
        let made = fs::symlink_metadata(place.path()).expect("it is there");
        assert!(made.file_type().is_socket());
        assert_eq!(
            (mode(&place.path()), place.left()),
            (0o600, ["mcp.sock", "mcp.sock.lock"].map(str::to_owned).to_vec())
        );
        assert_eq!(mode(&place.path().with_extension("sock.lock")), 0o600);
        place.is_served();
        // It has the names that this machine has, and no pages of elsewhere talk to it.
        for (host, origin, status) in [
            ("localhost", "", "200"),
            ("elsewhere.example", "", "403"),
            ("localhost", "http://elsewhere.example", "403"),
        ] {
            let mut stream = UnixStream::connect(place.path()).expect("the server listens");
            let request = door.request(
                "POST",
                "/mcp",
                &[("Host", host), ("Origin", origin)],
                &call(1, "add", &json!({"a": 1, "b": 2})).to_string(),
            );
            stream.write_all(request.as_bytes()).expect("the server reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it is answered");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host} {origin}: {answer}");
        }
        door.signal(signal);
        assert!(door.ended().success());
        assert_eq!(place.left(), [""; 0]);
    }
}

#[test]
fn a_socket_of_a_dead_server_is_replaced_and_nothing_else_is() {
    let place = Place::new();
    let door = place.serve();
    place.is_refused("another server listens on unix:");
    place.is_served();
    // It is killed, and leaves what it made.
    drop(door);
    assert_eq!(place.left(), ["mcp.sock", "mcp.sock.lock"]);
    let door = place.serve();
    place.is_served();
    assert!(door.finish().success());

    // A program that knows nothing of this one's lock, alive and then dead.
    let other = UnixListener::bind(place.path()).expect("it is free");
    place.is_refused("another server listens on unix:");
    drop(other);
    assert_eq!(place.left(), ["mcp.sock"]);
    assert!(place.serve().finish().success());

    // What is no socket stays as it is.
    let elsewhere = place.directory.path().join("elsewhere");
    fs::write(&elsewhere, "kept").expect("files can be written");
    fs::write(place.path(), "kept").expect("files can be written");
    place.is_refused("is there, and is no socket");
    assert_eq!(fs::read_to_string(place.path()).expect("it is there"), "kept");
    fs::remove_file(place.path()).expect("it is ours");
    symlink(&elsewhere, place.path()).expect("links can be made");
    place.is_refused("is there, and is no socket");
    fs::remove_file(place.path()).expect("it is ours");
    // Nor is a link followed in the place of the lock.
    symlink(&elsewhere, place.path().with_extension("sock.lock")).expect("links can be made");
    place.is_refused("opening");
    assert_eq!(fs::read_to_string(&elsewhere).expect("it is there"), "kept");
    fs::remove_file(place.path().with_extension("sock.lock")).expect("it is ours");

    // A server removes its own socket, and not what somebody put there meanwhile.
    let door = place.serve();
    fs::remove_file(place.path()).expect("it is ours");
    let other = UnixListener::bind(place.path()).expect("it is free");
    assert!(door.finish().success());
    assert_eq!(place.left(), ["elsewhere", "mcp.sock"]);
    drop(other);
}

#[test]
fn a_socket_is_not_made_where_others_could_exchange_it_or_nobody_can() {
    let place = Place::new();
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(place.directory.path(), open).expect("it is ours");
    place.is_refused("others may write to");
    let own = fs::Permissions::from_mode(0o700);
    fs::set_permissions(place.directory.path(), own).expect("it is ours");
    assert!(place.serve().finish().success());

    let serve = |address: &str| place.lab.cargo_kami(&["serve", "--http", address]);
    serve(&format!("{}/deeper", place.address())).expect(1, "listening on unix:");
    let long = format!("unix:{}/{}", place.directory.path().display(), "x".repeat(120));
    serve(&long).expect(1, "listening on unix:");
    assert_eq!(place.left(), [""; 0], "nothing is left of an attempt");
    serve("unix:").expect(2, "unix:PATH");
    serve("/run/kami.sock").expect(2, "unix:PATH");
    let files = ["--tls-cert", "x", "--tls-key", "x"];
    place
        .lab
        .cargo_kami(&[&["serve", "--http", &place.address()], &files[..]].concat())
        .expect(1, "x cannot be read");
}

#[test]
fn of_many_servers_one_has_the_socket() {
    const SERVERS: usize = 6;
    let place = Place::new();
    // What a dead one left, for all of them to find.
    drop(place.serve());
    let mut servers: Vec<_> = (0..SERVERS)
        .map(|_| {
            let mut command = Command::new(program());
            command.args(["serve", "--http", &place.address(), "--data-dir"]);
            command.arg(place.lab.data().path());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().expect("the program starts")
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    let mut refused = 0;
    while refused < SERVERS - 1 {
        assert!(Instant::now() < deadline, "{refused} of {SERVERS} were refused");
        std::thread::sleep(Duration::from_millis(20));
        let over = |server: &mut std::process::Child| match server.try_wait() {
            Ok(Some(status)) => {
                assert_eq!(status.code(), Some(1), "it is refused, and nothing else");
                true
            }
            _ => false,
        };
        let before = servers.len();
        servers.retain_mut(|server| !over(server));
        refused += before - servers.len();
    }
    let [last] = &mut servers[..] else { panic!("one has it") };
    // The others are gone while it may still be on its way.
    while !place.path().exists() || UnixStream::connect(place.path()).is_err() {
        assert!(Instant::now() < deadline, "nobody has it");
        std::thread::sleep(Duration::from_millis(20));
    }
    place.is_served();
    last.kill().expect("it is there");
    last.wait().expect("it ends");
}
