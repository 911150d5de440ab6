//! Nobody locks themselves out: over a real SSH session, and whatever kills a run that waits to be confirmed.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Instant;

use e2e::{Host, Image, Inside, Said, difference};

/// The client's network: a namespace on the host with a cable to it.
const CABLE: [&[&str]; 7] = [
    &["ip", "netns", "add", "client"],
    &[
        "ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", "client",
    ],
    &["ip", "address", "add", "198.51.100.1/24", "dev", "cable"],
    &["ip", "link", "set", "cable", "up"],
    &[
        "ip",
        "-n",
        "client",
        "address",
        "add",
        "198.51.100.2/24",
        "dev",
        "cable",
    ],
    &["ip", "-n", "client", "link", "set", "cable", "up"],
    &[
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-f",
        "/root/.ssh/id_ed25519",
    ],
];

/// Makes a client that gets into the host by SSH.
fn connect(host: &Host) {
    host.put(
        "/root/.ssh/config",
        "StrictHostKeyChecking no\nLogLevel ERROR\n",
    );
    host.must(&["chmod", "-R", "go=", "/root/.ssh"]);
    for argv in CABLE {
        host.must(argv);
    }
    host.must(&[
        "cp",
        "/root/.ssh/id_ed25519.pub",
        "/root/.ssh/authorized_keys",
    ]);
    host.must(&["systemctl", "start", "ssh.service"]);
    assert_eq!(ssh(host, "echo in").out, "in\n");
}

/// Runs a command over SSH, as the client.
fn ssh(host: &Host, command: &str) -> Said {
    host.run(&[
        "ip",
        "netns",
        "exec",
        "client",
        "ssh",
        "root@198.51.100.1",
        command,
    ])
}

/// Returns how a run ended, as the history tells it.
fn exit_of_newest(host: &Host) -> String {
    let json = host.must(&["stead", "history", "--json"]).out;
    let exit = json.rsplit("\"exit\": ").next().unwrap();
    exit.split(['\n', ' ']).next().unwrap().to_owned()
}

#[test]
fn whoever_cuts_their_own_session_gets_back_in() {
    let host = Host::boot(Image::Debian13);
    connect(&host);
    let start = host.fingerprint();
    let policy =
        "iptables-policy \"filter/INPUT\" \"DROP\" backend=\"nft\" family=\"ipv4\" persist=#false";
    host.put("/root/cut.kdl", &format!("host \"h\" {{ {policy}; }}\n"));

    let begin = Instant::now();
    let said = ssh(&host, "stead apply --yes /root/cut.kdl");
    assert_eq!(said.code, Some(7), "{said:?} {:?}", begin.elapsed());
    assert!(said.err.contains("You came over SSH"), "{said:?}");
    assert_eq!(exit_of_newest(&host), "7");
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);
}
