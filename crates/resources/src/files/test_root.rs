//! A host in a temporary directory, for tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::host::{Reader, Writer};

/// The directory; it goes when this goes.
pub(crate) struct TestRoot(tempfile::TempDir);

impl TestRoot {
    /// Makes a host with these files, by absolute path.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = root.at(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    /// Returns where a path of the host really is.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    /// Makes a link, with its directory.
    pub(crate) fn symlink(&self, path: &str, target: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    /// Returns the power to change it.
    pub(crate) fn writer(&self) -> Writer {
        Writer::new(self.0.path(), &self.at("/blobs"))
    }

    /// Returns a new moment of it.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.0.path())
    }

    /// Returns what is in a file; `None` if nothing is there.
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.at(path.as_ref().to_str().unwrap())).ok()
    }
}
