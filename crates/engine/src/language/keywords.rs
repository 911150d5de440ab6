//! The keywords of the language that are not kinds, with their meanings.

/// A word and what it means.
pub(crate) type KeywordDoc = (&'static str, &'static str);

pub(crate) const HOST: KeywordDoc = (
    "host",
    "The host that this spec describes: its name, and its resources between the braces.",
);

pub(crate) const VAR: KeywordDoc = (
    "var",
    "Declares a variable: `var \"NAME\" default=\"VALUE\"`. `(var)\"NAME\"` is its value; `--var NAME=VALUE` gives it another.",
);

pub(crate) const INCLUDE: KeywordDoc = (
    "include",
    "Includes another file. The path is relative to this file, and each file is included once.",
);

pub(crate) const PROFILE: KeywordDoc = (
    "profile",
    "A group of resources that `use \"NAME\"` inserts, once.",
);

pub(crate) const USE: KeywordDoc = ("use", "Inserts the resources of a profile.");

pub(crate) const WHEN: KeywordDoc = (
    "when",
    "Inserts the resources in its braces if a comparison is true: `when fact=\"cloud\" is=\"azure\" { … }`.",
);

/// All of them but `host`.
pub(crate) const KEYWORDS: [&str; 5] = [VAR.0, INCLUDE.0, PROFILE.0, USE.0, WHEN.0];
