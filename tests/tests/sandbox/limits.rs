//! Time, memory, fuel, stack and size.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scene::{Expect as _, HASTY, Scene};

const TIMED_OUT: &str = "the tool ran longer than its limit of 200 ms [KAMI-TIMEOUT]";

#[test]
fn a_guest_that_never_ends_is_ended() {
    let scene = Scene::shared();
    for (tool, arguments) in [("hasty/spin", json!({})), ("hasty/sleep", json!({"millis": 60_000}))]
    {
        let called = scene.call(tool, arguments);
        called.fails(TIMED_OUT);
        let inside = called.report.stats.inside;
        let limit = Duration::from_millis(HASTY);
        assert!((limit..limit * 20).contains(&inside), "{tool} ended after {inside:?}");
    }
}

#[test]
fn sleeping_within_the_limit_is_fine_and_for_ever_is_not() {
    let scene = Scene::shared();
    scene.call("hasty/sleep", json!({"millis": 1})).gives("");
    scene.call("hasty/sleep", json!({"millis": u64::MAX})).fails(TIMED_OUT);
}

#[test]
fn more_spinning_guests_than_threads_starve_nobody() {
    let scene = Scene::shared();
    let started = Instant::now();
    // The runtime has two threads, and the neighbour's bound is checked meanwhile.
    for called in scene.call_all(vec![("hasty/spin", json!({})); 8]) {
        called.fails(TIMED_OUT);
    }
    let all = started.elapsed();
    assert!(all < Duration::from_millis(HASTY) * 300, "eight guests ended after {all:?}");
}

#[test]
fn a_guest_that_takes_memory_without_end_is_ended() {
    let called = Scene::shared().call("limited/allocate", json!({}));
    called.fails("the tool needs more memory than its limit of 64 MiB [KAMI-MEMORY]");
    let peak = called.report.stats.memory_peak_bytes;
    assert!((48 << 20..=64 << 20).contains(&peak), "the peak was {peak}");
}

#[test]
fn a_guest_out_of_fuel_is_ended_and_one_with_enough_tells_what_it_burnt() {
    let scene = Scene::shared();
    let called = scene.call("starved/count", json!({"to": 1_000_000_000}));
    called.fails("the tool burnt all of its 100000 units of fuel [KAMI-FUEL]");
    assert!(called.report.stats.fuel.is_some_and(|fuel| fuel >= 99_000), "{called:?}");

    let burnt = |to: u64| {
        let called = scene.call("fuelled/count", json!({"to": to}));
        called.gives(&(to / 2).to_string());
        called.report.stats.fuel.expect("fuel is metered")
    };
    let (few, many) = (burnt(1_000), burnt(100_000));
    assert!(few > 1_000 && many > few + 99_000, "{few} and {many}");
    assert_eq!(burnt(1_000), few, "the same work burns the same");

    let unmetered = scene.call("limited/count", json!({"to": 1_000}));
    assert_eq!(unmetered.gives("500").report.stats.fuel, None);
}

#[test]
fn endless_recursion_is_ended() {
    Scene::shared()
        .call("limited/recurse", json!({}))
        .fails("the tool used up its stack, as endless recursion does [KAMI-STACK]");
}

#[test]
fn computing_is_bounded_and_waiting_is_free() {
    let scene = Scene::shared();
    let called = scene.call("thoughtless/spin", json!({}));
    called.fails("the tool computed longer than its limit of 100 ms [KAMI-CPU]");
    let cpu = called.report.stats.cpu;
    assert!(cpu >= Duration::from_millis(100) && cpu < Duration::from_secs(1), "{cpu:?}");
    let called = scene.call("thoughtless/sleep", json!({"millis": 300}));
    called.gives("");
    assert!(called.report.stats.cpu < Duration::from_millis(100), "{called:?}");
}

#[test]
fn arguments_are_bounded() {
    let scene = Scene::shared();
    let text = "x".repeat((1 << 20) - 100);
    scene.call("limited/forge", json!({"line": text})).gives("the real answer");
    let text = "x".repeat(1 << 20);
    scene.call("limited/forge", json!({"line": text})).fails(
        "the arguments don't fit the input schema: they are larger than 1024 KiB [KAMI-ARGUMENTS]",
    );
}

#[test]
fn a_package_has_its_own_places_and_no_more() {
    let scene = Scene::shared();
    // Each holds the only place for its whole time; none waits for longer than that.
    let ends = scene.call_all(vec![("single/sleep", json!({"millis": 60_000})); 3]);
    let texts: Vec<String> = ends.iter().map(|called| called.text()).collect();
    let told = |text: &str| texts.iter().filter(|told| told.contains(text)).count();
    assert!(told("[KAMI-TIMEOUT]") >= 1, "{texts:?}");
    assert!(told("[KAMI-BUSY]") >= 1, "{texts:?}");
    assert_eq!(told("[KAMI-TIMEOUT]") + told("[KAMI-BUSY]"), 3, "{texts:?}");
    scene.call("single/sleep", json!({"millis": 1})).gives("");
}

#[test]
fn calls_come_no_faster_than_they_may() {
    let scene = Scene::new();
    for _ in 0..2 {
        scene.call("seldom/sleep", json!({"millis": 1})).gives("");
    }
    let refused = scene.call("seldom/sleep", json!({"millis": 1})).text();
    assert!(refused.contains("called too often") && refused.ends_with("[KAMI-RATE]"), "{refused}");
}

#[test]
fn answers_are_bounded() {
    let scene = Scene::shared();
    let large = scene.call("limited/ramble", json!({"bytes": 1 << 20}));
    assert_eq!(large.text().len(), 1 << 20);
    // One byte more is judged by its size, and what is far more never reaches the host.
    for bytes in [(1 << 20) + 1, 20 << 20] {
        scene
            .call("limited/ramble", json!({"bytes": bytes}))
            .fails("the tool's result is larger than its limit of 1024 KiB [KAMI-SIZE]");
    }

    let complaint = scene.call("limited/complain", json!({"bytes": 1 << 20})).text();
    assert!(complaint.ends_with("y…") && complaint.len() < 17 << 10, "{}", complaint.len());
}
