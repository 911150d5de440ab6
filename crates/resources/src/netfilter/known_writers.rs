//! Known programs that write into the tables, and how their chains and rules are recognized.

use super::saved::{Saved, SavedRule};
use crate::netfilter::saved::comment;

/// A program that writes chains and rules of its own.
struct Actor {
    name: &'static str,
    /// How the names of its chains begin.
    chains: &'static [&'static str],
    /// How the names of its chains end.
    ends: &'static [&'static str],
    /// What stands in the comments of its rules.
    comments: &'static [&'static str],
    /// How the names of its network devices begin.
    devices: &'static [&'static str],
    /// Built-in chains of the table `filter` whose policy it sets to DROP.
    policies: &'static [&'static str],
}

const ACTORS: &[Actor] = &[
    Actor {
        name: DOCKER,
        chains: &["DOCKER"],
        ends: &[],
        comments: &[],
        devices: &["docker0", "docker_gwbridge", "br-"],
        policies: &["FORWARD"],
    },
    Actor {
        name: "MicroK8s",
        chains: &[],
        ends: &[],
        comments: &["generated for MicroK8s pods"],
        devices: &[],
        policies: &[],
    },
    Actor {
        name: "Kubernetes",
        chains: &["KUBE-"],
        ends: &[],
        comments: &["kubernetes "],
        devices: &[],
        policies: &[],
    },
    Actor {
        name: "a network of containers (CNI)",
        chains: &[
            "CNI-",
            "cali-",
            "FLANNEL-",
            "CILIUM_",
            "OLD_CILIUM_",
            "WEAVE-",
            "NETAVARK",
        ],
        ends: &[],
        comments: &[
            "cali:",
            "flanneld ",
            "cilium-feeder:",
            "generated for LXD network",
            "generated for Incus network",
        ],
        devices: &["cali", "cni0", "lxdbr", "incusbr", "podman"],
        policies: &[],
    },
    Actor {
        name: "ufw",
        chains: &["ufw-", "ufw6-"],
        ends: &[],
        comments: &[],
        devices: &[],
        policies: &["INPUT", "FORWARD", "OUTPUT"],
    },
    Actor {
        name: "firewalld",
        chains: &["IN_", "FWDI_", "FWDO_", "FWD_", "PRE_", "POST_", "OUT_"],
        ends: &[
            "_direct",
            "_ZONES",
            "_ZONES_SOURCE",
            "_IN_ZONES",
            "_OUT_ZONES",
            "_POLICIES_pre",
            "_POLICIES_post",
        ],
        comments: &[],
        devices: &[],
        policies: &[],
    },
    Actor {
        name: "fail2ban",
        chains: &["f2b-", "fail2ban-"],
        ends: &[],
        comments: &[],
        devices: &[],
        policies: &[],
    },
    Actor {
        name: "libvirt",
        chains: &["LIBVIRT_"],
        ends: &[],
        comments: &[],
        devices: &["virbr"],
        policies: &[],
    },
    Actor {
        name: "Tailscale",
        chains: &["ts-"],
        ends: &[],
        comments: &[],
        devices: &[],
        policies: &[],
    },
];

/// The name of Docker.
const DOCKER: &str = "Docker";
/// The chain that Docker makes for people: only what it puts there itself is its own.
const FOR_PEOPLE: &str = "DOCKER-USER";

/// Returns who makes a chain of this name, if somebody known does.
pub(crate) fn of_chain(chain: &str) -> Option<&'static str> {
    let makes = |actor: &&Actor| {
        actor.chains.iter().any(|begin| chain.starts_with(begin))
            || actor.ends.iter().any(|end| chain.ends_with(end))
    };
    ACTORS.iter().find(makes).map(|actor| actor.name)
}

/// Returns who made a rule, if somebody known did; `saved` is the column that it stands in.
pub(crate) fn of_rule(saved: &Saved, chain: &str, rule: &SavedRule) -> Option<&'static str> {
    if rule.is_ours {
        return None;
    }
    let text = rule.text.as_str();
    if let Some(whose) = of_chain(chain).filter(|_| chain != FOR_PEOPLE || text == "-j RETURN") {
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
    let made = |actor: &&Actor| {
        let by_comment = actor
            .comments
            .iter()
            .any(|begin| comment.starts_with(begin));
        let is_its = |device: &&str| actor.devices.iter().any(|begin| device.starts_with(begin));
        by_comment || (devices.iter().any(is_its) && has_chains(saved, actor))
    };
    ACTORS.iter().find(made).map(|actor| actor.name)
}

/// Whether a rule lets a container of Docker reach itself by its published port: Docker puts it beside the one that leads there.
fn is_hairpin(saved: &Saved, words: &[&str]) -> bool {
    let [_, source, "-d", destination, .., "MASQUERADE"] = words else {
        return false;
    };
    let leads_there = format!("--to-destination {}:", source.trim_end_matches("/32"));
    let docker = saved.chain("nat", "DOCKER");
    let mut rules = docker.iter().flat_map(|chain| &chain.rules);
    source == destination && rules.any(|rule| rule.text.contains(&leads_there))
}

/// Returns who set the policy of a built-in chain to DROP, if somebody known did.
pub(crate) fn of_policy(saved: &Saved, table: &str, chain: &str) -> Option<&'static str> {
    setting_policy(saved, table, chain).next()
}

/// Returns all who are at work in a column and set the policy of a built-in chain to DROP.
pub(crate) fn setting_policy<'a>(
    saved: &'a Saved,
    table: &str,
    chain: &'a str,
) -> impl Iterator<Item = &'static str> + use<'a> {
    let is_filter = table == "filter";
    let set = move |actor: &&Actor| {
        is_filter && actor.policies.contains(&chain) && has_chains(saved, actor)
    };
    ACTORS.iter().filter(set).map(|actor| actor.name)
}

/// Whether a program is one that sets the policy of a built-in chain, and is at work in a column.
pub(crate) fn is_policy_of(saved: &Saved, name: &str, table: &str, chain: &str) -> bool {
    let mut actors = ACTORS.iter().filter(|actor| actor.name == name);
    table == "filter"
        && actors.any(|actor| actor.policies.contains(&chain) && has_chains(saved, actor))
}

/// Whether a program is at work in a column: nobody else calls a chain so.
fn has_chains(saved: &Saved, actor: &Actor) -> bool {
    let mut chains = saved.tables.values().flat_map(|chains| chains.keys());
    actor.chains.is_empty() || chains.any(|chain| of_chain(chain) == Some(actor.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:DOCKER-USER - [0:0]\nCOMMIT\n";

    fn check(chain: &str, text: &str, expected: Option<&str>) {
        let saved = Saved::parse(&format!("{TABLES}*filter\n-A {chain} {text}\nCOMMIT\n"));
        let rule = &saved.tables["filter"][chain].rules[0];
        assert_eq!(of_rule(&saved, chain, rule), expected, "{chain} {text}");
    }

    #[test]
    fn rules_of_known_programs_are_known() {
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
    fn a_container_that_reaches_itself_is_docker_s() {
        let rule = "-s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE";
        let lead = "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8001 -j DNAT --to-destination 172.17.0.2:80\n";
        for (lead, expected) in [(lead, Some(DOCKER)), ("", None)] {
            let text = format!("*nat\n:DOCKER - [0:0]\n{lead}-A POSTROUTING {rule}\nCOMMIT\n");
            let saved = Saved::parse(&text);
            let rule = &saved.tables["nat"]["POSTROUTING"].rules[0];
            assert_eq!(of_rule(&saved, "POSTROUTING", rule), expected);
        }
    }

    #[test]
    fn rules_of_people_are_theirs() {
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
    fn a_policy_is_docker_s_only_where_docker_is() {
        let saved = Saved::parse(TABLES);
        assert_eq!(of_policy(&saved, "filter", "FORWARD"), Some("Docker"));
        assert_eq!(of_policy(&saved, "filter", "INPUT"), None);
        let both = Saved::parse(&format!(
            "{TABLES}*filter\n:ufw-before-input - [0:0]\nCOMMIT\n"
        ));
        let setting: Vec<_> = setting_policy(&both, "filter", "FORWARD").collect();
        assert_eq!(setting, ["Docker", "ufw"]);
        let bare = Saved::parse("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n");
        assert_eq!(of_policy(&bare, "filter", "FORWARD"), None);
    }
}
