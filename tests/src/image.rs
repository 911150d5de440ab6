//! Images of test hosts: layers of files and a disk that was booted once, built from Debian's packages and kept in a cache.

use std::{
    fs::{self, File, FileTimes},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::stat::{Mode, SFlag, mknod},
};
use sha2::{Digest, Sha256};

use crate::{
    host::{Host, copy_sparse},
    standin,
    test_env::{TestEnv, run_local_ok},
};

/// What a test host is booted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Image {
    /// Debian 13: a snapd that holds single snaps, without a store; Docker is installed and not enabled.
    #[value(name = "debian-13")]
    Debian13,
    /// Debian 12: an older snapd, built with its test keys, and its store on the host itself.
    #[value(name = "debian-12")]
    Debian12,
    /// Debian 13 with ufw, firewalld and unattended-upgrades as well, none of them enabled.
    #[value(name = "debian-13-firewalls")]
    Debian13Firewalls,
}

impl Image {
    /// Returns its name.
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.expect("no image is hidden").get_name().to_owned()
    }

    /// Builds what is missing of it in the cache.
    pub fn build(self) {
        self.layers();
        self.disk();
    }

    const fn suite(self) -> &'static str {
        match self {
            Self::Debian13 | Self::Debian13Firewalls => "trixie",
            Self::Debian12 => "bookworm",
        }
    }

    /// Returns the directories that make up its files, topmost first, after building those that are missing.
    pub(crate) fn layers(self) -> Vec<PathBuf> {
        let mut layers = vec![
            standin::microk8s_layer(),
            kubernetes_layer(),
            generator_masks(),
        ];
        layers.extend(self.disk_layers());
        layers
    }

    /// The layers that its disk is booted over: what is put into a host later may change without booting it again.
    fn disk_layers(self) -> Vec<PathBuf> {
        let mut layers = vec![files_layer("host"), standin::bases_layer()];
        if self == Self::Debian12 {
            layers.splice(0..0, [files_layer("store-host"), store_layer()]);
        }
        layers.push(self.root_dir());
        layers
    }

    /// Returns the disk of a host that was booted once, after making it if it is missing.
    pub(crate) fn disk(self) -> PathBuf {
        let layers = self.disk_layers();
        let inputs: Vec<&[u8]> = layers
            .iter()
            .map(|layer| layer.as_os_str().as_encoded_bytes())
            .collect();
        let name = format!("{}-disk", self.name());
        let dir = cache_entry(&name, &inputs, |dir| {
            let mut host = Host::boot_layers(layers.clone(), None);
            for snap in ["core22", "snapd"] {
                let file = format!("{}/{snap}.snap", standin::SNAPS_DIR);
                host.run_ok(&["snap", "install", "--dangerous", &file]);
            }
            if self != Self::Debian12 {
                // It has no store, and would wait for one when it stops.
                host.run_ok(&["snap", "set", "system", "store.access=offline"]);
            }
            copy_sparse(&host.power_off(), &dir.join("disk.img"));
        });
        dir.join("disk.img")
    }

    /// A root directory as Debian's packages make it, with what no test waits for switched off.
    fn root_dir(self) -> PathBuf {
        let packages: Vec<&str> = match self {
            Self::Debian13Firewalls => {
                let apart = |package: &&str| *package != CONFLICTS_WITH_UFW;
                let usual = PACKAGES.into_iter().filter(apart);
                usual.chain(FIREWALLS).collect()
            }
            Self::Debian13 | Self::Debian12 => PACKAGES.to_vec(),
        };
        let packages = packages.join(",");
        let unused = match self {
            Self::Debian13Firewalls => format!("{DISABLED_UNITS} {DISABLED_FIREWALL_UNITS}"),
            Self::Debian13 | Self::Debian12 => DISABLED_UNITS.to_owned(),
        };
        // As if no package had ever enabled it, so that nobody seems to have decided against it.
        let switch_off = format!(
            "chroot \"$1\" env DPKG_MAINTSCRIPT_PACKAGE=tests _DEB_SYSTEMD_HELPER_PURGE=1 sh -c 'systemctl --quiet disable {unused}; deb-systemd-helper purge {unused}'"
        );
        cache_entry(
            &format!("{}-root", self.name()),
            &[packages.as_bytes(), switch_off.as_bytes()],
            |dir| {
                let mut command = Command::new("mmdebstrap");
                command
                    .args(["--quiet", "--variant=minbase", "--format=directory"])
                    .arg("--aptopt=APT::Install-Recommends \"false\"")
                    .arg(format!("--include={packages}"))
                    .arg(format!("--customize-hook={switch_off}"))
                    .arg(self.suite())
                    .arg(dir.join("root"));
                run_local_ok(&mut command);
            },
        )
        .join("root")
    }
}

/// What is installed on every test host.
const PACKAGES: [&str; 28] = [
    "systemd",
    "systemd-sysv",
    "systemd-container",
    "dbus",
    "iptables",
    "iptables-persistent",
    "iproute2",
    "nftables",
    "kmod",
    "procps",
    "netbase",
    "e2fsprogs",
    "strace",
    "ca-certificates",
    "curl",
    "openssl",
    "openssh-server",
    "sudo",
    "git",
    "python3",
    "snapd",
    "squashfs-tools",
    "squashfuse",
    "fuse3",
    "docker.io",
    "etcd-server",
    "nginx-light",
    "less",
];

/// What is installed on a host with firewalls, and with upgrades that nobody asks for.
const FIREWALLS: [&str; 3] = ["ufw", "firewalld", "unattended-upgrades"];

/// What Debian does not install beside ufw.
const CONFLICTS_WITH_UFW: &str = "iptables-persistent";

/// Services that Debian enables. A test that wants one of them enables it.
const DISABLED_UNITS: &str = "docker.service docker.socket containerd.service etcd.service nginx.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer";

/// Those of [`FIREWALLS`].
const DISABLED_FIREWALL_UNITS: &str = "ufw.service firewalld.service unattended-upgrades.service";

/// Generators of systemd that have nothing to do on a test host. Each boot and each `daemon-reload` runs them all.
const GENERATORS: [&str; 12] = [
    "cryptsetup",
    "debug",
    "fstab",
    "gpt-auto",
    "hibernate-resume",
    "import",
    "integritysetup",
    "rc-local",
    "run",
    "system-update",
    "tpm2",
    "veritysetup",
];

/// A layer that hides [`GENERATORS`]: a character device without a number hides what is below it, by overlayfs.
fn generator_masks() -> PathBuf {
    let names = GENERATORS.map(|name| format!("systemd-{name}-generator"));
    cache_entry("no-generators", &[names.join(" ").as_bytes()], |dir| {
        let place = dir.join("usr/lib/systemd/system-generators");
        fs::create_dir_all(&place).unwrap();
        for name in &names {
            mknod(&place.join(name), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
        }
    })
}

/// The Kubernetes programs of Debian's source package.
fn kubernetes_layer() -> PathBuf {
    let packages = "ca-certificates,golang-1.19-go,golang-go,rsync,jq,make,dpkg-dev,golang-github-modern-go-reflect2-dev";
    built_layer("kubernetes", packages, "usr/lib/kubernetes/bin")
}

/// snapd with its own test keys, and the store that signs with them.
fn store_layer() -> PathBuf {
    built_layer("store", "ca-certificates,dpkg-dev", "usr/lib/snapd")
}

/// Runs the recipe of a name in a root directory of Debian 12 and returns a layer that has what it made in a directory.
fn built_layer(name: &str, packages: &str, place: &str) -> PathBuf {
    let recipe = recipes_dir().join(name);
    let text = fs::read(&recipe).unwrap();
    cache_entry(name, &[&text, packages.as_bytes()], |dir| {
        let place = dir.join(place);
        fs::create_dir_all(&place).unwrap();
        let mut command = Command::new("mmdebstrap");
        command
            .args(["--quiet", "--variant=minbase", "--format=null"])
            .arg(format!("--include={packages}"))
            .arg(format!(
                "--customize-hook=copy-in {} /root",
                recipe.display()
            ))
            .arg(format!("--customize-hook=chroot \"$1\" /root/{name}"))
            .arg(format!(
                "--customize-hook=sync-out /out {}",
                place.display()
            ))
            .args(["bookworm", "-"])
            .env("TMPDIR", dir);
        run_local_ok(&mut command);
    })
}

/// A layer with the files of a directory beside the recipes, all of them root's.
fn files_layer(name: &str) -> PathBuf {
    let source = recipes_dir().join(name);
    cache_entry(name, &[&directory_bytes(&source)], |dir| {
        fs::remove_dir(dir).unwrap();
        run_local_ok(
            Command::new("cp")
                .args(["--recursive", "--no-dereference", "--preserve=mode"])
                .args([source.as_path(), dir]),
        );
    })
}

/// The directory of the recipes.
pub(crate) fn recipes_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("images")
}

/// Names, modes and contents of all files under a directory, in a fixed order: what a digest of the directory is taken from.
pub(crate) fn directory_bytes(dir: &Path) -> Vec<u8> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let meta = fs::symlink_metadata(&path).unwrap();
        let mode = meta.permissions().mode();
        all.extend(format!("{}\0{mode:o}\0", path.file_name().unwrap().display()).bytes());
        if meta.is_dir() {
            all.extend(directory_bytes(&path));
        } else if meta.is_symlink() {
            all.extend(fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes());
        } else {
            all.extend(fs::read(&path).unwrap());
        }
        all.push(0);
    }
    all
}

/// Returns the directory of the cache: `STEAD_TEST_CACHE`, or one in the user's own.
///
/// # Panics
/// If there is neither that variable nor a home.
pub(crate) fn cache_dir() -> PathBuf {
    if let Some(cache) = std::env::var_os("STEAD_TEST_CACHE") {
        return cache.into();
    }
    let home = std::env::home_dir().expect("HOME or STEAD_TEST_CACHE is set");
    home.join(".cache/stead-tests")
}

/// How long an entry that nobody used stays in the cache.
const MAX_UNUSED_AGE: Duration = Duration::from_hours(14 * 24);

/// Returns the entry of the cache that was built from these inputs, after building it if it is missing.
pub(crate) fn cache_entry(name: &str, inputs: &[&[u8]], build: impl FnOnce(&Path)) -> PathBuf {
    let mut digest = Sha256::new();
    for input in inputs {
        digest.update((input.len() as u64).to_le_bytes());
        digest.update(input);
    }
    let digest = hex::encode(&digest.finalize()[..8]);
    let entries = cache_dir().join("images");
    fs::create_dir_all(&entries).unwrap();
    let dir = entries.join(format!("{name}-{digest}"));
    let _claim = lock_file(&entries.join(format!("{name}.lock")), IfLocked::Wait);
    if !dir.exists() {
        print_progress(&format!("building {name} (kept in {})", dir.display()));
        let partial = entries.join(format!("{name}.partial"));
        drop(fs::remove_dir_all(&partial));
        fs::create_dir(&partial).unwrap();
        build(&partial);
        fs::rename(&partial, &dir).unwrap();
        remove_unused(&entries, name);
    }
    let now = FileTimes::new().set_modified(SystemTime::now());
    File::open(&dir).unwrap().set_times(now).unwrap();
    dir
}

fn remove_unused(entries: &Path, name: &str) {
    for entry in fs::read_dir(entries).unwrap() {
        let entry = entry.unwrap();
        let used = entry.metadata().unwrap().modified().unwrap();
        let file_name = entry.file_name();
        let digest = file_name
            .to_str()
            .and_then(|file_name| file_name.strip_prefix(name)?.strip_prefix('-'));
        if digest.is_some_and(|digest| digest.len() == 16)
            && used.elapsed().is_ok_and(|age| age > MAX_UNUSED_AGE)
        {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "minutes pass, and someone waits for them"
)]
fn print_progress(text: &str) {
    eprintln!("test hosts: {text}");
}

/// Whether to wait for a claim of someone else to end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IfLocked {
    Wait,
    Skip,
}

/// Claims a file for this process alone; it ends when the process does. Returns `None` if someone else has it.
pub(crate) fn lock_file(path: &Path, wait: IfLocked) -> Option<Flock<File>> {
    let file = File::create(path).unwrap();
    let how = match wait {
        IfLocked::Wait => FlockArg::LockExclusive,
        IfLocked::Skip => FlockArg::LockExclusiveNonblock,
    };
    Flock::lock(file, how).ok()
}
