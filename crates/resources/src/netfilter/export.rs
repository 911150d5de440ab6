//! Rules for import: those that are not from a known program, as a spec writes them.

use stead_engine::model::listing::Listing;

use super::{
    ChainName, FamilyAndBackend, ImportableTables, ODD_VARIANTS, TableRead, TableVariant, Tables,
    saved::{SavedRule, SavedTables},
    tables_for_import,
    words::split_saved,
};
use crate::host::{HostError, Reader};
use crate::netfilter::known_writers;

/// Why a rule is passed over that stands in its chain already.
pub(crate) const DUPLICATE_RULE: &str = "the same rule precedes it, so it has no effect";

/// Lists the rules of all columns.
pub(crate) async fn list_rules(host: &Reader) -> Result<Listing, HostError> {
    let heading = "iptables rules that are not from a known program. `#` and a digest identify a rule without a name.";
    let tables = match tables_for_import(host, heading).await? {
        ImportableTables::Read(tables) => tables,
        ImportableTables::Unavailable(listing) => return Ok(listing),
    };
    let mut listing = Listing::new(heading, []);
    for (_, saved) in tables.readable() {
        for (chain, rule) in rules(saved) {
            match (known_writers::of_rule(saved, chain, rule), &rule.name) {
                (Some(whose), _) => listing.add_foreign(whose),
                (None, Some(name)) => drop(listing.managed.insert(name.clone())),
                (None, None) => {
                    let text = format!("{chain} {}", rule.text);
                    listing.ignore(DUPLICATE_RULE, text);
                }
            }
        }
    }
    Ok(listing)
}

/// Returns all rules of one column, with their chains.
fn rules(saved: &SavedTables) -> impl Iterator<Item = (&str, &SavedRule)> {
    let chains = saved.tables.values().flatten();
    chains.flat_map(|(name, chain)| chain.rules.iter().map(move |rule| (name.as_str(), rule)))
}

/// A rule in the words of a spec.
pub(crate) struct SpecRule {
    pub(crate) words: FamilyAndBackend,
    pub(crate) position: Option<String>,
    pub(crate) matches: Option<Vec<String>>,
    pub(crate) jump: Option<Vec<String>>,
}

impl SpecRule {
    /// Finds the words for a rule with this text that stands at these places of a chain; says why there are none.
    pub(crate) fn from_text(
        tables: &Tables,
        places: &[(TableVariant, usize)],
        chain: ChainName<'_>,
        text: &str,
    ) -> Result<Self, &'static str> {
        let columns: Vec<TableVariant> = places.iter().map(|(column, _)| *column).collect();
        let (family, backend) = tables
            .family_and_backend(&columns, chain)
            .ok_or(ODD_VARIANTS)?;
        let (matches, jump) = split_at_jump(text)?;
        let positions = places
            .iter()
            .map(|place| spec_position(tables, *place, chain));
        let mut positions: Vec<_> = positions.collect();
        positions.dedup();
        let position = match positions.as_slice() {
            [only] => only.clone(),
            _ => None,
        };
        Ok(Self {
            words: (family.map(str::to_owned), backend.map(str::to_owned)),
            position,
            matches,
            jump,
        })
    }
}

/// Words, if there are any.
type WordList = Option<Vec<String>>;

/// Splits the text of a rule into what a spec says as `match` and as `jump`; says why it cannot.
pub(crate) fn split_at_jump(text: &str) -> Result<(WordList, WordList), &'static str> {
    let words = split_saved(text).ok_or("its text is ambiguous")?;
    let words = without_comments(words);
    let is_jump = |word: &String| ["-j", "--jump", "-g", "--goto"].contains(&word.as_str());
    let jump = words.iter().position(is_jump).unwrap_or(words.len());
    if words
        .get(jump)
        .is_some_and(|word| word == "-g" || word == "--goto")
    {
        return Err("it uses `-g`, which a spec cannot express");
    }
    let list = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    Ok((
        list(&words[..jump]),
        list(words.get(jump + 1..).unwrap_or_default()),
    ))
}

/// Says where a rule stands among those that are written: first of all, or after another.
fn spec_position(
    tables: &Tables,
    (column, index): (TableVariant, usize),
    name: ChainName<'_>,
) -> Option<String> {
    let TableRead::Read(saved) = tables.table_read(column) else {
        return None;
    };
    if index == 1 {
        return Some("first".to_owned());
    }
    let chain = saved.chain(name.table, name.chain)?;
    let before = &chain.rules[..index - 1];
    let is_peoples = |rule: &&SavedRule| known_writers::of_rule(saved, name.chain, rule).is_none();
    let before = before
        .iter()
        .filter(is_peoples)
        .rfind(|rule| rule.name.is_some());
    Some(format!("after:{}", before?.name.as_deref()?))
}

/// Comments say who a rule is, and that is its name.
fn without_comments(words: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = vec![];
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--comment" {
            words.next();
            if kept.ends_with(&["-m".to_owned(), "comment".to_owned()]) {
                kept.truncate(kept.len() - 2);
            }
        } else {
            kept.push(word);
        }
    }
    kept
}
