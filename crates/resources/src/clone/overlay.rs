//! The files of the clone: an overlay over each file system of the host.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::error::{CloneError, refused};

/// Directories that the init of the clone fills itself.
const INIT_MOUNTS: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];
/// Directories whose contents are layers of overlayfs themselves, or are to be: a layer over them does not work. They begin empty.
const EMPTIED_DIRS: [(&str, &str); 3] = [
    (
        "/var/lib/docker",
        "Docker has no images and no containers in it",
    ),
    (
        "/var/lib/containerd",
        "containerd has no images and no containers in it",
    ),
    (
        "/var/snap/microk8s/common/var/lib/containerd",
        "MicroK8s has no images and no containers in it",
    ),
];
/// File systems that hold files of the host, and can lie below a layer.
const OVERLAY_FILE_SYSTEMS: [&str; 10] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "overlay", "tmpfs",
];
/// File systems that nobody writes to, or that cannot lie below a layer.
const READ_ONLY_FILE_SYSTEMS: [&str; 6] = [
    "squashfs",
    "erofs",
    "iso9660",
    "vfat",
    "fuse.squashfuse",
    "fuse.snapfuse",
];

/// A mount of the host.
#[derive(Debug, PartialEq, Eq)]
struct MountEntry {
    mount_point: PathBuf,
    file_system: String,
}

/// The files of the clone, all of them below one directory.
#[derive(Debug)]
pub(super) struct CloneTree {
    /// Its root directory.
    pub(super) root: PathBuf,
    /// The upper directory of each layer, with the place of the layer in the clone.
    pub(super) layers: Vec<(PathBuf, PathBuf)>,
    /// In what it differs from the host.
    pub(super) differences: Vec<String>,
}

impl CloneTree {
    /// Makes it in `dir`, which is empty and not below a layer.
    pub(super) fn create(dir: &Path, mounts: &str) -> Result<Self, CloneError> {
        let root = dir.join("root");
        fs::create_dir(&root).map_err(refused("create the root directory of the clone"))?;
        let mut tree = Self {
            root,
            layers: vec![],
            differences: vec![],
        };
        tree.add_layer(dir, Path::new("/"))?;
        let fresh = tree.mount_empty_dirs(dir)?;
        for MountEntry {
            mount_point,
            file_system,
        } in parse_mounts(mounts)
        {
            let is_below = |dir: &str| mount_point.starts_with(dir);
            if mount_point == Path::new("/")
                || INIT_MOUNTS.into_iter().any(is_below)
                || fresh.iter().any(|fresh| is_below(fresh))
                || mount_point.starts_with(dir)
            {
                continue;
            }
            let target = tree.at(&mount_point);
            // What is mounted below something that is not there is not seen on the host either.
            let (Ok(here), Ok(there)) = (fs::metadata(&mount_point), fs::metadata(&target)) else {
                continue;
            };
            let is_folder = here.is_dir() && there.is_dir();
            match file_system.as_str() {
                kind if OVERLAY_FILE_SYSTEMS.contains(&kind) && is_folder => {
                    tree.add_layer(dir, &mount_point)?;
                }
                kind if OVERLAY_FILE_SYSTEMS.contains(&kind)
                    || READ_ONLY_FILE_SYSTEMS.contains(&kind) =>
                {
                    bind_mount_read_only(&mount_point, &target)?;
                }
                kind => tree.differences.push(format!(
                    "{} is empty in it, because a {kind} cannot be cloned",
                    mount_point.display()
                )),
            }
        }
        Ok(tree)
    }

    /// Returns where a path of the clone is.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Mounts a layer over what is at `place` on the host.
    fn add_layer(&mut self, dir: &Path, place: &Path) -> Result<(), CloneError> {
        let target = self.at(place);
        match self.mount_layer(dir, place, &target) {
            Err(_) if place != Path::new("/") => {
                self.differences.push(format!(
                    "{} is read-only in it, because overlayfs cannot cover it",
                    place.display()
                ));
                bind_mount_read_only(place, &target)
            }
            mounted => mounted,
        }
    }

    /// Mounts a layer over what is at `place` on the host somewhere else, for the init of the clone to show. So a socket there is none
    /// in the clone: what is bound to it is bound to the file below.
    pub(super) fn layer_for_bind(
        &mut self,
        dir: &Path,
        place: &Path,
    ) -> Result<PathBuf, CloneError> {
        let target = dir.join("shown").join(self.layers.len().to_string());
        fs::create_dir_all(&target).map_err(refused("create a directory for the clone"))?;
        self.mount_layer(dir, place, &target)?;
        Ok(target)
    }

    fn mount_layer(&mut self, dir: &Path, place: &Path, target: &Path) -> Result<(), CloneError> {
        let own = dir.join("layers").join(self.layers.len().to_string());
        let (upper, work) = (own.join("upper"), own.join("work"));
        for dir in [&upper, &work] {
            fs::create_dir_all(dir).map_err(refused("create an overlay"))?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            escape(place),
            escape(&upper),
            escape(&work)
        );
        mount(
            Some("overlay"),
            target,
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .map_err(refused(format!(
            "mount an overlay over {} (overlayfs allows at most two nested overlays)",
            place.display()
        )))?;
        self.layers.push((place.to_owned(), upper));
        Ok(())
    }

    /// Puts empty directories over what cannot be cloned.
    fn mount_empty_dirs(&mut self, dir: &Path) -> Result<Vec<&'static str>, CloneError> {
        let mut fresh = vec![];
        for (place, difference) in EMPTIED_DIRS {
            let target = self.at(Path::new(place));
            if !target.is_dir() {
                continue;
            }
            let own = dir.join("fresh").join(fresh.len().to_string());
            fs::create_dir_all(&own).map_err(refused("create an empty directory"))?;
            bind_mount(&own, &target)?;
            fresh.push(place);
            self.differences.push(difference.to_owned());
        }
        Ok(fresh)
    }
}

/// Shows a directory or a file at another place.
pub(super) fn bind_mount(from: &Path, to: &Path) -> Result<(), CloneError> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(refused(format!("show {} in the clone", from.display())))
}

/// The same, but nobody can write to it there.
fn bind_mount_read_only(from: &Path, to: &Path) -> Result<(), CloneError> {
    bind_mount(from, to)?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, to, None::<&str>, flags, None::<&str>).map_err(refused(format!(
        "make {} read-only in the clone",
        from.display()
    )))
}

/// Mounts a file system in memory that only root may enter.
pub(super) fn mount_tmpfs(place: &Path) -> Result<(), CloneError> {
    let flags = MsFlags::empty();
    mount(
        Some("stead"),
        place,
        Some("tmpfs"),
        flags,
        Some("mode=0700"),
    )
    .map_err(refused("mount a tmpfs for the clone"))
}

/// Takes away what is mounted at a place, with all that is mounted below it.
pub(super) fn unmount(place: &Path) -> Result<(), CloneError> {
    umount2(place, MntFlags::MNT_DETACH).map_err(refused("unmount the clone"))
}

/// Overlayfs splits its options at commas and lower directories at colons; a backslash keeps them.
fn escape(path: &Path) -> String {
    let mut text = String::new();
    for character in path.to_string_lossy().chars() {
        if matches!(character, '\\' | ',' | ':') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// Reads `/proc/self/mountinfo`: `proc_pid_mountinfo(5)`. What is mounted over something else comes after it, and alone counts.
fn parse_mounts(mounts: &str) -> Vec<MountEntry> {
    let mut all: Vec<MountEntry> = vec![];
    for line in mounts.lines() {
        let mut halves = line.splitn(2, " - ");
        let mount_point = halves.next().and_then(|half| half.split(' ').nth(4));
        let file_system = halves.next().and_then(|half| half.split(' ').next());
        let (Some(mount_point), Some(file_system)) = (mount_point, file_system) else {
            continue;
        };
        let mount_point = unescape(mount_point);
        all.retain(|other| {
            !other.mount_point.starts_with(&mount_point) || mount_point == Path::new("/")
        });
        all.push(MountEntry {
            mount_point,
            file_system: file_system.to_owned(),
        });
    }
    all
}

/// Decodes a path of mountinfo, in which blanks, tabs, newlines and backslashes stand as a backslash and three octal digits.
fn unescape(word: &str) -> PathBuf {
    let mut bytes = vec![];
    let mut rest = word.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if first == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() {
            &after[3..]
        } else {
            after
        };
    }
    OsString::from_vec(bytes).into()
}

/// Returns what is mounted here now.
pub(super) fn read_mounts() -> Result<String, CloneError> {
    fs::read_to_string("/proc/self/mountinfo").map_err(refused::<io::Error>("read the mounts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_unescaped_and_last_mount_at_a_path_wins() {
        let text = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:5 / /home rw - ext4 /dev/vdb rw
31 30 0:6 / /home/my\\040disk rw master:2 - vfat /dev/sda1 rw
32 22 0:7 / /home rw - xfs /dev/vdc rw
33 22 0:8 / /snap/core22/1 ro - squashfs /dev/loop0 ro
";
        let mounted: Vec<_> = parse_mounts(text)
            .into_iter()
            .map(|mounted| format!("{} {}", mounted.mount_point.display(), mounted.file_system))
            .collect();
        assert_eq!(mounted, ["/ ext4", "/home xfs", "/snap/core22/1 squashfs"]);
        let one = &parse_mounts(&text.lines().take(3).collect::<Vec<_>>().join("\n"))[2];
        assert_eq!(one.mount_point, Path::new("/home/my disk"));
    }

    #[test]
    fn unescape_decodes_each_code_once() {
        for (word, expected) in [
            ("/a", "/a"),
            ("/a\\040b\\011c\\012d", "/a b\tc\nd"),
            ("/a\\134040", "/a\\040"),
            ("/a\\303\\244", "/aä"),
            ("/a\\04", "/a\\04"),
            ("/a\\", "/a\\"),
        ] {
            assert_eq!(unescape(word), Path::new(expected), "{word}");
        }
    }

    #[test]
    fn escape_quotes_overlayfs_separators() {
        assert_eq!(escape(Path::new("/a,b:c\\d")), "/a\\,b\\:c\\\\d");
    }
}
