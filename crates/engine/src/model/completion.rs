//! What a kind can suggest when a text is completed.

/// A part of a resource that a kind may know values for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CompletionTarget {
    /// The name.
    Name,
    /// The value of this attribute.
    Value(String),
    /// A key of this attribute.
    Key(String),
    /// The value of a key of this attribute.
    KeyValue(String, String),
}
