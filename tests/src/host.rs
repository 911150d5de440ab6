//! Test hosts: Debian booted by systemd over a copy-on-write layer, in namespaces of its own, thrown away afterwards.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    fcntl::Flock,
    sys::{
        statfs::{TMPFS_MAGIC, statfs},
        statvfs::statvfs,
    },
};

use crate::{
    fingerprint::{self, Fingerprint, difference},
    image::{IfLocked, Image, cache_dir, lock_file},
    test_env::{CommandOutput, TestEnv, program, run_local_ok},
};

/// A booted host; it goes when this goes.
#[derive(Debug)]
pub struct Host {
    layers: Vec<PathBuf>,
    dir: PathBuf,
    cgroup: PathBuf,
    holder: Child,
    /// Its systemd, as seen from outside.
    pid: u32,
    /// Held as long as the directory is in use; what a killed test left is removed by the next.
    _lock: Flock<File>,
}

/// How long a host may take to come up.
const BOOT_TIMEOUT: Duration = Duration::from_mins(2);
/// How long the rest of a host may take to go after it was killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a hook may hold the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// How large a disk may grow. It is sparse.
const DISK_BYTES: u64 = 8 << 30;
/// How much room the disks of several hosts take together.
const MEMORY_BYTES: u64 = 4 << 30;

static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

impl Host {
    /// Boots a host.
    ///
    /// # Panics
    /// If it does not come up, with what its console said.
    pub fn boot(image: Image) -> Self {
        let layers = image.layers();
        Self::boot_layers(layers, Some(&image.disk()))
    }

    /// Says what this machine lacks to boot hosts.
    pub fn check_machine() -> Result<(), String> {
        let file_systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let has = |path: &str| Path::new(path).exists();
        let lacks = [
            (nix::unistd::geteuid().is_root(), "root"),
            (
                file_systems.contains("\toverlay\n"),
                "overlayfs in the kernel",
            ),
            (file_systems.contains("\text4\n"), "ext4 in the kernel"),
            (
                file_systems.contains("\tcgroup2\n") && !find_cgroups("cgroup2").is_empty(),
                "cgroup v2, mounted",
            ),
            (has("/dev/loop-control"), "/dev/loop-control"),
            (has("/dev/fuse"), "/dev/fuse"),
        ];
        let lacks: Vec<&str> = lacks
            .into_iter()
            .filter_map(|(there, name)| (!there).then_some(name))
            .collect();
        if lacks.is_empty() {
            Ok(())
        } else {
            Err(format!("it lacks {}", lacks.join(", ")))
        }
    }

    /// Boots a host over layers, topmost first, with a copy of a disk.
    pub(crate) fn boot_layers(layers: Vec<PathBuf>, disk: Option<&Path>) -> Self {
        let hosts = disks_dir().join("hosts");
        fs::create_dir_all(&hosts).unwrap();
        let one_at_a_time = lock_file(&hosts.join("lock"), IfLocked::Wait);
        remove_abandoned(&hosts);
        let name = format!(
            "stead-{}-{}",
            std::process::id(),
            NEXT_NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let directory = hosts.join(&name);
        fs::create_dir(&directory).unwrap();
        let claim =
            lock_file(&directory.join("claim"), IfLocked::Skip).expect("the directory is new");
        drop(one_at_a_time);
        let image = directory.join("disk.img");
        match disk {
            Some(disk) => copy_sparse(disk, &image),
            None => make_disk(&image),
        }
        let cgroup = cgroups().join(&name);
        let holder = spawn_holder(&layers, &directory, &cgroup);
        let mut host = Self {
            layers,
            dir: directory,
            cgroup,
            holder,
            pid: 0,
            _lock: claim,
        };
        host.wait_until_up(0);
        host
    }

    /// Waits for the systemd that is not `before`, and until it has started everything.
    fn wait_until_up(&mut self, before: u32) {
        let deadline = Instant::now() + BOOT_TIMEOUT;
        loop {
            if let Some(pid) = self.find_systemd().filter(|pid| *pid != before) {
                self.pid = pid;
                let state = self.run(&["systemctl", "is-system-running", "--wait"]);
                match state.out.trim() {
                    "running" => break,
                    "degraded" => panic!("{}", self.run_ok(&["systemctl", "--failed"]).out),
                    _ => {}
                }
            }
            if let Some(status) = self.holder.try_wait().unwrap() {
                panic!("the host ended ({status}): {}", self.console());
            }
            assert!(
                Instant::now() < deadline,
                "not up after {BOOT_TIMEOUT:?}: {}",
                self.console()
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// The holder's child is the script, its child is nspawn, and the child of that is systemd.
    fn find_systemd(&self) -> Option<u32> {
        let script = *child_pids(self.holder.id()).first()?;
        let nspawn = *child_pids(script).first()?;
        child_pids(nspawn).into_iter().find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "systemd\n")
        })
    }

    /// Reboots, and waits until it is up again.
    pub fn reboot(&mut self) {
        let asked = self.dir.join("rebooting");
        File::create(&asked).unwrap();
        self.run(&["systemctl", "reboot"]);
        self.wait_until_up(self.pid);
        fs::remove_file(&asked).unwrap();
    }

    /// Cuts the power, and boots what was on the disk at that instant. What was not synced is lost.
    pub fn power_cut(&mut self) {
        self.freeze();
        let disk = self.dir.join("disk.img");
        let kept = self.dir.join("disk.cut");
        copy_sparse(&disk, &kept);
        self.stop();
        fs::rename(&kept, &disk).unwrap();
        self.holder = spawn_holder(&self.layers, &self.dir, &self.cgroup);
        self.wait_until_up(0);
    }

    /// Stops all processes of the host where they are, so that none of them writes while the disk is copied.
    fn freeze(&self) {
        fs::write(self.cgroup.join("cgroup.freeze"), "1").unwrap();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !fs::read_to_string(self.cgroup.join("cgroup.events"))
            .unwrap()
            .contains("frozen 1")
        {
            assert!(Instant::now() < deadline, "the host does not freeze");
            sleep(Duration::from_millis(5));
        }
    }

    /// Shuts down in order and returns the path of its disk, which lasts as long as this.
    pub(crate) fn power_off(&mut self) -> PathBuf {
        self.run(&["systemctl", "poweroff"]);
        self.holder.wait().unwrap();
        self.stop();
        self.dir.join("disk.img")
    }

    /// Ends all processes of the host and waits until its mounts, its loop device and its cgroup are gone.
    fn stop(&mut self) {
        drop(fs::write(self.cgroup.join("cgroup.kill"), "1"));
        drop(self.holder.kill());
        drop(self.holder.wait());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while remove_cgroups(self.cgroup.file_name().unwrap()).is_err() || self.has_loop_device() {
            assert!(Instant::now() < deadline, "the host does not go");
            sleep(Duration::from_millis(10));
        }
    }

    fn has_loop_device(&self) -> bool {
        let disk = self.dir.join("disk.img");
        fs::read_dir("/sys/block").unwrap().any(|device| {
            let backing = device.unwrap().path().join("loop/backing_file");
            fs::read_to_string(backing).is_ok_and(|path| Path::new(path.trim_end()) == disk)
        })
    }

    /// Returns what the host said while it booted.
    pub fn console(&self) -> String {
        fs::read_to_string(self.dir.join("console")).unwrap_or_default()
    }

    /// Looks at everything that stead may manage on the host.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut found = Fingerprint::new();
        for directory in ["/etc", "/srv", "/var/snap/microk8s/current/args"] {
            fingerprint::add_files(self, directory, &mut found);
        }
        fingerprint::add_sysctls(self, r"^(net|vm|fs\.inotify)\.", &mut found);
        // Not a setting: how many connections the kernel follows just now.
        found.remove("sysctl net.netfilter.nf_conntrack_count");
        fingerprint::add_rules(self, &mut found);
        // Where nobody listens, the program waits for two minutes.
        let socket = ["systemctl", "is-active", "--quiet", "snapd.socket"];
        if self.run(&socket).code == Some(0) {
            fingerprint::add_lines(self, "snap", &["snap", "list", "--all"], &mut found);
        }
        let units = [
            "systemctl",
            "list-unit-files",
            "--no-legend",
            "--state=enabled",
        ];
        fingerprint::add_lines(self, "enabled", &units, &mut found);
        let units = [
            "systemctl",
            "list-units",
            "--no-legend",
            "--plain",
            "--state=active",
            "--type=service,socket,timer,mount",
        ];
        fingerprint::add_lines(self, "active", &units, &mut found);
        // snapd asks for the time zone, and whoever answers goes after half a minute.
        found.remove("active systemd-timedated.service");
        // snapd mounts a test image for a moment when it starts (sanity checks of `osutil/squashfs`).
        found.retain(|unit, _| !unit.starts_with("active tmp-syscheck"));
        found
    }
}

impl Host {
    /// Copies a file or a directory to the same place on another host.
    ///
    /// # Panics
    /// If that fails.
    pub fn copy_to(&self, path: &str, other: &Self) {
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--no-target-directory"]);
        run_local_ok(copy.args([self.outside_path(path), other.outside_path(path)]));
    }

    /// Waits until nothing moves any more, such as the rules of a kube-proxy that has just started, and looks.
    ///
    /// # Panics
    /// If it goes on moving.
    pub fn settled_fingerprint(&self) -> Fingerprint {
        let mut last = self.fingerprint();
        for _ in 0..30 {
            sleep(Duration::from_secs(1));
            let now = self.fingerprint();
            if difference(&last, &now).is_empty() {
                return now;
            }
            last = now;
        }
        panic!("the host does not come to rest");
    }
}

impl TestEnv for Host {
    /// In a cgroup of the host, so that the programs that ask for theirs are answered.
    fn command(&self, argv: &[&str]) -> Command {
        let own = fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default();
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 >\"$0\" && exec \"$@\""])
            .arg(cgroups().join(own).join("cgroup.procs"))
            .args(["nsenter", "--all", "--wdns=/root", "--target"])
            .arg(self.pid.to_string())
            .args(["--", "env", "-i"])
            .args([
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/snap/bin",
                "HOME=/root",
                "USER=root",
                "LC_ALL=C.UTF-8",
                "NO_COLOR=1",
                "SNAP_REEXEC=0",
            ])
            .args(argv);
        command
    }

    fn outside_path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    fn stead_path(&self) -> String {
        "/usr/local/bin/stead".to_owned()
    }

    /// A hook may be looking just now: then it is tried again.
    fn stead_exits(&self, arguments: &[&str], code: i32) -> CommandOutput {
        let begin = Instant::now();
        let mut said = self.stead(arguments);
        while said.code == Some(6) && begin.elapsed() < LOCK_TIMEOUT {
            sleep(Duration::from_millis(100));
            said = self.stead(arguments);
        }
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        said
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// Starts what holds a host: it dies with the thread that called, and everything of the host dies with it.
fn spawn_holder(layers: &[PathBuf], directory: &Path, cgroup: &Path) -> Child {
    fs::create_dir(cgroup).unwrap();
    let lower: Vec<&str> = layers.iter().map(|layer| layer.to_str().unwrap()).collect();
    let console = File::create(directory.join("console")).unwrap();
    let mut stead = program("stead").into_os_string();
    stead.push(":/usr/local/bin/stead");
    Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
        ])
        .args(["--kill-child", "--propagation", "private"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("images/boot"))
        .arg(directory)
        .arg(lower.join(":"))
        .arg(cgroup)
        .arg("host")
        .arg("--bind-ro")
        .arg(stead)
        .stdin(Stdio::null())
        .stdout(console.try_clone().unwrap())
        .stderr(console)
        .spawn()
        .expect("util-linux is installed: `make test` does it")
}

/// Where the disks of hosts are: in memory if there is enough of it. A sync of a host then waits for no sync of this machine, and what is
/// not synced is lost with the power all the same.
fn disks_dir() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let has_room = statvfs(memory)
        .is_ok_and(|memory| memory.blocks_available() * memory.fragment_size() >= MEMORY_BYTES);
    let is_memory = statfs(memory).is_ok_and(|memory| memory.filesystem_type() == TMPFS_MAGIC);
    if is_memory && has_room {
        memory.join("stead-tests")
    } else {
        cache_dir()
    }
}

fn make_disk(image: &Path) {
    File::create_new(image)
        .unwrap()
        .set_len(DISK_BYTES)
        .unwrap();
    run_local_ok(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image));
}

pub(crate) fn copy_sparse(from: &Path, to: &Path) {
    run_local_ok(
        Command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .args([from, to]),
    );
}

fn child_pids(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// Where the second version of cgroups is mounted on this machine.
fn cgroups() -> PathBuf {
    find_cgroups("cgroup2").pop().expect("cgroup v2 is mounted")
}

/// Where cgroups of a version are mounted on this machine.
fn find_cgroups(version: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == version).then(|| PathBuf::from(place))
    });
    places.collect()
}

/// Removes the cgroups of a host in all hierarchies: systemd-nspawn makes one in that of the first version too.
fn remove_cgroups(name: &OsStr) -> std::io::Result<()> {
    let mut hierarchies = find_cgroups("cgroup2");
    hierarchies.extend(find_cgroups("cgroup"));
    hierarchies
        .iter()
        .try_for_each(|hierarchy| remove_cgroup(&hierarchy.join(name)))
}

/// Removes a cgroup and those in it. Fails as long as a process is in one of them.
fn remove_cgroup(cgroup: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

/// Removes what tests that were killed left: nobody holds the claim to their directories any more.
fn remove_abandoned(hosts: &Path) {
    for directory in fs::read_dir(hosts).unwrap() {
        let directory = directory.unwrap().path();
        if !directory.is_dir() || lock_file(&directory.join("claim"), IfLocked::Skip).is_none() {
            continue;
        }
        let name = directory.file_name().unwrap();
        drop(remove_cgroups(name));
        drop(fs::remove_dir_all(&directory));
    }
}
