//! Folders of small configuration files that are read at boot, as sysctl.d(5), modules-load.d(5) and modprobe.d(5) say:
//! all files in the order of their names, a file in an earlier folder hiding those of the same name in later ones.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::host::{HostError, MetaKind, Reader};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// One file that is read at boot.
pub(crate) struct BootFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What is in it; empty where it is masked by a link to /dev/null.
    pub(crate) text: String,
}

/// Reads all files `*.conf` that count, in the order in which they are read at boot.
pub(crate) fn boot_files(host: &Reader, folders: &[&str]) -> Result<Vec<BootFile>, HostError> {
    let mut names: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in folders {
        // /lib is a link to /usr/lib on most hosts; that folder stands in the list itself.
        let entries = match host.list_folder(Path::new(folder)) {
            Err(HostError::ThroughSymlink { .. }) => continue,
            entries => entries?,
        };
        for name in entries
            .into_iter()
            .filter(|name| name.to_string_lossy().ends_with(".conf"))
        {
            let path = Path::new(folder).join(&name);
            names.entry(name).or_insert(path);
        }
    }
    names.into_values().map(|path| read(host, path)).collect()
}

/// Reads a file; a link in such a folder is followed as far as it is one link to a plain path.
pub(crate) fn read(host: &Reader, path: PathBuf) -> Result<BootFile, HostError> {
    let is_link = host
        .stat(&path)?
        .is_some_and(|meta| meta.kind == MetaKind::Symlink);
    let target = if is_link {
        resolve(&path, &host.read_link(&path)?)
    } else {
        path.clone()
    };
    let is_file = host
        .stat(&target)?
        .is_some_and(|meta| meta.kind == MetaKind::File);
    let text = if is_file {
        host.read_text(&target, LIMIT)?.unwrap_or_default()
    } else {
        String::new()
    };
    Ok(BootFile { path, text })
}

fn resolve(link: &Path, target: &Path) -> PathBuf {
    let mut resolved = PathBuf::from("/");
    for part in link
        .parent()
        .unwrap_or(Path::new("/"))
        .join(target)
        .components()
    {
        match part {
            std::path::Component::ParentDir => drop(resolved.pop()),
            std::path::Component::Normal(name) => resolved.push(name),
            _ => {}
        }
    }
    resolved
}
