//! Running programs in the clone.

use std::{ffi::OsString, fs, io, os::unix::process::CommandExt, path::PathBuf, process::Command};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::error::{CloneError, refused, require_program};

/// The way into a clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneEntry {
    /// The file that takes whoever writes to it into a cgroup of the clone: systemd there asks in which one somebody is.
    pub cgroup: PathBuf,
    /// The init of the clone, as it is seen from outside.
    pub init: u32,
}

/// What a program in the clone finds in its environment.
const ENVIRONMENT: [(&str, &str); 6] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin",
    ),
    ("HOME", "/root"),
    ("USER", "root"),
    ("LC_ALL", "C.UTF-8"),
    ("NO_COLOR", "1"),
    ("container", "systemd-nspawn"),
];

/// What nobody in the clone may do: it would be done to the host. Root enters with all that the kernel has; systemd-nspawn takes these
/// away from its own processes only.
const DROPPED_CAPABILITIES: &str = "-sys_module,-mknod,-sys_rawio,-sys_time,-sys_boot,-syslog,-mac_admin,-mac_override,-wake_alarm,-block_suspend,-bpf,-perfmon";

/// Takes this process into the clone, where it becomes another program. Returns only if that fails.
pub fn enter(entry: &CloneEntry, argv: &[OsString]) -> CloneError {
    let nsenter = match require_program("nsenter", "util-linux") {
        Ok(path) => path,
        Err(error) => return error,
    };
    if let Err(error) = fs::write(&entry.cgroup, "0") {
        return refused::<io::Error>("enter the cgroup of the clone")(error);
    }
    let error = Command::new(nsenter)
        .args(["--all", "--wdns=/", "--target"])
        .arg(entry.init.to_string())
        .args(["--", "setpriv", "--inh-caps=-all", "--ambient-caps=-all"])
        .args(["--bounding-set", DROPPED_CAPABILITIES, "--"])
        .args(argv)
        .env_clear()
        .envs(ENVIRONMENT)
        .exec();
    refused::<io::Error>("enter the clone")(error)
}

/// Kills what runs in the clone for a command of [`super::HostClone::command`]: that waits outside, as the program `nsenter`; its child is what runs.
/// `None` if there is none.
pub fn kill_inside(outside: u32) -> Option<()> {
    let children = fs::read_to_string(format!("/proc/{outside}/task/{outside}/children")).ok()?;
    let inside = children.split_whitespace().next()?.parse().ok()?;
    kill(Pid::from_raw(inside), Signal::SIGKILL).ok()
}
