//! The metadata of a file or directory: mode, owner, group, extended attributes. Its kinds share how they are read and set.

use std::{collections::BTreeMap, path::Path};

use stead_engine::{model::address::Address, provider::error::ProviderError};

use crate::{
    host::{FileAttributes, HostError, Meta, MetaKind, Reader, Writer},
    values::{
        access::{AccountNames, Mode, Owner, OwnerGroup, desired_attributes},
        path::{kind_mismatch, provider_error},
    },
};

/// What something has besides what is in it. `None` is not wanted, or could not be seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileMetadata {
    pub(crate) mode: Option<Mode>,
    pub(crate) owner: Option<Owner>,
    pub(crate) group: Option<OwnerGroup>,
    pub(crate) xattrs: Option<BTreeMap<String, String>>,
}

impl FileMetadata {
    /// Returns what something has, of which `meta` is known.
    pub(crate) fn read(
        kind: &'static str,
        host: &Reader,
        name: &str,
        meta: &Meta,
    ) -> Result<Self, ProviderError> {
        let xattrs = match host.xattrs(Path::new(name)) {
            Err(error) if error.is_not_allowed() => None,
            xattrs => {
                Some(xattrs.map_err(provider_error(kind, name, "read its extended attributes"))?)
            }
        };
        Ok(Self {
            xattrs: xattrs.filter(|xattrs| !xattrs.is_empty()),
            ..Self::from_meta(meta, &mut AccountNames::default())
        })
    }

    /// Returns its mode, owner and group.
    pub(crate) fn from_meta(meta: &Meta, names: &mut AccountNames) -> Self {
        Self {
            mode: Some(Mode::new(meta.mode)),
            owner: Some(names.user(meta.uid)),
            group: Some(names.group(meta.gid)),
            xattrs: None,
        }
    }

    /// Returns the access that is wanted: what is wanted itself, else what is there, else the default mode.
    pub(crate) fn desired_attributes(
        &self,
        kind: &'static str,
        name: &str,
        there: Option<&Meta>,
        default_mode: u32,
    ) -> Result<FileAttributes, ProviderError> {
        let (owner, group) = (self.owner.as_ref(), self.group.as_ref());
        let access = desired_attributes(self.mode, owner, group, there, default_mode);
        let access = access.map(|access| FileAttributes {
            xattrs: self.xattrs.clone(),
            ..access
        });
        access.map_err(|problem| {
            ProviderError::new(Address::new(kind, name), "find its owner", problem)
        })
    }

    /// Gives it to something that is there.
    pub(crate) fn apply(
        &self,
        kind: &'static str,
        host: &Writer,
        name: &str,
        expected: MetaKind,
    ) -> Result<(), ProviderError> {
        let refused = provider_error(kind, name, "change its owner and mode");
        let gone = || HostError::Changed { path: name.into() };
        let there = stat_as(kind, &Reader::new(host.root()), name, expected)?;
        let there = there.ok_or_else(gone).map_err(&refused)?;
        let access = self.desired_attributes(kind, name, Some(&there), there.mode)?;
        host.set_attributes(Path::new(name), &access)
            .map_err(&refused)
    }
}

/// Looks at what stands at a path; refuses what is of another kind.
pub(crate) fn stat_as(
    kind: &'static str,
    host: &Reader,
    name: &str,
    expected: MetaKind,
) -> Result<Option<Meta>, ProviderError> {
    let found = host
        .stat(Path::new(name))
        .map_err(provider_error(kind, name, "inspect it"))?;
    match found {
        Some(meta) if meta.kind != expected => Err(kind_mismatch(kind, name, &meta)),
        found => Ok(found),
    }
}
