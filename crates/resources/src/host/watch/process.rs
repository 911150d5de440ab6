//! The process that has changed something, and its parent.

use std::{fmt, fs, os::unix::fs::MetadataExt, path::Path, process};

use nix::sys::stat::{major, minor};
use stead_engine::watch::backoff::Actor;

use crate::host::program::XTABLES;

/// How many words of whoever started a process are told: the program and what it runs. Those behind them may be secrets.
const SHOWN_WORDS: usize = 2;
/// The longest of them together, in characters.
const MAX_CHARS: usize = 80;

/// A process that has moved something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number, if it was still there when it was looked for.
    pub pid: Option<u32>,
    /// The name of its program, as the kernel has it.
    pub name: String,
    /// The words of whoever started it, if it could be asked in time: such programs end at once.
    pub started_by: Option<String>,
}

impl Process {
    /// Looks for the process that the kernel has named. Its number is that of the whole machine, so in a container it is another one
    /// than here; then a process with that name counts if there is just one.
    pub(super) fn find_named(name: String, number: u32) -> Option<Self> {
        let has_name = |pid: &u32| comm(*pid).as_deref() == Some(name.as_str());
        let pid = Some(number).filter(has_name).or_else(|| {
            let mut found = processes().into_iter().filter(has_name);
            found.next().filter(|_| found.next().is_none())
        });
        Self::unless_own_child(name, pid)
    }

    /// Finds who has locked a file: `proc_locks(5)`.
    pub(super) fn find_lock_holder(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        let locks = fs::read_to_string("/proc/locks").ok()?;
        let device = meta.dev();
        let place = format!("{:02x}:{:02x}:{}", major(device), minor(device), meta.ino());
        let pid = locks.lines().find_map(|line| {
            let mut words = line.split_whitespace().filter(|word| *word != "->").skip(4);
            let pid = words.next()?.parse().ok()?;
            (words.next()? == place).then_some(pid)
        })?;
        Self::unless_own_child(comm(pid)?, Some(pid))
    }

    /// Makes one, unless this very process has started it.
    fn unless_own_child(name: String, pid: Option<u32>) -> Option<Self> {
        let parent = pid.and_then(parent);
        (parent != Some(process::id())).then(|| Self {
            name,
            pid,
            started_by: parent.and_then(command_words),
        })
    }
}

impl Actor for Process {
    fn responsible(&self) -> &str {
        self.started_by.as_deref().unwrap_or(&self.name)
    }

    fn is_told(&self) -> bool {
        self.started_by.is_some()
    }

    /// Those that this process starts have these names, and end before anybody could ask.
    fn may_be_ours(&self) -> bool {
        self.started_by.is_none() && XTABLES.contains(&self.name.as_str())
    }
}

/// Returns the name that the kernel has for a process: `proc_pid_comm(5)`.
fn comm(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Returns the numbers of all processes, the youngest first.
fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    found.sort_unstable_by_key(|pid| std::cmp::Reverse(*pid));
    found
}

/// Returns who started a process; `None` if it is gone.
fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = status.lines();
    let parent = lines.find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok()
}

/// Returns the first words that a process was started with; `None` if it is gone, or nobody but the init.
fn command_words(pid: u32) -> Option<String> {
    if pid <= 1 {
        return None;
    }
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = String::from_utf8_lossy(&words);
    let words = words.split('\0').filter(|word| !word.is_empty());
    let words: Vec<&str> = words.take(SHOWN_WORDS).collect();
    let words = words.join(" ");
    (!words.is_empty()).then(|| words.chars().take(MAX_CHARS).collect())
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.started_by.as_ref();
        let parent = parent.map(|parent| format!("started by `{parent}`"));
        let pid = self.pid.map(|pid| format!("process {pid}"));
        let told: Vec<_> = pid.into_iter().chain(parent).collect();
        write!(f, "{}", self.name)?;
        if told.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", told.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_is_shown_with_whoever_started_it_as_far_as_that_is_known() {
        let check = |name: &str, pid, started_by: Option<&str>, shown, may_be_ours| {
            let culprit = Process {
                pid,
                name: name.to_owned(),
                started_by: started_by.map(str::to_owned),
            };
            assert_eq!(culprit.to_string(), shown);
            assert_eq!(culprit.responsible(), started_by.unwrap_or(name));
            assert_eq!(culprit.is_told(), started_by.is_some());
            assert_eq!(culprit.may_be_ours(), may_be_ours, "{shown}");
        };
        let shown = "iptables-nft (process 3, started by `sh fight.sh`)";
        check("iptables-nft", Some(3), Some("sh fight.sh"), shown, false);
        let shown = "iptables-nft (process 3)";
        check("iptables-nft", Some(3), None, shown, true);
        check("iptables-nft", None, None, "iptables-nft", true);
        check("nft", None, None, "nft", false);
    }
}
