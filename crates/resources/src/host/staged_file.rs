//! Replaces files in two stages: the new file is written to the disk beside its place, then renamed. Many of the first stage can run
//! concurrently, and the directories of the second are synced together.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::renameat,
    unistd::{UnlinkatFlags, fsync, unlinkat},
};
use rustix::fs::{RenameFlags, renameat_with};

use super::{HostError, IfExists};
use crate::host::beneath::PathHandle;

/// Something that is whole beside its place. It goes when it is dropped.
#[derive(Debug)]
pub(crate) struct StagedFile {
    /// `None` once it is in its place.
    pending: Option<PendingRename>,
    if_exists: IfExists,
}

#[derive(Debug)]
struct PendingRename {
    place: PathHandle,
    temporary: PathHandle,
}

impl StagedFile {
    /// Takes what may be at `temporary` into care, even if it is not whole yet.
    pub(super) fn new(place: PathHandle, temporary: PathHandle, if_exists: IfExists) -> Self {
        Self {
            pending: Some(PendingRename { place, temporary }),
            if_exists,
        }
    }

    /// Puts it into its place. That is on the disk once the directories are.
    pub(crate) fn commit(mut self, dirs: &mut DirsToSync) -> Result<(), HostError> {
        if let Some(waiting) = &self.pending {
            waiting.rename(self.if_exists)?;
        }
        if let Some(waiting) = self.pending.take() {
            dirs.add(waiting.place);
        }
        Ok(())
    }

    /// Puts it into its place, on the disk.
    pub(crate) fn commit_and_sync(self) -> Result<(), HostError> {
        let mut dirs = DirsToSync::default();
        self.commit(&mut dirs)?;
        dirs.sync()
    }
}

impl PendingRename {
    fn rename(&self, if_exists: IfExists) -> Result<(), HostError> {
        let Self { place, temporary } = self;
        let (from, to) = (temporary.name.as_os_str(), place.name.as_os_str());
        match if_exists {
            IfExists::Replace => {
                renameat(&temporary.dir, from, &place.dir, to).map_err(io::Error::from)
            }
            // nix has it for the GNU C library alone.
            IfExists::Refuse => {
                renameat_with(&temporary.dir, from, &place.dir, to, RenameFlags::NOREPLACE)
                    .map_err(io::Error::from)
            }
        }
        .map_err(HostError::io("move into place", &place.path))
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(PendingRename { temporary, .. }) = &self.pending {
            // What failed before is the one to tell; `Writer::remove_temporary` finds what is left.
            unlinkat(
                &temporary.dir,
                temporary.name.as_os_str(),
                UnlinkatFlags::NoRemoveDir,
            )
            .ok();
        }
    }
}

/// Directories with changes that may not be on the disk yet.
#[derive(Debug, Default)]
#[must_use = "the changes are on the disk once these are"]
pub(crate) struct DirsToSync(BTreeMap<PathBuf, PathHandle>);

impl DirsToSync {
    /// Notes that the directory of a place has changed.
    pub(super) fn add(&mut self, place: PathHandle) {
        let directory = place.path.parent().unwrap_or(Path::new("/"));
        if !self.0.contains_key(directory) {
            self.0.insert(directory.to_owned(), place);
        }
    }

    /// Puts their changes on the disk.
    pub(crate) fn sync(self) -> Result<(), HostError> {
        self.0.values().try_for_each(sync_parent_dir)
    }
}

pub(super) fn sync_parent_dir(place: &PathHandle) -> Result<(), HostError> {
    fsync(&place.dir).map_err(HostError::io("sync the directory of", &place.path))
}

/// Removes what is at a place. That is on the disk once the directories are.
pub(super) fn unlink(
    place: PathHandle,
    what: UnlinkatFlags,
    dirs: &mut DirsToSync,
) -> Result<(), HostError> {
    unlinkat(&place.dir, place.name.as_os_str(), what)
        .map_err(HostError::io("remove", &place.path))?;
    dirs.add(place);
    Ok(())
}
