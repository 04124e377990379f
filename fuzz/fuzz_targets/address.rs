//! See [`kami_oracles::address`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::address::check(bytes));
