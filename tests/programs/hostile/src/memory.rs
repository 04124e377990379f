//! Looks for what others left in memory.

use kami_guest::prelude::*;

/// What was found where nothing should be.
#[kami_type]
struct Findings {
    /// How many bytes of fresh memory were not zero.
    dirty: usize,
    /// Whether the other's mark is somewhere.
    other: bool,
    /// Whether the own mark is, once it is written: proof that the search finds what is there.
    own: bool,
}

/// Searches all memory for the mark of another, and leaves its own everywhere.
#[kami_tool]
fn scribble(own: u64, other: u64) -> Findings {
    let fresh = fresh_memory();
    let dirty = fresh.iter().filter(|word| **word != 0).count() * 8;
    let other = is_anywhere(mark(other));
    let heap = vec![mark(own); 4096];
    fresh.fill(mark(own));
    let own = is_anywhere(mark(own));
    drop(std::hint::black_box(heap));
    Findings { dirty, other, own }
}

/// A word that no program has by chance; what is passed around is only its seed.
fn mark(seed: u64) -> u64 {
    (seed ^ 0x6b61_6d69).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
}

#[cfg(target_family = "wasm")]
fn fresh_memory() -> &'static mut [u64] {
    const PAGE: usize = 64 << 10;
    const PAGES: usize = 8;
    let first = core::arch::wasm32::memory_grow::<0>(PAGES);
    assert_ne!(first, usize::MAX, "there is memory to be had");
    // SAFETY: the allocator does not know these pages, so nobody else refers to them.
    unsafe { std::slice::from_raw_parts_mut((first * PAGE) as *mut u64, PAGES * PAGE / 8) }
}

/// Whether eight of these words stand in a row: one alone may be a local variable of the search.
#[cfg(target_family = "wasm")]
fn is_anywhere(mark: u64) -> bool {
    let words = core::arch::wasm32::memory_size::<0>() * (64 << 10) / 8;
    let mut run = 0;
    (1..words).any(|at| {
        // SAFETY: the address is aligned and below the size of the memory.
        let word = unsafe { ((at * 8) as *const u64).read_volatile() };
        run = if word == mark { run + 1 } else { 0 };
        run == 8
    })
}

#[cfg(not(target_family = "wasm"))]
fn fresh_memory() -> &'static mut [u64] {
    unreachable!("this is a guest")
}

#[cfg(not(target_family = "wasm"))]
fn is_anywhere(_: u64) -> bool {
    unreachable!("this is a guest")
}

/// Whether memory holds the bytes of which these are the complements.
#[cfg(target_family = "wasm")]
pub fn holds_complement_of(complement: &[u8]) -> bool {
    let end = core::arch::wasm32::memory_size::<0>() * (64 << 10);
    let matches = |at: usize| {
        complement.iter().enumerate().all(|(offset, byte)| {
            // SAFETY: the address is below the size of the memory, and not null.
            let found = unsafe { ((at + offset) as *const u8).read_volatile() };
            found == !byte
        })
    };
    (8..end - complement.len()).any(matches)
}

#[cfg(not(target_family = "wasm"))]
pub fn holds_complement_of(_: &[u8]) -> bool {
    unreachable!("this is a guest")
}
