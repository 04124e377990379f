//! A server with thousands of tools: each of them is listed once, and any of them is called.

use std::collections::BTreeSet;
use std::time::Instant;

use kami_core::grants::Capabilities;
use kami_core::manifest::ToolDefinition;
use kami_tests::lab::{Lab, id, seal};
use kami_tests::raw::{Raw, TEXT};
use kami_tests::server::{PATIENCE, Server, text};
use serde_json::{Value, json};

/// As many as one package may have.
const TOOLS: usize = 1000;

fn tools(name: &str) -> Vec<ToolDefinition> {
    let tool = |n| {
        let tool = json!({"name": format!("{name}_{n:03}"), "inputSchema": {"type": "object"}});
        serde_json::from_value(tool).expect("it is a tool")
    };
    (0..TOOLS).map(tool).collect()
}

/// The names in all pages, in the order in which they come.
fn listed(server: &mut Server) -> Vec<String> {
    let mut names = Vec::new();
    let mut params = json!({});
    loop {
        let page = server.request("tools/list", &params);
        let tools = page["tools"].as_array().expect("a page has tools");
        names.extend(tools.iter().filter_map(|tool| Some(tool["name"].as_str()?.to_owned())));
        match &page["nextCursor"] {
            Value::Null => return names,
            cursor => params = json!({"cursor": cursor}),
        }
    }
}

#[test]
fn thousands_of_tools_are_listed_in_pages_and_any_of_them_is_called() {
    let lab = Lab::with_neighbour();
    for (package, named) in [("north", "tool"), ("south", "tool"), ("inner", "other")] {
        let reply = Raw { reply: &[2, 2, TEXT, 5], text: package.as_bytes(), ..Raw::default() };
        lab.install(&seal(&reply.component(), package, tools(named), &Capabilities::default()));
    }
    let mut server = Server::start(lab.data());
    let names = listed(&mut server);
    // Those of two packages are called alike, and so are named after their packages.
    let mut expected = BTreeSet::from(["add".to_owned()]);
    for n in 0..TOOLS {
        let of = |prefix: &str| format!("{prefix}_{n:03}");
        expected.extend([of("north_tool"), of("south_tool"), of("other")]);
    }
    assert!(names.iter().eq(&expected), "{} names", names.len());

    for (name, answer) in [
        ("north_tool_500", "north"),
        ("south_tool_500", "south"),
        ("other_999", "inner"),
        (&id("south/tool_000"), "south"),
    ] {
        for _ in 0..2 {
            let result = server.call(name, &json!({}));
            assert_eq!(text(&result), (answer, true), "{name}: {result}");
        }
    }
    let sum = server.call("add", &json!({"a": 1, "b": 1}));
    assert_eq!(sum["structuredContent"], json!({"result": 2}), "{sum}");

    // What is installed meanwhile gets its place, and takes one from another.
    let reply = Raw { reply: &[2, 2, TEXT, 5], text: b"fresh", ..Raw::default() };
    let fresh: Vec<_> = tools("other").drain(..1).collect();
    lab.install(&seal(&reply.component(), "east", fresh, &Capabilities::default()));
    expected.remove("other_000");
    expected.extend(["east_other_000", "inner_other_000"].map(str::to_owned));
    let deadline = Instant::now() + PATIENCE;
    while !listed(&mut server).iter().eq(&expected) {
        assert!(Instant::now() < deadline, "the new tool is never listed");
    }
    assert_eq!(text(&server.call("east_other_000", &json!({}))), ("fresh", true));
    assert_eq!(text(&server.call("inner_other_000", &json!({}))), ("inner", true));
    assert!(server.finish().0.success());
}
