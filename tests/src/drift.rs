//! What plans say about why a host differs, for the tests of that.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Host, TestEnv};

/// Where the spec is.
pub const SPEC: &str = "/root/host.kdl";

/// Writes the spec.
pub fn write_spec(host: &Host, resources: &str) {
    host.put(SPEC, &format!("host \"test\" {{\n{resources}\n}}\n"));
}

/// Writes the spec and applies it.
///
/// # Panics
/// If that fails, or if a plan is not empty afterwards.
pub fn apply(host: &Host, resources: &str) {
    write_spec(host, resources);
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    host.stead_exits(&["plan", SPEC], 0);
}

/// Returns the causes of a plan, by address.
///
/// # Panics
/// If the plan is empty or no JSON.
pub fn causes(host: &Host) -> BTreeMap<String, Value> {
    let said = host.stead_exits(&["plan", "--json", SPEC], 3);
    let plan: Value = serde_json::from_str(&said.out).expect("a plan is JSON");
    let changes = plan["changes"].as_array().into_iter().flatten();
    changes
        .map(|change| {
            let address = change["address"].as_str().unwrap_or_default();
            (address.to_owned(), change["cause"].clone())
        })
        .collect()
}

/// Says a cause in short, without the times in its evidence.
pub fn short_cause(cause: &Value) -> String {
    let text = |field: &str| cause[field].as_str().unwrap_or_default();
    let evidence = text("evidence").split(" 20").next().unwrap_or_default();
    let run = &cause["run"];
    match text("class") {
        "" => "none".to_owned(),
        "spec" if cause["is_new"] == true => format!("new since {run}"),
        "follows" => format!("follows {}", text("address")),
        "actor" => format!("{} since {run}: {evidence}", text("actor")),
        "hand" => format!("{} by hand since {run}: {evidence}", text("person")),
        "changed" => format!("changed since {run}: {evidence}"),
        class => format!("{class} {run}"),
    }
}

/// Plans, and expects these changes with these causes and no others.
///
/// # Panics
/// If there are others.
pub fn check_causes(host: &Host, expected: &[(&str, &str)]) {
    let causes = causes(host);
    let found: Vec<_> = causes
        .iter()
        .map(|(address, cause)| (address.as_str(), short_cause(cause)))
        .collect();
    let found: Vec<_> = found
        .iter()
        .map(|(address, label)| (*address, label.as_str()))
        .collect();
    assert_eq!(found, expected, "{causes:#?}");
}
