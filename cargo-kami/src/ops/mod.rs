//! What several commands do.
//!
//! A build goes through four stations. [`packages`] reads which packages are meant and what their
//! tables say; [`toolchain`] finds the compiler and its target; [`compile`] has cargo make the
//! component; [`build`] asks the component what it offers, and seals the answer, the table and
//! the bill of materials ([`bill`]) into one file.

pub mod arguments;
pub mod audit;
pub mod bill;
pub mod build;
pub mod check;
pub mod compile;
pub mod compiler;
pub mod consent;
pub mod door;
pub mod first_use;
pub mod host;
pub mod installed;
pub mod keyring;
pub mod keys;
pub mod listener;
pub mod outcome;
pub mod packages;
pub mod passphrase;
pub mod pipeline;
pub mod policy;
pub mod questions;
pub mod recording;
pub mod rights;
pub mod scratch;
pub mod secrets;
pub mod selection;
pub mod source;
#[cfg(feature = "otlp")]
pub mod telemetry;
pub mod tokens;
pub mod toolchain;

pub use build::{Built, build, build_tool_file};
pub use packages::{CargoOptions, manifest_in};
