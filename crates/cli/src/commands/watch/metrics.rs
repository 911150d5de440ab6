//! Prometheus metrics, in the text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::{fmt::Write, path::Path};

use jiff::Timestamp;
use stead_engine::watch::backoff::{AddressHistory, RestoreHistory};
use stead_resources::host::{HostError, Process, Writer};

/// Where the figures are, for root.
const METRICS_PATH: &str = "/run/stead/watch.prom";

/// What is counted beside the bouts.
#[derive(Debug)]
pub(super) struct Metrics {
    /// How many resources are watched.
    pub(super) watched: usize,
    /// Number of times that the host was planned.
    pub(super) checks: u64,
    /// How many runs of the watch have failed.
    pub(super) failures: u64,
    /// When the host was last seen to be as applied; `None` if not yet.
    pub(super) last_good: Option<Timestamp>,
}

/// Writes the text of the figures for root, and for everybody where somebody wants it. Returns why it could not.
pub(super) fn write(writer: &Writer, public: Option<&Path>, text: &str) -> Vec<HostError> {
    let own = (Path::new(METRICS_PATH), 0o600);
    let files = [Some(own), public.map(|path| (path, 0o644))];
    let written = files
        .into_iter()
        .flatten()
        .map(|(path, mode)| writer.write_text(path, text.as_bytes(), mode));
    written.filter_map(Result::err).collect()
}

/// Returns the text of all figures.
pub(super) fn text(metrics: &Metrics, history: &RestoreHistory<Process>) -> String {
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, values: &[(String, String)]| {
        let name = format!("stead_watch_{name}");
        let mut lines = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in values {
            writeln!(lines, "{name}{labels} {value}").expect("writing to a String cannot fail");
        }
        text.push_str(&lines);
    };
    let plain = |value: String| [(String::new(), value)];
    put(
        "resources",
        "gauge",
        "Number of watched resources.",
        &plain(metrics.watched.to_string()),
    );
    put(
        "looks_total",
        "counter",
        "Number of times that the host was planned.",
        &plain(metrics.checks.to_string()),
    );
    put(
        "failures_total",
        "counter",
        "Number of failed runs of the watch.",
        &plain(metrics.failures.to_string()),
    );
    let last_good = metrics.last_good.map_or(0, Timestamp::as_second);
    put(
        "last_good_timestamp_seconds",
        "gauge",
        "Time when the host last matched what was applied.",
        &plain(last_good.to_string()),
    );
    let labelled = |value: fn(&AddressHistory<Process>) -> u64| -> Vec<_> {
        let values = history
            .iter()
            .filter(|(_, entry)| entry.total > 0 || entry.given_up.is_some());
        values
            .map(|(address, entry)| {
                let label = address
                    .to_string()
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"");
                (format!("{{address=\"{label}\"}}"), value(entry).to_string())
            })
            .collect()
    };
    put(
        "mends_total",
        "counter",
        "Number of times that a resource was restored.",
        &labelled(|entry| entry.total),
    );
    put(
        "given_up",
        "gauge",
        "1 if a resource is no longer restored because another program keeps changing it.",
        &labelled(|entry| entry.given_up.is_some().into()),
    );
    text
}

#[cfg(test)]
mod tests {
    use stead_engine::model::address::Address;

    use super::*;

    #[test]
    fn metrics_use_the_prometheus_text_format() {
        let mut bouts = RestoreHistory::default();
        let odd = Address::new("iptables-rule", "a \"b\"");
        bouts.count_restore(&odd);
        bouts.suspend(&odd, "somebody sets it back".to_owned());
        let figures = Metrics {
            watched: 3,
            checks: 7,
            failures: 0,
            last_good: Timestamp::from_second(1_700_000_000).ok(),
        };
        let text = text(&figures, &bouts);
        for line in [
            "# TYPE stead_watch_mends_total counter",
            "stead_watch_resources 3",
            "stead_watch_looks_total 7",
            "stead_watch_last_good_timestamp_seconds 1700000000",
            r#"stead_watch_mends_total{address="iptables-rule:a \"b\""} 1"#,
            r#"stead_watch_given_up{address="iptables-rule:a \"b\""} 1"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
