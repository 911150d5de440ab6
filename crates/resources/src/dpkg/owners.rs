//! The owner of a file in /etc, by dpkg's own lists: no program is run.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use crate::{
    dpkg::database::Database,
    host::{HostError, Reader},
};

/// A list of the files of each package: dpkg-query(1), `--listfiles`.
const INFO: &str = "/var/lib/dpkg/info";
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
    current: BTreeSet<String>,
}

/// Whose a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// No package's.
    Nobody,
    /// A package's, which made a file with this MD5.
    Package(String),
    /// A package's, and nothing is known about what was in it: a directory, a link.
    Unknown,
}

impl DpkgFiles {
    /// Reads all lists, once in a moment.
    pub(crate) fn read(host: &Reader) -> Result<Arc<Self>, HostError> {
        let database = Database::read(host)?;
        host.once(|| {
            let mut files = Self::default();
            for list in host.list_folder(Path::new(INFO))? {
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
            for (path, setting) in &database.settings {
                files.owned.insert(path.clone(), Some(setting.md5.clone()));
                if setting.is_current {
                    files.current.insert(path.clone());
                }
            }
            files.divert(host)?;
            Ok(files)
        })
    }

    /// Says whose a path is.
    pub(crate) fn owner(&self, path: &str) -> Owner {
        match self.owned.get(path) {
            None => Owner::Nobody,
            Some(None) => Owner::Unknown,
            Some(Some(md5)) => Owner::Package(md5.clone()),
        }
    }

    /// Returns the settings that packages have now: where one is not on the host, somebody removed it.
    pub(crate) fn current(&self) -> impl Iterator<Item = &str> {
        self.current.iter().map(String::as_str)
    }

    fn add_package(&mut self, host: &Reader, package: &str) -> Result<(), HostError> {
        let read = |extension: &str| {
            let path = Path::new(INFO).join(format!("{package}.{extension}"));
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
    fn divert(&mut self, host: &Reader) -> Result<(), HostError> {
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
                self.current.remove(*path);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::Root;

    #[test]
    fn every_list_of_dpkg_says_whose_a_path_is() {
        let root = Root::new(&[
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
        let package = |md5: &str| Owner::Package(md5.to_owned());
        for (path, expected) in [
            ("/etc/a.conf", package("11")),
            ("/etc/old", package("22")),
            ("/etc/gone", package("33")),
            ("/etc/generated", package("44")),
            ("/etc/default/grub", package("66")),
            ("/etc/a.d", Owner::Unknown),
            ("/etc/moved.old", Owner::Unknown),
            ("/etc/moved", Owner::Nobody),
            ("/etc/mine", Owner::Nobody),
            ("/usr/bin/a", Owner::Nobody),
        ] {
            assert_eq!(files.owner(path), expected, "{path}");
        }
        assert_eq!(files.current().collect::<Vec<_>>(), ["/etc/a.conf"]);
    }
}
