//! What must hold whatever bytes come in, as plain functions.
//!
//! An oracle takes bytes, as hostile as they may be, and panics where a promise is broken. It
//! knows the answer from elsewhere than the code that it judges: from a naive reading of the
//! documented rules, from another implementation, or from what was put in. Two drivers share
//! them: `tests/tests/oracles.rs` makes inputs that are nearly right and runs in seconds, and the
//! targets of `fuzz/` look for inputs for as long as one lets them.
//!
//! An oracle is a row in [`ORACLES`], a module, and a target; the tests hold the three together.
//! Where bytes stand for several things, each has a line.

mod examples;

pub mod address;
pub mod artifact;
pub mod net;
pub mod manifest;
pub mod message;
pub mod pipeline;
pub mod policy;
pub mod schema;
pub mod signature;
pub mod source;
pub mod uri;

/// One promise about bytes.
#[derive(Debug, Clone, Copy)]
pub struct Oracle {
    /// The name of the fuzz target and of its corpus.
    pub name: &'static str,
    /// Panics where the promise is broken.
    pub check: fn(&[u8]),
    /// Inputs that go deep, as a start for what is altered.
    pub examples: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const ORACLES: &[Oracle] = &[
    Oracle { name: "address", check: address::check, examples: address::examples },
    Oracle { name: "artifact", check: artifact::check, examples: artifact::examples },
    Oracle { name: "net", check: net::check, examples: net::examples },
    Oracle { name: "manifest", check: manifest::check, examples: manifest::examples },
    Oracle { name: "message", check: message::check, examples: message::examples },
    Oracle { name: "pipeline", check: pipeline::check, examples: pipeline::examples },
    Oracle { name: "policy", check: policy::check, examples: policy::examples },
    Oracle { name: "schema", check: schema::check, examples: schema::examples },
    Oracle { name: "signature", check: signature::check, examples: signature::examples },
    Oracle { name: "source", check: source::check, examples: source::examples },
    Oracle { name: "uri", check: uri::check, examples: uri::examples },
];

/// Everything up to the first line end, and everything behind it.
fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}
