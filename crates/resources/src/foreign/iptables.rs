//! Rules files as policies, chains and rules. A rule that exists on this host gets the name that import gives it, so that the plan
//! of the spec finds it, however the file writes it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stead_engine::{
    import::{coverage::KindCoverage, translate::ForeignSpec},
    model::address::Address,
    provider::traits::Provider,
};

use crate::{
    foreign::iptables_save::RulesFile,
    kinds::{
        iptables_chain::IptablesChain,
        iptables_policy::IptablesPolicy,
        iptables_rule::{DEFAULT_TABLE, IptablesRule},
    },
    netfilter::{
        Backend, ChainName, DUPLICATE_RULE, Family, Rule, SavedRule, SavedTables, TABLES,
        TableRead, TableVariant, Tables, comment, known_writers, split_at_jump, split_saved,
    },
};

/// The policy that a chain has unless somebody sets another one.
const DEFAULT_POLICY: &str = "ACCEPT";
/// The table whose policies people set: of the others only what is not the default is worth writing.
const POLICY_TABLE: &str = "filter";

/// Adds what the files say, at most one of each family.
pub(crate) fn add_to(spec: &mut ForeignSpec, files: Vec<RulesFile>, tables: Option<&Tables>) {
    let mut found = RulesCollector::default();
    for mut file in files {
        let column = default_column(tables, file.family);
        file.saved.name_foreign_rules(column);
        if let Some(TableRead::Read(there)) = tables.map(|tables| tables.table_read(column)) {
            adopt_names(&mut file.saved, there, file.family);
        }
        for (line, why) in &file.skipped {
            found.skip(IptablesRule::KIND, file.location(*line), why);
        }
        let known = |(table, _): &(&String, _)| TABLES.contains(&table.as_str());
        for (table, chains) in file.saved.tables.iter().filter(known) {
            for name in chains.keys() {
                let chain = ChainName { table, chain: name };
                found.add_chain(&file, column, chain);
                found.add_rules(&file, column, chain, tables);
            }
        }
    }
    found.merge_families(tables);
    for (kind, heading) in HEADINGS {
        spec.headings.insert(kind.to_owned(), heading.to_owned());
    }
    spec.resources.extend(found.resources);
    for (kind, coverage) in found.coverage {
        *spec.coverage.kind_mut(&kind) = coverage;
    }
}

/// What stands above the resources of each kind.
const HEADINGS: [(&str, &str); 3] = [
    (
        IptablesPolicy::KIND,
        "Policies of built-in chains, for packets that no rule decides.",
    ),
    (
        IptablesChain::KIND,
        "Chains that are not from a known program.",
    ),
    (
        IptablesRule::KIND,
        "Rules that are not from a known program. `#` and a digest identify a rule without a name.",
    ),
];

/// Returns the column that the host's own `iptables-restore` would fill: netfilter-persistent calls it.
fn default_column(tables: Option<&Tables>, family: Family) -> TableVariant {
    TableVariant::new(
        family,
        tables.map_or(Backend::Nft, |tables| tables.default_backend(family)),
    )
}

/// Calls the rules of a file as those of the host that say the same, whatever the spelling. Each is meant once.
fn adopt_names(saved: &mut SavedTables, there: &SavedTables, family: Family) {
    for (table, chains) in &mut saved.tables {
        for (chain, known) in chains {
            let Some(on_host) = there.chain(table, chain) else {
                continue;
            };
            let name = ChainName { table, chain };
            let mut taken: BTreeSet<String> = known
                .rules
                .iter()
                .filter_map(|rule| rule.name.clone())
                .collect();
            let names = on_host.rules.iter().filter_map(|rule| rule.name.as_deref());
            let names: BTreeSet<&str> = names.collect();
            let said: Vec<(CanonicalRule, &SavedRule)> = on_host
                .rules
                .iter()
                .filter_map(|rule| Some((CanonicalRule::of(rule, name, family)?, rule)))
                .collect();
            let mut before: BTreeSet<CanonicalRule> = BTreeSet::new();
            for rule in &mut known.rules {
                let is_there = rule.name.as_deref().is_none_or(|name| names.contains(name));
                let Some(says) = CanonicalRule::of(rule, name, family) else {
                    continue;
                };
                let is_same = |(other, on_host): &&(CanonicalRule, &SavedRule)| {
                    let is_free = on_host
                        .name
                        .as_ref()
                        .is_some_and(|name| !taken.contains(name));
                    is_free
                        && other.canonical == says.canonical
                        && (other.comment == says.comment || on_host.is_ours)
                };
                if let Some((_, same)) = said.iter().find(is_same).filter(|_| !is_there) {
                    rule.name.clone_from(&same.name);
                    taken.extend(same.name.clone());
                } else if !is_there && before.contains(&says) {
                    rule.name = None;
                }
                before.insert(says);
            }
        }
    }
}

/// What a rule says, however it is spelled.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct CanonicalRule {
    canonical: String,
    comment: Option<String>,
}

impl CanonicalRule {
    fn of(rule: &SavedRule, chain: ChainName<'_>, family: Family) -> Option<Self> {
        let words = split_saved(&rule.text)?;
        Some(Self {
            canonical: Rule::canonical(&words, family).text(chain),
            comment: comment(&rule.text),
        })
    }
}

#[derive(Default)]
struct RulesCollector {
    /// Policies by table and chain: the column, the policy, and where it stands.
    policies: BTreeMap<String, Vec<(TableVariant, String, String)>>,
    /// Chains by table and chain.
    chains: BTreeMap<String, Vec<TableVariant>>,
    resources: BTreeMap<Address, Value>,
    coverage: BTreeMap<String, KindCoverage>,
}

impl RulesCollector {
    fn coverage_of(&mut self, kind: &str) -> &mut KindCoverage {
        self.coverage.entry(kind.to_owned()).or_default()
    }

    fn skip(&mut self, kind: &str, place: String, why: &str) {
        self.coverage_of(kind)
            .unreadable
            .insert(place, why.to_owned());
    }

    fn add_foreign(&mut self, kind: &str, whose: &str) {
        *self
            .coverage_of(kind)
            .foreign
            .entry(whose.to_owned())
            .or_default() += 1;
    }

    fn add_chain(&mut self, file: &RulesFile, column: TableVariant, chain: ChainName<'_>) {
        let ChainName { table, chain: name } = chain;
        let place = file.location(file.chain_line(table, name));
        let key = format!("{table}/{name}");
        let policy = file.saved.chain(table, name);
        let policy = policy.and_then(|chain| chain.policy.as_deref());
        if !chain.is_built_in() {
            match known_writers::of_chain(name) {
                Some(whose) => self.add_foreign(IptablesChain::KIND, whose),
                None => match IptablesChain.check_name(&key) {
                    Ok(()) => self.chains.entry(key).or_default().push(column),
                    Err(problem) => {
                        self.skip(IptablesChain::KIND, place, &problem.to_string());
                    }
                },
            }
            return;
        }
        let Some(policy) = policy else { return };
        let kind = IptablesPolicy::KIND;
        if policy == DEFAULT_POLICY && table != POLICY_TABLE {
            self.coverage_of(kind).default += 1;
        } else if !["ACCEPT", "DROP"].contains(&policy) {
            let why = "a policy is ACCEPT or DROP";
            self.skip(kind, place, why);
        } else if let Some(whose) =
            known_writers::of_policy(&file.saved, table, name).filter(|_| policy != DEFAULT_POLICY)
        {
            self.add_foreign(kind, whose);
        } else {
            let policies = self.policies.entry(key).or_default();
            policies.push((column, policy.to_owned(), place));
        }
    }

    fn add_rules(
        &mut self,
        file: &RulesFile,
        column: TableVariant,
        chain: ChainName<'_>,
        tables: Option<&Tables>,
    ) {
        let rules = file.saved.chain(chain.table, chain.chain);
        let mut before: Option<String> = None;
        for (index, rule) in rules.iter().flat_map(|chain| &chain.rules).enumerate() {
            let kind = IptablesRule::KIND;
            let place = file.location(file.line(chain.table, chain.chain, index));
            if let Some(whose) = known_writers::of_rule(&file.saved, chain.chain, rule) {
                self.add_foreign(kind, whose);
                continue;
            }
            let Some(name) = &rule.name else {
                self.coverage_of(kind).ignore(DUPLICATE_RULE, place);
                continue;
            };
            let position = match &before {
                Some(before) => Some(format!("after:{before}")),
                None => (index == 0).then(|| "first".to_owned()),
            };
            let words = family_and_backend(tables, &[column], chain);
            match rule_state(chain, words, position, name, &rule.text) {
                Ok(state) => {
                    let address = Address::new(kind, name.as_str());
                    if self.resources.contains_key(&address) {
                        let why = format!("there is another rule of the name `{name}`");
                        self.skip(kind, place, &why);
                        continue;
                    }
                    self.resources.insert(address, state);
                    before = Some(name.clone());
                }
                Err(why) => self.skip(kind, place, &why),
            }
        }
    }

    /// Writes what both families may say together.
    fn merge_families(&mut self, tables: Option<&Tables>) {
        for (key, columns) in std::mem::take(&mut self.chains) {
            let Ok(chain) = ChainName::parse(&key) else {
                continue;
            };
            let state =
                with_family_and_backend(json!({}), family_and_backend(tables, &columns, chain));
            let address = Address::new(IptablesChain::KIND, key.as_str());
            self.resources.insert(address, state);
        }
        for (key, said) in std::mem::take(&mut self.policies) {
            let Ok(chain) = ChainName::parse(&key) else {
                continue;
            };
            let is_drop =
                |(_, policy, _): &&(TableVariant, String, String)| policy != DEFAULT_POLICY;
            let policy = said.iter().find(is_drop).or(said.first());
            let policy = policy
                .map_or(DEFAULT_POLICY, |(_, policy, _)| policy)
                .to_owned();
            let mut columns = vec![];
            for (column, other, place) in said {
                if other == policy {
                    columns.push(column);
                    continue;
                }
                let why = format!(
                    "a spec has one policy of {key}: {other} is not imported, because the other family has {policy}"
                );
                self.skip(IptablesPolicy::KIND, place, &why);
            }
            let state = with_family_and_backend(
                json!({"policy": policy}),
                family_and_backend(tables, &columns, chain),
            );
            let address = Address::new(IptablesPolicy::KIND, key.as_str());
            self.resources.insert(address, state);
        }
    }
}

/// What a spec says as `family` and `backend`.
type FamilyAndBackend = (Option<&'static str>, Option<&'static str>);

/// Returns the plainest words for these columns.
fn family_and_backend(
    tables: Option<&Tables>,
    columns: &[TableVariant],
    chain: ChainName<'_>,
) -> FamilyAndBackend {
    let known = tables.and_then(|tables| tables.family_and_backend(columns, chain));
    known.unwrap_or_else(|| {
        let family = match columns {
            [_, _, ..] => Some("both"),
            [only] if only.family == Family::Ipv6 => Some("ipv6"),
            _ => None,
        };
        (family, None)
    })
}

fn with_family_and_backend(mut state: Value, (family, backend): FamilyAndBackend) -> Value {
    if let Some(family) = family {
        state["family"] = family.into();
    }
    if let Some(backend) = backend {
        state["backend"] = backend.into();
    }
    state
}

/// Returns a rule in the words of a spec, or why there are none.
fn rule_state(
    chain: ChainName<'_>,
    words: FamilyAndBackend,
    position: Option<String>,
    name: &str,
    text: &str,
) -> Result<Value, String> {
    let (matches, jump) = split_at_jump(text)?;
    let mut state = with_family_and_backend(json!({"chain": chain.chain}), words);
    if chain.table != DEFAULT_TABLE {
        state["table"] = chain.table.into();
    }
    let mut all = matches.iter().chain(&jump).flatten();
    if all.any(|word| word.contains(char::REPLACEMENT_CHARACTER)) {
        return Err("it is not UTF-8".to_owned());
    }
    let parts = [
        ("position", position.map(Value::from)),
        ("match", matches.map(Value::from)),
        ("jump", jump.map(Value::from)),
    ];
    for (attribute, value) in parts {
        if let Some(value) = value {
            state[attribute] = value;
        }
    }
    let written = serde_json::from_value(state.clone()).map_err(|error| error.to_string())?;
    let problems = IptablesRule.check_name(name).err().into_iter();
    let mut problems = problems.chain(IptablesRule.check(name, &written));
    match problems.next() {
        Some(problem) => Err(format!("a spec cannot express it: {problem}")),
        None => Ok(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_TABLES: [&str; 4] = [""; 4];

    fn foreign_spec(v4: &str, v6: &str, tables: Option<&Tables>) -> ForeignSpec {
        let file = |path: &str, family: Family, text: &str| {
            RulesFile::parse(path, family, text.as_bytes()).unwrap()
        };
        let files = vec![file("v4", Family::Ipv4, v4), file("v6", Family::Ipv6, v6)];
        let mut wishes = ForeignSpec::default();
        add_to(&mut wishes, files, tables);
        wishes
    }

    fn resource_lines(wishes: &ForeignSpec) -> Vec<String> {
        let all = wishes.resources.iter();
        all.map(|(address, state)| format!("{address} {state}"))
            .collect()
    }

    fn filter(rules: &str) -> String {
        format!("*filter\n:INPUT ACCEPT [0:0]\n{rules}COMMIT\n")
    }

    #[test]
    fn entries_shared_by_both_families_are_merged() {
        let v4 = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:MINE - [0:0]\nCOMMIT\n*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
        let v6 = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:MINE - [0:0]\n:SIX - [0:0]\nCOMMIT\n";
        let tables = Tables::from_saved_texts(EMPTY_TABLES);
        for tables in [None, Some(&tables)] {
            let wishes = foreign_spec(v4, v6, tables);
            assert_eq!(
                resource_lines(&wishes),
                [
                    r#"iptables-chain:filter/MINE {"family":"both"}"#,
                    r#"iptables-chain:filter/SIX {"family":"ipv6"}"#,
                    r#"iptables-policy:filter/FORWARD {"family":"both","policy":"ACCEPT"}"#,
                    r#"iptables-policy:filter/INPUT {"policy":"DROP"}"#,
                ]
            );
            let policies = &wishes.coverage.0["iptables-policy"];
            assert_eq!(policies.default, 1);
            assert_eq!(
                policies.unreadable["v6:2"],
                "a spec has one policy of filter/INPUT: ACCEPT is not imported, because the other family has DROP"
            );
        }
    }

    #[test]
    fn known_writers_are_counted_and_unsupported_rules_named() {
        let text = "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:DOCKER-USER - [0:0]\n:KUBE-FORWARD - [0:0]\n:cali-FORWARD - [0:0]\n\
            :MINE - [0:0]\n-A FORWARD -j KUBE-FORWARD\n-A FORWARD -j DOCKER-USER\n-A FORWARD -g MINE\n-A FORWARD -s 192.0.2.1/32 -j ACCEPT\n\
            -A FORWARD -s 192.0.2.1/32 -j ACCEPT\n-A FORWARD -s x.example -j ACCEPT\n-A FORWARD -j MINE\n\
            -A DOCKER-USER -s 192.0.2.9/32 -j DROP\n-A DOCKER -j ACCEPT\nCOMMIT\n";
        let wishes = foreign_spec(text, "", None);
        let found = |kind: &str| &wishes.coverage.0[kind];
        assert_eq!(found("iptables-policy").foreign["Docker"], 1);
        assert_eq!(found("iptables-chain").foreign["Docker"], 2);
        assert_eq!(found("iptables-chain").foreign["Kubernetes"], 1);
        let rules = found("iptables-rule");
        assert_eq!(rules.foreign["Kubernetes"], 1);
        assert_eq!(rules.foreign["Docker"], 2);
        assert!(rules.ignored[DUPLICATE_RULE].contains("v4:12"), "{rules:?}");
        let unsaid: Vec<String> = rules
            .unreadable
            .iter()
            .map(|(place, why)| format!("{place} {why}"))
            .collect();
        assert_eq!(
            unsaid,
            [
                "v4:10 it uses `-g`, which a spec cannot express",
                "v4:13 a spec cannot express it: `x.example` is not an address",
            ]
        );
        let written = resource_lines(&wishes);
        assert_eq!(written.len(), 4, "{written:?}");
        // What stands behind a rule that is left out stands behind the one before that.
        assert!(
            written.iter().any(|rule| rule
                .contains(r#""jump":["MINE"],"position":"after:FORWARD s 192.0.2.1/32 ACCEPT #"#)),
            "{written:?}"
        );
    }

    #[test]
    fn rule_that_is_on_the_host_keeps_its_name() {
        let there = filter(
            "-A INPUT -p tcp -m tcp --dport 22 -m comment --comment \"by hand\" -j ACCEPT\n\
             -A INPUT -s 10.0.0.0/8 -m comment --comment \"stead:mine\" -j REJECT --reject-with icmp-port-unreachable\n",
        );
        let tables = Tables::from_saved_texts([&there, "", "", ""]);
        let text = filter(
            "-A INPUT -p tcp --dport 22 -j ACCEPT -m comment --comment \"by hand\"\n\
             -A INPUT -p tcp --dport 22 -m comment --comment \"by hand\" -j ACCEPT\n\
             -A INPUT -s 10.1.2.3/255.0.0.0 -j REJECT\n",
        );
        let names = |tables: Option<&Tables>| {
            let wishes = foreign_spec(&text, "", tables);
            let rules = wishes.resources.into_keys();
            let rules = rules.filter(|address| address.kind == "iptables-rule");
            rules.map(|address| address.name).collect::<Vec<_>>()
        };
        let TableRead::Read(saved) = tables.table_read(TableVariant::ALL[0]) else {
            unreachable!("it was printed");
        };
        let known = saved.chain("filter", "INPUT").unwrap();
        let known: Vec<_> = known
            .rules
            .iter()
            .filter_map(|rule| rule.name.clone())
            .collect();
        assert_eq!(names(Some(&tables)), known);
        assert_eq!(names(None).len(), 3, "nothing is known of a host");
        // In the other back end nothing of it stands, and there the chain has rules: so it is said which one is meant.
        let tables = Tables::from_saved_texts(["", &there, "", ""]);
        let wishes = foreign_spec(&text, "", Some(&tables));
        let all = resource_lines(&wishes);
        let rules = all.iter().filter(|line| line.starts_with("iptables-rule"));
        assert!(rules.clone().count() == 3, "{all:?}");
        for rule in rules {
            assert!(rule.contains(r#""backend":"nft""#), "{rule}");
        }
    }

    #[test]
    fn rule_that_is_not_utf8_is_reported() {
        let bytes = b"*filter\n-A INPUT -j LOG --log-prefix \"caf\xe9\"\n-A INPUT -m comment --comment \"caf\xe9\" -j DROP\nCOMMIT\n";
        let file = RulesFile::parse("v4", Family::Ipv4, bytes).unwrap();
        let mut wishes = ForeignSpec::default();
        add_to(&mut wishes, vec![file], None);
        let found = &wishes.coverage.0["iptables-rule"];
        assert_eq!(found.unreadable["v4:2"], "it is not UTF-8");
        assert_eq!(wishes.resources.len(), 1, "a comment is only a name");
    }
}
