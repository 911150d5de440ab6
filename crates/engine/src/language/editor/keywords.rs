//! Which keywords may be written where, their properties, and the attributes that every kind has.

use crate::language::{
    editor::outline::Node,
    keywords::{HOST, INCLUDE, KEYWORDS, KeywordDoc, PROFILE, USE, VAR, WHEN},
    source::FileRole,
};

/// What every kind takes besides its own attributes. `absent` only where a resource may be asked not to exist.
pub const COMMON_ATTRIBUTES: [KeywordDoc; 3] = [
    (
        "needs",
        "The address of a resource that comes first: `needs=\"KIND:NAME\"`.",
    ),
    ("absent", "Makes it not exist."),
    (
        "override",
        "Replaces another declaration of the same address, for instance one of a file that is included.",
    ),
];

/// Whether the language has a word that is no kind and may stand in any file.
pub fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&name)
}

/// Returns the words that may begin a node at the top of a file, or else within a host, a profile or a `when`. `role` is `None` where
/// nobody can tell yet: the file has no `host`, and nothing is known to include it.
pub(super) fn keywords_at(is_top: bool, role: Option<FileRole>) -> &'static [KeywordDoc] {
    match (is_top, role) {
        (true, Some(FileRole::Main)) => &[HOST, VAR, INCLUDE, PROFILE],
        (true, Some(FileRole::Included)) => &[VAR, PROFILE, INCLUDE, USE, WHEN],
        (true, None) => &[HOST, VAR, PROFILE, INCLUDE, USE, WHEN],
        (false, _) => &[INCLUDE, USE, WHEN],
    }
}

/// Returns the properties that a word of the language takes.
pub(super) fn properties_of(word: &str) -> &'static [KeywordDoc] {
    match word {
        "var" => &[
            ("default", "Its value if none is set."),
            (
                "type",
                "`text`, `number` or `flag`; by default the type of its default value.",
            ),
            (
                "override",
                "Replaces another declaration of the same variable.",
            ),
        ],
        "when" => &[
            ("fact", "The fact of the host to compare."),
            ("var", "The variable to compare."),
            ("is", "True if it equals this."),
            ("is-not", "True if it differs from this."),
            ("at-least", "True if it is this or more; also for versions."),
            ("below", "True if it is less than this; also for versions."),
        ],
        _ => &[],
    }
}

/// Returns what a word of the language means.
pub(super) fn keyword_doc(word: &str) -> Option<&'static str> {
    let all = [HOST, VAR, INCLUDE, PROFILE, USE, WHEN];
    let found = all.into_iter().find(|(name, _)| *name == word);
    found.map(|(_, meaning)| meaning)
}

/// Whether resources stand between the braces of a node.
pub(super) fn contains_resources(node: &Node) -> bool {
    matches!(node.name.text.as_str(), "host" | "profile" | "when")
}
