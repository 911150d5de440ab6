//! What tells that something on the host may have moved, at once where the kernel says so, at little cost where it must be asked.

mod culprit;
mod ear;
mod files;
mod netfilter;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use culprit::Culprit;
use ear::Ear;
use files::FileEvents;
use netfilter::NetfilterEvents;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{HostError, Reader};

/// How often values of the kernel are read. Nobody tells when they change.
const EVERY: Duration = Duration::from_secs(1);
/// The largest value that is read, in bytes.
const LIMIT: u64 = 64 << 10;
/// What every program of the legacy back end locks while it changes something: `XT_LOCK_NAME` of iptables. The kernel tells nobody of
/// such a change, so who takes the lock is what tells.
const LEGACY_LOCK: &str = "/run/xtables.lock";

/// Something whose change tells that a resource may have moved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// A file, or what is in a folder.
    Path(PathBuf),
    /// A small file of the kernel that tells nobody when it changes.
    Value(PathBuf),
    /// A chain of iptables, in either back end.
    Chain {
        /// Its table.
        table: String,
        /// Its name.
        chain: String,
    },
}

/// A trigger that has gone off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stirred {
    /// Which.
    pub trigger: Trigger,
    /// Who did it, if that can be known.
    pub by: Option<Culprit>,
}

/// Who looks out for triggers.
#[derive(Debug)]
pub struct Lookout {
    root: PathBuf,
    ear: Ear,
    values: BTreeMap<PathBuf, Option<Vec<u8>>>,
    next_look: Instant,
}

impl Reader {
    /// Looks out for triggers from now on.
    pub fn look_out(&self, triggers: BTreeSet<Trigger>) -> Result<Lookout, HostError> {
        let mut paths = BTreeSet::new();
        let mut values = BTreeMap::new();
        let mut netfilter = None;
        for trigger in &triggers {
            match trigger {
                Trigger::Path(path) => drop(paths.insert(path.clone())),
                Trigger::Value(path) => {
                    values.insert(path.clone(), self.read(path, LIMIT).unwrap_or(None));
                }
                Trigger::Chain { .. } if netfilter.is_none() => {
                    netfilter = Some(NetfilterEvents::listen()?);
                }
                Trigger::Chain { .. } => {}
            }
        }
        let lock = netfilter.is_some().then(|| PathBuf::from(LEGACY_LOCK));
        let files = FileEvents::watch(&self.root, paths, lock)?;
        Ok(Lookout {
            ear: Ear::open(triggers, netfilter, files)?,
            root: self.root.clone(),
            values,
            next_look: Instant::now() + EVERY,
        })
    }
}

impl Lookout {
    /// Waits until something stirs, at most so long; returns what. A signal ends the wait, too.
    pub fn wait(&mut self, at_most: Duration) -> Result<Vec<Stirred>, HostError> {
        let deadline = Instant::now() + at_most;
        loop {
            let mut stirred = self.ear.take()?;
            if Instant::now() >= self.next_look {
                self.look_at_values(&mut stirred);
            }
            let now = Instant::now();
            if !stirred.is_empty() || now >= deadline {
                return Ok(stirred);
            }
            let mut until = deadline;
            if !self.values.is_empty() {
                until = until.min(self.next_look);
            }
            // One more millisecond, since the remainder is cut off.
            let timeout = until.saturating_duration_since(now) + Duration::from_millis(1);
            let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
            let news = PollFd::new(self.ear.as_fd(), PollFlags::POLLIN);
            match poll(&mut [news], timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => return Ok(stirred),
                Err(errno) => return Err(refused("the kernel's events")(errno.into())),
            }
        }
    }

    fn look_at_values(&mut self, stirred: &mut Vec<Stirred>) {
        self.next_look = Instant::now() + EVERY;
        let reader = Reader::new(&self.root);
        for (path, last) in &mut self.values {
            let now = reader.read(path, LIMIT).unwrap_or(None);
            if now != *last {
                *last = now;
                stirred.push(Stirred {
                    trigger: Trigger::Value(path.clone()),
                    by: None,
                });
            }
        }
    }
}

/// Returns an error of a service of the kernel.
fn refused(service: &str) -> impl Fn(std::io::Error) -> HostError {
    let service = service.to_owned();
    move |error| HostError::Service {
        service: service.clone(),
        fault: error.to_string(),
    }
}

/// Returns a path below the root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
