//! The oracles of `kami_oracles`, over inputs that are nearly right.
//!
//! Random bytes end at the first check of a parser. So the strategies here alter what is right,
//! or put pieces together that are each right, and every oracle is also given what its fuzz
//! target has found worth keeping.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kami_oracles::{ORACLES, Oracle};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

/// A change to a few bytes, somewhere.
#[derive(Debug, Clone)]
enum Edit {
    Flip(Index, u8),
    Replace(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index),
    Cut(Index),
    /// Puts a part of another example in.
    Splice(Index, Index, Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        2 => (at(), token()).prop_map(|(at, token)| Edit::Insert(at, token)),
        2 => (at(), at()).prop_map(|(from, to)| Edit::Remove(from, to)),
        2 => (at(), at()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        1 => at().prop_map(Edit::Cut),
        2 => (at(), at(), at(), at()).prop_map(|(at, other, from, to)| Edit::Splice(at, other, from, to)),
    ]
}

/// What means something to one of the parsers.
fn token() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "\n",
        ".",
        "*",
        "*.",
        "://",
        "@",
        "#",
        "/",
        "%2f",
        "\\u0000",
        "\\",
        "null",
        "true",
        "-0",
        "1e999",
        "1.5",
        "18446744073709551616",
        "\u{feff}",
        "\u{e9}",
        "\u{1f600}",
        "\0",
        "\"id\":7,",
        "\"$ref\":\"#\",",
        "\"type\":\"object\",",
        "[[",
        "'''",
        "\"\"\"",
        "[::1]",
        "0x7f",
        "xn--",
        "..",
    ];
    prop_oneof![
        select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        vec(any::<u8>(), 1..8),
    ]
}

fn apply(edit: &Edit, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let at = |index: &Index, length: usize| index.index(length + 1);
    let range = |from: &Index, to: &Index, length: usize| {
        let (from, to) = (at(from, length), at(to, length));
        // Short ones leave more of what is right.
        let (from, to) = (from.min(to), from.max(to));
        from..to.min(from + 64)
    };
    let length = bytes.len();
    match edit {
        Edit::Flip(index, bit) if length > 0 => bytes[index.index(length)] ^= 1 << bit,
        Edit::Replace(index, byte) if length > 0 => bytes[index.index(length)] = *byte,
        Edit::Flip(..) | Edit::Replace(..) => {}
        Edit::Insert(index, new) => {
            let at = at(index, length);
            bytes.splice(at..at, new.iter().copied());
        }
        Edit::Remove(from, to) => drop(bytes.drain(range(from, to, length))),
        Edit::Repeat(from, to) => {
            let range = range(from, to, length);
            let again = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, again);
        }
        Edit::Cut(index) => bytes.truncate(at(index, length)),
        Edit::Splice(index, other, from, to) => {
            let other = &others[other.index(others.len())];
            let new = other[range(from, to, other.len())].to_vec();
            let at = at(index, length);
            bytes.splice(at..at, new);
        }
    }
}

/// An example of an oracle with a few changes.
fn altered(oracle: &Oracle) -> impl Strategy<Value = Vec<u8>> + use<> {
    let examples = (oracle.examples)();
    (select(examples.clone()), vec(edit(), 0..6)).prop_map(move |(mut bytes, edits)| {
        for edit in &edits {
            apply(edit, &mut bytes, &examples);
        }
        bytes
    })
}

fn oracle(name: &str) -> &'static Oracle {
    ORACLES.iter().find(|oracle| oracle.name == name).expect("there is such an oracle")
}

/// Drives an oracle over `cases` inputs of a strategy, the same ones in every run: a change is judged
/// by what it does. The fuzz targets are for what nobody has thought of.
fn drive<S: Strategy<Value = Vec<u8>>>(name: &str, cases: u32, inputs: S) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let dice = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, dice);
    let check = oracle(name).check;
    let result = runner.run(&inputs, |bytes| {
        check(&bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("the oracle `{name}`: {error}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_oracle_has_a_target_and_holds_for_its_corpus() {
    let stems = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root().join("fuzz").join(folder)).unwrap();
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| stem(entry.unwrap().path())).collect()
    };
    let names: BTreeSet<String> = ORACLES.iter().map(|oracle| oracle.name.to_owned()).collect();
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(stems("corpus"), names);
    for oracle in ORACLES {
        for entry in fs::read_dir(root().join("fuzz/corpus").join(oracle.name)).unwrap() {
            (oracle.check)(&fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn the_examples_hold() {
    for oracle in ORACLES {
        for (n, example) in (oracle.examples)().iter().enumerate() {
            (oracle.check)(example);
            if std::env::var_os("KAMI_UPDATE").is_some() {
                let corpus = root().join("fuzz/corpus").join(oracle.name);
                fs::create_dir_all(&corpus).unwrap();
                fs::write(corpus.join(format!("example-{n}")), example).unwrap();
            }
        }
    }
}

#[test]
fn altered_examples_hold() {
    for oracle in ORACLES {
        // A conversation takes a thousand times as long as the rest.
        let cases = if oracle.name == "message" { 100 } else { 2000 };
        drive(oracle.name, cases, altered(oracle));
    }
}

#[test]
fn pointers_lead_where_another_implementation_says() {
    let names = ["a", "0", "1", "01", "-", "", "a/b", "m~n", "__proto__"];
    let document = json_value().prop_map(move |value| {
        let members = names.iter().map(|name| ((*name).to_owned(), value.clone()));
        Value::Array(vec![value.clone(), Value::Object(members.collect())])
    });
    let tokens = select(vec!["a", "0", "1", "01", "-", "", "a~1b", "m~0n", "~2", "__proto__"]);
    let pointer = vec(tokens, 0..5)
        .prop_map(|tokens| tokens.into_iter().map(|token| format!("/{token}")).collect::<String>());
    let input = (pointer, document)
        .prop_map(|(pointer, document)| format!("{pointer}\n{document}").into_bytes());
    drive("pipeline", 5_000, input);
}

#[test]
fn addresses_are_public_or_not_as_the_registries_say() {
    let v4 = any::<[u8; 4]>().prop_map(|bytes| bytes.to_vec());
    let v6 = any::<[u8; 16]>().prop_map(|bytes| bytes.to_vec());
    drive("address", 10_000, prop_oneof![v4, v6]);
}

/// A few names and addresses that resemble each other, with everything that may surround them.
#[test]
fn requests_are_decided_by_the_documented_rules() {
    let host = [
        "example.com",
        "a.example.com",
        "b.a.example.com",
        "EXAMPLE.com.",
        "notexample.com",
        "com",
        "x_y.z-",
        "127.0.0.1",
        "10.0.0.0/8",
        "8.8.8.8/32",
        "10.0.0.1/8",
        "[fd00::]/8",
        "127.1",
        "0x7f.1",
        "8.8.8.8",
        "[::1]",
        "[::ffff:8.8.8.8]",
        "[::1",
        "::1",
        "a..b",
        "",
        "ex\u{e4}mple.com",
        "a b",
    ];
    let method = ["", "", "", "GET ", "GET,HEAD ", "get ", "POST ", ", "];
    let path = [
        "", "", "", "/", "/ok", "/ok/*", "/*", "/*/b", "/a*", "/%6fk", "/%2F", "/..", "/a:b", "//",
        "/8", "/33",
    ];
    let port = ["", "", ":80", ":443", ":8080", ":0", ":", ":+80", ":65536", ":080", ":80:90"];
    let scheme = ["", "http://", "https://", "tcp://", "HTTP://", "ftp://", "://"];
    let star = ["", "", "*.", "*", "**."];
    let user = ["", "", "", "example.com@", "example.com:80@", "\\", "%00"];
    let tail = [
        "",
        "/",
        "/ok",
        "/ok/x",
        "/ok/../x",
        "/%4fK",
        "/a/b",
        "//",
        "/x?y#z",
        "?x",
        "#x",
        "/@evil.org",
        "\\@evil.org",
        "/a:b",
    ];
    let address = [
        "8.8.8.8",
        "10.1.2.3",
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "::ffff:8.8.8.8",
        "64:ff9b::a00:1",
        "",
    ];
    let entry = prop_oneof![
        4 => (
            select(method.to_vec()),
            select(scheme.to_vec()),
            select(star.to_vec()),
            select(host.to_vec()),
            select(port.to_vec()),
            select(path.to_vec()),
        )
            .prop_map(|(method, scheme, star, host, port, path)| {
                format!("{method}{scheme}{star}{host}{port}{path}")
            }),
        1 => Just("*".to_owned()),
    ];
    let url = (
        select(["GET http://", "HEAD https://", "POST http://", "https://", "tcp://"].to_vec()),
        select(user.to_vec()),
        select(host.to_vec()),
        select(port.to_vec()),
        select(tail.to_vec()),
    )
        .prop_map(|(scheme, user, host, port, tail)| format!("{scheme}{user}{host}{port}{tail}"));
    let input = (entry.clone(), entry, url, select(address.to_vec())).prop_map(
        |(requested, granted, url, address)| format!("{requested}\n{granted}\n{url}\n{address}"),
    );
    drive("net", 40_000, input.prop_map(String::into_bytes));
}

/// Numbers where writing and reading may differ, and text that has to be escaped.
fn scalar() -> impl Strategy<Value = Value> {
    let words = ["object", "string", "a", "t", "#", "#/$defs/a0", "none", "x.org", "\u{202e}"];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-2..3_i64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(words.to_vec()).prop_map(Value::from),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((member(), inner), 0..4).prop_map(Value::from_iter),
        ]
    })
}

/// The name of a member, which may be a keyword.
fn member() -> impl Strategy<Value = String> {
    let names = [
        "a",
        "b",
        "type",
        "pattern",
        "$defs",
        "$ref",
        "definitions",
        "default",
        "enum",
        "_meta",
        "\0",
    ];
    select(names.to_vec()).prop_map(str::to_owned)
}

/// Puts `new` in the place of one value within `value`, by the order in which they stand there.
fn replace(value: &mut Value, place: &mut usize, new: &Value) {
    if *place == 0 {
        *value = new.clone();
    }
    *place = place.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, place, new)),
        Value::Object(members) => {
            members.values_mut().for_each(|member| replace(member, place, new));
        }
        _ => {}
    }
}

/// Examples that are JSON, with a few values replaced by others.
fn altered_json(examples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (select(examples), vec((0..60_usize, json_value()), 1..4)).prop_map(|(example, changes)| {
        let mut value: Value = serde_json::from_slice(&example).expect("the example is JSON");
        for (mut place, new) in changes {
            replace(&mut value, &mut place, &new);
        }
        value.to_string().into_bytes()
    })
}

fn manifest_of(tools: Vec<Value>, requests: Value) -> Vec<u8> {
    let package = json!({"id": "dev.example.t", "version": "1.0.0"});
    let provenance = json!({"builder": "x"});
    let manifest = json!({"format": 1, "package": package, "tools": tools, "requests": requests,
        "provenance": provenance});
    manifest.to_string().into_bytes()
}

#[test]
fn manifests_are_the_same_once_they_were_written_and_read() {
    drive("manifest", 5_000, altered_json((oracle("manifest").examples)()));
    let with_default = json_value().prop_map(|default| {
        let schema = json!({"type": "object", "default": default});
        manifest_of(vec![json!({"name": "t", "inputSchema": schema})], json!({}))
    });
    drive("manifest", 5_000, with_default);

    // Names that meet, and hints that the requests may or may not prove.
    let hint = || proptest::option::of(any::<bool>());
    let tool = (select(vec!["a", "b", "c"]), hint(), hint()).prop_map(|(name, read_only, open)| {
        let hints = json!({"readOnlyHint": read_only, "openWorldHint": open});
        json!({"name": name, "inputSchema": {"type": "object"}, "annotations": hints})
    });
    let several = (vec(tool, 0..3), any::<bool>()).prop_map(|(tools, network)| {
        let requests = if network { json!({"net": ["x.org"]}) } else { json!({}) };
        manifest_of(tools, requests)
    });
    drive("manifest", 1_000, several);
}

/// Lines of a manifest in any order and number.
#[test]
fn every_mistake_in_a_manifest_has_its_place() {
    let lines = [
        "[package]",
        "name = \"x\"",
        "[package.metadata.kami]",
        "[workspace.metadata.kami]",
        "[package.metadata]",
        "kami = 3",
        "id = \"dev.example.x\"",
        "id = 1",
        "tittle = 1",
        "title = '\u{e9}\u{1f600}'",
        "tags = ['a']",
        "tags = [1, {}]",
        "security = 1",
        "[package.metadata.kami.security]",
        "security.fs-access = \"sandbox\"",
        "net-allow-list = [\"a.org\", \"*\", 'a b']",
        "fs-access = \"read-only\"",
        "fs_access = 'x'",
        "env-allow-list = [\"A\"]",
        "max-memory-mb = 0x10",
        "max-memory-mb = -1",
        "max_memory_mb = 1_0",
        "max-fuel = 99999999999999999999",
        "max-execution-ms = 1.5",
        "[package.metadata.kami.mounts]",
        "docs = { access = \"read-write\" }",
        "[package.metadata.kami.mounts.'\u{e9}']",
        "mounts.docs = 1",
        "mounts = { scratch = {} }",
        "access = 'read-only'",
        "description = '''\n\u{e9}'''",
        "version = \"1.0.0\"",
        "component = \"x.wasm\"",
        "[security]",
        "\r",
        "\u{feff}",
        "# \u{e9}",
        "\0",
        "[[package]]",
        "a.b.c = [",
    ];
    let text = vec(select(lines.to_vec()), 0..12).prop_map(|lines| lines.join("\n").into_bytes());
    let headed = text.clone().prop_map(|text| {
        let head = b"[package.metadata.kami]\nid = \"dev.example.x\"\n";
        [head.as_slice(), &text].concat()
    });
    drive("source", 5_000, prop_oneof![text, headed]);
}

/// A schema of common keywords, in which names of members are keywords and references abound.
fn schema() -> impl Strategy<Value = Value> {
    let kinds = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let limits = ["minLength", "maxLength", "minItems", "maximum", "minimum"];
    let leaf = prop_oneof![
        2 => select(kinds.to_vec()).prop_map(|kind| json!({"type": kind})),
        2 => (0..12).prop_map(|n| json!({"$ref": format!("#/$defs/a{n}")})),
        1 => (select(limits.to_vec()), 0..4).prop_map(|(keyword, limit)| json!({keyword: limit})),
        1 => scalar().prop_map(|value| json!({"const": value})),
        1 => any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let several = vec(inner.clone(), 1..4);
        let members = vec((member(), inner.clone()), 0..4);
        prop_oneof![
            (select(["allOf", "anyOf", "oneOf"].to_vec()), several)
                .prop_map(|(keyword, all)| json!({keyword: all})),
            members.prop_map(|members| json!({"properties": Value::from_iter(members)})),
            inner.clone().prop_map(|inner| json!({"items": inner})),
            inner.clone().prop_map(|inner| json!({"additionalProperties": inner})),
            inner.prop_map(|inner| json!({"not": inner})),
            vec(member(), 0..3).prop_map(|names| json!({"required": BTreeSet::from_iter(names)})),
        ]
    })
}

#[test]
fn arguments_fit_as_everybody_else_says() {
    let input = (schema(), vec(schema(), 12), json_value()).prop_map(|(root, parts, value)| {
        let parts = parts.into_iter().enumerate().map(|(n, part)| (format!("a{n}"), part));
        let schema = json!({"type": "object", "allOf": [root], "$defs": Value::from_iter(parts)});
        format!("{schema}\n{}", json!({"a": value, "pattern": 1})).into_bytes()
    });
    drive("schema", 5_000, input);
}

/// References that branch at every level, wherever a schema has a place for the first.
#[test]
fn no_schema_costs_more_than_it_may() {
    let places = [
        "/properties/a",
        "/properties/pattern",
        "/properties/$defs",
        "/properties/definitions",
        "/properties/$ref",
        "/properties/properties",
        "/patternProperties/a",
        "/patternProperties/pattern",
        "/dependentSchemas/a",
        "/items",
        "/if",
        "/not",
        "/contains",
        "/propertyNames",
        "/additionalProperties",
    ];
    let input =
        (select(places.to_vec()), 1..3_usize, 1..60_usize).prop_map(|(place, width, depth)| {
            let mut parts = serde_json::Map::new();
            for level in 0..depth {
                let next = json!({"$ref": format!("#/$defs/a{}", level + 1)});
                parts.insert(format!("a{level}"), json!({"allOf": vec![next; width]}));
            }
            parts.insert(format!("a{depth}"), json!({"type": "string"}));
            let mut schema = json!({"type": "object", "$defs": parts});
            let start = json!({"$ref": "#/$defs/a0"});
            match place[1..].split_once('/') {
                Some((keyword, name)) => schema[keyword] = json!({name: start}),
                None => schema[&place[1..]] = start,
            }
            let names = ["a", "pattern", "$defs", "definitions", "$ref", "properties"];
            let value = Value::from_iter(names.map(|name| (name, 1)));
            format!("{schema}\n{value}").into_bytes()
        });
    drive("schema", 1_000, input);
}

/// A custom section, or what claims to be one.
fn section() -> impl Strategy<Value = Vec<u8>> + Clone {
    let names = [".dep-v0", "kami:manifest", "kami:signature", "name", ""];
    let data = prop_oneof![select((oracle("manifest").examples)()), vec(any::<u8>(), 0..120)];
    (select(names.to_vec()), data, 0..20_u8).prop_map(|(name, data, twist)| {
        let mut contents = vec![name.len() as u8];
        contents.extend(name.as_bytes());
        contents.extend(&data);
        // Now and then it is a nested component, or its length is wrong.
        let kind = if twist == 0 { 4 } else { 0 };
        let length = contents.len() + usize::from(twist == 1);
        let mut section = vec![kind, length as u8 | 0x80, (length >> 7) as u8];
        if twist == 2 {
            // The same number, written longer than it has to be.
            section[2] |= 0x80;
            section.push(0);
        }
        section.extend(contents);
        section
    })
}

/// Components with our sections in any order, some of them signed, with sections of others.
#[test]
fn artifacts_are_read_as_their_sections_say() {
    let examples = (oracle("artifact").examples)();
    let input = (select(examples), vec(section(), 0..4)).prop_map(|(mut bytes, sections)| {
        bytes.extend(sections.concat());
        bytes
    });
    drive("artifact", 3_000, input.clone());
    drive("signature", 3_000, input);
}

/// What is signed, with signatures of other things behind it, altered where it hurts.
#[test]
fn nothing_is_accepted_but_what_was_signed() {
    // A section's head and name, then version, key and signature.
    const LENGTH: usize = 2 + 1 + "kami:signature".len() + 1 + 32 + 64;
    let artifacts = (oracle("signature").examples)();
    let [unsigned, once, _, other] = artifacts.as_slice() else { panic!("other examples") };
    let (signed, signature) = once.split_at(once.len() - LENGTH);
    assert_eq!(signed, unsigned, "the pieces are not what they seem");
    let (foreign, stranger) = other.split_at(other.len() - LENGTH);

    let signatures = select(vec![signature.to_vec(), stranger.to_vec()]);
    let altered = (signatures, vec(edit(), 0..2)).prop_map(|(mut signature, edits)| {
        edits.iter().for_each(|edit| apply(edit, &mut signature, &[Vec::new()]));
        signature
    });
    let input = (select(vec![signed.to_vec(), foreign.to_vec()]), vec(altered, 0..4)).prop_map(
        |(mut bytes, signatures)| {
            bytes.extend(signatures.concat());
            bytes
        },
    );
    drive("signature", 3_000, input);
}

/// What a request of a client says that knows everything.
fn meta_of_tasks() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {
            "elicitation": {},
            "sampling": {},
            "roots": {},
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        },
    })
}

/// Requests of any method with parameters that fit, nearly fit, or do not.
#[test]
fn each_request_has_its_one_answer() {
    let methods = [
        "ping",
        "initialize",
        "tools/list",
        "tools/call",
        "server/discover",
        "logging/setLevel",
        "subscriptions/listen",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "resources/subscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "tasks/get",
        "tasks/update",
        "tasks/cancel",
        "notifications/cancelled",
        "notifications/initialized",
        "no/such",
    ];
    let id = prop_oneof![
        (0..4).prop_map(Value::from),
        select(["a", "b", "\u{e9}\n"].to_vec()).prop_map(Value::from),
        scalar(),
    ];
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let client = json!({"name": "x", "version": "1"});
    let params = prop_oneof![
        Just(json!({})),
        Just(json!({"_meta": meta})),
        Just(json!({"_meta": meta, "name": "t", "arguments": {"a": 1}, "notifications": {}})),
        Just(json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client})),
        json_value().prop_map(|value| json!({"name": "t", "arguments": {"x": value}})),
        json_value().prop_map(|value| json!({"_meta": meta_of_tasks(), "name": "t", "arguments": {}, "inputResponses": value})),
        token().prop_map(|token| {
            let state = String::from_utf8_lossy(&token);
            json!({"_meta": meta_of_tasks(), "name": "t", "arguments": {}, "requestState": state})
        }),
        token().prop_map(|token| {
            let text = String::from_utf8_lossy(&token);
            let of = json!({"type": "ref/prompt", "name": text, "uri": text});
            json!({"_meta": meta_of_tasks(), "uri": text, "name": text, "taskId": text, "ref": of, "argument": {"name": text, "value": text}})
        }),
        (0..4).prop_map(|id| json!({"requestId": id, "level": "debug", "cursor": "dA"})),
        json_value(),
    ];
    let message = (proptest::option::weighted(0.8, id), select(methods.to_vec()), params).prop_map(
        |(id, method, params)| {
            let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
            if let Some(id) = id {
                message["id"] = id;
            }
            message.to_string().into_bytes()
        },
    );
    let noise = json_value().prop_map(|value| value.to_string().into_bytes());
    let line = prop_oneof![8 => message, 1 => token(), 1 => noise];
    let input = vec(line, 0..8).prop_map(|lines| lines.join(&b'\n'));
    drive("message", 300, input);
}
