//! Signals that something on the host may have changed: at once where the kernel notifies, by cheap polling elsewhere.

pub(crate) mod inotify;
pub(crate) mod listener;
pub(crate) mod nftables;
pub(crate) mod process;
pub(crate) mod trigger;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use inotify::FileEvents;
use listener::EventListener;
use nftables::NetfilterEvents;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{HostError, Reader};
use crate::host::watch::trigger::{Trigger, TriggerEvent, service_error};

/// How often values of the kernel are read. Nobody tells when they change.
const VALUE_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The largest value that is read, in bytes.
const MAX_VALUE: u64 = 64 << 10;
/// What every program of the legacy back end locks while it changes something: `XT_LOCK_NAME` of iptables. The kernel tells nobody of
/// such a change, so who takes the lock is what tells.
const LEGACY_LOCK: &str = "/run/xtables.lock";

/// Who looks out for triggers.
#[derive(Debug)]
pub struct Watcher {
    root: PathBuf,
    listener: EventListener,
    values: BTreeMap<PathBuf, Option<Vec<u8>>>,
    next_poll: Instant,
}

impl Reader {
    /// Looks out for triggers from now on.
    pub fn watch(&self, triggers: BTreeSet<Trigger>) -> Result<Watcher, HostError> {
        let mut paths = BTreeSet::new();
        let mut values = BTreeMap::new();
        let mut netfilter = None;
        for trigger in &triggers {
            match trigger {
                Trigger::Path(path) => drop(paths.insert(path.clone())),
                Trigger::Value(path) => {
                    values.insert(path.clone(), self.read(path, MAX_VALUE).unwrap_or(None));
                }
                Trigger::Chain { .. } if netfilter.is_none() => {
                    netfilter = Some(NetfilterEvents::listen()?);
                }
                Trigger::Chain { .. } => {}
            }
        }
        let lock = netfilter.is_some().then(|| PathBuf::from(LEGACY_LOCK));
        let files = FileEvents::watch(&self.root, paths, lock)?;
        Ok(Watcher {
            listener: EventListener::start(triggers, netfilter, files)?,
            root: self.root.clone(),
            values,
            next_poll: Instant::now() + VALUE_POLL_INTERVAL,
        })
    }
}

impl Watcher {
    /// Waits until something stirs, at most so long; returns what. A signal ends the wait, too.
    pub fn wait(&mut self, at_most: Duration) -> Result<Vec<TriggerEvent>, HostError> {
        let deadline = Instant::now() + at_most;
        loop {
            let mut stirred = self.listener.drain()?;
            if Instant::now() >= self.next_poll {
                self.poll_values(&mut stirred);
            }
            let now = Instant::now();
            if !stirred.is_empty() || now >= deadline {
                return Ok(stirred);
            }
            let mut until = deadline;
            if !self.values.is_empty() {
                until = until.min(self.next_poll);
            }
            // One more millisecond, since the remainder is cut off.
            let timeout = until.saturating_duration_since(now) + Duration::from_millis(1);
            let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
            let news = PollFd::new(self.listener.as_fd(), PollFlags::POLLIN);
            match poll(&mut [news], timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => {
                    // Whoever notes the signal does so on another thread.
                    thread::sleep(Duration::from_millis(5));
                    return Ok(stirred);
                }
                Err(errno) => return Err(service_error("the kernel's events")(errno.into())),
            }
        }
    }

    fn poll_values(&mut self, stirred: &mut Vec<TriggerEvent>) {
        self.next_poll = Instant::now() + VALUE_POLL_INTERVAL;
        let reader = Reader::new(&self.root);
        for (path, last) in &mut self.values {
            let now = reader.read(path, MAX_VALUE).unwrap_or(None);
            if now != *last {
                *last = now;
                stirred.push(TriggerEvent {
                    trigger: Trigger::Value(path.clone()),
                    process: None,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;
    use crate::host::watch::trigger::path_under_root;

    const ARGS: &str = "/var/snap/microk8s/current/args/kube-proxy";

    /// Expects that the path stirs after a change, and that nothing does without one.
    fn expect_trigger(lookout: &mut Watcher, path: &str, change: impl FnOnce()) {
        let mut stirred = lookout.wait(Duration::from_millis(20)).unwrap();
        // What the last change still had to say.
        while !stirred.is_empty() {
            stirred = lookout.wait(Duration::from_millis(20)).unwrap();
        }
        change();
        let stirred = lookout.wait(Duration::from_secs(20)).unwrap();
        let expected = Path::new(path);
        let is_it = |stirred: &TriggerEvent| matches!(&stirred.trigger, Trigger::Path(path) | Trigger::Value(path) if path == expected);
        assert!(stirred.iter().any(is_it), "{path}: {stirred:?}");
    }

    #[test]
    fn watcher_follows_file_through_new_dirs_and_moved_links() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| path_under_root(root.path(), Path::new(path));
        fs::create_dir_all(at("/var/snap")).unwrap();
        let reader = Reader::new(root.path());
        let triggers = BTreeSet::from([Trigger::Path(ARGS.into())]);
        let mut lookout = reader.watch(triggers).unwrap();
        let revision = |revision: &str| {
            let dir = at(&format!("/var/snap/microk8s/{revision}/args"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("kube-proxy"), revision).unwrap();
        };
        expect_trigger(&mut lookout, ARGS, || revision("x1"));
        expect_trigger(&mut lookout, ARGS, || {
            symlink("x1", at("/var/snap/microk8s/current")).unwrap();
        });
        expect_trigger(&mut lookout, ARGS, || fs::write(at(ARGS), "other").unwrap());
        revision("x2");
        expect_trigger(&mut lookout, ARGS, || {
            symlink("x2", at("/var/snap/microk8s/new")).unwrap();
            fs::rename(
                at("/var/snap/microk8s/new"),
                at("/var/snap/microk8s/current"),
            )
            .unwrap();
        });
        expect_trigger(&mut lookout, ARGS, || fs::write(at(ARGS), "other").unwrap());
        expect_trigger(&mut lookout, ARGS, || fs::remove_file(at(ARGS)).unwrap());
        // What was left behind does not count any more.
        lookout.wait(Duration::from_millis(50)).unwrap();
        fs::write(at("/var/snap/microk8s/x1/args/kube-proxy"), "old").unwrap();
        assert_eq!(lookout.wait(Duration::from_millis(200)).unwrap(), []);
    }

    #[test]
    fn watcher_reports_directory_entries_and_polled_values() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| path_under_root(root.path(), Path::new(path));
        let reader = Reader::new(root.path());
        let value = "/proc/sys/net/ipv4/ip_forward";
        let triggers = BTreeSet::from([
            Trigger::Path("/etc/sysctl.d".into()),
            Trigger::Value(value.into()),
        ]);
        let mut lookout = reader.watch(triggers).unwrap();
        expect_trigger(&mut lookout, "/etc/sysctl.d", || {
            fs::create_dir_all(at("/etc/sysctl.d")).unwrap();
        });
        expect_trigger(&mut lookout, "/etc/sysctl.d", || {
            fs::write(at("/etc/sysctl.d/60.conf"), "a = 1").unwrap();
        });
        expect_trigger(&mut lookout, value, || {
            fs::create_dir_all(at("/proc/sys/net/ipv4")).unwrap();
            fs::write(at(value), "1\n").unwrap();
        });
    }
}
