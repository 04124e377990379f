//! Ends that are no answers, and no end at all.

use std::hint::black_box;
use std::time::Duration;

use kami_guest::prelude::*;

/// Never ends.
#[kami_tool]
fn spin() {
    loop {
        black_box(());
    }
}

/// Takes memory until there is none.
#[kami_tool]
fn allocate() -> usize {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![1; 1 << 20]));
    }
}

/// Panics.
#[kami_tool]
fn panic(message: String) {
    panic!("{message}")
}

/// Sleeps in the host.
#[kami_tool]
fn sleep(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Calls itself for ever.
#[kami_tool]
fn recurse() -> u64 {
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn deeper(depth: u64) -> u64 {
        black_box(depth) + deeper(depth + 1)
    }
    deeper(0)
}

/// Leaves instead of answering.
#[kami_tool]
fn exit(status: i32) {
    std::process::exit(status);
}

/// Counts, which takes as many steps as it is told.
#[kami_tool]
fn count(to: u64) -> u64 {
    (0..to).fold(0, |sum, step| black_box(sum + step % 2))
}

/// Answers with more than anyone wants to read.
#[kami_tool]
fn ramble(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Refuses in many words.
#[kami_tool]
fn complain(bytes: usize) -> Result<(), String> {
    Err("y".repeat(bytes))
}
