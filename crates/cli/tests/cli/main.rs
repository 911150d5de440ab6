//! The command line from outside: what it is given and what it says.

mod bad_input;
mod editor;
mod examples;
mod import_from;
mod lsp;
mod mistakes;
mod surface;
