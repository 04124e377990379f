//! Lines for the operator's log, and for the client if it asked for logs.
//!
//! The host drops what exceeds the operator's limits. Natively, as under
//! `cargo test`, the lines go to stderr.
//!
//! ```
//! kami_guest::log::info(format_args!("read {} rows", 12));
//! ```

use std::fmt::Display;

macro_rules! levels {
    ($($(#[$doc:meta])* $function:ident => $level:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $function(message: impl Display) {
                write(Level::$level, &message);
            }
        )*
    };
}

levels! {
    /// Logs what only someone hunting a bug wants to know.
    debug => Debug;
    /// Logs what normally happens.
    info => Info;
    /// Logs what normally happens and deserves attention.
    notice => Notice;
    /// Logs what may be wrong.
    warn => Warning;
    /// Logs what is wrong.
    error => Error;
}

#[cfg(target_family = "wasm")]
use crate::export::Level;

/// Severity, as the host names it.
#[cfg(not(target_family = "wasm"))]
#[derive(Debug)]
enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
}

#[cfg(target_family = "wasm")]
fn write(level: Level, message: &dyn Display) {
    crate::export::log(level, &message.to_string());
}

#[cfg(not(target_family = "wasm"))]
#[expect(
    clippy::print_stderr,
    reason = "natively, as under `cargo test`, there is no host to log to"
)]
fn write(level: Level, message: &dyn Display) {
    eprintln!("[{}] {message}", format!("{level:?}").to_lowercase());
}
