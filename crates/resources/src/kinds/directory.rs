//! The kind `directory`: a directory with its mode and owner; its contents are not managed.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        drift::{Drift, Evidence},
        listing::{Export, ExportedState, Listing},
        schema::{Absence, Lifecycle, Problem, Schema},
    },
    provider::{
        capabilities::{Footprint, Importable, Watchable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    etc::{self, Etc},
    evidence,
    files::metadata::{FileMetadata, stat_as},
    host::{LinuxHost, MetaKind, Reader, Writer},
    values::{
        access::{
            AccountNames, GROUP, MODE, Mode, OWNER, Owner, OwnerGroup, account_addresses,
            canonical_owners, omit_root,
        },
        path::{ancestors, check, provider_error},
    },
};

/// Mode of a new directory where none is written.
const DEFAULT_MODE: u32 = 0o755;
/// How many entries of a directory that is not empty an error names.
const MAX_NAMED: usize = 3;

/// The kind `directory`.
pub(crate) struct Directory;

/// State of a directory.
///
/// ```kdl
/// directory "/srv/data" mode="0750" owner="root" group="adm"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    owner: Option<Owner>,
    #[serde(default)]
    group: Option<OwnerGroup>,
}

impl Provider<LinuxHost> for Directory {
    const KIND: &'static str = "directory";
    const CAPABILITIES: Capabilities<LinuxHost, Self> =
        Capabilities::new().importable().watchable().footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A directory; its contents are not managed.",
            name: "absolute path",
            main: None,
            attributes: &[MODE, OWNER, GROUP],
            lifecycle: Lifecycle::DEFAULT,
            absence: Absence::Allowed,
            example: "directory \"/srv/data\" mode=\"0750\" owner=\"root\" group=\"adm\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        check(name)
    }

    async fn prepare(
        &self,
        _host: &Reader,
        _name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        canonical_owners(&mut desired.owner, &mut desired.group)?;
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let mut accounts = AccountNames::default();
        let names = names.iter();
        let read = |name: &&str| {
            let there = stat_as(Self::KIND, host, name, MetaKind::Directory)?;
            let outside = there.map(|there| FileMetadata::from_meta(&there, &mut accounts));
            Ok(outside.map(|outside| State {
                mode: outside.mode,
                owner: outside.owner,
                group: outside.group,
            }))
        };
        names.map(read).collect()
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let path = Path::new(name);
            let reader = Reader::new(host.root());
            match change {
                Change::Delete { .. } => {
                    check_empty(&reader, name)?;
                    host.remove_dir(path)
                        .map_err(provider_error(Self::KIND, name, "remove it"))?;
                }
                Change::Create { after } => {
                    let access = metadata(&after).desired_attributes(
                        Self::KIND,
                        name,
                        None,
                        DEFAULT_MODE,
                    )?;
                    host.create_dir(path, &access).map_err(provider_error(
                        Self::KIND,
                        name,
                        "create it",
                    ))?;
                }
                Change::Update { after, .. } => {
                    metadata(&after).apply(Self::KIND, host, name, MetaKind::Directory)?;
                }
            }
        }
        Ok(())
    }

    fn requires(&self, name: &str, desired: &State) -> Vec<Address> {
        let owners = account_addresses(desired.owner.as_ref(), desired.group.as_ref());
        ancestors(name).into_iter().chain(owners).collect()
    }
}

impl Importable<LinuxHost> for Directory {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let etc = Etc::read(host).map_err(provider_error(Self::KIND, "/etc", "inspect it"))?;
        Ok(etc.listing(
            MetaKind::Directory,
            "Directories in /etc that are not from a package.",
        ))
    }

    async fn export(
        &self,
        _host: &Reader,
        name: &str,
        mut state: State,
    ) -> Result<Export<State>, ProviderError> {
        state.mode.take_if(|mode| mode.bits() == DEFAULT_MODE);
        omit_root(&mut state.owner, &mut state.group);
        Ok(Export::Write(ExportedState {
            state,
            notes: vec![],
            target: etc::export_target(name),
        }))
    }
}

impl Watchable<LinuxHost> for Directory {
    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        // That something in it came or went says nothing about its owner and mode.
        if drift.change.before().is_some() {
            return None;
        }
        evidence::paths::path_changed(host, name, drift).await
    }
}

impl Footprint<LinuxHost> for Directory {
    fn managed_paths(&self, name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }
}

/// Returns what is wanted of it.
fn metadata(state: &State) -> FileMetadata {
    FileMetadata {
        mode: state.mode,
        owner: state.owner.clone(),
        group: state.group.clone(),
        xattrs: None,
    }
}

fn check_empty(host: &Reader, name: &str) -> Result<(), ProviderError> {
    let entries =
        host.list_dir(Path::new(name))
            .map_err(provider_error(Directory::KIND, name, "list it"))?;
    if entries.is_empty() {
        return Ok(());
    }
    let mut named: Vec<_> = entries
        .iter()
        .take(MAX_NAMED)
        .map(|entry| entry.to_string_lossy().into_owned())
        .collect();
    if entries.len() > MAX_NAMED {
        named.push(format!("{} more", entries.len() - MAX_NAMED));
    }
    let fact = format!("it is not empty: {}", named.join(", "));
    Err(
        ProviderError::new(Address::new(Directory::KIND, name), "remove it", fact).help(
            "stead removes only empty directories: empty it first, or declare its contents absent",
        ),
    )
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use stead_engine::model::error_chain::error_chain;

    use super::*;
    use crate::files::test_root::TestRoot;

    const NAME: &str = "/srv/data";

    async fn observed(root: &TestRoot) -> Result<Option<State>, String> {
        let states = Directory.read(&root.reader(), &[NAME]).await;
        states
            .map(|mut states| states.remove(0))
            .map_err(|error| error_chain(&error).join(": "))
    }

    async fn change(root: &TestRoot, after: Option<State>) -> Result<(), String> {
        let change = Change::between(observed(root).await.unwrap(), after).unwrap();
        Directory
            .apply(&root.writer(), vec![(NAME, change)])
            .await
            .map_err(|error| error_chain(&error).join(": "))
    }

    fn state(mode: u32, uid: u32) -> State {
        State {
            mode: Some(Mode::new(mode)),
            owner: Some(Owner::from_uid(uid)),
            group: Some(OwnerGroup::from_gid(nix::unistd::getegid().as_raw())),
        }
    }

    /// Somebody else, where we may give directories away.
    fn owner() -> u32 {
        let me = nix::unistd::geteuid();
        if me.is_root() { 12345 } else { me.as_raw() }
    }

    async fn check_round_trip(files: &[(&str, &str)], after: Option<State>) {
        let root = TestRoot::new(files);
        let before = observed(&root).await.unwrap();
        change(&root, after.clone()).await.unwrap();
        assert_eq!(observed(&root).await.unwrap(), after);
        change(&root, before.clone()).await.unwrap();
        assert_eq!(observed(&root).await.unwrap(), before);
    }

    #[tokio::test]
    async fn directory_is_created_changed_and_restored() {
        let above = [("/srv/other", "")];
        check_round_trip(&above, Some(state(0o2750, owner()))).await;
        check_round_trip(&above, Some(state(0o1777, owner()))).await;
        check_round_trip(&[("/srv/data/file", "")], Some(state(0o2700, owner()))).await;
    }

    #[tokio::test]
    async fn empty_directory_is_removed_and_restored() {
        let root = TestRoot::new(&[("/srv/other", "")]);
        change(&root, Some(state(0o2701, owner()))).await.unwrap();
        change(&root, None).await.unwrap();
        assert!(!root.at(NAME).exists());
        change(&root, Some(state(0o2701, owner()))).await.unwrap();
        assert_eq!(observed(&root).await.unwrap(), Some(state(0o2701, owner())));
    }

    #[tokio::test]
    async fn removal_of_nonempty_directory_is_refused() {
        let paths = ["/srv/data/a", "/srv/data/b/c", "/srv/data/d", "/srv/data/e"];
        let root = TestRoot::new(&paths.map(|path| (path, path)));
        assert_eq!(
            change(&root, None).await.unwrap_err(),
            "directory:/srv/data: cannot remove it: it is not empty: a, b, d, 1 more"
        );
        for path in paths {
            assert_eq!(root.text(path).as_deref(), Some(path));
        }
    }

    #[tokio::test]
    async fn directory_refuses_files_and_symlinks() {
        let root = TestRoot::new(&[(NAME, "a file")]);
        assert_eq!(
            observed(&root).await.unwrap_err(),
            "directory:/srv/data: cannot manage `/srv/data` as directory: it is a file"
        );
        fs::remove_file(root.at(NAME)).unwrap();
        symlink("/etc", root.at(NAME)).unwrap();
        assert!(
            observed(&root)
                .await
                .unwrap_err()
                .contains("it is a symlink")
        );
    }

    #[tokio::test]
    async fn directory_below_a_symlink_is_refused() {
        let root = TestRoot::new(&[("/real/data/file", "")]);
        symlink("real", root.at("/srv")).unwrap();
        assert!(
            observed(&root)
                .await
                .unwrap_err()
                .contains("`/srv` in the path `/srv/data` is a symlink; write the real path")
        );
    }
}
