//! What a check may ask of the host, and its result.

use std::error::Error;

use stead_engine::model::error_chain::error_chain;

use crate::{
    doctor::finding::Finding,
    host::{HostError, Reader},
    microk8s::layout::Layout,
    netfilter::TableVariant,
};

/// What came of looking for one thing.
pub(super) type CheckResult = Result<Option<Finding>, CheckError>;

/// Why something could not be looked at.
pub(super) struct CheckError(pub(super) String);

impl<E: Error + 'static> From<E> for CheckError {
    fn from(error: E) -> Self {
        Self(error_chain(&error).join(": "))
    }
}

/// A host that is examined.
pub(super) struct DoctorContext<'a> {
    pub(super) host: &'a Reader,
    /// MicroK8s, if it is installed and not stopped; why that cannot be seen.
    pub(super) microk8s: Result<Option<Layout>, String>,
    /// The hooks that were applied here; `None` if this user may not know.
    pub(super) hooks: Option<&'a [String]>,
}

impl<'a> DoctorContext<'a> {
    pub(super) fn read(host: &'a Reader, hooks: Option<&'a [String]>) -> Result<Self, HostError> {
        let microk8s = match Layout::find(host) {
            Err(error) if error.is_not_allowed() => {
                Err("only root and the group microk8s can read the state of MicroK8s".to_owned())
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
    pub(super) fn microk8s(&self) -> Result<Option<&Layout>, CheckError> {
        self.microk8s
            .as_ref()
            .map(Option::as_ref)
            .map_err(|why| CheckError(why.clone()))
    }

    /// Returns MicroK8s with the kubeconfig of its administrator; `None` if another node runs the control plane.
    pub(super) fn control_plane(&self) -> Result<Option<(&Layout, String)>, CheckError> {
        let Some(layout) = self.microk8s()?.filter(|layout| !layout.is_worker) else {
            return Ok(None);
        };
        let kubeconfig = layout.kubeconfig(self.host)?;
        Ok(kubeconfig.map(|kubeconfig| (layout, kubeconfig)))
    }
}

/// Returns the name by which people call the program of a column.
pub(super) fn program_name(column: TableVariant) -> &'static str {
    let path = column.program();
    path.rsplit('/').next().unwrap_or(path)
}
