//! The clone of a host that cannot boot one: namespaces with the files of the host, without services.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{chdir, pivot_root, sethostname},
};

use super::error::{CloneError, refused, require_program};
use crate::clone::overlay::bind_mount;

/// What says that the clone is ready, in the clone.
const READY_FILE: &str = "run/clone-is-ready";
/// Devices that every program may need, and that lead nowhere.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// What the kernel keeps for the host and the clone: seen, not written. Its settings of the network are the clone's own.
const READ_ONLY_PATHS: [&str; 4] = ["proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus"];

/// Starts it: this program in namespaces of its own, doing nothing.
pub(super) fn start_namespaces(
    root: &Path,
    shown: &[(PathBuf, PathBuf)],
) -> Result<Child, CloneError> {
    let own = std::env::current_exe().map_err(refused("find this program"))?;
    let mut command = Command::new(require_program("unshare", "util-linux")?);
    command
        .args(["--mount", "--net", "--ipc", "--uts", "--pid", "--fork"])
        .args(["--kill-child", "--propagation", "private", "--"])
        .arg(own)
        .args(["clone", "idle"])
        .arg(root);
    for (from, to) in shown {
        command.args([from, to]);
    }
    command
        .stdin(Stdio::null())
        .spawn()
        .map_err(refused("start the clone"))
}

/// Whether the clone that a process holds is ready.
pub(super) fn is_ready(init: u32) -> bool {
    Path::new(&format!("/proc/{init}/root"))
        .join(READY_FILE)
        .exists()
}

/// Makes the files below `root` those of this process, and waits for ever. `shown` are pairs of what is shown and where.
///
/// # Errors
/// If the kernel refuses; else it does not return.
pub fn idle_init(root: &Path, shown: &[PathBuf]) -> Result<(), CloneError> {
    enter_root(root, shown)?;
    loop {
        thread::park();
    }
}

fn enter_root(root: &Path, shown: &[PathBuf]) -> Result<(), CloneError> {
    let ip = require_program("ip", "iproute2")?;
    let up = Command::new(ip).args(["link", "set", "lo", "up"]).status();
    up.map_err(refused("bring up the network of the clone"))?;
    sethostname(nix::unistd::gethostname().unwrap_or_default())
        .map_err(refused("name the clone"))?;
    let nothing = MsFlags::empty();
    mount_file_system("proc", &root.join("proc"), MsFlags::MS_NOSUID, None)?;
    mount_file_system("sysfs", &root.join("sys"), MsFlags::MS_RDONLY, None)?;
    for (place, mode) in [
        ("run", "mode=0755"),
        ("tmp", "mode=1777"),
        ("dev", "mode=0755"),
    ] {
        mount_file_system("tmpfs", &root.join(place), nothing, Some(mode))?;
    }
    for device in DEVICES {
        let target = root.join("dev").join(device);
        File::create(&target).map_err(refused("create a device"))?;
        bind_mount(&Path::new("/dev").join(device), &target)?;
    }
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, root.join("dev").join(link)).map_err(refused("create a device"))?;
    }
    fs::create_dir(root.join("dev/shm")).map_err(refused("create a directory"))?;
    for place in READ_ONLY_PATHS {
        let place = root.join(place);
        if !place.exists() {
            continue;
        }
        bind_mount(&place, &place)?;
        if place.ends_with("proc/sys") {
            bind_mount(&place.join("net"), &place.join("net"))?;
        }
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &place, None::<&str>, flags, None::<&str>)
            .map_err(refused("make kernel settings read-only"))?;
    }
    for pair in shown.chunks_exact(2) {
        let target = root.join(pair[1].strip_prefix("/").unwrap_or(&pair[1]));
        if pair[0].is_dir() {
            fs::create_dir_all(&target).map_err(refused("create a directory"))?;
        } else {
            let above = target.parent().unwrap_or(root);
            fs::create_dir_all(above).map_err(refused("create a directory"))?;
            File::create(&target).map_err(refused("create a file"))?;
        }
        bind_mount(&pair[0], &target)?;
    }
    // The old root lies upon the new one for a moment: pivot_root(2), NOTES.
    chdir(root).map_err(refused("enter the clone"))?;
    pivot_root(".", ".").map_err(refused("enter the clone"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(refused("leave the host"))?;
    chdir("/").map_err(refused("enter the clone"))?;
    File::create(Path::new("/").join(READY_FILE))
        .map_err(refused("report that the clone is ready"))?;
    Ok(())
}

fn mount_file_system(
    kind: &str,
    place: &Path,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), CloneError> {
    mount(Some(kind), place, Some(kind), flags, options)
        .map_err(refused(format!("mount {}", place.display())))
}
