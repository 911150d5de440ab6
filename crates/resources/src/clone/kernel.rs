//! Kernel state of each network namespace: copied from the host into the clone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    host::{HostError, ReadOnlyCommand, Reader, Writer},
    netfilter::TableVariant,
};

/// The largest setting that is copied, in bytes.
const LIMIT: u64 = 4096;

/// Settings of the kernel and rules of iptables.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct KernelSettings {
    /// By their files.
    sysctls: BTreeMap<PathBuf, String>,
    /// What the program that reads them back takes, by its name.
    rules: BTreeMap<String, String>,
}

/// Returns the settings and rules that this host has.
///
/// # Errors
/// If the rules cannot be read.
pub async fn read_settings(reader: &Reader) -> Result<KernelSettings, HostError> {
    let sysctls = settings_below(reader, Path::new("/proc/sys/net"))?;
    let mut rules = BTreeMap::new();
    for column in TableVariant::ALL {
        let query: ReadOnlyCommand = column.query();
        if !reader.has_program(query.program()) {
            continue;
        }
        let text = reader.query(query).await?;
        let restore = query.program().replace("-save", "-restore");
        rules.insert(restore, String::from_utf8_lossy(&text).into_owned());
    }
    Ok(KernelSettings { sysctls, rules })
}

/// Makes the settings and rules hold here. What this namespace does not have, such as an interface, is passed over.
///
/// # Errors
/// If rules are refused.
pub async fn apply_settings(
    writer: &Writer,
    reader: &Reader,
    settings: &KernelSettings,
) -> Result<(), HostError> {
    for (program, text) in &settings.rules {
        // A table of the legacy back end that was never used is not to be made by looking.
        if text.lines().any(|line| line.starts_with('*')) {
            writer.run(program, &[], text.as_bytes()).await?;
        }
    }
    let here = settings_below(reader, Path::new("/proc/sys/net"))?;
    // One that stands for all interfaces first, so that it does not overwrite theirs.
    let mut sorted: Vec<_> = settings.sysctls.iter().collect();
    sorted.sort_by_key(|(path, _)| (path.components().count(), !is_for_all(path)));
    for (path, value) in sorted {
        if here.get(path).is_some_and(|now| now != value) {
            drop(writer.write_kernel_file(path, value.as_bytes()));
        }
    }
    Ok(())
}

fn is_for_all(path: &Path) -> bool {
    path.components()
        .any(|part| part.as_os_str() == "all" || part.as_os_str() == "default")
}

/// Returns all settings below a directory that can be read and written, by their files.
pub(super) fn settings_below(
    reader: &Reader,
    dir: &Path,
) -> Result<BTreeMap<PathBuf, String>, HostError> {
    let mut found = BTreeMap::new();
    for name in reader.list_dir(dir)? {
        let path = dir.join(name);
        let Some(meta) = reader.stat(&path)? else {
            continue;
        };
        if meta.kind == crate::host::MetaKind::Directory {
            found.extend(settings_below(reader, &path)?);
        } else if meta.mode & 0o222 != 0
            && let Ok(Some(value)) = reader.read_text(&path, LIMIT)
        {
            found.insert(path, value.trim_end().to_owned());
        }
    }
    Ok(found)
}
