//! The remote and head of a git clone, by its files: gitrepository-layout(5).

use std::path::Path;

use crate::host::{HostError, MetaKind, Reader};

/// The largest file of git that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// What a clone has checked out.
pub(crate) struct Head {
    pub(crate) branch: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) commit: Option<String>,
}

impl Head {
    /// Returns the name by which people call it.
    pub(crate) fn display_name(&self) -> Option<String> {
        let names = [&self.branch, &self.tag, &self.commit];
        names.into_iter().flatten().next().cloned()
    }
}

/// Returns what a repository has checked out; `None` if it is not there. The files are those of gitrepository-layout(5).
pub(crate) fn read_head(host: &Reader, clone: &Path) -> Result<Option<Head>, HostError> {
    let Some(text) = host.read_text(&clone.join(".git/HEAD"), LIMIT)? else {
        // What a clone leaves that was killed is there as well, and says nothing.
        let is_there = host.stat(clone)?.is_some();
        return Ok(is_there.then_some(Head {
            branch: None,
            tag: None,
            commit: None,
        }));
    };
    if let Some(branch) = text.trim().strip_prefix("ref: refs/heads/") {
        return Ok(Some(Head {
            branch: Some(branch.to_owned()),
            tag: None,
            commit: resolve_commit(host, clone, branch)?,
        }));
    }
    let at = text.trim().to_owned();
    let tags = read_refs(host, clone)?.into_iter();
    let mut tags = tags.filter(|(_, commit)| *commit == at);
    let tag = tags.find_map(|(name, _)| name.strip_prefix("refs/tags/").map(str::to_owned));
    Ok(Some(Head {
        branch: None,
        tag,
        commit: Some(at),
    }))
}

/// Returns the commit that a branch, a tag or a commit is.
pub(crate) fn resolve_commit(
    host: &Reader,
    clone: &Path,
    reference: &str,
) -> Result<Option<String>, HostError> {
    let known = read_refs(host, clone)?;
    let is_meant = |full: &str| {
        ["refs/heads/", "refs/tags/", "refs/remotes/origin/"]
            .iter()
            .any(|prefix| full.strip_prefix(prefix) == Some(reference))
    };
    // Of an annotated tag the commit stands last.
    let found = known.into_iter().rfind(|(full, _)| is_meant(full));
    let is_commit = reference.len() == 40 && reference.bytes().all(|b| b.is_ascii_hexdigit());
    Ok(found
        .map(|(_, commit)| commit)
        .or_else(|| is_commit.then(|| reference.to_owned())))
}

/// Returns all references with their commits; an annotated tag stands twice, with itself and with its commit.
fn read_refs(host: &Reader, clone: &Path) -> Result<Vec<(String, String)>, HostError> {
    let mut found = vec![];
    let packed = host.read_text(&clone.join(".git/packed-refs"), LIMIT)?;
    let mut last = String::new();
    for line in packed.unwrap_or_default().lines() {
        if let Some(peeled) = line.strip_prefix('^') {
            found.push((last.clone(), peeled.to_owned()));
        } else if let Some((commit, full)) = line.split_once(' ')
            && !line.starts_with('#')
        {
            full.clone_into(&mut last);
            found.push((full.to_owned(), commit.to_owned()));
        }
    }
    for kind in ["refs/heads", "refs/tags"] {
        let dir = clone.join(".git").join(kind);
        for file in host.list_dir(&dir)? {
            let path = dir.join(&file);
            let is_file = host
                .stat(&path)?
                .is_some_and(|meta| meta.kind == MetaKind::File);
            if is_file && let Some(text) = host.read_text(&path, LIMIT)? {
                let full = format!("{kind}/{}", file.to_string_lossy());
                found.push((full, text.trim().to_owned()));
            }
        }
    }
    Ok(found)
}

/// Returns what a repository was cloned from: `remote.origin.url` of git-config(1).
pub(crate) fn origin_url(host: &Reader, clone: &Path) -> Result<Option<String>, HostError> {
    let text = host.read_text(&clone.join(".git/config"), LIMIT)?;
    let mut is_origin = false;
    for line in text.unwrap_or_default().lines().map(str::trim) {
        if line.starts_with('[') {
            is_origin = line == "[remote \"origin\"]";
        } else if is_origin
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "url"
        {
            return Ok(Some(value.trim().to_owned()));
        }
    }
    Ok(None)
}
