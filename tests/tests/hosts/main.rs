//! What must hold on booted hosts.

mod accounts;
mod addons;
mod cloud_vm;
mod confirm;
mod doctor;
mod doctor_more;
mod documents;
mod drift;
mod drift_more;
mod facts;
mod import;
mod import_units;
mod itself;
mod kube_args;
mod microk8s;
mod newcomer;
mod power;
mod rehearse;
mod screens;
mod snap;
mod store;
mod trouble;
mod unit;
mod watch;
mod watch_kube_args;
