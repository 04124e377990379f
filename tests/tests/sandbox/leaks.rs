//! What one call leaves for the next one, which has the same memory after it: nothing.

use serde_json::json;

use super::scene::{Expect as _, Scene};

#[test]
fn no_guest_finds_what_another_left_in_memory() {
    const ROUNDS: usize = 125;
    const AT_ONCE: u64 = 8;
    let scene = Scene::shared();
    for round in 0..ROUNDS {
        let calls = (0..2 * AT_ONCE).map(|n| match n % 2 {
            0 => ("limited/scribble", json!({"own": 1, "other": 2})),
            _ => ("twin/scribble", json!({"own": 2, "other": 1})),
        });
        for called in scene.call_all(calls.collect()) {
            let found = called.structured();
            assert_eq!(*found, json!({"dirty": 0, "other": false, "own": true}), "round {round}");
        }
    }
}
