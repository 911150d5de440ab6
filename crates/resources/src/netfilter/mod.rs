//! The packet filter that several kinds share: back ends, families, saved tables, and the canonical form of a rule.

pub(crate) mod attributes;
pub(crate) mod column;
pub(crate) mod export;
pub(crate) mod known_writers;
mod names;
pub(crate) mod restore_script;
mod rule;
mod saved;
mod tables;
mod words;

pub(crate) use attributes::{
    BACKEND, COLUMNS, FAMILY, ODD_COLUMNS, PERSIST, Words, implied_hook, tables_to_list, words_of,
};
pub(crate) use column::{Backend, Column, Columns, Family};
pub(crate) use export::{SAME_BEFORE, Spoken, list_rules, split_at_jump};
pub(crate) use names::{ChainName, TABLES};
pub(crate) use restore_script::{Insert, Spot, script};
pub(crate) use rule::{Rule, check_words, quoted, split};
pub(crate) use saved::{MARK, Saved, SavedRule, comment};
pub(crate) use tables::{Reading, Tables, preferred};
pub(crate) use words::{saved_words, with_single_blanks};
