//! What must hold on booted hosts.

mod accounts;
mod addons;
mod cloud_vm;
mod confirm;
mod docker_forward;
mod doctor;
mod doctor_cluster;
mod documents;
mod drift;
mod drift_firewalls;
mod facts;
mod import;
mod import_units;
mod kube_args;
mod microk8s;
mod newcomer;
mod power;
mod rehearse;
mod screens;
mod snap;
mod store;
mod test_host;
mod unit;
mod watch;
mod watch_kube_args;
