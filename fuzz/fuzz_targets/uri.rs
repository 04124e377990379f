//! See [`kami_oracles::uri`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::uri::check(bytes));
