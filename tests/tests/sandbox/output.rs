//! What guests say besides their answer.

use kami_core::call::{GuestEvent, Level};
use serde_json::json;

use super::scene::{Expect as _, Scene};

#[test]
fn stdout_and_stderr_go_to_the_operator_only() {
    let forged = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    let called = Scene::shared().call("limited/forge", json!({"line": forged}));
    called.gives("the real answer");
    for captured in [&called.report.stdout, &called.report.stderr] {
        assert_eq!((captured.text.as_str(), captured.dropped), (&*format!("{forged}\n"), 0));
    }
}

#[test]
fn a_flood_is_kept_to_its_end_and_the_rest_is_counted() {
    const SENT: u64 = 32 << 20;
    let called = Scene::shared().call("limited/flood", json!({"bytes": SENT}));
    called.gives("");
    for captured in [&called.report.stdout, &called.report.stderr] {
        assert_eq!(captured.text.len(), 256 << 10);
        assert_eq!(captured.dropped, SENT - (256 << 10));
    }
}

fn text_length(event: &GuestEvent) -> usize {
    match event {
        GuestEvent::Log { message, .. } => message.len(),
        GuestEvent::Progress { message, .. } => message.as_ref().map_or(0, String::len),
        GuestEvent::ListChanged(_) => 0,
    }
}

#[test]
fn log_and_progress_are_bounded_in_number_and_length() {
    let scene = Scene::shared();
    let few = scene.call("limited/chatter", json!({"times": 3, "bytes": 5}));
    few.gives("");
    let log = GuestEvent::Log { level: Level::Error, message: "ccccc".into() };
    assert_eq!(few.events.iter().filter(|event| **event == log).count(), 3);

    let many = scene.call("limited/chatter", json!({"times": 2_000, "bytes": 0}));
    assert_eq!(many.gives("").events.len(), 1_000);
    assert_eq!(many.report.stats.events_dropped, 3_000);

    let loud = scene.call("limited/chatter", json!({"times": 100, "bytes": 8 << 10}));
    let bytes: usize = loud.gives("").events.iter().map(text_length).sum();
    assert!((240 << 10..=256 << 10).contains(&bytes), "{bytes}");
    assert_eq!(loud.events.len() + loud.report.stats.events_dropped as usize, 200);

    let long = scene.call("limited/chatter", json!({"times": 1, "bytes": 1 << 20}));
    assert_eq!(long.gives("").events.len(), 2);
    for event in &long.events {
        let (GuestEvent::Log { message, .. } | GuestEvent::Progress { message: Some(message), .. }) =
            event
        else {
            panic!("{event:?}");
        };
        assert!(message.len() <= (8 << 10) + 3 && message.ends_with("c…"), "{}", message.len());
    }
}
