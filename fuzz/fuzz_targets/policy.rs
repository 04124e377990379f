//! See [`kami_oracles::policy`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::policy::check(bytes));
