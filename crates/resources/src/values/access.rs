//! Owner, group and mode of a file, in one canonical spelling.

use std::{collections::BTreeMap, fmt};

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};
use serde::{Deserialize, Serialize};
use stead_engine::model::{
    address::Address,
    schema::{Attribute, Problem, Role, Shape},
};

use crate::host::{FileAttributes, Meta};

/// Permission bits, written as four octal digits: `0644`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Mode(u32);

/// A user, by name where it has one, else by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Owner(String);

/// A group, by name where it has one, else by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct OwnerGroup(String);

impl Mode {
    /// Makes a mode of the permission bits of `bits`.
    pub(crate) fn new(bits: u32) -> Self {
        Self(bits & 0o7777)
    }

    /// Returns the permission bits.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if is_octal => Ok(Self(bits)),
            _ => Err(format!("`{text}` is not a mode")),
        }
    }
}

/// Checks the text of a mode.
pub(crate) fn check_mode(text: &str) -> Result<(), Problem> {
    Mode::try_from(text.to_owned())
        .map(drop)
        .map_err(|fact| Problem::new(fact).help("write three or four octal digits, such as `0644`"))
}

/// Checks the text of a user or group.
pub(crate) fn check_owner(text: &str) -> Result<(), Problem> {
    let is_name = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte));
    if is_name && !text.is_empty() && !text.starts_with('-') {
        return Ok(());
    }
    Err(Problem::new(format!(
        "`{text}` is not the name or number of an account"
    )))
}

/// The three attributes, as every kind that has them documents them.
pub(crate) const MODE: Attribute = Attribute {
    name: "mode",
    shape: Shape::Text,
    role: Role::Managed,
    doc: "Permission bits as octal digits. A new file gets 0644, a new directory 0755.",
    check: Some(check_mode),
};
/// See [`MODE`].
pub(crate) const OWNER: Attribute = Attribute {
    name: "owner",
    shape: Shape::Text,
    role: Role::Managed,
    doc: "User that owns it, by name or number. A new one belongs to the user who runs stead.",
    check: Some(check_owner),
};
/// See [`MODE`].
pub(crate) const GROUP: Attribute = Attribute {
    name: "group",
    shape: Shape::Text,
    role: Role::Managed,
    doc: "Group that owns it, by name or number. A new one gets the group of the user who runs stead.",
    check: Some(check_owner),
};

impl Owner {
    /// Names the user of a number.
    pub(crate) fn from_uid(uid: u32) -> Self {
        let name = User::from_uid(Uid::from_raw(uid))
            .ok()
            .flatten()
            .map(|user| user.name);
        Self(name.unwrap_or_else(|| uid.to_string()))
    }

    /// Brings a written user into its canonical spelling.
    pub(crate) fn canonical(&self) -> Result<Self, Problem> {
        Ok(Self::from_uid(self.uid()?))
    }

    /// Returns the number of the user.
    pub(crate) fn uid(&self) -> Result<u32, Problem> {
        let found = User::from_name(&self.0)
            .ok()
            .flatten()
            .map(|user| user.uid.as_raw());
        found.or_else(|| self.0.parse().ok()).ok_or_else(|| {
            Problem::new(format!("there is no user `{}` on this host", self.0))
                .at("owner")
                .help("create the user first, or write its number")
        })
    }
}

impl OwnerGroup {
    /// Names the group of a number.
    pub(crate) fn from_gid(gid: u32) -> Self {
        let name = Group::from_gid(Gid::from_raw(gid))
            .ok()
            .flatten()
            .map(|group| group.name);
        Self(name.unwrap_or_else(|| gid.to_string()))
    }

    /// Brings a written group into its canonical spelling.
    pub(crate) fn canonical(&self) -> Result<Self, Problem> {
        Ok(Self::from_gid(self.gid()?))
    }

    /// Returns the number of the group.
    pub(crate) fn gid(&self) -> Result<u32, Problem> {
        let found = Group::from_name(&self.0)
            .ok()
            .flatten()
            .map(|group| group.gid.as_raw());
        found.or_else(|| self.0.parse().ok()).ok_or_else(|| {
            Problem::new(format!("there is no group `{}` on this host", self.0))
                .at("group")
                .help("create the group first, or write its number")
        })
    }
}

/// The names of users and groups in one moment, each looked up once.
#[derive(Debug, Default)]
pub(crate) struct AccountNames {
    users: BTreeMap<u32, Owner>,
    groups: BTreeMap<u32, OwnerGroup>,
}

impl AccountNames {
    /// Names the user of a number.
    pub(crate) fn user(&mut self, uid: u32) -> Owner {
        let known = self.users.entry(uid);
        known.or_insert_with(|| Owner::from_uid(uid)).clone()
    }

    /// Names the group of a number.
    pub(crate) fn group(&mut self, gid: u32) -> OwnerGroup {
        let known = self.groups.entry(gid);
        known.or_insert_with(|| OwnerGroup::from_gid(gid)).clone()
    }
}

/// Brings a written owner and group into their canonical spelling; all problems at once.
pub(crate) fn canonical_owners(
    owner: &mut Option<Owner>,
    group: &mut Option<OwnerGroup>,
) -> Result<(), Vec<Problem>> {
    let mut problems = vec![];
    if let Some(owner) = owner {
        owner.canonical().map_or_else(
            |problem| problems.push(problem),
            |canonical| *owner = canonical,
        );
    }
    if let Some(group) = group {
        group.canonical().map_or_else(
            |problem| problems.push(problem),
            |canonical| *group = canonical,
        );
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Returns the accounts that must be there before something can be given to them.
pub(crate) fn account_addresses(owner: Option<&Owner>, group: Option<&OwnerGroup>) -> Vec<Address> {
    let user = owner.map(|owner| Address::new("user", &owner.0));
    let group = group.map(|group| Address::new("group", &group.0));
    user.into_iter().chain(group).collect()
}

/// Leaves out what whoever runs stead gives anyway.
pub(crate) fn omit_root(owner: &mut Option<Owner>, group: &mut Option<OwnerGroup>) {
    owner.take_if(|owner| owner.0 == "root");
    group.take_if(|group| group.0 == "root");
}

/// Returns the access that is wanted: what is written, else what is there, else the default.
pub(crate) fn desired_attributes(
    mode: Option<Mode>,
    owner: Option<&Owner>,
    group: Option<&OwnerGroup>,
    there: Option<&Meta>,
    default_mode: u32,
) -> Result<FileAttributes, Problem> {
    Ok(FileAttributes {
        mode: mode.map_or_else(|| there.map_or(default_mode, |meta| meta.mode), Mode::bits),
        uid: match owner {
            Some(owner) => owner.uid()?,
            None => there.map_or_else(|| geteuid().as_raw(), |meta| meta.uid),
        },
        gid: match group {
            Some(group) => group.gid()?,
            None => there.map_or_else(|| getegid().as_raw(), |meta| meta.gid),
        },
        xattrs: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_has_one_spelling() {
        for (text, expected) in [
            ("644", Some("0644")),
            ("0644", Some("0644")),
            ("4755", Some("4755")),
        ] {
            assert_eq!(
                Mode::try_from(text.to_owned())
                    .ok()
                    .map(String::from)
                    .as_deref(),
                expected
            );
        }
        for text in ["", "8", "0888", "64", "00644", "-644", "rw-r--r--"] {
            assert!(check_mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn canonical_owner_prefers_the_name() {
        assert_eq!(Owner("0".into()).canonical().unwrap(), Owner("root".into()));
        assert_eq!(
            OwnerGroup("0".into()).canonical().unwrap(),
            OwnerGroup("root".into())
        );
        assert_eq!(
            Owner("4000000".into()).canonical().unwrap(),
            Owner("4000000".into())
        );
        assert!(Owner("no-such-user".into()).canonical().is_err());
    }
}
