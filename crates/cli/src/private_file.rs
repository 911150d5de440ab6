//! Output files that only their owner may read: saved plans, pages of the history.
#![expect(
    clippy::disallowed_methods,
    reason = "what was asked for is output, not the host"
)]

use std::{fs, io, path::Path};

use stead_engine::history::atomic_file::{Durability, write_atomic};

use crate::{error::CommandError, exit::Exit};

/// Writes a file whole or not at all, for its owner alone. What stands there already is replaced if it is a file.
pub(crate) fn save(path: &Path, contents: &[u8]) -> Result<(), CommandError> {
    write(path, contents).map_err(|error| {
        CommandError::new(
            Exit::Failed,
            format!("cannot save `{}`: {error}", path.display()),
            "give another file",
        )
    })
}

fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => {
            return Err(io::Error::other("it is a symbolic link"));
        }
        Ok(there) if !there.is_file() => return Err(io::Error::other("it is not a regular file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_file_name(format!(".{}.stead-new", name.to_string_lossy()));
    write_atomic(path, &temporary, contents, Durability::Contents).map_err(|error| error.source)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    };

    use super::*;

    #[test]
    fn write_replaces_file_with_mode_0600() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let left = dir.path().join(".out.stead-new");
        for file in [&path, &left] {
            fs::write(file, "older").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
        }
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!left.exists());
    }

    #[test]
    fn write_refuses_symlinks_directories_and_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "mine").unwrap();
        symlink(&target, &link).unwrap();
        assert!(write(&link, b"new").is_err());
        assert!(write(dir.path(), b"new").is_err());
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(write(&socket, b"new").is_err());
        assert_eq!(fs::read(&target).unwrap(), b"mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
