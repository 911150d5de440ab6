//! `stead doctor` on booted hosts: what the cluster, its certificates, its addons and its names may have.

use e2e::{Host, Image, TestEnv, standin, wait_until};

/// Where the data of MicroK8s is.
const DATA: &str = "/var/snap/microk8s/current";

/// A healthy host with MicroK8s: there is no network of pods, for which the real one turns forwarding on.
fn boot() -> Host {
    let host = Host::boot(Image::Debian13);
    install(&host, &format!("{}/microk8s_1.snap", standin::SNAPS_DIR));
    host.run_ok(&["microk8s", "status", "--wait-ready"]);
    host.run_ok(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    assert_eq!(host.finding_names(), [""; 0]);
    host
}

fn install(host: &Host, snap: &str) {
    host.run_ok(&["snap", "install", "--dangerous", "--classic", snap]);
}

fn kubectl(host: &Host, arguments: &[&str]) -> String {
    let argv = [&["microk8s", "kubectl"], arguments].concat();
    host.run_ok(&argv).out
}

/// Returns what was seen of the only thing that is found, which must have this name.
fn only_evidence(host: &Host, name: &str) -> String {
    let findings = host.findings();
    let names: Vec<_> = findings.iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, [name], "{findings:?}");
    findings[0]["evidence"].to_string()
}

/// Makes a certificate as MicroK8s does (`gen_server_cert`), good for so many days and for this address too.
fn make_certificate(host: &Host, days: u32, address: &str) {
    let make = "cd \"$0\" && openssl req -new -key server.key -subj /CN=127.0.0.1 -out server.csr && \
        printf 'subjectAltName=DNS:kubernetes,IP:127.0.0.1,IP:10.152.183.1,IP:%s\\n' \"$2\" >server.ext && \
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days \"$1\" -extfile server.ext -out server.crt";
    let dir = format!("{DATA}/certs");
    host.run_ok(&["bash", "-c", make, &dir, &days.to_string(), address]);
}

#[test]
fn doctor_finds_expiring_or_mismatched_certificates() {
    let host = boot();
    make_certificate(&host, 20, "192.0.2.10");
    let evidence = only_evidence(&host, "certificate-expiring");
    assert!(
        evidence.contains("certs/server.crt expires on "),
        "{evidence}"
    );
    make_certificate(&host, 365, "192.0.2.10");
    assert_eq!(host.finding_names(), [""; 0]);

    // A host that moves to another network, and somebody who does not want its pods to be started anew for that.
    let moves = "ip address add 192.0.2.77/24 dev uplink && ip route replace default via 192.0.2.1 src 192.0.2.77";
    host.run_ok(&["bash", "-c", moves]);
    assert_eq!(host.finding_names(), [""; 0]);
    host.put(&format!("{DATA}/var/lock/no-cert-reissue"), "");
    let evidence = only_evidence(&host, "certificate-address");
    assert!(
        evidence.contains("the address of the default route is 192.0.2.77"),
        "{evidence}"
    );
    make_certificate(&host, 365, "192.0.2.77");
    assert_eq!(host.finding_names(), [""; 0]);
}

#[test]
fn doctor_finds_memory_shortage_and_mistaken_addons() {
    let host = boot();
    let greedy = "apiVersion: v1\nkind: Pod\nmetadata: {name: greedy}\nspec: {containers: [{name: a, image: x, resources: {requests: {memory: 64Ti}}}]}\n";
    host.put("/root/greedy.yaml", greedy);
    // Nobody may make a pod before the account for it is there.
    let create = ["microk8s", "kubectl", "create", "-f", "/root/greedy.yaml"];
    wait_until("there is a pod", || host.run(&create).code == Some(0));
    let evidence = only_evidence(&host, "memory-short");
    assert!(
        evidence.contains("default/greedy 67108864 MiB"),
        "{evidence}"
    );
    kubectl(&host, &["delete", "--force", "-f", "/root/greedy.yaml"]);
    assert_eq!(host.finding_names(), [""; 0]);

    kubectl(&host, &["create", "namespace", "mine"]);
    let mine = ["--namespace", "mine"];
    let registry = ["create", "deployment", "registry", "--image=mine"];
    kubectl(&host, &[&registry[..], &mine].concat());
    let status = host.run_ok(&["microk8s", "status", "--addon", "registry"]);
    assert_eq!(status.out, "enabled\n");
    let evidence = only_evidence(&host, "addon-mistaken");
    let expected = "MicroK8s reports core/registry as enabled because of Deployment mine/registry";
    assert!(evidence.contains(expected), "{evidence}");
    kubectl(
        &host,
        &[&["delete", "deployment", "registry"][..], &mine].concat(),
    );
    assert_eq!(host.finding_names(), [""; 0]);
}

#[test]
fn doctor_finds_addons_behind_the_snap() {
    let host = boot();
    // A release with addons of its own, packed from the one that is there.
    let pack = "cd /root && unsquashfs -quiet -no-progress -dest next \"$0\" && \
        git -C next/addons/core -c user.name=x -c user.email=x commit --quiet --allow-empty --message=next && \
        mksquashfs next next.snap -noappend -comp xz -all-root -no-progress -quiet";
    let snap = format!("{}/microk8s_2.snap", standin::SNAPS_DIR);
    host.run_ok(&["bash", "-c", pack, &snap]);
    install(&host, "/root/next.snap");
    host.run_ok(&["microk8s", "status", "--wait-ready"]);
    let evidence = only_evidence(&host, "addons-behind");
    assert!(
        evidence.contains("/snap/microk8s/x2/addons/core is at "),
        "{evidence}"
    );
    let source = "/snap/microk8s/current/addons/core";
    let add = ["microk8s", "addons", "repo", "add", "core", source];
    host.run_ok(&[&add[..], &["--force"]].concat());
    assert_eq!(host.finding_names(), [""; 0]);
}

#[test]
fn doctor_finds_unanswered_dns() {
    const SERVER: &str = "192.0.2.53";
    let host = boot();
    host.start_name_server(SERVER);
    host.run_ok(&["microk8s", "enable", "dns", SERVER]);
    // What runs as CoreDNS here has no address.
    let evidence = only_evidence(&host, "dns-unanswered");
    assert!(evidence.contains("10.152.183.10:53, asked from this host: "));
    assert!(evidence.contains(" is ready"), "{evidence}");
    host.serve_cluster_dns(SERVER);
    assert_eq!(host.finding_names(), [""; 0]);

    // The bridge of pods, as a network plugin makes it, and a rule that is in their way alone.
    let bridge = "ip link add cni0 type bridge && ip address add 10.1.0.1/24 dev cni0 && ip link set cni0 up";
    host.run_ok(&["bash", "-c", bridge]);
    assert_eq!(host.finding_names(), [""; 0]);
    let rule = ["OUTPUT", "-s", "10.1.0.1", "-p", "udp", "-j", "DROP"];
    host.run_ok(&[&["iptables-nft", "-I"], &rule[..]].concat());
    let evidence = only_evidence(&host, "dns-unanswered");
    let expected = "asked from 10.1.0.1, in the pod network: ";
    assert!(evidence.contains(expected), "{evidence}");
    assert!(!evidence.contains("from this host"), "{evidence}");
    host.run_ok(&[&["iptables-nft", "-D"], &rule[..]].concat());
    assert_eq!(host.finding_names(), [""; 0]);

    host.stop_name_server(SERVER);
    assert_eq!(host.finding_names(), ["dns-unanswered", "dns-upstream"]);
    // One of several that answers will do.
    host.run_ok(&["microk8s", "disable", "dns"]);
    // As long as its pod is there, MicroK8s calls it enabled and does nothing.
    wait_until("the pod has gone", || {
        let status = ["microk8s", "status", "--addon", "dns"];
        host.run_ok(&status).out == "disabled\n"
    });
    host.start_name_server("192.0.2.54");
    host.run_ok(&["microk8s", "enable", "dns", "192.0.2.53,192.0.2.54"]);
    assert_eq!(host.finding_names(), ["dns-unanswered"]);
    host.serve_cluster_dns("192.0.2.54");
    assert_eq!(host.finding_names(), [""; 0]);
}

#[test]
fn doctor_finds_exhausted_inotify_instances() {
    let host = Host::boot(Image::Debian13);
    // Of a user whom nobody else on this machine is: the kernel counts by number.
    let doctor = "exec setpriv --reuid 23456 --clear-groups stead doctor --json";
    let limits = |said: &str| said.contains("\"name\":\"limits-reached\",\"fact\"");
    assert!(!limits(&host.run_ok(&["bash", "-c", doctor]).out));
    let hog = "import ctypes, os, time\nos.setuid(23456)\nlibc = ctypes.CDLL(None)\nwhile libc.inotify_init() >= 0: pass\nopen('/tmp/full', 'w')\ntime.sleep(600)";
    let run = [
        "systemd-run",
        "--quiet",
        "--unit=hog",
        "--property=LimitNOFILE=500000",
    ];
    host.run_ok(&[&run[..], &["python3", "-c", hog]].concat());
    wait_until("nothing is left", || host.get("/tmp/full").is_some());
    let said = host.run(&["bash", "-c", doctor]);
    assert!(limits(&said.out) && said.code == Some(3), "{said:?}");
    let expected =
        "the kernel refuses user 23456 more inotify instances: fs.inotify.max_user_instances is ";
    assert!(said.out.contains(expected), "{said:?}");
    host.run_ok(&["systemctl", "stop", "hog.service"]);
    assert!(!limits(&host.run_ok(&["bash", "-c", doctor]).out));
}

#[test]
fn doctor_judges_the_clock_like_timedated() {
    let host = Host::boot(Image::Debian13);
    // Whose clock is that of the machine that runs this: whether it is kept right is not for tests to say.
    assert_eq!(host.finding_names(), [""; 0]);
    host.run_ok(&["rm", "/run/systemd/container"]);
    let told = "timedatectl show --property NTPSynchronized --value; cut -d. -f1 /proc/uptime";
    let told = host.run_ok(&["bash", "-c", told]).out;
    let (is_synchronised, up) = told.trim().split_once('\n').unwrap();
    let is_early = up.parse::<u32>().unwrap() < 600;
    let is_adrift = is_synchronised == "no" && !is_early;
    let expected: &[&str] = if is_adrift { &["clock-adrift"] } else { &[] };
    assert_eq!(host.finding_names(), expected);
    // What systemd-timesyncd makes when a server has told it the time.
    host.put("/run/systemd/timesync/synchronized", "");
    assert_eq!(host.finding_names(), [""; 0]);
}

#[test]
fn doctor_finds_only_what_a_firewall_blocks() {
    let host = Host::boot(Image::Debian13Firewalls);
    assert_eq!(host.finding_names(), [""; 0]);
    host.run_ok(&["systemctl", "start", "firewalld.service"]);
    assert_eq!(host.run_ok(&["firewall-cmd", "--state"]).out, "running\n");
    assert_eq!(host.finding_names(), [""; 0]);
    host.run_ok(&["systemctl", "stop", "firewalld.service"]);
    host.run_ok(&["ufw", "--force", "enable"]);
    let status = host.run_ok(&["ufw", "status", "verbose"]).out;
    assert!(status.contains("Status: active"), "{status}");
    assert_eq!(host.finding_names(), [""; 0]);

    // Where pods are, what ufw does with routed packets is in their way.
    install(&host, &format!("{}/microk8s_1.snap", standin::SNAPS_DIR));
    host.run_ok(&["microk8s", "status", "--wait-ready"]);
    host.run_ok(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    let evidence = only_evidence(&host, "forward-drop");
    assert!(
        evidence.contains("-P FORWARD DROP, which ufw sets"),
        "{evidence}"
    );
    // As its page says.
    let page = host.stead_exits(&["explain", "forward-drop"], 0).out;
    assert!(
        page.contains("fix now      ufw default allow routed "),
        "{page}"
    );
    host.run_ok(&["ufw", "default", "allow", "routed"]);
    assert_eq!(host.finding_names(), [""; 0]);

    // firewalld is in their way too, as two of them show; that it lets something out to the network is no help.
    host.run_ok(&["ufw", "disable"]);
    host.run_ok(&["bash", "-c", MAKE_PODS]);
    let is_reached = || host.run(&["bash", "-c", ASK_POD]).code == Some(0);
    wait_until("one pod answers the other", is_reached);
    host.run_ok(&["systemctl", "start", "firewalld.service"]);
    host.run_ok(&["firewall-cmd", "--zone=public", "--add-interface=uplink"]);
    let evidence = only_evidence(&host, "firewalld-refused");
    let last = "the last rule is `reject with icmpx admin-prohibited`";
    assert!(evidence.contains(last), "{evidence}");
    assert!(!is_reached());
    let finding = host.findings().remove(0);
    let way = finding["by_hand"][0].as_str().unwrap_or_default();
    assert!(way.contains("--add-source=10.1.0.0/16 "), "{finding}");
    host.run_ok(&["bash", "-c", way]);
    assert_eq!(host.finding_names(), [""; 0]);
    wait_until("one pod answers the other again", is_reached);
}

/// Two namespaces in the place of pods, connected as Calico does it.
const MAKE_PODS: &str = "set -e; for pod in 1 2; do
    ip netns add pod$pod
    ip link add cali$pod type veth peer name eth0 netns pod$pod
    ip link set cali$pod up
    ip -n pod$pod link set eth0 up
    ip -n pod$pod address add 10.1.0.$pod/32 dev eth0
    ip -n pod$pod route add 169.254.1.1 dev eth0
    ip -n pod$pod route add default via 169.254.1.1 dev eth0
    ip route add 10.1.0.$pod/32 dev cali$pod
    echo 1 >/proc/sys/net/ipv4/conf/cali$pod/proxy_arp
done
systemd-run --quiet ip netns exec pod2 python3 -m http.server 80";

/// Asks one of them from the other, until an answer or a refusal comes.
const ASK_POD: &str = "for try in $(seq 50); do
    ip netns exec pod1 curl --silent --output /dev/null --max-time 5 http://10.1.0.2/ && exit 0
    sleep 0.1
done
exit 1";
