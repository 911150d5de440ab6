//! Known programs that write into the tables, and how their chains and rules are recognized.

use super::saved::{SavedRule, SavedTables};
use crate::netfilter::saved::comment;

/// A program that writes chains and rules of its own.
struct KnownWriter {
    name: &'static str,
    /// How the names of its chains begin.
    chain_prefixes: &'static [&'static str],
    /// How the names of its chains end.
    chain_suffixes: &'static [&'static str],
    /// What stands in the comments of its rules.
    comment_prefixes: &'static [&'static str],
    /// How the names of its network devices begin.
    device_prefixes: &'static [&'static str],
    /// Built-in chains of the table `filter` whose policy it sets to DROP.
    drop_policies: &'static [&'static str],
}

const KNOWN_WRITERS: &[KnownWriter] = &[
    KnownWriter {
        name: DOCKER,
        chain_prefixes: &["DOCKER"],
        chain_suffixes: &[],
        comment_prefixes: &[],
        device_prefixes: &["docker0", "docker_gwbridge", "br-"],
        drop_policies: &["FORWARD"],
    },
    KnownWriter {
        name: "MicroK8s",
        chain_prefixes: &[],
        chain_suffixes: &[],
        comment_prefixes: &["generated for MicroK8s pods"],
        device_prefixes: &[],
        drop_policies: &[],
    },
    KnownWriter {
        name: "Kubernetes",
        chain_prefixes: &["KUBE-"],
        chain_suffixes: &[],
        comment_prefixes: &["kubernetes "],
        device_prefixes: &[],
        drop_policies: &[],
    },
    KnownWriter {
        name: "a network of containers (CNI)",
        chain_prefixes: &[
            "CNI-",
            "cali-",
            "FLANNEL-",
            "CILIUM_",
            "OLD_CILIUM_",
            "WEAVE-",
            "NETAVARK",
        ],
        chain_suffixes: &[],
        comment_prefixes: &[
            "cali:",
            "flanneld ",
            "cilium-feeder:",
            "generated for LXD network",
            "generated for Incus network",
        ],
        device_prefixes: &["cali", "cni0", "lxdbr", "incusbr", "podman"],
        drop_policies: &[],
    },
    KnownWriter {
        name: "ufw",
        chain_prefixes: &["ufw-", "ufw6-"],
        chain_suffixes: &[],
        comment_prefixes: &[],
        device_prefixes: &[],
        drop_policies: &["INPUT", "FORWARD", "OUTPUT"],
    },
    KnownWriter {
        name: "firewalld",
        chain_prefixes: &["IN_", "FWDI_", "FWDO_", "FWD_", "PRE_", "POST_", "OUT_"],
        chain_suffixes: &[
            "_direct",
            "_ZONES",
            "_ZONES_SOURCE",
            "_IN_ZONES",
            "_OUT_ZONES",
            "_POLICIES_pre",
            "_POLICIES_post",
        ],
        comment_prefixes: &[],
        device_prefixes: &[],
        drop_policies: &[],
    },
    KnownWriter {
        name: "fail2ban",
        chain_prefixes: &["f2b-", "fail2ban-"],
        chain_suffixes: &[],
        comment_prefixes: &[],
        device_prefixes: &[],
        drop_policies: &[],
    },
    KnownWriter {
        name: "libvirt",
        chain_prefixes: &["LIBVIRT_"],
        chain_suffixes: &[],
        comment_prefixes: &[],
        device_prefixes: &["virbr"],
        drop_policies: &[],
    },
    KnownWriter {
        name: "Tailscale",
        chain_prefixes: &["ts-"],
        chain_suffixes: &[],
        comment_prefixes: &[],
        device_prefixes: &[],
        drop_policies: &[],
    },
];

/// The name of Docker.
const DOCKER: &str = "Docker";
/// The chain that Docker makes for people: only what it puts there itself is its own.
const USER_CHAIN: &str = "DOCKER-USER";

/// Returns who makes a chain of this name, if somebody known does.
pub(crate) fn of_chain(chain: &str) -> Option<&'static str> {
    let makes = |actor: &&KnownWriter| {
        actor
            .chain_prefixes
            .iter()
            .any(|begin| chain.starts_with(begin))
            || actor.chain_suffixes.iter().any(|end| chain.ends_with(end))
    };
    KNOWN_WRITERS.iter().find(makes).map(|actor| actor.name)
}

/// Returns who made a rule, if somebody known did; `saved` is the column that it stands in.
pub(crate) fn of_rule(saved: &SavedTables, chain: &str, rule: &SavedRule) -> Option<&'static str> {
    if rule.is_ours {
        return None;
    }
    let text = rule.text.as_str();
    if let Some(whose) = of_chain(chain).filter(|_| chain != USER_CHAIN || text == "-j RETURN") {
        return Some(whose);
    }
    let words: Vec<&str> = text.split(' ').collect();
    let value_of = |names: &[&str]| {
        words
            .windows(2)
            .filter(|pair| names.contains(&pair[0]))
            .map(|pair| pair[1])
            .collect::<Vec<_>>()
    };
    if let Some(whose) = value_of(&["-j", "-g"]).into_iter().find_map(of_chain) {
        return Some(whose);
    }
    if is_hairpin(saved, &words) {
        return Some(DOCKER);
    }
    let comment = comment(text).unwrap_or_default();
    let devices = value_of(&["-i", "-o"]);
    let made = |actor: &&KnownWriter| {
        let by_comment = actor
            .comment_prefixes
            .iter()
            .any(|begin| comment.starts_with(begin));
        let is_its = |device: &&str| {
            actor
                .device_prefixes
                .iter()
                .any(|begin| device.starts_with(begin))
        };
        by_comment || (devices.iter().any(is_its) && has_chains(saved, actor))
    };
    KNOWN_WRITERS.iter().find(made).map(|actor| actor.name)
}

/// Whether a rule lets a container of Docker reach itself by its published port: Docker puts it beside the one that leads there.
fn is_hairpin(saved: &SavedTables, words: &[&str]) -> bool {
    let [_, source, "-d", destination, .., "MASQUERADE"] = words else {
        return false;
    };
    let leads_there = format!("--to-destination {}:", source.trim_end_matches("/32"));
    let docker = saved.chain("nat", "DOCKER");
    let mut rules = docker.iter().flat_map(|chain| &chain.rules);
    source == destination && rules.any(|rule| rule.text.contains(&leads_there))
}

/// Returns who set the policy of a built-in chain to DROP, if somebody known did.
pub(crate) fn of_policy(saved: &SavedTables, table: &str, chain: &str) -> Option<&'static str> {
    all_of_policy(saved, table, chain).next()
}

/// Returns all who are at work in a column and set the policy of a built-in chain to DROP.
pub(crate) fn all_of_policy<'a>(
    saved: &'a SavedTables,
    table: &str,
    chain: &'a str,
) -> impl Iterator<Item = &'static str> + use<'a> {
    let is_filter = table == "filter";
    let set = move |actor: &&KnownWriter| {
        is_filter && actor.drop_policies.contains(&chain) && has_chains(saved, actor)
    };
    KNOWN_WRITERS.iter().filter(set).map(|actor| actor.name)
}

/// Whether a program is one that sets the policy of a built-in chain, and is at work in a column.
pub(crate) fn is_policy_of(saved: &SavedTables, name: &str, table: &str, chain: &str) -> bool {
    let mut actors = KNOWN_WRITERS.iter().filter(|actor| actor.name == name);
    table == "filter"
        && actors.any(|actor| actor.drop_policies.contains(&chain) && has_chains(saved, actor))
}

/// Whether a program is at work in a column: nobody else calls a chain so.
fn has_chains(saved: &SavedTables, actor: &KnownWriter) -> bool {
    let mut chains = saved.tables.values().flat_map(|chains| chains.keys());
    actor.chain_prefixes.is_empty() || chains.any(|chain| of_chain(chain) == Some(actor.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:DOCKER-USER - [0:0]\nCOMMIT\n";

    fn check(chain: &str, text: &str, expected: Option<&str>) {
        let saved = SavedTables::parse(&format!("{TABLES}*filter\n-A {chain} {text}\nCOMMIT\n"));
        let rule = &saved.tables["filter"][chain].rules[0];
        assert_eq!(of_rule(&saved, chain, rule), expected, "{chain} {text}");
    }

    #[test]
    fn known_programs_are_recognized_by_their_rules() {
        check("FORWARD", "-o docker0 -j DOCKER", Some("Docker"));
        check(
            "FORWARD",
            "-i br-0123456789ab ! -o br-0123456789ab -j ACCEPT",
            Some("Docker"),
        );
        check("DOCKER-USER", "-j RETURN", Some("Docker"));
        check(
            "FORWARD",
            "-s 10.1.0.0/16 -m comment --comment \"generated for MicroK8s pods\" -j ACCEPT",
            Some("MicroK8s"),
        );
        check(
            "OUTPUT",
            "-m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES",
            Some("Kubernetes"),
        );
        check(
            "INPUT",
            "-p tcp -m multiport --dports 22 -j f2b-sshd",
            Some("fail2ban"),
        );
        check("INPUT", "-j ufw-before-input", Some("ufw"));
        check("FORWARD_direct", "-j ACCEPT", Some("firewalld"));
        check("LIBVIRT_INP", "-i virbr0 -j ACCEPT", Some("libvirt"));
        check(
            "INPUT",
            "-m comment --comment \"cali:Cz_u1IQiXIMmKD4c\" -j cali-INPUT",
            Some("a network of containers (CNI)"),
        );
    }

    #[test]
    fn hairpin_rule_is_attributed_to_docker() {
        let rule = "-s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE";
        let lead = "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8001 -j DNAT --to-destination 172.17.0.2:80\n";
        for (lead, expected) in [(lead, Some(DOCKER)), ("", None)] {
            let text = format!("*nat\n:DOCKER - [0:0]\n{lead}-A POSTROUTING {rule}\nCOMMIT\n");
            let saved = SavedTables::parse(&text);
            let rule = &saved.tables["nat"]["POSTROUTING"].rules[0];
            assert_eq!(of_rule(&saved, "POSTROUTING", rule), expected);
        }
    }

    #[test]
    fn user_rules_have_no_known_writer() {
        check("INPUT", "-p tcp -m tcp --dport 22 -j ACCEPT", None);
        check("DOCKER-USER", "-s 192.0.2.1/32 -j DROP", None);
        check("INPUT", "-i virbr0 -j ACCEPT", None);
        check(
            "INPUT",
            "-m comment --comment \"stead:docker\" -j ACCEPT",
            None,
        );
        check(
            "INPUT",
            "-m comment --comment \"about kubernetes\" -j ACCEPT",
            None,
        );
    }

    #[test]
    fn policy_is_attributed_to_docker_only_with_its_chains() {
        let saved = SavedTables::parse(TABLES);
        assert_eq!(of_policy(&saved, "filter", "FORWARD"), Some("Docker"));
        assert_eq!(of_policy(&saved, "filter", "INPUT"), None);
        let both = SavedTables::parse(&format!(
            "{TABLES}*filter\n:ufw-before-input - [0:0]\nCOMMIT\n"
        ));
        let setting: Vec<_> = all_of_policy(&both, "filter", "FORWARD").collect();
        assert_eq!(setting, ["Docker", "ufw"]);
        let bare = SavedTables::parse("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n");
        assert_eq!(of_policy(&bare, "filter", "FORWARD"), None);
    }
}
