//! A table variant: one of two back ends, of one of two families.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::host::ReadOnlyCommand;

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
pub(crate) struct TableVariant {
    /// The family.
    pub(crate) family: Family,
    /// The back end.
    pub(crate) backend: Backend,
}

impl Family {
    /// Returns the families that a word of the attribute `family` means; not written means IPv4.
    pub(crate) fn from_word(word: Option<&str>) -> &'static [Self] {
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

impl TableVariant {
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
    pub(crate) fn query(self) -> ReadOnlyCommand {
        self.pick([
            ReadOnlyCommand::IptablesNftSave,
            ReadOnlyCommand::IptablesLegacySave,
            ReadOnlyCommand::Ip6tablesNftSave,
            ReadOnlyCommand::Ip6tablesLegacySave,
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
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PerVariant<T> {
    ipv4_nft: Option<T>,
    ipv4_legacy: Option<T>,
    ipv6_nft: Option<T>,
    ipv6_legacy: Option<T>,
}

impl<T> Default for PerVariant<T> {
    fn default() -> Self {
        Self {
            ipv4_nft: None,
            ipv4_legacy: None,
            ipv6_nft: None,
            ipv6_legacy: None,
        }
    }
}

impl<T> PerVariant<T> {
    /// Returns the value of a column.
    pub(crate) fn get(&self, column: TableVariant) -> Option<&T> {
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
    pub(crate) fn set(&mut self, column: TableVariant, value: T) {
        *column.pick([
            &mut self.ipv4_nft,
            &mut self.ipv4_legacy,
            &mut self.ipv6_nft,
            &mut self.ipv6_legacy,
        ]) = Some(value);
    }

    /// Returns the columns that have a value, with it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TableVariant, &T)> {
        TableVariant::ALL
            .into_iter()
            .filter_map(|column| Some((column, self.get(column)?)))
    }
}
