use kami_guest::prelude::*;

/// Prints.
#[kami_tool]
fn print(format: String, arguments: ...) {
    let _ = format;
}

fn main() {}
