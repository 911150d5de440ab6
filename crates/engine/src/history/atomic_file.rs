//! Files that are there whole or not at all, for their owner alone: those of the state directory, and output that others must not read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What of a file a power cut must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Anything at all: nobody waits for the disk.
    None,
    /// Where the name stands, the new contents stand as well.
    Contents,
    /// The name with the new contents.
    ContentsAndName,
}

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempted} `{path}`")]
pub struct AtomicWriteError {
    /// What was attempted, as an infinitive.
    pub attempted: &'static str,
    /// The file, its temporary file, or its directory.
    pub path: PathBuf,
    /// What the system answered.
    #[source]
    pub source: io::Error,
}

impl AtomicWriteError {
    fn io(attempted: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            attempted,
            path,
            source,
        }
    }
}

/// Writes a file with mode 0600 by way of `temporary`, which is in the same directory. What stands there already is replaced.
///
/// # Errors
/// The first call that the system refused. The temporary file is gone then, and what stood there still stands, unless it was the directory
/// that could not be synced.
pub fn write_atomic(
    path: &Path,
    temporary: &Path,
    contents: &[u8],
    durability: Durability,
) -> Result<(), AtomicWriteError> {
    let mut file = create_private(temporary).map_err(AtomicWriteError::io("create", temporary))?;
    let replaced = fill(&mut file, temporary, contents, durability).and_then(|()| {
        fs::rename(temporary, path).map_err(AtomicWriteError::io("rename into place", path))
    });
    if replaced.is_err() {
        // There may be no room for it.
        drop(fs::remove_file(temporary));
    }
    replaced?;
    if durability != Durability::ContentsAndName {
        return Ok(());
    }
    let directory = path.parent().expect("a file has a directory");
    sync_dir(directory).map_err(AtomicWriteError::io("sync", directory))
}

/// Waits until the names in a directory are on disk.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    match options.open(path) {
        // Whoever left one may have it open, or have made it a link.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        opened => opened,
    }
}

fn fill(
    file: &mut File,
    path: &Path,
    contents: &[u8],
    durability: Durability,
) -> Result<(), AtomicWriteError> {
    file.write_all(contents)
        .map_err(AtomicWriteError::io("write", path))?;
    if durability == Durability::None {
        return Ok(());
    }
    file.sync_all().map_err(AtomicWriteError::io("sync", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const DURABILITIES: [Durability; 3] = [
        Durability::None,
        Durability::Contents,
        Durability::ContentsAndName,
    ];

    #[test]
    fn write_atomic_replaces_file_and_leftover_with_mode_0600() {
        let dir = tempfile::tempdir().unwrap();
        let (path, left) = (dir.path().join("out"), dir.path().join("out.new"));
        for durability in DURABILITIES {
            for file in [&path, &left] {
                fs::write(file, "older and longer").unwrap();
                fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
            }
            write_atomic(&path, &left, b"new", durability).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(!left.exists());
        }
    }

    #[test]
    fn write_atomic_does_not_follow_a_leftover_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let [path, left, target] = ["out", "out.new", "target"].map(|name| dir.path().join(name));
        fs::write(&target, "mine").unwrap();
        symlink(&target, &left).unwrap();
        write_atomic(&path, &left, b"new", Durability::Contents).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read(&target).unwrap(), b"mine");
    }

    #[test]
    fn write_atomic_leaves_no_temporary_file_when_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, left) = (dir.path().join("out"), dir.path().join("out.new"));
        fs::create_dir(&path).unwrap();
        let error = write_atomic(&path, &left, b"new", Durability::Contents).unwrap_err();
        assert_eq!(error.attempted, "rename into place");
        assert!(path.is_dir());
        assert!(!left.exists());
    }
}
