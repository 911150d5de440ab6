//! A certificate of MicroK8s expires soon, or has expired.

use std::path::Path;

use jiff::Timestamp;

use crate::{
    doctor::{
        context::{CheckResult, DoctorContext},
        finding::{Finding, FindingRule},
    },
    files::certificate::Certificate,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "certificate-expiring",
    fact: "a certificate of MicroK8s expires",
    why: "When it has expired, clients reject it: kubectl, the kubelet and all programs in the cluster lose the API server. MicroK8s issues certificates for a year, and renews them only when the addresses of the host change.",
    criterion: "The certificates that `microk8s refresh-certs` issues: one that has expired, or expires within 30 days.",
    by_hand: &["microk8s refresh-certs --cert FILE   (restarts the API server)"],
    spec: &[],
};
/// They are in the directory `certs` of the data: `certs` in MicroK8s' `scripts/wrappers/refresh_certs.py`.
pub(super) const SERVER: &str = "certs/server.crt";
const CERTIFICATES: [&str; 3] = ["certs/ca.crt", SERVER, "certs/front-proxy-client.crt"];
/// From so many days on it is said.
const WARN_DAYS: i64 = 30;
/// The largest certificate that is read, in bytes.
pub(super) const LIMIT: u64 = 64 << 10;

pub(super) fn check(context: &DoctorContext<'_>) -> CheckResult {
    let Some(layout) = context.microk8s()? else {
        return Ok(None);
    };
    let mut found = vec![];
    for file in CERTIFICATES {
        let path = layout.data.join(file);
        let text = context.host.read(&path, LIMIT)?.unwrap_or_default();
        if let Some(certificate) = Certificate::parse(&text) {
            found.push((path, certificate));
        }
    }
    let found = found
        .iter()
        .map(|(path, certificate)| (path.as_path(), certificate));
    Ok(evaluate(found, Timestamp::now()))
}

fn evaluate<'a>(
    certificates: impl Iterator<Item = (&'a Path, &'a Certificate)>,
    now: Timestamp,
) -> Option<Finding> {
    let mut evidence = vec![];
    let mut files = vec![];
    for (path, certificate) in certificates {
        let days = certificate.expires.duration_since(now).as_hours() / 24;
        if days >= WARN_DAYS {
            continue;
        }
        let verb = if certificate.expires <= now {
            "expired"
        } else {
            "expires"
        };
        let day = certificate.expires.strftime("%Y-%m-%d");
        evidence.push(format!("{} {verb} on {day}", path.display()));
        files.push(path.file_name()?.to_string_lossy().into_owned());
    }
    let is_any = !evidence.is_empty();
    is_any.then(|| RULE.found(evidence).substitute("FILE", &files))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(expires: &str, expected: Option<&str>) {
        let certificate = Certificate {
            expires: expires.parse().unwrap(),
            addresses: BTreeSet::new(),
        };
        let now = "2026-06-01T12:00:00Z".parse().unwrap();
        let found = evaluate(
            [(Path::new("/x/server.crt"), &certificate)].into_iter(),
            now,
        );
        let evidence = found.map(|found| {
            assert_eq!(
                found.by_hand,
                ["microk8s refresh-certs --cert server.crt   (restarts the API server)"]
            );
            found.evidence.join("")
        });
        assert_eq!(evidence.as_deref(), expected, "{expires}");
    }

    #[test]
    fn certificate_expiring_reports_the_last_thirty_days() {
        check("2026-07-02T12:00:00Z", None);
        check("2026-07-01T12:00:00Z", None);
        check(
            "2026-06-30T12:00:00Z",
            Some("/x/server.crt expires on 2026-06-30"),
        );
        check(
            "2026-06-01T12:00:00Z",
            Some("/x/server.crt expired on 2026-06-01"),
        );
        check(
            "2025-06-01T12:00:00Z",
            Some("/x/server.crt expired on 2025-06-01"),
        );
    }
}
