//! See [`kami_oracles::pipeline`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::pipeline::check(bytes));
