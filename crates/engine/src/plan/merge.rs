//! Merging and comparing states, the same for every kind. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::{
    schema::{Role, Schema},
    state::State,
};

/// What remains of a wish after it was laid over a reading.
#[derive(Debug, PartialEq, Eq)]
pub struct Merged {
    /// The observed state with the desired attributes in it.
    pub after: State,
    /// Desired attributes that could not be observed, so that nothing can be said about them.
    pub unobserved: Vec<String>,
}

/// Lays a desired state over an observed one. An attribute that was not observed is not compared: it is reported.
pub fn merge(schema: &Schema, observed: &State, desired: &State) -> Merged {
    let mut after = observed.clone();
    let mut unobserved = vec![];
    for attribute in schema.attributes {
        let Some(wish) = get(desired, attribute.name) else {
            continue;
        };
        if attribute.role.is_compared() && get(observed, attribute.name).is_none() {
            unobserved.push(attribute.name.to_owned());
        } else {
            overlay(&mut after[attribute.name], wish);
        }
    }
    Merged { after, unobserved }
}

/// Whether a state has all that is desired as it stands there. Then laying it over changes nothing that is compared, and nothing is unseen.
/// `false` says nothing: what is made of parts may have to be laid over.
pub(crate) fn is_satisfied(schema: &Schema, observed: &State, desired: &State) -> bool {
    let compared = schema.attributes.iter();
    compared
        .filter(|attribute| attribute.role.is_compared())
        .all(|attribute| match get(desired, attribute.name) {
            None => true,
            Some(wish) => !asks_removal(wish) && get(observed, attribute.name) == Some(wish),
        })
}

/// Whether laying a value over an equal one changes that: see [`overlay`].
fn asks_removal(wish: &Value) -> bool {
    let parts = wish.as_object().into_iter().flatten();
    { parts }.any(|(_, part)| part.is_null() || asks_removal(part))
}

/// Whether two states are equal in every attribute that is compared.
pub fn is_same(schema: &Schema, one: &State, other: &State) -> bool {
    differences(schema, one, other).next().is_none()
}

/// Whether two readings are equal: both absent, or equal in every attribute that is compared.
pub fn is_same_state(schema: &Schema, one: Option<&State>, other: Option<&State>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => is_same(schema, one, other),
        _ => false,
    }
}

/// Names the compared attributes in which two states differ, in the order of the schema.
pub fn differences<'a>(
    schema: &Schema,
    one: &'a State,
    other: &'a State,
) -> impl Iterator<Item = &'static str> + use<'a> {
    schema
        .attributes
        .iter()
        .filter(|attribute| attribute.role.is_compared())
        .map(|attribute| attribute.name)
        .filter(|name| get(one, name) != get(other, name))
}

/// Returns the part of a state that is compared, sorted by name: what a stale plan is told by.
pub(crate) fn compared_attributes<'a>(
    schema: &Schema,
    state: &'a State,
) -> BTreeMap<&'static str, &'a Value> {
    schema
        .attributes
        .iter()
        .filter(|attribute| attribute.role.is_compared())
        .filter_map(|attribute| Some((attribute.name, get(state, attribute.name)?)))
        .collect()
}

/// Returns what a kind has to say by its remarks in these states, each once.
pub fn remarks(schema: &Schema, states: [Option<&State>; 2]) -> BTreeSet<String> {
    let names = schema.attributes.iter();
    names
        .filter(|attribute| attribute.role == Role::Remark)
        .flat_map(|attribute| states.map(|state| get(state?, attribute.name)?.as_array()))
        .flatten()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn get<'a>(state: &'a State, attribute: &str) -> Option<&'a Value> {
    state.get(attribute).filter(|value| !value.is_null())
}

fn overlay(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                // As in a JSON merge patch (RFC 7396): null asks for a key not to be there.
                if value.is_null() {
                    under.remove(key);
                } else {
                    overlay(under.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (under, over) => *under = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::schema::{Absence, Attribute, Lifecycle, Shape};

    fn schema() -> Schema {
        const fn attribute(name: &'static str, role: Role) -> Attribute {
            Attribute {
                name,
                shape: Shape::Text,
                role,
                doc: "",
                check: None,
            }
        }
        const ATTRIBUTES: &[Attribute] = &[
            attribute("a", Role::Managed),
            attribute("b", Role::Managed),
            attribute("input", Role::Input),
            attribute("context", Role::Context),
            attribute("remark", Role::Remark),
        ];
        Schema {
            lifecycle: Lifecycle::DEFAULT,
            summary: "",
            name: "",
            main: None,
            attributes: ATTRIBUTES,
            absence: Absence::Allowed,
            example: "",
        }
    }

    #[test]
    fn merge_keeps_attributes_that_are_not_written() {
        let merged = merge(&schema(), &json!({"a": "1", "b": "2"}), &json!({"a": "3"}));
        assert_eq!(merged.after, json!({"a": "3", "b": "2"}));
    }

    #[test]
    fn satisfied_state_yields_no_change() {
        let observed = json!({"a": "1", "b": ["x"], "context": "c"});
        for desired in [
            json!({}),
            json!({"a": "1"}),
            json!({"a": null, "b": ["x"], "input": "i", "context": "d"}),
            json!({"a": "2"}),
            json!({"b": ["x", "y"]}),
            json!({"a": {"x": 1}}),
        ] {
            let merged = merge(&schema(), &observed, &desired);
            let is_same =
                is_same(&schema(), &observed, &merged.after) && merged.unobserved.is_empty();
            assert_eq!(
                is_satisfied(&schema(), &observed, &desired),
                is_same,
                "{desired}"
            );
        }
        assert!(!is_satisfied(
            &schema(),
            &json!({"a": "1"}),
            &json!({"b": "2"})
        ));
        let parts = json!({"a": {"x": {"y": 1}}, "b": {"x": {"z": null}}});
        assert!(is_satisfied(
            &schema(),
            &parts,
            &json!({"a": {"x": {"y": 1}}})
        ));
        let taken_away = json!({"b": {"x": {"z": null}}});
        assert_ne!(merge(&schema(), &parts, &taken_away).after, parts);
        assert!(!is_satisfied(&schema(), &parts, &taken_away));
    }

    #[test]
    fn unobservable_attribute_is_reported_without_difference() {
        let observed = json!({"a": "1"});
        let merged = merge(&schema(), &observed, &json!({"b": "2"}));
        assert_eq!(merged.unobserved, ["b"]);
        assert!(is_same(&schema(), &observed, &merged.after));
    }

    #[test]
    fn maps_are_merged_key_by_key() {
        let merged = merge(
            &schema(),
            &json!({"a": {"x": 1, "y": 2}}),
            &json!({"a": {"y": 3}}),
        );
        assert_eq!(merged.after, json!({"a": {"x": 1, "y": 3}}));
    }

    #[test]
    fn null_in_a_map_removes_the_key() {
        let observed = json!({"a": {"x": 1, "y": 2}});
        let merged = merge(&schema(), &observed, &json!({"a": {"y": null, "z": null}}));
        assert_eq!(merged.after, json!({"a": {"x": 1}}));
        let again = merge(&schema(), &merged.after, &json!({"a": {"y": null}}));
        assert!(is_same(&schema(), &merged.after, &again.after));
    }

    #[test]
    fn inputs_and_context_are_carried_and_never_compared() {
        let observed = json!({"a": "1", "context": "c"});
        let merged = merge(&schema(), &observed, &json!({"a": "1", "input": "i"}));
        assert_eq!(
            merged.after,
            json!({"a": "1", "context": "c", "input": "i"})
        );
        assert!(is_same(&schema(), &observed, &merged.after));
        assert_eq!(
            json!(compared_attributes(&schema(), &merged.after)),
            json!({"a": "1"})
        );
    }
    #[test]
    fn remarks_are_listed_once_and_never_compared() {
        let observed = json!({"a": "1", "remark": ["two", "one"]});
        let desired = json!({"a": "1", "remark": ["one"]});
        let said = remarks(&schema(), [Some(&observed), Some(&desired)]);
        assert_eq!(Vec::from_iter(said), ["one", "two"]);
        assert!(is_same(&schema(), &observed, &desired));
        assert_eq!(
            json!(compared_attributes(&schema(), &observed)),
            json!({"a": "1"})
        );
    }
}
