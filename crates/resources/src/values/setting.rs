//! A setting that may be unset: the boot column of kernel state.

use serde::{Deserialize, Serialize, Serializer};

/// A text, or nothing at all. Not the same as an attribute that is not managed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Form")]
pub(crate) enum Setting {
    /// Nothing sets it.
    Unset,
    /// It is set to this.
    Value(String),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Value(String),
    Unset { unset: bool },
}

impl From<Form> for Setting {
    fn from(form: Form) -> Self {
        match form {
            Form::Value(value) => Self::Value(value),
            Form::Unset { .. } => Self::Unset,
        }
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // Without a copy of the text.
            Self::Value(value) => serializer.serialize_str(value),
            Self::Unset => Form::Unset { unset: true }.serialize(serializer),
        }
    }
}
