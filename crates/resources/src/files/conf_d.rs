//! Directories of small configuration files that are read at boot, as sysctl.d(5), modules-load.d(5) and modprobe.d(5) describe:
//! all files in the order of their names, a file in an earlier directory overriding those of the same name in later ones.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::host::{HostError, MetaKind, Reader, Writer};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 4 << 20;
/// First line of a file that is ours.
pub(crate) const HEADER: &str =
    "# Written by stead. Change the spec and run `stead apply` instead.";
/// Mode of a file that is ours, when it is new.
const MODE: u32 = 0o644;

/// One file that is read at boot.
pub(crate) struct ConfFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What is in it; empty where it is masked by a link to /dev/null.
    pub(crate) text: String,
}

/// Reads all files `*.conf` that count, in the order in which they are read at boot.
pub(crate) fn read_conf_dirs(host: &Reader, dirs: &[&str]) -> Result<Vec<ConfFile>, HostError> {
    let mut names: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for dir in dirs {
        // /lib is a link to /usr/lib on most hosts; that directory stands in the list itself.
        let entries = match host.list_dir(Path::new(dir)) {
            Err(HostError::ThroughSymlink { .. }) => continue,
            entries => entries?,
        };
        for name in entries
            .into_iter()
            .filter(|name| name.to_string_lossy().ends_with(".conf"))
        {
            let path = Path::new(dir).join(&name);
            names.entry(name).or_insert(path);
        }
    }
    names
        .into_values()
        .map(|path| read_conf_file(host, path))
        .collect()
}

/// Reads a file; a link in such a directory is followed as far as it is one link to a plain path.
pub(crate) fn read_conf_file(host: &Reader, path: PathBuf) -> Result<ConfFile, HostError> {
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
    Ok(ConfFile { path, text })
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

/// Sets the one line of a file of ours for which `is_wanted` holds, or takes it out; every other line stays as it is.
/// The file comes with its first line and goes with its last, so that rollback leaves no trace.
pub(crate) fn set_line(
    host: &Writer,
    path: &Path,
    is_wanted: impl Fn(&str) -> bool,
    line: Option<&str>,
) -> Result<(), HostError> {
    let reader = Reader::new(host.root());
    let there = reader.stat(path)?;
    let text = reader.read_text(path, LIMIT)?.unwrap_or_default();
    let whole = with_line(&text, is_wanted, line);
    if whole == text {
        return Ok(());
    }
    if whole.is_empty() {
        return host.remove_file(path);
    }
    let mode = there.map_or(MODE, |meta| meta.mode);
    host.write_text(path, whole.as_bytes(), mode)
}

/// Returns the text with the line in it, empty when nothing of worth is left.
fn with_line(text: &str, is_wanted: impl Fn(&str) -> bool, line: Option<&str>) -> String {
    let is_setting = |line: &str| !line.starts_with(['#', ';']) && !line.trim().is_empty();
    let is_old = |line: &str| is_setting(line) && is_wanted(line);
    let ends = if text.is_empty() || text.ends_with('\n') {
        "\n"
    } else {
        ""
    };
    let mut lines: Vec<&str> = if text.is_empty() {
        vec![HEADER]
    } else {
        text.lines().collect()
    };
    let old = lines.iter().position(|line| is_old(line));
    lines.retain(|line| !is_old(line));
    if let Some(line) = line {
        let sorted = || {
            lines
                .iter()
                .position(|other| is_setting(other) && *other > line)
        };
        lines.insert(old.or_else(sorted).unwrap_or(lines.len()), line);
    }
    if lines
        .iter()
        .all(|line| *line == HEADER || line.trim().is_empty())
    {
        return String::new();
    }
    lines.join("\n") + ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, line: Option<&str>, expected: &str) {
        let is_b = |line: &str| line.starts_with('b');
        assert_eq!(with_line(text, is_b, line), expected, "{text:?} {line:?}");
    }

    #[test]
    fn set_line_preserves_other_bytes() {
        check("", Some("b1"), &format!("{HEADER}\nb1\n"));
        check("c\n# note\na\n", Some("b1"), "b1\nc\n# note\na\n");
        check("# bee\na\nb0\nc\n", Some("b1"), "# bee\na\nb1\nc\n");
        check("z\n\nb0\na", Some("b1"), "z\n\nb1\na");
        check("a", Some("b1"), "a\nb1");
    }

    #[test]
    fn remove_line_is_inverse_of_set_line() {
        check(&format!("{HEADER}\nb1\n"), None, "");
        check("b1\nc\n# note\na\n", None, "c\n# note\na\n");
        check("a\nb1", None, "a");
        check("# mine\nb1\n", None, "# mine\n");
        check("a\n", None, "a\n");
        check("", None, "");
    }
}
