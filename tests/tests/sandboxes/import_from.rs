//! `stead import --from` in sandboxes: what other tools keep in files becomes a spec, and on the host that they have made its plan is empty.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test makes what no other program makes, and stops at the first surprise"
)]

use std::fs;

use e2e::{Sandbox, TestEnv};
use serde_json::Value;

const OUT: &str = "/run/host.kdl";

/// Imports into [`OUT`]; returns the spec and what was said. Nothing of the host is changed.
fn import(sandbox: &Sandbox, arguments: &[&str], code: i32) -> (String, String) {
    let before = sandbox.fingerprint();
    let whole = [&["import", "--out", OUT, "--from"], arguments].concat();
    let said = sandbox.stead_exits(&whole, code);
    assert_eq!(sandbox.fingerprint(), before, "import changes nothing");
    sandbox.stead_exits(&["validate", OUT], 0);
    sandbox.stead_exits(&["fmt", "--check", OUT], 0);
    (sandbox.get(OUT).unwrap(), said.err)
}

/// Returns the addresses that the plan of [`OUT`] changes.
fn changed_addresses(sandbox: &Sandbox) -> Vec<String> {
    let said = sandbox.stead(&["plan", "--json", OUT]);
    let plan: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    let changes = plan["changes"].as_array().unwrap().iter();
    changes
        .map(|change| change["address"].as_str().unwrap().to_owned())
        .collect()
}

/// With rules comes the hook that brings them back at boot; all else is there. With the hook the plan is empty.
fn check_plan_has_only_the_hook(sandbox: &Sandbox) {
    assert_eq!(changed_addresses(sandbox), ["hook:boot"]);
    sandbox.put("/run/hook.kdl", "host \"hook\" {\n    hook \"boot\"\n}\n");
    sandbox.stead_exits(&["apply", "--yes", "/run/hook.kdl"], 0);
    let said = sandbox.stead_exits(&["plan", OUT], 0);
    assert!(said.out.contains("No changes."), "{said:?}");
}

/// Rules of a person, none of them by stead.
const BY_HAND: &str = r#"
    iptables -F; iptables -t nat -F; ip6tables -F
    iptables -P FORWARD DROP
    ip6tables -P FORWARD DROP
    iptables -N MINE; ip6tables -N MINE
    iptables -A INPUT -p tcp --dport 22 -m comment --comment 'let "us" in, it'"'"'s us' -j ACCEPT
    iptables -A INPUT ! -s 192.0.2.0/24 -p udp -m multiport --dports 53,123 -j MINE
    iptables -A INPUT -j LOG --log-prefix "it's \"this\": "
    iptables -A INPUT -p tcp --syn -m conntrack --ctstate NEW,INVALID -j REJECT --reject-with tcp-reset
    iptables -A INPUT -j DROP
    iptables -A MINE -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables -A MINE -m limit --limit 5/min -j RETURN
    iptables -t nat -A POSTROUTING -s 10.9.0.0/16 ! -o lo -j MASQUERADE
    iptables -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.9.0.1:80
    iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
    iptables -t raw -A PREROUTING -s 10.9.0.0/16 -j CT --notrack
    ip6tables -A INPUT -s 2001:db8::/32 -j DROP
    ip6tables -A INPUT -p ipv6-icmp --icmpv6-type echo-request -j MINE
"#;

const SAVE_RULES: &str = "iptables-save -c >/run/rules.v4; ip6tables-save >/run/rules.v6";
const RULES_ARGS: [&str; 5] = [
    "rules-v4",
    "/run/rules.v4",
    "--from",
    "rules-v6",
    "/run/rules.v6",
];

/// Returns the rules of a sandbox in order, without comments.
fn rules(sandbox: &Sandbox) -> Vec<String> {
    let saved = sandbox
        .run_ok(&["sh", "-ec", "iptables-save; ip6tables-save"])
        .out;
    let lines = saved.lines().filter(|line| line.starts_with("-A "));
    let plain = |line: &str| {
        let words = shlex::split(line).unwrap();
        let at = words.iter().position(|word| word == "--comment");
        let words: Vec<String> = match at {
            Some(at) => [&words[..at - 2], &words[at + 2..]].concat(),
            None => words,
        };
        words.join(" ")
    };
    lines.map(plain).collect()
}

#[test]
fn saved_rules_become_a_spec_that_recreates_them() {
    let one = Sandbox::new();
    one.run_ok(&["sh", "-ec", BY_HAND]);
    one.run_ok(&["sh", "-ec", SAVE_RULES]);
    let (spec, said) = import(&one, &RULES_ARGS, 0);
    for expected in [
        "    iptables-policy \"filter/FORWARD\" \"DROP\" family=\"both\"\n",
        "    iptables-policy \"filter/INPUT\" \"ACCEPT\" family=\"both\"",
        "    iptables-chain \"filter/MINE\" family=\"both\"\n",
        "    iptables-rule \"let us in, its us #",
        " chain=\"INPUT\" family=\"ipv6\" position=\"first\" {\n        match \"-s\" \"2001:db8::/32\"\n",
        " table=\"raw\" chain=\"PREROUTING\" position=\"first\" {\n",
        "jump \"LOG\" \"--log-prefix\" \"it's \\\"this\\\": \"\n",
    ] {
        assert!(spec.contains(expected), "{expected}: {spec}");
    }
    // The other two families of four have rules of their own in the chain INPUT: so it is said which back end is meant.
    assert!(said.contains("iptables-rule    13 written\n"), "{said}");
    check_plan_has_only_the_hook(&one);
    // Twice the same.
    assert_eq!(import(&one, &RULES_ARGS, 0).0, spec);

    let two = Sandbox::new();
    let flush = "iptables -F; iptables -t nat -F; ip6tables -F";
    two.run_ok(&["sh", "-ec", flush]);
    two.put(OUT, &spec);
    two.stead_exits(&["apply", "--yes", OUT], 0);
    assert_eq!(rules(&two), rules(&one));
    // There the rules carry their names, and the files of the first host still mean just these.
    for file in ["/run/rules.v4", "/run/rules.v6"] {
        two.put(file, &one.get(file).unwrap());
    }
    import(&two, &RULES_ARGS, 0);
    two.stead_exits(&["plan", OUT], 0);
}

/// A file that somebody has typed: spellings that no `iptables-save` prints.
const TYPED_RULES: &str = "\
# what this host lets in
*filter
:INPUT ACCEPT
:FORWARD ACCEPT
-N SSH
-A INPUT   -i lo -j ACCEPT
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp --dport 22 -m comment --comment ssh -j SSH
-I INPUT 1 --protocol tcp --syn --destination-port 25 --jump REJECT
--append SSH --source 10.1.2.3/255.0.0.0 -j ACCEPT
-A SSH -j DROP
-P FORWARD DROP
COMMIT
";

#[test]
fn typed_rules_file_matches_the_rules_it_made() {
    let sandbox = Sandbox::new();
    sandbox.put("/run/rules.v4", TYPED_RULES);
    sandbox.run_ok(&["sh", "-ec", "iptables-restore </run/rules.v4"]);
    let (spec, said) = import(&sandbox, &RULES_ARGS[..2], 0);
    assert!(said.contains("iptables-rule    6 written\n"), "{said}");
    assert!(
        spec.contains("iptables-policy \"filter/FORWARD\" \"DROP\""),
        "{spec}"
    );
    check_plan_has_only_the_hook(&sandbox);
}

#[test]
fn foreign_and_unrepresentable_rules_are_left_out() {
    let sandbox = Sandbox::new();
    let text = "*nat\n:KUBE-SERVICES - [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
        -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A KUBE-SERVICES -d 10.152.183.1/32 -j ACCEPT\nCOMMIT\n\
        *filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:cali-FORWARD - [0:0]\n:MINE - [0:0]\n-A FORWARD -j cali-FORWARD\n-A FORWARD -g MINE\n\
        -A MINE -s 192.0.2.1/32 -j DROP\n-D MINE -j ACCEPT\nCOMMIT\n";
    sandbox.put("/run/rules.v4", text);
    let (spec, said) = import(&sandbox, &RULES_ARGS[..2], 8);
    let nodes = spec
        .lines()
        .filter(|line| line.starts_with("    iptables-"));
    assert_eq!(nodes.count(), 2, "{spec}");
    for named in [
        "// left out: /run/rules.v4:14: it uses `-g`, which a spec cannot express\n",
        "// left out: /run/rules.v4:16: `-D` is not imported: only chains, policies and rules are\n",
        "// left out: 2 made by Kubernetes\n",
        "// left out: 1 made by a network of containers (CNI)\n",
        "// left out: 1 made by Docker\n",
    ] {
        assert!(spec.contains(named), "{named}: {spec}");
    }
    assert!(said.contains("made by Kubernetes: 2"), "{said}");
    assert!(said.contains("/run/rules.v4:14: it uses"), "{said}");
}

#[test]
fn file_in_the_wrong_format_is_rejected() {
    let sandbox = Sandbox::new();
    sandbox.run_ok(&["sh", "-ec", SAVE_RULES]);
    sandbox.put("/run/latin", "");
    fs::write(sandbox.outside_path("/run/latin"), b"\xff\xfe*filter\n").unwrap();
    sandbox.put("/run/huge", "");
    let huge = fs::File::create(sandbox.outside_path("/run/huge")).unwrap();
    huge.set_len(5 << 30).unwrap();
    sandbox.run_ok(&["ln", "-s", "/etc/shadow", "/run/link"]);
    sandbox.run_ok(&["ln", "-s", "loop", "/run/loop"]);
    sandbox.put("/etc/shadow", "root:$y$SECRET:1::::::\n");
    sandbox.run_ok(&["mkdir", "-p", "/run/folder"]);
    sandbox.run_ok(&["ln", "-s", "/etc/shadow", "/run/folder/a.conf"]);
    for (arguments, expected) in [
        (&["rules-v4", "/run/rules.v6"][..], "--from rules-v6 FILE"),
        (&["rules-v6", "/run/rules.v4"], "--from rules-v4 FILE"),
        (&["rules-v4", "/run/latin"], "`/run/latin:1` is not a line"),
        (&["rules-v4", "/run/huge"], "is larger than 4 MiB"),
        (&["launch-config", "/run/huge"], "is larger than 4 MiB"),
        (&["sysctl", "/run/huge"], "is larger than 4 MiB"),
        (&["sysctl", "/run/link"], "`/run/link` has no line"),
        (&["rules-v4", "/run/link"], "`/run/link:1` is not a line"),
        (&["rules-v4", "/run/loop"], "cannot read `/run/loop`"),
        (&["rules-v4", "/run"], "`/run` is a directory"),
        (&["launch-config", "/run"], "`/run` is a directory"),
        (&["rules-v4"], "2 values required"),
        (&["rules", "/run/rules.v4"], "did you mean `rules-v4`?"),
        (
            &["rules-v4", "/run/rules.v4", "--only", "iptables-rule"],
            "cannot be used with",
        ),
    ] {
        let said = sandbox.stead_exits(&[&["import", "--from"], arguments].concat(), 2);
        assert!(said.err.contains(expected), "{expected}: {said:?}");
        assert!(!said.err.contains("SECRET"), "{said:?}");
    }
    // In a directory a link to something else is a file that says nothing.
    let (spec, said) = import(&sandbox, &["sysctl", "/run/folder"], 8);
    assert!(
        spec.contains("// left out: /run/folder/a.conf:1: it is not `key = value`\n"),
        "{spec}"
    );
    assert!(!spec.contains("SECRET") && !said.contains("SECRET"));
}

/// Files of three directories, with all that systemd-sysctl knows, for sysctls that belong to a network namespace.
const SYSCTL_FILES: [(&str, &str); 5] = [
    (
        "/etc/sysctl.d/10-first.conf",
        "# first\nnet.ipv4.ip_forward = 0\n; second\nnet/ipv4/tcp_syncookies=2\n",
    ),
    (
        "/etc/sysctl.d/50-same.conf",
        "-net.ipv4.tcp_fin_timeout = 31\nnet.ipv4.ip_local_port_range =  20000   50000\n",
    ),
    (
        "/run/sysctl.d/50-same.conf",
        "net.ipv4.tcp_fin_timeout = 77\n",
    ),
    (
        "/run/sysctl.d/60-later.conf",
        "net.ipv4.ip_forward = 1\n-net.ipv4.no_such_thing = 1\n",
    ),
    ("/run/sysctl.d/README", "net.ipv4.ip_forward = 0\n"),
];

fn sandbox_with_sysctls() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run_ok(&[
        "sh",
        "-c",
        "rm -rf /etc/sysctl.d /etc/sysctl.conf; mkdir /etc/sysctl.d /run/sysctl.d",
    ]);
    for (path, text) in SYSCTL_FILES {
        sandbox.put(path, text);
    }
    sandbox
}

#[test]
fn sysctl_files_become_a_spec_with_an_empty_plan() {
    let programs: [&[&str]; 2] = [
        &["/usr/lib/systemd/systemd-sysctl", "--prefix=/net/ipv4"],
        &["sysctl", "--system", "--pattern", "^net.ipv4."],
    ];
    for program in programs {
        let sandbox = sandbox_with_sysctls();
        sandbox.run(program);
        let dirs = ["sysctl", "/run/sysctl.d", "/etc/sysctl.d"];
        let (spec, said) = import(&sandbox, &dirs, 0);
        for expected in [
            "    sysctl \"net.ipv4.ip_forward\" \"1\"\n",
            "    sysctl \"net.ipv4.ip_local_port_range\" \"20000 50000\"\n",
            "    sysctl \"net.ipv4.tcp_fin_timeout\" \"31\"\n",
            "    sysctl \"net.ipv4.tcp_syncookies\" \"2\"\n",
            "// left out: /etc/sysctl.d/10-first.conf:2 net.ipv4.ip_forward = 0: overridden by a later line\n",
            "// left out: /run/sysctl.d/50-same.conf: its file is overridden by one of the same name in a directory with precedence\n",
            "// left out: /run/sysctl.d/60-later.conf:2 net.ipv4.no_such_thing = 1: this kernel does not have it now",
        ] {
            assert!(spec.contains(expected), "{expected}: {spec}");
        }
        assert!(said.contains("sysctl  4 written, 3 ignored"), "{said}");
        let said = sandbox.stead_exits(&["plan", OUT], 0);
        assert!(said.out.contains("No changes."), "{program:?} {said:?}");
    }
}

#[test]
fn sysctl_pattern_is_named_and_exact_key_wins() {
    let sandbox = sandbox_with_sysctls();
    let text = "net.ipv4.conf.lo.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 1\n-net.ipv4.conf.all.rp_filter\n";
    sandbox.put("/etc/sysctl.d/90-pattern.conf", text);
    sandbox.run(&["/usr/lib/systemd/systemd-sysctl", "--prefix=/net/ipv4"]);
    let dirs = ["sysctl", "/run/sysctl.d", "/etc/sysctl.d"];
    let (spec, _) = import(&sandbox, &dirs, 8);
    assert!(
        spec.contains("sysctl \"net.ipv4.conf.lo.rp_filter\" \"2\"\n"),
        "{spec}"
    );
    assert!(
        spec.contains("// left out: /etc/sysctl.d/90-pattern.conf:2: its name is a pattern"),
        "{spec}"
    );
    sandbox.stead_exits(&["plan", OUT], 0);
}

#[test]
fn launch_config_becomes_a_spec_and_names_the_rest() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "/etc/microk8s.yaml",
        "version: 0.1.0\naddons:\n  - name: dns\nextraKubeProxyArgs:\n  --proxy-mode: iptables\n  --profiling: null\n\
         extraKubeletArgs:\n  --resolv-conf: /x\nextraSANs: [10.0.0.1]\npersistentClusterToken: SECRET\n",
    );
    sandbox.put("/run/x.conf", "net.ipv4.ip_forward = 1\n");
    let both = [
        "launch-config",
        "/etc/microk8s.yaml",
        "--from",
        "sysctl",
        "/run/x.conf",
    ];
    let (spec, said) = import(&sandbox, &both, 8);
    for expected in [
        "    kube-args \"kube-proxy\" {\n        profiling #null\n        proxy-mode \"iptables\"\n    }\n",
        "    sysctl \"net.ipv4.ip_forward\" \"1\"\n",
        "    // left out: extraSANs: no kind manages it",
        "    // secret: launch-config persistentClusterToken left out\n",
    ] {
        assert!(spec.contains(expected), "{expected}: {spec}");
    }
    assert!(!spec.contains("SECRET") && !said.contains("SECRET"));
    for named in [
        "extraSANs: no kind manages it",
        "secrets, left out: persistentClusterToken",
        "kubelet: a spec cannot express it: MicroK8s itself sets `resolv-conf`",
    ] {
        assert!(said.contains(named), "{named}: {said}");
    }
    let said = sandbox.stead_exits(&["import", "--only", "file:/etc/microk8s.yaml"], 0);
    assert!(
        said.out
            .contains("// secret: file /etc/microk8s.yaml left out"),
        "{said:?}"
    );
    assert!(
        said.err
            .contains("`stead import --from launch-config /etc/microk8s.yaml`"),
        "{said:?}"
    );
    sandbox.put("/run/none.yaml", "- a\n");
    let none = ["import", "--from", "launch-config", "/run/none.yaml"];
    sandbox.stead_exits(&none, 2);
}
