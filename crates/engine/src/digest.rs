//! Digests of documents. Pure.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Returns the SHA-256 of a document's JSON, in hexadecimal. Maps are sorted, so that equal documents have equal digests.
pub fn digest(document: &impl Serialize) -> String {
    let json = serde_json::to_vec(document)
        .expect("documents have string keys and no failing serialisers");
    hex::encode(Sha256::digest(json))
}
