//! Records of what processes were started with. A reboot removes them with the processes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::host::{HostError, Reader, Writer};

/// Where they are, each in a file of its own.
const RECORD_PREFIX: &str = "/run/stead/started";
/// The largest note that is read, in bytes.
const LIMIT: u64 = 4096;

/// A note of a start.
#[derive(Serialize, Deserialize)]
struct StartRecord {
    invocation: String,
    digest: String,
}

fn path(of: &str) -> PathBuf {
    PathBuf::from(format!("{RECORD_PREFIX}-{of}.json"))
}

/// Returns the digest of what a service was started with; `None` if nobody noted that of this start.
pub(crate) fn load_start_record(
    host: &Reader,
    of: &str,
    invocation: &str,
) -> Result<Option<String>, HostError> {
    let note = host.read_text(&path(of), LIMIT)?;
    let note = note.and_then(|note| serde_json::from_str::<StartRecord>(&note).ok());
    Ok(note
        .filter(|note| note.invocation == invocation)
        .map(|note| note.digest))
}

/// Notes what a service was started with.
pub(crate) fn store_start_record(
    host: &Writer,
    of: &str,
    invocation: String,
    digest: String,
) -> Result<(), HostError> {
    let note = StartRecord { invocation, digest };
    let text = serde_json::to_vec(&note).expect("a note has string keys");
    host.write_text(&path(of), &text, 0o600)
}

/// Removes the note of a service that is no more.
pub(crate) fn remove_start_record(host: &Writer, of: &str) -> Result<(), HostError> {
    let path = path(of);
    match Reader::new(host.root()).stat(&path)? {
        Some(_) => host.remove_file(&path),
        None => Ok(()),
    }
}
