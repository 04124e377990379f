use kami_guest::prelude::*;

/// Adds.
#[kami_tool]
fn add((a, b): (i64, i64), _: i64) -> i64 {
    a + b
}

fn main() {}
