//! What `iptables-save` prints, read into tables, chains and rules.

use std::collections::{BTreeMap, BTreeSet};

use stead_engine::model::digest::sha256;

use super::TableVariant;
use crate::netfilter::words::split_saved;

/// The start of the comment that carries the name of a rule of ours.
pub(crate) const COMMENT_PREFIX: &str = "stead:";

/// All tables of one column.
#[derive(Clone, Debug, Default)]
pub(crate) struct SavedTables {
    /// The tables that the kernel has, by name.
    pub(crate) tables: BTreeMap<String, BTreeMap<String, SavedChain>>,
}

/// One chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SavedChain {
    /// The policy; `None` for a user's chain.
    pub(crate) policy: Option<String>,
    /// Its rules, in order.
    pub(crate) rules: Vec<SavedRule>,
}

/// The comment of rules that MicroK8s puts into both back ends at each start: `run-kubelite-with-args`.
const MICROK8S_COMMENT: &str = "generated for MicroK8s pods";

impl SavedChain {
    /// Counts the rules that tell which back end is used here.
    pub(crate) fn effective_rules(&self) -> usize {
        let tells = |rule: &&SavedRule| !rule.is_of_microk8s();
        self.rules.iter().filter(tells).count()
    }
}

impl SavedRule {
    /// Whether MicroK8s made it for its pods.
    pub(crate) fn is_of_microk8s(&self) -> bool {
        self.text.contains(MICROK8S_COMMENT)
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedRule {
    /// Its text, without `-A CHAIN`.
    pub(crate) text: String,
    /// The name in its comment, if it is one of ours; else the one that [`SavedTables::name_foreign_rules`] gives it.
    pub(crate) name: Option<String>,
    /// Whether it carries a name of ours in its comment.
    pub(crate) is_ours: bool,
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamedRule<'a> {
    /// The table.
    pub(crate) table: &'a str,
    /// The chain.
    pub(crate) chain: &'a str,
    /// The place in the chain, counted from 1.
    pub(crate) position: usize,
    /// Its text, without `-A CHAIN`.
    pub(crate) text: &'a str,
}

impl SavedTables {
    /// Reads what `iptables-save` prints.
    pub(crate) fn parse(text: &str) -> Self {
        let mut saved = Self::default();
        let mut table = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
                saved.tables.entry(name.to_owned()).or_default();
            } else if let Some((chain, rest)) =
                line.strip_prefix(':').and_then(|line| line.split_once(' '))
            {
                let policy = rest.split(' ').next().filter(|policy| *policy != "-");
                saved.set_policy(table, chain, policy);
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let (chain, text) = rule.split_once(' ').unwrap_or((rule, ""));
                saved.insert(table, chain, usize::MAX, text);
            }
        }
        saved
    }

    /// Adds a chain, or gives it another policy.
    pub(crate) fn set_policy(&mut self, table: &str, chain: &str, policy: Option<&str>) {
        self.chain_mut(table, chain).policy = policy.map(str::to_owned);
    }

    /// Puts a rule into a chain: at this index, or at its end if it is shorter.
    pub(crate) fn insert(&mut self, table: &str, chain: &str, index: usize, text: &str) {
        let name = stead_name(text);
        let rules = &mut self.chain_mut(table, chain).rules;
        let rule = SavedRule {
            text: text.to_owned(),
            is_ours: name.is_some(),
            name,
        };
        rules.insert(index.min(rules.len()), rule);
    }

    fn chain_mut(&mut self, table: &str, chain: &str) -> &mut SavedChain {
        let chains = self.tables.entry(table.to_owned()).or_default();
        chains.entry(chain.to_owned()).or_default()
    }

    /// Gives every rule of others a name by which a spec can speak of it: words for people, and a digest of where it stands and what
    /// it says. So import writes rules down that nobody has named, and finds them again.
    pub(crate) fn name_foreign_rules(&mut self, column: TableVariant) {
        let rules = || {
            self.tables
                .values()
                .flat_map(BTreeMap::values)
                .flat_map(|chain| &chain.rules)
        };
        let mut taken: BTreeSet<String> = rules().filter_map(|rule| rule.name.clone()).collect();
        for (table, chains) in &mut self.tables {
            for (chain, SavedChain { rules, .. }) in chains {
                for rule in rules.iter_mut().filter(|rule| !rule.is_ours) {
                    let name = foreign_rule_name(column, table, chain, &rule.text);
                    // Of two that say the same the first one counts.
                    rule.name = taken.insert(name.clone()).then_some(name);
                }
            }
        }
    }

    /// Returns a chain, if the kernel has it.
    pub(crate) fn chain(&self, table: &str, chain: &str) -> Option<&SavedChain> {
        self.tables.get(table)?.get(chain)
    }

    /// Returns where the rules stand that carry a name, by name.
    pub(crate) fn rules_by_name(&self) -> BTreeMap<&str, Vec<NamedRule<'_>>> {
        let mut named: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (table, chains) in &self.tables {
            for (chain, SavedChain { rules, .. }) in chains {
                for (index, rule) in rules.iter().enumerate() {
                    if let Some(name) = &rule.name {
                        named.entry(name.as_str()).or_default().push(NamedRule {
                            table,
                            chain,
                            position: index + 1,
                            text: &rule.text,
                        });
                    }
                }
            }
        }
        named
    }
}

/// How many digits of a digest tell rules apart.
const DIGITS: usize = 12;
/// The longest words of a name in characters.
const LONGEST_WORDS: usize = 60;

/// Returns a name for a rule of others.
fn foreign_rule_name(column: TableVariant, table: &str, chain: &str, text: &str) -> String {
    let digest = sha256(format!("{}\n{table}\n{chain}\n{text}", column.name()));
    let digest = &digest[..DIGITS];
    let words = comment(text).unwrap_or_else(|| readable_name(chain, text));
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || " ./:,!_=-".contains(*c);
    let words: String = words.chars().filter(is_plain).take(LONGEST_WORDS).collect();
    format!("{} #{digest}", words.trim())
}

/// Says a rule in few words.
fn readable_name(chain: &str, text: &str) -> String {
    let mut spoken = vec![chain];
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        match word {
            // What follows repeats what the options of the match say.
            "-m" => drop(words.next()),
            "-j" | "-p" => {}
            word => spoken.push(word.trim_start_matches('-')),
        }
    }
    spoken.join(" ")
}

/// Returns the name in the comment of a rule of ours. Names hold neither quotes nor backslashes, so no unquoting is needed.
fn stead_name(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("--comment ")?;
    let value = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split(' ').next(),
    };
    value
        .and_then(|value| value.strip_prefix(COMMENT_PREFIX))
        .map(str::to_owned)
        .or_else(|| stead_name(rest))
}

/// Returns the comment of a rule; of several the first.
pub(crate) fn comment(text: &str) -> Option<String> {
    let words = split_saved(text)?;
    let at = words.iter().position(|word| word == "--comment")?;
    words.get(at + 1).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_parse_reads_policies_rules_and_names() {
        let saved = SavedTables::parse(
            "# Generated by iptables-nft-save\n*filter\n:INPUT DROP [5:300]\n:MINE - [0:0]\n\
             -A INPUT -s 1.2.3.4/32 -j MINE\n\
             -A INPUT -p tcp -m comment --comment \"stead:allow ssh\" -m tcp --dport 22 -j ACCEPT\n\
             -A MINE\nCOMMIT\n# Completed\n",
        );
        let input = saved.chain("filter", "INPUT").unwrap();
        assert_eq!(input.policy.as_deref(), Some("DROP"));
        assert_eq!(input.rules[0].name, None);
        assert_eq!(input.rules[0].text, "-s 1.2.3.4/32 -j MINE");
        assert_eq!(input.rules[1].name.as_deref(), Some("allow ssh"));
        let mine = saved.chain("filter", "MINE").unwrap();
        assert_eq!((mine.policy.as_deref(), mine.rules.len()), (None, 1));
        assert!(saved.chain("nat", "INPUT").is_none());
        assert_eq!(saved.rules_by_name()["allow ssh"][0].position, 2);
    }

    #[test]
    fn foreign_rules_get_unique_names() {
        let text = "*filter\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j DROP\n-A INPUT -j DROP\n\
            -A INPUT -m comment --comment \"let \\\"us\\\" in\" -j ACCEPT\nCOMMIT\n";
        let mut saved = SavedTables::parse(text);
        saved.name_foreign_rules(TableVariant::ALL[0]);
        let names: Vec<_> = saved
            .chain("filter", "INPUT")
            .unwrap()
            .rules
            .iter()
            .map(|rule| rule.name.clone())
            .collect();
        assert_eq!(
            names[0].as_deref(),
            Some("INPUT tcp dport 22 ACCEPT #d416d13d2327")
        );
        assert!(names[1].is_some() && names[2].is_none(), "{names:?}");
        assert!(names[3].as_deref().unwrap().starts_with("let us in #"));
        let mut other = SavedTables::parse(text);
        other.name_foreign_rules(TableVariant::ALL[2]);
        assert_ne!(
            saved.rules_by_name().keys().collect::<Vec<_>>(),
            other.rules_by_name().keys().collect::<Vec<_>>()
        );
        // A rule of ours with that name is the one that is meant.
        let both = format!(
            "*filter\n-A INPUT -m comment --comment \"stead:{}\" -j ACCEPT\nCOMMIT\n{text}",
            names[0].as_ref().unwrap()
        );
        let mut both = SavedTables::parse(&both);
        both.name_foreign_rules(TableVariant::ALL[0]);
        assert_eq!(both.rules_by_name()[names[0].as_deref().unwrap()].len(), 1);
    }

    #[test]
    fn rule_name_is_found_after_other_comments() {
        assert_eq!(
            stead_name("-m comment --comment \"docker\" -m comment --comment stead:x -j A")
                .as_deref(),
            Some("x")
        );
        assert_eq!(
            stead_name("-m comment --comment \"not stead:x\" -j A"),
            None
        );
        assert_eq!(stead_name("-j A"), None);
    }
}
