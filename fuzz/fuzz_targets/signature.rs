//! See [`kami_oracles::signature`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::signature::check(bytes));
