//! systemd units: names, texts, files, links, processes, starts.

pub(crate) mod change;
pub(crate) mod check;
pub(crate) mod expressible;
pub(crate) mod files;
pub(crate) mod inputs;
pub(crate) mod links;
pub(crate) mod name;
pub(crate) mod needs;
pub(crate) mod process;
pub(crate) mod start_record;
pub(crate) mod state;
pub(crate) mod text;
