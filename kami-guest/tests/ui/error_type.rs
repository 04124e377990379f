use kami_guest::prelude::*;

struct Failure;

/// Fails.
#[kami_tool]
fn fail() -> Result<String, Failure> {
    Err(Failure)
}

fn main() {}
