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
//! no export, no `main`, no build script, and as many tools, in as many modules, as you like.
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
//! # Talking to the host
//!
//! [`log`] writes to the operator's log, [`progress()`] says how far a long call has come, and
//! [`http`](#features) reaches the web as far as the operator grants it. Files, environment variables and the
//! clock are those of `std`, within the grants too.
//!
//! # Features
//!
//! * `http`: the module `kami_guest::http`, a small HTTP client that works in the sandbox and under `cargo test`.

#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod content;
pub mod log;
mod progress;

mod arguments;
mod output;
mod schema;
mod shape;
mod tool;

#[cfg(target_family = "wasm")]
mod export;
#[cfg(feature = "http")]
pub mod http;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use content::Content;
pub use kami_guest_macros::{kami_tool, kami_type};
pub use output::Json;
pub use progress::progress;

pub use schemars;
pub use serde;
pub use serde_json;

/// What a tool crate commonly needs: `use kami_guest::prelude::*;`.
pub mod prelude {
    pub use crate::content::{Content, Resource, ResourceLink};
    pub use crate::{Json, kami_tool, kami_type};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}

/// What the generated code uses; it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::arguments::{Takes, ToolArgument, Wrapper};
    pub use crate::output::{Infallible, Probe, Return, Structured};
    pub use crate::tool::{Call, Hints, Outcome, Tool};
    pub use {inventory, schemars, serde};
}
