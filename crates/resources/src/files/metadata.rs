//! The metadata of a file or directory: mode, owner, group, extended attributes. Its kinds share how they are read and set.

use std::{collections::BTreeMap, path::Path};

use stead_engine::{model::address::Address, provider::error::ProviderError};

use crate::{
    host::{Access, HostError, Meta, MetaKind, Reader, Writer},
    values::{
        access::{Mode, Names, Owner, OwnerGroup, access},
        path::{other_kind, refused},
    },
};

/// What something has besides what is in it. `None` is not wanted, or could not be seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    pub(crate) mode: Option<Mode>,
    pub(crate) owner: Option<Owner>,
    pub(crate) group: Option<OwnerGroup>,
    pub(crate) xattrs: Option<BTreeMap<String, String>>,
}

impl Outside {
    /// Returns what something has, of which `meta` is known.
    pub(crate) fn read(
        kind: &'static str,
        host: &Reader,
        name: &str,
        meta: &Meta,
    ) -> Result<Self, ProviderError> {
        let xattrs = match host.xattrs(Path::new(name)) {
            Err(error) if error.is_not_allowed() => None,
            xattrs => Some(xattrs.map_err(refused(kind, name, "read its extended attributes"))?),
        };
        Ok(Self {
            xattrs: xattrs.filter(|xattrs| !xattrs.is_empty()),
            ..Self::of(meta, &mut Names::default())
        })
    }

    /// Returns its mode, owner and group.
    pub(crate) fn of(meta: &Meta, names: &mut Names) -> Self {
        Self {
            mode: Some(Mode::new(meta.mode)),
            owner: Some(names.user(meta.uid)),
            group: Some(names.group(meta.gid)),
            xattrs: None,
        }
    }

    /// Returns the access that is wanted: what is wanted itself, else what is there, else the default mode.
    pub(crate) fn access(
        &self,
        kind: &'static str,
        name: &str,
        there: Option<&Meta>,
        default_mode: u32,
    ) -> Result<Access, ProviderError> {
        let (owner, group) = (self.owner.as_ref(), self.group.as_ref());
        let access = access(self.mode, owner, group, there, default_mode);
        let access = access.map(|access| Access {
            xattrs: self.xattrs.clone(),
            ..access
        });
        access.map_err(|problem| {
            ProviderError::new(Address::new(kind, name), "find its owner", problem)
        })
    }

    /// Gives it to something that is there.
    pub(crate) fn set(
        &self,
        kind: &'static str,
        host: &Writer,
        name: &str,
        expected: MetaKind,
    ) -> Result<(), ProviderError> {
        let refused = refused(kind, name, "change its owner and mode");
        let gone = || HostError::Changed { path: name.into() };
        let there = stat(kind, &Reader::new(host.root()), name, expected)?;
        let there = there.ok_or_else(gone).map_err(&refused)?;
        let access = self.access(kind, name, Some(&there), there.mode)?;
        host.set_access(Path::new(name), &access).map_err(&refused)
    }
}

/// Looks at what stands at a path; refuses what is of another kind.
pub(crate) fn stat(
    kind: &'static str,
    host: &Reader,
    name: &str,
    expected: MetaKind,
) -> Result<Option<Meta>, ProviderError> {
    let found = host
        .stat(Path::new(name))
        .map_err(refused(kind, name, "inspect it"))?;
    match found {
        Some(meta) if meta.kind != expected => Err(other_kind(kind, name, &meta)),
        found => Ok(found),
    }
}
