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
    BACKEND, FAMILY, FamilyAndBackend, ImportableTables, ODD_VARIANTS, PERSIST, VARIANT_ATTRIBUTES,
    family_and_backend_of, implied_hook, tables_for_import,
};
pub(crate) use column::{Backend, Family, PerVariant, TableVariant};
pub(crate) use export::{DUPLICATE_RULE, SpecRule, list_rules, split_at_jump};
pub(crate) use names::{ChainName, TABLES};
pub(crate) use restore_script::{Insert, RulePosition, build_restore_script};
pub(crate) use rule::{Rule, check_words, quote, split_words};
pub(crate) use saved::{COMMENT_PREFIX, SavedRule, SavedTables, comment};
pub(crate) use tables::{TableRead, Tables, detect_default_backend};
pub(crate) use words::{collapse_blanks, split_saved};
