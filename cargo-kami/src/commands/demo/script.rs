//! What the demo calls, with what, and what must come back.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::web::Web;
use crate::ops::consent::MountFlag;

/// One call.
pub struct Step {
    pub tool: &'static str,
    pub arguments: Value,
    pub expect: Expectation,
}

/// Says what is wrong with a result, if anything is.
type Expectation = Box<dyn Fn(&Value) -> Result<(), String>>;

/// The examples that are there for a program that judges servers, and show a person nothing.
pub const LEFT_OUT: [&str; 2] = ["conformance", "conformance-tasks"];

/// The directories that an example is given, all of them in this checkout.
pub fn mounts(example: &str, examples: &Path) -> anyhow::Result<Vec<MountFlag>> {
    let (name, directory) = match example {
        "search-files" => ("docs", examples.to_owned()),
        "thumbnail" => ("images", examples.join("thumbnail/tests")),
        "csv-query" => ("data", examples.join("csv-query/tests")),
        _ => return Ok(Vec::new()),
    };
    let flag = format!("{name}={}:ro", directory.display());
    flag.parse().map(|flag| vec![flag]).map_err(anyhow::Error::msg)
}

pub fn steps(web: &Web, examples: &Path) -> anyhow::Result<Vec<Step>> {
    let photo = examples.join("thumbnail/tests/rocket.jpg");
    let photo_bytes = std::fs::metadata(&photo).with_context(|| photo.display().to_string())?.len();
    Ok(vec![
        step("greet", json!({"name": "Ada", "language": "french"}), text_has("Bonjour, Ada")),
        step("greet", json!({"name": "Ada", "language": "latin"}), error_has("/language")),
        step("measure_text", json!({"text": "one two\nthree"}), structured("/words", json!(3))),
        step(
            "json_query",
            json!({"filter": "map(select(.price > 1) | .name)", "json": [
                {"name": "tea", "price": 2}, {"name": "salt", "price": 1}, {"name": "rice", "price": 3},
            ]}),
            structured("/results", json!([["tea", "rice"]])),
        ),
        step("json_query", json!({"filter": ".[", "json": []}), error_has("")),
        step("fetch_url", json!({"url": web.url("/old")}), text_has("# Tide tables")),
        step("fetch_url", json!({"url": web.url("/missing")}), error_has("404")),
        step(
            "fetch_url",
            json!({"url": "http://169.254.169.254/latest/meta-data"}),
            error_has("denied"),
        ),
        step("list_files", json!({"glob": "*.csv"}), text_has("csv-query/tests/penguins.csv")),
        step(
            "search_files",
            json!({"pattern": "#\\[kami_tool\\]", "glob": "lib.rs", "limit": 3}),
            text_has("src/lib.rs"),
        ),
        step("read_file", json!({"path": "hello/README.md", "max_lines": 3}), text_has("# hello")),
        step("read_file", json!({"path": "../Cargo.toml"}), error_has("")),
        step(
            "make_thumbnail",
            json!({"path": "rocket.jpg", "max_width": 160}),
            image_below(photo_bytes),
        ),
        step("describe_csv", json!({"path": "penguins.csv"}), text_has("bill_length_mm")),
        step(
            "query_csv",
            json!({
                "path": "penguins.csv",
                "group_by": ["species"],
                "aggregates": [{"function": "mean", "column": "body_mass_g"}, {"function": "count"}],
            }),
            text_has("Gentoo"),
        ),
        step(
            "write_note",
            json!({"name": "milk", "text": "two litres"}),
            text_has("`milk` holds 10 bytes"),
        ),
        step("delete_note", json!({"name": "bread"}), text_has("there is no note `bread`")),
    ])
}

fn step(
    tool: &'static str,
    arguments: Value,
    expect: impl Fn(&Value) -> Result<(), String> + 'static,
) -> Step {
    Step { tool, arguments, expect: Box::new(expect) }
}

fn text_has(part: &'static str) -> impl Fn(&Value) -> Result<(), String> {
    move |result| {
        succeeded(result)?;
        let text = texts(result).join("\n");
        if text.contains(part) { Ok(()) } else { Err(format!("`{part}` is not in `{text}`")) }
    }
}

fn error_has(part: &'static str) -> impl Fn(&Value) -> Result<(), String> {
    move |result| {
        let text = texts(result).join("\n");
        match result["isError"] == true && text.contains(part) {
            true => Ok(()),
            false => Err(format!("an error with `{part}` was expected, not {result}")),
        }
    }
}

fn structured(pointer: &'static str, expected: Value) -> impl Fn(&Value) -> Result<(), String> {
    move |result| {
        succeeded(result)?;
        match result["structuredContent"].pointer(pointer) {
            Some(value) if *value == expected => Ok(()),
            other => Err(format!("{pointer} should be {expected}, and is {other:?}")),
        }
    }
}

/// A JPEG image, smaller than the one that it was made of.
fn image_below(bytes: u64) -> impl Fn(&Value) -> Result<(), String> {
    move |result| {
        succeeded(result)?;
        let content = result["content"].as_array().into_iter().flatten();
        let image = content
            .into_iter()
            .find(|piece| piece["type"] == "image")
            .ok_or("no image came back")?;
        let data = image["data"].as_str().unwrap_or_default();
        let smaller = (data.len() as u64 / 4 * 3) < bytes;
        // The base64 of a JPEG begins like this.
        match image["mimeType"] == "image/jpeg" && data.starts_with("/9j/") && smaller {
            true => Ok(()),
            false => {
                Err(format!("not a smaller JPEG: {}, {} characters", image["mimeType"], data.len()))
            }
        }
    }
}

fn succeeded(result: &Value) -> Result<(), String> {
    if result["isError"] == true { Err(texts(result).join("\n")) } else { Ok(()) }
}

fn texts(result: &Value) -> Vec<&str> {
    let content = result["content"].as_array().into_iter().flatten();
    content.filter_map(|piece| piece["text"].as_str()).collect()
}

/// The first lines of what came back, for people.
pub fn summary(result: &Value) -> Vec<String> {
    const SHOWN: usize = 4;
    let content = result["content"].as_array().into_iter().flatten();
    let mut lines: Vec<String> = content
        .flat_map(|piece| match piece["text"].as_str() {
            Some(text) => text.lines().map(str::to_owned).collect(),
            None => {
                let size = piece["data"].as_str().map_or(0, |data| data.len() / 4 * 3);
                let kind =
                    piece["mimeType"].as_str().or(piece["type"].as_str()).unwrap_or("content");
                vec![format!("[{kind}, about {size} bytes]")]
            }
        })
        .collect();
    let more = lines.len().saturating_sub(SHOWN);
    if more > 0 {
        lines.truncate(SHOWN);
        lines.push(format!("... and {more} more lines"));
    }
    lines
}
