//! The kind `iptables-chain`: a user-defined chain.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        drift::{Drift, Evidence},
        listing::{Export, Listing},
        schema::{Absence, Attribute, Lifecycle, Problem, Schema},
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

/// The kind `iptables-chain`.
pub(crate) struct IptablesChain;

/// State of a chain: in which columns it exists.
///
/// ```kdl
/// iptables-chain "filter/MINE"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    #[serde(default)]
    family: Option<String>,
    #[serde(default)]
    backend: Option<String>,
    #[serde(default)]
    persist: Option<bool>,
    #[serde(flatten)]
    columns: PerVariant<bool>,
}

const ATTRIBUTES: &[Attribute] = &[
    FAMILY,
    BACKEND,
    PERSIST,
    VARIANT_ATTRIBUTES[0],
    VARIANT_ATTRIBUTES[1],
    VARIANT_ATTRIBUTES[2],
    VARIANT_ATTRIBUTES[3],
];

impl Provider<LinuxHost> for IptablesChain {
    const KIND: &'static str = "iptables-chain";
    const CAPABILITIES: Capabilities<LinuxHost, Self> =
        Capabilities::new().importable().composite().watchable();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A chain of your own in a table of iptables; its rules are resources of their own.",
            name: "table/CHAIN",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                is_runtime: true,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Allowed,
            example: "iptables-chain \"filter/MINE\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        ChainName::parse(name)?.check_user_chain()
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        let chain = ChainName::parse(name).map_err(|problem| vec![problem])?;
        let (family, backend) = (desired.family.as_deref(), desired.backend.as_deref());
        let (_, columns) = Tables::resolve_variants(host, family, backend, chain).await?;
        if desired.columns.iter().next().is_none() {
            for column in columns {
                desired.columns.set(column, true);
            }
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
        Ok(names.iter().map(|name| read(&tables, name)).collect())
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            for column in TableVariant::ALL {
                let is_there = |state: Option<&State>| {
                    state.and_then(|state| state.columns.get(column).copied())
                };
                let is = is_there(change.before()).unwrap_or(false);
                let should_exist = match change.after() {
                    None => false,
                    after => is_there(after).unwrap_or(is),
                };
                if is != should_exist {
                    set(host, name, column, should_exist).await?;
                }
            }
        }
        Ok(())
    }
}

impl Importable<LinuxHost> for IptablesChain {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let heading = "iptables chains that are not from a known program.";
        let refused = provider_error(Self::KIND, "", "read the tables");
        let tables = match tables_for_import(host, heading).await.map_err(refused)? {
            ImportableTables::Read(tables) => tables,
            ImportableTables::Unavailable(listing) => return Ok(listing),
        };
        let mut listing = Listing::new(heading, []);
        for (_, saved) in tables.readable() {
            for (table, chains) in &saved.tables {
                for (chain, _) in chains.iter().filter(|(_, rules)| rules.policy.is_none()) {
                    match known_writers::of_chain(chain) {
                        Some(whose) => listing.add_foreign(whose),
                        None => drop(listing.managed.insert(format!("{table}/{chain}"))),
                    }
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
        let there = state.columns.iter().filter(|(_, is_there)| **is_there);
        let columns: Vec<TableVariant> = there.map(|(column, _)| column).collect();
        Ok(
            match family_and_backend_of(host, Self::KIND, name, &columns).await? {
                Some((family, backend)) => Export::as_is(State {
                    family,
                    backend,
                    ..State::default()
                }),
                None => Export::Unreadable(ODD_VARIANTS.to_owned()),
            },
        )
    }
}

impl Composite<LinuxHost> for IptablesChain {
    fn implies(&self, _name: &str, desired: &State) -> Vec<(Address, Desired)> {
        implied_hook(desired.persist)
    }
}

impl Watchable<LinuxHost> for IptablesChain {
    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        let then = drift.change.after()?;
        let has = |state: Option<&State>, column: TableVariant| {
            state.and_then(|state| state.columns.get(column)) == Some(&true)
        };
        let now = drift.change.before();
        let gone = TableVariant::ALL
            .into_iter()
            .filter(|column| has(Some(then), *column) && !has(now, *column));
        let chain = ChainName::parse(name).ok()?;
        let is_kept = |saved: &SavedTables| saved.chain(chain.table, chain.chain).is_some();
        let gone: Vec<_> = gone.collect();
        netfilter::removal_evidence(host, chain.table, &gone, SinceRun::of(drift), is_kept).await
    }

    fn triggers(&self, name: &str, _desired: Option<&State>) -> Vec<Trigger> {
        ChainName::parse(name)
            .iter()
            .map(ChainName::trigger)
            .collect()
    }
}

fn read(tables: &Tables, name: &str) -> Option<State> {
    let mut state = State::default();
    let chain = ChainName::parse(name).expect("the name was checked");
    let mut is_hidden = false;
    for column in TableVariant::ALL {
        match tables.table_read(column) {
            TableRead::Read(saved) => {
                state
                    .columns
                    .set(column, saved.chain(chain.table, chain.chain).is_some());
            }
            TableRead::RootOnly => is_hidden = true,
            TableRead::Missing => {}
        }
    }
    (is_hidden || state.columns.iter().any(|(_, is_there)| *is_there)).then_some(state)
}

async fn set(
    host: &Writer,
    name: &str,
    column: TableVariant,
    should_exist: bool,
) -> Result<(), ProviderError> {
    let (table, chain) = name.split_once('/').expect("the name was checked");
    let (table, chain) = (table.to_owned(), chain.to_owned());
    let attempted = if should_exist {
        format!("create it in {}", column.name())
    } else {
        format!(
            "remove it from {} (it must be empty and nothing may jump to it)",
            column.name()
        )
    };
    host.iptables(column.program(), move |tables| {
        if should_exist {
            tables.new_chain(&table, &chain)
        } else {
            tables.delete_chain(&table, &chain)
        }
    })
    .await
    .map_err(provider_error(IptablesChain::KIND, name, &attempted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_name_must_be_valid_for_iptables() {
        let check = |name: &str| {
            IptablesChain
                .check_name(name)
                .map_err(|problem| problem.message)
        };
        assert_eq!(check("filter/MINE"), Ok(()));
        assert!(check("filter/INPUT").unwrap_err().contains("built-in"));
        let long = format!("filter/{}", "A".repeat(29));
        assert!(check(&long).unwrap_err().contains("has 29 characters"));
    }
}
