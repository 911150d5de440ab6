//! Digests of documents. Pure.

use std::io::{self, BufWriter, Write};

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Returns the SHA-256 of a document's JSON, in hexadecimal. Maps are sorted, so that equal documents have equal digests.
pub fn digest(document: &impl Serialize) -> String {
    let mut hashing = BufWriter::new(Hashing(Sha256::new()));
    let why = "documents have string keys and no failing serialisers, and digesting takes all";
    serde_json::to_writer(&mut hashing, document).expect(why);
    let Ok(Hashing(hasher)) = hashing.into_inner() else {
        unreachable!("{why}");
    };
    hex::encode(hasher.finalize())
}

/// A sink that digests what is written to it: a document may be long, and nobody needs its text.
struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_matches_serialized_document() {
        for length in [0, 1, 10_000] {
            let document = "x".repeat(length);
            let text = serde_json::to_vec(&document).unwrap();
            assert_eq!(digest(&document), hex::encode(Sha256::digest(text)));
        }
    }
}
