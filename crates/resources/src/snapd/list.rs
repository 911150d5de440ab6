//! Installed snaps, and their settings as a flat list.

use crate::{
    host::Reader,
    snapd::client::{SnapdError, get},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Why there is nothing to import without it.
pub(crate) const NO_SNAPD: &str = "this host has no snapd";

/// A snap as a listing needs it.
#[derive(Debug)]
pub(crate) struct ListedSnap {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is a program, and not a base, a kernel or snapd itself.
    pub(crate) is_app: bool,
    /// Whether it brings anything to run.
    pub(crate) has_programs: bool,
}

/// Returns all snaps, each once.
pub(crate) async fn all_snaps(host: &Reader) -> Result<Vec<ListedSnap>, SnapdError> {
    let list = get(host, "/v2/snaps?select=all").await?;
    let mut all: BTreeMap<String, ListedSnap> = BTreeMap::new();
    for snap in list.as_array().into_iter().flatten() {
        let name = snap["name"].as_str().unwrap_or_default().to_owned();
        let listed = ListedSnap {
            name: name.clone(),
            is_app: snap["type"] == "app",
            has_programs: snap["apps"].as_array().is_some_and(|apps| !apps.is_empty()),
        };
        all.insert(name, listed);
    }
    Ok(all.into_values().collect())
}

/// Returns all settings of a snap, each under its whole name: `refresh.timer`.
pub(crate) async fn settings(
    host: &Reader,
    snap: &str,
) -> Result<Vec<(String, Value)>, SnapdError> {
    let mut flat = vec![];
    flatten(
        "",
        &get(host, &format!("/v2/snaps/{snap}/conf")).await?,
        &mut flat,
    );
    Ok(flat)
}

/// Takes a setting that holds others apart.
pub(crate) fn flatten(above: &str, value: &Value, flat: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if above.is_empty() { "" } else { "." };
                flatten(&format!("{above}{dot}{key}"), value, flat);
            }
        }
        value => flat.push((above.to_owned(), value.clone())),
    }
}
