//! The edits of one table variant for a change of an `iptables-rule`.

use stead_engine::model::change::Change;

use crate::{
    kinds::iptables_rule::{DEFAULT_TABLE, Place, State, spot},
    netfilter::{ChainName, Column, Insert, MARK, Rule, Spot, quoted, saved_words},
    values::setting::Setting,
};

/// What becomes of one rule in one column.
pub(crate) struct Edit {
    /// Whether it is taken out where it stands.
    pub(crate) is_removed: bool,
    /// What is put in.
    pub(crate) inserted: Option<Insert>,
}

impl Edit {
    /// Finds what a change does to a column.
    pub(crate) fn of(name: &str, change: &Change<State>, column: Column) -> Self {
        let before = change.before().and_then(|state| state.columns.get(column));
        let after = change.after().and_then(|state| state.columns.get(column));
        let stands = change
            .before()
            .and_then(|state| state.places.get(column.name()));
        let place = |state: &State| state.places.get(column.name()).cloned();
        let is_moved = change.after().and_then(place).as_ref() != stands;
        let wanted = match after {
            Some(Setting::Value(_)) => change.after(),
            _ => None,
        };
        let is_kept = match (before, after) {
            // Not managed in this column.
            (_, None) => change.after().is_some(),
            (before, after) => before == after && !is_moved,
        };
        if is_kept {
            return Self {
                is_removed: false,
                inserted: None,
            };
        }
        let inserted = wanted.map(|state| insert(name, state, after, column, stands));
        Self {
            is_removed: stands.is_some(),
            inserted,
        }
    }
}

fn insert(
    name: &str,
    state: &State,
    wanted: Option<&Setting>,
    column: Column,
    stands: Option<&Place>,
) -> Insert {
    if let Some(place) = state
        .places
        .get(column.name())
        .filter(|place| is_recorded(place, wanted, column))
    {
        return Insert {
            table: place.table.clone(),
            chain: place.chain.clone(),
            text: place.text.clone(),
            name: name.to_owned(),
            spot: Spot::Place(place.index),
        };
    }
    let table = state.table.as_deref().unwrap_or(DEFAULT_TABLE).to_owned();
    let chain = state.chain.clone().unwrap_or_default();
    let stays = stands.filter(|place| place.table == table && place.chain == chain);
    let spot = match (stays, state.position.as_deref().and_then(spot)) {
        (Some(place), _) => Spot::Place(place.index),
        (None, spot) => spot.unwrap_or(Spot::Last),
    };
    let mut words = vec![
        "-m".to_owned(),
        "comment".to_owned(),
        "--comment".to_owned(),
        format!("{MARK}{name}"),
    ];
    words.extend(state.words());
    let text = words
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ");
    Insert {
        table,
        chain,
        text,
        name: name.to_owned(),
        spot,
    }
}

/// Whether what was recorded of a rule is what is wanted: then it goes back word for word.
fn is_recorded(place: &Place, wanted: Option<&Setting>, column: Column) -> bool {
    let chain = ChainName {
        table: &place.table,
        chain: &place.chain,
    };
    let words = saved_words(&place.text).unwrap_or_default();
    wanted
        == Some(&Setting::Value(
            Rule::plain(&words, column.family).text(chain),
        ))
}
