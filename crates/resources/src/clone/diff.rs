//! What was written in the clone: the upper directories of its overlays.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use stead_engine::{
    model::digest::sha256,
    rehearsal::difference::{DIRECTORY, Snapshot},
};

/// Places where the init, its journal and stead itself go on writing whatever a spec says.
const IGNORED_PATHS: [&str; 25] = [
    "/etc/.updated",
    "/var/.updated",
    "/etc/machine-id",
    "/etc/ssh/ssh_host_*",
    // What the programs of passwd keep beside the files of accounts.
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/var/tmp",
    "/var/log/journal",
    "/var/log/wtmp",
    "/var/log/btmp",
    "/var/log/lastlog",
    "/var/lib/stead",
    "/var/lib/systemd",
    "/var/lib/private",
    "/root/.cache",
];
/// How many digits of a digest tell contents apart.
const DIGITS: usize = 12;
/// The largest file of which a digest is taken, in bytes; a larger one counts by its size and its time.
const MAX_DIGESTED: u64 = 16 << 20;

/// Adds what was written to a layer, by its path in the clone, unless it is as on the host below `host`: overlayfs copies a file for
/// any change of it, and the directories above it too.
fn collect_changes(
    upper: &Path,
    place: &Path,
    host: &Path,
    found: &mut Snapshot,
) -> io::Result<()> {
    for entry in fs::read_dir(upper)? {
        let entry = entry?;
        let path = place.join(entry.file_name());
        let Some(name) = path.to_str() else { continue };
        if IGNORED_PATHS
            .iter()
            .any(|noise| crate::values::glob::matches(noise, name))
        {
            continue;
        }
        // A service may remove it meanwhile.
        let Ok(meta) = entry.metadata() else { continue };
        let value = match describe(&entry.path(), &meta) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            value => value?,
        };
        let below = host.join(path.strip_prefix("/").unwrap_or(&path));
        let there = fs::symlink_metadata(&below).and_then(|meta| describe(&below, &meta));
        if there.ok().as_ref() != Some(&value) {
            found.insert(name.to_owned(), value);
        }
        if meta.is_dir() {
            collect_changes(&entry.path(), &path, host, found)?;
        }
    }
    Ok(())
}

fn describe(path: &Path, meta: &Metadata) -> io::Result<String> {
    let file_type = meta.file_type();
    let access = format!("{:04o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
    Ok(if file_type.is_symlink() {
        format!("a link to {}", fs::read_link(path)?.display())
    } else if file_type.is_dir() {
        format!("{DIRECTORY}, {access}")
    } else if file_type.is_char_device() && meta.rdev() == 0 {
        // How overlayfs notes that something of the layer below is removed.
        "removed".to_owned()
    } else if file_type.is_file() && meta.len() <= MAX_DIGESTED {
        let digest = sha256(fs::read(path)?);
        format!("{} bytes, {access}, {}", meta.len(), &digest[..DIGITS])
    } else if file_type.is_file() {
        format!(
            "{} bytes, {access}, {}.{}",
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec()
        )
    } else {
        format!("a special file, {access}")
    })
}

/// Returns what was written in the layers `(place in the clone, upper directory)` over the host whose root directory is `host`.
///
/// # Errors
/// If a layer cannot be read.
pub(super) fn changed_files<'a>(
    layers: impl IntoIterator<Item = (&'a Path, &'a Path)>,
    host: &Path,
) -> io::Result<Snapshot> {
    let mut found = Snapshot::new();
    for (place, upper) in layers {
        collect_changes(upper, place, host, &mut found)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clone_diff_lists_written_paths_without_noise() {
        let dir = tempfile::tempdir().unwrap();
        let (upper, host) = (dir.path().join("upper"), dir.path().join("host"));
        for dir in [&upper, &host] {
            fs::create_dir_all(dir.join("etc/ssh")).unwrap();
            fs::write(dir.join("etc/same"), "same").unwrap();
        }
        fs::create_dir_all(upper.join("var/log/journal/1")).unwrap();
        fs::write(upper.join("etc/motd"), "hello").unwrap();
        fs::write(upper.join("etc/ssh/ssh_host_rsa_key"), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", upper.join("etc/link")).unwrap();
        let look = || changed_files([(Path::new("/"), upper.as_path())], &host).unwrap();
        let before = look();
        let names: Vec<_> = before.keys().map(String::as_str).collect();
        assert_eq!(names, ["/etc/link", "/etc/motd", "/var", "/var/log"]);
        assert_eq!(before["/etc/link"], "a link to /nowhere");
        fs::write(upper.join("etc/motd"), "hallo").unwrap();
        assert_ne!(before["/etc/motd"], look()["/etc/motd"]);
    }
}
