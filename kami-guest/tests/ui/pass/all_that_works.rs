#![deny(warnings)]
#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications)]
//! Every form of function that is a tool, a resource or a prompt, under lints that generated code
//! must not trip.

use kami_guest as sdk;
use sdk::prelude::*;
use sdk::testing;

/// Nothing in, nothing out.
#[kami_tool]
fn nothing() {}

/// A constant function.
#[kami_tool(crate = "sdk")]
const fn seven() -> u8 {
    7
}

/** A block comment

   with a second paragraph.
 */
#[kami_tool(
    name = "all-keys",
    title = "All keys",
    read_only = true,
    destructive = false,
    idempotent,
    open_world = false,
)]
pub fn all_keys(mut r#type: String, _unused: Option<bool>) -> &'static str {
    r#type.clear();
    "done"
}

#[kami_tool]
#[allow(deprecated, unused_must_use)]
fn undocumented(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8) -> u8 {
    a + b + c + d + e + f + g + h + i + j
}

#[doc = concat!("Computed ", "docs")]
/// and written ones.
#[deprecated]
#[must_use]
#[kami_tool]
fn documented() -> Result<(), std::fmt::Error> {
    Ok(())
}

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// The names that generated code uses are the user's to use as well.
#[kami_tool]
fn names(call: Arguments, error: Tool, arguments: Outcome) -> Fallible<Option<Arguments>> {
    let _ = (error, arguments);
    Ok(Some(call))
}

/// Arguments of a user.
#[kami_type]
struct Arguments {
    #[serde(default)]
    this: bool,
}

/// A type of a user.
#[kami_type]
enum Tool {
    A,
    B(u8),
}

/// Another one.
#[kami_type(crate = "sdk")]
struct Outcome(Vec<Tool>);

mod inner {
    use super::sdk;

    /// A tool in a module, with everything spelt out.
    #[sdk::kami_tool]
    pub(super) fn deep(#[kami(default = "x")] text: String) -> sdk::Content {
        sdk::Content::text(text)
    }
}

/// Holds a tool.
fn holder() {
    /// A tool in a function.
    #[kami_tool]
    fn local(number: f64) -> f64 {
        number
    }
    local(1.0);
}

/// A tool that is called as what generated code does.
#[kami_tool]
fn call(#[kami(header = "Region")] region: Option<String>, #[kami(header = "Deep")] deep: bool) -> bool {
    region.is_some() && deep
}

#[kami_resource(uri = "some://thing", crate = "sdk")]
const fn read() -> &'static str {
    "a thing"
}

#[kami_resource(uri = "some://thing/{type}/{+rest}.md")]
fn variables(rest: String, mut r#type: char) -> Result<Vec<Resource>, Error> {
    r#type = r#type.to_ascii_uppercase();
    Ok(vec![Resource::text(rest, r#type.to_string())])
}

fn suggestions(__typed: &str) -> Result<Vec<String>, std::fmt::Error> {
    Ok(vec![])
}

/// A prompt.
#[kami_prompt(name = "all-the-same", title = "All the same")]
#[must_use]
pub fn get(
    #[kami(default = "x", complete = suggestions)] typed: String,
    #[kami(complete = |typed: &str| vec![typed.to_owned()])] settled: Option<char>,
    #[kami(complete = ["a"], name = "type")] r#type: char,
) -> Vec<Message> {
    vec![Message::user(format!("{typed} {settled:?} {type}", r#type = r#type))]
}

fn main() {
    nothing();
    holder();
    assert_eq!(seven(), 7);
    assert_eq!(inner::deep("y".into()).as_text(), Some("y"));
    let tools = testing::describe();
    let names: Vec<_> = tools["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["all-keys", "call", "deep", "documented", "local", "names", "nothing", "seven", "undocumented"]
    );
    assert_eq!(testing::describe_tool("all-keys")["description"], "A block comment\n\nwith a second paragraph.");
    assert_eq!(testing::describe_tool("documented")["description"], "Computed docs\nand written ones.");
    assert_eq!(testing::read("some://thing").unwrap(), [Resource::text("some://thing", read())]);
    assert_eq!(testing::read("some://thing/x/a/b.md").unwrap(), [Resource::text("a/b", "X")]);
    let prompt = testing::get("all-the-same", sdk::serde_json::json!({"type": "t"})).unwrap();
    assert_eq!(prompt.messages, get("x".into(), None, 't'));
}
