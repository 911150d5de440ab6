//! Identity of a resource: its kind and its name. Knows no kind in particular.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Identity of a resource, shown as `kind:name`.
// A graph and a plan name each resource many times: a copy costs no block of memory of its own.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(into = "String", try_from = "String")]
pub struct Address {
    /// The kind, for instance `sysctl`.
    pub kind: SmolStr,
    /// The name within the kind, for instance `net.ipv4.ip_forward`.
    pub name: SmolStr,
}

/// A text that is not `KIND:NAME`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an address; an address is `KIND:NAME`")]
pub struct AddressError(String);

impl Address {
    /// Makes the address of `name` within `kind`.
    pub fn new(kind: impl Into<SmolStr>, name: impl Into<SmolStr>) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once(':') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(Self::new(kind, name)),
            _ => Err(AddressError(text.to_owned())),
        }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_round_trips_through_text() {
        let address: Address = "iptables-rule:a:b".parse().unwrap();
        assert_eq!(address, Address::new("iptables-rule", "a:b"));
        assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
    }

    #[test]
    fn address_requires_kind_and_name() {
        for text in ["", "file", ":x", "file:"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
