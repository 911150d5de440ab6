//! A recorded host, as attributes of specs, and what a spec would change on it. No host is read: what only
//! the host itself knows, such as the effects of a restart, is not in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    language::spec::Resource,
    model::{
        address::Address,
        change::Change,
        facts::Facts,
        schema::{Schema, Shape},
        state::{Desired, State},
    },
    plan::graph::Graph,
    provider::{host::Host, registry::Registry},
};

/// The format of a recorded host.
pub const FORMAT: &str = "stead.live/1";

/// A host as it was written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Recorded")]
pub struct HostRecording {
    /// `stead.live/1`.
    pub format: String,
    /// Its facts.
    pub facts: Facts,
    /// Values for variables of the spec, as `--var` would give them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// The environment that the spec sees.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// What exists on it, each with the attributes that a spec would write. What is not named does not exist.
    #[serde(default)]
    pub resources: BTreeMap<Address, State>,
}

/// What a spec would change of one resource, in the words of specs.
#[derive(Clone, Debug)]
pub struct ExpectedChange {
    /// What is wanted, and where that stands.
    pub resource: Resource,
    /// The change.
    pub change: Change<State>,
    /// Whether it starts a service anew, because something that it needs changes.
    pub is_restart: bool,
}

/// Compares a spec with a recorded host, in the order of a plan. Paths below `directory` are told relative to it.
pub fn expected_changes<H: Host>(
    graph: &Graph,
    registry: &Registry<H>,
    recorded: &HostRecording,
    dir: &Path,
) -> Vec<ExpectedChange> {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| PathBuf::from(dir));
    let mut changed: BTreeSet<&Address> = BTreeSet::new();
    let found = graph.with_needs().filter_map(|(resource, needs)| {
        let kind = registry.provider_of(&resource.address).ok()?;
        if kind.schema().lifecycle.is_restart {
            // What a process was started with is for the host to say; that it must be started anew is not.
            if !needs.iter().any(|need| changed.contains(need)) {
                return None;
            }
        }
        let live = recorded.resources.get(&resource.address);
        let wanted = match &resource.desired {
            Desired::Absent => None,
            Desired::Present(state) => Some(with_relative_paths(&kind.schema(), state, &dir)),
        };
        if let (Some(live), Some(wanted)) = (live, &wanted)
            && is_satisfied(live, wanted)
        {
            return None;
        }
        let change = Change::between(live.cloned(), wanted)?;
        changed.insert(&resource.address);
        Some(ExpectedChange {
            resource: resource.clone(),
            change,
            is_restart: kind.schema().lifecycle.is_restart,
        })
    });
    found.collect()
}

/// Whether all that is wanted is there; what is not wanted may be there too. In maps `null` means that a key is not there.
fn is_satisfied(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            let live = live.get(key).unwrap_or(&Value::Null);
            is_satisfied(live, wanted)
        }),
        (Value::Null, Value::Object(wanted)) => wanted.values().all(Value::is_null),
        _ => live == wanted,
    }
}

fn with_relative_paths(schema: &Schema, state: &State, dir: &Path) -> State {
    let mut state = state.clone();
    for attribute in schema.attributes {
        let place = state.get_mut(attribute.name);
        if let (Shape::Path, Some(Value::String(path))) = (attribute.shape, place)
            && let Ok(rest) = Path::new(path.as_str()).strip_prefix(dir)
        {
            *path = rest.to_string_lossy().into_owned();
        }
    }
    state
}

/// Keeps the attributes of a live state that a wanted one names: only those are compared.
pub fn compared_part(live: &State, wanted: &State) -> State {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            let kept = wanted.iter().filter_map(|(key, wanted)| {
                let live = live.get(key)?;
                Some((key.clone(), compared_part(live, wanted)))
            });
            Value::Object(kept.collect::<Map<_, _>>())
        }
        _ => live.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn comparison_covers_only_requested_attributes() {
        for (live, wanted, expected) in [
            (json!({"a": 1, "b": 2}), json!({"a": 1}), true),
            (json!({"a": 1}), json!({"a": 2}), false),
            (json!({}), json!({"a": 2}), false),
            (
                json!({"args": {"x": ["1"]}}),
                json!({"args": {"y": null}}),
                true,
            ),
            (
                json!({"args": {"x": ["1"]}}),
                json!({"args": {"x": null}}),
                false,
            ),
            (json!({}), json!({"args": {"x": null}}), true),
        ] {
            assert_eq!(is_satisfied(&live, &wanted), expected, "{live} {wanted}");
        }
    }

    #[test]
    fn visible_part_omits_unrequested_attributes() {
        let live = json!({"a": 1, "b": {"c": 1, "d": 2}});
        assert_eq!(
            compared_part(&live, &json!({"b": {"c": 3, "e": 4}})),
            json!({"b": {"c": 1}})
        );
    }
}
