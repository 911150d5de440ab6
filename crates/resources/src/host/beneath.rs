//! Opens a path without ever following a symlink: the kernel opens the directory component by component,
//! then everything is done relative to that directory.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat},
    sys::stat::{FileStat, Mode, SFlag, fstatat},
};

use super::HostError;

/// A name in an open directory.
#[derive(Debug)]
pub(crate) struct PathHandle {
    /// The directory.
    pub(crate) dir: Arc<OwnedFd>,
    /// The name in it; `.` for the root directory itself.
    pub(crate) name: OsString,
    /// The whole path, for messages.
    pub(crate) path: PathBuf,
}

/// The directory that was opened last, so that its files need not open it again.
#[derive(Debug, Default)]
pub(crate) struct DirCache(Option<(PathBuf, Arc<OwnedFd>)>);

impl DirCache {
    fn open(&mut self, root: &Path, path: &Path) -> Result<Arc<OwnedFd>, Errno> {
        if let Some((_, directory)) = self.0.as_ref().filter(|(last, _)| last == path) {
            return Ok(directory.clone());
        }
        let directory = Arc::new(open_dir(root, path)?);
        self.0 = Some((path.to_owned(), directory.clone()));
        Ok(directory)
    }
}

impl PathHandle {
    /// Opens the directory of `path` below `root`; `None` if that directory does not exist.
    pub(crate) fn find(root: &Path, path: &Path) -> Result<Option<Self>, HostError> {
        Self::find_cached(&mut DirCache::default(), root, path)
    }

    /// As [`Self::find`], after another path of the same root.
    pub(crate) fn find_cached(
        last: &mut DirCache,
        root: &Path,
        path: &Path,
    ) -> Result<Option<Self>, HostError> {
        let name = path.file_name().unwrap_or(OsStr::new(".")).to_owned();
        let directory = path.parent().unwrap_or(Path::new("/"));
        match last.open(root, directory) {
            Ok(directory) => Ok(Some(Self {
                dir: directory,
                name,
                path: path.to_owned(),
            })),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(Errno::ELOOP) => {
                let link = first_symlink(root, directory);
                Err(HostError::ThroughSymlink {
                    path: path.to_owned(),
                    link,
                })
            }
            Err(errno) => Err(HostError::io("open the directory of", path)(errno)),
        }
    }

    /// Opens the directory of `path`, which must exist.
    pub(crate) fn find_existing(root: &Path, path: &Path) -> Result<Self, HostError> {
        Self::find(root, path)?.ok_or_else(|| {
            HostError::io("open the directory of", path)(io::Error::from(Errno::ENOENT))
        })
    }

    /// Names something beside this place.
    pub(crate) fn sibling(&self, name: &OsStr) -> Self {
        Self {
            dir: self.dir.clone(),
            name: name.to_owned(),
            path: self.path.with_file_name(name),
        }
    }

    /// Looks at what is there, without following it.
    pub(crate) fn stat(&self) -> Result<Option<FileStat>, HostError> {
        match fstatat(
            &self.dir,
            self.name.as_os_str(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(HostError::io("inspect", &self.path)(errno)),
        }
    }

    /// Opens what is there without following it; `None` if there is nothing.
    pub(crate) fn open(&self, flags: OFlag) -> Result<Option<std::fs::File>, HostError> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match nix::fcntl::openat(
            &self.dir,
            self.name.as_os_str(),
            flags,
            Mode::from_bits_truncate(0o600),
        ) {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(HostError::io("open", &self.path)(errno)),
        }
    }

    /// Returns the target of a symlink.
    pub(crate) fn read_link(&self) -> Result<PathBuf, HostError> {
        readlinkat(&self.dir, self.name.as_os_str())
            .map(PathBuf::from)
            .map_err(HostError::io("read the link", &self.path))
    }
}

/// Opens a directory below `root`, following no link.
pub(crate) fn open_dir(root: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let root = open(root, flags, Mode::empty())?;
    let path: PathBuf = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect();
    if path.as_os_str().is_empty() {
        return Ok(root);
    }
    let how = || {
        OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS)
    };
    match openat2(&root, &path, how()) {
        Err(Errno::ENOSYS) => open_dir_stepwise(root, &path, flags),
        other => other,
    }
}

/// As `openat2` with `RESOLVE_NO_SYMLINKS`, for kernels before 5.6: openat2(2), HISTORY.
fn open_dir_stepwise(root: OwnedFd, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let mut directory = root;
    for part in path.components() {
        let stat = fstatat(&directory, part.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFLNK {
            return Err(Errno::ELOOP);
        }
        directory = nix::fcntl::openat(
            &directory,
            part.as_os_str(),
            flags | OFlag::O_NOFOLLOW,
            Mode::empty(),
        )?;
    }
    Ok(directory)
}

fn first_symlink(root: &Path, directory: &Path) -> PathBuf {
    let mut ancestors: Vec<_> = directory.ancestors().collect();
    ancestors.reverse();
    ancestors
        .into_iter()
        .find(|ancestor| matches!(open_dir(root, ancestor), Err(Errno::ELOOP)))
        .unwrap_or(directory)
        .to_owned()
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]
mod tests {
    use super::*;

    #[test]
    fn no_symlink_is_followed_with_or_without_openat2() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", root.path().join("link")).unwrap();
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
        let walked = |path: &str| {
            let directory = open(root.path(), flags, Mode::empty()).unwrap();
            open_dir_stepwise(directory, Path::new(path), flags).map(drop)
        };
        for (path, expected) in [
            ("a/b", Ok(())),
            ("link/b", Err(Errno::ELOOP)),
            ("c", Err(Errno::ENOENT)),
        ] {
            assert_eq!(
                open_dir(root.path(), Path::new(path)).map(drop),
                expected,
                "{path}"
            );
            assert_eq!(walked(path), expected, "{path}");
        }
    }

    #[test]
    fn path_handle_error_names_the_symlink() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("b", root.path().join("a/link")).unwrap();
        let error = PathHandle::find(root.path(), Path::new("/a/link/c/d")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`/a/link` in the path `/a/link/c/d` is a symlink; write the real path"
        );
    }
}
