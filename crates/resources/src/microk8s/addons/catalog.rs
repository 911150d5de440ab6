//! The addons that the repositories of this host have, with what stead knows of each before it is enabled.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;
use stead_engine::model::{schema::Problem, suggest};

use crate::{
    host::{HostError, Reader},
    microk8s::layout::{COMMON, Layout},
};

/// The largest file of a repository that is read, in bytes.
const LIMIT: u64 = 4 << 20;
/// The repository that only the addon of the same name brings: `microk8s enable community`.
pub(crate) const COMMUNITY: &str = "community";

/// Kinds that run programs.
pub(crate) const WORKLOADS: [&str; 3] = ["DaemonSet", "Deployment", "StatefulSet"];

/// All addons, by `repository/name`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) addons: BTreeMap<String, Addon>,
    /// Other names of some of them, as `core/storage` is one of `core/hostpath-storage`.
    aliases: BTreeMap<String, String>,
}

/// What a repository says of an addon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addon {
    /// What `MicroK8s` looks for: part of `kind.group/name`, or the path of a file.
    pub(crate) check: StatusCheck,
    /// The objects that its manifests make.
    pub(crate) manifests: Vec<Manifest>,
    /// The script that disables it.
    pub(crate) disable: String,
    /// Whether its repository comes with the addon `community` and is not there yet.
    pub(crate) needs_community: bool,
}

/// What `MicroK8s` takes for a sign that an addon is enabled: `scripts/wrappers/status.py`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StatusCheck {
    /// A file that enabling makes.
    File(PathBuf),
    /// A file of the snap itself: the addon is always there.
    BuiltIn,
    /// Part of `kind.group/name` of any object, whoever made it.
    Object(String),
}

impl Default for StatusCheck {
    fn default() -> Self {
        Self::Object(String::new())
    }
}

/// An object of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) content: Value,
}

/// An `addons.yaml`: the schema is in `scripts/wrappers/addons.py`.
#[derive(Deserialize)]
struct AddonsYaml {
    #[serde(rename = "microk8s-addons")]
    top: AddonsSection,
}

#[derive(Deserialize)]
struct AddonsSection {
    addons: Vec<AddonEntry>,
}

#[derive(Deserialize)]
struct AddonEntry {
    name: String,
    #[serde(default)]
    check_status: String,
}

impl Addon {
    /// Returns the manifests of what runs programs.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Manifest> {
        let manifests = self.manifests.iter();
        manifests.filter(|manifest| WORKLOADS.contains(&manifest.kind.as_str()))
    }
}

impl Catalog {
    /// Reads the repositories; `None` if this `MicroK8s` has none, as before 1.24.
    pub(crate) fn read(host: &Reader, layout: &Layout) -> Result<Option<Self>, HostError> {
        let common = Path::new(COMMON).join("addons");
        if host.stat(&common)?.is_none() {
            return Ok(None);
        }
        let mut catalogue = Self::default();
        for repository in host.list_dir(&common)? {
            if let Some(name) = repository.to_str() {
                catalogue.add_repository(host, layout, name, &common.join(name), false)?;
            }
        }
        let has_community = host.stat(&common.join(COMMUNITY))?.is_some();
        if !has_community {
            let source = layout.snap().join("addons").join(COMMUNITY);
            catalogue.add_repository(host, layout, COMMUNITY, &source, true)?;
        }
        catalogue.split_off_aliases();
        Ok(Some(catalogue))
    }

    /// Takes those for other names that say nothing of their own and look for what another addon brings.
    fn split_off_aliases(&mut self) {
        let says_nothing = |addon: &Addon| {
            matches!(addon.check, StatusCheck::Object(_)) && addon.workloads().next().is_none()
        };
        let aliases = self.addons.iter().filter(|(_, addon)| says_nothing(addon));
        let aliases = aliases.filter_map(|(alias, addon)| {
            let mut others = self.addons.iter();
            let (main, _) =
                others.find(|(_, other)| other.check == addon.check && !says_nothing(other))?;
            Some((alias.clone(), main.clone()))
        });
        self.aliases = aliases.collect();
        for alias in self.aliases.keys() {
            self.addons.remove(alias);
        }
    }

    fn add_repository(
        &mut self,
        host: &Reader,
        layout: &Layout,
        repository: &str,
        dir: &Path,
        needs_community: bool,
    ) -> Result<(), HostError> {
        let Some(text) = host.read_text(&dir.join("addons.yaml"), LIMIT)? else {
            return Ok(());
        };
        let listing: AddonsYaml =
            serde_saphyr::from_str(&text).map_err(|error| HostError::Service {
                service: format!("{}/addons.yaml", dir.display()),
                fault: error.to_string(),
            })?;
        for entry in listing.top.addons {
            let own = dir.join("addons").join(&entry.name);
            let mut addon = Addon {
                check: parse_check(&entry.check_status, layout),
                manifests: vec![],
                disable: host
                    .read_text(&own.join("disable"), LIMIT)?
                    .unwrap_or_default(),
                needs_community,
            };
            for file in host.list_dir(&own)? {
                let file = own.join(file);
                let is_yaml = file
                    .extension()
                    .is_some_and(|is| is == "yaml" || is == "yml");
                if is_yaml && let Some(text) = host.read_text(&file, LIMIT)? {
                    addon.manifests.extend(parse_manifests(&text));
                }
            }
            self.addons
                .insert(format!("{repository}/{}", entry.name), addon);
        }
        Ok(())
    }

    /// Finds the full name of an addon as a user wrote it.
    pub(crate) fn resolve(&self, written: &str) -> Result<String, Problem> {
        let names = self.addons.keys().map(|name| (name, name));
        let names: BTreeMap<_, _> = names.chain(&self.aliases).collect();
        let written_so = |name: &str| {
            let bare = name.split_once('/').map(|(_, bare)| bare);
            name == written || bare == Some(written)
        };
        let same: Vec<&str> = names
            .keys()
            .filter(|name| written_so(name))
            .map(|name| name.as_str())
            .collect();
        match same.as_slice() {
            [only] => Ok(names[&(*only).to_owned()].clone()),
            [] => Err(self.unknown_addon(written)),
            several => Err(Problem::new(format!(
                "the addon `{written}` is in several repositories"
            ))
            .at(written)
            .help(format!("write one of \"{}\"", several.join("\", \"")))),
        }
    }

    fn unknown_addon(&self, written: &str) -> Problem {
        let is_full = written.contains('/');
        let spelled = |full: &String| match full.split_once('/') {
            Some((_, bare)) if !is_full => bare.to_owned(),
            _ => full.clone(),
        };
        let known: Vec<String> = self.addons.keys().map(spelled).collect();
        Problem::new(format!("no repository has an addon `{written}`"))
            .at(written)
            .help(suggest::did_you_mean(
                "the addons are",
                written,
                known.iter().map(String::as_str),
            ))
    }
}

fn parse_check(text: &str, layout: &Layout) -> StatusCheck {
    for (variable, directory) in [
        ("${SNAP}", layout.snap()),
        ("${SNAP_DATA}", layout.data.clone()),
        ("${SNAP_COMMON}", PathBuf::from(COMMON)),
    ] {
        if let Some(rest) = text.strip_prefix(variable) {
            let path = directory.join(rest.trim_start_matches('/'));
            return if path.starts_with(layout.snap()) {
                StatusCheck::BuiltIn
            } else {
                StatusCheck::File(path)
            };
        }
    }
    StatusCheck::Object(text.to_owned())
}

/// Takes a file of manifests apart. Placeholders that a script fills in are no YAML; a file that is none after all says nothing.
fn parse_manifests(text: &str) -> Vec<Manifest> {
    let text = fill_placeholders(text);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap_or_default();
    let items = documents.into_iter().flat_map(|document| match document {
        Value::Object(mut list) if list.contains_key("items") => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => vec![],
        },
        document => vec![document],
    });
    items
        .filter_map(|document| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            Some(Manifest {
                kind: text(&document["kind"])?,
                namespace: text(&document["metadata"]["namespace"]),
                name: text(&document["metadata"]["name"])?,
                content: document,
            })
        })
        .filter(|manifest| !has_placeholder(&manifest.name))
        .collect()
}

/// Writes `{{NAME}}` in another way: braces open a map in YAML.
fn fill_placeholders(text: &str) -> String {
    let mut closed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        closed += before;
        let is_name = |c: char| c.is_ascii_alphanumeric() || " _.-".contains(c);
        match after.split_once("}}") {
            Some((name, after)) if name.chars().all(is_name) => {
                for part in [PLACEHOLDER, name.trim(), PLACEHOLDER] {
                    closed += part;
                }
                rest = after;
            }
            _ => {
                closed += "{{";
                rest = after;
            }
        }
    }
    closed + rest
}

/// What stands for the braces around what a script fills in.
const PLACEHOLDER: &str = "~~";

/// Whether a script fills in a part of a text.
pub(crate) fn has_placeholder(text: &str) -> bool {
    text.contains(PLACEHOLDER) || text.contains('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_parse_despite_placeholders() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: kube-dns, namespace: kube-system, labels: {a: {b: c}}}\nspec:\n  clusterIP: {{ADDRESS}}\n---\nkind: ConfigMap\nmetadata:\n  name: $NAME\n---\nkind: List\nitems:\n- kind: Namespace\n  metadata: {name: a}\n";
        let found = parse_manifests(text);
        let names: Vec<_> = found
            .iter()
            .map(|manifest| (manifest.kind.as_str(), manifest.name.as_str()))
            .collect();
        assert_eq!(names, [("Service", "kube-dns"), ("Namespace", "a")]);
        assert_eq!(found[0].namespace.as_deref(), Some("kube-system"));
        assert_eq!(parse_manifests("{{ a: [ }"), []);
    }

    fn catalog_of(names: &[&str]) -> Catalog {
        let addons = names.iter();
        Catalog {
            addons: addons
                .map(|name| ((*name).to_owned(), Addon::default()))
                .collect(),
            ..Catalog::default()
        }
    }

    #[test]
    fn resolve_maps_aliases_to_their_addon() {
        let mut catalogue = catalog_of(&["core/hostpath-storage", "core/storage", "core/helm"]);
        let deployment = "kind: Deployment\nmetadata: {name: a}\n";
        for (name, check, text) in [
            ("core/hostpath-storage", "deployment.apps/a", deployment),
            ("core/storage", "deployment.apps/a", ""),
            ("core/helm", "pod/helm", ""),
        ] {
            let addon = catalogue.addons.get_mut(name).unwrap();
            addon.check = StatusCheck::Object(check.to_owned());
            addon.manifests = parse_manifests(text);
        }
        catalogue.split_off_aliases();
        for name in ["storage", "core/storage", "hostpath-storage"] {
            assert_eq!(catalogue.resolve(name).unwrap(), "core/hostpath-storage");
        }
        assert_eq!(catalogue.resolve("helm").unwrap(), "core/helm");
        assert!(!catalogue.addons.contains_key("core/storage"));
    }

    #[test]
    fn resolve_rejects_ambiguous_and_unknown_names() {
        let catalogue = catalog_of(&["community/istio", "core/dns", "mine/istio"]);
        assert_eq!(catalogue.resolve("dns").unwrap(), "core/dns");
        assert_eq!(catalogue.resolve("mine/istio").unwrap(), "mine/istio");
        let several = catalogue.resolve("istio").unwrap_err();
        assert_eq!(
            several.message,
            "the addon `istio` is in several repositories"
        );
        assert_eq!(
            several.help.as_deref(),
            Some("write one of \"community/istio\", \"mine/istio\"")
        );
        let unknown = catalogue.resolve("dsn").unwrap_err();
        assert_eq!(unknown.message, "no repository has an addon `dsn`");
        assert!(unknown.help.unwrap().starts_with("did you mean `dns`? "));
    }
}
