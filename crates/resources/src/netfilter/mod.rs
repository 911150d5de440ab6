//! The packet filter that several kinds share: back ends, families, saved tables, and the plain form of a rule.

pub(crate) mod export;
pub(crate) mod known_writers;
mod names;
pub(crate) mod restore_script;
mod rule;
mod saved;
mod tables;
mod words;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stead_engine::{
    model::{
        address::Address,
        listing::Listing,
        schema::{Attribute, Role, Shape},
        state::Desired,
    },
    provider::traits::ProviderError,
};

use crate::{
    host::{HostError, Query, Reader},
    values::path::refused,
};

pub(crate) use export::{SAME_BEFORE, Spoken, list_rules, split_at_jump};
pub(crate) use names::{ChainName, TABLES};
pub(crate) use restore_script::{Insert, Spot, script};
pub(crate) use rule::{Rule, check_words, quoted, split};
pub(crate) use saved::{MARK, Saved, SavedRule};
pub(crate) use tables::{Reading, Tables, preferred};
pub(crate) use words::{saved_words, with_single_blanks};

/// The attribute `family`.
pub(crate) const FAMILY: Attribute = Attribute::new(
    "family",
    Shape::OneOf(&["ipv4", "ipv6", "both"]),
    Role::Input,
    "Which addresses. ipv4 unless written.",
);

/// The attribute `backend`.
pub(crate) const BACKEND: Attribute = Attribute::new(
    "backend",
    Shape::OneOf(&["auto", "nft", "legacy", "both"]),
    Role::Input,
    "Which back end of the kernel. auto unless written: the one that holds rules in the chain, else the host's own.",
);

/// The attribute `persist`.
pub(crate) const PERSIST: Attribute = Attribute::new(
    "persist",
    Shape::Flag,
    Role::Input,
    "Whether a boot brings it back too: true unless written; then a hook comes with it.",
);

/// What comes with something that the kernel forgets at a reboot.
pub(crate) fn implied_hook(persist: Option<bool>) -> Vec<(Address, Desired)> {
    if persist == Some(false) {
        vec![]
    } else {
        crate::kinds::hook::boot()
    }
}

/// What a spec says as `family` and `backend`.
pub(crate) type Words = (Option<String>, Option<String>);

/// Returns the plainest words that mean just these columns for a chain; `None` if there are none.
pub(crate) async fn words_of(
    host: &Reader,
    kind: &str,
    name: &str,
    columns: &[Column],
) -> Result<Option<Words>, ProviderError> {
    let tables = Tables::read(host)
        .await
        .map_err(refused(kind, name, "read the tables"))?;
    let chain = ChainName::parse(name).expect("the name was checked");
    let words = tables.words(columns, chain);
    Ok(words.map(|(family, backend)| (family.map(str::to_owned), backend.map(str::to_owned))))
}

/// Why there is nothing to import where no back end is installed.
pub(crate) const NOT_INSTALLED: &str = "iptables is not installed";
/// Why a resource that stands in some columns cannot be written.
pub(crate) const ODD_COLUMNS: &str =
    "no `family` and `backend` mean just the tables that it stands in";
/// Why the tables could not be seen.
const FOR_ROOT: &str = "only root may read the tables";

/// Reads the tables for a listing; where there are none, or none that may be seen, returns a listing that says so.
pub(crate) async fn tables_to_list(
    host: &Reader,
    heading: &str,
) -> Result<Result<Arc<Tables>, Listing>, HostError> {
    if !Column::ALL
        .into_iter()
        .any(|column| host.has_program(column.query().program()))
    {
        return Ok(Err(Listing::outside(NOT_INSTALLED)));
    }
    let tables = Tables::read(host).await?;
    if tables.is_hidden() {
        let mut listing = Listing::of(heading, []);
        listing
            .unreadable
            .insert("*".to_owned(), FOR_ROOT.to_owned());
        return Ok(Err(listing));
    }
    Ok(Ok(tables))
}

/// The attributes that hold what stands in each column.
pub(crate) const COLUMNS: [Attribute; 4] = [
    column_attribute("ipv4-nft", "What `iptables-nft` has."),
    column_attribute("ipv4-legacy", "What `iptables-legacy` has."),
    column_attribute("ipv6-nft", "What `ip6tables-nft` has."),
    column_attribute("ipv6-legacy", "What `ip6tables-legacy` has."),
];

const fn column_attribute(name: &'static str, doc: &'static str) -> Attribute {
    Attribute {
        name,
        shape: Shape::Text,
        role: Role::Derived,
        doc,
        check: None,
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// A back end of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The tables that `iptables-nft` shows.
    Nft,
    /// The tables that `iptables-legacy` shows.
    Legacy,
}

/// One of the four places that a setting can stand in: a back end of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// The family.
    pub(crate) family: Family,
    /// The back end.
    pub(crate) backend: Backend,
}

impl Family {
    /// Returns the families that a word of the attribute `family` means; not written means IPv4.
    pub(crate) fn of(word: Option<&str>) -> &'static [Self] {
        match word {
            Some("ipv6") => &[Self::Ipv6],
            Some("both") => &[Self::Ipv4, Self::Ipv6],
            _ => &[Self::Ipv4],
        }
    }

    /// Returns the name of the host's own program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Ipv4 => "iptables",
            Self::Ipv6 => "ip6tables",
        }
    }

    /// Returns the name as users write it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

impl Backend {
    /// Returns the name as users write it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        }
    }
}

impl Column {
    /// All four, in the order in which they are shown.
    pub(crate) const ALL: [Self; 4] = [
        Self::new(Family::Ipv4, Backend::Nft),
        Self::new(Family::Ipv4, Backend::Legacy),
        Self::new(Family::Ipv6, Backend::Nft),
        Self::new(Family::Ipv6, Backend::Legacy),
    ];

    /// Makes a column.
    pub(crate) const fn new(family: Family, backend: Backend) -> Self {
        Self { family, backend }
    }

    /// Returns its position in [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        self.pick([0, 1, 2, 3])
    }

    /// Returns its name, which is that of the attribute.
    pub(crate) fn name(self) -> &'static str {
        self.pick(["ipv4-nft", "ipv4-legacy", "ipv6-nft", "ipv6-legacy"])
    }

    /// Returns the query for all its tables.
    pub(crate) fn query(self) -> Query {
        self.pick([
            Query::IptablesNftSave,
            Query::IptablesLegacySave,
            Query::Ip6tablesNftSave,
            Query::Ip6tablesLegacySave,
        ])
    }

    /// Returns the program that changes many rules at once.
    pub(crate) fn restore_program(self) -> &'static str {
        self.pick([
            "iptables-nft-restore",
            "iptables-legacy-restore",
            "ip6tables-nft-restore",
            "ip6tables-legacy-restore",
        ])
    }

    /// Returns the program that changes one thing; the crate `iptables` wants a static path.
    pub(crate) fn program(self) -> &'static str {
        self.pick([
            "/usr/sbin/iptables-nft",
            "/usr/sbin/iptables-legacy",
            "/usr/sbin/ip6tables-nft",
            "/usr/sbin/ip6tables-legacy",
        ])
    }

    fn pick<T>(self, [a, b, c, d]: [T; 4]) -> T {
        match (self.family, self.backend) {
            (Family::Ipv4, Backend::Nft) => a,
            (Family::Ipv4, Backend::Legacy) => b,
            (Family::Ipv6, Backend::Nft) => c,
            (Family::Ipv6, Backend::Legacy) => d,
        }
    }
}

/// One value for each column; `None` where it could not be seen, or is not managed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Columns<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4_nft: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4_legacy: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_nft: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_legacy: Option<T>,
}

impl<T> Default for Columns<T> {
    fn default() -> Self {
        Self {
            ipv4_nft: None,
            ipv4_legacy: None,
            ipv6_nft: None,
            ipv6_legacy: None,
        }
    }
}

impl<T> Columns<T> {
    /// Returns the value of a column.
    pub(crate) fn get(&self, column: Column) -> Option<&T> {
        column
            .pick([
                &self.ipv4_nft,
                &self.ipv4_legacy,
                &self.ipv6_nft,
                &self.ipv6_legacy,
            ])
            .as_ref()
    }

    /// Sets the value of a column.
    pub(crate) fn set(&mut self, column: Column, value: T) {
        *column.pick([
            &mut self.ipv4_nft,
            &mut self.ipv4_legacy,
            &mut self.ipv6_nft,
            &mut self.ipv6_legacy,
        ]) = Some(value);
    }

    /// Returns the columns that have a value, with it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Column, &T)> {
        Column::ALL
            .into_iter()
            .filter_map(|column| Some((column, self.get(column)?)))
    }
}
