//! Files of arguments of MicroK8s.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| stead_resources::fuzzing::args_file(bytes));
