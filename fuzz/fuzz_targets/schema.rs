//! See [`kami_oracles::schema`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::schema::check(bytes));
