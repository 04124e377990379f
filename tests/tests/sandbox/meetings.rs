//! Guests that would meet: in memory, in the environment, or in files.

use serde_json::json;

use super::scene::{Expect as _, Scene};

#[test]
fn two_calls_meet_nowhere_whether_of_one_package_or_of_two() {
    let scene = Scene::shared();
    for _ in 0..5 {
        let meet = |mark: &str| json!({"mark": mark, "wait_millis": 50});
        let marks = [("guest", "A"), ("guest", "B"), ("stranger", "C"), ("stranger", "D")];
        let tools = marks.map(|(package, _)| format!("{package}/meet"));
        let calls = tools.iter().zip(marks).map(|(tool, (_, mark))| (tool.as_str(), meet(mark)));
        for (called, (package, mark)) in scene.call_all(calls.collect()).iter().zip(marks) {
            // Its own marks are found: those of others would be.
            let alone = json!({
                "entered": 1,
                "environment": [format!("MARK_OF_{mark}")],
                "files": [mark],
                "arguments": [],
            });
            assert_eq!(*called.structured(), alone, "{package} {mark}");
        }
    }
}
