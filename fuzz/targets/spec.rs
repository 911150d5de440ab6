//! Specs: lexer, grammar, formatter, parser, resolver and the kinds.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| stead_resources::fuzzing::spec(bytes));
