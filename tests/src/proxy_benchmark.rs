//! Requests through a Service of the real kube-proxy, in the mode that `MicroK8s` 1.13 brings and in the one that takes its place:
//! a measurement, and no test.

use std::fs;

use crate::{Host, Image, TestEnv, standin, wait_until};

/// The address of the Service, from the range of the cluster.
const SERVICE: &str = "10.152.183.80:80";
/// A Service in front of the nginx that the host has on the address of its uplink.
const MANIFEST: &str = r"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.152.183.80
  ports: [{port: 80}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets:
- addresses: [{ip: 192.0.2.10}]
  ports: [{port: 80}]
";
const SPEC: &str = r#"host "bench" { kube-args "kube-proxy" { proxy-mode "iptables"; }; }"#;
const CONNECTIONS: u32 = 16;
const REQUESTS: u32 = 16_000;
const ROUNDS: usize = 5;

/// What was measured in one mode.
#[derive(Debug)]
pub struct Rates {
    /// The mode, as the running kube-proxy tells it.
    pub mode: String,
    /// Requests a second in each round, sorted.
    pub rates: Vec<f64>,
}

impl Rates {
    /// Returns the rate in the middle.
    pub fn median(&self) -> f64 {
        self.rates[self.rates.len() / 2]
    }
}

/// Boots a host with `MicroK8s` 1.13, measures, lets stead change the mode, and measures again.
pub fn run() -> [Rates; 2] {
    let host = Host::boot(Image::Debian13);
    let load = std::env::current_exe().unwrap();
    fs::copy(load, host.outside_path("/root/test-host")).unwrap();
    host.run_ok(&["systemctl", "start", "nginx.service"]);
    let file = format!("{}/microk8s-1.13_1.snap", standin::SNAPS_DIR);
    host.run_ok(&["snap", "install", "--dangerous", "--classic", &file]);
    host.put("/root/web.yaml", MANIFEST);
    let apply = ["microk8s.kubectl", "apply", "-f", "/root/web.yaml"];
    wait_until("the objects are there", || host.run(&apply).code == Some(0));
    let before = measure(&host);
    host.put("/root/host.kdl", SPEC);
    let said = host.stead(&["apply", "--yes", "/root/host.kdl"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let after = measure(&host);
    [before, after]
}

fn measure(host: &Host) -> Rates {
    let page = format!("http://{SERVICE}/");
    let curl = ["curl", "--silent", "--fail", "--max-time", "2"];
    wait_until("the page comes", || {
        host.run(&[&curl[..], &[&page]].concat()).code == Some(0)
    });
    let mode = host.run_ok(&[&curl[..], &["http://127.0.0.1:10249/proxyMode"]].concat());
    let (connections, requests) = (CONNECTIONS.to_string(), REQUESTS.to_string());
    let send = ["/root/test-host", "load", SERVICE, &connections, &requests];
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| host.run_ok(&send).out.trim().parse().unwrap())
        .collect();
    rates.sort_by(f64::total_cmp);
    Rates {
        mode: mode.out,
        rates,
    }
}
