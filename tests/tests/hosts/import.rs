//! A booted host, written down, and another one that becomes the same.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;

use e2e::{Host, Image, TestEnv};
use serde_json::Value;

const OUT: &str = "/root/host.kdl";

/// Imports into [`OUT`]: R1, R2 and R7. Returns the spec and what was said of the rest.
fn import(host: &Host, code: i32) -> (String, String) {
    let before = host.fingerprint();
    let said = host.stead_exits(&["import", "--out", OUT], code);
    let spec = host.get(OUT).unwrap();
    let own = host.get("/root/host-own.kdl").unwrap();
    host.stead_exits(&["plan", OUT], 0);
    host.stead_exits(&["plan", "/root/host-own.kdl"], 0);
    host.stead_exits(&["fmt", "--check", OUT, "/root/host-own.kdl"], 0);
    host.stead_exits(&["import", "--out", OUT], code);
    assert_eq!(host.get(OUT).unwrap(), spec, "the same bytes");
    assert_eq!(
        host.get("/root/host-own.kdl").unwrap(),
        own,
        "the same bytes"
    );
    let differences = e2e::difference(&before, &host.fingerprint());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let shadow = host.get("/etc/shadow").unwrap();
    for secret in shadow
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .filter(|hash| hash.len() > 4)
    {
        assert!(!spec.contains(secret) && !own.contains(secret));
    }
    for key in ["ed25519", "rsa", "ecdsa"] {
        assert!(
            own.contains(&format!(
                "// secret: file /etc/ssh/ssh_host_{key}_key left out\n"
            )),
            "{own}"
        );
    }
    (spec, said.err)
}

/// Changes by other tools than stead.
const BY_HAND: &str = r#"
    snap install --dangerous --classic /usr/share/stead-tests/snaps/microk8s_1.snap
    snap set system refresh.timer=fri,23:00-01:00
    snap refresh --hold microk8s
    echo '--proxy-mode=iptables' >>/var/snap/microk8s/current/args/kube-proxy
    sed -i /profiling/d /var/snap/microk8s/current/args/kube-proxy
    sleep 11; snap restart microk8s.daemon-kubelite
    microk8s status --wait-ready --timeout 60 >/dev/null
    microk8s enable dns 192.0.2.53 >/dev/null; microk8s status --wait-ready --timeout 60 >/dev/null
    microk8s enable hostpath-storage >/dev/null
    groupadd --gid 2000 media
    useradd --create-home --shell /bin/bash --comment 'Anna' anna
    echo anna:secret | chpasswd
    usermod --append --groups docker,media anna
    useradd --system --home-dir /srv/backup --shell /usr/sbin/nologin keeper
    apt-mark hold curl
    update-alternatives --set pager /bin/more
    echo 'net.ipv4.tcp_syncookies = 2' >/etc/sysctl.d/60-mine.conf; sysctl -q -p /etc/sysctl.d/60-mine.conf
    sed -i 's/#MaxAuthTries 6/MaxAuthTries 3/' /etc/ssh/sshd_config
    rm /etc/nginx/fastcgi.conf
    ln -sf /usr/share/zoneinfo/Europe/Berlin /etc/localtime
    mkdir -m 0750 /etc/mine; chgrp media /etc/mine; printf '\377\0' >/etc/mine/bytes; echo a >/etc/mine/text; chown anna:media /etc/mine/text
    echo '7 * * * * root true' >/etc/cron.d/mine
    mkdir -p /etc/systemd/system/ssh.service.d; printf '[Service]\nNice=5\n' >/etc/systemd/system/ssh.service.d/override.conf
    systemctl daemon-reload; systemctl restart ssh
    systemctl enable --quiet nginx
    iptables-nft -N MINE; iptables-nft -A INPUT -p tcp --dport 22 -j MINE; iptables-nft -A MINE -s 192.0.2.0/24 -j ACCEPT
    iptables-nft -A INPUT -m comment --comment 'no "bad" hosts' -s 198.51.100.7 -j DROP
    ip6tables-nft -P FORWARD DROP
    netfilter-persistent save 2>/dev/null
    echo 192.0.2.10 neighbour >>/etc/hosts
"#;

/// Starts the real dockerd with three networks of its own. No container starts on a test host (its keyring is the machine's), so
/// the rules of three published ports are those that Docker 26 writes. There is no client: its API is spoken to.
const START_DOCKER: &str = r#"
    systemctl enable --quiet --now docker.service
    for n in 2 3 4; do
        curl --silent --show-error --fail --unix-socket /run/docker.sock -H 'Content-Type: application/json' \
            -d '{"Name":"network'$n'"}' http://docker/networks/create
        iptables-nft -t nat -A POSTROUTING -s 172.17.0.$n -d 172.17.0.$n -p tcp --dport 80 -j MASQUERADE
        iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp --dport 800$n -j DNAT --to-destination 172.17.0.$n:80
        iptables-nft -A DOCKER -d 172.17.0.$n ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
    done
"#;

/// Returns the addresses of the resources of a spec.
fn addresses(spec: &str) -> BTreeSet<String> {
    let nodes = spec
        .lines()
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    let words = nodes.filter_map(|line| line.trim().split_once(" \""));
    words
        .filter(|(kind, _)| !kind.starts_with("//"))
        .map(|(kind, rest)| format!("{kind}:{}", rest.split('"').next().unwrap_or_default()))
        .collect()
}

#[test]
fn import_recreates_manual_changes_on_a_bare_host() {
    let one = Host::boot(Image::Debian13);
    let bare = import(&one, 0).0;
    one.run_ok(&["sh", "-ec", START_DOCKER]);
    one.run_ok(&["sh", "-ec", BY_HAND]);
    let (spec, said) = import(&one, 0);
    println!("{said}");
    let (written, saved) = spec.split_once("/etc/iptables/rules.v4").unwrap();
    let spec_of_rules = written.to_owned() + saved.split_once("/etc/iptables/rules.v6").unwrap().1;
    let addons =
        "    addons \"microk8s\" {\n        dns \"192.0.2.53\"\n        hostpath-storage\n    }\n";
    assert!(spec.contains(addons), "{spec}");
    let pager = "    symlink \"/etc/alternatives/pager\" \"/bin/more\"\n";
    assert!(spec.contains(pager), "{spec}");
    for whose in ["Docker", "Kubernetes", "MicroK8s", "snapd", "packages"] {
        assert!(said.contains(&format!("made by {whose}: ")), "{whose}");
    }
    assert!(
        !spec_of_rules.contains("172.1"),
        "nothing of Docker is written: {spec}"
    );
    let mut changed: BTreeSet<_> = addresses(&spec)
        .difference(&addresses(&bare))
        .cloned()
        .collect();
    // These are on a bare host too, and differ.
    changed.extend(["package:curl", "symlink:/etc/localtime"].map(str::to_owned));
    assert!(changed.len() >= 20, "{changed:?}");

    let two = Host::boot(Image::Debian13);
    one.copy_to(OUT, &two);
    one.copy_to("/root/host.d", &two);
    // R5: on a bare host no line is idle.
    let plan = two.stead(&["plan", "--json", OUT]);
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    let steps = plan["changes"].as_array().unwrap();
    let planned: BTreeSet<&str> = steps
        .iter()
        .filter_map(|change| change["address"].as_str())
        .collect();
    for address in changed
        .iter()
        .filter(|address| !address.starts_with("hook:"))
    {
        assert!(
            planned.contains(address.as_str()),
            "{address} says nothing: {planned:?}"
        );
    }
    // R3.
    two.stead_exits(&["apply", "--yes", OUT], 0);
    let again = import(&two, 0).0;
    assert_eq!(again, spec);
    // R4.
    one.stead_exits(&["plan", OUT], 0);
    two.stead_exits(&["plan", OUT], 0);
}

#[test]
fn import_of_a_converged_host_matches_its_spec() {
    let host = Host::boot(Image::Debian12);
    import(&host, 0);
    host.publish("microk8s", "microk8s_1", 1);
    host.put(
        "/root/cloud-vm.kdl",
        include_str!("../../../examples/hosts/cloud-vm.kdl"),
    );
    host.stead_exits(&["apply", "--yes", "/root/cloud-vm.kdl"], 0);
    let (spec, said) = import(&host, 0);
    println!("{spec}{said}");
    for expected in [
        "    snap \"microk8s\" channel=\"1.32/stable\" classic=#true hold=\"forever\"\n",
        "        proxy-mode \"iptables\"\n",
        "    iptables-rule \"no metadata for pods\" chain=\"FORWARD\"",
        "        match \"-s\" \"10.1.0.0/16\" \"-d\" \"169.254.169.254/32\"\n",
        "    sysctl \"net.ipv4.ip_forward\" \"1\"\n",
        "    hook \"boot\"\n    hook \"snap-refresh\"\n",
        "    file \"/etc/systemd/journald.conf.d/50-small.conf\" mode=\"0644\" {\n",
    ] {
        assert!(spec.contains(expected), "{expected}");
    }
    // R4: each says what the other says, as far as it says anything.
    host.stead_exits(&["plan", "/root/cloud-vm.kdl"], 0);
    let more = |spec: &str| {
        host.stead_exits(
            &["import", "--out", "/root/more.kdl", "--missing-from", spec],
            0,
        );
        host.get("/root/more.kdl").unwrap()
    };
    assert!(addresses(&more(OUT)).is_empty(), "{}", more(OUT));
    let more = more("/root/cloud-vm.kdl");
    assert!(!addresses(&more).contains("snap:microk8s"), "{more}");
    assert!(addresses(&more).contains("package:curl"), "{more}");
}

#[test]
fn import_of_a_large_host_runs_few_programs() {
    let host = Host::boot(Image::Debian13);
    host.run_ok(&["sh", "-ec", MAKE_LARGE]);
    let stead = host.stead_path();
    let count = [
        "strace",
        "-f",
        "-q",
        "-o",
        "/root/trace",
        "-e",
        "trace=execve",
        "--",
    ];
    let said = host.run(&[&count[..], &[&stead, "import", "--out", OUT]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    let trace = host.get("/root/trace").unwrap();
    let programs: Vec<&str> = trace.lines().filter(|line| line.ends_with("= 0")).collect();
    assert!(
        programs.len() <= 5,
        "stead and one for each back end: {programs:?}"
    );
    // How long it takes and what it needs: printed, not judged.
    let status = "cat /proc/self/status >/dev/null; time $0 import --json >/root/out.json; exec python3 -c 'import resource,subprocess,sys; subprocess.run([sys.argv[1],\"import\"],stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, \"KiB\")' $0";
    let said = host.run_ok(&["bash", "-c", status, &stead]);
    println!(
        "{}{}",
        said.out,
        said.err
            .lines()
            .filter(|line| line.contains('m'))
            .collect::<Vec<_>>()
            .join("\n")
    );
    let document: Value = serde_json::from_str(&host.get("/root/out.json").unwrap()).unwrap();
    let coverage = &document["coverage"];
    assert_eq!(coverage["iptables-rule"]["foreign"]["Kubernetes"], 2000);
    assert!(coverage["file"]["managed"].as_array().unwrap().len() > 5000);
}

/// 2,000 rules of a known program, 300 units, 5,000 files.
const MAKE_LARGE: &str = r#"
    { echo '*nat'; echo ':KUBE-SERVICES - [0:0]'; for n in $(seq 2000); do
        echo "-A KUBE-SERVICES -d 10.152.$((n / 250)).$((n % 250))/32 -p tcp -m tcp --dport 443 -j RETURN"; done; echo COMMIT; } | iptables-nft-restore --noflush
    for n in $(seq 300); do printf '[Service]\nExecStart=/bin/true\n' >/etc/systemd/system/many-$n.service; done
    systemctl daemon-reload
    mkdir /etc/many; for n in $(seq 5000); do echo "this is $n" >/etc/many/$n; done
"#;
