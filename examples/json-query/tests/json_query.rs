//! Filters over real and made-up JSON, and what a model is told when it errs.

use json_query::{Results, json_query};
use kami_guest::serde_json::{Value, json};

fn query(filter: &str, json: impl Into<Value>) -> Result<Results, String> {
    json_query(filter.to_owned(), json.into(), 100)
}

#[track_caller]
fn check(filter: &str, json: impl Into<Value>, expected: Value) {
    let answer = query(filter, json).unwrap();
    assert_eq!(Value::Array(answer.results), expected);
    assert!(!answer.truncated);
}

#[track_caller]
fn check_error(filter: &str, json: impl Into<Value>, expected: &str) {
    assert_eq!(query(filter, json).unwrap_err(), expected);
}

/// What cargo says about this very package.
fn cargo_metadata() -> String {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn reshapes_what_cargo_says_of_this_package() {
    check(
        r#".packages[] | select(.name == "json-query")
           | {id: .metadata.kami.id, jaq: [.dependencies[].name | select(test("^jaq-"))]}"#,
        cargo_metadata(),
        json!([{"id": "dev.kami.json-query", "jaq": ["jaq-core", "jaq-json", "jaq-std"]}]),
    );
}

#[test]
fn speaks_jq() {
    let shop = json!({"items": [
        {"name": "tea", "kind": "drink", "price": 4.5},
        {"name": "cake", "kind": "food", "price": 12},
        {"name": "wine", "kind": "drink", "price": 18.25},
    ]});
    check(".items | map(select(.price > 10) | .name)", shop.clone(), json!([["cake", "wine"]]));
    check(
        ".items | group_by(.kind) | map({kind: .[0].kind, total: map(.price) | add})",
        shop.clone(),
        json!([[{"kind": "drink", "total": 22.75}, {"kind": "food", "total": 12}]]),
    );
    check(
        r#".items[] | "\(.name): \(.price)""#,
        shop,
        json!(["tea: 4.5", "cake: 12", "wine: 18.25"]),
    );
    check(
        r#"capture("(?<year>\\d+)-(?<month>\\d+)") | .month | tonumber"#,
        r#""2026-11""#,
        json!([11]),
    );
    check(
        r#"[1, 2.5, null, true, "a\"b", "c\td\\"] | @csv, @tsv"#,
        Value::Null,
        json!(["1,2.5,,true,\"a\"\"b\",\"c\td\\\"", "1\t2.5\t\ttrue\ta\"b\tc\\td\\\\"]),
    );
    check("@base64d | fromjson | .a", json!(r#""eyJhIjogMX0=""#), json!([1]));
    check("fromdate", r#""2015-03-05T23:51:47Z""#, json!([1425599507]));
}

#[test]
fn runs_once_for_each_line_of_json_lines() {
    check(".n + 1", "{\"n\": 1}\n{\"n\": 2}\n", json!([2, 3]));
}

#[test]
fn keeps_the_digits_of_large_numbers() {
    check(".", json!(9_007_199_254_740_993_u64), json!([9_007_199_254_740_993_u64]));
    check("nan, infinite", Value::Null, json!([null, null]));
}

#[test]
fn stops_at_the_limit() {
    let answer = json_query("range(1000000000)".to_owned(), Value::Null, 3).unwrap();
    assert_eq!(answer.results, [0, 1, 2]);
    assert!(answer.truncated);
    check_error(
        r#"[range(100000)]"#,
        Value::Null,
        "the first result alone is over 262144 bytes of JSON: select less of it, \
         or ask for `keys` or `length` first",
    );
}

#[test]
fn says_what_is_wrong_and_where() {
    check_error(
        ".a | nosuch(1)",
        json!({}),
        "the filter is not valid jq: line 1, column 6: there is no filter `nosuch` with 1 arguments",
    );
    check_error(
        ".a |\n  (.b",
        json!({}),
        "the filter is not valid jq: line 2, column 6: expected closing parenthesis, found the end of the filter",
    );
    check_error(".a.b", json!({"a": 5}), r#"the filter failed: cannot index 5 with "b""#);
    check_error(".", "{\"a\": }", "`json` is not JSON: byte offset 6: value expected");
    check_error(".", "", "`json` is empty: give the JSON to query");
    check_error(
        "{(1): 2}",
        Value::Null,
        "the filter made an object whose key is 1: keys are strings, use `tostring`",
    );
    check_error("halt", Value::Null, "the filter called `halt`, which stops nothing here");
}
