//! The directory where stead keeps its runs: owned by root, mode 0700, never reached through a link.

use std::{
    collections::BTreeSet,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, posix_fallocate},
    unistd::geteuid,
};

use crate::history::atomic_file::{self, AtomicWriteError, Durability};

/// How much space is kept for rollback, in bytes: its records are short.
const RESERVE_BYTES: i64 = 64 << 10;

/// The directory of all runs, `/var/lib/stead` unless told otherwise.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Somebody else could read or change what undo relies on.
    #[error("the state directory `{path}` {fault}")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The system refused.
    #[error("cannot {attempted} `{path}`")]
    Io {
        /// What was attempted.
        attempted: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

impl StateDirError {
    fn io(attempted: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            attempted,
            path,
            source,
        }
    }
}

impl From<AtomicWriteError> for StateDirError {
    fn from(error: AtomicWriteError) -> Self {
        let AtomicWriteError {
            attempted,
            path,
            source,
        } = error;
        Self::Io {
            attempted,
            path,
            source,
        }
    }
}

impl StateDir {
    /// Names the directory without touching it; reading it when it does not exist finds no runs.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Makes the directory if it is missing, and checks that it is ours alone.
    pub fn create(path: &Path) -> Result<Self, StateDirError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(StateDirError::io("create the state directory", path))?;
        check_private_dir(path)?;
        let runs = path.join("runs");
        if create_dir(&runs)? {
            // What is on disk in a directory that is not counts for nothing after a power cut.
            sync_dir(path)?;
            for dir in path.ancestors().skip(1) {
                // A parent may be empty, where the path is relative.
                drop(sync_dir(dir));
            }
        }
        check_private_dir(&runs)?;
        Ok(Self::new(path))
    }

    /// Returns where contents are kept that are too large for a journal.
    pub fn blobs_dir(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// Returns the number of the newest run; `None` if there was no run yet.
    pub fn latest_run(&self) -> Result<Option<u64>, StateDirError> {
        Ok(self.run_numbers()?.last().copied())
    }

    /// Returns the numbers of all runs, oldest first.
    pub fn run_numbers(&self) -> Result<Vec<u64>, StateDirError> {
        let dir = self.path.join("runs");
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(StateDirError::io("list", &dir)(error)),
        };
        let mut runs = vec![];
        for entry in entries {
            let entry = entry.map_err(StateDirError::io("list", &dir))?;
            runs.extend(
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<u64>().ok()),
            );
        }
        runs.sort_unstable();
        Ok(runs)
    }

    /// Returns the directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps some space of the file system, so that rollback can be recorded where there is none left.
    pub(crate) fn reserve_space(&self) -> Result<(), StateDirError> {
        let path = self.reserve_path();
        let file = open_private(&path, OpenOptions::new().write(true).create(true))
            .map_err(StateDirError::io("create", &path))?;
        posix_fallocate(&file, 0, RESERVE_BYTES)
            .map_err(|errno| StateDirError::io("reserve space in", &path)(errno.into()))
    }

    /// Gives that space back.
    pub(crate) fn release_reserve(&self) {
        // Where it cannot be removed, there is less space, which is no more than it was for.
        drop(std::fs::remove_file(self.reserve_path()));
    }

    fn reserve_path(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// Returns the directory of a run.
    pub fn run_dir(&self, run: u64) -> PathBuf {
        self.path.join("runs").join(format!("{run:06}"))
    }

    /// Removes the directory of a run. Its journal goes first, so that what a power cut leaves of it is a run that never began.
    pub(crate) fn remove_run(&self, run: u64) -> Result<(), StateDirError> {
        let dir = self.run_dir(run);
        let journal = dir.join("journal");
        match std::fs::remove_file(&journal) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StateDirError::io("remove", &journal)(error));
            }
            _ => sync_dir(&dir)?,
        }
        std::fs::remove_dir_all(&dir).map_err(StateDirError::io("remove", &dir))
    }

    /// Removes contents that are kept under other digests than these.
    pub(crate) fn retain_blobs(&self, digests: &BTreeSet<String>) -> Result<(), StateDirError> {
        let dir = self.blobs_dir();
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StateDirError::io("list", &dir)(error)),
        };
        for entry in entries {
            let path = entry.map_err(StateDirError::io("list", &dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_none_or(|name| !digests.contains(name)) {
                std::fs::remove_file(&path).map_err(StateDirError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Makes the directory of the next run.
    pub(crate) fn create_run(&self) -> Result<u64, StateDirError> {
        let run = self.latest_run()?.map_or(1, |last| last + 1);
        create_dir(&self.run_dir(run))?;
        sync_dir(&self.path.join("runs"))?;
        Ok(run)
    }
}

/// Makes a directory unless it is there, and says whether it was not.
fn create_dir(path: &Path) -> Result<bool, StateDirError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(StateDirError::io("create the directory", path)(error)),
        Ok(()) => Ok(true),
    }
}

fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let options = options.mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    options.open(path)
}

fn check_private_dir(path: &Path) -> Result<(), StateDirError> {
    let meta = std::fs::symlink_metadata(path).map_err(StateDirError::io("inspect", path))?;
    let fault = if !meta.is_dir() {
        "is not a directory".to_owned()
    } else if meta.uid() != geteuid().as_raw() {
        format!("belongs to user {}, not to {}", meta.uid(), geteuid())
    } else if meta.mode() & 0o077 != 0 {
        format!(
            "is accessible to others (mode {:04o}, should be 0700)",
            meta.mode() & 0o7777
        )
    } else {
        return Ok(());
    };
    Err(StateDirError::Unsafe {
        path: path.to_owned(),
        fault,
    })
}

/// Writes a file that is there whole or not at all, by way of one that is called `NAME.new`.
pub(crate) fn write_atomic(
    path: &Path,
    contents: &[u8],
    durability: Durability,
) -> Result<(), StateDirError> {
    let temporary = path.with_extension("new");
    Ok(atomic_file::write_atomic(
        path, &temporary, contents, durability,
    )?)
}

/// Reads a file of at most `limit` bytes that nobody else can have written or read; `None` if it is not that.
pub(crate) fn read_private(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits()).open(path);
    let file = file.ok()?;
    let meta = file.metadata().ok()?;
    let others = meta.mode() & 0o077;
    let is_own = meta.is_file() && meta.uid() == geteuid().as_raw() && others == 0;
    if !is_own || meta.len() > limit {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).ok()?);
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), StateDirError> {
    atomic_file::sync_dir(path).map_err(StateDirError::io("sync", path))
}

pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, StateDirError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateDirError::io("read", path)(error)),
    }
}

/// Opens a file for appending whole records.
pub(crate) fn open_append(path: &Path) -> Result<File, StateDirError> {
    let file = open_private(path, OpenOptions::new().append(true).create(true))
        .map_err(StateDirError::io("open", path))?;
    sync_dir(path.parent().expect("a file has a parent directory"))?;
    Ok(file)
}

/// Appends bytes.
pub(crate) fn append(file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), StateDirError> {
    file.write_all(bytes)
        .map_err(StateDirError::io("write", path))
}

/// Waits until what was written to a file is on disk.
pub(crate) fn sync(file: &File, path: &Path) -> Result<(), StateDirError> {
    file.sync_data().map_err(StateDirError::io("sync", path))
}

/// Cuts a file back to `length` bytes.
pub(crate) fn truncate(file: &File, path: &Path, length: u64) -> Result<(), StateDirError> {
    file.set_len(length)
        .map_err(StateDirError::io("truncate", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn state_dir_refuses_directory_open_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        StateDir::create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = StateDir::create(&path).unwrap_err().to_string();
        assert!(error.contains("mode 0755"), "{error}");
    }

    #[test]
    fn state_dir_numbers_runs_consecutively() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        assert_eq!(state.create_run().unwrap(), 1);
        assert_eq!(state.create_run().unwrap(), 2);
        assert_eq!(state.run_numbers().unwrap(), [1, 2]);
    }
}
