//! The kind `hook`: units that run stead again when something has overwritten what it applied.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        completion::CompletionTarget,
        digest::digest,
        drift::{Drift, Evidence},
        listing::Listing,
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
        state::Desired,
    },
    provider::{
        capabilities::{Completable, Composite, Footprint, Importable, Reversible, Watchable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    evidence,
    host::{HostError, LinuxHost, Reader, Writer},
    microk8s::layout::SNAP,
    safety::hook_files::{SNAP_HOOKS, UNIT, WATCH, WATCH_UNIT, desired_files, read_entry},
    systemd::{
        files::{remove, remove_empty_dir, write},
        process::{IfUnknown, ensure_running, stop},
    },
    values::{
        implied_hook::{self, BOOT, SNAP_REFRESH, implied},
        path::provider_error,
    },
};

/// All of them.
const HOOK_NAMES: [&str; 3] = [BOOT, SNAP_REFRESH, WATCH];

/// The kind `hook`.
pub(crate) struct Hook;

/// State of a hook: the files that it is made of.
///
/// ```kdl
/// hook "boot"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    /// SHA-256 of all of them.
    contents: Option<String>,
    /// Whether what stays does so now.
    running: Option<bool>,
    /// The text of each file, or `-> TARGET` of a link.
    files: Option<BTreeMap<String, String>>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "contents",
        Shape::Text,
        Role::Derived,
        "SHA-256 of its files.",
    ),
    Attribute::new(
        "running",
        Shape::Flag,
        Role::Derived,
        "Whether the watch service is active.",
    ),
    Attribute::new(
        "files",
        Shape::Text,
        Role::Context,
        "Its files with their contents.",
    ),
];

impl State {
    fn of(files: BTreeMap<String, String>) -> Self {
        Self {
            contents: Some(digest(&files)),
            running: None,
            files: Some(files),
        }
    }
}

impl Provider<LinuxHost> for Hook {
    const KIND: &'static str = implied_hook::KIND;
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .reversible()
        .importable()
        .completable()
        .composite()
        .watchable()
        .footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "Runs stead again to restore what was applied: `boot` after every boot and every start of a program known to overwrite it, `snap-refresh` after every refresh of MicroK8s, `watch` at once, by a permanent service.",
            name: "boot, snap-refresh or watch",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle::DEFAULT,
            absence: Absence::Allowed,
            example: "hook \"boot\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        match name {
            BOOT | SNAP_REFRESH | WATCH => Ok(()),
            _ => Err(
                Problem::new(format!("there is no hook `{name}`")).help(format!(
                    "the hooks are `{BOOT}`, `{SNAP_REFRESH}` and `{WATCH}`"
                )),
            ),
        }
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        if desired.files.is_none() {
            let program = host
                .current_exe()
                .map_err(|error| vec![Problem::new(error.to_string())])?;
            desired = State::of(desired_files(name, &program));
            if name == WATCH {
                let has_systemd = host
                    .has_systemd()
                    .map_err(|error| vec![Problem::new(error.to_string())])?;
                desired.running = has_systemd.then_some(true);
            }
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let mut found = vec![];
        for name in names {
            let refused = provider_error(Self::KIND, name, "read its files");
            found.push(read_state(host, name).await.map_err(refused)?);
        }
        Ok(found)
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let files = |state: Option<&State>| {
                state
                    .and_then(|state| state.files.clone())
                    .unwrap_or_default()
            };
            let shall_run = change.after().and_then(|after| after.running) == Some(true);
            let runs = change.before().and_then(|before| before.running) == Some(true);
            let (before, after) = (files(change.before()), files(change.after()));
            if runs && !shall_run {
                stop(host, WATCH_UNIT).await?;
            }
            for path in before.keys().filter(|path| !after.contains_key(*path)) {
                remove(host, Path::new(path)).map_err(provider_error(
                    Self::KIND,
                    name,
                    "remove its files",
                ))?;
            }
            for (path, text) in after
                .iter()
                .filter(|(path, text)| before.get(*path) != Some(text))
            {
                write(host, Path::new(path), text).map_err(provider_error(
                    Self::KIND,
                    name,
                    "write its files",
                ))?;
            }
            host.reload_units().await.map_err(provider_error(
                Self::KIND,
                name,
                "make systemd read its units again",
            ))?;
            if shall_run {
                ensure_running(host, WATCH_UNIT, IfUnknown::Restart).await?;
            }
        }
        Ok(())
    }

    fn requires(&self, name: &str, _desired: &State) -> Vec<Address> {
        match name {
            SNAP_REFRESH => vec![Address::new("snap", SNAP)],
            _ => vec![],
        }
    }
}

impl Reversible<LinuxHost> for Hook {
    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        for path in desired_files(name, Path::new("")).into_keys() {
            let path = Path::new(&path);
            host.remove_temporary(path)
                .and_then(|()| remove_empty_dir(host, path))
                .map_err(provider_error(
                    Self::KIND,
                    name,
                    "remove what a killed run left",
                ))?;
        }
        Ok(())
    }
}

impl Importable<LinuxHost> for Hook {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let mut listing = Listing::new(
            "Hooks that run stead again to restore what was applied.",
            [],
        );
        let program =
            host.current_exe()
                .map_err(provider_error(Self::KIND, BOOT, "find this program"))?;
        for name in HOOK_NAMES {
            let refused = provider_error(Self::KIND, name, "read its files");
            let there = read_state(host, name).await.map_err(refused)?;
            let wanted = State::of(desired_files(name, &program)).contents;
            if there.as_ref().is_some_and(|there| there.contents == wanted) {
                listing.managed.insert(name.to_owned());
            } else if there.is_some() {
                listing.ignore("it is from another version of stead, or incomplete", name);
            }
        }
        Ok(listing)
    }
}

impl Completable<LinuxHost> for Hook {
    async fn complete(&self, _host: &Reader, _name: &str, gap: &CompletionTarget) -> Vec<String> {
        match gap {
            CompletionTarget::Name => HOOK_NAMES.map(str::to_owned).to_vec(),
            _ => vec![],
        }
    }
}

impl Composite<LinuxHost> for Hook {
    fn implies(&self, name: &str, _desired: &State) -> Vec<(Address, Desired)> {
        match name {
            // Its scripts start the unit of the other.
            // What stays has it roll back runs that were interrupted.
            SNAP_REFRESH | WATCH => vec![implied(BOOT)],
            _ => vec![],
        }
    }
}

impl Watchable<LinuxHost> for Hook {
    async fn attribute_drift(
        &self,
        host: &Reader,
        _name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        let files = |state: Option<&State>| state.and_then(|state| state.files.clone());
        let (now, then) = (files(drift.change.before()), files(drift.change.after()));
        let (now, then) = (now.unwrap_or_default(), then.unwrap_or_default());
        let moved = then
            .iter()
            .filter(|(path, text)| now.get(*path) != Some(text));
        let moved: Vec<_> = moved.map(|(path, _)| Path::new(path)).collect();
        evidence::paths::files_changed(host, &moved, drift.modified_at).await
    }
}

impl Footprint<LinuxHost> for Hook {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        vec![
            format!("/etc/systemd/system/{UNIT}"),
            format!("/etc/systemd/system/{WATCH_UNIT}"),
            format!("/etc/systemd/system/*.wants/{WATCH_UNIT}"),
            "/etc/systemd/system/*.wants".to_owned(),
            "/etc/systemd/system/*.wants/stead-restore@*".to_owned(),
            format!("{SNAP_HOOKS}*"),
        ]
    }
}

/// Returns a hook as it is on the host; `None` if no file of it is there.
async fn read_state(host: &Reader, name: &str) -> Result<Option<State>, HostError> {
    let mut files = BTreeMap::new();
    for path in desired_files(name, Path::new("")).into_keys() {
        let there = read_entry(host, Path::new(&path))?;
        files.extend(there.map(|text| (path, text)));
    }
    if files.is_empty() {
        return Ok(None);
    }
    let mut state = State::of(files);
    if name == WATCH && host.has_systemd()? {
        let status = host.unit(WATCH_UNIT).await?;
        state.running = Some(matches!(
            status.active_state.as_str(),
            "active" | "activating"
        ));
    }
    Ok(Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;
    use crate::systemd::files::UNITS;

    #[tokio::test]
    async fn hook_creates_and_removes_all_its_files() {
        let root = TestRoot::new(&[("/etc/systemd/system/ssh.service", "")]);
        let desired = State::of(desired_files(BOOT, Path::new("/usr/bin/stead")));
        let create = Change::Create {
            after: desired.clone(),
        };
        Hook.apply(&root.writer(), vec![(BOOT, create)])
            .await
            .unwrap();
        let there = Hook.read(&root.reader(), &[BOOT]).await.unwrap().remove(0);
        assert_eq!(there.as_ref(), Some(&desired));
        let unit = root.text(format!("{UNITS}/{UNIT}")).unwrap();
        assert!(
            unit.contains("ExecStart=/usr/bin/stead watch --once --because %i\n"),
            "{unit}"
        );
        let delete = Change::Delete { before: desired };
        Hook.apply(&root.writer(), vec![(BOOT, delete)])
            .await
            .unwrap();
        let left = root.reader().list_dir(Path::new(UNITS)).unwrap();
        assert_eq!(left, ["ssh.service"]);
    }

    #[tokio::test]
    async fn hook_of_another_stead_binary_differs() {
        let root = TestRoot::new(&[]);
        let old = desired_files(BOOT, Path::new("/old"));
        let new = desired_files(BOOT, Path::new("/new"));
        assert_ne!(old, new);
        let prepared = Hook
            .prepare(&root.reader(), BOOT, State::default())
            .await
            .unwrap();
        assert_ne!(prepared.files, Some(old));
    }
}
