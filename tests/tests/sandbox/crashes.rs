//! Ends that are no answers.

use kami_core::call::{CallError, CallOutcome};
use serde_json::json;

use super::scene::{Expect as _, Scene};

#[test]
fn a_panic_is_one_line_for_the_model_and_a_place_for_the_operator() {
    let called = Scene::shared().call("limited/panic", json!({"message": "the reactor\nleaks"}));
    called.fails("the tool crashed (panic) [KAMI-PANIC]");
    let CallOutcome::Failed(CallError::Panicked { message, location }) = &called.report.outcome
    else {
        panic!("{called:?}");
    };
    assert_eq!(message, "the reactor");
    let (file, place) = location.split_once(".rs:").expect("the location is file:line:column");
    assert!(file.ends_with("src/crash") && !file.starts_with('/'), "{location}");
    let (line, column) = place.split_once(':').expect("the location is file:line:column");
    let source = include_str!("../../programs/hostile/src/crash.rs");
    let line: usize = line.parse().expect("lines have numbers");
    assert!(source.lines().nth(line - 1).is_some_and(|line| line.contains("panic!")), "{location}");
    assert!(column.parse::<u32>().is_ok(), "{location}");
    assert!(called.report.stderr.text.contains("the reactor\nleaks"), "{called:?}");
}

#[test]
fn an_exit_is_no_answer() {
    let scene = Scene::shared();
    for (status, told) in [(0, 0), (3, 1)] {
        // The contract knows good and bad ends only, so that every bad one is 1.
        scene
            .call("limited/exit", json!({"status": status}))
            .fails(&format!("the tool exited with status {told} instead of answering [KAMI-EXIT]"));
    }
}
