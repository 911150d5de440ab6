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
    host::{Existing, Live, MetaKind, Reader, Writer},
    values::path::{ancestors, check, other_kind, refused},
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

impl Provider<Live> for Symlink {
    const KIND: &'static str = "symlink";
    const CAPABILITIES: Capabilities<Live, Self> = Capabilities::new()
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
                    .map_err(refused(Self::KIND, name, "inspect it"))?
                {
                    None => Ok(None),
                    Some(meta) if meta.kind != MetaKind::Symlink => {
                        Err(other_kind(Self::KIND, name, &meta))
                    }
                    Some(_) => {
                        let target =
                            host.read_link(path)
                                .map_err(refused(Self::KIND, name, "read it"))?;
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
                    host.remove_file(path)
                        .map_err(refused(Self::KIND, name, "remove it"))?;
                    continue;
                }
                Change::Create { after } => (after, Existing::Refuse),
                Change::Update { after, .. } => (after, Existing::Replace),
            };
            let target = after.target.unwrap_or_default();
            host.put_link(path, &target, existing).map_err(refused(
                Self::KIND,
                name,
                "create it",
            ))?;
        }
        Ok(())
    }

    fn requires(&self, name: &str, _desired: &State) -> Vec<Address> {
        ancestors(name)
    }
}

impl Reversible<Live> for Symlink {
    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        host.clean(Path::new(name))
            .map_err(refused(Self::KIND, name, "remove a temporary link"))
    }
}

impl Importable<Live> for Symlink {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let etc = Etc::read(host).map_err(refused(Self::KIND, "/etc", "inspect it"))?;
        Ok(etc.listing(
            MetaKind::Symlink,
            "Symbolic links in /etc that are not from a package.",
        ))
    }
}

impl Watchable<Live> for Symlink {
    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        evidence::paths::of_path(host, name, drift).await
    }
}

impl Footprint<Live> for Symlink {
    fn managed_paths(&self, name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own folder"
)]
mod tests {
    use std::{fs, os::unix::ffi::OsStrExt};

    use stead_engine::model::error_chain::chain;

    use super::*;
    use crate::files::test_root::Root;

    const NAME: &str = "/etc/localtime";

    async fn observed(root: &Root) -> Result<Option<State>, String> {
        let states = Symlink.read(&root.reader(), &[NAME]).await;
        states
            .map(|mut states| states.remove(0))
            .map_err(|error| chain(&error).join(": "))
    }

    async fn change(root: &Root, after: Option<State>) {
        let change = Change::between(observed(root).await.unwrap(), after).unwrap();
        Symlink
            .apply(&root.writer(), vec![(NAME, change)])
            .await
            .unwrap();
    }

    fn link(root: &Root, target: impl AsRef<Path>) {
        std::os::unix::fs::symlink(target, root.at(NAME)).unwrap();
    }

    fn to(target: &str) -> State {
        State {
            target: Some(PathBuf::from(target)),
        }
    }

    async fn check_there_and_back(there: Option<&str>, after: Option<State>) {
        let root = Root::new(&[("/etc/other", "")]);
        if let Some(target) = there {
            link(&root, target);
        }
        assert_eq!(observed(&root).await.unwrap(), there.map(to));
        change(&root, after.clone()).await;
        assert_eq!(observed(&root).await.unwrap(), after);
        change(&root, there.map(to)).await;
        assert_eq!(observed(&root).await.unwrap(), there.map(to));
        assert_eq!(
            fs::read_dir(root.at("/etc")).unwrap().count(),
            1 + there.iter().count()
        );
    }

    #[tokio::test]
    async fn a_link_is_made_changed_removed_and_put_back() {
        check_there_and_back(None, Some(to("../usr/x"))).await;
        check_there_and_back(Some("/nowhere/at/all"), Some(to("other"))).await;
        check_there_and_back(Some("other"), None).await;
    }

    async fn check_refused(root: &Root, fact: &str) {
        let error = observed(root).await.unwrap_err();
        assert!(error.contains(fact), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_link_is_not_managed_as_one() {
        check_refused(&Root::new(&[(NAME, "")]), "it is a file").await;
        check_refused(
            &Root::new(&[("/etc/localtime/file", "")]),
            "it is a directory",
        )
        .await;
    }

    #[tokio::test]
    async fn a_target_that_no_plan_can_hold_is_refused() {
        let root = Root::new(&[("/etc/other", "")]);
        link(&root, std::ffi::OsStr::from_bytes(b"caf\xe9"));
        check_refused(&root, "its target is not UTF-8").await;
    }

    #[tokio::test]
    async fn what_a_killed_write_left_is_cleaned() {
        let root = Root::new(&[("/etc/other", "")]);
        std::os::unix::fs::symlink("x", root.at("/etc/.localtime.stead-new")).unwrap();
        Symlink.remove_partial(&root.writer(), NAME).await.unwrap();
        assert_eq!(fs::read_dir(root.at("/etc")).unwrap().count(), 1);
    }
}
