//! Write a plain Rust function, and an AI agent can call it as a sandboxed WebAssembly tool.
//!
//! ```
//! use kami_guest::prelude::*;
//!
//! /// Divides one number by another.
//! #[kami_tool(read_only)]
//! fn divide(
//!     /// What is divided.
//!     dividend: f64,
//!     /// What it is divided by; 2 if left out.
//!     divisor: Option<f64>,
//! ) -> Result<f64, String> {
//!     match divisor.unwrap_or(2.0) {
//!         0.0 => Err("a number can't be divided by zero".into()),
//!         divisor => Ok(dividend / divisor),
//!     }
//! }
//!
//! // It is still a function:
//! assert_eq!(divide(9.0, Some(3.0)), Ok(3.0));
//! ```
//!
//! That is a whole tool crate (with `crate-type = ["cdylib", "rlib"]` under `[lib]`):
//! no export, no `main`, no build script, and as many tools, in as many modules, as you like; and as many
//! [resources](#resources) and [prompts](#prompts) beside them.
//! `cargo kami build` makes one component of it, with the schema of each tool taken from its signature.
//!
//! # What a tool takes
//!
//! Anything that implements serde's `Deserialize` and schemars' [`JsonSchema`](schemars::JsonSchema).
//! Structs and enums of your own get both from [`#[kami_type]`](macro@kami_type), with no further dependency:
//!
//! ```
//! use kami_guest::prelude::*;
//!
//! /// How to order the results.
//! #[kami_type]
//! #[serde(rename_all = "lowercase")]
//! enum Order {
//!     Newest,
//!     Oldest,
//! }
//!
//! /// Searches the archive.
//! #[kami_tool]
//! fn search(
//!     /// The words to look for.
//!     #[schemars(length(min = 1))]
//!     query: String,
//!     /// At most this many results.
//!     #[schemars(range(min = 1, max = 100))]
//!     #[kami(default = 10)]
//!     limit: u8,
//!     order: Option<Order>,
//! ) -> Vec<String> {
//!     # _ = (limit, order);
//!     vec![query]
//! }
//! ```
//!
//! A crate that has `serde` 1 and `schemars` 1 among its dependencies may derive the traits as usual instead.
//! Arguments that a tool doesn't know are refused. A lone parameter that is a struct is the argument
//! object itself, and then the struct decides (`#[serde(deny_unknown_fields)]`).
//!
//! # What a tool returns
//!
//! | return type | the agent gets |
//! |---|---|
//! | `()` | nothing |
//! | `String`, `&'static str` | text |
//! | [`Content`], `Vec<Content>` | text, images, audio, resources |
//! | a type that serialises to a JSON object | structured content, the same as JSON text, and an output schema |
//! | any other `Serialize + JsonSchema` type | the same, as `{"result": ...}` |
//! | [`Json<T>`](Json) | structured content with other content in place of the JSON text |
//! | `Result<T, E>` | as for `T`, or an error whose `Display` text the model reads |
//!
//! What a tool returns early, and why, is said by an `E`: whatever has a `Display`, or [`Error`], into which
//! `?` turns everything else.
//!
//! # Resources
//!
//! [`#[kami_resource]`](macro@kami_resource) makes a function data that clients read by URI. With variables in
//! the URI it is a template, and stands for many:
//!
//! ```
//! use kami_guest::prelude::*;
//! use kami_guest::testing;
//!
//! /// What this server is about.
//! #[kami_resource(uri = "about://server", mime_type = "text/plain")]
//! fn about() -> &'static str {
//!     "It knows the squares of numbers."
//! }
//!
//! /// The square of a number.
//! #[kami_resource(uri = "square://{number}")]
//! fn square(number: u32) -> Result<String, Error> {
//!     let square = number.checked_mul(number);
//!     square.map(|square| square.to_string()).ok_or_else(|| Error::not_found("that is too large"))
//! }
//!
//! assert_eq!(testing::read("square://12").unwrap(), [Resource::text("square://12", "144")]);
//! assert!(testing::read("square://twelve").is_err());
//! ```
//!
//! # Prompts
//!
//! [`#[kami_prompt]`](macro@kami_prompt) makes a function the beginning of a conversation, which a person picks
//! and whose arguments a person fills in, with suggestions if you like:
//!
//! ```
//! use kami_guest::prelude::*;
//! use kami_guest::serde_json::json;
//! use kami_guest::testing;
//!
//! /// Asks for a poem.
//! #[kami_prompt(title = "A poem")]
//! fn poem(
//!     /// what it is about
//!     topic: String,
//!     /// how long it is to be
//!     #[kami(default = 4)]
//!     lines: u8,
//!     #[kami(complete = ["haiku", "limerick", "sonnet"])] form: Option<String>,
//! ) -> String {
//!     let form = form.unwrap_or("poem".to_owned());
//!     format!("Write a {form} of {lines} lines about {topic}.")
//! }
//!
//! let prompt = testing::get("poem", json!({"topic": "tea"})).unwrap();
//! assert_eq!(prompt.messages, [Message::user("Write a poem of 4 lines about tea.")]);
//! let forms = testing::complete_prompt("poem", "form", "li", []).unwrap();
//! assert_eq!(forms.values, ["limerick"]);
//! ```
//!
//! # Questions
//!
//! Tools, resources and prompts may ask on their way: [`elicit`] the person, by a form that is made from a
//! struct; [`sample`] the model; and [`roots`] the client. [`ask`] says how, and what it means for a function
//! that asks.
//!
//! # Talking to the host
//!
//! [`log`] writes to the operator's log, [`progress()`] says how far a long call has come,
//! [`list_changed`] that clients had better list something anew, and [`http`](#features) reaches the web as
//! far as the operator grants it. Files, environment variables and the clock are those of `std`, within the
//! grants too.
//!
//! # Tests
//!
//! Every function stays a function, and its logic is tested by calling it. [`testing`] shows what clients are
//! told, and answers questions.
//!
//! # Features
//!
//! * `http`: the module `kami_guest::http`, a small HTTP client that works in the sandbox and under `cargo test`.

#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod ask;
pub mod content;
mod error;
mod listing;
pub mod log;
mod progress;

mod arguments;
mod complete;
mod describe;
mod entry;
mod output;
mod prompt;
mod resource;
mod schema;
mod shape;
mod tool;

#[cfg(target_family = "wasm")]
mod export;
#[cfg(feature = "http")]
pub mod http;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use ask::{Answer, elicit, elicit_url, roots, sample, set_state, state, together};
pub use content::Content;
pub use error::{Error, ErrorKind};
pub use kami_guest_macros::{kami_prompt, kami_resource, kami_tool, kami_type};
pub use listing::{Listing, list_changed};
pub use output::Json;
pub use progress::progress;
pub use prompt::Prompt;

pub use schemars;
pub use serde;
pub use serde_json;

/// What a tool crate commonly needs: `use kami_guest::prelude::*;`.
pub mod prelude {
    pub use crate::ask::{Answer, elicit, elicit_url, roots, sample};
    pub use crate::content::{Content, Message, Resource, ResourceLink};
    pub use crate::{Error, Json, Prompt, kami_prompt, kami_resource, kami_tool, kami_type};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}

/// What the generated code uses; it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::arguments::{Takes, ToolArgument, Wrapper, fits_header};
    pub use crate::complete::{Completer, run as complete};
    pub use crate::output::{Infallible, Probe, Return, Structured};
    pub use crate::prompt::{
        Argument, Get, PROMPTS, PromptFunction, PromptOutput, Reader, Required,
    };
    pub use crate::resource::{Part, RESOURCES, Read, ResourceFunction, ResourceOutput};
    pub use crate::tool::{Call, Hints, Reply, Tool};
    pub use crate::{Error, Prompt, content::Resource};
    pub use {inventory, schemars, serde};
}
