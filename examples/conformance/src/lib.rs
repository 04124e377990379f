//! What the conformance suite of the Model Context Protocol looks for in a server.
//!
//! The suite calls tools, resources and prompts by names of its own and judges what comes back. They
//! stand here by subject. Where the suite has a text in its description, it is the text here.

mod content;
mod header;
mod prompts;
mod questions;
mod resources;
mod rounds;
mod schema;
mod speech;

pub use content::*;
pub use header::*;
pub use prompts::*;
pub use questions::*;
pub use resources::*;
pub use rounds::*;
pub use schema::*;
pub use speech::*;

/// One red pixel.
pub const PIXEL: &[u8] = include_bytes!("pixel.png");

/// A millisecond of nothing.
pub const SILENCE: &[u8] = include_bytes!("silence.wav");
