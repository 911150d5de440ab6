//! The kinds that stead knows. This file is the list of them and nothing else.

mod access;
mod accounts;
mod boot_files;
mod content;
mod dpkg;
mod home;
pub mod host;
mod modules;
mod netfilter;
mod path;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own folder"
)]
mod root;
mod setting;

mod directory;
mod file;
mod group;
mod group_member;
mod iptables_chain;
mod iptables_policy;
mod iptables_rule;
mod kernel_module;
mod package;
mod symlink;
mod sysctl;
mod user;

use stead_engine::registry::Registry;

/// Returns all kinds.
pub fn registry() -> Registry<host::Live> {
    Registry::default()
        .with(directory::Directory)
        .with(file::File)
        .with(group::Group)
        .with(group_member::GroupMember)
        .with(iptables_chain::IptablesChain)
        .with(iptables_policy::IptablesPolicy)
        .with(iptables_rule::IptablesRule)
        .with(kernel_module::KernelModule)
        .with(package::Package)
        .with(symlink::Symlink)
        .with(sysctl::Sysctl)
        .with(user::User)
}
