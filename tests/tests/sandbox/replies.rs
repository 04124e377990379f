//! Components written by hand, whose every part may be wrong.

use kami_core::call::describe;
use kami_core::engine::{Engine, EngineOptions};
use kami_core::grants::Capabilities;
use kami_tests::lab::{Lab, limits, single};
use kami_tests::raw::{REPLY, Raw, TEXT};
use serde_json::json;

use super::scene::{Expect as _, HASTY, beside_neighbour};

#[test]
fn no_reply_harms_the_host() {
    let text = |length: u32| [2, 2, TEXT, length];
    let structured = |length: u32| [0, 0, 0, 1, TEXT, length];
    let timed_out = "the tool ran longer than its limit of 200 ms [KAMI-TIMEOUT]";
    let lab = Lab::with_neighbour();
    let cases = [
        ("fine", Raw { reply: &structured(2), text: b"{}", ..Raw::default() }, ""),
        (
            "not-json",
            Raw { reply: &structured(1), text: b"{", ..Raw::default() },
            "the tool gave a reply that is not valid: its structured content is not JSON \
             (EOF while parsing an object at line 1 column 1) [KAMI-REPLY]",
        ),
        ("own-words", Raw { reply: &text(4), text: b"oops", ..Raw::default() }, "oops"),
        (
            "asks",
            Raw { reply: &[1, 0, 0, 0], ..Raw::default() },
            "the tool asked the client a question, which this host does not support [KAMI-INPUT]",
        ),
        (
            "traps",
            Raw { body: "unreachable", ..Raw::default() },
            "the tool crashed (wasm trap: wasm `unreachable` instruction executed) [KAMI-TRAP]",
        ),
        (
            "divides",
            Raw { body: "(drop (i32.div_u (i32.const 1) (i32.const 0)))", ..Raw::default() },
            "the tool crashed (wasm trap: integer divide by zero) [KAMI-TRAP]",
        ),
        ("starts", Raw { start: "(loop (br 0))", ..Raw::default() }, timed_out),
        ("lingers", Raw { after: "(loop (br 0))", ..Raw::default() }, timed_out),
        (
            "huge",
            Raw { pages: 65_536, ..Raw::default() },
            "the tool needs more memory than its limit of 16 MiB [KAMI-MEMORY]",
        ),
        (
            "grows-tables",
            // It traps unless growing is refused.
            Raw {
                body: "(if (i32.ne (table.grow $table (ref.null func) (i32.const 1000000))
                                   (i32.const -1)) (then unreachable))",
                ..Raw::default()
            },
            "",
        ),
        (
            "grows-tables-a-little",
            Raw {
                body: "(if (i32.ne (table.grow $table (ref.null func) (i32.const 1000))
                                   (i32.const 10)) (then unreachable))",
                ..Raw::default()
            },
            "",
        ),
        (
            "points-outside",
            Raw { reply_at: 0xffff_fff0, ..Raw::default() },
            "the tool crashed (pointer out of bounds of memory) [KAMI-TRAP]",
        ),
        (
            "points-askew",
            Raw { reply_at: REPLY + 1, ..Raw::default() },
            "the tool crashed (return pointer not aligned) [KAMI-TRAP]",
        ),
        (
            "unknown-case",
            Raw { reply: &[3, 0, 0, 0], ..Raw::default() },
            "the tool crashed (unexpected discriminant: 3) [KAMI-TRAP]",
        ),
        (
            "long-text",
            Raw { reply: &text(u32::MAX), ..Raw::default() },
            "the tool crashed (string pointer/length out of bounds of memory) [KAMI-TRAP]",
        ),
        (
            "not-text",
            Raw { reply: &text(2), text: b"\xff\xfe", ..Raw::default() },
            "the tool crashed (invalid utf-8 sequence of 1 bytes from index 0) [KAMI-TRAP]",
        ),
        (
            "many-pieces",
            Raw { reply: &[0, TEXT, 1 << 27, 0, 0, 0], ..Raw::default() },
            "the tool crashed (list pointer/length out of bounds of memory) [KAMI-TRAP]",
        ),
    ];
    let requests = Capabilities { limits: limits(16, HASTY), ..Capabilities::default() };
    for (name, raw, _) in &cases {
        lab.install(&single(&raw.component(), name, &requests));
    }
    let resolver = lab.resolver(&[]);
    for (name, _, expected) in &cases {
        let called = beside_neighbour(&resolver, vec![(&format!("{name}/{name}"), json!({}))]);
        assert_eq!(called[0].text(), *expected, "{name}: {called:?}");
    }
}

#[test]
fn no_description_harms_the_host() {
    let engine = Engine::new(EngineOptions::default()).expect("the engine starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("there is a runtime");
    let describe = |raw: &Raw<'_>| {
        let described = runtime.block_on(describe(&engine, &raw.component()));
        described.map_err(|error| {
            let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
                error.source()
            });
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        })
    };
    let tool = r#"{"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}"#;
    let tools = describe(&Raw { description: tool, ..Raw::default() });
    assert_eq!(tools.map(|tools| tools[0].name.to_string()), Ok("t".to_owned()));

    for (raw, expected) in [
        (Raw::default(), "EOF while parsing"),
        (Raw { description: "[[[[", ..Raw::default() }, "is not valid"),
        (Raw { description: "{\"tools\": [{\"name\": \"\"}]}", ..Raw::default() }, "is not valid"),
        (Raw { start: "unreachable", ..Raw::default() }, "the tool crashed"),
    ] {
        let refused = describe(&raw).expect_err(expected);
        assert!(refused.contains(expected), "`{expected}` is missing in `{refused}`");
    }
}
