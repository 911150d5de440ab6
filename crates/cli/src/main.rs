//! The program `stead`: the only crate that prints or exits.

fn main() {}
