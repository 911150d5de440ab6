//! As `drift`, on a host with other actors: firewalls, and upgrades that nobody asks for.

use e2e::{
    Host, Image, TestEnv,
    drift::{SPEC, apply, check_causes},
};

const POLICY: &str = "iptables-policy:filter/FORWARD";

#[test]
fn ufw_is_known_by_its_config_and_its_start() {
    let host = Host::boot(Image::Debian13Firewalls);
    // ufw(8) sets both settings to 0: /etc/ufw/sysctl.conf.
    let wanted = "iptables-policy \"filter/FORWARD\" \"ACCEPT\" persist=#false
        sysctl \"net.ipv4.icmp_echo_ignore_all\" \"1\"
        sysctl \"net.ipv4.conf.all.log_martians\" \"1\" persist=#false
        sysctl \"net.ipv4.tcp_retries2\" \"9\"";
    let (echo, martians, retries) = (
        "sysctl:net.ipv4.icmp_echo_ignore_all",
        "sysctl:net.ipv4.conf.all.log_martians",
        "sysctl:net.ipv4.tcp_retries2",
    );
    apply(&host, wanted);
    host.run_ok(&["ufw", "--force", "enable"]);
    // This one it does not set.
    host.run_ok(&["sysctl", "-w", "net.ipv4.tcp_retries2=8"]);
    let by = |policy, settings, run| {
        let unknown = format!("unknown {run}");
        check_causes(
            &host,
            &[
                (POLICY, policy),
                (martians, settings),
                (echo, settings),
                (retries, &unknown),
            ],
        );
    };
    let enabled = "ufw since 1: /etc/ufw/ufw.conf changed";
    by(enabled, enabled, 1);

    // The same by hand, while it is on.
    apply(&host, wanted);
    let by_hand = || {
        host.run_ok(&["iptables", "-P", "FORWARD", "DROP"]);
        for setting in [
            "conf.all.log_martians=0",
            "icmp_echo_ignore_all=0",
            "tcp_retries2=8",
        ] {
            host.run_ok(&["sysctl", "-w", &format!("net.ipv4.{setting}")]);
        }
    };
    by_hand();
    by("unknown 2", "unknown 2", 2);

    // A unit that was not active has nothing to stop, and leaves an ufw that is on as it is.
    host.run_ok(&["systemctl", "start", "ufw.service"]);
    apply(&host, wanted);
    host.run_ok(&["systemctl", "restart", "ufw.service"]);
    host.run_ok(&["sysctl", "-w", "net.ipv4.tcp_retries2=8"]);
    let started = "ufw since 3: ufw.service started";
    by(started, started, 3);

    // What it has no reason to do it did not do.
    apply(&host, wanted);
    let accept = "s/^DEFAULT_FORWARD_POLICY=.*/DEFAULT_FORWARD_POLICY=\"ACCEPT\"/";
    host.run_ok(&["sed", "-i", accept, "/etc/default/ufw"]);
    let keep = "s:^net/ipv4/\\(icmp_echo_ignore_all\\|conf/all/log_martians\\)=0:net/ipv4/\\1=1:";
    host.run_ok(&["sed", "-i", keep, "/etc/ufw/sysctl.conf"]);
    host.run_ok(&["systemctl", "restart", "ufw.service"]);
    by_hand();
    by("unknown 4", "unknown 4", 4);
}

#[test]
fn firewalld_is_the_cause_only_with_the_iptables_backend() {
    let host = Host::boot(Image::Debian13Firewalls);
    let wanted = "iptables-policy \"filter/FORWARD\" \"DROP\" persist=#false
        iptables-chain \"filter/MINE\" persist=#false
        iptables-rule \"mine\" chain=\"MINE\" persist=#false { jump \"ACCEPT\" }";
    let (chain, rule) = ("iptables-chain:filter/MINE", "iptables-rule:mine");
    apply(&host, wanted);
    // It has a table of its own.
    host.run_ok(&["systemctl", "start", "firewalld.service"]);
    host.stead_exits(&["plan", SPEC], 0);
    let settings = "/etc/firewalld/firewalld.conf";
    let other =
        "s/^FirewallBackend=.*/FirewallBackend=iptables/; s/^CleanupOnExit=.*/CleanupOnExit=no/";
    host.run_ok(&["sed", "-i", other, settings]);
    host.run_ok(&["systemctl", "restart", "firewalld.service"]);
    let by = |cause| check_causes(&host, &[(chain, cause), (POLICY, cause), (rule, cause)]);
    by("firewalld since 1: firewalld.service started");

    // The same by hand, while it runs.
    apply(&host, wanted);
    let by_hand = || {
        host.run_ok(&["iptables", "-P", "FORWARD", "ACCEPT"]);
        host.run_ok(&["iptables", "-F", "MINE"]);
        host.run_ok(&["iptables", "-X", "MINE"]);
    };
    by_hand();
    by("unknown 2");
    // A reload does it too, and nobody notes that.
    apply(&host, wanted);
    host.run_ok(&["firewall-cmd", "--reload"]);
    by("unknown 3");
    // One that has a table of its own did not do it, though the chains of an older one are there still.
    apply(&host, wanted);
    let other = "s/^FirewallBackend=.*/FirewallBackend=nftables/";
    host.run_ok(&["sed", "-i", other, settings]);
    host.run_ok(&["systemctl", "restart", "firewalld.service"]);
    let saved = host.run_ok(&["iptables-save"]).out;
    assert!(saved.contains(":FORWARD_direct"), "{saved}");
    by_hand();
    by("unknown 4");
}

/// Where packages of these versions are offered from then on, as Debian offers security updates.
const PUBLISH: &str = r#"
set -e
mkdir -p /srv/packages
cd /srv/packages
rm -f Packages Release
for version in "$@"; do
    mkdir -p "/tmp/tiny/DEBIAN"
    printf '%s\n' 'Package: tiny' "Version: $version" 'Architecture: all' \
        'Maintainer: tests <tests@localhost>' 'Description: tiny' >/tmp/tiny/DEBIAN/control
    file=tiny_$version.deb
    dpkg-deb --root-owner-group --build /tmp/tiny "$file"
    dpkg-deb --field "$file" >>Packages
    set -- $(sha256sum "$file") "$@"
    printf '%s\n' "Filename: ./$file" "Size: $(stat -c %s "$file")" "SHA256: $1" '' >>Packages
    shift 2
done
set -- $(sha256sum Packages)
printf '%s\n' 'Origin: Debian' 'Label: Debian-Security' 'Suite: stable-security' 'Codename: trixie-security' \
    'SHA256:' " $1 $(stat -c %s Packages) Packages" >Release
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/packages ./' >/etc/apt/sources.list
apt-get update
"#;

#[test]
fn unattended_upgrade_is_distinguished_from_a_manual_one() {
    let host = Host::boot(Image::Debian13Firewalls);
    let publish = |versions: &[&str]| {
        host.run_ok(&[&["sh", "-c", PUBLISH, "publish"], versions].concat());
    };
    publish(&["1"]);
    let wanted = "package \"tiny\" version=\"1\"";
    apply(&host, wanted);
    publish(&["1", "2"]);
    host.stead_exits(&["plan", SPEC], 0);
    let periodic = "APT::Periodic::Unattended-Upgrade \"1\";\n";
    host.put("/etc/apt/apt.conf.d/20auto-upgrades", periodic);
    host.run_ok(&["systemctl", "start", "apt-daily-upgrade.service"]);
    let by = |cause| check_causes(&host, &[("package:tiny", cause)]);
    by("unattended-upgrades since 1: /usr/bin/unattended-upgrade,");

    apply(&host, wanted);
    // The log of apt knows no parts of a second.
    host.run_ok(&["sleep", "1.1"]);
    host.run_ok(&["apt-get", "install", "--yes", "tiny"]);
    by("changed since 2: apt-get install --yes tiny,");
}
