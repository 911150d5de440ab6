//! The kind `kube-args`: arguments of a service of MicroK8s, by key, in its argument file.

pub(crate) mod drift;
pub(crate) mod state;
pub(crate) mod suggest;

use std::collections::BTreeMap;

use serde_json::json;
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        completion::CompletionTarget,
        drift::{Drift, Evidence},
        listing::{Export, Listing},
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
    host::{FileAttributes, HostError, IfExists, LinuxHost, Reader, Trigger, Writer},
    kinds::kube_args::state::State,
    microk8s::{
        args_file::{ArgsFile, check_value},
        layout::{self, Layout, SNAP},
        restart::record_start,
    },
    values::{implied_hook, path::provider_error, secret_patterns},
};

/// What kube-proxy knows: `cmd/kube-proxy/app/server_linux.go` of Kubernetes. It ends at once with any other.
const PROXY_MODES: [&str; 3] = ["iptables", "ipvs", "nftables"];
/// The mode that kube-proxy had until 1.25, and that MicroK8s takes away at each start since.
const USERSPACE: &str = "userspace";
/// Who may read a new file: the group of MicroK8s may, as with those that it makes.
const NEW_MODE: u32 = 0o660;

/// The kind `kube-args`.
pub(crate) struct KubeArgs;

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "flags",
        Shape::Entries,
        Role::Managed,
        "Flags without their dashes, each with its value; none for a bare flag, `#null` to remove one.",
    ),
    Attribute::new("text", Shape::Text, Role::Context, "The whole file."),
];

impl Provider<LinuxHost> for KubeArgs {
    const KIND: &'static str = "kube-args";
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
            summary: "Arguments of a MicroK8s service, such as kube-proxy. Arguments that are not written stay as they are.",
            name: "component",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                needs_init: true,
                is_runtime: true,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Refused(
                "MicroK8s needs the file; write `FLAG #null` for each flag to remove",
            ),
            example: "kube-args \"kube-proxy\" {\n    proxy-mode \"iptables\"\n    metrics-bind-address #null\n}\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        if layout::group(name).is_some() {
            return Ok(());
        }
        let known: Vec<_> = layout::files().collect();
        Err(
            Problem::new(format!("MicroK8s has no argument file for `{name}`"))
                .help(format!("it has argument files for {}", known.join(", "))),
        )
    }

    fn check(&self, name: &str, desired: &State) -> Vec<Problem> {
        let mut problems = vec![];
        for (flag, values) in &desired.flags {
            if flag.starts_with('-') {
                let message = format!("`{flag}` is written without its dashes");
                let help = format!("write `{}`", flag.trim_start_matches('-'));
                problems.push(Problem::new(message).at(flag).help(help));
            } else if !flag
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            {
                problems.push(Problem::new(format!("`{flag}` cannot be a flag")).at(flag));
            }
            if layout::is_self_managed(name, flag) {
                let message = format!("MicroK8s itself sets `{flag}` of {name} at each start");
                problems.push(Problem::new(message).at(flag).help("remove it"));
            }
            if values.as_ref().is_some_and(|values| values.len() > 1) {
                let message = format!("`{flag}` takes one value");
                problems.push(
                    Problem::new(message)
                        .at(flag)
                        .help("write a list as one text, as the flag expects it"),
                );
            }
        }
        problems
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        desired: State,
    ) -> Result<State, Vec<Problem>> {
        if desired.text.is_some() {
            return Ok(desired);
        }
        let layout = Layout::running(host)?;
        if layout.is_worker && name.starts_with("kube-") && name != "kube-proxy" {
            let message = format!("this node is a worker of another cluster and runs no {name}");
            return Err(vec![
                Problem::new(message).help("write it on the node that runs the control plane"),
            ]);
        }
        let mut problems = vec![];
        for (flag, values) in &desired.flags {
            let Some(value) = values.iter().flatten().next() else {
                continue;
            };
            if let Err(problem) = check_value(value, layout.grammar(name)) {
                problems.push(problem.at(flag));
            }
            if (name, flag.as_str()) == ("kube-proxy", "proxy-mode") {
                problems.extend(check_mode(value, &layout).err());
            }
        }
        if problems.is_empty() {
            problems = flag_errors(host, &layout, name, &desired).await;
        }
        if problems.is_empty() {
            Ok(desired)
        } else {
            Err(problems)
        }
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let Some(layout) =
            Layout::find(host).map_err(provider_error(Self::KIND, names[0], "find MicroK8s"))?
        else {
            return Ok(vec![None; names.len()]);
        };
        let mut states = vec![];
        for name in names {
            let text = host
                .read_text(&layout.args(name), layout::LIMIT)
                .map_err(provider_error(Self::KIND, name, "read its arguments"))?;
            let file = ArgsFile::parse(text.as_deref().unwrap_or_default(), layout.grammar(name));
            let flags = file.flags().into_iter();
            states.push(Some(State {
                flags: flags
                    .filter(|(flag, _)| !layout::is_self_managed(name, flag))
                    .map(|(flag, value)| (flag, Some(value.into_iter().collect())))
                    .collect(),
                text,
            }));
        }
        Ok(states)
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let Some(after) = change.after() else {
                let fact = "MicroK8s needs the file";
                return Err(ProviderError::new(
                    Address::new(Self::KIND, name),
                    "remove its arguments",
                    fact,
                ));
            };
            record_start(host, name).await.map_err(provider_error(
                Self::KIND,
                name,
                "read the arguments that its service was started with",
            ))?;
            write(host, name, after).map_err(provider_error(
                Self::KIND,
                name,
                "write its arguments",
            ))?;
        }
        Ok(())
    }

    fn requires(&self, _name: &str, _desired: &State) -> Vec<Address> {
        vec![Address::new("snap", SNAP)]
    }
}

impl Reversible<LinuxHost> for KubeArgs {
    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        let layout = Layout::find(&Reader::new(host.root())).map_err(provider_error(
            Self::KIND,
            name,
            "find MicroK8s",
        ))?;
        match layout {
            Some(layout) => host
                .remove_temporary(&layout.args(name))
                .map_err(provider_error(Self::KIND, name, "remove a temporary file")),
            None => Ok(()),
        }
    }
}

impl Importable<LinuxHost> for KubeArgs {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let refused = provider_error(Self::KIND, "", "read its arguments");
        let Some(layout) = Layout::find(host).map_err(&refused)? else {
            return Ok(Listing::not_importable(layout::NOT_INSTALLED));
        };
        let heading = "Arguments of MicroK8s services that differ from those of its release; `#null` is a removed one.";
        let mut listing = Listing::new(heading, []);
        for name in layout::files() {
            let Some(file) = layout.read_args(host, name).map_err(&refused)? else {
                continue;
            };
            let default = layout.default_args(host, name).map_err(&refused)?;
            let differing = non_default_flags(name, &file, &default);
            let secrets = differing
                .keys()
                .filter(|flag| secret_patterns::is_name_secret(flag));
            listing
                .secrets
                .extend(secrets.map(|flag| format!("{name} --{flag}")));
            if differing.is_empty() {
                listing.default += 1;
            } else {
                listing.managed.insert(name.to_owned());
            }
        }
        Ok(listing)
    }

    async fn export(
        &self,
        host: &Reader,
        name: &str,
        _state: State,
    ) -> Result<Export<State>, ProviderError> {
        let refused = provider_error(Self::KIND, name, "read its arguments");
        let Some(layout) = Layout::find(host).map_err(&refused)? else {
            return Ok(Export::Default);
        };
        let file = layout
            .read_args(host, name)
            .map_err(&refused)?
            .unwrap_or_default();
        let default = layout.default_args(host, name).map_err(&refused)?;
        let mut flags = non_default_flags(name, &file, &default);
        flags.retain(|flag, _| !secret_patterns::is_name_secret(flag));
        if flags.is_empty() {
            return Ok(Export::Default);
        }
        Ok(Export::as_is(State { flags, text: None }))
    }
}

impl Completable<LinuxHost> for KubeArgs {
    async fn complete(&self, host: &Reader, name: &str, gap: &CompletionTarget) -> Vec<String> {
        match gap {
            CompletionTarget::Name => layout::files().map(str::to_owned).collect(),
            CompletionTarget::Key(_) => suggest::flags(host, name),
            CompletionTarget::KeyValue(_, flag)
                if (name, &**flag) == ("kube-proxy", "proxy-mode") =>
            {
                PROXY_MODES.map(str::to_owned).to_vec()
            }
            CompletionTarget::KeyValue(_, flag) => suggest::values_of_flag(host, name, flag),
            CompletionTarget::Value(_) => vec![],
        }
    }
}

impl Composite<LinuxHost> for KubeArgs {
    fn implies(&self, name: &str, _desired: &State) -> Vec<(Address, Desired)> {
        let group = layout::group(name).unwrap_or(name);
        let restart = Address::new("restart", format!("{SNAP}/{group}"));
        vec![
            (restart, Desired::present(json!({}))),
            implied_hook::snap_refresh(),
        ]
    }
}

impl Watchable<LinuxHost> for KubeArgs {
    fn triggers(&self, name: &str, _desired: Option<&State>) -> Vec<Trigger> {
        vec![Trigger::Path(layout::current_args(name))]
    }

    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        drift::attribute_drift(host, name, drift).await
    }
}

impl Footprint<LinuxHost> for KubeArgs {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        vec!["/var/snap/microk8s/*".to_owned()]
    }
}

/// Asks the program itself what it would not take, where that is possible: see [`Layout::program`]. With kubelite only the restart
/// shows it.
async fn flag_errors(host: &Reader, layout: &Layout, name: &str, desired: &State) -> Vec<Problem> {
    let Some(program) = layout.program(name) else {
        return vec![];
    };
    let mut problems = vec![];
    for (flag, values) in &desired.flags {
        let argument = match values.as_deref() {
            None => continue,
            // Variables are expanded before the program sees them.
            Some([value, ..]) if value.contains('$') => continue,
            Some([value, ..]) => format!("--{flag}={value}"),
            Some([]) => format!("--{flag}"),
        };
        if let Some(complaint) = host.flag_error(&program, &[&argument]).await {
            let message = format!("{name} of this release would not start: {complaint}");
            let help = format!("`{} --help` lists its flags", program.display());
            problems.push(Problem::new(message).at(flag).help(help));
        }
    }
    problems
}

/// Returns the flags in which a file differs from the default, as a spec says them.
fn non_default_flags(
    name: &str,
    file: &ArgsFile,
    default: &ArgsFile,
) -> BTreeMap<String, Option<Vec<String>>> {
    let (flags, default) = (file.flags(), default.flags());
    let gone = default.keys().filter(|flag| !flags.contains_key(*flag));
    let gone = gone.map(|flag| (flag.clone(), None));
    let others = flags
        .iter()
        .filter(|(flag, value)| default.get(*flag) != Some(value));
    let others =
        others.map(|(flag, value)| (flag.clone(), Some(value.clone().into_iter().collect())));
    let differing = gone.chain(others);
    differing
        .filter(|(flag, _)| !layout::is_self_managed(name, flag))
        .collect()
}

fn check_mode(mode: &str, layout: &Layout) -> Result<(), Problem> {
    if mode == USERSPACE && layout.is_kubelite {
        return Err(Problem::new(
            "MicroK8s removes the mode `userspace` at each start: kube-proxy no longer has it",
        )
        .at("proxy-mode")
        .help("write `iptables`"));
    }
    if mode == USERSPACE || PROXY_MODES.contains(&mode) {
        return Ok(());
    }
    Err(Problem::new(format!(
        "kube-proxy has no mode `{mode}` and would not start"
    ))
    .at("proxy-mode")
    .help(format!("write one of {}", PROXY_MODES.join(", "))))
}

/// Writes the file: the recorded text where that is what is wanted, else an edit of what is there.
fn write(host: &Writer, name: &str, after: &State) -> Result<(), HostError> {
    let reader = Reader::new(host.root());
    let Some(layout) = Layout::find(&reader)? else {
        return Err(HostError::Service {
            service: SNAP.to_owned(),
            fault: "is not installed".to_owned(),
        });
    };
    let path = layout.args(name);
    let wanted = |flags: &BTreeMap<String, Option<String>>| {
        let values = |value: &Option<String>| value.clone().into_iter().collect::<Vec<_>>();
        let are_there = after
            .flags
            .iter()
            .all(|(flag, wish)| flags.get(flag).map(values).as_ref() == wish.as_ref());
        let others = flags
            .keys()
            .filter(|flag| !layout::is_self_managed(name, flag));
        are_there
            && others
                .into_iter()
                .all(|flag| after.flags.contains_key(flag))
    };
    let recorded = after
        .text
        .as_deref()
        .map(|text| ArgsFile::parse(text, layout.grammar(name)));
    let text = match (&after.text, recorded) {
        (Some(text), Some(recorded)) if wanted(&recorded.flags()) => text.clone(),
        _ => {
            let there = reader.read_text(&path, layout::LIMIT)?.unwrap_or_default();
            edit_text(&there, name, &layout, after)
        }
    };
    let access = match reader.stat(&path)? {
        Some(meta) => meta.attributes(),
        None => FileAttributes {
            mode: NEW_MODE,
            uid: 0,
            gid: 0,
            xattrs: None,
        },
    };
    host.write_file(
        &path,
        &mut text.as_bytes(),
        None,
        &access,
        IfExists::Replace,
    )
}

/// Edits a text: the flags of `after` are what it then has, apart from those of MicroK8s itself.
fn edit_text(there: &str, name: &str, layout: &Layout, after: &State) -> String {
    let mut file = ArgsFile::parse(there, layout.grammar(name));
    let flags = file.flags();
    for (flag, wish) in &after.flags {
        let is = flags
            .get(flag)
            .map(|value| value.clone().into_iter().collect::<Vec<_>>());
        match wish {
            wish if *wish == is => {}
            None => file.unset(flag),
            Some(values) => file.set(flag, values.first().map(String::as_str)),
        }
    }
    // What was read lists all flags, so one that is not listed has gone since.
    if after.text.is_some() {
        for flag in flags
            .keys()
            .filter(|flag| !layout::is_self_managed(name, flag))
        {
            if !after.flags.contains_key(flag) {
                file.unset(flag);
            }
        }
    }
    file.text()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes its own directory")]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    #[tokio::test]
    async fn import_compares_flags_in_any_notation() {
        let default = "--kubeconfig=${SNAP_DATA}/credentials/proxy.config\n--cluster-cidr=10.1.0.0/16\n--profiling=false\n";
        let now = "# mine\n\n--kubeconfig=\"${SNAP_DATA}/credentials/proxy.config\"\n--cluster-cidr 10.1.0.0/16\n\
            --proxy-mode=userspace\n--proxy-mode='iptables'\n--bare\n--conntrack-max-per-core=0\n--token=abc\n";
        let root = TestRoot::new(&[
            ("/var/snap/microk8s/7/args/kubelite", ""),
            ("/var/snap/microk8s/7/args/kube-proxy", now),
            ("/var/snap/microk8s/7/args/kubelet", "--a=1\n"),
            ("/snap/microk8s/7/default-args/kubelet", "--a=1\n"),
            ("/snap/microk8s/7/default-args/kube-proxy", default),
        ]);
        std::os::unix::fs::symlink("7", root.at("/var/snap/microk8s/current")).unwrap();
        let host = root.reader();
        let listing = KubeArgs.list(&host).await.unwrap();
        assert_eq!(
            listing.managed.into_iter().collect::<Vec<_>>(),
            ["kube-proxy"]
        );
        assert_eq!(listing.default, 2);
        assert_eq!(
            listing.secrets.into_iter().collect::<Vec<_>>(),
            ["kube-proxy --token"]
        );
        let Export::Write(text) = KubeArgs
            .export(&host, "kube-proxy", State::default())
            .await
            .unwrap()
        else {
            panic!("it differs");
        };
        let value = |text: &str| Some(vec![text.to_owned()]);
        let expected = [
            ("bare".to_owned(), Some(vec![])),
            ("profiling".to_owned(), None),
            ("proxy-mode".to_owned(), value("iptables")),
        ];
        assert_eq!(text.state.flags, BTreeMap::from(expected));
    }
}
