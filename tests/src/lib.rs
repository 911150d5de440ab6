//! Sandboxes for tests on this kernel: mount, network and UTS namespaces of their own with a private /etc, /run and /var/lib,
//! so that nothing of the machine is touched. What stands in them is looked at independently of the engine.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests look at the host with their own eyes and stop at the first surprise"
)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A sandbox; it goes when this goes.
#[derive(Debug)]
pub struct Sandbox {
    holder: Child,
    folder: tempfile::TempDir,
}

/// What a program in a sandbox said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// What a sandbox looks like from outside: files, sysctls and rules of all back ends and families.
pub type Fingerprint = BTreeMap<String, String>;

/// Rules of others that stand in every sandbox.
const FOREIGN: [&[&str]; 6] = [
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

/// Modules that the kernel of a sandbox has.
const MODULES: [&str; 3] = ["br_netfilter", "overlay", "dummy"];

impl Sandbox {
    /// Makes a sandbox with rules of others in it.
    ///
    /// # Panics
    /// If the machine lets nobody make namespaces: these tests need root.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
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
        let sandbox = Self { holder, folder };
        sandbox.wait_for_namespaces();
        sandbox.furnish();
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

    fn furnish(&self) {
        let etc = self.folder.path().join("etc");
        succeed(Command::new("cp").args(["-a", "/etc"]).arg(&etc));
        for (name, at) in [
            ("etc", "/etc"),
            ("run", "/run"),
            ("lib", "/var/lib"),
            ("srv", "/srv"),
        ] {
            let place = self.folder.path().join(name);
            fs::create_dir_all(&place).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
            self.bind(&place, Path::new(at));
        }
        self.build_in_modules();
        self.must(&["ip", "link", "set", "lo", "up"]);
        for rule in FOREIGN {
            self.must(rule);
        }
    }

    /// Nothing of a kernel's modules belongs to a namespace, so in a sandbox they are all built in: none is ever loaded.
    fn build_in_modules(&self) {
        let kernel = nix::sys::utsname::uname().unwrap();
        let modules = self.folder.path().join("modules");
        let tree = modules.join(kernel.release());
        fs::create_dir_all(&tree).unwrap();
        let built_in = MODULES.map(|name| format!("kernel/{name}.ko\n")).concat();
        fs::write(tree.join("modules.builtin"), built_in).unwrap();
        fs::write(tree.join("modules.dep"), "").unwrap();
        let place = fs::canonicalize("/lib").unwrap().join("modules");
        self.must(&["mkdir", "-p", place.to_str().unwrap()]);
        self.bind(&modules, &place);
    }

    fn bind(&self, from: &Path, to: &Path) {
        let argv = [
            "mount",
            "--bind",
            from.to_str().unwrap(),
            to.to_str().unwrap(),
        ];
        self.must(&argv);
    }

    /// Runs a program in the sandbox.
    pub fn run(&self, argv: &[&str]) -> Said {
        self.command(argv)
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .into()
    }

    /// Makes a command that runs in the sandbox.
    pub fn command(&self, argv: &[&str]) -> Command {
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

    /// Runs a program that must succeed.
    pub fn must(&self, argv: &[&str]) -> Said {
        let said = self.run(argv);
        assert_eq!(said.code, Some(0), "{argv:?}: {said:?}");
        said
    }

    /// Runs stead in the sandbox.
    pub fn stead(&self, arguments: &[&str]) -> Said {
        let stead = program("stead");
        let argv: Vec<&str> = [stead.to_str().unwrap()]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        self.run(&argv)
    }

    /// Runs stead under strace with one `inject` expression, on all files or only on `paths`; the trace goes to /run/trace.
    pub fn stead_injected(
        &self,
        calls: &str,
        injection: &str,
        paths: &[String],
        arguments: &[&str],
    ) -> Said {
        let stead = program("stead");
        let trace = format!("trace={calls}");
        let inject = format!("inject={calls}:{injection}");
        let mut argv = vec![
            "strace",
            "-f",
            "-q",
            "-o",
            "/run/trace",
            "-e",
            &trace,
            "-e",
            &inject,
        ];
        argv.extend(paths.iter().flat_map(|path| ["-P", path]));
        argv.extend(["--", stead.to_str().unwrap()]);
        argv.extend(arguments);
        self.run(&argv)
    }

    /// Returns where a path of the sandbox is for whoever is outside.
    pub fn at(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder.id()))
    }

    /// Writes a file of the sandbox.
    pub fn put(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file of the sandbox.
    pub fn get(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at(path)).ok()
    }

    /// Looks at everything that stead may manage in the sandbox. Not at its own run folder.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut found = Fingerprint::new();
        for folder in ["/etc", "/srv"] {
            self.walk(Path::new(folder), &mut found);
        }
        let settings = self.must(&[
            "sysctl",
            "-a",
            "--pattern",
            r"^net\.ipv4\.(ip_forward$|conf\.|tcp_[a-z]*$)",
        ]);
        for (key, value) in settings
            .out
            .lines()
            .filter_map(|line| line.split_once(" = "))
        {
            found.insert(format!("sysctl {key}"), value.to_owned());
        }
        for program in [
            "iptables-nft-save",
            "iptables-legacy-save",
            "ip6tables-nft-save",
            "ip6tables-legacy-save",
        ] {
            for (table, text) in tables(&self.must(&[program]).out) {
                found.insert(format!("{program} {table}"), text);
            }
        }
        found
    }

    fn walk(&self, path: &Path, found: &mut Fingerprint) {
        let real = self.at(path.to_str().unwrap());
        let meta = fs::symlink_metadata(&real).unwrap();
        let content = if meta.is_symlink() {
            format!("-> {}", fs::read_link(&real).unwrap().display())
        } else if meta.is_file() {
            String::from_utf8_lossy(&fs::read(&real).unwrap()).into_owned()
        } else {
            String::new()
        };
        let line = format!("{:o} {}:{} {content}", meta.mode(), meta.uid(), meta.gid());
        found.insert(path.display().to_string(), line);
        if meta.is_dir() {
            for entry in fs::read_dir(&real).unwrap() {
                self.walk(&path.join(entry.unwrap().file_name()), found);
            }
        }
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

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Changes of every kind: seven to create, five to change, one to remove.
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
    file "/srv/gone" absent=#true
}
"#;

/// Makes a sandbox with [`SPEC`] in /run/host.kdl, and what it changes and removes.
pub fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.put("/srv/old", "old\n");
    sandbox.put("/srv/gone", "still here\n");
    sandbox.put("/run/host.kdl", SPEC);
    sandbox
}

/// Says in which keys two fingerprints differ, with both values.
pub fn difference(one: &Fingerprint, other: &Fingerprint) -> Vec<String> {
    let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    keys.into_iter()
        .filter(|key| one.get(*key) != other.get(*key))
        .map(|key| format!("{key}: {:?} / {:?}", one.get(key), other.get(key)))
        .collect()
}

/// Splits what `iptables-save` prints into tables. A table in which nothing was ever decided is as good as none:
/// a kernel that has once had a table of the legacy back end cannot lose it again.
fn tables(text: &str) -> BTreeMap<String, String> {
    let mut tables: BTreeMap<String, String> = BTreeMap::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
        } else if line.starts_with([':', '-']) {
            let line = line.split(" [").next().unwrap_or(line);
            let text = tables.entry(table.clone()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    tables.retain(|_, text| {
        !text
            .lines()
            .all(|line| line.starts_with(':') && line.ends_with(" ACCEPT"))
    });
    tables
}

/// Returns the path of a program of this workspace, beside the test that runs.
///
/// # Panics
/// If it was not built.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join(name);
    assert!(
        path.exists(),
        "{} is not there: `cargo build --workspace` makes it",
        path.display()
    );
    path
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}
