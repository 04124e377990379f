//! See [`kami_oracles::artifact`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::artifact::check(bytes));
