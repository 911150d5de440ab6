//! The programs that a reader may run: those that only read.

/// The programs that a reader may run: those that only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadOnlyCommand {
    /// Prints the IPv4 rules of the back end nft.
    IptablesNftSave,
    /// Prints the IPv4 rules of the back end legacy.
    IptablesLegacySave,
    /// Prints the IPv6 rules of the back end nft.
    Ip6tablesNftSave,
    /// Prints the IPv6 rules of the back end legacy.
    Ip6tablesLegacySave,
    /// Prints the rules of nft, those of the back end nft among them.
    NftList,
    /// Prints what sudo has told the journal of systemd, the newest of it, oldest first.
    SudoJournal,
}

impl ReadOnlyCommand {
    /// All that print rules.
    pub(crate) const RULES: [Self; 5] = [
        Self::IptablesNftSave,
        Self::IptablesLegacySave,
        Self::Ip6tablesNftSave,
        Self::Ip6tablesLegacySave,
        Self::NftList,
    ];

    /// Returns the name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Self::IptablesNftSave => "iptables-nft-save",
            Self::IptablesLegacySave => "iptables-legacy-save",
            Self::Ip6tablesNftSave => "ip6tables-nft-save",
            Self::Ip6tablesLegacySave => "ip6tables-legacy-save",
            Self::NftList => "nft",
            Self::SudoJournal => "journalctl",
        }
    }

    /// Returns its arguments.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::NftList => &["list", "ruleset"],
            Self::SudoJournal => &[
                "--quiet",
                "--no-pager",
                "--output=json",
                "--identifier=sudo",
                "--lines=5000",
            ],
            _ => &[],
        }
    }
}
