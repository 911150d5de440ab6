//! The kind `symlink`: a symbolic link and its target.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        drift::{Drift, Evidence},
        listing::Listing,
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Footprint, Importable, Reversible, Watchable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    etc::Etc,
    evidence,
    host::{IfExists, LinuxHost, MetaKind, Reader, Writer},
    values::path::{ancestors, check, kind_mismatch, provider_error},
};

/// The kind `symlink`.
pub(crate) struct Symlink;

/// State of a symlink.
///
/// ```kdl
/// symlink "/etc/localtime" "/usr/share/zoneinfo/Europe/Berlin"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    #[serde(default)]
    target: Option<PathBuf>,
}

const ATTRIBUTES: &[Attribute] = &[Attribute {
    name: "target",
    shape: Shape::Text,
    role: Role::Managed,
    doc: "Its target, as written in the link: absolute, or relative to the directory of the link.",
    check: Some(check_target),
}];

fn check_target(target: &str) -> Result<(), Problem> {
    if target.is_empty() || target.contains('\0') {
        return Err(Problem::new("a link must have a target"));
    }
    Ok(())
}

impl Provider<LinuxHost> for Symlink {
    const KIND: &'static str = "symlink";
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .reversible()
        .importable()
        .watchable()
        .footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A symbolic link, replaced atomically.",
            name: "absolute path",
            main: Some("target"),
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle::DEFAULT,
            absence: Absence::Allowed,
            example: "symlink \"/etc/localtime\" \"/usr/share/zoneinfo/Europe/Berlin\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        check(name)
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        match desired.target {
            Some(_) => vec![],
            None => {
                vec![Problem::new("a symlink needs its target").help("write it after the path")]
            }
        }
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        names
            .iter()
            .map(|name| {
                let path = Path::new(name);
                match host
                    .stat(path)
                    .map_err(provider_error(Self::KIND, name, "inspect it"))?
                {
                    None => Ok(None),
                    Some(meta) if meta.kind != MetaKind::Symlink => {
                        Err(kind_mismatch(Self::KIND, name, &meta))
                    }
                    Some(_) => {
                        let target = host.read_link(path).map_err(provider_error(
                            Self::KIND,
                            name,
                            "read it",
                        ))?;
                        if target.to_str().is_none() {
                            let fact = format!("its target is not UTF-8: {}", target.display());
                            return Err(ProviderError::new(
                                Address::new(Self::KIND, *name),
                                "record it",
                                fact,
                            ));
                        }
                        Ok(Some(State {
                            target: Some(target),
                        }))
                    }
                }
            })
            .collect()
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let path = Path::new(name);
            let (after, existing) = match change {
                Change::Delete { .. } => {
                    host.remove_file(path).map_err(provider_error(
                        Self::KIND,
                        name,
                        "remove it",
                    ))?;
                    continue;
                }
                Change::Create { after } => (after, IfExists::Refuse),
                Change::Update { after, .. } => (after, IfExists::Replace),
            };
            let target = after.target.unwrap_or_default();
            host.write_symlink(path, &target, existing)
                .map_err(provider_error(Self::KIND, name, "create it"))?;
        }
        Ok(())
    }

    fn requires(&self, name: &str, _desired: &State) -> Vec<Address> {
        ancestors(name)
    }
}

impl Reversible<LinuxHost> for Symlink {
    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        host.remove_temporary(Path::new(name))
            .map_err(provider_error(Self::KIND, name, "remove a temporary link"))
    }
}

impl Importable<LinuxHost> for Symlink {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let etc = Etc::read(host).map_err(provider_error(Self::KIND, "/etc", "inspect it"))?;
        Ok(etc.listing(
            MetaKind::Symlink,
            "Symbolic links in /etc that are not from a package.",
        ))
    }
}

impl Watchable<LinuxHost> for Symlink {
    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        evidence::paths::path_changed(host, name, drift).await
    }
}

impl Footprint<LinuxHost> for Symlink {
    fn managed_paths(&self, name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]
mod tests {
    use std::{fs, os::unix::ffi::OsStrExt};

    use stead_engine::model::error_chain::error_chain;

    use super::*;
    use crate::files::test_root::TestRoot;

    const NAME: &str = "/etc/localtime";

    async fn observed(root: &TestRoot) -> Result<Option<State>, String> {
        let states = Symlink.read(&root.reader(), &[NAME]).await;
        states
            .map(|mut states| states.remove(0))
            .map_err(|error| error_chain(&error).join(": "))
    }

    async fn change(root: &TestRoot, after: Option<State>) {
        let change = Change::between(observed(root).await.unwrap(), after).unwrap();
        Symlink
            .apply(&root.writer(), vec![(NAME, change)])
            .await
            .unwrap();
    }

    fn link(root: &TestRoot, target: impl AsRef<Path>) {
        std::os::unix::fs::symlink(target, root.at(NAME)).unwrap();
    }

    fn state_with_target(target: &str) -> State {
        State {
            target: Some(PathBuf::from(target)),
        }
    }

    async fn check_round_trip(there: Option<&str>, after: Option<State>) {
        let root = TestRoot::new(&[("/etc/other", "")]);
        if let Some(target) = there {
            link(&root, target);
        }
        assert_eq!(observed(&root).await.unwrap(), there.map(state_with_target));
        change(&root, after.clone()).await;
        assert_eq!(observed(&root).await.unwrap(), after);
        change(&root, there.map(state_with_target)).await;
        assert_eq!(observed(&root).await.unwrap(), there.map(state_with_target));
        assert_eq!(
            fs::read_dir(root.at("/etc")).unwrap().count(),
            1 + there.iter().count()
        );
    }

    #[tokio::test]
    async fn symlink_is_created_changed_removed_and_restored() {
        check_round_trip(None, Some(state_with_target("../usr/x"))).await;
        check_round_trip(Some("/nowhere/at/all"), Some(state_with_target("other"))).await;
        check_round_trip(Some("other"), None).await;
    }

    async fn check_refused(root: &TestRoot, fact: &str) {
        let error = observed(root).await.unwrap_err();
        assert!(error.contains(fact), "{error}");
    }

    #[tokio::test]
    async fn symlink_refuses_files_and_directories() {
        check_refused(&TestRoot::new(&[(NAME, "")]), "it is a file").await;
        check_refused(
            &TestRoot::new(&[("/etc/localtime/file", "")]),
            "it is a directory",
        )
        .await;
    }

    #[tokio::test]
    async fn symlink_target_must_be_utf8() {
        let root = TestRoot::new(&[("/etc/other", "")]);
        link(&root, std::ffi::OsStr::from_bytes(b"caf\xe9"));
        check_refused(&root, "its target is not UTF-8").await;
    }

    #[tokio::test]
    async fn remove_partial_deletes_the_temporary_link() {
        let root = TestRoot::new(&[("/etc/other", "")]);
        std::os::unix::fs::symlink("x", root.at("/etc/.localtime.stead-new")).unwrap();
        Symlink.remove_partial(&root.writer(), NAME).await.unwrap();
        assert_eq!(fs::read_dir(root.at("/etc")).unwrap().count(), 1);
    }
}
