//! What must hold in sandboxes on this kernel, and for a host that is a directory.

mod checks;
mod ci_examples;
mod documents;
mod explain;
mod fake_snapd;
mod formats;
mod history_page;
mod import;
mod import_from;
mod killed;
mod promises;
mod refusals;
mod rules;
mod secrets;
mod snapd_faults;
mod spec_cache;
mod terminal;
