//! The process that holds a clone: in its own mount and PID namespaces and, where systemd is running, in its own unit.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use super::{
    error::{CloneError, refused, require_program},
    host_state::REHEARSAL_NAME,
};

/// What is to be started.
#[derive(Debug)]
pub struct Supervisor(Command);

/// Namespaces that go with their first process, which goes when `unshare` does.
const NAMESPACES: [&str; 7] = [
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation",
    "private",
];

impl Supervisor {
    /// Makes it: this program with these arguments. systemd-nspawn needs a cgroup that it may divide; systemd gives it one.
    ///
    /// # Errors
    /// If a program that it needs is not installed.
    pub fn new(has_systemd: bool, arguments: Vec<OsString>) -> Result<Self, CloneError> {
        let own = std::env::current_exe().map_err(refused("find this program"))?;
        let unshare = require_program("unshare", "util-linux")?;
        let mut command = if has_systemd {
            let mut command = Command::new(require_program("systemd-run", "systemd")?);
            command
                .args(["--quiet", "--wait", "--pipe", "--collect"])
                .arg(format!("--unit={REHEARSAL_NAME}-{}", std::process::id()))
                .args(["--property=Delegate=yes", "--property=TasksMax=infinity"])
                .arg("--description=A clone of this host, made by stead rehearse");
            for name in ["NO_COLOR", "TERM", "CLICOLOR_FORCE"] {
                if let Ok(value) = std::env::var(name) {
                    command.arg(format!("--setenv={name}={value}"));
                }
            }
            command.arg("--").arg(unshare);
            command
        } else {
            Command::new(unshare)
        };
        command.args(NAMESPACES).arg("--").arg(own).args(arguments);
        // Ctrl-C is for the caller alone, who ends this one.
        command.stdin(Stdio::piped()).process_group(0);
        Ok(Self(command))
    }

    /// Starts it.
    ///
    /// # Errors
    /// If that fails.
    pub fn spawn(self) -> io::Result<tokio::process::Child> {
        tokio::process::Command::from(self.0).spawn()
    }
}
