//! The four saved tables of one snapshot, read at most once, and the choice of back end.

use std::{path::Path, sync::Arc};

use nix::unistd::geteuid;
use stead_engine::{
    model::{error_chain::error_chain, schema::Problem},
    provider::error::ProviderError,
};

use super::{
    Backend, Family, TableVariant,
    names::ChainName,
    saved::{SavedChain, SavedTables},
};
use crate::{
    host::{HostError, OLD_IPTABLES, Reader},
    values::path::provider_error,
};

/// Longest list of table names that is read, in bytes.
const NAMES_LIMIT: u64 = 4096;

/// The saved tables of all columns.
#[derive(Debug)]
pub(crate) struct Tables {
    reads: [TableRead; 4],
    default_backends: [Option<Backend>; 2],
}

/// What could be read of one column.
#[derive(Debug)]
pub(crate) enum TableRead {
    /// The programs of the back end are not installed.
    Missing,
    /// Only root may read it.
    RootOnly,
    /// Its tables.
    Read(SavedTables),
}

impl Tables {
    /// As [`Self::read`], for a resource, whose address an error names.
    pub(crate) async fn read_for(
        reader: &Reader,
        kind: &str,
        name: &str,
    ) -> Result<Arc<Self>, ProviderError> {
        let failed = provider_error(kind, name, "read the tables");
        Self::read(reader).await.map_err(failed)
    }

    /// Reads all columns at once: at most one child process for each in one moment of the host.
    pub(crate) async fn read(reader: &Reader) -> Result<Arc<Self>, HostError> {
        let read = reader.memoize_async(async || {
            let [a, b, c, d] = TableVariant::ALL.map(|column| read(reader, column));
            let (a, b, c, d) = tokio::try_join!(a, b, c, d)?;
            let reads = [a, b, c, d];
            if reads
                .iter()
                .all(|column| matches!(column, TableRead::Missing))
            {
                return Err(reader.missing_program_error(TableVariant::ALL[0].query().program()));
            }
            let default_backends =
                [Family::Ipv4, Family::Ipv6].map(|family| detect_default_backend(reader, family));
            Ok(Self {
                reads,
                default_backends,
            })
        });
        read.await
    }

    /// Makes tables of what the four programs print, for a host whose own back end is nft.
    #[cfg(test)]
    pub(crate) fn from_saved_texts(texts: [&str; 4]) -> Self {
        let mut columns = texts.map(|text| TableRead::Read(SavedTables::parse(text)));
        for (column, reading) in TableVariant::ALL.into_iter().zip(&mut columns) {
            if let TableRead::Read(saved) = reading {
                saved.name_foreign_rules(column);
            }
        }
        Self {
            reads: columns,
            default_backends: [Some(Backend::Nft); 2],
        }
    }

    /// Returns the plainest words that mean just these columns for a chain: what a spec says as `family` and `backend`.
    pub(crate) fn family_and_backend(
        &self,
        columns: &[TableVariant],
        name: ChainName<'_>,
    ) -> Option<(Option<&'static str>, Option<&'static str>)> {
        let families = [None, Some("ipv6"), Some("both")];
        let backends = [None, Some("nft"), Some("legacy"), Some("both")];
        let mut words = families
            .into_iter()
            .flat_map(|family| backends.into_iter().map(move |backend| (family, backend)));
        // Elsewhere `auto` means the host's own back end, so only that one goes without saying.
        let is_own = |column: &TableVariant| {
            column.backend == self.default_backends[column.family as usize].unwrap_or(Backend::Nft)
        };
        words.find(|(family, backend)| {
            if backend.is_none() && !columns.iter().all(is_own) {
                return false;
            }
            let meant = self
                .select_variants(*family, *backend, name)
                .unwrap_or_default();
            meant.len() == columns.len() && meant.iter().all(|column| columns.contains(column))
        })
    }

    /// Returns the columns that could be read.
    pub(crate) fn readable(&self) -> impl Iterator<Item = (TableVariant, &SavedTables)> {
        TableVariant::ALL
            .into_iter()
            .filter_map(|column| match self.table_read(column) {
                TableRead::Read(saved) => Some((column, saved)),
                TableRead::Missing | TableRead::RootOnly => None,
            })
    }

    /// Whether something there is for root alone to see.
    pub(crate) fn needs_root(&self) -> bool {
        self.reads
            .iter()
            .any(|column| matches!(column, TableRead::RootOnly))
    }

    /// Reads all columns, and chooses those that `family` and `backend` mean for a chain.
    pub(crate) async fn resolve_variants(
        reader: &Reader,
        family: Option<&str>,
        backend: Option<&str>,
        name: ChainName<'_>,
    ) -> Result<(Arc<Self>, Vec<TableVariant>), Vec<Problem>> {
        let tables = Self::read(reader)
            .await
            .map_err(|error| vec![Problem::new(error_chain(&error).join(": "))])?;
        let columns = tables
            .select_variants(family, backend, name)
            .map_err(|problem| vec![problem])?;
        Ok((tables, columns))
    }

    /// Returns the back end of the host's own program of a family.
    pub(crate) fn default_backend(&self, family: Family) -> Backend {
        self.default_backends[family as usize].unwrap_or(Backend::Nft)
    }

    /// Returns what could be read of a column.
    pub(crate) fn table_read(&self, column: TableVariant) -> &TableRead {
        &self.reads[column.index()]
    }

    /// Chooses the columns that the attributes `family` and `backend` mean for a chain.
    fn select_variants(
        &self,
        family: Option<&str>,
        backend: Option<&str>,
        name: ChainName<'_>,
    ) -> Result<Vec<TableVariant>, Problem> {
        let mut columns = vec![];
        for family in Family::from_word(family) {
            let asked: &[Backend] = match backend {
                Some("nft") => &[Backend::Nft],
                Some("legacy") => &[Backend::Legacy],
                Some("both") => &[Backend::Nft, Backend::Legacy],
                _ => &[self.auto_backend(*family, name)?],
            };
            for backend in asked {
                let column = TableVariant::new(*family, *backend);
                if matches!(self.table_read(column), TableRead::Missing) {
                    return Err(not_installed(column));
                }
                columns.push(column);
            }
        }
        Ok(columns)
    }

    /// Returns the back end that holds rules in a chain; if neither does, the only one that has the chain; else the host's own.
    fn auto_backend(&self, family: Family, name: ChainName<'_>) -> Result<Backend, Problem> {
        let backends = [Backend::Nft, Backend::Legacy];
        let that = |test: fn(&SavedChain) -> bool| {
            backends.into_iter().filter(move |backend| {
                let chain = self.chain(TableVariant::new(family, *backend), name);
                chain.is_some_and(test)
            })
        };
        let holding: Vec<_> = that(|chain| chain.effective_rules() > 0).collect();
        let [nft, legacy] =
            backends.map(
                |backend| match self.chain(TableVariant::new(family, backend), name) {
                    Some(chain) => chain.effective_rules(),
                    None => 0,
                },
            );
        if holding.len() > 1 {
            return Err(Problem::new(format!(
                "both back ends contain rules in {}/{} ({}): nft has {nft}, legacy has {legacy}",
                name.table,
                name.chain,
                family.word(),
            ))
            .at("backend")
            .help("write backend=\"nft\", backend=\"legacy\" or backend=\"both\", or remove the rules of the other one"));
        }
        let having: Vec<_> = that(|chain| chain.policy.is_none()).collect();
        let there: Vec<_> = backends
            .into_iter()
            .filter(|backend| {
                !matches!(
                    self.table_read(TableVariant::new(family, *backend)),
                    TableRead::Missing
                )
            })
            .collect();
        match (&holding[..], &having[..], &there[..]) {
            ([only], _, _) | (_, [only], _) | (_, _, [only]) => Ok(*only),
            (_, _, []) => Err(not_installed(TableVariant::new(family, Backend::Nft))),
            _ => Ok(self.default_backends[family as usize].unwrap_or(Backend::Nft)),
        }
    }

    fn chain(&self, column: TableVariant, name: ChainName<'_>) -> Option<&SavedChain> {
        match self.table_read(column) {
            TableRead::Read(saved) => saved.chain(name.table, name.chain),
            TableRead::Missing | TableRead::RootOnly => None,
        }
    }
}

async fn read(reader: &Reader, column: TableVariant) -> Result<TableRead, HostError> {
    if !reader.has_program(column.query().program()) {
        return Ok(TableRead::Missing);
    }
    if !geteuid().is_root() {
        return Ok(TableRead::RootOnly);
    }
    if column.backend == Backend::Legacy && !has_legacy_tables(reader, column.family)? {
        return Ok(TableRead::Read(SavedTables::default()));
    }
    let text = reader.query(column.query()).await?;
    let mut saved = SavedTables::parse(&String::from_utf8_lossy(&text));
    saved.name_foreign_rules(column);
    Ok(TableRead::Read(saved))
}

/// Whether the kernel has a table of the legacy back end; printing one that it has not would make it.
fn has_legacy_tables(reader: &Reader, family: Family) -> Result<bool, HostError> {
    let names = match family {
        Family::Ipv4 => "ip_tables_names",
        Family::Ipv6 => "ip6_tables_names",
    };
    // /proc/net and /proc/self are links, and the reader follows none.
    let path = format!("/proc/{}/net/{names}", std::process::id());
    Ok(reader
        .read_text(Path::new(&path), NAMES_LIMIT)?
        .is_some_and(|names| !names.trim().is_empty()))
}

/// Returns the back end of the program of a family, where it is installed: alternatives(8) chose it, or else it is a link to the program
/// of all names, `xtables-nft-multi`, `xtables-legacy-multi`, or [`OLD_IPTABLES`] before there were two.
pub(crate) fn detect_default_backend(reader: &Reader, family: Family) -> Option<Backend> {
    let mut links = ["/etc/alternatives", "/usr/sbin", "/sbin"]
        .map(|dir| Path::new(dir).join(family.program()))
        .into_iter();
    let link = links.find(|link| matches!(reader.stat(link), Ok(Some(_))))?;
    let target = reader.read_link(&link).unwrap_or_default();
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let is_legacy = name.contains("legacy") || name == OLD_IPTABLES;
    Some(if is_legacy {
        Backend::Legacy
    } else {
        Backend::Nft
    })
}

fn not_installed(column: TableVariant) -> Problem {
    Problem::new(format!(
        "the back end {} is not installed: there is no `{}`",
        column.backend.word(),
        column.query().program()
    ))
    .at("backend")
    .help("install the package `iptables`, or use another backend")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n";
    const MINE: &str = "*filter\n:MINE - [0:0]\nCOMMIT\n";
    const NONE: &str = "";

    fn choose(
        nft: &str,
        legacy: &str,
        backend: &str,
        chain: &str,
    ) -> Result<Vec<&'static str>, String> {
        let tables = Tables {
            reads: [nft, legacy, NONE, NONE].map(|text| TableRead::Read(SavedTables::parse(text))),
            default_backends: [Some(Backend::Legacy), None],
        };
        tables
            .select_variants(None, Some(backend), ChainName::parse(chain).unwrap())
            .map(|columns| columns.into_iter().map(TableVariant::name).collect())
            .map_err(|problem| problem.message)
    }

    #[test]
    fn auto_picks_the_backend_with_rules_in_the_chain() {
        assert_eq!(
            choose(RULES, NONE, "auto", "filter/INPUT").unwrap(),
            ["ipv4-nft"]
        );
        assert_eq!(
            choose(NONE, RULES, "auto", "filter/INPUT").unwrap(),
            ["ipv4-legacy"]
        );
    }

    #[test]
    fn auto_picks_the_only_backend_with_the_chain() {
        assert_eq!(
            choose(MINE, NONE, "auto", "filter/MINE").unwrap(),
            ["ipv4-nft"]
        );
    }

    #[test]
    fn auto_picks_the_default_backend_without_rules() {
        assert_eq!(
            choose(NONE, NONE, "auto", "filter/INPUT").unwrap(),
            ["ipv4-legacy"]
        );
        assert_eq!(
            choose(RULES, NONE, "auto", "filter/OUTPUT").unwrap(),
            ["ipv4-legacy"]
        );
    }

    #[test]
    fn auto_refuses_when_both_hold_rules_in_the_chain() {
        let message = choose(RULES, RULES, "auto", "filter/INPUT").unwrap_err();
        assert!(message.contains("nft has 1, legacy has 1"), "{message}");
        assert_eq!(
            choose(RULES, RULES, "both", "filter/INPUT").unwrap(),
            ["ipv4-nft", "ipv4-legacy"]
        );
    }
}
