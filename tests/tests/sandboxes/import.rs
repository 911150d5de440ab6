//! `stead import` in sandboxes: what it writes is what is there, elsewhere too, and what it leaves out it names.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test makes what no other program makes, and stops at the first surprise"
)]

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
};

use e2e::{Sandbox, TestEnv};
use serde_json::Value;

const OUT: &str = "/run/host.kdl";

/// Imports into [`OUT`] and returns the spec and what concerns the machine alone.
fn import(sandbox: &Sandbox, arguments: &[&str], code: i32) -> (String, String) {
    let whole = [&["import", "--out", OUT], arguments].concat();
    sandbox.stead_exits(&whole, code);
    let own = sandbox.get("/run/host-own.kdl").unwrap_or_default();
    (sandbox.get(OUT).unwrap(), own)
}

/// Returns what became of the resources of a kind.
fn coverage(sandbox: &Sandbox, arguments: &[&str], kind: &str) -> Value {
    let said = sandbox.stead(&[&["import", "--json"], arguments].concat());
    let document: Value = serde_json::from_str(&said.out).unwrap();
    document["coverage"][kind].clone()
}

/// Changes of a person, none of them by stead.
const BY_HAND: &str = r#"
    iptables-nft -F
    iptables-nft -t nat -F
    iptables-legacy -F
    ip6tables-nft -F
    ip6tables-legacy -F
    iptables-nft -P FORWARD DROP
    iptables-nft -N MINE
    iptables-nft -A INPUT -p tcp --dport 22 -m comment --comment 'let "us" in' -j ACCEPT
    iptables-nft -A INPUT ! -s 192.0.2.0/24 -p udp -m multiport --dports 53,123 -j MINE
    iptables-nft -A INPUT -j LOG --log-prefix 'what is "this": '
    iptables-nft -A INPUT -j DROP
    iptables-nft -A MINE -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables-nft -A MINE -m limit --limit 5/min -j RETURN
    iptables-nft -t nat -A POSTROUTING -s 10.9.0.0/16 ! -o lo -j MASQUERADE
    iptables-legacy -A OUTPUT -d 192.0.2.9 -j REJECT
    ip6tables-nft -A INPUT -s 2001:db8::/32 -j DROP
    iptables-nft -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
    sysctl -q -w net.ipv4.conf.all.rp_filter=2
"#;

fn change_by_hand(sandbox: &Sandbox) {
    sandbox.run_ok(&["sh", "-ec", BY_HAND]);
    sandbox.put(
        "/etc/sysctl.d/50-mine.conf",
        "# mine\nnet.ipv4.conf.all.rp_filter = 2\n",
    );
    sandbox.put("/etc/modules-load.d/mine.conf", "br_netfilter\n");
    sandbox.put("/etc/mine/a.conf", "[a]\n  b = \"c\\d\"\n\n\"\"\"\n");
    sandbox.put("/etc/mine/empty", "");
    sandbox.put("/etc/mine/large", &"0123456789abcdef\n".repeat(2000));
    fs::write(sandbox.outside_path("/etc/mine/bytes"), b"\xff\xfe\0").unwrap();
    fs::set_permissions(
        sandbox.outside_path("/etc/mine"),
        fs::Permissions::from_mode(0o750),
    )
    .unwrap();
    std::os::unix::fs::symlink("nowhere/at/all", sandbox.outside_path("/etc/mine/link")).unwrap();
}

#[test]
fn import_recreates_manual_changes_elsewhere() {
    let one = Sandbox::new();
    change_by_hand(&one);
    let before = one.fingerprint();
    let (spec, own) = import(&one, &[], 0);
    assert_eq!(one.fingerprint(), before, "import changes nothing");
    // R1: with another reader, and each of the two alone.
    one.stead_exits(&["plan", OUT], 0);
    one.stead_exits(&["plan", "/run/host-own.kdl"], 0);
    one.stead_exits(&["fmt", "--check", OUT, "/run/host-own.kdl"], 0);
    // R2.
    assert_eq!(import(&one, &[], 0), (spec.clone(), own));
    for expected in [
        "    iptables-policy \"filter/FORWARD\" \"DROP\"\n",
        "    iptables-chain \"filter/MINE\"\n",
        "    sysctl \"net.ipv4.conf.all.rp_filter\" \"2\"\n",
        "    kernel-module \"br_netfilter\"\n",
        "    directory \"/etc/mine\" mode=\"0750\"\n",
        "    file \"/etc/mine/bytes\" source=\"host.d/etc/mine/bytes\" mode=\"0644\"\n",
        "    symlink \"/etc/mine/link\" \"nowhere/at/all\"\n",
        "    hook \"boot\" absent=#true\n",
        "    iptables-rule \"let us in #",
        " chain=\"INPUT\" position=\"first\" {\n        match \"-p\" \"tcp\" \"-m\" \"tcp\" \"--dport\" \"22\"\n        jump \"ACCEPT\"\n",
        " chain=\"OUTPUT\" backend=\"legacy\" position=\"first\" {\n",
        " chain=\"INPUT\" family=\"ipv6\" position=\"first\" {\n",
    ] {
        assert!(spec.contains(expected), "{expected}: {spec}");
    }
    for gone in ["50-mine.conf", "modules-load.d/mine.conf"] {
        assert!(!spec.contains(gone), "its lines are resources: {spec}");
    }
    // R3: elsewhere, where nothing of it is.
    let two = Sandbox::new();
    for flush in [
        ["iptables-nft", "-F"],
        ["iptables-legacy", "-F"],
        ["ip6tables-nft", "-F"],
        ["ip6tables-legacy", "-F"],
    ] {
        two.run_ok(&flush);
    }
    two.run_ok(&["iptables-nft", "-t", "nat", "-F"]);
    two.put(OUT, &spec);
    for path in ["/etc/mine/bytes", "/etc/mine/large"] {
        two.put(&format!("/run/host.d{path}"), "");
        fs::copy(
            one.outside_path(&format!("/run/host.d{path}")),
            two.outside_path(&format!("/run/host.d{path}")),
        )
        .unwrap();
    }
    two.stead_exits(&["apply", "--yes", OUT], 0);
    assert_eq!(import(&two, &[], 0).0, spec);
    // The rules stand in the same order and do the same.
    let rules = |sandbox: &Sandbox| {
        let saved = sandbox.run_ok(&["iptables-nft-save"]).out;
        let lines = saved
            .lines()
            .filter(|line| line.starts_with("-A INPUT") || line.starts_with("-A MINE"));
        let plain = |line: &str| {
            line.split(" -m comment --comment ")
                .map(|part| part.split("\" ").last().unwrap_or(part).to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        lines.map(plain).collect::<Vec<_>>()
    };
    assert_eq!(rules(&two), rules(&one));
    // R4: what was applied, imported on its own ground, plans nothing there.
    two.stead_exits(&["plan", OUT], 0);
}

#[test]
fn import_adds_only_what_the_spec_lacks() {
    let sandbox = Sandbox::new();
    change_by_hand(&sandbox);
    // Those of the machine's own /etc are many, and say nothing more.
    let only: Vec<&str> = [
        "iptables-rule",
        "iptables-policy",
        "iptables-chain",
        "hook",
        "sysctl",
        "kernel-module",
        "file:/etc/mine/*",
        "symlink:/etc/mine/*",
        "directory:/etc/mine*",
    ]
    .into_iter()
    .flat_map(|pattern| ["--only", pattern])
    .collect();
    let (whole, _) = import(&sandbox, &only, 0);
    let more = |less: &str| {
        sandbox.put("/run/less.kdl", less);
        let against = [
            "import",
            "--out",
            "/run/more.kdl",
            "--missing-from",
            "/run/less.kdl",
        ];
        let said = sandbox.stead(&[&against[..], &only].concat());
        assert!(matches!(said.code, Some(0 | 2)), "{said:?}");
        (said.code != Some(2)).then(|| sandbox.get("/run/more.kdl").unwrap())
    };
    let says = |spec: &str| {
        spec.lines()
            .any(|line| line.starts_with("    ") && !line.trim().starts_with("//"))
    };
    let nothing = more(&whole).unwrap();
    assert!(!says(&nothing), "{nothing}");
    // R5: without any one line there is something to say, or what is left is no spec, or asks for something else.
    let lines: Vec<&str> = whole.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        if line.trim().is_empty() || line.trim().starts_with("//") {
            continue;
        }
        let mut less = lines.clone();
        less.remove(number);
        let more = more(&(less.join("\n") + "\n"));
        let is_missed = more.is_none_or(|more| says(&more))
            || sandbox.stead(&["plan", "/run/less.kdl"]).code != Some(0);
        assert!(is_missed, "{line}");
    }
}

#[test]
fn import_counts_rules_of_known_programs() {
    let sandbox = Sandbox::new();
    let service = |n: usize| {
        let address = format!("10.152.{}.{}", n / 250, n % 250);
        format!(
            "-A KUBE-SERVICES -d {address}/32 -p tcp -m comment --comment \"a/b:c{n} cluster IP\" -m tcp --dport 443 -j KUBE-SVC-{}\n",
            n % 7
        )
    };
    let many = (0..2000).map(service).collect::<Vec<_>>().concat();
    let chains = (0..7).map(|n| format!(":KUBE-SVC-{n} - [0:0]\n"));
    let chains = chains.collect::<Vec<_>>().concat();
    let rules = format!(
        "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:DOCKER-USER - [0:0]\n:f2b-sshd - [0:0]\n:ufw-before-input - [0:0]\n:cali-INPUT - [0:0]\n:LIBVIRT_INP - [0:0]\n:IN_public - [0:0]\n\
         -A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd\n-A INPUT -j ufw-before-input\n-A INPUT -m comment --comment \"cali:x\" -j cali-INPUT\n-A INPUT -j LIBVIRT_INP\n\
         -A FORWARD -j DOCKER-USER\n-A FORWARD -o docker0 -j DOCKER\n-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n\
         -A FORWARD -s 10.1.0.0/16 -m comment --comment \"generated for MicroK8s pods\" -j ACCEPT\n\
         -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT\n-A DOCKER-USER -s 192.0.2.66/32 -j DROP\n-A DOCKER-USER -j RETURN\n\
         -A f2b-sshd -s 192.0.2.77/32 -j REJECT --reject-with icmp-port-unreachable\n-A f2b-sshd -j RETURN\nCOMMIT\n\
         *nat\n:KUBE-SERVICES - [0:0]\n{chains}-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n{many}COMMIT\n"
    );
    sandbox.put("/run/rules", &rules);
    sandbox.run_ok(&["sh", "-c", "iptables-nft-restore --noflush </run/rules"]);
    let found = coverage(&sandbox, &["--only", "iptables-rule"], "iptables-rule");
    let foreign = &found["foreign"];
    let managed: BTreeSet<&str> = found["managed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    // nat has no chain of Docker here, so its masquerading could be anybody's.
    for (whose, count) in [
        ("Kubernetes", 2001),
        ("Docker", 6),
        ("fail2ban", 3),
        ("ufw", 1),
        ("libvirt", 1),
        ("MicroK8s", 1),
    ] {
        assert_eq!(foreign[whose], count, "{whose}: {found}");
    }
    assert!(
        managed.iter().any(|name| name.contains("192.0.2.66")),
        "what people put into DOCKER-USER is theirs: {managed:?}"
    );
    let policies = coverage(&sandbox, &["--only", "iptables-policy"], "iptables-policy");
    assert_eq!(policies["foreign"]["Docker"], 1);
    assert_eq!(policies["managed"].as_array().unwrap().len(), 0);
    let chains = coverage(&sandbox, &["--only", "iptables-chain"], "iptables-chain");
    assert_eq!(chains["managed"].as_array().unwrap().len(), 0, "{chains}");
    assert_eq!(chains["foreign"]["firewalld"], 1, "{chains}");
}

#[test]
fn import_writes_or_names_odd_files_in_etc() {
    let sandbox = Sandbox::new();
    let odd = sandbox.outside_path("/etc/odd");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join(OsStr::from_bytes(b"caf\xe9")), "latin").unwrap();
    fs::write(odd.join("caf\u{e9}"), "utf-8").unwrap();
    fs::write(odd.join("new\nline"), "x").unwrap();
    fs::write(odd.join("latin1.conf"), b"caf\xe9\n").unwrap();
    fs::write(odd.join("escapes.conf"), b"\x1b[31mred\n").unwrap();
    fs::write(odd.join("blanks.conf"), "a\n   \nb\n").unwrap();
    fs::write(odd.join("dos.conf"), "a\r\nb\r\n").unwrap();
    fs::write(odd.join("with blank \"and\" \\.conf"), "x").unwrap();
    std::os::unix::fs::symlink("../gone", odd.join("broken")).unwrap();
    std::os::unix::fs::symlink("self", odd.join("self")).unwrap();
    std::os::unix::fs::symlink(OsStr::from_bytes(b"\xff"), odd.join("bytes")).unwrap();
    sandbox.run_ok(&["mkfifo", "/etc/odd/pipe"]);
    File::create(odd.join("two-gigabytes"))
        .unwrap()
        .set_len(2 << 30)
        .unwrap();
    let (spec, _) = import(&sandbox, &["--only", "file", "--only", "symlink"], 0);
    sandbox.stead_exits(&["plan", OUT], 0);
    for expected in [
        "file \"/etc/odd/café\" content=\"utf-8\" mode=\"0644\"\n",
        "file \"/etc/odd/latin1.conf\" source=\"host.d/etc/odd/latin1.conf\"",
        "file \"/etc/odd/escapes.conf\" source=",
        "content \"a\\n   \\nb\\n\"",
        "content \"a\\r\\nb\\r\\n\"",
        "file \"/etc/odd/with blank \\\"and\\\" \\\\.conf\"",
        "symlink \"/etc/odd/broken\" \"../gone\"",
        "symlink \"/etc/odd/self\" \"self\"",
    ] {
        assert!(spec.contains(expected), "{expected}: {spec}");
    }
    let names = |kind: &str, rule: &str| {
        coverage(&sandbox, &["--only", kind], kind)["ignored"][rule].to_string()
    };
    let not_utf8 = "its name is not UTF-8, or contains characters that a spec cannot contain";
    assert!(names("file", not_utf8).contains("caf\u{fffd}"));
    assert!(names("file", "a spec cannot express its name").contains("new\\nline"));
    assert!(names("file", "it is a device, a socket or a pipe").contains("/etc/odd/pipe"));
    assert!(names("file", "it is larger than 1 GiB").contains("two-gigabytes"));
    assert!(
        names(
            "symlink",
            "its target is not UTF-8, or contains characters that a spec cannot contain"
        )
        .contains("/etc/odd/bytes")
    );
}

#[test]
fn import_names_secrets_and_writes_only_its_output() {
    let sandbox = Sandbox::new();
    let secrets = [
        ("/etc/shadow", "root:$y$j9T$SECRET:20000:0:99999:7:::\n"),
        (
            "/etc/wireguard/wg0.conf",
            "[Interface]\nPrivateKey = SECRET=\n",
        ),
        (
            "/etc/app/id",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n",
        ),
        (
            "/etc/app/kubeconfig",
            "users:\n- user:\n    token: SECRET\n",
        ),
        ("/etc/app/tls.key", "SECRET"),
        ("/etc/ssl/private/x.pem", "SECRET"),
        (
            "/etc/app/long",
            &("x\n".repeat(50_000) + "password=SECRET\n"),
        ),
    ];
    for (path, text) in secrets {
        sandbox.put(path, text);
    }
    sandbox.put(
        "/etc/app/harmless.conf",
        "# password=none\nPasswordAuthentication no\n",
    );
    let stead = sandbox.stead_path();
    let trace = [
        "strace",
        "-f",
        "-q",
        "-o",
        "/run/trace",
        "-e",
        "trace=open,openat,openat2,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,execve,connect",
        "--",
    ];
    let said = sandbox.run(&[&trace[..], &[&stead, "import", "--out", OUT]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    let spec = sandbox.get(OUT).unwrap() + &sandbox.get("/run/host-own.kdl").unwrap();
    for (path, _) in secrets {
        assert!(
            spec.contains(&format!("// secret: file {path} left out\n")),
            "{path}: {spec}"
        );
    }
    assert!(!spec.contains("SECRET") && !said.err.contains("SECRET"));
    assert!(spec.contains("/etc/app/harmless.conf\" mode"));
    let sources = sandbox.run(&["grep", "-r", "SECRET", "/run/host.d"]);
    assert_eq!(
        sources.code,
        Some(2),
        "nothing went beside the spec: {sources:?}"
    );

    let trace = sandbox.get("/run/trace").unwrap();
    let writes = trace.lines().filter(|line| {
        [
            "O_WRONLY", "O_RDWR", "O_CREAT", "rename", "unlink", "mkdir", "creat(",
        ]
        .iter()
        .any(|word| line.contains(word))
    });
    let elsewhere: Vec<&str> = writes
        .filter(|line| {
            !line.contains("host.kdl")
                && !line.contains("host-own.kdl")
                && !line.contains("/dev/null")
        })
        .collect();
    let of_stead: Vec<&&str> = elsewhere
        .iter()
        .filter(|line| !line.contains("xtables.lock"))
        .collect();
    assert!(of_stead.is_empty(), "{of_stead:?}");
    // No more programs than back ends, and stead itself.
    let programs: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("execve(") && line.contains("= 0"))
        .collect();
    assert!(programs.len() <= 5, "{programs:?}");
}

#[test]
fn import_without_root_names_unreadable_resources() {
    let sandbox = Sandbox::new();
    sandbox.put("/etc/app/closed", "x\n");
    fs::set_permissions(
        sandbox.outside_path("/etc/app/closed"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    sandbox.put("/etc/app/open", "x\n");
    sandbox.put("/etc/shadow", "root:$y$x:1::::::\n");
    fs::set_permissions(
        sandbox.outside_path("/etc/shadow"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    sandbox.put("/etc/cellar/x", "");
    fs::set_permissions(
        sandbox.outside_path("/etc/cellar"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    fs::copy(
        e2e::program("stead"),
        sandbox.outside_path("/run/stead-copy"),
    )
    .unwrap();
    let nobody = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    ];
    let said = sandbox.run(&[&nobody[..], &["/run/stead-copy", "import", "--json"]].concat());
    assert_eq!(said.code, Some(8), "{said:?}");
    let document: Value = serde_json::from_str(&said.out).unwrap();
    let unreadable = |kind: &str, name: &str| {
        document["coverage"][kind]["unreadable"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(
        unreadable("file", "/etc/app/closed"),
        "only its owner may read it"
    );
    assert_eq!(
        unreadable("directory", "/etc/cellar"),
        "only its owner may read it"
    );
    assert_eq!(
        unreadable("iptables-rule", "*"),
        "only root can read the tables"
    );
    assert_eq!(
        unreadable("user", "passwords"),
        "only root can read whether there are any"
    );
    assert!(
        document["spec"]
            .as_str()
            .unwrap()
            .contains("file \"/etc/app/open\"")
    );
    assert!(
        said.err
            .contains("/etc/app/closed: only its owner may read it"),
        "{said:?}"
    );
}

#[test]
fn import_notes_values_that_a_reboot_changes() {
    let sandbox = Sandbox::new();
    sandbox.put("/etc/sysctl.d/50-mine.conf", "net.ipv4.tcp_syncookies = 0\nnet.ipv4.no_such_thing = 1\nnet.ipv4.conf.*.log_martians = 1\n");
    sandbox.run_ok(&["sysctl", "-q", "-w", "net.ipv4.tcp_syncookies=2"]);
    let (spec, own) = import(&sandbox, &["--only", "sysctl", "--only", "file"], 0);
    assert!(own.contains("    // drift: after a reboot it is `0`\n    sysctl \"net.ipv4.tcp_syncookies\" \"2\" persist=#false\n"), "{own}");
    assert!(
        spec.contains("file \"/etc/sysctl.d/50-mine.conf\""),
        "{spec}"
    );
    sandbox.stead_exits(&["plan", "/run/host-own.kdl"], 0);
    let found = coverage(&sandbox, &["--only", "sysctl"], "sysctl");
    assert_eq!(
        found["ignored"]["this kernel does not have it now"][0],
        "net.ipv4.no_such_thing"
    );
    assert_eq!(
        found["ignored"]["it has a pattern for a name"][0],
        "net.ipv4.conf.*.log_martians"
    );
}

#[test]
fn import_names_reasons_of_ignored_files() {
    let sandbox = Sandbox::new();
    for name in ["a", "b", "c"] {
        sandbox.put(&format!("/etc/mine/{name}"), "x\n");
    }
    sandbox.put(
        "/etc/stead/import-ignore.kdl",
        "ignore \"file:/etc/mine/a\" reason=\"made by the backup\"\n",
    );
    let found = coverage(
        &sandbox,
        &["--only", "file", "--except", "file:/etc/mine/b"],
        "file",
    );
    assert_eq!(found["ignored"]["made by the backup"][0], "/etc/mine/a");
    assert_eq!(found["ignored"]["`--except`"][0], "/etc/mine/b");
    assert!(found["managed"].to_string().contains("/etc/mine/c"));
    let only = sandbox
        .stead_exits(&["import", "--only", "file:/etc/mine/*"], 0)
        .out;
    let nodes: Vec<&str> = only
        .lines()
        .filter(|line| line.starts_with("    file"))
        .collect();
    assert_eq!(nodes.len(), 2, "{only}");
    let wrong = sandbox.stead_exits(&["import", "--only", "fiel"], 2);
    assert!(wrong.err.contains("did you mean `file`?"), "{wrong:?}");
    sandbox.put("/run/wrong.kdl", "ignore \"file\"\n");
    let wrong = sandbox.stead_exits(&["import", "--ignore", "/run/wrong.kdl"], 2);
    assert!(wrong.err.contains("reason="), "{wrong:?}");
    sandbox.stead_exits(&["import", "--out", "/run/none/host.kdl"], 2);
}
