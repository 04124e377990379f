use kami_guest::prelude::*;

/// Counts.
#[kami_tool]
fn count<T>(items: Vec<T>) -> usize {
    items.len()
}

fn main() {}
