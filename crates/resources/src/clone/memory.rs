//! The memory that a clone uses.

use std::{fs, path::Path};

use nix::sys::statvfs::statvfs;

/// Returns how much memory the clone takes, in bytes: what all other processes of this PID namespace have for themselves, `Pss` of
/// `proc_pid_smaps(5)`, and the layers that are kept in memory. `None` if that cannot be measured here.
pub fn memory_used() -> Option<u64> {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").ok()?;
    let mut total = None;
    for process in processes.flatten() {
        let name = process.file_name();
        let name = name.to_string_lossy();
        if name == own || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(text) = fs::read_to_string(process.path().join("smaps_rollup")) else {
            continue;
        };
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kibibytes = pss.and_then(|pss| pss.trim().trim_end_matches(" kB").parse::<u64>().ok());
        if let Some(kibibytes) = kibibytes {
            *total.get_or_insert(0) += kibibytes << 10;
        }
    }
    let layers = statvfs(Path::new("/run")).ok()?;
    let used = layers.blocks().saturating_sub(layers.blocks_free());
    total.map(|total| total + used.saturating_mul(layers.fragment_size()))
}
