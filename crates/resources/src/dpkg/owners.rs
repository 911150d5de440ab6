//! The owner of a file in /etc, by dpkg's own lists: no program is run.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use crate::{
    dpkg::database::DpkgDatabase,
    host::{HostError, Reader},
};

/// A list of the files of each package: dpkg-query(1), `--listfiles`.
const INFO_DIR: &str = "/var/lib/dpkg/info";
/// Files that packages bring and that lie elsewhere: dpkg-divert(1).
const DIVERSIONS: &str = "/var/lib/dpkg/diversions";
/// What ucf(1) has put into /etc for packages, by MD5.
const UCF: &str = "/var/lib/ucf/hashfile";
/// The largest list that is read, in bytes.
const LIMIT: u64 = 256 << 20;

/// What packages have in /etc.
#[derive(Debug, Default)]
pub(crate) struct DpkgFiles {
    /// Every path, with the MD5 of the file where one is known.
    owned: BTreeMap<String, Option<String>>,
    /// Files that a package has now and that were there when it was unpacked.
    current_conffiles: BTreeSet<String>,
}

/// Whose a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathOwner {
    /// No package's.
    NoPackage,
    /// A package's, which made a file with this MD5.
    Package(String),
    /// A package's, and nothing is known about what was in it: a directory, a link.
    Unknown,
}

impl DpkgFiles {
    /// Reads all lists, once in a moment.
    pub(crate) fn read(host: &Reader) -> Result<Arc<Self>, HostError> {
        let database = DpkgDatabase::read(host)?;
        host.memoize(|| {
            let mut files = Self::default();
            for list in host.list_dir(Path::new(INFO_DIR))? {
                let list = list.to_string_lossy().into_owned();
                if let Some(package) = list.strip_suffix(".list") {
                    files.add_package(host, package)?;
                }
            }
            let ucf = host.read_text(Path::new(UCF), LIMIT)?.unwrap_or_default();
            for (md5, path) in ucf.lines().filter_map(|line| line.split_once("  ")) {
                files
                    .owned
                    .insert(path.trim().to_owned(), Some(md5.to_owned()));
            }
            for (path, setting) in &database.conffiles {
                files.owned.insert(path.clone(), Some(setting.md5.clone()));
                if setting.is_current {
                    files.current_conffiles.insert(path.clone());
                }
            }
            files.apply_diversions(host)?;
            Ok(files)
        })
    }

    /// Says whose a path is.
    pub(crate) fn owner(&self, path: &str) -> PathOwner {
        match self.owned.get(path) {
            None => PathOwner::NoPackage,
            Some(None) => PathOwner::Unknown,
            Some(Some(md5)) => PathOwner::Package(md5.clone()),
        }
    }

    /// Returns the settings that packages have now: where one is not on the host, somebody removed it.
    pub(crate) fn current_conffiles(&self) -> impl Iterator<Item = &str> {
        self.current_conffiles.iter().map(String::as_str)
    }

    fn add_package(&mut self, host: &Reader, package: &str) -> Result<(), HostError> {
        let read = |extension: &str| {
            let path = Path::new(INFO_DIR).join(format!("{package}.{extension}"));
            Ok::<_, HostError>(host.read_text(&path, LIMIT)?.unwrap_or_default())
        };
        let list = read("list")?;
        let paths: Vec<&str> = list
            .lines()
            .filter(|path| path.starts_with("/etc/"))
            .collect();
        if paths.is_empty() {
            return Ok(());
        }
        self.owned
            .extend(paths.into_iter().map(|path| (path.to_owned(), None)));
        for line in read("md5sums")?.lines() {
            if let Some((md5, path)) = line
                .split_once("  ")
                .filter(|(_, path)| path.starts_with("etc/"))
            {
                self.owned.insert(format!("/{path}"), Some(md5.to_owned()));
            }
        }
        Ok(())
    }

    /// Three lines each: the path, where it lies instead, and for whom.
    fn apply_diversions(&mut self, host: &Reader) -> Result<(), HostError> {
        let text = host
            .read_text(Path::new(DIVERSIONS), LIMIT)?
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        for diversion in lines.chunks(3) {
            let [path, instead, _] = diversion else {
                continue;
            };
            if let Some(owner) = self.owned.remove(*path) {
                self.owned.insert((*instead).to_owned(), owner);
                self.current_conffiles.remove(*path);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    #[test]
    fn path_owner_is_found_in_all_dpkg_lists() {
        let root = TestRoot::new(&[
            (
                "/var/lib/dpkg/status",
                "Package: a\nStatus: install ok installed\nVersion: 1\nConffiles:\n /etc/a.conf 11\n /etc/old 22 obsolete\nDescription: x\n\n\
                 Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nConffiles:\n /etc/gone 33\n",
            ),
            (
                "/var/lib/dpkg/info/a.list",
                "/.\n/etc\n/etc/a.conf\n/etc/a.d\n/etc/generated\n/etc/moved\n/usr/bin/a\n",
            ),
            (
                "/var/lib/dpkg/info/a.md5sums",
                "44  etc/generated\n55  usr/bin/a\n",
            ),
            (DIVERSIONS, "/etc/moved\n/etc/moved.old\n:\n"),
            (UCF, "66  /etc/default/grub\n"),
        ]);
        let files = DpkgFiles::read(&root.reader()).unwrap();
        let package = |md5: &str| PathOwner::Package(md5.to_owned());
        for (path, expected) in [
            ("/etc/a.conf", package("11")),
            ("/etc/old", package("22")),
            ("/etc/gone", package("33")),
            ("/etc/generated", package("44")),
            ("/etc/default/grub", package("66")),
            ("/etc/a.d", PathOwner::Unknown),
            ("/etc/moved.old", PathOwner::Unknown),
            ("/etc/moved", PathOwner::NoPackage),
            ("/etc/mine", PathOwner::NoPackage),
            ("/usr/bin/a", PathOwner::NoPackage),
        ] {
            assert_eq!(files.owner(path), expected, "{path}");
        }
        assert_eq!(
            files.current_conffiles().collect::<Vec<_>>(),
            ["/etc/a.conf"]
        );
    }
}
