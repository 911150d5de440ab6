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
        context::{Hidden, Look, Patient},
        finding::{Ailment, Examination, Unseen},
    },
    host::{HostError, Reader},
};

/// Makes the line of a finding from the name of its file.
macro_rules! known {
    ($file:ident) => {
        ($file::AILMENT, |patient| {
            std::future::ready($file::look(patient)).boxed_local()
        })
    };
    ($file:ident, async) => {
        ($file::AILMENT, |patient| $file::look(patient).boxed_local())
    };
}

/// Everything that is known, in the order in which it is shown.
static KNOWN: &[(Ailment, Looking)] = &[
    known!(forward_drop, async),
    known!(forward_refused, async),
    known!(firewalld_refused, async),
    known!(forwarding_off),
    known!(docker_forwarding, async),
    known!(bridge_unfiltered),
    known!(dns_loop, async),
    known!(dns_upstream, async),
    known!(dns_unanswered, async),
    known!(rules_split, async),
    known!(proxy_userspace, async),
    known!(stale_process, async),
    known!(args_twice),
    known!(refresh_not_held, async),
    known!(hook_broken),
    known!(restart_loop, async),
    known!(reboot_pending),
    known!(disk_full),
    known!(limits_reached),
    known!(memory_short, async),
    known!(certificate_expiring),
    known!(certificate_address),
    known!(addons_behind),
    known!(addon_mistaken, async),
    known!(clock_adrift, async),
];

/// Looks for one thing.
type Looking = for<'a> fn(&'a Patient<'a>) -> LocalBoxFuture<'a, Look>;

/// Returns everything that is known to go wrong.
pub fn ailments() -> impl Iterator<Item = &'static Ailment> {
    KNOWN.iter().map(|(ailment, _)| ailment)
}

/// Looks for everything that is known. `hooks` names those that were applied on this host; `None` if this user may not know.
///
/// # Errors
/// If the host cannot be looked at. What only a part of it hides is in the examination.
pub async fn examine(host: &Reader, hooks: Option<&[String]>) -> Result<Examination, HostError> {
    let patient = Patient::find(host, hooks)?;
    let mut examination = Examination::default();
    for (ailment, look) in KNOWN {
        let name = ailment.name;
        match look(&patient).await {
            Ok(Some(finding)) => examination.findings.push(finding),
            Ok(None) => examination.fine.push(name),
            Err(Hidden(why)) => examination.unseen.push(Unseen { name, why }),
        }
    }
    Ok(examination)
}
