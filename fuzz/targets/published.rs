#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| qemu_machine::fuzzing::published(input));
