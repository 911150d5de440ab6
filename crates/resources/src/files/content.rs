//! The contents of a file: the text itself if it is short and UTF-8, else its digest.

use std::{
    io::{Read, Seek},
    path::Path,
};

use serde::{Deserialize, Serialize};
use stead_engine::model::{error_chain::error_chain, schema::Problem};

use crate::host::{
    FileAttributes, FileDigest, HostError, IfExists, MetaKind, OpenFile, Reader, StagedFile, Writer,
};

/// The longest text that import writes into the spec itself, in bytes.
pub(crate) const MAX_IMPORTED_TEXT: usize = 16 << 10;
/// The longest text that a plan holds itself, in bytes.
pub(crate) const MAX_INLINE: u64 = 64 << 10;
/// The largest source, in bytes: what is larger does not belong into a host's configuration.
pub(crate) const MAX_SOURCE: u64 = 1 << 30;

/// Contents in their canonical form: equal contents are equal values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Content {
    /// UTF-8 of at most [`MAX_INLINE`] bytes.
    Text(String),
    /// Anything else.
    Digest {
        /// SHA-256 in hexadecimal.
        sha256: String,
        /// Bytes.
        size: u64,
    },
}

impl Content {
    /// Reads the contents of a file without holding more than [`MAX_INLINE`] bytes; `None` if nothing is there.
    pub(crate) fn read(reader: &Reader, path: &Path, size: u64) -> Result<Option<Self>, HostError> {
        let Some(seen) = reader.batch().entry(path)? else {
            return Ok(None);
        };
        let mut opened = seen.open()?;
        let content = opened.as_mut().map(|file| Self::read_open(file, size));
        content.transpose()
    }

    /// Reads the contents of an open file of so many bytes, without holding more than [`MAX_INLINE`].
    pub(crate) fn read_open(opened: &mut OpenFile<'_>, size: u64) -> Result<Self, HostError> {
        if size <= MAX_INLINE {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            let head = opened.file.by_ref().take(MAX_INLINE + 1);
            let read = { head }.read_to_end(&mut bytes);
            read.map_err(opened.io_error("read"))?;
            if bytes.len() as u64 <= MAX_INLINE {
                opened.record_read(&bytes);
                if let Ok(text) = String::from_utf8(bytes) {
                    return Ok(Self::Text(text));
                }
            }
            let begun = opened.file.rewind();
            begun.map_err(opened.io_error("read"))?;
        }
        let FileDigest { sha256, size } = opened.digest()?;
        Ok(Self::Digest { sha256, size })
    }

    /// Reads the source of a spec: a file of the person who runs stead, wherever it is, so links to it are followed.
    pub(crate) fn read_source(source: &Path) -> Result<Self, Problem> {
        let shown = source.display();
        let reader = Reader::new(Path::new("/"));
        let resolved = reader.resolve(source).map_err(|error| {
            host_problem(&error).help("`source` is a path relative to the spec")
        })?;
        let meta = reader
            .stat(&resolved)
            .map_err(|error| host_problem(&error))?;
        let Some(meta) = meta else {
            return Err(Problem::new(format!("`{shown}` does not exist")));
        };
        if meta.kind != MetaKind::File {
            return Err(Problem::new(format!(
                "`{shown}` is {}, not a file",
                meta.kind.noun()
            )));
        }
        if meta.size > MAX_SOURCE {
            return Err(Problem::new(format!(
                "`{shown}` has {} bytes; a source has at most {MAX_SOURCE}",
                meta.size
            )));
        }
        Self::read(&reader, &resolved, meta.size)
            .map_err(|error| host_problem(&error))?
            .ok_or_else(|| Problem::new(format!("`{shown}` does not exist")))
    }

    /// Says so when a text of a spec is too long for one.
    pub(crate) fn check_length(&self) -> Result<(), Problem> {
        match self {
            Self::Text(text) if text.len() as u64 > MAX_INLINE => {
                let fact = format!("a text of {} bytes is too long for a spec", text.len());
                Err(Problem::new(fact).help(format!(
                    "more than {MAX_INLINE} bytes go into a file beside the spec: `source=\"…\"`"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Keeps the bytes of a file that has these contents, where they are not held here.
    pub(crate) fn back_up(&self, host: &Writer, path: &Path) -> Result<(), HostError> {
        match self.file_digest() {
            Some(digested) => host.store_blob(path, &digested),
            None => Ok(()),
        }
    }

    /// Writes a file with these contents to the disk beside its place. What is not held here comes from where it was kept, else from the source.
    pub(crate) fn stage(
        &self,
        host: &Writer,
        path: &Path,
        source: Option<&Path>,
        access: &FileAttributes,
        existing: IfExists,
    ) -> Result<StagedFile, HostError> {
        match self {
            Self::Text(text) => host.stage(path, &mut text.as_bytes(), None, access, existing),
            Self::Digest { sha256, .. } => {
                let mut bytes = open_bytes(host, sha256, source)?;
                let expected = self.file_digest();
                host.stage(path, &mut bytes, expected.as_ref(), access, existing)
            }
        }
    }

    /// Returns what a reading of these contents must give, where they are not held here.
    fn file_digest(&self) -> Option<FileDigest> {
        match self {
            Self::Text(_) => None,
            Self::Digest { sha256, size } => Some(FileDigest {
                sha256: sha256.clone(),
                size: *size,
            }),
        }
    }
}

/// Opens the bytes of a digest: where they were kept, else the source. They are checked while they are written.
fn open_bytes(
    host: &Writer,
    sha256: &str,
    source: Option<&Path>,
) -> Result<Box<dyn Read>, HostError> {
    if let Some(kept) = host.open_blob(sha256)? {
        return Ok(Box::new(kept));
    }
    let source = source.ok_or_else(|| HostError::NoContents {
        sha256: sha256.to_owned(),
    })?;
    let reader = Reader::new(Path::new("/"));
    let missing = || HostError::Changed {
        path: source.to_owned(),
    };
    let opened = reader.open(&reader.resolve(source)?)?;
    Ok(Box::new(opened.ok_or_else(missing)?))
}

fn host_problem(error: &HostError) -> Problem {
    Problem::new(error_chain(error).join(": "))
}
