//! What is known to go wrong on hosts with MicroK8s and its neighbours: one file for each finding, and one line for it here.
//! Nothing here changes anything. A wrong finding is worse than none: what cannot be told is not found.

mod addon_mistaken;
mod addons_behind;
mod args_twice;
mod bridge_unfiltered;
mod certificate_address;
mod certificate_expiring;
mod clock_adrift;
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

use std::error::Error;

use futures::{FutureExt, future::LocalBoxFuture};
use stead_engine::model::error_chain::chain;

use crate::{
    doctor::finding::{Ailment, Examination, Finding, Unseen},
    host::{HostError, Reader},
    microk8s::layout::Layout,
    netfilter::Column,
};

/// What came of looking for one thing.
type Look = Result<Option<Finding>, Hidden>;

/// Why something could not be looked at.
struct Hidden(String);

impl<E: Error + 'static> From<E> for Hidden {
    fn from(error: E) -> Self {
        Self(chain(&error).join(": "))
    }
}

/// A host that is examined.
struct Patient<'a> {
    host: &'a Reader,
    /// MicroK8s, if it is installed and not stopped; why that cannot be seen.
    microk8s: Result<Option<Layout>, String>,
    /// The hooks that were applied here; `None` if this user may not know.
    hooks: Option<&'a [String]>,
}

impl<'a> Patient<'a> {
    fn find(host: &'a Reader, hooks: Option<&'a [String]>) -> Result<Self, HostError> {
        let microk8s = match Layout::find(host) {
            Err(error) if error.is_not_allowed() => {
                Err("only root and the group microk8s see what MicroK8s has".to_owned())
            }
            found => Ok(found?.filter(|layout| !layout.is_stopped)),
        };
        Ok(Self {
            host,
            microk8s,
            hooks,
        })
    }

    /// Returns MicroK8s, if it runs here.
    fn microk8s(&self) -> Result<Option<&Layout>, Hidden> {
        self.microk8s
            .as_ref()
            .map(Option::as_ref)
            .map_err(|why| Hidden(why.clone()))
    }

    /// Returns MicroK8s with the kubeconfig of its administrator; `None` if another node runs the control plane.
    fn control_plane(&self) -> Result<Option<(&Layout, String)>, Hidden> {
        let Some(layout) = self.microk8s()?.filter(|layout| !layout.is_worker) else {
            return Ok(None);
        };
        let kubeconfig = layout.kubeconfig(self.host)?;
        Ok(kubeconfig.map(|kubeconfig| (layout, kubeconfig)))
    }
}

/// Returns the name by which people call the program of a column.
fn program(column: Column) -> &'static str {
    let path = column.program();
    path.rsplit('/').next().unwrap_or(path)
}

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
