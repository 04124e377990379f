//! See [`kami_oracles::source`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::source::check(bytes));
