//! Names of tables and chains, checked.

use stead_engine::model::{schema::Problem, suggest};

use crate::host::Trigger;

/// The tables of both back ends.
pub(crate) const TABLES: &[&str] = &["filter", "nat", "mangle", "raw", "security"];

/// The longest name of a chain: `XT_EXTENSION_MAXNAMELEN` less its end and the revision, as iptables(8) enforces it.
const LONGEST_CHAIN: usize = 28;

/// Names that a chain cannot have because they are, or look like, targets.
const TARGETS: &[&str] = &["ACCEPT", "DROP", "QUEUE", "RETURN", "REJECT", "LOG", "MARK"];

/// A chain of a table, written `table/CHAIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainName<'a> {
    /// The table.
    pub(crate) table: &'a str,
    /// The chain.
    pub(crate) chain: &'a str,
}

impl<'a> ChainName<'a> {
    /// Reads `table/CHAIN`.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Problem> {
        let Some((table, chain)) = text.split_once('/') else {
            return Err(Problem::new(format!("`{text}` is not TABLE/CHAIN"))
                .help("write it as in `filter/FORWARD`"));
        };
        Self::new(table, chain)
    }

    /// Puts the two together.
    pub(crate) fn new(table: &'a str, chain: &'a str) -> Result<Self, Problem> {
        if !TABLES.contains(&table) {
            return Err(Problem::new(format!("unknown table `{table}`")).help(
                suggest::did_you_mean("the tables are", table, TABLES.iter().copied()),
            ));
        }
        check_chain_word(chain)?;
        Ok(Self { table, chain })
    }

    /// Returns the chains that the kernel brings with the table.
    pub(crate) fn built_in(self) -> &'static [&'static str] {
        match self.table {
            "filter" | "security" => &["INPUT", "FORWARD", "OUTPUT"],
            "nat" => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
            "mangle" => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
            "raw" => &["PREROUTING", "OUTPUT"],
            _ => &[],
        }
    }

    /// Whether the chain is one that the kernel brings.
    pub(crate) fn is_built_in(self) -> bool {
        self.built_in().contains(&self.chain)
    }

    /// Returns what tells that it may have moved.
    pub(crate) fn trigger(&self) -> Trigger {
        Trigger::Chain {
            table: self.table.to_owned(),
            chain: self.chain.to_owned(),
        }
    }

    /// Says what keeps the chain from being a user's own.
    pub(crate) fn check_user_chain(self) -> Result<(), Problem> {
        let Self { table, chain } = self;
        if self.is_built_in() {
            return Err(Problem::new(format!(
                "`{chain}` is a built-in chain of the table {table}"
            ))
            .help("use another name; the policy of a built-in chain is an `iptables-policy`"));
        }
        if TARGETS.contains(&chain) {
            return Err(Problem::new(format!(
                "`{chain}` is a target, so no chain can have its name"
            ))
            .help("write another name"));
        }
        Ok(())
    }
}

/// Says what is wrong with the name of a chain.
fn check_chain_word(chain: &str) -> Result<(), Problem> {
    if chain.len() > LONGEST_CHAIN {
        return Err(Problem::new(format!(
            "the chain name `{chain}` has {} characters",
            chain.len()
        ))
        .help(format!(
            "a chain name has at most {LONGEST_CHAIN} characters"
        )));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if chain.is_empty() || chain.starts_with('-') || !chain.chars().all(allowed) {
        return Err(Problem::new(format!("`{chain}` is not a chain name")).help(
            "a chain name consists of letters, digits, `_`, `.` and `-`, and does not begin with `-`",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_name_rejects_invalid_tables_and_names() {
        let long = format!("filter/{}", "a".repeat(29));
        for text in [
            "FORWARD",
            "filtre/FORWARD",
            "filter/",
            "filter/-x",
            "filter/!x",
            "filter/a b",
            "filter/a/b",
            &long,
        ] {
            assert!(ChainName::parse(text).is_err(), "{text}");
        }
        let longest = format!("filter/{}", "a".repeat(28));
        for text in ["filter/FORWARD", "nat/KUBE-SERVICES", "raw/a_b.c", &longest] {
            assert!(ChainName::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn user_chain_is_neither_built_in_nor_a_target() {
        let check = |text| ChainName::parse(text).unwrap().check_user_chain().is_ok();
        assert!(!check("filter/INPUT"));
        assert!(!check("filter/ACCEPT"));
        assert!(check("nat/FORWARD"));
        assert!(check("filter/MINE"));
    }
}
