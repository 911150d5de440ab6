//! What an editor asks about a text that is being typed: its nodes as far as they can be parsed, what may be written
//! at a position, and what is declared where. Only [`crate::language::resolve`] decides whether the text is valid.

pub(crate) mod completion;
pub(crate) mod included;
pub(crate) mod keywords;
pub(crate) mod outline;
pub(crate) mod symbols;

pub use completion::{Blank, Cursor, cursor};
pub use included::check_included;
pub use keywords::{GENERIC, Part, is_word};
pub use outline::{Entry, Node, Outline, Word, outline};
pub use symbols::{Names, Use, Variable, names, used_at};

pub use crate::language::include::normal;
