//! The dependencies of a unit, by its name and by its files.

use std::collections::{BTreeMap, BTreeSet};

use stead_engine::model::address::Address;

use crate::systemd::{
    files::{UnitFile, unit_path},
    name::UnitName,
    state::{KIND, UnitState},
    text::UnitText,
};

/// Returns what the wishes of a spec say together, without a look at the host.
pub(crate) fn desired_text(desired: &UnitState, content: &str) -> UnitText {
    let drop_ins = desired.drop_ins.iter().flat_map(BTreeMap::values).flatten();
    UnitText::parse(std::iter::once(content).chain(drop_ins.filter_map(UnitFile::text)))
}

/// Returns what a unit needs first, if the spec has it: who brings its file, and what its file names.
pub(crate) fn needs(name: &str, desired: &UnitState) -> BTreeSet<Address> {
    let Ok(unit) = UnitName::parse(name) else {
        return BTreeSet::new();
    };
    let mut needs = BTreeSet::new();
    if desired.content.is_none() && desired.source.is_none() {
        let path = unit_path(name).display().to_string();
        needs.insert(Address::new("file", path));
        needs.insert(Address::new("package", unit.stem));
        let of_snap = unit.stem.strip_prefix("snap.");
        let snap = of_snap.and_then(|rest| rest.split_once('.'));
        needs.extend(snap.map(|(snap, _)| Address::new("snap", snap)));
    }
    if let Some(template) = unit.template() {
        needs.insert(Address::new(KIND, template));
    }
    let content = desired.content.as_ref().and_then(UnitFile::text);
    let text = desired_text(desired, content.unwrap_or_default());
    for path in text.paths().chain(text.mount_point()) {
        needs.extend(["file", "directory", "symlink"].map(|kind| Address::new(kind, path)));
    }
    for (kind, account) in text.accounts() {
        needs.extend(account.map(|account| Address::new(kind, account)));
    }
    needs.extend(text.needs().map(|other| Address::new(KIND, other)));
    // systemd starts no socket whose service runs already, and no timer without its service.
    let twin = |kind: &str| {
        name.strip_suffix(unit.kind)
            .map(|stem| format!("{stem}{kind}"))
    };
    match unit.kind {
        "service" => needs.extend(twin("socket").map(|twin| Address::new(KIND, twin))),
        "timer" | "path" => {
            let started = text.starts().map(str::to_owned).or_else(|| twin("service"));
            needs.extend(started.map(|started| Address::new(KIND, started)));
        }
        _ => {}
    }
    needs
}
