//! Every way to misbehave that the sandbox has to withstand, one tool each.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "guests may, and the host copes")]

mod crash;
mod demands;
mod files;
mod hoards;
mod meetings;
mod memory;
mod net;
mod output;
mod probe;
// It speaks to the host alone, so that there is nothing of it elsewhere.
#[cfg(target_family = "wasm")]
mod wire;
