//! What is in a file: the text itself where it is short and UTF-8, else its digest.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::host::{Digested, HostError, Reader};

/// The longest text that a plan holds itself, in bytes.
pub(crate) const INLINE: u64 = 64 << 10;

/// Contents in their canonical form: equal contents are equal values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Content {
    /// UTF-8 of at most [`INLINE`] bytes.
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
    /// Reads the contents of a file without holding more than [`INLINE`] bytes; `None` if nothing is there.
    pub(crate) fn read(reader: &Reader, path: &Path, size: u64) -> Result<Option<Self>, HostError> {
        if size <= INLINE
            && let Some(bytes) = reader.read(path, INLINE)?
            && let Ok(text) = String::from_utf8(bytes)
        {
            return Ok(Some(Self::Text(text)));
        }
        let digested = reader.digest(path)?;
        Ok(digested.map(|Digested { sha256, size }| Self::Digest { sha256, size }))
    }

    /// Returns what a reading of these contents must give, where they are not held here.
    pub(crate) fn digested(&self) -> Option<Digested> {
        match self {
            Self::Text(_) => None,
            Self::Digest { sha256, size } => Some(Digested {
                sha256: sha256.clone(),
                size: *size,
            }),
        }
    }
}
