//! The host: the only room that touches files, programs and sockets. A `Reader` has no way to write.

use std::path::{Path, PathBuf};

use stead_engine::provider::Host;

/// A live Linux host.
#[derive(Debug)]
pub struct Live;

impl Host for Live {
    type Reader = Reader;
    type Writer = Writer;

    fn reader(writer: &Writer) -> Reader {
        Reader::new(&writer.root)
    }
}

/// One moment of the host, read only.
#[derive(Debug)]
pub struct Reader {
    root: PathBuf,
}

/// The power to change the host.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    blobs: PathBuf,
}

impl Reader {
    /// Reads the host whose root folder is `root`. Programs are only run where that is `/`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Returns the root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Writer {
    /// Changes the host whose root folder is `root`; contents that undo needs go to the folder `blobs`.
    pub fn new(root: &Path, blobs: &Path) -> Self {
        Self {
            root: root.to_owned(),
            blobs: blobs.to_owned(),
        }
    }

    /// Returns the folder of saved contents.
    pub fn blobs(&self) -> &Path {
        &self.blobs
    }
}
