//! The kind `addon-repo`: a repository of addons of MicroK8s.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use stead_engine::{
    address::Address,
    change::{Change, Effects},
    listing::Listing,
    provider::{Provider, ProviderError},
    schema::{Absence, Attribute, Problem, Role, Schema, Shape},
};

use crate::{
    host::{Call, HostError, Live, Reader, Writer},
    microk8s::{self, COMMON, Layout, SNAP},
    path::refused,
};

/// The largest file of git that is read, in bytes.
const LIMIT: u64 = 4 << 20;
/// How long a clone may take.
const CLONE: Duration = Duration::from_mins(10);
/// The repository that comes with the snap.
const CORE: &str = "core";

/// What MicroK8s itself clones lies in the snap.
const OF_SNAP: &str = "/snap/microk8s/";

/// The kind `addon-repo`.
pub(crate) struct AddonRepo;

/// State of a repository.
///
/// ```kdl
/// addon-repo "mine" url="https://example.org/addons.git" reference="v2"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "url",
        Shape::Text,
        Role::Managed,
        "What it was cloned from: a URL or a folder of git.",
    ),
    Attribute::new(
        "reference",
        Shape::Text,
        Role::Managed,
        "The branch or tag that is checked out.",
    ),
];

impl Provider<Live> for AddonRepo {
    const KIND: &'static str = "addon-repo";
    const NEEDS_INIT: bool = true;
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A repository of addons of MicroK8s: a clone by git. Write \"repository/addon\" for addons of one that you add.",
            name: "repository",
            main: None,
            attributes: ATTRIBUTES,
            absence: Absence::Allowed,
            example: "addon-repo \"mine\" url=\"https://example.org/addons.git\" reference=\"main\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.starts_with('-') || !name.chars().all(is_plain) {
            let message = format!("`{name}` cannot be the name of a repository");
            return Err(Problem::new(message).help("write letters, digits, `-` and `_`"));
        }
        Ok(())
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        let mut problems = vec![];
        match desired.url.as_deref() {
            None => problems.push(
                Problem::new("a repository needs `url`").help("write what it is cloned from"),
            ),
            // To git that would be an option.
            Some(url) if url.is_empty() || url.starts_with('-') => {
                let message = format!("`{url}` is nothing to clone from");
                problems.push(Problem::new(message).at("url"));
            }
            Some(_) => {}
        }
        if let Some(reference) = desired.reference.as_deref()
            && (reference.is_empty() || reference.starts_with('-'))
        {
            let message = format!("`{reference}` is no branch or tag");
            problems.push(Problem::new(message).at("reference"));
        }
        problems
    }

    fn check_absent(&self, name: &str) -> Result<(), Problem> {
        if name == CORE {
            let message = "MicroK8s needs its repository `core`";
            return Err(Problem::new(message).help("take `absent` away"));
        }
        Ok(())
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        Layout::running(host)?;
        let failed = |error: HostError| vec![Problem::new(error.to_string())];
        // A tag, a branch and a commit may be the same.
        if let Some(reference) = &desired.reference
            && let Some(head) = head(host, name).map_err(failed)?
            && head.commit.is_some()
            && commit(host, name, reference).map_err(failed)? == head.commit
            && head.branch.is_none()
        {
            desired.reference = head.shown();
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let read = |name: &&str| {
            let read = || {
                let Some(head) = head(host, name)? else {
                    return Ok(None);
                };
                Ok(Some(State {
                    url: origin(host, name)?,
                    reference: head.shown(),
                }))
            };
            read().map_err(refused(Self::KIND, name, "see what it is"))
        };
        names.iter().map(read).collect()
    }

    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let refused = refused(Self::KIND, "", "see which there are");
        if Layout::find(host).map_err(&refused)?.is_none() {
            return Ok(Listing::outside(microk8s::NOT_INSTALLED));
        }
        let mut listing = Listing::of(
            "Repositories of addons of MicroK8s that somebody added.",
            [],
        );
        let folder = Path::new(COMMON).join("addons");
        for name in host.list_folder(&folder).map_err(&refused)? {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            match origin(host, &name).map_err(&refused)? {
                Some(url) if url.starts_with(OF_SNAP) => listing.default += 1,
                Some(url) if has_password(&url) => drop(listing.secrets.insert(name)),
                Some(_) => drop(listing.managed.insert(name)),
                None => listing.ignore("it is no clone of anything", name),
            }
        }
        Ok(listing)
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let attempted = match &change {
                Change::Create { .. } => "clone it",
                Change::Update { .. } => "clone it anew",
                Change::Delete { .. } => "remove it",
            };
            let mut line = vec!["run", SNAP, "addons", "repo"];
            match change.after() {
                None => line.extend(["remove", name]),
                Some(after) => {
                    line.extend(["add", name, after.url.as_deref().unwrap_or_default()]);
                    if let Some(reference) = &after.reference {
                        line.extend(["--reference", reference]);
                    }
                    if change.before().is_some() {
                        line.push("--force");
                    }
                }
            }
            let call = Call {
                deadline: CLONE,
                ..Call::new("snap", &line)
            };
            host.call(call)
                .await
                .map_err(refused(Self::KIND, name, attempted))?;
        }
        Ok(())
    }

    fn requires(&self, _name: &str, _desired: &State) -> Vec<Address> {
        vec![Address::new("snap", SNAP)]
    }

    fn places(&self, _name: &str) -> Vec<String> {
        vec!["/var/snap/microk8s/*".to_owned()]
    }

    fn effects(&self, name: &str, change: &Change<State>) -> Effects {
        let irreversible = change
            .before()
            .map(|_| format!("what was changed by hand in {COMMON}/addons/{name} is lost"));
        Effects {
            irreversible,
            ..Effects::default()
        }
    }
}

/// Whether a URL says who asks, and with which password.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority
        .split_once('@')
        .is_some_and(|(user, _)| user.contains(':'))
}

/// What a clone has checked out.
struct Head {
    branch: Option<String>,
    tag: Option<String>,
    commit: Option<String>,
}

impl Head {
    fn shown(&self) -> Option<String> {
        let names = [&self.branch, &self.tag, &self.commit];
        names.into_iter().flatten().next().cloned()
    }
}

fn git(name: &str) -> PathBuf {
    Path::new(COMMON).join("addons").join(name).join(".git")
}

/// Returns what a repository has checked out; `None` if it is not there. The files are those of gitrepository-layout(5).
fn head(host: &Reader, name: &str) -> Result<Option<Head>, HostError> {
    let folder = git(name);
    let Some(text) = host.read_text(&folder.join("HEAD"), LIMIT)? else {
        // What a clone leaves that was killed is there as well, and says nothing.
        let is_there = host.stat(folder.parent().unwrap_or(&folder))?.is_some();
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
            commit: commit(host, name, branch)?,
        }));
    }
    let at = text.trim().to_owned();
    let tags = references(host, name)?.into_iter();
    let mut tags = tags.filter(|(_, commit)| *commit == at);
    let tag = tags.find_map(|(name, _)| name.strip_prefix("refs/tags/").map(str::to_owned));
    Ok(Some(Head {
        branch: None,
        tag,
        commit: Some(at),
    }))
}

/// Returns the commit that a branch, a tag or a commit is.
fn commit(host: &Reader, name: &str, reference: &str) -> Result<Option<String>, HostError> {
    let known = references(host, name)?;
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
fn references(host: &Reader, name: &str) -> Result<Vec<(String, String)>, HostError> {
    let mut found = vec![];
    let packed = host.read_text(&git(name).join("packed-refs"), LIMIT)?;
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
        let folder = git(name).join(kind);
        for file in host.list_folder(&folder)? {
            let path = folder.join(&file);
            let is_file = host
                .stat(&path)?
                .is_some_and(|meta| meta.kind == crate::host::MetaKind::File);
            if is_file && let Some(text) = host.read_text(&path, LIMIT)? {
                let full = format!("{kind}/{}", file.to_string_lossy());
                found.push((full, text.trim().to_owned()));
            }
        }
    }
    Ok(found)
}

/// Returns what a repository was cloned from: `remote.origin.url` of git-config(1).
fn origin(host: &Reader, name: &str) -> Result<Option<String>, HostError> {
    let text = host.read_text(&git(name).join("config"), LIMIT)?;
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
