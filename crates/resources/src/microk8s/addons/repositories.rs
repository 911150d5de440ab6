//! Repositories of addons: their names and directories.

use std::path::{Path, PathBuf};

use crate::microk8s::layout::COMMON;

/// The kind that manages them.
pub(crate) const KIND: &str = "addon-repo";

/// The repository that comes with the snap.
pub(crate) const CORE: &str = "core";
/// What MicroK8s itself clones lies in the snap.
pub(crate) const SNAP_PREFIX: &str = "/snap/microk8s/";

/// Returns where a repository is.
pub(crate) fn repository_dir(name: &str) -> PathBuf {
    Path::new(COMMON).join("addons").join(name)
}
