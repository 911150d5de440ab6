//! The clone as a running machine.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use stead_engine::rehearsal::difference::Snapshot;

use crate::clone::{
    diff::changed_files,
    enter::CloneEntry,
    error::{CloneError, find_program, refused, require_program},
    host_state::OverlayDirs,
    namespaces,
    overlay::{self, CloneTree},
};

/// How long the clone may take to come up.
const BOOT_TIMEOUT: Duration = Duration::from_mins(3);
/// How long after that its services may take to start.
const SERVICES_TIMEOUT: Duration = Duration::from_mins(3);
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

/// How often it is looked.
const POLL_INTERVAL: Duration = Duration::from_millis(30);
/// How much of the console goes into an error, in bytes.
const CONSOLE_TAIL: usize = 2000;
/// Directories of which the init of the clone has its own: what lies there on the host is shown to it one by one.
const INIT_DIRS: [&str; 2] = ["/tmp", "/dev"];

/// A clone of this host.
#[derive(Debug)]
pub struct HostClone {
    dir: PathBuf,
    tree: CloneTree,
    /// What its init shows, with where.
    binds: Vec<(PathBuf, PathBuf)>,
    has_init: bool,
    container: Child,
    init: u32,
}

impl HostClone {
    /// Makes a clone and boots it. Layers are kept in memory, or in `layers`. `paths` are files and directories that it must see although
    /// its init has a directory of its own there. From then on this process sees nothing of /run any more: that is where the clone is
    /// mounted, and where systemd-nspawn leaves traces.
    ///
    /// # Errors
    /// If something that it needs is not here, or it does not come up.
    pub fn boot(layers: Option<&OverlayDirs>, paths: &[&Path]) -> Result<Self, CloneError> {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            overlay::mount_tmpfs(Path::new("/run"))?;
        }
        let directory = &Path::new("/run").join(format!("clone-{number}"));
        fs::create_dir(directory).map_err(refused("create a directory for the clone"))?;
        let mounted = overlay::read_mounts()?;
        match layers {
            None => overlay::mount_tmpfs(directory)?,
            Some(layers) => {
                let own = layers.path().join(number.to_string());
                fs::create_dir(&own).map_err(refused("create a directory for the overlay"))?;
                overlay::bind_mount(&own, directory)?;
            }
        }
        let mut tree = CloneTree::create(directory, &mounted)?;
        renew_identity(&tree)?;
        let is_hidden = |path: &&&Path| INIT_DIRS.iter().any(|own| path.starts_with(own));
        let mut binds = vec![];
        for path in paths.iter().filter(is_hidden) {
            binds.push(if path.is_dir() {
                (tree.layer_for_bind(directory, path)?, path.to_path_buf())
            } else {
                (path.to_path_buf(), path.to_path_buf())
            });
        }
        let has_init = match boot_blocker() {
            None => true,
            Some((why, help)) => {
                tree.differences.push(format!(
                    "it has no init, because {why}: services do not run in it ({help})"
                ));
                false
            }
        };
        let container = if has_init {
            start_nspawn(directory, &tree, &binds)?
        } else {
            namespaces::start_namespaces(&tree.root, &binds)?
        };
        let mut clone = Self {
            has_init,
            dir: directory.to_owned(),
            tree,
            binds,
            container,
            init: 0,
        };
        clone.wait_until_up(0)?;
        Ok(clone)
    }

    /// Says in what it differs from the host.
    pub fn differences(&self) -> &[String] {
        &self.tree.differences
    }

    /// Reboots it, and waits until it is up again.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn reboot(&mut self) -> Result<(), CloneError> {
        let before = self.init;
        // Whoever is asked to reboot may be gone before it has answered.
        drop(self.command(&["systemctl", "reboot"])?.output());
        self.wait_until_up(before)
    }

    /// Waits for an init that is not `before`, and until it has started everything.
    fn wait_until_up(&mut self, before: u32) -> Result<(), CloneError> {
        let begin = Instant::now();
        loop {
            if let Some(init) = self.find_init().filter(|init| *init != before) {
                self.init = init;
                break;
            }
            let ended = self
                .container
                .try_wait()
                .map_err(refused("wait for the clone"))?;
            if ended.is_some() && before == 0 {
                return Err(self.down_error("did not start"));
            }
            if ended.is_some() {
                // systemd-nspawn sometimes ends where it should boot again.
                self.container = start_nspawn(&self.dir, &self.tree, &self.binds)?;
            }
            if begin.elapsed() > BOOT_TIMEOUT {
                return Err(self.down_error("did not come up"));
            }
            sleep(POLL_INTERVAL);
        }
        if !self.has_init {
            return Ok(());
        }
        let begin = Instant::now();
        loop {
            let said = self.command(&["systemctl", "is-system-running"])?.output();
            let said = said.map_err(refused("ask the clone whether it is up"))?;
            match String::from_utf8_lossy(&said.stdout).trim() {
                "running" | "degraded" | "maintenance" => return Ok(()),
                _ if begin.elapsed() > SERVICES_TIMEOUT => {
                    return Err(self.down_error("did not start its services"));
                }
                _ => {}
            }
            if self.find_init() != Some(self.init) {
                return Err(self.down_error("ended while it started"));
            }
            sleep(POLL_INTERVAL);
        }
    }

    /// The init is the child of systemd-nspawn; before that a helper of it is.
    fn find_init(&self) -> Option<u32> {
        let container = self.container.id();
        let children = fs::read_to_string(format!("/proc/{container}/task/{container}/children"));
        let children = children.ok()?;
        let mut children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        children.find(|pid: &u32| {
            let is_systemd = || {
                fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|comm| comm == "systemd\n")
            };
            if self.has_init {
                is_systemd()
            } else {
                namespaces::is_ready(*pid)
            }
        })
    }

    fn down_error(&self, what: &str) -> CloneError {
        let console = fs::read(self.dir.join("console")).unwrap_or_default();
        let tail = &console[console.len().saturating_sub(CONSOLE_TAIL)..];
        CloneError::Down {
            what: format!("{what}: {}", String::from_utf8_lossy(tail).trim()),
        }
    }

    /// Makes a command that runs in the clone.
    ///
    /// # Errors
    /// If the way in cannot be found.
    pub fn command<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<Command, CloneError> {
        let entry = CloneEntry {
            cgroup: if self.has_init {
                cgroup_procs_file(self.init)?
            } else {
                // It stays where this process is.
                PathBuf::from("/dev/null")
            },
            init: self.init,
        };
        let own = std::env::current_exe().map_err(refused("find this program"))?;
        let mut command = Command::new(own);
        let words: [OsString; 4] = [
            "clone".into(),
            "enter".into(),
            entry.cgroup.into(),
            entry.init.to_string().into(),
        ];
        command.args(words).args(argv).stdin(Stdio::null());
        Ok(command)
    }

    /// Returns what was written in it so far.
    ///
    /// # Errors
    /// If a layer cannot be read.
    pub fn changed_files(&self) -> Result<Snapshot, CloneError> {
        let layers = self.tree.layers.iter();
        changed_files(
            layers.map(|(place, upper)| (place.as_path(), upper.as_path())),
            Path::new("/"),
        )
        .map_err(refused("read an overlay of the clone"))
    }

    /// Ends it and all that runs in it, and takes its layers away.
    ///
    /// # Errors
    /// If something of it stays.
    pub fn shut_down(mut self) -> Result<(), CloneError> {
        drop(self.container.kill());
        self.container.wait().map_err(refused("stop the clone"))?;
        overlay::unmount(&self.tree.root)?;
        overlay::unmount(&self.dir)
    }
}

/// The kernel knows machines by these numbers, and so do others in the network.
fn renew_identity(tree: &CloneTree) -> Result<(), CloneError> {
    let number = fs::read_to_string("/proc/sys/kernel/random/uuid")
        .map_err(refused("create an ID for the clone"))?;
    let machine = tree.at(Path::new("/etc/machine-id"));
    if machine.is_file() {
        fs::write(&machine, number.replace('-', ""))
            .map_err(refused("write the machine-id of the clone"))?;
    }
    let keys = tree.at(Path::new("/etc/ssh"));
    let Ok(entries) = fs::read_dir(&keys) else {
        return Ok(());
    };
    let mut had_keys = false;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("ssh_host_") {
            fs::remove_file(entry.path()).map_err(refused("remove the host keys of the clone"))?;
            had_keys = true;
        }
    }
    if had_keys {
        let status = Command::new(require_program("ssh-keygen", "openssh-client")?)
            .args(["-A", "-f"])
            .arg(&tree.root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.map_err(refused("create host keys for the clone"))?;
    }
    Ok(())
}

/// Says why a clone of this host cannot have an init, and what to install, if so.
pub fn boot_blocker() -> Option<(&'static str, &'static str)> {
    let inits = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
    if !inits.iter().any(|init| Path::new(init).is_file()) {
        Some(("this host has no systemd", "install the package `systemd`"))
    } else if find_program("systemd-nspawn").is_none() {
        Some((
            "systemd-nspawn is not installed",
            "install the package `systemd-container`",
        ))
    } else if crate::clone::host_state::hierarchies("cgroup2").is_empty() {
        Some(("cgroup v2 is not mounted", "mount it on /sys/fs/cgroup"))
    } else {
        None
    }
}

/// Boots it.
fn start_nspawn(
    directory: &Path,
    tree: &CloneTree,
    binds: &[(PathBuf, PathBuf)],
) -> Result<Child, CloneError> {
    let console = File::create(directory.join("console")).map_err(refused("create a console"))?;
    let other = console.try_clone().map_err(refused("create a console"))?;
    let mut command = Command::new(require_program("systemd-nspawn", "systemd-container")?);
    command
        .env_clear()
        .envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1"),
            ("SYSTEMD_NSPAWN_LOCK", "0"),
        ])
        .arg("--quiet")
        .arg(format!("--directory={}", tree.root.display()))
        .arg(format!(
            "--machine={}",
            directory.file_name().unwrap_or_default().display()
        ))
        .args([
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=pipe",
            // Nobody in it needs a way to the disks of the host.
            "--drop-capability=CAP_MKNOD",
        ]);
    if let Ok(name) = nix::unistd::gethostname() {
        command.arg(format!("--hostname={}", name.to_string_lossy()));
    }
    // snapd mounts snaps by it in a container.
    if Path::new("/dev/fuse").exists() {
        command.arg("--bind=/dev/fuse");
    }
    let word = |path: &Path| {
        let path = path.display().to_string();
        path.replace('\\', "\\\\").replace(':', "\\:")
    };
    for (from, to) in binds {
        command.arg(format!("--bind-ro={}:{}", word(from), word(to)));
    }
    command
        .arg("--boot")
        .stdin(Stdio::null())
        .stdout(console)
        .stderr(other)
        .spawn()
        .map_err(refused("start systemd-nspawn"))
}

/// Returns the file that takes whoever writes to it into the cgroup of a process.
fn cgroup_procs_file(pid: u32) -> Result<PathBuf, CloneError> {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .map_err(refused::<io::Error>("find the cgroup of the clone"))?;
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    let hierarchy = crate::clone::host_state::hierarchies("cgroup2").pop();
    let hierarchy = hierarchy.ok_or_else(|| CloneError::Missing {
        what: "cgroup v2 is not mounted".to_owned(),
        help: "mount it on /sys/fs/cgroup".to_owned(),
    })?;
    Ok(hierarchy.join(own).join("cgroup.procs"))
}
