use kami_guest::prelude::*;

/// Adds.
#[kami_tool]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Adds fractions.
#[kami_tool(name = "add")]
fn add_fractions(a: f64, b: f64) -> f64 {
    a + b
}

fn main() {}
