//! The words of the language that are no kinds, each with what it means.

/// A word and what it means.
pub(crate) type Meant = (&'static str, &'static str);

pub(crate) const HOST: Meant = (
    "host",
    "The host that this spec describes: its name, and its resources between the braces.",
);

pub(crate) const VAR: Meant = (
    "var",
    "Declares a variable: `var \"NAME\" default=\"VALUE\"`. `(var)\"NAME\"` is its value; `--var NAME=VALUE` gives it another.",
);

pub(crate) const INCLUDE: Meant = (
    "include",
    "Takes what another file has. The path is relative to this file, and each file is taken once.",
);

pub(crate) const PROFILE: Meant = (
    "profile",
    "Resources that `use \"NAME\"` takes, together and once.",
);

pub(crate) const USE: Meant = ("use", "Takes the resources of a profile.");

pub(crate) const WHEN: Meant = (
    "when",
    "Takes what is between its braces if a comparison holds: `when fact=\"cloud\" is=\"azure\" { … }`.",
);

/// All of them but `host`.
pub(crate) const WORDS: [&str; 5] = [VAR.0, INCLUDE.0, PROFILE.0, USE.0, WHEN.0];
