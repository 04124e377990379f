use kami_guest::prelude::*;

/// Adds.
#[kami_tool(readonly, description = "Adds.", colour = "blue")]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Subtracts.
#[kami_tool(title = "Subtract", title = "Take away")]
fn subtract(a: i64, b: i64) -> i64 {
    a - b
}

/// Divides.
#[kami_tool(name, title = 5, read_only = "yes")]
fn divide(a: i64, b: i64) -> i64 {
    a / b
}

/// Multiplies.
#[kami_tool(name "times")]
fn multiply(a: i64, b: i64) -> i64 {
    a * b
}

fn main() {
    let _ = add(1, 2);
}
