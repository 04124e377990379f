//! See [`kami_oracles::net`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::net::check(bytes));
