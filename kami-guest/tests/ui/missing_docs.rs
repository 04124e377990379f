#![deny(deprecated)]

use kami_guest::prelude::*;

#[kami_tool]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[kami_tool]
#[allow(deprecated)]
fn subtract(a: i64, b: i64) -> i64 {
    a - b
}

fn main() {}
