//! Digests of documents and of bytes. Pure.

use std::io::{self, BufWriter, Write};

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Returns the SHA-256 of a document's JSON, in hexadecimal. Maps are sorted, so that equal documents have equal digests.
pub fn digest(document: &impl Serialize) -> String {
    let mut hashing = BufWriter::new(Sha256Writer::default());
    let why = "documents have string keys and no failing serialisers, and digesting takes all";
    serde_json::to_writer(&mut hashing, document).expect(why);
    let Ok(hashing) = hashing.into_inner() else {
        unreachable!("{why}");
    };
    hashing.finish()
}

/// Returns the SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A sink that digests what is written to it: it may be long, and nobody needs to hold it. It never fails.
#[derive(Default)]
pub struct Sha256Writer(Sha256);

impl Sha256Writer {
    /// Returns the SHA-256 of all that was written, in hexadecimal.
    pub fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

impl Write for Sha256Writer {
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
            assert_eq!(digest(&document), sha256(text));
        }
    }

    #[test]
    fn sha256_writer_digests_all_that_was_written() {
        // FIPS 180-4, the example of one block.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256("abc"), known);
        let mut writer = Sha256Writer::default();
        for part in ["a", "", "bc"] {
            writer.write_all(part.as_bytes()).unwrap();
        }
        assert_eq!(writer.finish(), known);
    }
}
