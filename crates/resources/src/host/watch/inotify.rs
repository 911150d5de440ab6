//! What the kernel tells of files: inotify(7).
//!
//! A path is followed from the root on: each directory above it is watched for its next part, because any of them may come, go, or be a
//! link that is put elsewhere, as `/var/snap/NAME/current` is by a refresh.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
};

use super::super::HostError;
use crate::host::watch::{
    process::Process,
    trigger::{path_under_root, service_error},
};

/// What happens to a path that counts.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_ONLYDIR);
/// What happens to a directory after which others have to be watched.
const ENTRY_CHANGES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVE);
/// What happens to a lock.
const LOCK_EVENTS: AddWatchFlags = AddWatchFlags::IN_OPEN.union(AddWatchFlags::IN_CLOSE);

/// `IN_MASK_ADD` of `linux/inotify.h`, which nix does not name: other flags of a watch stay.
const MASK_ADD: u32 = 0x2000_0000;

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct InotifyEvents {
    /// Paths that may have moved.
    pub(super) paths: BTreeSet<PathBuf>,
    /// Whether somebody has given the lock back.
    pub(super) lock_released: bool,
    /// Who had it, if that could be seen.
    pub(super) locked_by: Option<Process>,
}

/// Whoever hears of files.
#[derive(Debug)]
pub(super) struct FileEvents {
    root: PathBuf,
    paths: BTreeSet<PathBuf>,
    lock: Option<PathBuf>,
    inotify: Inotify,
    /// For each directory that is watched: the names in it that count, and the paths that they are part of.
    dirs: BTreeMap<i32, BTreeMap<String, BTreeSet<PathBuf>>>,
    /// Directories of which everything counts.
    whole_dirs: BTreeMap<i32, PathBuf>,
    locked_by: Option<Process>,
}

impl AsFd for FileEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl FileEvents {
    pub(super) fn watch(
        root: &Path,
        paths: BTreeSet<PathBuf>,
        lock: Option<PathBuf>,
    ) -> Result<Self, HostError> {
        let mut events = Self {
            root: root.to_owned(),
            paths,
            lock,
            inotify: init()?,
            dirs: BTreeMap::new(),
            whole_dirs: BTreeMap::new(),
            locked_by: None,
        };
        events.arm()?;
        Ok(events)
    }

    /// Watches all that is there now of the paths.
    fn arm(&mut self) -> Result<(), HostError> {
        self.inotify = init()?;
        self.dirs.clear();
        self.whole_dirs.clear();
        let lock = self.lock.iter().cloned();
        for path in self.paths.iter().cloned().chain(lock).collect::<Vec<_>>() {
            let mut above: Vec<_> = path.ancestors().skip(1).collect();
            above.reverse();
            let names = path.components().skip(1);
            for (dir, name) in above.into_iter().zip(names) {
                let mut flags = CHANGES;
                if self.lock.as_ref() == Some(&path) && path.parent() == Some(dir) {
                    flags |= LOCK_EVENTS;
                }
                let Some(watch) = self.add(dir, flags)? else {
                    break;
                };
                let names = self.dirs.entry(watch.as_raw()).or_default();
                let name = name.as_os_str().to_string_lossy().into_owned();
                names.entry(name).or_default().insert(path.clone());
            }
            if self.lock.as_ref() != Some(&path)
                && let Some(watch) = self.add(&path, CHANGES)?
            {
                self.whole_dirs.insert(watch.as_raw(), path);
            }
        }
        Ok(())
    }

    /// Watches a directory; `None` if there is none.
    fn add(&self, dir: &Path, flags: AddWatchFlags) -> Result<Option<WatchDescriptor>, HostError> {
        // A directory may be watched for several paths, with flags of its own for each.
        let flags = flags | AddWatchFlags::from_bits_retain(MASK_ADD);
        match self
            .inotify
            .add_watch(&path_under_root(&self.root, dir), flags)
        {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP) => Ok(None),
            Err(errno) => Err(service_error("the kernel's events of files")(errno.into())),
        }
    }

    /// Returns what was heard since.
    pub(super) fn read(&mut self) -> Result<InotifyEvents, HostError> {
        let mut heard = InotifyEvents::default();
        let mut is_moved = false;
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(errno) => {
                    return Err(service_error("the kernel's events of files")(errno.into()));
                }
            };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    heard.paths.extend(self.paths.iter().cloned());
                    heard.lock_released = self.lock.is_some();
                    continue;
                }
                let watch = event.wd.as_raw();
                let name = event.name.unwrap_or_default();
                let name = name.to_string_lossy();
                if event.mask.intersects(CHANGES)
                    && let Some(path) = self.whole_dirs.get(&watch)
                {
                    heard.paths.insert(path.clone());
                }
                let Some(paths) = self.dirs.get(&watch).and_then(|names| names.get(&*name)) else {
                    continue;
                };
                let (lock, others): (Vec<_>, Vec<_>) = paths
                    .iter()
                    .partition(|path| self.lock.as_ref() == Some(path));
                if let Some(lock) = lock.first().filter(|lock| lock.ends_with(&*name)) {
                    if event.mask.contains(AddWatchFlags::IN_OPEN) {
                        let lock = path_under_root(&self.root, lock);
                        self.locked_by = Process::find_lock_holder(&lock).or(self.locked_by.take());
                    }
                    if event.mask.intersects(AddWatchFlags::IN_CLOSE) {
                        heard.lock_released = true;
                        heard.locked_by = self.locked_by.take();
                    }
                }
                if event.mask.intersects(CHANGES) {
                    let is_above = |path: &&PathBuf| !path.ends_with(&*name);
                    let is_folder = event.mask.contains(AddWatchFlags::IN_ISDIR);
                    is_moved |= event.mask.intersects(ENTRY_CHANGES)
                        && (is_folder || paths.iter().any(|path| is_above(&path)));
                    heard.paths.extend(others.into_iter().cloned());
                }
            }
        }
        if is_moved {
            self.arm()?;
            // What happened between the two was told to nobody.
            heard.paths.extend(self.paths.iter().cloned());
            heard.lock_released |= self.lock.is_some();
        }
        Ok(heard)
    }
}

fn init() -> Result<Inotify, HostError> {
    Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
        .map_err(|errno| service_error("the kernel's events of files")(errno.into()))
}
