//! Several changes of rules as one input of `iptables-restore --noflush`, which the kernel applies completely or not at all for each table.

use std::{collections::BTreeMap, fmt::Write as _};

use super::SavedTables;

/// A rule to be put into a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Insert {
    /// The table.
    pub(crate) table: String,
    /// The chain.
    pub(crate) chain: String,
    /// The rule as `iptables-restore` reads it, without table and chain, with its name in a comment.
    pub(crate) text: String,
    /// The name.
    pub(crate) name: String,
    /// Where.
    pub(crate) position: RulePosition,
}

/// Where a rule goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RulePosition {
    /// Where it stood: the place in the chain, counted from 1, or the end if the chain is shorter now.
    Index(usize),
    /// Before all others.
    First,
    /// Behind all others.
    Last,
    /// Just before the rule of ours with this name.
    Before(String),
    /// Just behind it.
    After(String),
}

/// A rule that another one shall stand beside does not stand in that chain.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no rule `{beside}` in {table}/{chain} for the position")]
pub(crate) struct AnchorNotFound {
    beside: String,
    table: String,
    chain: String,
}

/// Writes the input that removes the rules with the names of `removed` and puts in `inserted`.
/// First all go, then those come that know their place, from the first place on, then the others in order: so all places are right.
pub(crate) fn build_restore_script(
    saved: &SavedTables,
    removed: &[&str],
    inserted: &[Insert],
) -> Result<String, AnchorNotFound> {
    let mut chains: BTreeMap<(String, String), Vec<Option<String>>> = BTreeMap::new();
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, names) in &saved.tables {
        for (chain, rules) in names {
            let mut kept = vec![];
            for rule in &rules.rules {
                match &rule.name {
                    Some(name) if removed.contains(&name.as_str()) => {
                        lines
                            .entry(table.clone())
                            .or_default()
                            .push(format!("-D {chain} {}", rule.text));
                    }
                    name => kept.push(name.clone()),
                }
            }
            chains.insert((table.clone(), chain.clone()), kept);
        }
    }
    let mut sorted: Vec<&Insert> = inserted.iter().collect();
    sorted.sort_by_key(|insert| match insert.position {
        RulePosition::Index(place) => place,
        _ => usize::MAX,
    });
    for Insert {
        table,
        chain,
        text,
        name,
        position,
    } in sorted
    {
        let rules = chains.entry((table.clone(), chain.clone())).or_default();
        let beside = |name: &String| {
            rules
                .iter()
                .position(|rule| rule.as_ref() == Some(name))
                .ok_or_else(|| AnchorNotFound {
                    beside: name.clone(),
                    table: table.clone(),
                    chain: chain.clone(),
                })
        };
        let index = match position {
            RulePosition::Index(place) => place.saturating_sub(1).min(rules.len()),
            RulePosition::First => 0,
            RulePosition::Last => rules.len(),
            RulePosition::Before(name) => beside(name)?,
            RulePosition::After(name) => beside(name)? + 1,
        };
        let line = if index == rules.len() {
            format!("-A {chain} {text}")
        } else {
            format!("-I {chain} {} {text}", index + 1)
        };
        rules.insert(index, Some(name.clone()));
        lines.entry(table.clone()).or_default().push(line);
    }
    let mut script = String::new();
    for (table, lines) in lines {
        write!(script, "*{table}\n{}\nCOMMIT\n", lines.join("\n"))
            .expect("writing to a String cannot fail");
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "*filter\n:INPUT ACCEPT [0:0]\n\
        -A INPUT -m comment --comment \"stead:a\" -j ACCEPT\n\
        -A INPUT -j DROP\n\
        -A INPUT -m comment --comment \"stead:b\" -j ACCEPT\nCOMMIT\n";

    fn insert(name: &str, position: RulePosition) -> Insert {
        Insert {
            table: "filter".into(),
            chain: "INPUT".into(),
            text: name.into(),
            name: name.into(),
            position,
        }
    }

    fn check(removed: &[&str], inserted: &[Insert], expected: &[&str]) {
        let script = build_restore_script(&SavedTables::parse(SAVED), removed, inserted).unwrap();
        let lines: Vec<_> = script.lines().collect();
        assert_eq!(&lines[1..lines.len() - 1], expected);
    }

    #[test]
    fn script_restores_rules_at_places_in_any_order() {
        let gone = [
            "-D INPUT -m comment --comment \"stead:a\" -j ACCEPT",
            "-D INPUT -m comment --comment \"stead:b\" -j ACCEPT",
        ];
        check(
            &["a", "b"],
            &[
                insert("b", RulePosition::Index(2)),
                insert("a", RulePosition::Index(1)),
            ],
            &[gone[0], gone[1], "-I INPUT 1 a", "-I INPUT 2 b"],
        );
    }

    #[test]
    fn positions_account_for_earlier_inserts_of_the_batch() {
        check(
            &[],
            &[
                insert("c", RulePosition::First),
                insert("d", RulePosition::After("c".into())),
                insert("e", RulePosition::Before("b".into())),
                insert("f", RulePosition::Last),
            ],
            &["-I INPUT 1 c", "-I INPUT 2 d", "-I INPUT 5 e", "-A INPUT f"],
        );
    }

    #[test]
    fn missing_anchor_rule_is_named() {
        let error = build_restore_script(
            &SavedTables::parse(SAVED),
            &[],
            &[insert("c", RulePosition::After("x".into()))],
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no rule `x` in filter/INPUT for the position"
        );
    }

    #[test]
    fn new_chain_is_filled_from_the_start() {
        let script = build_restore_script(
            &SavedTables::default(),
            &[],
            &[insert("c", RulePosition::Index(7))],
        )
        .unwrap();
        assert_eq!(script, "*filter\n-A INPUT c\nCOMMIT\n");
    }
}
