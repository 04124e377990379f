//! Tools as a host sees them, for tests of what the model is told.
//!
//! A tool's own logic is tested by calling its function. What is here tests
//! the rest: names, schemas, how arguments are read and results are written.
//!
//! ```
//! use kami_guest::prelude::*;
//! use kami_guest::serde_json::json;
//! use kami_guest::testing;
//!
//! /// Doubles a number.
//! #[kami_tool]
//! fn double(number: i64) -> i64 {
//!     number * 2
//! }
//!
//! let reply = testing::call("double", json!({"number": 21})).unwrap();
//! assert_eq!(reply.structured, Some(json!({"result": 42})));
//!
//! let error = testing::call("double", json!({"number": "21"})).unwrap_err();
//! assert_eq!(error.message, "`number`: invalid type: string \"21\", expected i64");
//! ```

use serde_json::Value;

use crate::Content;
use crate::tool::{self, Outcome};

pub use crate::tool::{Error, ErrorKind};

/// What a call that succeeded gave.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reply {
    /// What the model, or a person, is shown.
    pub content: Vec<Content>,
    /// What fits the output schema.
    pub structured: Option<Value>,
}

impl Reply {
    /// All text in the content, joined by line breaks.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.content.iter().filter_map(Content::as_text).collect();
        texts.join("\n")
    }
}

/// All tools that are linked into this test, as the model is told about them: `{"tools": [...]}`.
pub fn describe() -> Value {
    tool::describe()
}

/// What the model is told about one tool.
///
/// # Panics
///
/// If there is no tool of that name.
pub fn describe_tool(name: &str) -> Value {
    tool::describe()["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|tool| tool["name"] == name)
        .unwrap_or_else(|| panic!("there is no tool `{name}`"))
        .clone()
}

/// Calls a tool with a JSON object of arguments.
///
/// # Errors
///
/// What the model is told when the tool doesn't exist, when the arguments don't fit it, or when it failed.
pub fn call(name: &str, arguments: Value) -> Result<Reply, Error> {
    match tool::call(name, &arguments.to_string()) {
        Outcome::Complete(reply) => Ok(Reply {
            content: reply.content,
            structured: reply
                .structured
                .map(|json| serde_json::from_str(&json).expect("structured content is JSON")),
        }),
        Outcome::Error(error) => Err(error),
    }
}
