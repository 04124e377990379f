use kami_guest::prelude::*;

struct Counter;

impl Counter {
    /// Counts.
    #[kami_tool]
    fn count(&self) -> usize {
        0
    }
}

fn main() {}
