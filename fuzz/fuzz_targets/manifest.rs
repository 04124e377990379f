//! See [`kami_oracles::manifest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::manifest::check(bytes));
