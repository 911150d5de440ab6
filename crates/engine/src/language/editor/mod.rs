//! What an editor asks about a text that is being typed: its nodes as far as they can be parsed, what may be written
//! at a position, and what is declared where. Only [`crate::language::resolve`] decides whether the text is valid.

pub(crate) mod completion;
pub(crate) mod included;
pub(crate) mod keywords;
pub(crate) mod outline;
pub(crate) mod symbols;

pub use completion::{CompletionContext, Cursor, context_at};
pub use included::check_included;
pub use keywords::{COMMON_ATTRIBUTES, is_keyword};
pub use outline::{Node, NodeEntry, Outline, Word, outline};
pub use symbols::{Reference, Symbols, Variable, reference_at, symbols};

pub use crate::language::include::normalize;
