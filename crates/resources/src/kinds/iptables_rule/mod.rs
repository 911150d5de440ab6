//! The kind `iptables-rule`: one rule, identified by the name in its comment. Other rules are never changed or reordered.

pub(crate) mod edit;
pub(crate) mod state;

use stead_engine::{
    model::{
        address::Address,
        change::{Change, Effects},
        drift::{Drift, Evidence},
        listing::{Export, Listing},
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
        state::Desired,
    },
    provider::{
        capabilities::{Composite, Importable, Watchable},
        erased::Capabilities,
        error::ProviderError,
        host::Host,
        traits::Provider,
    },
};

use crate::{
    evidence::netfilter::{self, SinceRun},
    host::{LinuxHost, Reader, Trigger, Writer},
    kinds::iptables_rule::edit::RuleEdit,
    netfilter::{
        BACKEND, COMMENT_PREFIX, ChainName, FAMILY, Family, PERSIST, PerVariant, Rule,
        RulePosition, SavedTables, SpecRule, TABLES, TableRead, TableVariant, Tables,
        VARIANT_ATTRIBUTES, build_restore_script, check_words, implied_hook, list_rules,
        split_saved, split_words,
    },
    values::{path::provider_error, setting::Setting},
};

pub(crate) use state::{DEFAULT_TABLE, RecordedPosition, State, parse_position};

/// Longest comment in bytes: `XT_MAX_COMMENT_LEN` of `linux/netfilter/xt_comment.h`, less the closing NUL.
const MAX_COMMENT: usize = 255;

/// The kind `iptables-rule`.
pub(crate) struct IptablesRule;

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "table",
        Shape::OneOf(TABLES),
        Role::Input,
        "The table. Default: filter.",
    ),
    Attribute::new(
        "chain",
        Shape::Text,
        Role::Input,
        "The chain, built-in or your own.",
    ),
    FAMILY,
    BACKEND,
    PERSIST,
    Attribute {
        name: "position",
        shape: Shape::Text,
        role: Role::Input,
        doc: "Its position when it is created or moved: first, last, before:NAME or after:NAME of another rule of the spec. Default: last.",
        check: Some(check_position),
    },
    Attribute::new(
        "match",
        Shape::List,
        Role::Input,
        "What it matches, in the syntax of iptables. Default: everything.",
    ),
    Attribute::new(
        "jump",
        Shape::List,
        Role::Input,
        "The target with its options, in the syntax of iptables.",
    ),
    VARIANT_ATTRIBUTES[0],
    VARIANT_ATTRIBUTES[1],
    VARIANT_ATTRIBUTES[2],
    VARIANT_ATTRIBUTES[3],
    Attribute::new(
        "places",
        Shape::List,
        Role::Context,
        "Its position among the other rules.",
    ),
];

fn check_position(position: &str) -> Result<(), Problem> {
    parse_position(position).map(drop).ok_or_else(|| {
        Problem::new(format!("`{position}` is not a position"))
            .help("write `first`, `last`, `before:NAME` or `after:NAME`")
    })
}

impl Provider<LinuxHost> for IptablesRule {
    const KIND: &'static str = "iptables-rule";
    const CAPABILITIES: Capabilities<LinuxHost, Self> =
        Capabilities::new().importable().composite().watchable();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "An iptables rule, identified by the name in its comment; other rules stay as they are.",
            name: "any you choose",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                max_batch: 1000,
                is_runtime: true,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Allowed,
            example: "iptables-rule \"allow ssh\" chain=\"INPUT\" position=\"first\" {\n    match \"-p\" \"tcp\" \"--dport\" \"22\"\n    jump \"ACCEPT\"\n}\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        if name.contains(['"', '\'', '\\']) {
            return Err(
                Problem::new("the name of a rule must not contain quotes or backslashes").help(
                    "it becomes the comment of the rule: use letters, digits, blanks and `-`",
                ),
            );
        }
        let length = COMMENT_PREFIX.len() + name.len();
        if length > MAX_COMMENT {
            let most = MAX_COMMENT - COMMENT_PREFIX.len();
            return Err(
                Problem::new(format!("the name has {} bytes", name.len())).help(format!(
                    "it becomes the comment of the rule: at most {most} bytes"
                )),
            );
        }
        Ok(())
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        if desired.chain.is_none() {
            return vec![Problem::new("the chain is missing").help("write `chain=\"INPUT\"`")];
        }
        let mut problems = vec![];
        if let Err(problem) = desired.chain_name() {
            problems.push(problem.at("chain"));
        }
        if desired.matches.is_none() && desired.jump.is_none() {
            problems.push(
                Problem::new("a rule needs a `match` or a `jump`")
                    .help("write `{ jump \"ACCEPT\" }`"),
            );
        }
        let families = Family::from_word(desired.family.as_deref());
        problems.extend(check_words(
            "match",
            &split_words(desired.matches.as_deref()),
            families,
        ));
        problems.extend(check_words(
            "jump",
            &split_words(desired.jump.as_deref()),
            families,
        ));
        problems
    }

    async fn prepare(
        &self,
        host: &Reader,
        _name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        if !desired.is_declared() {
            return Ok(desired);
        }
        let mut columns = PerVariant::default();
        let name = desired.chain_name().map_err(|problem| vec![problem])?;
        let (family, backend) = (desired.family.as_deref(), desired.backend.as_deref());
        let (tables, chosen) = Tables::resolve_variants(host, family, backend, name).await?;
        for column in TableVariant::ALL {
            if chosen.contains(&column) {
                let plain = Rule::canonical(&desired.words(), column.family);
                columns.set(column, Setting::Value(plain.text(name)));
            } else if let TableRead::Read(_) = tables.table_read(column) {
                columns.set(column, Setting::Unset);
            }
        }
        desired.columns = columns;
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let first = names.first().copied().unwrap_or_default();
        let tables = Tables::read_for(host, Self::KIND, first).await?;
        let mut states = vec![State::default(); names.len()];
        let mut is_hidden = false;
        for column in TableVariant::ALL {
            let saved = match tables.table_read(column) {
                TableRead::Read(saved) => saved,
                TableRead::RootOnly => {
                    is_hidden = true;
                    continue;
                }
                TableRead::Missing => continue,
            };
            let by_name = saved.rules_by_name();
            for (name, state) in names.iter().zip(&mut states) {
                let found = by_name.get(name).map_or(&[][..], Vec::as_slice);
                let [only] = found else {
                    if found.is_empty() {
                        state.columns.set(column, Setting::Unset);
                        continue;
                    }
                    return Err(duplicate_rule(name, column, found.len()));
                };
                let chain = ChainName {
                    table: only.table,
                    chain: only.chain,
                };
                let words = split_saved(only.text).unwrap_or_default();
                let plain = Rule::canonical(&words, column.family);
                state.columns.set(column, Setting::Value(plain.text(chain)));
                let place = RecordedPosition {
                    table: only.table.to_owned(),
                    chain: only.chain.to_owned(),
                    index: only.position,
                    text: only.text.to_owned(),
                };
                state.places.insert(column.name().to_owned(), place);
            }
        }
        let exists = |state: &State| is_hidden || !state.places.is_empty();
        Ok(states
            .into_iter()
            .map(|state| exists(&state).then_some(state))
            .collect())
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        let Some((first, _)) = changes.first() else {
            return Ok(());
        };
        let tables = Tables::read_for(&LinuxHost::reader(host), Self::KIND, first).await?;
        for column in TableVariant::ALL {
            let TableRead::Read(saved) = tables.table_read(column) else {
                continue;
            };
            let mut removed = vec![];
            let mut inserted = vec![];
            for (name, change) in &changes {
                let edit = RuleEdit::of(name, change, column);
                removed.extend(edit.is_removed.then_some(*name));
                inserted.extend(edit.inserted);
            }
            if removed.is_empty() && inserted.is_empty() {
                continue;
            }
            let attempted = format!("change the rules of {}", column.name());
            let input = build_restore_script(saved, &removed, &inserted).map_err(|error| {
                ProviderError::new(Address::new(Self::KIND, *first), attempted.clone(), error)
            })?;
            host.run(
                column.restore_program(),
                &["--noflush", "--wait"],
                input.as_bytes(),
            )
            .await
            .map_err(provider_error(Self::KIND, first, &attempted))?;
        }
        Ok(())
    }

    fn requires(&self, _name: &str, desired: &State) -> Vec<Address> {
        let table = desired.table.as_deref().unwrap_or(DEFAULT_TABLE);
        let chains = desired
            .chain
            .iter()
            .cloned()
            .chain(split_words(desired.jump.as_deref()).into_iter().next());
        let mut needed: Vec<_> = chains
            .map(|chain| Address::new("iptables-chain", format!("{table}/{chain}")))
            .collect();
        if let Some(RulePosition::Before(name) | RulePosition::After(name)) =
            desired.position.as_deref().and_then(parse_position)
        {
            needed.push(Address::new(Self::KIND, name));
        }
        needed
    }

    fn effects(&self, _name: &str, change: &Change<State>) -> Effects {
        let drops = change.after().is_some_and(|after| {
            after.columns.iter().any(|(_, rule)| {
                matches!(rule, Setting::Value(text) if text.contains(" -j DROP") || text.contains(" -j REJECT"))
            })
        });
        Effects {
            may_cut_network: drops.then(|| "it stops packets".to_owned()),
            ..Effects::default()
        }
    }
}

impl Importable<LinuxHost> for IptablesRule {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        list_rules(host)
            .await
            .map_err(provider_error(Self::KIND, "", "read the tables"))
    }

    async fn export(
        &self,
        host: &Reader,
        name: &str,
        state: State,
    ) -> Result<Export<State>, ProviderError> {
        let tables = Tables::read_for(host, Self::KIND, name).await?;
        Ok(match to_spec(&tables, &state) {
            Ok(state) => Export::as_is(state),
            Err(why) => Export::Unreadable(why.to_owned()),
        })
    }
}

impl Composite<LinuxHost> for IptablesRule {
    fn implies(&self, _name: &str, desired: &State) -> Vec<(Address, Desired)> {
        implied_hook(desired.persist)
    }
}

impl Watchable<LinuxHost> for IptablesRule {
    fn triggers(&self, _name: &str, desired: Option<&State>) -> Vec<Trigger> {
        let chain = desired.and_then(|desired| desired.chain_name().ok());
        chain.iter().map(ChainName::trigger).collect()
    }

    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        let then = drift.change.after()?;
        let now = drift.change.before();
        let is_set = |setting: Option<&Setting>| matches!(setting, Some(Setting::Value(_)));
        let has = |state: Option<&State>, column: TableVariant| {
            is_set(state.and_then(|state| state.columns.get(column)))
        };
        let wanted = TableVariant::ALL
            .into_iter()
            .filter(|column| has(Some(then), *column));
        let wanted: Vec<_> = wanted.collect();
        // A rule that is there still was moved or rewritten, which nothing shows.
        let gone: Vec<_> = wanted
            .iter()
            .copied()
            .filter(|column| !has(now, *column))
            .collect();
        let is_other = |column: &TableVariant| {
            has(now, *column)
                && now.and_then(|now| now.columns.get(*column)) != then.columns.get(*column)
        };
        if wanted.iter().any(is_other) {
            return None;
        }
        let table = then
            .places
            .values()
            .next()
            .map(|place| place.table.as_str());
        let table = table.or(then.table.as_deref()).unwrap_or(DEFAULT_TABLE);
        let is_kept = |saved: &SavedTables| saved.rules_by_name().contains_key(name);
        netfilter::removal_evidence(host, table, &gone, SinceRun::of(drift), is_kept).await
    }
}

/// Returns a rule in the words of a spec, or why it has none.
fn to_spec(tables: &Tables, state: &State) -> Result<State, &'static str> {
    let found = |column: TableVariant| Some((column, state.places.get(column.name())?.index));
    let places: Vec<_> = TableVariant::ALL.into_iter().filter_map(found).collect();
    let place = state
        .places
        .values()
        .next()
        .ok_or("it was removed meanwhile")?;
    let chain = ChainName {
        table: &place.table,
        chain: &place.chain,
    };
    let SpecRule {
        words: (family, backend),
        position,
        matches,
        jump,
    } = SpecRule::from_text(tables, &places, chain, &place.text)?;
    Ok(State {
        table: (place.table != DEFAULT_TABLE).then(|| place.table.clone()),
        chain: Some(place.chain.clone()),
        family,
        backend,
        position,
        matches,
        jump,
        ..State::default()
    })
}

fn duplicate_rule(name: &str, column: TableVariant, count: usize) -> ProviderError {
    ProviderError::new(
        Address::new(IptablesRule::KIND, name),
        "identify it",
        format!(
            "{count} rules of {} carry the comment `{COMMENT_PREFIX}{name}`",
            column.name()
        ),
    )
    .help("remove all but one of them by hand")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_position_accepts_ends_and_neighbours() {
        for position in ["first", "last", "before:a b", "after:x:y"] {
            assert!(parse_position(position).is_some(), "{position}");
        }
        for position in ["", "second", "before:", "beside:x"] {
            assert!(parse_position(position).is_none(), "{position}");
        }
    }

    #[test]
    fn rule_requires_its_chain_target_and_neighbour() {
        let state = State {
            chain: Some("IN".into()),
            jump: Some(vec!["MINE".into()]),
            position: Some("after:x".into()),
            ..State::default()
        };
        let needed: Vec<_> = IptablesRule
            .requires("r", &state)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            needed,
            [
                "iptables-chain:filter/IN",
                "iptables-chain:filter/MINE",
                "iptables-rule:x"
            ]
        );
    }
}
