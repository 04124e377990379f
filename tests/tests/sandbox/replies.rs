//! Components written by hand, whose every part may be wrong.

use kami_core::call::describe;
use kami_core::engine::{Engine, EngineOptions};
use kami_core::grants::{Capabilities, Limit};
use kami_tests::lab::{Lab, limits, single};
use kami_tests::raw::{REPLY, Raw, TEXT};
use serde_json::json;

use super::scene::{Expect as _, HASTY, UNHURRIED, beside_neighbour};

const TIMED_OUT: &str = "the tool ran longer than its limit of 200 ms [KAMI-TIMEOUT]";

#[test]
fn no_reply_harms_the_host() {
    let text = |length: u32| [2, 2, TEXT, length];
    let structured = |length: u32| [0, 0, 0, 1, TEXT, length];
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
        ("starts", Raw { start: "(loop (br 0))", ..Raw::default() }, TIMED_OUT),
        ("lingers", Raw { after: "(loop (br 0))", ..Raw::default() }, TIMED_OUT),
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

/// Has a thousand pieces of a list stand in the second page and all of them mean the same bytes, as
/// many as `length`, which are within a piece at `at`.
fn same_bytes(at: u32, length: u32) -> String {
    format!(
        "(local $piece i32)
         (local.set $piece (i32.const 65536))
         (loop $next
            {}
            (i32.store offset={at} (local.get $piece) (i32.const 200000))
            (i32.store offset={} (local.get $piece) (i32.const {length}))
            (local.set $piece (i32.add (local.get $piece) (i32.const 128)))
            (br_if $next (i32.lt_u (local.get $piece) (i32.const 193536))))",
        // The hints about a piece are there, and hold a list of roles.
        if at > 80 { "(i32.store8 offset=80 (local.get $piece) (i32.const 1))" } else { "" },
        at + 4,
    )
}

#[test]
fn hints_about_a_result_count_as_much_as_the_result() {
    let hints = |length: usize| {
        let roles = format!(
            "(i32.store8 offset=80 (local.get 0) (i32.const 1))
            (i32.store offset=88 (local.get 0) (i32.const 200000))
            (i32.store offset=92 (local.get 0) (i32.const {length}))"
        );
        let modified = format!(
            "(i32.store8 offset=80 (local.get 0) (i32.const 1))
            (i32.store8 offset=112 (local.get 0) (i32.const 1))
            (i32.store offset=116 (local.get 0) (i32.const 200000))
            (i32.store offset=120 (local.get 0) (i32.const {length}))"
        );
        [roles, modified].map(|body| format!("(local.set 0 (i32.const 65536)) {body}"))
    };
    let [few, short] = hints(2_000);
    let [many, long] = hints(100_000);
    let too_large = "the tool's result is larger than its limit of 64 KiB [KAMI-SIZE]";
    let lab = Lab::with_neighbour();
    let limits = limits(16, UNHURRIED).with(Limit::Output, 64).expect("the limit is possible");
    let requests = Capabilities { limits, ..Capabilities::default() };
    let cases = [
        ("few", few, ""),
        ("short", short, ""),
        ("many", many, too_large),
        ("long", long, too_large),
    ];
    for (name, body, _) in &cases {
        let raw = Raw { pages: 6, body, reply: &[0, 65_536, 1, 0, 0, 0], ..Raw::default() };
        lab.install(&single(&raw.component(), name, &requests));
    }
    let resolver = lab.resolver(&[]);
    for (name, _, told) in &cases {
        let called = beside_neighbour(&resolver, vec![(&format!("{name}/{name}"), json!({}))]);
        assert_eq!(called[0].text(), *told, "{name}: {:?}", called[0].report.stats);
    }
}

#[test]
fn nothing_is_read_more_often_than_it_weighs() {
    let reply = [0, 65_536, 1_000, 0, 0, 0];
    let text = |length: u32| same_bytes(8, length);
    let roles = |length: u32| same_bytes(88, length);
    let cases = [
        ("few-texts", text(100), ""),
        ("many-texts", text(60_000), "result is larger than its limit of 1024 KiB [KAMI-SIZE]"),
        ("few-roles", roles(10), ""),
        ("many-roles", roles(60_000), "result is larger than its limit of 1024 KiB [KAMI-SIZE]"),
    ];
    let lab = Lab::with_neighbour();
    let requests = Capabilities { limits: limits(16, UNHURRIED), ..Capabilities::default() };
    for (name, body, _) in &cases {
        let raw = Raw { pages: 5, body, reply: &reply, ..Raw::default() };
        lab.install(&single(&raw.component(), name, &requests));
    }
    let resolver = lab.resolver(&[]);
    for (name, _, told) in &cases {
        let called = beside_neighbour(&resolver, vec![(&format!("{name}/{name}"), json!({}))]);
        let text = called[0].text();
        assert!(text.trim_matches('\0').ends_with(told), "{name}: {text}");
        assert_eq!(text.contains("KAMI"), !told.is_empty(), "{name}: {text}");
    }
}

/// Two functions of which each calls the other, and has something to do afterwards.
const MUTUAL: &str = "
    (func $odd (param i32) (result i32)
        (i32.add (call $even (local.get 0)) (local.get 0)))
    (func $even (param i32) (result i32)
        (i32.sub (call $odd (local.get 0)) (local.get 0)))";

/// Fails unless the model reads, of each component, what stands beside it.
#[track_caller]
fn check(cases: &[(&str, Raw<'_>, &str)]) {
    let requests = Capabilities { limits: limits(16, HASTY), ..Capabilities::default() };
    let lab = Lab::with_neighbour();
    for (name, raw, _) in cases {
        lab.install(&single(&raw.component(), name, &requests));
    }
    let resolver = lab.resolver(&[]);
    let wrong = cases.iter().filter_map(|(name, _, told)| {
        let called = beside_neighbour(&resolver, vec![(&format!("{name}/{name}"), json!({}))]);
        let text = called[0].text();
        let right = text.contains(told) && text.is_empty() == told.is_empty();
        (!right).then(|| format!("{name}: `{told}` is missing in `{text}`"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_memory_that_a_guest_offers_harms_the_host() {
    let offers = |realloc| Raw { realloc, ..Raw::default() };
    let deep = [b'['; 30_000];
    check(&[
        ("nothing", offers("(i32.const 0)"), ""),
        ("always-the-same", offers("(i32.const 40000)"), ""),
        ("the-end", offers("(i32.const 65535)"), "beyond end of memory"),
        ("beyond", offers("(i32.const -16)"), "beyond end of memory"),
        ("its-reply", offers("(i32.const 64)"), "unexpected discriminant"),
        ("no-end", offers("(loop $l (br $l)) unreachable"), TIMED_OUT),
        ("a-trap", offers("unreachable"), "instruction executed) [KAMI-TRAP]"),
        (
            "traps-afterwards",
            Raw { after: "unreachable", ..Raw::default() },
            "instruction executed) [KAMI-TRAP]",
        ),
        (
            "deep-json",
            Raw { reply: &[0, 0, 0, 1, TEXT, 30_000], text: &deep, ..Raw::default() },
            "recursion limit exceeded",
        ),
    ]);
}

#[test]
fn neither_recursion_nor_bulk_work_outlasts_its_limit() {
    let stack = "the tool used up its stack, as endless recursion does [KAMI-STACK]";
    let call = "(drop (call $odd (i32.const 1)))";
    let mutual = || Raw { parts: MUTUAL, ..Raw::default() };
    let body = |body| Raw { body, pages: 200, ..Raw::default() };
    check(&[
        ("body", Raw { body: call, ..mutual() }, stack),
        ("start", Raw { start: call, ..mutual() }, stack),
        ("after", Raw { after: call, ..mutual() }, stack),
        ("realloc", Raw { realloc: "(call $odd (i32.const 1))", ..mutual() }, stack),
        (
            "fills",
            body(
                "(loop $l
                    (memory.fill (i32.const 65536) (i32.const 1) (i32.const 12000000))
                    (br $l))",
            ),
            TIMED_OUT,
        ),
        (
            "copies",
            body(
                "(loop $l
                    (memory.copy (i32.const 65536) (i32.const 65537) (i32.const 12000000))
                    (br $l))",
            ),
            TIMED_OUT,
        ),
        (
            "fills-tables",
            body(
                "(drop (table.grow $table (ref.null func) (i32.const 10000)))
                 (loop $l
                    (table.fill $table (i32.const 0) (ref.null func) (i32.const 10000))
                    (br $l))",
            ),
            TIMED_OUT,
        ),
        ("grows", body("(loop $l (drop (memory.grow (i32.const 1))) (br $l))"), TIMED_OUT),
        (
            "fills-outside",
            body("(memory.fill (i32.const 65536) (i32.const 1) (i32.const -1))"),
            "the tool crashed (wasm trap: out of bounds memory access) [KAMI-TRAP]",
        ),
    ]);
}

#[test]
fn bulk_work_burns_fuel_by_the_byte() {
    const FILLED: u64 = 12_000_000;
    let lab = Lab::with_neighbour();
    let limits = limits(16, UNHURRIED).with(Limit::Fuel, 20 * FILLED);
    let limits = limits.expect("the limits are possible");
    let requests = Capabilities { limits, ..Capabilities::default() };
    let fill = "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 12000000))";
    for (name, body) in [("once", fill), ("ever", &format!("(loop $l {fill} (br $l))"))] {
        let raw = Raw { pages: 200, body, ..Raw::default() };
        lab.install(&single(&raw.component(), name, &requests));
    }
    let resolver = lab.resolver(&[]);
    let call = |tool: &str| beside_neighbour(&resolver, vec![(tool, json!({}))]).remove(0);
    let once = call("once/once");
    once.gives("");
    assert!(once.report.stats.fuel.is_some_and(|fuel| fuel >= FILLED), "{once:?}");
    call("ever/ever").fails("the tool burnt all of its 240000000 units of fuel [KAMI-FUEL]");
}

#[test]
fn no_reply_has_more_pieces_or_more_structure_than_it_may() {
    // Empty texts, as memory is zero there; and structure that nobody is to read.
    let pieces = |count: u32| [0, 64 << 10, count, 0, 0, 0];
    let structure = [0, 0, 0, 1, TEXT, (1 << 20) + 1];
    let (fits, many, large) = (pieces(1000), pieces(1001), structure);
    let lab = Lab::with_neighbour();
    let cases = [
        ("fits", &fits, ""),
        (
            "many",
            &many,
            "the tool gave a reply that is not valid: it has more than 1000 pieces of content \
             [KAMI-REPLY]",
        ),
        ("large", &large, "the tool's result is larger than its limit of 1024 KiB [KAMI-SIZE]"),
    ];
    let requests = Capabilities { limits: limits(16, UNHURRIED), ..Capabilities::default() };
    for (name, reply, _) in cases {
        let raw = Raw { pages: 40, reply, ..Raw::default() };
        lab.install(&single(&raw.component(), name, &requests));
    }
    let resolver = lab.resolver(&[]);
    for (name, _, expected) in cases {
        let called = beside_neighbour(&resolver, vec![(&format!("{name}/{name}"), json!({}))]);
        assert_eq!(called[0].text(), expected, "{name}: {called:?}");
    }
}

/// Has a component describe itself: the names of its tools, or why not.
fn described(raw: &Raw<'_>) -> Result<Vec<String>, String> {
    let engine = Engine::new(EngineOptions::default()).expect("the engine starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("there is a runtime");
    let described = runtime.block_on(describe(&engine, &raw.component()));
    let described = described.map_err(|error| {
        let causes =
            std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    });
    described.map(|offers| offers.tools.iter().map(|tool| tool.name.to_string()).collect())
}

#[test]
fn no_description_is_larger_or_takes_longer_than_it_may() {
    let tools = r#"{"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}"#;
    let large = " ".repeat((4 << 20) + 1 - tools.len()) + tools;
    for (raw, expected) in [
        (Raw { pages: 80, description: &large, ..Raw::default() }, "and 4194304 is the most"),
        (Raw { start: "(loop (br 0))", ..Raw::default() }, "longer than its limit of 5000 ms"),
    ] {
        let refused = described(&raw).expect_err(expected);
        assert!(refused.contains(expected), "`{expected}` is missing in `{refused}`");
    }
    let fits = &large[1..];
    let told = described(&Raw { pages: 80, description: fits, ..Raw::default() });
    assert_eq!(told, Ok(vec!["t".to_owned()]));
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
    assert_eq!(tools.map(|offers| offers.tools[0].name.to_string()), Ok("t".to_owned()));

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
