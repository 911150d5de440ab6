//! The kind `iptables-policy`: the policy of a built-in chain.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
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
        traits::Provider,
    },
};

use crate::{
    evidence::netfilter::{self, SinceRun},
    host::{LinuxHost, Reader, Trigger, Writer},
    netfilter::{
        BACKEND, ChainName, FAMILY, ImportableTables, ODD_VARIANTS, PERSIST, PerVariant,
        SavedTables, TableRead, TableVariant, Tables, VARIANT_ATTRIBUTES, family_and_backend_of,
        implied_hook, known_writers, tables_for_import,
    },
    values::path::provider_error,
};

/// The policy of a chain of a table that the kernel does not have yet.
const DEFAULT_POLICY: &str = "ACCEPT";

/// The kind `iptables-policy`.
pub(crate) struct IptablesPolicy;

/// State of a policy.
///
/// ```kdl
/// iptables-policy "filter/FORWARD" "ACCEPT"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    #[serde(default)]
    policy: Option<String>,
    #[serde(default)]
    family: Option<String>,
    #[serde(default)]
    backend: Option<String>,
    #[serde(default)]
    persist: Option<bool>,
    #[serde(default)]
    remarks: Option<Vec<String>>,
    #[serde(flatten)]
    columns: PerVariant<String>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "policy",
        Shape::OneOf(&["ACCEPT", "DROP"]),
        Role::Input,
        "What happens to a packet that no rule decides.",
    ),
    FAMILY,
    BACKEND,
    PERSIST,
    VARIANT_ATTRIBUTES[0],
    VARIANT_ATTRIBUTES[1],
    VARIANT_ATTRIBUTES[2],
    VARIANT_ATTRIBUTES[3],
    Attribute::new(
        "remarks",
        Shape::List,
        Role::Remark,
        "Its value after a boot, if nothing restores it.",
    ),
];

impl Provider<LinuxHost> for IptablesPolicy {
    const KIND: &'static str = "iptables-policy";
    const CAPABILITIES: Capabilities<LinuxHost, Self> =
        Capabilities::new().importable().composite().watchable();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "The policy of a built-in iptables chain, for packets that no rule decides.",
            name: "table/CHAIN",
            main: Some("policy"),
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                is_runtime: true,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Refused(
                "a built-in chain always has a policy; write `ACCEPT` or `DROP`",
            ),
            example: "iptables-policy \"filter/FORWARD\" \"ACCEPT\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        let name = ChainName::parse(name)?;
        if name.is_built_in() {
            return Ok(());
        }
        Err(Problem::new(format!(
            "`{}` is not a built-in chain of the table {}, and only those have a policy",
            name.chain, name.table
        ))
        .help(format!(
            "its built-in chains are {}",
            name.built_in().join(", ")
        )))
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        match desired.policy {
            None => vec![
                Problem::new("the policy is missing")
                    .help("write `\"ACCEPT\"` or `\"DROP\"` after the name"),
            ],
            Some(_) => vec![],
        }
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        let Some(policy) = desired.policy.clone() else {
            return Ok(desired);
        };
        let chain = ChainName::parse(name).map_err(|problem| vec![problem])?;
        let (family, backend) = (desired.family.as_deref(), desired.backend.as_deref());
        let (_, columns) = Tables::resolve_variants(host, family, backend, chain).await?;
        if desired.persist == Some(false) {
            let mut remarks = vec![];
            for column in &columns {
                let other = netfilter::policy_after_reboot(host, chain, *column, &policy).await;
                remarks.extend(other.filter(|other| !remarks.contains(other)));
            }
            desired.remarks = Some(remarks).filter(|remarks| !remarks.is_empty());
        }
        for column in columns {
            desired.columns.set(column, policy.clone());
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let first = names.first().copied().unwrap_or_default();
        let tables = Tables::read_for(host, Self::KIND, first).await?;
        Ok(names.iter().map(|name| Some(read(&tables, name))).collect())
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let (Some(before), Some(after)) = (change.before(), change.after()) else {
                let fact = "a built-in chain always exists";
                return Err(ProviderError::new(
                    Address::new(Self::KIND, name),
                    "create or remove it",
                    fact,
                ));
            };
            for (column, policy) in after.columns.iter() {
                if before.columns.get(column) != Some(policy) {
                    set(host, name, column, policy.clone()).await?;
                }
            }
        }
        Ok(())
    }

    fn effects(&self, name: &str, change: &Change<State>) -> Effects {
        let drops = change
            .after()
            .is_some_and(|after| after.columns.iter().any(|(_, policy)| policy == "DROP"));
        let accepted = change
            .before()
            .is_some_and(|before| before.columns.iter().any(|(_, policy)| policy == "ACCEPT"));
        Effects {
            may_cut_network: (drops && accepted)
                .then(|| format!("packets that no rule of {name} accepts are dropped")),
            ..Effects::default()
        }
    }
}

impl Importable<LinuxHost> for IptablesPolicy {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let heading = "Policies of built-in chains other than ACCEPT.";
        let refused = provider_error(Self::KIND, "", "read the tables");
        let tables = match tables_for_import(host, heading).await.map_err(refused)? {
            ImportableTables::Read(tables) => tables,
            ImportableTables::Unavailable(listing) => return Ok(listing),
        };
        let mut listing = Listing::new(heading, []);
        for (_, saved) in tables.readable() {
            for (table, chain, policy) in policies(saved) {
                match known_writers::of_policy(saved, table, chain) {
                    _ if policy == DEFAULT_POLICY => listing.default += 1,
                    Some(whose) => listing.add_foreign(whose),
                    None => drop(listing.managed.insert(format!("{table}/{chain}"))),
                }
            }
        }
        Ok(listing)
    }

    async fn export(
        &self,
        host: &Reader,
        name: &str,
        state: State,
    ) -> Result<Export<State>, ProviderError> {
        let dropping = state
            .columns
            .iter()
            .filter(|(_, policy)| *policy != DEFAULT_POLICY);
        let columns: Vec<TableVariant> = dropping.map(|(column, _)| column).collect();
        let policy = columns
            .first()
            .and_then(|column| state.columns.get(*column))
            .cloned();
        Ok(
            match family_and_backend_of(host, Self::KIND, name, &columns).await? {
                Some((family, backend)) => Export::as_is(State {
                    policy,
                    family,
                    backend,
                    ..State::default()
                }),
                None => Export::Unreadable(ODD_VARIANTS.to_owned()),
            },
        )
    }
}

impl Composite<LinuxHost> for IptablesPolicy {
    fn implies(&self, _name: &str, desired: &State) -> Vec<(Address, Desired)> {
        implied_hook(desired.persist)
    }
}

impl Watchable<LinuxHost> for IptablesPolicy {
    fn triggers(&self, name: &str, _desired: Option<&State>) -> Vec<Trigger> {
        ChainName::parse(name)
            .iter()
            .map(ChainName::trigger)
            .collect()
    }

    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        let (before, after) = (drift.change.before()?, drift.change.after()?);
        let moved = before.columns.iter().filter(|(column, now)| {
            let then = after.columns.get(*column);
            then.is_some_and(|then| then != *now)
        });
        let moved: Vec<_> = moved.map(|(column, now)| (column, now.as_str())).collect();
        let name = ChainName::parse(name).ok()?;
        netfilter::policy_evidence(host, name, &moved, SinceRun::of(drift)).await
    }
}

/// Returns the policies of one column: table, chain, policy.
fn policies(saved: &SavedTables) -> impl Iterator<Item = (&str, &str, &str)> {
    saved.tables.iter().flat_map(|(table, chains)| {
        chains.iter().filter_map(move |(chain, rules)| {
            Some((table.as_str(), chain.as_str(), rules.policy.as_deref()?))
        })
    })
}

fn read(tables: &Tables, name: &str) -> State {
    let mut state = State::default();
    let chain = ChainName::parse(name).expect("the name was checked");
    for column in TableVariant::ALL {
        if let TableRead::Read(saved) = tables.table_read(column) {
            let policy = saved
                .chain(chain.table, chain.chain)
                .and_then(|chain| chain.policy.clone());
            state
                .columns
                .set(column, policy.unwrap_or_else(|| DEFAULT_POLICY.to_owned()));
        }
    }
    state
}

async fn set(
    host: &Writer,
    name: &str,
    column: TableVariant,
    policy: String,
) -> Result<(), ProviderError> {
    let (table, chain) = name.split_once('/').expect("the name was checked");
    let (table, chain) = (table.to_owned(), chain.to_owned());
    let attempted = format!("set the policy of {} to {policy}", column.name());
    host.iptables(column.program(), move |tables| {
        tables.set_policy(&table, &chain, &policy)
    })
    .await
    .map_err(provider_error(IptablesPolicy::KIND, name, &attempted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_requires_a_built_in_chain() {
        let check = |name: &str| {
            IptablesPolicy
                .check_name(name)
                .map_err(|problem| problem.message)
        };
        assert_eq!(check("filter/FORWARD"), Ok(()));
        assert_eq!(
            check("filter/MINE").unwrap_err(),
            "`MINE` is not a built-in chain of the table filter, and only those have a policy"
        );
        assert_eq!(
            check("filtre/FORWARD").unwrap_err(),
            "unknown table `filtre`"
        );
    }

    #[test]
    fn policy_state_round_trips_through_json() {
        let mut state = State {
            policy: Some("DROP".into()),
            ..State::default()
        };
        state.columns.set(TableVariant::ALL[1], "DROP".to_owned());
        let json = serde_json::to_value(&state).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"policy": "DROP", "ipv4-legacy": "DROP"})
        );
        assert_eq!(serde_json::from_value::<State>(json).unwrap(), state);
    }
}
