//! The arguments that the running kube-proxy reports, compared with its file.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    host::{HostError, Reader},
    microk8s::{args_file, layout::Layout},
};

/// Where kube-proxy tells of itself unless `metrics-bind-address` says so: `serveMetrics` in `cmd/kube-proxy/app/server.go` of Kubernetes.
const PORT: u16 = 10249;
/// The mode of a kube-proxy without a flag.
const DEFAULT_MODE: &str = "iptables";
/// The flag after which kube-proxy takes no other into account: `Options.Complete` in the same file.
const CONFIG: &str = "config";

/// Flags that `/configz` repeats as they were written, each with the place of its value. It has the names of the fields in Go
/// (`pkg/proxy/apis/config/types.go`); their case is not believed to stay. A release that has a field no more proves nothing by it.
const CONFIGZ_FIELDS: [(&str, &[&str]); 12] = [
    ("bind-address", &["bindaddress"]),
    ("cluster-cidr", &["clustercidr"]),
    ("conntrack-min", &["conntrack", "min"]),
    ("healthz-bind-address", &["healthzbindaddress"]),
    ("iptables-masquerade-bit", &["iptables", "masqueradebit"]),
    ("ipvs-scheduler", &["ipvs", "scheduler"]),
    ("ipvs-strict-arp", &["ipvs", "strictarp"]),
    ("masquerade-all", &["iptables", "masqueradeall"]),
    ("metrics-bind-address", &["metricsbindaddress"]),
    ("oom-score-adj", &["oomscoreadj"]),
    ("profiling", &["enableprofiling"]),
    ("proxy-port-range", &["portrange"]),
];

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ProxyState {
    /// Nobody answers.
    Silent,
    /// All that it tells is as its arguments say.
    Matches,
    /// It runs with something else, and this says with what.
    Differs(String),
}

type Flags = BTreeMap<String, args_file::FlagValue>;

/// Asks the kube-proxy that runs here for its mode; `None` if nobody answers.
pub(crate) async fn mode(host: &Reader, layout: &Layout) -> Result<Option<String>, HostError> {
    let flags = layout.flags(host, "kube-proxy")?;
    let Some(port) = port(&flags) else {
        return Ok(None);
    };
    let mode = fetch(host, port, "/proxyMode").await;
    Ok(mode.map(|mode| String::from_utf8_lossy(&mode).trim().to_owned()))
}

/// Asks the kube-proxy that runs here.
pub(crate) async fn query_state(host: &Reader, layout: &Layout) -> Result<ProxyState, HostError> {
    let flags = layout.flags(host, "kube-proxy")?;
    let Some(port) = port(&flags) else {
        return Ok(ProxyState::Silent);
    };
    let Some(mode) = mode(host, layout).await? else {
        return Ok(ProxyState::Silent);
    };
    let wanted = value(&flags, "proxy-mode").unwrap_or(DEFAULT_MODE);
    if mode != wanted {
        let other = format!("kube-proxy runs in the mode {mode}, not {wanted}");
        return Ok(ProxyState::Differs(other));
    }
    let fields = fetch(host, port, "/configz").await;
    let fields = fields.and_then(|text| serde_json::from_slice(&text).ok());
    Ok(
        match fields.and_then(|fields| difference(&fields, &flags)) {
            Some(other) => ProxyState::Differs(other),
            None => ProxyState::Matches,
        },
    )
}

fn value<'a>(flags: &'a Flags, flag: &str) -> Option<&'a str> {
    flags.get(flag)?.as_deref()
}

fn port(flags: &Flags) -> Option<u16> {
    match value(flags, "metrics-bind-address") {
        None => Some(PORT),
        Some(address) => address.rsplit_once(':')?.1.parse().ok(),
    }
}

/// Returns a page that kube-proxy serves.
async fn fetch(host: &Reader, port: u16, path: &str) -> Option<Vec<u8>> {
    let reply = host.http_get_localhost(port, path).await.ok()?;
    (reply.status == 200).then_some(reply.body)
}

/// Says in what `/configz` is not what the flags say, as far as it repeats them.
fn difference(configz: &Value, flags: &Flags) -> Option<String> {
    if flags.contains_key(CONFIG) {
        return None;
    }
    let fields = configz.as_object()?.values().next()?;
    CONFIGZ_FIELDS.iter().find_map(|(flag, path)| {
        let wanted = flags.get(*flag)?.as_deref().unwrap_or("true");
        // Variables are expanded before kube-proxy sees them.
        if wanted.contains('$') {
            return None;
        }
        let told = path.iter().try_fold(fields, |at, name| field(at, name))?;
        let told = match told {
            Value::String(text) => text.clone(),
            Value::Bool(_) if wanted != "true" && wanted != "false" => return None,
            told => told.to_string(),
        };
        let is_same = told == wanted || is_with_port(&told, wanted);
        (!is_same).then(|| format!("kube-proxy runs with {flag} {told}, not {wanted}"))
    })
}

fn field<'a>(fields: &'a Value, name: &str) -> Option<&'a Value> {
    let mut fields = fields.as_object()?.iter();
    let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

/// Whether kube-proxy has added its port to an address without one.
fn is_with_port(told: &str, wanted: &str) -> bool {
    told.rsplit_once(':')
        .is_some_and(|(address, _)| address.trim_matches(['[', ']']) == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::microk8s::args_file::{ArgsFile, Grammar};

    fn check(args: &str, expected: Option<&str>) {
        // As kube-proxy 1.20 answers, without what no flag of this test names.
        let configz = json!({"kubeproxy.config.k8s.io": {
            "BindAddress": "0.0.0.0", "HealthzBindAddress": "127.0.0.1:10256", "MetricsBindAddress": "[::1]:10249",
            "EnableProfiling": false, "ClusterCIDR": "10.1.0.0/16", "HostnameOverride": "", "OOMScoreAdj": -999,
            "IPTables": {"MasqueradeBit": 14, "MasqueradeAll": true, "SyncPeriod": "30s"},
        }});
        let flags = ArgsFile::parse(args, Grammar::Kubelite).flags();
        assert_eq!(difference(&configz, &flags).as_deref(), expected, "{args}");
    }

    #[test]
    fn difference_compares_configz_with_flags() {
        for args in [
            "",
            "--bind-address=0.0.0.0\n--cluster-cidr=10.1.0.0/16\n--oom-score-adj=-999\n--iptables-masquerade-bit=14",
            "--healthz-bind-address=127.0.0.1\n--metrics-bind-address=::1",
            "--healthz-bind-address=127.0.0.1:10256\n--masquerade-all\n--profiling=false",
            // Not repeated as it was written, not told at all, or told in other words.
            "--iptables-sync-period=0.5m\n--proxy-port-range=1-2\n--profiling=0\n--bind-address=$ADDRESS",
            "--config=/etc/proxy.yaml\n--cluster-cidr=10.2.0.0/16",
        ] {
            check(args, None);
        }
        for (args, expected) in [
            (
                "--cluster-cidr=10.2.0.0/16",
                "cluster-cidr 10.1.0.0/16, not 10.2.0.0/16",
            ),
            (
                "--healthz-bind-address=127.0.0.1:10257",
                "healthz-bind-address 127.0.0.1:10256, not 127.0.0.1:10257",
            ),
            ("--profiling", "profiling false, not true"),
            ("--masquerade-all=false", "masquerade-all true, not false"),
            ("--oom-score-adj=0", "oom-score-adj -999, not 0"),
        ] {
            check(args, Some(&format!("kube-proxy runs with {expected}")));
        }
    }
}
