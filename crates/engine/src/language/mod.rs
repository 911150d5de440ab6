//! From KDL text to a checked spec and back: lexing, grammar, values, includes, variables, formatting, printing.

pub(crate) mod abridge;
pub mod assignment;
pub(crate) mod bindings;
pub(crate) mod check;
pub(crate) mod condition;
pub(crate) mod cycles;
pub(crate) mod decode;
pub mod editor;
pub(crate) mod entries;
pub mod error;
pub mod format;
pub(crate) mod fragment;
pub(crate) mod grammar;
pub(crate) mod include;
pub mod inputs;
pub(crate) mod lexer;
pub mod load;
pub(crate) mod parse;
pub mod print;
pub mod provenance;
pub mod resolve;
pub mod source;
pub mod spec;
pub(crate) mod split;
pub(crate) mod value;
pub(crate) mod variable;
