//! The kinds that stead knows. This file is the list of them and nothing else.

mod accounts;
#[expect(
    clippy::disallowed_methods,
    reason = "a clone is files, mounts and processes of its own"
)]
pub mod clone;
pub mod doctor;
pub mod elsewhere;
mod etc;
mod evidence;
pub mod facts;
pub mod host;
mod netfilter;
mod rule_edit;
mod snap_change;
mod snap_file;
mod snap_listed;
mod snap_store;
mod suggested;
mod unit_listed;

mod addon_repo;
mod addons;
mod check;
mod directory;
pub mod dpkg;
mod file;
pub mod files;
mod group;
mod group_member;
mod hook;
mod iptables_chain;
mod iptables_policy;
mod iptables_rule;
pub mod kernel;
mod kernel_module;
mod kube_args;
pub mod microk8s;
mod package;
mod restart;
pub mod safety;
mod secret_file;
mod snap;
mod snap_config;
pub mod snapd;
mod symlink;
mod sysctl;
pub mod systemd;
mod unit;
mod user;
pub mod values;

pub use hook::{have_recovered, is_left_to_watch};
pub use snapd::client::wait_until_settled;
use stead_engine::provider::registry::Registry;

/// Returns all kinds.
pub fn registry() -> Registry<host::Live> {
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
