use kami_guest::prelude::*;

/// Adds.
#[kami_tool(name = "add numbers")]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Subtracts.
#[kami_tool(name = "")]
fn subtract(a: i64, b: i64) -> i64 {
    a - b
}

/// Divides.
#[kami_tool]
fn teilen_durch_größe(a: i64, b: i64) -> i64 {
    a / b
}

/// Multiplies.
#[kami_tool(name = "multiplies-two-numbers-that-are-given-as-arguments-and-then-returns-it")]
fn multiply(a: i64, b: i64) -> i64 {
    a * b
}

fn main() {}
