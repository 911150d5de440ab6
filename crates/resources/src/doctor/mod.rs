//! Known problems of hosts with MicroK8s and its neighbours: one file for each finding, and one line for it here.
//! Nothing here changes anything. A wrong finding is worse than none: without evidence there is no finding.

mod addon_mistaken;
mod addons_behind;
mod args_twice;
mod bridge_unfiltered;
mod certificate_address;
mod certificate_expiring;
mod clock_adrift;
mod context;
mod disk_full;
mod dns_loop;
mod dns_unanswered;
mod dns_upstream;
mod docker_forwarding;
pub mod finding;
mod firewalld_refused;
mod forward_drop;
mod forward_refused;
mod forwarding_off;
mod hook_broken;
mod limits_reached;
mod memory_short;
mod proxy_userspace;
mod reboot_pending;
mod refresh_not_held;
mod restart_loop;
mod rules_split;
mod stale_process;

use futures::{FutureExt, future::LocalBoxFuture};

use crate::{
    doctor::{
        context::{CheckError, CheckResult, DoctorContext},
        finding::{DoctorReport, FindingRule, Inconclusive},
    },
    host::{HostError, Reader},
};

/// Makes the line of a finding from the name of its file.
macro_rules! check {
    ($file:ident) => {
        ($file::RULE, |context| {
            std::future::ready($file::check(context)).boxed_local()
        })
    };
    ($file:ident, async) => {
        ($file::RULE, |context| $file::check(context).boxed_local())
    };
}

/// Everything that is known, in the order in which it is shown.
static CHECKS: &[(FindingRule, CheckFn)] = &[
    check!(forward_drop, async),
    check!(forward_refused, async),
    check!(firewalld_refused, async),
    check!(forwarding_off),
    check!(docker_forwarding, async),
    check!(bridge_unfiltered),
    check!(dns_loop, async),
    check!(dns_upstream, async),
    check!(dns_unanswered, async),
    check!(rules_split, async),
    check!(proxy_userspace, async),
    check!(stale_process, async),
    check!(args_twice),
    check!(refresh_not_held, async),
    check!(hook_broken),
    check!(restart_loop, async),
    check!(reboot_pending),
    check!(disk_full),
    check!(limits_reached),
    check!(memory_short, async),
    check!(certificate_expiring),
    check!(certificate_address),
    check!(addons_behind),
    check!(addon_mistaken, async),
    check!(clock_adrift, async),
];

/// Looks for one thing.
type CheckFn = for<'a> fn(&'a DoctorContext<'a>) -> LocalBoxFuture<'a, CheckResult>;

/// Returns everything that is known to go wrong.
pub fn rules() -> impl Iterator<Item = &'static FindingRule> {
    CHECKS.iter().map(|(rule, _)| rule)
}

/// Looks for everything that is known. `hooks` names those that were applied on this host; `None` if this user may not know.
///
/// # Errors
/// If the host cannot be looked at. What only a part of it hides is in the examination.
pub async fn run_checks(
    host: &Reader,
    hooks: Option<&[String]>,
) -> Result<DoctorReport, HostError> {
    let context = DoctorContext::read(host, hooks)?;
    let mut report = DoctorReport::default();
    for (rule, check) in CHECKS {
        let name = rule.name;
        match check(&context).await {
            Ok(Some(finding)) => report.findings.push(finding),
            Ok(None) => report.passed.push(name),
            Err(CheckError(why)) => report.inconclusive.push(Inconclusive { name, why }),
        }
    }
    Ok(report)
}
