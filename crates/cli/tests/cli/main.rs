//! The command line from outside: what it is given and what it says.

mod bad_input;
mod doc_snippets;
mod editor;
mod examples;
mod fuzz_corpus;
mod import_from;
mod lsp;
mod mistakes;
mod surface;
