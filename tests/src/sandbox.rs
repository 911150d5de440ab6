//! Sandboxes for tests on this kernel: mount, network and UTS namespaces of their own with a private /etc, /run and /var/lib,
//! so that nothing of the machine is touched.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    fingerprint::{self, Fingerprint},
    test_env::{TestEnv, program, run_local_ok},
};

/// A sandbox; it goes when this goes.
#[derive(Debug)]
pub struct Sandbox {
    holder: Child,
    dir: tempfile::TempDir,
}

/// Rules of others that stand in every sandbox.
const FOREIGN_RULES: [&[&str]; 6] = [
    &[
        "iptables-nft",
        "-A",
        "FORWARD",
        "-s",
        "192.0.2.1",
        "-j",
        "ACCEPT",
    ],
    &[
        "iptables-nft",
        "-A",
        "FORWARD",
        "-s",
        "192.0.2.2",
        "-m",
        "comment",
        "--comment",
        "other's",
        "-j",
        "DROP",
    ],
    &[
        "iptables-nft",
        "-t",
        "nat",
        "-A",
        "POSTROUTING",
        "-s",
        "192.0.2.0/24",
        "-j",
        "MASQUERADE",
    ],
    &[
        "iptables-legacy",
        "-A",
        "INPUT",
        "-s",
        "192.0.2.3",
        "-j",
        "ACCEPT",
    ],
    &[
        "ip6tables-nft",
        "-A",
        "INPUT",
        "-s",
        "2001:db8::1",
        "-j",
        "ACCEPT",
    ],
    &[
        "ip6tables-legacy",
        "-A",
        "OUTPUT",
        "-d",
        "2001:db8::2",
        "-j",
        "ACCEPT",
    ],
];

/// What a sandbox has of the machine's /etc: what the programs that run in it read.
const ETC_ENTRIES: [&str; 20] = [
    "alternatives",
    "ethertypes",
    "group",
    "hostname",
    "hosts",
    "iproute2",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "modprobe.d",
    "modules",
    "modules-load.d",
    "nsswitch.conf",
    "passwd",
    "protocols",
    "services",
    "sysctl.conf",
    "sysctl.d",
    "systemd",
    "xtables.conf",
];

/// Modules that the kernel of a sandbox has.
const MODULES: [&str; 3] = ["br_netfilter", "overlay", "dummy"];

impl Sandbox {
    /// Makes a sandbox with rules of others in it.
    ///
    /// # Panics
    /// If the machine lets nobody make namespaces: these tests need root.
    pub fn new() -> Self {
        let sandbox = Self::bare();
        for rule in FOREIGN_RULES {
            sandbox.run_ok(rule);
        }
        sandbox
    }

    /// Makes a sandbox whose kernel has no tables of iptables yet.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn bare() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let holder = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--uts",
                "--propagation",
                "private",
                "sleep",
                "infinity",
            ])
            .stdin(Stdio::null())
            .spawn()
            .expect("util-linux is installed: `make test` does it");
        let sandbox = Self {
            holder,
            dir: directory,
        };
        sandbox.wait_for_namespaces();
        sandbox.set_up();
        sandbox
    }

    fn wait_for_namespaces(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        while namespace(&self.holder.id().to_string()) == namespace("self") {
            assert!(
                Instant::now() < deadline,
                "no namespaces: these tests need root"
            );
            sleep(Duration::from_millis(2));
        }
    }

    fn set_up(&self) {
        let etc = self.dir.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let there = ETC_ENTRIES.map(|name| Path::new("/etc").join(name));
        let there = there.iter().filter(|path| path.exists());
        run_local_ok(Command::new("cp").arg("-a").args(there).arg(&etc));
        for (name, at) in [
            ("etc", "/etc"),
            ("run", "/run"),
            ("lib", "/var/lib"),
            ("srv", "/srv"),
        ] {
            let place = self.dir.path().join(name);
            fs::create_dir_all(&place).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
            self.bind(&place, Path::new(at));
        }
        self.build_in_modules();
        self.run_ok(&["ip", "link", "set", "lo", "up"]);
    }

    /// Nothing of a kernel's modules belongs to a namespace, so in a sandbox they are all built in: none is ever loaded.
    fn build_in_modules(&self) {
        let kernel = nix::sys::utsname::uname().unwrap();
        let modules = self.dir.path().join("modules");
        let tree = modules.join(kernel.release());
        fs::create_dir_all(&tree).unwrap();
        let built_in = MODULES.map(|name| format!("kernel/{name}.ko\n")).concat();
        fs::write(tree.join("modules.builtin"), built_in).unwrap();
        fs::write(tree.join("modules.dep"), "").unwrap();
        let place = fs::canonicalize("/lib").unwrap().join("modules");
        self.run_ok(&["mkdir", "-p", place.to_str().unwrap()]);
        self.bind(&modules, &place);
    }

    fn bind(&self, from: &Path, to: &Path) {
        let argv = [
            "mount",
            "--bind",
            from.to_str().unwrap(),
            to.to_str().unwrap(),
        ];
        self.run_ok(&argv);
    }

    /// Looks at everything that stead may manage in the sandbox. Not at its own run directory.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut found = Fingerprint::new();
        for directory in ["/etc", "/srv"] {
            fingerprint::add_files(self, directory, &mut found);
        }
        let settings = r"^net\.ipv4\.(ip_forward$|conf\.|tcp_[a-z]*$)";
        fingerprint::add_sysctls(self, settings, &mut found);
        fingerprint::add_rules(self, &mut found);
        found
    }
}

impl TestEnv for Sandbox {
    fn command(&self, argv: &[&str]) -> Command {
        let pid = self.holder.id().to_string();
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target", &pid, "--mount", "--net", "--uts", "--wdns=/", "--",
            ])
            .args(argv);
        command
            .env_remove("STEAD_STATE_DIR")
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C");
        command
    }

    fn outside_path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder.id()))
    }

    fn stead_path(&self) -> String {
        program("stead").to_str().unwrap().to_owned()
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
