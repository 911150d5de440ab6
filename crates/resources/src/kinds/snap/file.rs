//! Snap files: their checks, and the upload to snapd.

use std::{
    io::{Cursor, Read},
    path::{Path, PathBuf},
};

use serde_json::Value;
use stead_engine::model::schema::Problem;

use crate::{
    host::{HostError, Reader, Writer},
    snapd::client::{self, SnapdError},
};

/// The first bytes of a squashfs, which every snap is: `SQUASHFS_MAGIC` of the kernel.
const MAGIC: &[u8] = b"hsqs";
/// Where snapd keeps what it has installed.
const SNAPD_SNAPS: &str = "/var/lib/snapd/snaps";
/// The longest assertions that are read, in bytes.
const MAX_ASSERTIONS: u64 = 1 << 20;
/// What separates the parts of an upload; longer than chance.
const BOUNDARY: &str = "----stead-6f1c52d04b7e4f7d9a3c";

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapFile {
    /// A snap with assertions beside it, which name its revision.
    Asserted {
        /// The revision in the store.
        revision: String,
    },
    /// A snap alone.
    Sideloaded {
        /// SHA-256 in hexadecimal.
        sha256: String,
    },
}

/// Looks at a file that shall be installed.
pub(crate) fn inspect(
    host: &Reader,
    file: &Path,
    is_dangerous: bool,
) -> Result<SnapFile, Vec<Problem>> {
    let shown = file.display();
    let wrong = |problem: Problem| vec![problem.at("file")];
    let failed = |error: HostError| wrong(Problem::new(error.to_string()));
    let file = &host
        .resolve(file)
        .map_err(|_| wrong(Problem::new(format!("there is no file `{shown}`"))))?;
    let Some(opened) = host.open(file).map_err(failed)? else {
        return Err(wrong(Problem::new(format!("there is no file `{shown}`"))));
    };
    let mut start = vec![];
    opened
        .take(4)
        .read_to_end(&mut start)
        .map_err(|error| wrong(Problem::new(format!("cannot read `{shown}`: {error}"))))?;
    if start != MAGIC {
        return Err(wrong(
            Problem::new(format!("`{shown}` is not a snap"))
                .help("give the `.snap` file that `snap download` fetched"),
        ));
    }
    let assertions = host
        .read_text(&assertions_path(file), MAX_ASSERTIONS)
        .map_err(failed)?;
    match assertions.as_deref().map(asserted_revision) {
        Some(Some(revision)) => Ok(SnapFile::Asserted { revision }),
        Some(None) => Err(wrong(Problem::new(format!(
            "`{}` does not assert a revision of a snap",
            assertions_path(file).display()
        )))),
        None if is_dangerous => {
            let digested = host.digest(file).map_err(failed)?;
            Ok(SnapFile::Sideloaded {
                sha256: digested.map(|digested| digested.sha256).unwrap_or_default(),
            })
        }
        None => Err(wrong(
            Problem::new(format!("there are no assertions beside `{shown}`")).help(format!(
                "put `{}` there, as `snap download` fetches it, or write `dangerous=#true`",
                assertions_path(file)
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
            )),
        )),
    }
}

/// Returns SHA-256 of the file that snapd has installed.
pub(crate) fn digest_installed(
    host: &Reader,
    name: &str,
    revision: &str,
) -> Result<Option<String>, HostError> {
    let file = stored_path(name, revision);
    Ok(host.digest(&file)?.map(|digested| digested.sha256))
}

/// Returns where snapd keeps the file of a revision.
pub(crate) fn stored_path(name: &str, revision: &str) -> PathBuf {
    Path::new(SNAPD_SNAPS).join(format!("{name}_{revision}.snap"))
}

/// Acknowledges the assertions beside a file, if there are any, and installs it.
pub(crate) async fn install(
    host: &Writer,
    name: &str,
    file: &Path,
    dangerous: Option<bool>,
    classic: Option<bool>,
    devmode: Option<bool>,
) -> Result<(), SnapdError> {
    let reader = Reader::new(host.root());
    let file = &reader.resolve(file)?;
    let mut flags = vec![("classic", classic), ("devmode", devmode)];
    match reader.read(&assertions_path(file), MAX_ASSERTIONS)? {
        Some(assertions) => {
            let length = assertions.len() as u64;
            let reply = host
                .snapd_upload(
                    "/v2/assertions",
                    "application/x.ubuntu.assertion",
                    (Cursor::new(assertions), length),
                )
                .await?;
            client::parse_response(&reply)?;
        }
        None => flags.push(("dangerous", dangerous)),
    }
    let Some(snap) = reader.open(file)? else {
        return Err(SnapdError::Failed(format!(
            "`{}` no longer exists",
            file.display()
        )));
    };
    let flags = flags.iter().filter(|(_, flag)| *flag == Some(true));
    let flags: Vec<_> = flags.map(|(flag, _)| *flag).collect();
    let form = format!("multipart/form-data; boundary={BOUNDARY}");
    let size = snap.metadata().map_err(HostError::io("read", file))?.len();
    let body = multipart_body(name, &flags, (snap, size));
    let reply = host.snapd_upload("/v2/snaps", &form, body).await?;
    let reply: Value = client::parse_response(&reply)?;
    let data = client::wait_for_change(host, &reply).await?;
    match data["snap-name"].as_str() {
        Some(other) if other != name => Err(SnapdError::Failed(format!(
            "`{}` is the snap {other}, not {name}",
            file.display()
        ))),
        _ => Ok(()),
    }
}

fn assertions_path(file: &Path) -> PathBuf {
    file.with_extension("assert")
}

/// Finds the revision in assertions: a header of the assertion of the type `snap-revision`.
fn asserted_revision(assertions: &str) -> Option<String> {
    let from = assertions.find("type: snap-revision\n")?;
    let headers = assertions[from..].split("\n\n").next()?;
    let value = headers
        .lines()
        .find_map(|line| line.strip_prefix("snap-revision: "))?;
    Some(value.trim().to_owned())
}

/// Returns a form with flags and a snap, and how many bytes it has.
fn multipart_body<S: Read>(
    name: &str,
    flags: &[&str],
    (snap, size): (S, u64),
) -> (impl Read + use<S>, u64) {
    let flag = |flag: &&str| {
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{flag}\"\r\n\r\ntrue\r\n")
    };
    let mut parts: Vec<String> = flags.iter().map(flag).collect();
    parts.push(format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"snap\"; filename=\"{name}.snap\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    ));
    let head = parts.concat();
    let tail = format!("\r\n--{BOUNDARY}--\r\n");
    let length = head.len() as u64 + size + tail.len() as u64;
    let body = Cursor::new(head)
        .chain(snap.take(size))
        .chain(Cursor::new(tail));
    (body, length)
}
