//! The kind `addon-repo`: a repository of addons of MicroK8s.

use std::{path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::{Change, Effects},
        listing::Listing,
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Footprint, Importable, Removable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    files::git,
    host::{CommandSpec, HostError, LinuxHost, Reader, Writer},
    microk8s::{
        addons::repositories::{self, CORE, SNAP_PREFIX, repository_dir},
        layout::{self, COMMON, Layout, SNAP},
    },
    values::path::provider_error,
};

/// How long a clone may take.
const CLONE_TIMEOUT: Duration = Duration::from_mins(10);

/// The kind `addon-repo`.
pub(crate) struct AddonRepo;

/// State of a repository.
///
/// ```kdl
/// addon-repo "mine" url="https://example.org/addons.git" reference="v2"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    url: Option<String>,
    reference: Option<String>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "url",
        Shape::Text,
        Role::Managed,
        "Where it was cloned from: a URL or a git directory.",
    ),
    Attribute::new(
        "reference",
        Shape::Text,
        Role::Managed,
        "The branch or tag that is checked out.",
    ),
];

impl Provider<LinuxHost> for AddonRepo {
    const KIND: &'static str = repositories::KIND;
    const CAPABILITIES: Capabilities<LinuxHost, Self> =
        Capabilities::new().removable().importable().footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A repository of addons of MicroK8s: a clone by git. Its addons are written \"repository/addon\".",
            name: "repository",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                needs_init: true,
                ..Lifecycle::DEFAULT
            },
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
            None => problems
                .push(Problem::new("a repository needs `url`").help("write the URL to clone from")),
            // To git that would be an option.
            Some(url) if url.is_empty() || url.starts_with('-') => {
                let message = format!("`{url}` cannot be cloned");
                problems.push(Problem::new(message).at("url"));
            }
            Some(_) => {}
        }
        if let Some(reference) = desired.reference.as_deref()
            && (reference.is_empty() || reference.starts_with('-'))
        {
            let message = format!("`{reference}` is not a branch or tag");
            problems.push(Problem::new(message).at("reference"));
        }
        problems
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
            && let Some(head) = git::read_head(host, &repository_dir(name)).map_err(failed)?
            && head.commit.is_some()
            && git::resolve_commit(host, &repository_dir(name), reference).map_err(failed)?
                == head.commit
            && head.branch.is_none()
        {
            desired.reference = head.display_name();
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
                let Some(head) = git::read_head(host, &repository_dir(name))? else {
                    return Ok(None);
                };
                Ok(Some(State {
                    url: git::origin_url(host, &repository_dir(name))?,
                    reference: head.display_name(),
                }))
            };
            read().map_err(provider_error(Self::KIND, name, "inspect it"))
        };
        names.iter().map(read).collect()
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let attempted = match &change {
                Change::Create { .. } => "clone it",
                Change::Update { .. } => "clone it again",
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
            let call = CommandSpec {
                deadline: CLONE_TIMEOUT,
                ..CommandSpec::new("snap", &line)
            };
            host.run_command(call)
                .await
                .map_err(provider_error(Self::KIND, name, attempted))?;
        }
        Ok(())
    }

    fn requires(&self, _name: &str, _desired: &State) -> Vec<Address> {
        vec![Address::new("snap", SNAP)]
    }

    fn effects(&self, name: &str, change: &Change<State>) -> Effects {
        let irreversible = change
            .before()
            .map(|_| format!("manual changes in {COMMON}/addons/{name} are lost"));
        Effects {
            irreversible,
            ..Effects::default()
        }
    }
}

impl Removable<LinuxHost> for AddonRepo {
    fn check_absent(&self, name: &str) -> Result<(), Problem> {
        if name == CORE {
            let message = "MicroK8s needs its repository `core`";
            return Err(Problem::new(message).help("remove `absent`"));
        }
        Ok(())
    }
}

impl Importable<LinuxHost> for AddonRepo {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let refused = provider_error(Self::KIND, "", "list them");
        if Layout::find(host).map_err(&refused)?.is_none() {
            return Ok(Listing::not_importable(layout::NOT_INSTALLED));
        }
        let mut listing = Listing::new("Added repositories of MicroK8s addons.", []);
        let dir = Path::new(COMMON).join("addons");
        for name in host.list_dir(&dir).map_err(&refused)? {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            match git::origin_url(host, &repository_dir(&name)).map_err(&refused)? {
                Some(url) if url.starts_with(SNAP_PREFIX) => listing.default += 1,
                Some(url) if has_password(&url) => drop(listing.secrets.insert(name)),
                Some(_) => drop(listing.managed.insert(name)),
                None => listing.ignore("it is not a git clone", name),
            }
        }
        Ok(listing)
    }
}

impl Footprint<LinuxHost> for AddonRepo {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        vec!["/var/snap/microk8s/*".to_owned()]
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
