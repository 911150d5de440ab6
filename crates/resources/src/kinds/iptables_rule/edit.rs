//! The edits of one table variant for a change of an `iptables-rule`.

use stead_engine::model::change::Change;

use crate::{
    kinds::iptables_rule::{DEFAULT_TABLE, RecordedPosition, State, parse_position},
    netfilter::{
        COMMENT_PREFIX, ChainName, Insert, Rule, RulePosition, TableVariant, quote, split_saved,
    },
    values::setting::Setting,
};

/// What becomes of one rule in one column.
pub(crate) struct RuleEdit {
    /// Whether it is taken out where it stands.
    pub(crate) is_removed: bool,
    /// What is put in.
    pub(crate) inserted: Option<Insert>,
}

impl RuleEdit {
    /// Finds what a change does to a column.
    pub(crate) fn of(name: &str, change: &Change<State>, column: TableVariant) -> Self {
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
    column: TableVariant,
    stands: Option<&RecordedPosition>,
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
            position: RulePosition::Index(place.index),
        };
    }
    let table = state.table.as_deref().unwrap_or(DEFAULT_TABLE).to_owned();
    let chain = state.chain.clone().unwrap_or_default();
    let stays = stands.filter(|place| place.table == table && place.chain == chain);
    let position = match (stays, state.position.as_deref().and_then(parse_position)) {
        (Some(place), _) => RulePosition::Index(place.index),
        (None, position) => position.unwrap_or(RulePosition::Last),
    };
    let mut words = vec![
        "-m".to_owned(),
        "comment".to_owned(),
        "--comment".to_owned(),
        format!("{COMMENT_PREFIX}{name}"),
    ];
    words.extend(state.words());
    let text = words
        .iter()
        .map(|word| quote(word))
        .collect::<Vec<_>>()
        .join(" ");
    Insert {
        table,
        chain,
        text,
        name: name.to_owned(),
        position,
    }
}

/// Whether what was recorded of a rule is what is wanted: then it is restored word for word.
fn is_recorded(place: &RecordedPosition, wanted: Option<&Setting>, column: TableVariant) -> bool {
    let chain = ChainName {
        table: &place.table,
        chain: &place.chain,
    };
    let words = split_saved(&place.text).unwrap_or_default();
    wanted
        == Some(&Setting::Value(
            Rule::canonical(&words, column.family).text(chain),
        ))
}
