//! Settings of the kernel that an editor may suggest.

use std::path::Path;

use crate::{
    host::{MetaKind, Reader},
    kernel::sysctl_d,
};

/// The most names that are suggested together.
const MAX_SUGGESTIONS: usize = 10_000;

/// Names the settings that the kernel has, as sysctl(8) writes them.
pub(crate) fn sysctls(host: &Reader) -> Vec<String> {
    let top = Path::new("/proc/sys");
    let mut dirs = vec![top.to_owned()];
    let mut names = vec![];
    while let Some(dir) = dirs.pop() {
        for entry in host.list_dir(&dir).unwrap_or_default() {
            let path = dir.join(entry);
            match host.stat(&path).ok().flatten().map(|meta| meta.kind) {
                Some(MetaKind::Directory) => dirs.push(path),
                Some(MetaKind::File) => {
                    let key = path.strip_prefix(top).ok().and_then(Path::to_str);
                    names.extend(key.and_then(sysctl_d::name));
                }
                _ => {}
            }
        }
        if names.len() > MAX_SUGGESTIONS {
            break;
        }
    }
    names.sort();
    names
}
