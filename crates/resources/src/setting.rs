//! A setting that may be unset: what the boot column of kernel state holds.

use serde::{Deserialize, Serialize};

/// A text, or nothing at all. Not the same as an attribute that is not managed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
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

impl From<Setting> for Form {
    fn from(setting: Setting) -> Self {
        match setting {
            Setting::Value(value) => Self::Value(value),
            Setting::Unset => Self::Unset { unset: true },
        }
    }
}
