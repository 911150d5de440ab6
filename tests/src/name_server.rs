//! A server of DNS on a test host: what the addon `dns` of a real host asks, and what answers for it.

use crate::{Host, TestEnv, wait_until};

/// Answers every question with "there is no such name": an answer, though it helps nobody.
const SERVER: &str = r#"
import socket, sys
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind((sys.argv[1], 53))
while True:
    asked, who = own.recvfrom(4096)
    own.sendto(asked[:2] + b"\x81\x83" + asked[4:], who)
"#;

impl Host {
    /// Gives the host an address more, and has a server of DNS listen there until [`Self::stop_name_server`].
    pub fn start_name_server(&self, address: &str) {
        let there = format!("{address}/32");
        self.run(&["ip", "address", "add", &there, "dev", "lo"]);
        let unit = format!("--unit=names-{address}");
        let run = ["systemd-run", "--quiet", "--collect", &unit];
        self.run_ok(&[&run[..], &["python3", "-c", SERVER, address]].concat());
        let listens = ["ss", "--no-header", "--udp", "--listening", "--numeric"];
        wait_until("the server of DNS listens", || {
            let source = format!("{address}:53");
            let all = self.run_ok(&[&listens[..], &["src", &source]].concat());
            !all.out.is_empty()
        });
    }

    /// Stops the server of DNS at an address.
    pub fn stop_name_server(&self, address: &str) {
        self.run_ok(&["systemctl", "stop", &format!("names-{address}.service")]);
    }

    /// Has the server at an address answer for the Service of the addon `dns`: no pod of a test host has an address.
    pub fn serve_cluster_dns(&self, address: &str) {
        let slice = format!(
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata:\n  name: kube-dns-test\n  namespace: kube-system\n  labels: {{kubernetes.io/service-name: kube-dns}}\n\
             endpoints: [{{addresses: [\"{address}\"], conditions: {{ready: true}}}}]\n\
             ports: [{{name: dns, port: 53, protocol: UDP}}]\n"
        );
        self.put("/root/slice.yaml", &slice);
        let apply = ["microk8s", "kubectl", "apply", "-f", "/root/slice.yaml"];
        wait_until("the cluster takes it", || self.run(&apply).code == Some(0));
        wait_until("kube-proxy leads there", || {
            let rules = self.run_ok(&["iptables-nft-save", "--table", "nat"]).out;
            let legacy = self.run_ok(&["iptables-legacy-save", "--table", "nat"]).out;
            let to = format!("--to-destination {address}:53");
            rules.contains(&to) || legacy.contains(&to)
        });
    }
}
