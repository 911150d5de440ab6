//! Evidence for changes of arguments of MicroK8s: another revision of the snap with its own copy, or MicroK8s itself at a start.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;
use stead_engine::model::drift::{Drift, Evidence};

use crate::{
    evidence::{
        forwarding::KUBELITE_UNIT,
        paths::{change_times, files_changed},
        snap_changes::revision_change,
        starts::{describe_start, started_after},
    },
    host::Reader,
    kinds::kube_args::state::State,
    microk8s::{
        args_file::ArgsFile,
        layout::{LIMIT, Layout, SNAP},
    },
};

/// What says to MicroK8s that it shall take nothing away.
const NO_SANITISATION: &str = "var/lock/no-arg-sanitisation";
/// The link to the data of the current revision.
const CURRENT: &str = "/var/snap/microk8s/current";
/// The script that takes arguments away when kubelite starts.
const SCRIPT: &str = "actions/common/utils.sh";
/// What it takes away, by file, in some release: `sanitise_args_*`.
const SANITISED_FLAGS: [(&str, &[&str]); 5] = [
    (
        "kube-apiserver",
        &[
            "insecure-port",
            "insecure-bind-address",
            "port",
            "address",
            "service-account-api-audiences",
            "experimental-encryption-provider-config",
            "target-ram-mb",
        ],
    ),
    (
        "kube-controller-manager",
        &["address", "port", "experimental-cluster-signing-duration"],
    ),
    ("kube-scheduler", &["address", "port"]),
    ("kube-proxy", &["proxy-mode"]),
    (
        "kubelet",
        &[
            "docker-endpoint",
            "image-pull-progress-deadline",
            "network-plugin",
            "network-plugin-mtu",
            "cni-conf-dir",
            "cni-bin-dir",
            "cni-cache-dir",
            "experimental-kernel-memcg-notification",
            "experimental-dockershim-root-directory",
            "pod-infra-container-image",
            "non-masquerade-cidr",
            "container-runtime",
        ],
    ),
];
/// What it takes away from all of these.
const SANITISED_LOG_FLAGS: [&str; 12] = [
    "log-dir",
    "log-file",
    "log-flush-frequency",
    "logtostderr",
    "alsologtostderr",
    "one-output",
    "stderrthreshold",
    "log-file-max-size",
    "skip-log-headers",
    "add-dir-header",
    "skip-headers",
    "log-backtrace-at",
];

/// Looks for what moved arguments in the file of a part of MicroK8s.
pub(crate) async fn attribute_drift(
    host: &Reader,
    name: &str,
    drift: &Drift<State>,
) -> Option<Evidence> {
    let layout = Layout::find(host).ok()??;
    let (before, after) = (drift.change.before()?, drift.change.after()?);
    let moved = changed_flags(&before.flags, &after.flags);
    let is_another = became_current(host).is_some_and(|at| at > drift.since);
    if is_another
        && other_revision_has(host, &layout, name, &moved)
        && let Some(actor) = revision_change(host, SNAP, drift.since).await
    {
        return Some(actor);
    }
    let is_gone = moved.keys().all(|flag| !before.flags.contains_key(flag));
    if is_gone && let Some(actor) = by_microk8s(host, &layout, name, &moved, drift.since).await {
        return Some(actor);
    }
    files_changed(host, &[&layout.args(name)], drift.modified_at).await
}

/// Flags that moved, with what they were.
type FlagValues = BTreeMap<String, Option<Vec<String>>>;

/// Returns the flags that moved, with what a run had reached.
fn changed_flags(now: &FlagValues, then: &FlagValues) -> FlagValues {
    let names = now.keys().chain(then.keys());
    let moved = names
        .filter(|name| then.get(*name).cloned().flatten() != now.get(*name).cloned().flatten());
    moved
        .map(|name| (name.clone(), then.get(name).cloned().flatten()))
        .collect()
}

/// Returns when the current revision became that.
fn became_current(host: &Reader) -> Option<Timestamp> {
    let link = change_times(host, Path::new(CURRENT)).ok()??;
    Some(link.mtime)
}

/// Whether the copy of another revision still has what moved: then the current one never had it.
fn other_revision_has(host: &Reader, layout: &Layout, name: &str, moved: &FlagValues) -> bool {
    let dir = layout.data.parent().unwrap_or(Path::new("/"));
    let revisions = host.list_dir(dir).unwrap_or_default();
    let others = revisions.iter().map(|revision| dir.join(revision));
    let mut others = others.filter(|data| *data != layout.data);
    others.any(|data| file_has(host, layout, &data.join("args").join(name), name, moved))
}

fn file_has(host: &Reader, layout: &Layout, file: &Path, name: &str, wanted: &FlagValues) -> bool {
    let Ok(Some(text)) = host.read_text(file, LIMIT) else {
        return false;
    };
    let flags = ArgsFile::parse(&text, layout.grammar(name)).flags();
    let values = |name: &String| {
        let value = flags.get(name)?;
        Some(value.clone().into_iter().collect::<Vec<_>>())
    };
    wanted.iter().all(|(name, wanted)| values(name) == *wanted)
}

/// Says whether MicroK8s has taken away all that moved when it started.
async fn by_microk8s(
    host: &Reader,
    layout: &Layout,
    name: &str,
    moved: &FlagValues,
    since: Timestamp,
) -> Option<Evidence> {
    let is_taken = |(flag, wanted): (&String, &Option<Vec<String>>)| {
        wanted.is_some() && is_sanitised(name, flag, wanted.as_deref())
    };
    if !layout.is_kubelite || moved.is_empty() || !moved.iter().all(is_taken) {
        return None;
    }
    if host
        .stat(&layout.data.join(NO_SANITISATION))
        .ok()?
        .is_some()
    {
        return None;
    }
    // Where the script of this release can be read, it has to name all of them.
    let script = host.read_text(&layout.snap().join(SCRIPT), LIMIT).ok()?;
    if script.is_some_and(|script| !moved.keys().all(|flag| script.contains(flag.as_str()))) {
        return None;
    }
    let at = started_after(host, KUBELITE_UNIT, since).await?;
    Some(Evidence::Actor {
        name: "MicroK8s".to_owned(),
        fact: describe_start(KUBELITE_UNIT, at),
    })
}

/// Whether MicroK8s takes an argument away.
fn is_sanitised(file: &str, flag: &str, value: Option<&[String]>) -> bool {
    let known = SANITISED_FLAGS.iter().find(|(of, _)| *of == file);
    let is_known = known
        .is_some_and(|(_, flags)| flags.contains(&flag) || SANITISED_LOG_FLAGS.contains(&flag));
    // Only this mode of kube-proxy.
    let is_other_mode = flag == "proxy-mode"
        && value.and_then(<[_]>::first).map(String::as_str) != Some("userspace");
    is_known && !is_other_mode
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flags_that_microk8s_removes_are_recognized() {
        let check = |file: &str, flag: &str, value: &str, expected: bool| {
            let value = [value.to_owned()];
            assert_eq!(
                is_sanitised(file, flag, Some(&value)),
                expected,
                "{file} {flag}"
            );
        };
        check("kubelet", "log-dir", "/tmp", true);
        check("kubelet", "network-plugin", "cni", true);
        check("kube-proxy", "network-plugin", "cni", false);
        check("kube-proxy", "proxy-mode", "userspace", true);
        check("kube-proxy", "proxy-mode", "iptables", false);
        check("kube-scheduler", "port", "1", true);
        check("kubelet", "port", "1", false);
        check("kubelet", "v", "1", false);
    }

    #[test]
    fn moved_flags_have_their_earlier_values() {
        let flags = |text: &str| {
            let file = ArgsFile::parse(text, crate::microk8s::args_file::Grammar::Kubelite);
            let flags = file.flags().into_iter();
            flags
                .map(|(flag, value)| (flag, Some(value.into_iter().collect())))
                .collect::<FlagValues>()
        };
        let then = flags("--a=1\n--b=2\n--c");
        let found = changed_flags(&flags("--a=1\n--b=3\n--d=4"), &then);
        let value = |value: &str| Some(vec![value.to_owned()]);
        let expected = [("b", value("2")), ("c", Some(vec![])), ("d", None)];
        let expected: FlagValues = expected
            .into_iter()
            .map(|(flag, value)| (flag.to_owned(), value))
            .collect();
        assert_eq!(found, expected);
        let root = crate::files::test_root::TestRoot::new(&[
            ("/var/snap/microk8s/1/args/kubelite", ""),
            (
                "/var/snap/microk8s/1/args/kube-proxy",
                "--a=1\n--b=3\n--d=4\n",
            ),
            (
                "/var/snap/microk8s/2/args/kube-proxy",
                "--a=9\n--b=2\n--c\n",
            ),
        ]);
        root.symlink("/var/snap/microk8s/current", "1");
        let host = root.reader();
        let layout = Layout::find(&host).unwrap().unwrap();
        assert!(other_revision_has(&host, &layout, "kube-proxy", &found));
        let other = flags("--a=7");
        assert!(!other_revision_has(&host, &layout, "kube-proxy", &other));
    }
}
