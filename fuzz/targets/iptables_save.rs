//! The output of `iptables-save` and files of `iptables-restore`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| stead_resources::fuzzing::iptables_save(bytes));
