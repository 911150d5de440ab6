//! Errors as data.

use std::error::Error;

/// Returns what an error and its sources say, from the general to the particular.
pub fn error_chain(error: &dyn Error) -> Vec<String> {
    let mut lines = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let line = error.to_string();
        if lines.last() != Some(&line) {
            lines.push(line);
        }
        source = error.source();
    }
    lines
}
