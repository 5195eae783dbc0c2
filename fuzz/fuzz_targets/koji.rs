//! The engine's program for [`osbs_fuzz::koji`]; what must hold is said there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| osbs_fuzz::koji(data));
