//! Where tests of stead run, and what stands there, looked at independently of the engine: sandboxes on this kernel, and booted hosts.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests look at the host with their own eyes and stop at the first surprise"
)]

pub mod archive;
mod doctor;
pub mod document;
pub mod drift;
mod fake_snapd;
mod fingerprint;
mod host;
pub mod host_benchmark;
mod image;
pub mod load;
mod name_server;
pub mod peers;
pub mod proxy_benchmark;
mod sandbox;
pub mod speed_benchmark;
pub mod standin;
mod store;
mod terminal;
mod test_env;
mod wait;
pub mod walk;
pub mod watch_benchmark;
pub mod workload;

pub use fake_snapd::{FakeSnapd, Offer, SnapdFault, SnapdState};
pub use fingerprint::{Fingerprint, difference};
pub use host::Host;
pub use image::Image;
pub use sandbox::Sandbox;
pub use terminal::Terminal;
pub use test_env::{CommandOutput, TestEnv, program};
pub use wait::{wait_for, wait_until};

/// Changes of every kind: eight to create (one of them a hook that the rules bring), six to change, one to remove.
pub const SPEC: &str = r#"host "test" {
    kernel-module "dummy"
    sysctl "net.ipv4.ip_forward" "1"
    sysctl "net.ipv4.conf.all.rp_filter" "2"
    iptables-policy "filter/FORWARD" "DROP"
    iptables-chain "filter/MINE"
    iptables-rule "in" chain="FORWARD" position="first" { match "-s 10.1.0.0/16"; jump "MINE"; }
    iptables-rule "mine" chain="MINE" { match "-p tcp --dport 443"; jump "ACCEPT"; }
    iptables-rule "six" chain="OUTPUT" family="ipv6" { match "-d 2001:db8::/32"; jump "REJECT"; }
    directory "/srv/app" mode="0750"
    file "/srv/app/text" mode="0600" { content "new\n"; }
    file "/srv/old" mode="0640" { content "changed\n"; }
    symlink "/srv/link" target="app/text"
    secret-file "/srv/secret" (secret)"file:/etc/stead/secret"
    file "/srv/gone" absent=#true
}
"#;

/// Makes a sandbox with [`SPEC`] in /run/host.kdl, and what it changes and removes.
pub fn sandbox_with_spec() -> Sandbox {
    let sandbox = Sandbox::new();
    create_spec_files(&sandbox);
    sandbox.put("/run/host.kdl", SPEC);
    sandbox
}

/// Puts there what [`SPEC`] changes, removes and reads.
pub fn create_spec_files(place: &impl TestEnv) {
    place.put("/srv/old", "old\n");
    place.put("/srv/gone", "still here\n");
    place.put("/srv/secret", "an older secret");
    place.put("/etc/stead/secret", "a secret");
    place.run_ok(&["chmod", "600", "/etc/stead/secret"]);
}
