//! The kinds of resource, one file or directory each. No kind imports another.

pub(crate) mod addon_repo;
pub(crate) mod addons;
pub(crate) mod check;
pub(crate) mod directory;
#[cfg(test)]
mod example;
pub(crate) mod file;
pub(crate) mod group;
pub(crate) mod group_member;
pub(crate) mod hook;
pub(crate) mod iptables_chain;
pub(crate) mod iptables_policy;
pub(crate) mod iptables_rule;
pub(crate) mod kernel_module;
pub(crate) mod kube_args;
pub(crate) mod package;
pub(crate) mod restart;
pub(crate) mod secret_file;
pub(crate) mod snap;
pub(crate) mod snap_config;
pub(crate) mod symlink;
pub(crate) mod sysctl;
pub(crate) mod unit;
pub(crate) mod user;

use stead_engine::provider::registry::Registry;

use crate::host::LinuxHost;

/// Returns all kinds.
pub fn registry() -> Registry<LinuxHost> {
    Registry::default()
        .with(addon_repo::AddonRepo)
        .with(addons::Addons)
        .with(check::Check)
        .with(directory::Directory)
        .with(file::File)
        .with(group::Group)
        .with(group_member::GroupMember)
        .with(hook::Hook)
        .with(iptables_chain::IptablesChain)
        .with(iptables_policy::IptablesPolicy)
        .with(iptables_rule::IptablesRule)
        .with(kernel_module::KernelModule)
        .with(kube_args::KubeArgs)
        .with(package::Package)
        .with(restart::Restart)
        .with(secret_file::SecretFile)
        .with(snap::Snap)
        .with(snap_config::SnapConfig)
        .with(symlink::Symlink)
        .with(sysctl::Sysctl)
        .with(unit::Unit)
        .with(user::User)
}
