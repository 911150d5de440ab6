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

use super::{Existing, HostError};
use crate::host::beneath::Place;

/// Something that is whole beside its place. It goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Staged {
    /// `None` once it is in its place.
    waits: Option<Waiting>,
    existing: Existing,
}

#[derive(Debug)]
struct Waiting {
    place: Place,
    temporary: Place,
}

impl Staged {
    /// Takes what may be at `temporary` into care, even if it is not whole yet.
    pub(super) fn new(place: Place, temporary: Place, existing: Existing) -> Self {
        Self {
            waits: Some(Waiting { place, temporary }),
            existing,
        }
    }

    /// Puts it into its place. That is on the disk once the folders are.
    pub(crate) fn put(mut self, folders: &mut Folders) -> Result<(), HostError> {
        if let Some(waiting) = &self.waits {
            waiting.rename(self.existing)?;
        }
        if let Some(waiting) = self.waits.take() {
            folders.note(waiting.place);
        }
        Ok(())
    }

    /// Puts it into its place, on the disk.
    pub(crate) fn finish(self) -> Result<(), HostError> {
        let mut folders = Folders::default();
        self.put(&mut folders)?;
        folders.sync()
    }
}

impl Waiting {
    fn rename(&self, existing: Existing) -> Result<(), HostError> {
        let Self { place, temporary } = self;
        let (from, to) = (temporary.name.as_os_str(), place.name.as_os_str());
        match existing {
            Existing::Replace => {
                renameat(&temporary.folder, from, &place.folder, to).map_err(io::Error::from)
            }
            // nix has it for the GNU C library alone.
            Existing::Refuse => renameat_with(
                &temporary.folder,
                from,
                &place.folder,
                to,
                RenameFlags::NOREPLACE,
            )
            .map_err(io::Error::from),
        }
        .map_err(HostError::io("move into place", &place.path))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(Waiting { temporary, .. }) = &self.waits {
            // What failed before is the one to tell; `Writer::clean` finds what is left.
            unlinkat(
                &temporary.folder,
                temporary.name.as_os_str(),
                UnlinkatFlags::NoRemoveDir,
            )
            .ok();
        }
    }
}

/// Folders with changes that may not be on the disk yet.
#[derive(Debug, Default)]
#[must_use = "the changes are on the disk once these are"]
pub(crate) struct Folders(BTreeMap<PathBuf, Place>);

impl Folders {
    /// Notes that the folder of a place has changed.
    pub(super) fn note(&mut self, place: Place) {
        let folder = place.path.parent().unwrap_or(Path::new("/"));
        if !self.0.contains_key(folder) {
            self.0.insert(folder.to_owned(), place);
        }
    }

    /// Puts their changes on the disk.
    pub(crate) fn sync(self) -> Result<(), HostError> {
        self.0.values().try_for_each(sync_folder)
    }
}

pub(super) fn sync_folder(place: &Place) -> Result<(), HostError> {
    fsync(&place.folder).map_err(HostError::io("sync the directory of", &place.path))
}

/// Removes what is at a place. That is on the disk once the folders are.
pub(super) fn unlink(
    place: Place,
    what: UnlinkatFlags,
    folders: &mut Folders,
) -> Result<(), HostError> {
    unlinkat(&place.folder, place.name.as_os_str(), what)
        .map_err(HostError::io("remove", &place.path))?;
    folders.note(place);
    Ok(())
}
