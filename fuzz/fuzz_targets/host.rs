//! See [`kami_oracles::host`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::host::check(bytes));
