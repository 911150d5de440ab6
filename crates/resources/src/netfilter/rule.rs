//! The canonical form of a rule, in which the rule of a user and the output of `iptables-save` are comparable.
//!
//! iptables normalizes what it prints: addresses get their length, some matches their `-m`, some targets their defaults.
//! Both sides go through the same function: options by their usual name, values by their usual form, in a fixed order.

use std::net::IpAddr;

use ipnet::IpNet;
use stead_engine::model::schema::Problem;

use super::{ChainName, Family};

/// Options that would make another command of a rule, or that stead writes itself.
const FORBIDDEN: [&str; 36] = [
    "-A",
    "--append",
    "-C",
    "--check",
    "-D",
    "--delete",
    "-I",
    "--insert",
    "-R",
    "--replace",
    "-L",
    "--list",
    "-S",
    "--list-rules",
    "-F",
    "--flush",
    "-Z",
    "--zero",
    "-N",
    "--new-chain",
    "-X",
    "--delete-chain",
    "-P",
    "--policy",
    "-E",
    "--rename-chain",
    "-t",
    "--table",
    "-c",
    "--set-counters",
    "--comment",
    "-w",
    "--wait",
    "-v",
    "-n",
    "-h",
];

/// Matches whose options say that they are there.
const IMPLIED_MATCHES: [&str; 24] = [
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "icmpv6",
    "ipv6-icmp",
    "conntrack",
    "state",
    "comment",
    "multiport",
    "addrtype",
    "mark",
    "connmark",
    "limit",
    "hashlimit",
    "set",
    "mac",
    "iprange",
    "owner",
    "physdev",
    "string",
    "time",
    "ttl",
];

/// Long names, each with the name that `iptables-save` prints.
const LONG_NAMES: [(&str, &str); 26] = [
    ("--source", "-s"),
    ("--src", "-s"),
    ("--destination", "-d"),
    ("--dst", "-d"),
    ("--in-interface", "-i"),
    ("--out-interface", "-o"),
    ("--protocol", "-p"),
    ("--proto", "-p"),
    ("--jump", "-j"),
    ("--goto", "-g"),
    ("--fragment", "-f"),
    ("--match", "-m"),
    ("--source-port", "--sport"),
    ("--destination-port", "--dport"),
    ("--source-ports", "--sports"),
    ("--destination-ports", "--dports"),
    ("--icmpv6-type", "--icmp-type"),
    ("--set-class", "--set-class"),
    ("--to-port", "--to-ports"),
    ("--set-mark", "--set-xmark"),
    ("--mss", "--mss"),
    ("--src-ip", "--src-range"),
    ("--dst-ip", "--dst-range"),
    ("--physdev-is-in", "--physdev-is-in"),
    ("--physdev-is-out", "--physdev-is-out"),
    ("--or-mark", "--or-mark"),
];

/// Names of protocols by number, as `iptables-save` prints them: /etc/protocols of Debian.
const PROTOCOLS: [(&str, &str); 8] = [
    ("1", "icmp"),
    ("6", "tcp"),
    ("17", "udp"),
    ("58", "ipv6-icmp"),
    ("icmpv6", "ipv6-icmp"),
    ("132", "sctp"),
    ("47", "gre"),
    ("50", "esp"),
];

/// Types of ICMP by name: iptables-extensions(8), icmp and icmp6.
const ICMP: [(&str, &str, &str); 8] = [
    ("echo-reply", "0", "129"),
    ("echo-request", "8", "128"),
    ("destination-unreachable", "3", "1"),
    ("time-exceeded", "11", "3"),
    ("router-solicitation", "10", "133"),
    ("router-advertisement", "9", "134"),
    ("neighbour-solicitation", "135", "135"),
    ("neighbour-advertisement", "136", "136"),
];

/// A rule without its table, chain and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    options: Vec<RuleOption>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RuleOption {
    is_negated: bool,
    name: String,
    values: Vec<String>,
}

/// One word with blanks is a line of words.
pub(crate) fn split_words(words: Option<&[String]>) -> Vec<String> {
    match words {
        Some([line]) => shlex::split(line).unwrap_or_else(|| vec![line.clone()]),
        Some(words) => words.to_vec(),
        None => vec![],
    }
}

/// Writes a word as `iptables-restore` reads it.
pub(crate) fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,!+%@=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Says what is wrong with the words of a rule: what would be another command, an address or a port that cannot be.
pub(crate) fn check_words(attribute: &str, words: &[String], families: &[Family]) -> Vec<Problem> {
    let mut problems = vec![];
    for word in words {
        if word.contains(['\n', '\r', '\0']) {
            problems.push(Problem::new(format!(
                "{word:?} contains a line break or a NUL character"
            )));
        }
        if FORBIDDEN.contains(&word.as_str())
            || (attribute == "match" && ["-j", "--jump", "-g", "--goto"].contains(&word.as_str()))
        {
            problems.push(
                Problem::new(format!("`{word}` does not belong in a `{attribute}`"))
                    .help("table, chain, target and name are attributes of their own"),
            );
        }
    }
    for option in parse(words).options {
        problems.extend(option.check(families));
    }
    problems
        .into_iter()
        .map(|problem| problem.at(attribute))
        .collect()
}

impl Rule {
    /// Makes the plain form of a rule in the words of a user or of `iptables-save`.
    pub(crate) fn canonical(words: &[String], family: Family) -> Self {
        let mut rule = parse(words);
        rule.options.retain(|option| {
            !(option.name == "-m"
                && option.values.len() == 1
                && IMPLIED_MATCHES.contains(&option.values[0].as_str()))
        });
        rule.options.retain(|option| option.name != "--comment");
        for option in &mut rule.options {
            option.canonicalize(family);
        }
        rule.options.retain(|option| !option.matches_all());
        rule.add_defaults(family);
        rule.options.sort_by(|one, other| {
            (one.sort_key(), &one.name).cmp(&(other.sort_key(), &other.name))
        });
        rule
    }

    /// Writes the rule down in one line, behind its table and chain.
    pub(crate) fn text(&self, name: ChainName<'_>) -> String {
        let mut text = format!("{}/{}", name.table, name.chain);
        for option in &self.options {
            if option.is_negated {
                text += " !";
            }
            text.push(' ');
            text += &option.name;
            for value in &option.values {
                text.push(' ');
                text += value;
            }
        }
        text
    }

    fn add_defaults(&mut self, family: Family) {
        let jumps = |rule: &Self, target: &str| {
            rule.options
                .iter()
                .any(|option| option.name == "-j" && option.values.iter().eq([target]))
        };
        let has = |rule: &Self, name: &str| rule.options.iter().any(|option| option.name == name);
        if jumps(self, "REJECT") && !has(self, "--reject-with") {
            let with = match family {
                Family::Ipv4 => "icmp-port-unreachable",
                Family::Ipv6 => "icmp6-port-unreachable",
            };
            self.options.push(RuleOption::new("--reject-with", with));
        }
        if has(self, "--limit") && !has(self, "--limit-burst") {
            self.options.push(RuleOption::new("--limit-burst", "5"));
        }
    }
}

/// Splits words into options with their values; nothing is judged.
fn parse(words: &[String]) -> Rule {
    let mut options: Vec<RuleOption> = vec![];
    let mut is_negated = false;
    for word in words {
        if word == "!" {
            is_negated = true;
        } else if word.starts_with('-')
            && word.len() > 1
            && !word[1..].starts_with(|c: char| c.is_ascii_digit())
        {
            let name = LONG_NAMES
                .iter()
                .find(|(long, _)| long == word)
                .map_or(word.as_str(), |(_, name)| *name);
            options.push(RuleOption {
                is_negated: std::mem::take(&mut is_negated),
                name: name.to_owned(),
                values: vec![],
            });
        } else if let Some(option) = options.last_mut() {
            // An older spelling negates behind the option.
            option.is_negated |= std::mem::take(&mut is_negated);
            option.values.push(word.clone());
        }
    }
    Rule { options }
}

impl RuleOption {
    fn new(name: &str, value: &str) -> Self {
        Self {
            is_negated: false,
            name: name.to_owned(),
            values: vec![value.to_owned()],
        }
    }

    /// The place in the line: what people look for first stands first, the target last.
    fn sort_key(&self) -> u8 {
        match self.name.as_str() {
            "-s" => 0,
            "-d" => 1,
            "-i" => 2,
            "-o" => 3,
            "-p" => 4,
            "-j" | "-g" => 6,
            name if TARGET_OPTIONS.contains(&name) => 7,
            _ => 5,
        }
    }

    /// Whether the option lets everything pass and so is not printed.
    fn matches_all(&self) -> bool {
        let is = |name: &str, value: &str| self.name == name && self.values.iter().eq([value]);
        !self.is_negated
            && (is("-s", "0.0.0.0/0")
                || is("-d", "0.0.0.0/0")
                || is("-s", "::/0")
                || is("-d", "::/0")
                || is("-p", "all"))
    }

    /// Brings the values into the form that `iptables-save` prints.
    fn canonicalize(&mut self, family: Family) {
        if self.name == "--syn" {
            "--tcp-flags".clone_into(&mut self.name);
            self.values = vec!["FIN,SYN,RST,ACK".to_owned(), "SYN".to_owned()];
        }
        for (index, value) in self.values.iter_mut().enumerate() {
            let settled = match self.name.as_str() {
                "-s" | "-d" => address(value),
                "-p" => protocol(value),
                "--ctstate" | "--state" | "--src-type" | "--dst-type" | "--tcp-flags" => {
                    sort_list(value)
                }
                "--sport" | "--dport" => ports(value),
                "--icmp-type" => icmp(value, family),
                "--mac-source" => value.to_lowercase(),
                "--mark" | "--set-xmark" | "--nfmask" | "--ctmask" if index == 0 => mark(value),
                "--limit" => value.replace("/second", "/sec").replace("/minute", "/min"),
                "--log-level" => log_level(value),
                _ => value.clone(),
            };
            *value = settled;
        }
        if self.name == "--log-level" && self.values.iter().eq(["4"]) {
            // The default is not printed.
            self.values.clear();
        }
        if self.name == "--set-xmark" {
            for value in self.values.iter_mut().filter(|value| !value.contains('/')) {
                value.push_str("/0xffffffff");
            }
        }
        if matches!(self.name.as_str(), "--mark") {
            for value in &mut self.values {
                *value = value.trim_end_matches("/0xffffffff").to_owned();
            }
        }
    }

    fn check(&self, families: &[Family]) -> Option<Problem> {
        let value = self.values.first()?;
        match self.name.as_str() {
            "-s" | "-d" => check_addresses(value, families),
            "--dport" | "--sport" => check_ports(value),
            "--dports" | "--sports" | "--ports" => value.split(',').find_map(check_ports),
            _ => None,
        }
    }
}

/// Options of targets, which stand behind them.
const TARGET_OPTIONS: [&str; 16] = [
    "--reject-with",
    "--to-destination",
    "--to-source",
    "--to-ports",
    "--log-prefix",
    "--log-level",
    "--set-xmark",
    "--save-mark",
    "--restore-mark",
    "--random",
    "--persistent",
    "--clamp-mss-to-pmtu",
    "--set-mss",
    "--nfmask",
    "--ctmask",
    "--set-dscp",
];

fn address(value: &str) -> String {
    network(value).map_or(value.to_owned(), |network| network.trunc().to_string())
}

/// Reads an address, alone, with the length of its network or with its mask.
fn network(value: &str) -> Option<IpNet> {
    if let Some((address, mask)) = value.split_once('/')
        && let Ok(mask) = mask.parse()
    {
        return IpNet::with_netmask(address.parse().ok()?, mask).ok();
    }
    value
        .parse()
        .ok()
        .or_else(|| value.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Closes a range of ports that is open at one end.
fn ports(value: &str) -> String {
    match value.split_once(':') {
        Some(("", last)) => format!("0:{last}"),
        Some((first, "")) => format!("{first}:65535"),
        _ => value.to_owned(),
    }
}

fn protocol(value: &str) -> String {
    let lower = value.to_lowercase();
    PROTOCOLS
        .iter()
        .find(|(other, _)| *other == lower)
        .map_or(lower.clone(), |(_, name)| (*name).to_owned())
}

fn sort_list(value: &str) -> String {
    let mut parts: Vec<_> = value.split(',').collect();
    parts.sort_unstable();
    parts.join(",")
}

fn icmp(value: &str, family: Family) -> String {
    ICMP.iter()
        .find(|(name, ..)| *name == value)
        .map_or(value.to_owned(), |(_, four, six)| match family {
            Family::Ipv4 => (*four).to_owned(),
            Family::Ipv6 => (*six).to_owned(),
        })
}

fn mark(value: &str) -> String {
    let hexadecimal = |part: &str| {
        let number = match part.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => part.parse(),
        };
        number.map_or(part.to_owned(), |number| format!("{number:#x}"))
    };
    value
        .split('/')
        .map(hexadecimal)
        .collect::<Vec<_>>()
        .join("/")
}

fn log_level(value: &str) -> String {
    const LEVELS: [&str; 8] = [
        "emerg", "alert", "crit", "error", "warning", "notice", "info", "debug",
    ];
    LEVELS
        .iter()
        .position(|level| *level == value)
        .map_or(value.to_owned(), |number| number.to_string())
}

fn check_addresses(value: &str, families: &[Family]) -> Option<Problem> {
    for part in value.split(',') {
        let Some(address) = network(part).map(|network| network.addr()) else {
            return Some(
                Problem::new(format!("`{part}` is not an address"))
                    .help("such as `10.0.0.0/8` or `2001:db8::1`"),
            );
        };
        if let Some(family) = families
            .iter()
            .find(|family| (**family == Family::Ipv4) != address.is_ipv4())
        {
            let other = if address.is_ipv4() { "ipv4" } else { "ipv6" };
            return Some(
                Problem::new(format!("`{part}` is not an address of {}", family.word()))
                    .help(format!("write `family=\"{other}\"`")),
            );
        }
    }
    (value.contains(',')).then(|| {
        Problem::new(format!(
            "`{value}` is a list of addresses, which needs several rules"
        ))
        .help("write one rule for each")
    })
}

fn check_ports(value: &str) -> Option<Problem> {
    let is_port = |part: &str| part.parse::<u16>().is_ok();
    let mut parts = value.splitn(2, ':');
    let fits = parts.all(|part| is_port(part) || (part.is_empty() && value.contains(':')));
    (!fits || value == ":").then(|| {
        Problem::new(format!("`{value}` is not a port"))
            .help("a port is a number from 0 to 65535, a range is `1000:2000`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        shlex::split(text).unwrap()
    }

    fn check(written: &str, saved: &str) {
        let plain = |text| Rule::canonical(&words(text), Family::Ipv4);
        assert_eq!(plain(written), plain(saved));
    }

    #[test]
    fn canonical_rule_equals_the_printed_rule() {
        check(
            "-s 10.0.0.1 -p tcp --dport 22 -j ACCEPT",
            "-s 10.0.0.1/32 -p tcp -m tcp --dport 22 -j ACCEPT",
        );
        check(
            "--protocol 6 ! --source 10.1.2.3/8 -j REJECT",
            "! -s 10.0.0.0/8 -p tcp -j REJECT --reject-with icmp-port-unreachable",
        );
        check(
            "-m state --state RELATED,ESTABLISHED -j ACCEPT",
            "-m state --state ESTABLISHED,RELATED -j ACCEPT",
        );
        check(
            "-p tcp --syn -j DROP",
            "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
        );
        check("-j MARK --set-mark 1", "-j MARK --set-xmark 0x1/0xffffffff");
        check("-s 0.0.0.0/0 -j ACCEPT", "-j ACCEPT");
    }

    #[test]
    fn different_rules_stay_different() {
        let plain = |text| Rule::canonical(&words(text), Family::Ipv4);
        for (one, other) in [
            ("-s 10.0.0.1", "-d 10.0.0.1"),
            ("! -s 10.0.0.1", "-s 10.0.0.1"),
            ("-p tcp --dport 22", "-p tcp --dport 23"),
        ] {
            assert_ne!(plain(one), plain(other));
        }
    }

    fn first_problem(written: &str, families: &[Family]) -> Option<String> {
        let problems = check_words("match", &words(written), families);
        problems.into_iter().next().map(|problem| problem.message)
    }

    #[test]
    fn check_words_names_mistakes() {
        let ipv4 = &[Family::Ipv4];
        for (written, expected) in [
            ("-s 10.0.0.300", "`10.0.0.300` is not an address"),
            ("-d 10.0.0.0/33", "`10.0.0.0/33` is not an address"),
            ("-s ::1", "`::1` is not an address of ipv4"),
            ("--dport 70000", "`70000` is not a port"),
            ("--dports 80,x", "`x` is not a port"),
            ("-j DROP", "`-j` does not belong in a `match`"),
            ("-A INPUT", "`-A` does not belong in a `match`"),
        ] {
            assert_eq!(
                first_problem(written, ipv4).as_deref(),
                Some(expected),
                "{written}"
            );
        }
        for written in [
            "-s 10.0.0.0/8 -p tcp --dport 80:90",
            "-m multiport --dports 1,2:3",
            "--dport :1024",
        ] {
            assert_eq!(first_problem(written, ipv4), None, "{written}");
        }
    }

    #[test]
    fn words_are_quoted_for_restore() {
        for (word, expected) in [
            ("tcp", "tcp"),
            ("a b", "\"a b\""),
            ("a\"b\\", "\"a\\\"b\\\\\""),
            ("", "\"\""),
        ] {
            assert_eq!(quote(word), expected);
        }
    }

    #[test]
    fn split_words_splits_only_a_single_line() {
        assert_eq!(
            split_words(Some(&["-p tcp --dport 22".to_owned()])),
            ["-p", "tcp", "--dport", "22"]
        );
        assert_eq!(
            split_words(Some(&["--log-prefix".to_owned(), "a b".to_owned()])),
            ["--log-prefix", "a b"]
        );
    }
}
