//! Listens to the kernel on a thread of its own: programs that change a table exit at once, so their parents must be
//! looked up quickly.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use super::super::HostError;
use crate::host::watch::{
    inotify::FileEvents,
    nftables::{Moved, NetfilterEvents},
    trigger::{Stirred, Trigger, refused},
};

/// Whoever hears.
#[derive(Debug)]
pub(super) struct Ear {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Shared {
    heard: Mutex<Result<Vec<Stirred>, HostError>>,
    /// Says that something was heard.
    news: EventFd,
    /// Says that nobody wants to know any more.
    end: EventFd,
}

/// What the thread works with.
struct Sources {
    triggers: BTreeSet<Trigger>,
    netfilter: Option<NetfilterEvents>,
    files: FileEvents,
}

impl Ear {
    pub(super) fn open(
        triggers: BTreeSet<Trigger>,
        netfilter: Option<NetfilterEvents>,
        files: FileEvents,
    ) -> Result<Self, HostError> {
        let counter = || {
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|errno| refused("the kernel's events")(errno.into()))
        };
        let shared = Arc::new(Shared {
            heard: Mutex::new(Ok(vec![])),
            news: counter()?,
            end: counter()?,
        });
        let sources = Sources {
            triggers,
            netfilter,
            files,
        };
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("ear".to_owned())
            .spawn(move || sources.hear(&theirs))
            .map_err(refused("threads"))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Returns what was heard since.
    pub(super) fn take(&self) -> Result<Vec<Stirred>, HostError> {
        // Nothing to read means that nothing is new.
        let _counted = self.shared.news.read();
        let mut heard = self.shared.heard.lock().expect("no holder panics");
        std::mem::replace(&mut *heard, Ok(vec![]))
    }
}

impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.news.as_fd()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let _written = self.shared.end.write(1);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Sources {
    fn hear(mut self, shared: &Shared) {
        loop {
            let mut descriptors = vec![
                PollFd::new(shared.end.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.files.as_fd(), PollFlags::POLLIN),
            ];
            let netfilter = self.netfilter.as_ref().map(AsFd::as_fd);
            descriptors.extend(netfilter.map(|socket| PollFd::new(socket, PollFlags::POLLIN)));
            match poll(&mut descriptors, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    let error = refused("the kernel's events")(errno.into());
                    return shared.tell(Err(error));
                }
            }
            if descriptors[0].any() == Some(true) {
                return;
            }
            match self.read() {
                Ok(heard) if heard.is_empty() => {}
                Ok(heard) => shared.tell(Ok(heard)),
                Err(error) => return shared.tell(Err(error)),
            }
        }
    }

    fn read(&mut self) -> Result<Vec<Stirred>, HostError> {
        let mut stirred = vec![];
        let told = self.netfilter.as_mut().map(NetfilterEvents::read);
        for (moved, by) in told.transpose()?.unwrap_or_default() {
            let meant = self
                .triggers
                .iter()
                .filter(|trigger| is_meant(trigger, &moved));
            stirred.extend(meant.map(|trigger| Stirred {
                trigger: trigger.clone(),
                by: by.clone(),
            }));
        }
        let heard = self.files.read()?;
        stirred.extend(heard.paths.into_iter().map(|path| Stirred {
            trigger: Trigger::Path(path),
            by: None,
        }));
        if heard.is_lock_free {
            let chains = self.triggers.iter();
            let chains = chains.filter(|trigger| matches!(trigger, Trigger::Chain { .. }));
            stirred.extend(chains.map(|trigger| Stirred {
                trigger: trigger.clone(),
                by: heard.locked_by.clone(),
            }));
        }
        Ok(stirred)
    }
}

impl Shared {
    fn tell(&self, heard: Result<Vec<Stirred>, HostError>) {
        let mut all = self.heard.lock().expect("no holder panics");
        match (&mut *all, heard) {
            (Ok(all), Ok(heard)) => all.extend(heard),
            (all @ Ok(_), error) => *all = error,
            (Err(_), _) => {}
        }
        drop(all);
        let _written = self.news.write(1);
    }
}

/// Whether what netfilter says is about a trigger.
fn is_meant(trigger: &Trigger, moved: &Moved) -> bool {
    match (trigger, moved) {
        (Trigger::Chain { .. }, Moved::Anything) => true,
        (
            Trigger::Chain { table, chain },
            Moved::Table {
                table: its_table,
                chain: its_chain,
            },
        ) => {
            table == its_table
                && its_chain
                    .as_ref()
                    .is_none_or(|its_chain| its_chain == chain)
        }
        _ => false,
    }
}
