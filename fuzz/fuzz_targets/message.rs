//! See [`kami_oracles::message`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kami_oracles::message::check(bytes));
