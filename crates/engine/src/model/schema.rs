//! The schema of a kind: the table that decoding, `kinds`, `explain` and completions are derived from.

use serde::Serialize;

/// Everything a user may write for one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Schema {
    /// One sentence: what the kind is.
    pub summary: &'static str,
    /// What the name is, for instance `absolute path`.
    pub name: &'static str,
    /// The attribute that the second argument of a node fills, if the kind has a main value.
    pub main: Option<&'static str>,
    /// The attributes, in the order in which they are documented and shown.
    pub attributes: &'static [Attribute],
    /// What the engine needs to know of how such a resource begins and ends.
    #[serde(skip)]
    pub lifecycle: Lifecycle,
    /// Whether `absent=#true` makes sense.
    pub absence: Absence,
    /// A resource as a user would write it: KDL, one or more nodes of this kind.
    pub example: &'static str,
}

/// How resources of a kind begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent questions")]
pub struct Lifecycle {
    /// Whether the state is what a running process was started with. Such a change is a restart: it is due when what it needs
    /// has changed, and a rollback makes it last, when all that the process reads is restored.
    pub is_restart: bool,
    /// Whether a reboot loses the state or programs overwrite it, so that the hooks restore it.
    pub is_runtime: bool,
    /// Whether files of this resource outlive what provides it, such as settings beside those of a package. Rollback then removes
    /// it by itself; otherwise what came with something that a run made goes with that.
    pub outlives_parent: bool,
    /// Whether it exists only where an init runs services, so that a clone without one cannot try it.
    pub needs_init: bool,
    /// The most changes that one `apply` takes; a step of the journal holds at most this many.
    pub max_batch: usize,
}

impl Lifecycle {
    /// A state that lasts, changed one at a time.
    pub const DEFAULT: Self = Self {
        is_restart: false,
        is_runtime: false,
        outlives_parent: false,
        needs_init: false,
        max_batch: 1,
    };
}

/// One attribute of a kind. Its name is the name of the field in the kind's `State`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Attribute {
    /// The name, as written and as serialised.
    pub name: &'static str,
    /// What values it takes.
    pub shape: Shape,
    /// Who writes it and whether it is compared.
    pub role: Role,
    /// One sentence: what it means, with its unit and its default.
    pub doc: &'static str,
    /// Says what is wrong with a text that the shape allows; `None` if every such text is fine.
    #[serde(skip)]
    pub check: Option<Check>,
}

impl Attribute {
    /// Makes an attribute whose shape says all about its values.
    pub const fn new(name: &'static str, shape: Shape, role: Role, doc: &'static str) -> Self {
        Self {
            name,
            shape,
            role,
            doc,
            check: None,
        }
    }
}

/// What every kind that allows it has: the wish that the resource does not exist.
pub(crate) const ABSENT: Attribute = Attribute {
    name: "absent",
    shape: Shape::Flag,
    role: Role::Managed,
    doc: "Makes it not exist.",
    check: None,
};

/// Says what is wrong with a text.
pub type Check = fn(&str) -> Result<(), Problem>;

/// What values an attribute takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// A string.
    Text,
    /// `#true` or `#false`.
    Flag,
    /// A whole number.
    Integer,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// The path of a file, relative to the spec that names it; decoded to an absolute path.
    Path,
    /// The place of a secret, annotated: `(secret)"file:/PATH"`.
    Secret,
    /// Several strings: the arguments of a child node.
    List,
    /// A child node with children of its own, each a key and a text, a number, a flag, or `#null` for a key that is not set.
    Map,
    /// Every child node whose name is no attribute: its arguments as texts, or `#null` for one that shall not be there.
    /// At most one attribute of a kind; its own name is never written.
    Entries,
}

/// Who writes an attribute and whether a difference in it is a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Written by users, observed on hosts, compared.
    Managed,
    /// Written by users, never observed, never compared; `prepare` turns it into others, and a change carries it along.
    Input,
    /// Never written by users; observed or made by `prepare`, and compared.
    Derived,
    /// Never written by users; observed so that rollback is exact; never compared.
    Context,
    /// Never written by users and never compared: a list of texts that a plan shows, about what was observed or prepared.
    Remark,
}

impl Schema {
    /// Returns the attribute that a word in a spec fills.
    pub fn user_attribute(&self, word: &str) -> Option<&'static Attribute> {
        self.attributes.iter().find(|attribute| {
            attribute.role.is_user_written()
                && attribute.shape != Shape::Entries
                && attribute.name == word
        })
    }

    /// Returns the attribute that takes the child nodes whose names are no attributes.
    pub(crate) fn entries(&self) -> Option<&'static Attribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.shape == Shape::Entries)
    }
}

impl Role {
    /// Whether a user may write the attribute.
    pub fn is_user_written(self) -> bool {
        matches!(self, Self::Managed | Self::Input)
    }

    /// Whether a difference in the attribute is a change.
    pub fn is_compared(self) -> bool {
        matches!(self, Self::Managed | Self::Derived)
    }
}

/// Whether a resource of a kind can be asked not to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    /// `absent=#true` is allowed.
    Allowed,
    /// It is not; the text says why and what to write instead.
    Refused(&'static str),
}

/// A mistake in what the user wrote, found by the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The attribute at fault; `None` for the name or the resource as a whole.
    pub attribute: Option<String>,
    /// The fact, lower case, no full stop.
    pub message: String,
    /// What to type instead.
    pub help: Option<String>,
}

impl Problem {
    /// Makes a problem of the resource as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            attribute: None,
            message: message.into(),
            help: None,
        }
    }

    /// Names the attribute at fault.
    #[must_use]
    pub fn at(mut self, attribute: impl Into<String>) -> Self {
        self.attribute = Some(attribute.into());
        self
    }

    /// Says what to type instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
