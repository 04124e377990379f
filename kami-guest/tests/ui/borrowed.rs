use kami_guest::prelude::*;
use std::path::Path;

/// Reads.
#[kami_tool]
fn read(path: &Path, words: Option<&str>, numbers: &[u8], count: &mut u32) -> usize {
    let _ = (path, words, count);
    numbers.len()
}

fn main() {}
