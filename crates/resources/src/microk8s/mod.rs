//! MicroK8s: its layout, argument files, kube-proxy, restarts, leftovers and addons.

pub(crate) mod addons;
pub(crate) mod args_file;
pub(crate) mod kube_proxy;
pub(crate) mod layout;
pub(crate) mod leftovers;
pub(crate) mod restart;
