//! What guests hold on to, and what remains of it: nothing.

use kami_tests::lab::{Lab, id};
use kami_tests::server::{Server, text};
use kami_tests::web::Web;
use serde_json::{Value, json};

use super::scene::{Expect as _, Scene, hoarder};

/// All that the host hands out, as `pile` knows it.
const THINGS: [&str; 13] = [
    "Clocks", "Fields", "Requests", "Bodies", "Answers", "Trailers", "Sockets", "Files",
    "Listings", "Readers", "Writers", "Prints", "Errors",
];

const FULL: &str =
    "the tool holds more than its limit of 128 open files, streams and the like [KAMI-HANDLES]";

fn pile(thing: &str, most: u32, web: &Web) -> Value {
    json!({"what": thing, "most": most, "server": web.address()})
}

#[test]
fn nothing_is_held_beyond_the_limit_of_handles() {
    let scene = Scene::shared();
    for thing in THINGS {
        scene.call("hoarder/pile", pile(thing, 5, &scene.web)).gives("5");
        scene.call("hoarder/pile", pile(thing, 1_000_000, &scene.web)).fails(FULL);
        scene.call("hoarder/pile", pile(thing, 5, &scene.web)).gives("5");
    }
}

/// How many files a server has open.
#[cfg(target_os = "linux")]
fn open_files(server: &Server) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.process()));
    open.expect("the server runs").count()
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_guest_held_is_given_back_when_it_ends() {
    use kami_tests::server::PATIENCE;
    use std::time::{Duration, Instant};

    /// What the server itself may open meanwhile, far less than one for each call.
    const SLACK: usize = 8;

    let (lab, web) = (Lab::with_neighbour(), Web::start());
    lab.install(&hoarder(&web));
    let mut server = Server::start(lab.data());
    let tool = id("hoarder/pile");
    server.call(&tool, &pile("Files", 5, &web));
    let before = open_files(&server);
    for _ in 0..4 {
        for thing in THINGS {
            let answer = server.call(&tool, &pile(thing, 1_000_000, &web));
            assert_eq!(text(&answer), (FULL, true), "{thing}: {answer}");
        }
        assert_eq!(server.call("add", &json!({"a": 1, "b": 1}))["isError"], json!(false));
    }
    let deadline = Instant::now() + PATIENCE;
    while open_files(&server) > before + SLACK {
        let open = open_files(&server);
        assert!(Instant::now() < deadline, "{before} files were open, and {open} still are");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (status, log) = server.finish();
    assert!(status.success(), "{log}");
    let scratch = std::fs::read_dir(lab.data().scratch_dir()).expect("the directory is there");
    assert_eq!(scratch.count(), 0, "scratch directories stay behind");
}
