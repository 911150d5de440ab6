//! What a user writes of a rule and what the real `iptables-save` prints of it are the same to stead, in every column.

use std::fmt::Write as _;

use e2e::{Sandbox, TestEnv, difference};

/// A rule in words of a user: chain, matches and target.
const RULES: [(&str, &str, &str, &str); 27] = [
    ("filter", "INPUT", "-s 10.0.0.1", "ACCEPT"),
    (
        "filter",
        "INPUT",
        "--source 10.1.2.3/8 --protocol 6",
        "ACCEPT",
    ),
    (
        "filter",
        "INPUT",
        "! -s 10.0.0.0/8 -d 10.0.0.0/255.0.0.0",
        "DROP",
    ),
    ("filter", "INPUT", "-p tcp --dport 22", "ACCEPT"),
    (
        "filter",
        "INPUT",
        "-p tcp --destination-port 8000:8080 --source-port 1024:",
        "ACCEPT",
    ),
    ("filter", "INPUT", "-p tcp --syn", "DROP"),
    (
        "filter",
        "INPUT",
        "-p tcp ! --syn -m conntrack --ctstate NEW",
        "DROP",
    ),
    ("filter", "INPUT", "-p tcp --tcp-flags SYN,ACK SYN", "DROP"),
    (
        "filter",
        "INPUT",
        "-p udp -m multiport --dports 53,67:68",
        "ACCEPT",
    ),
    (
        "filter",
        "INPUT",
        "-p tcp -m multiport --ports 80,443",
        "ACCEPT",
    ),
    (
        "filter",
        "INPUT",
        "-p icmp --icmp-type echo-request",
        "ACCEPT",
    ),
    (
        "filter",
        "INPUT",
        "-m conntrack --ctstate ESTABLISHED,RELATED",
        "ACCEPT",
    ),
    ("filter", "INPUT", "-m state --state NEW", "ACCEPT"),
    ("filter", "INPUT", "-i lo", "ACCEPT"),
    ("filter", "FORWARD", "-i cni+ ! -o eth0", "ACCEPT"),
    (
        "filter",
        "FORWARD",
        "-m limit --limit 5/minute",
        "LOG --log-prefix dropped:",
    ),
    (
        "filter",
        "FORWARD",
        "-m limit --limit 10/second --limit-burst 20",
        "LOG --log-level info",
    ),
    // iptables prints the apostrophe behind a backslash, as no shell would.
    (
        "filter",
        "FORWARD",
        "-p udp",
        "LOG --log-prefix \\\"it's\\\"",
    ),
    ("filter", "FORWARD", "-m mark --mark 1", "ACCEPT"),
    ("filter", "FORWARD", "-m mark --mark 0x10/0xff", "ACCEPT"),
    ("filter", "FORWARD", "-s 0.0.0.0/0", "REJECT"),
    (
        "filter",
        "FORWARD",
        "-p tcp",
        "REJECT --reject-with tcp-reset",
    ),
    ("filter", "OUTPUT", "-m addrtype --dst-type LOCAL", "RETURN"),
    ("mangle", "PREROUTING", "-p tcp", "MARK --set-mark 7"),
    (
        "nat",
        "POSTROUTING",
        "-s 10.1.0.0/16 ! -d 10.1.0.0/16",
        "MASQUERADE",
    ),
    (
        "nat",
        "PREROUTING",
        "-p tcp --dport 80",
        "DNAT --to-destination 10.1.0.5:8080",
    ),
    (
        "nat",
        "PREROUTING",
        "-p tcp --dport 81",
        "REDIRECT --to-ports 8081",
    ),
];

#[test]
fn written_rules_match_iptables_save() {
    let sandbox = Sandbox::new();
    let mut spec = "host \"test\" {\n".to_owned();
    for (number, (table, chain, matches, jump)) in RULES.iter().enumerate() {
        writeln!(
            spec,
            "    iptables-rule \"r{number}\" table=\"{table}\" chain=\"{chain}\" backend=\"both\" {{\n        match \"{matches}\"\n        jump \"{jump}\"\n    }}"
        )
        .unwrap();
    }
    sandbox.put("/run/host.kdl", &(spec + "}\n"));
    let applied = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    assert_eq!(sandbox.stead(&["plan", "/run/host.kdl"]).code, Some(0));
    for column in ["iptables-nft", "iptables-legacy"] {
        // What somebody changes by hand is seen.
        let rule = [
            "-t",
            "filter",
            "-R",
            "INPUT",
            rule_number(&sandbox, column, "stead:r0"),
            "-j",
            "ACCEPT",
            "-m",
            "comment",
            "--comment",
            "stead:r0",
        ];
        sandbox.run_ok(&[&[column], &rule[..]].concat());
        let planned = sandbox.stead(&["plan", "/run/host.kdl"]);
        assert_eq!(planned.code, Some(3), "{planned:?}");
        assert!(planned.out.contains("iptables-rule:r0"), "{}", planned.out);
        assert_eq!(
            sandbox.stead(&["apply", "--yes", "/run/host.kdl"]).code,
            Some(0)
        );
    }
}

#[test]
fn undo_restores_rules_at_their_positions() {
    let sandbox = Sandbox::new();
    let rule = |name: &str, position: &str, source: &str| {
        format!(
            "    iptables-rule \"{name}\" chain=\"FORWARD\" position=\"{position}\" {{\n        match \"-s\" \"{source}\"\n        jump \"ACCEPT\"\n    }}\n"
        )
    };
    let apply = |resources: &str| {
        sandbox.put(
            "/run/host.kdl",
            &format!("host \"test\" {{\n{resources}}}\n"),
        );
        let said = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
    };
    let all = [
        rule("b", "first", "10.2.0.0/16"),
        rule("a", "before:b", "10.1.0.0/16"),
        rule("c", "last", "10.3.0.0/16"),
    ];
    apply(&all.concat());
    sandbox.run_ok(&[
        "iptables-nft",
        "-A",
        "FORWARD",
        "-s",
        "192.0.2.9",
        "-j",
        "ACCEPT",
    ]);
    sandbox.run_ok(&[
        "iptables-nft",
        "-I",
        "FORWARD",
        "2",
        "-s",
        "192.0.2.8",
        "-j",
        "ACCEPT",
    ]);
    let start = sandbox.fingerprint();
    let gone = |name: &str| format!("    iptables-rule \"{name}\" absent=#true\n");
    apply(&(gone("a") + &rule("b", "first", "10.9.0.0/16") + &gone("c")));
    assert_ne!(difference(&start, &sandbox.fingerprint()), [""; 0]);
    let undone = sandbox.stead(&["undo", "--yes", "2"]);
    assert_eq!(undone.code, Some(0), "{}", undone.err);
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
}

/// Returns the place of a rule in INPUT.
fn rule_number(sandbox: &Sandbox, program: &str, comment: &str) -> &'static str {
    let save = format!("{program}-save");
    let out = sandbox.run_ok(&[&save, "-t", "filter"]).out;
    let place = out
        .lines()
        .filter(|line| line.starts_with("-A INPUT"))
        .position(|line| line.contains(&format!("{comment}\"")));
    ["1", "2", "3", "4"][place.expect("the rule is there")]
}

/// Ubuntu 18.04 has such a one: one back end, whose programs have the plain names alone, all of them links to `xtables-multi`.
#[test]
fn iptables_without_variants_is_supported() {
    let sandbox = Sandbox::new();
    let old = "
        set -e
        mkdir /run/sbin
        cp /usr/sbin/xtables-legacy-multi /run/sbin/xtables-multi
        for family in iptables ip6tables; do
            for program in $family $family-save $family-restore; do
                ln -s xtables-multi /run/sbin/$program
                rm -f /etc/alternatives/$program
            done
        done
        mount --bind /run/sbin /usr/sbin";
    sandbox.run_ok(&["sh", "-c", old]);
    let spec = r#"host "old" {
    iptables-policy "filter/FORWARD" "DROP" persist=#false
    iptables-chain "filter/MINE" persist=#false
    iptables-rule "one" chain="MINE" persist=#false {
        match "-p" "tcp" "--dport" "22"
        jump "ACCEPT"
    }
}
"#;
    sandbox.put("/run/host.kdl", spec);
    let saved = || sandbox.run_ok(&["/usr/sbin/iptables-save"]).out;
    let applied = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(saved().contains(":FORWARD DROP "), "{}", saved());
    assert!(saved().contains("-A MINE -p tcp "), "{}", saved());
    let plan = sandbox.stead(&["plan", "/run/host.kdl"]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
    let facts = sandbox.stead(&["facts"]).out;
    let says = |program: &str| {
        let mut lines = facts.lines().map(str::split_whitespace);
        lines.any(|words| words.take(2).eq([program, "legacy"]))
    };
    assert!(says("iptables") && says("ip6tables"), "{facts}");
    let undone = sandbox.stead(&["undo", "--yes", "1"]);
    assert_eq!(undone.code, Some(0), "{undone:?}");
    assert!(saved().contains(":FORWARD ACCEPT "), "{}", saved());
    assert!(!saved().contains("MINE"), "{}", saved());
}
