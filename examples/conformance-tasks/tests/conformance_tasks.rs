//! The tools, without any task.

use conformance_tasks::{greet, slow_compute};
use kami_guest::serde_json::json;
use kami_guest::testing::{self, Client};

#[test]
fn greets_exactly_as_the_suite_wants_it() {
    assert_eq!(greet("sep-2243".to_owned()), "Hello, sep-2243!");
}

#[test]
fn takes_no_time_if_none_is_asked_for() {
    assert_eq!(slow_compute(0.0, Some("instant".to_owned())).unwrap(), "instant took 0 seconds");
    assert!(slow_compute(-1.0, None).is_err());
}

#[test]
fn nothing_has_to_be_named_to_be_asked_about() {
    let schema = &testing::describe_tool("confirm_delete")["inputSchema"];
    assert_eq!(schema.get("required"), None);
}

#[test]
fn both_names_are_asked_for_at_once() {
    // The suite answers with more than was asked for.
    let client = Client::new()
        .accept("first", json!({"name": "partial-1", "confirm": true}))
        .accept("second", json!({"name": "partial-2", "confirm": true}));
    let reply = client.call("multi_input", json!({})).unwrap();
    assert_eq!(reply.text(), "partial-1, then partial-2");
}

#[test]
fn the_name_that_was_asked_for_is_greeted() {
    let client = Client::new().accept("user_name", json!({"name": "Alice"}));
    assert_eq!(client.call("test_tool_with_task", json!({})).unwrap().text(), "Hello, Alice!");
}
