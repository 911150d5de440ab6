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
    nftables::{NetfilterEvents, TableEvent},
    trigger::{Trigger, TriggerEvent, service_error},
};

/// Whoever hears.
#[derive(Debug)]
pub(super) struct EventListener {
    shared: Arc<EventQueue>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct EventQueue {
    heard: Mutex<Result<Vec<TriggerEvent>, HostError>>,
    /// Says that something was heard.
    ready: EventFd,
    /// Says that nobody wants to know any more.
    stop: EventFd,
}

/// What the thread works with.
struct EventSources {
    triggers: BTreeSet<Trigger>,
    netfilter: Option<NetfilterEvents>,
    files: FileEvents,
}

impl EventListener {
    pub(super) fn start(
        triggers: BTreeSet<Trigger>,
        netfilter: Option<NetfilterEvents>,
        files: FileEvents,
    ) -> Result<Self, HostError> {
        let counter = || {
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|errno| service_error("the kernel's events")(errno.into()))
        };
        let shared = Arc::new(EventQueue {
            heard: Mutex::new(Ok(vec![])),
            ready: counter()?,
            stop: counter()?,
        });
        let sources = EventSources {
            triggers,
            netfilter,
            files,
        };
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("ear".to_owned())
            .spawn(move || sources.listen(&theirs))
            .map_err(service_error("threads"))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Returns what was heard since.
    pub(super) fn drain(&self) -> Result<Vec<TriggerEvent>, HostError> {
        // Nothing to read means that nothing is new.
        let _counted = self.shared.ready.read();
        let mut heard = self.shared.heard.lock().expect("no holder panics");
        std::mem::replace(&mut *heard, Ok(vec![]))
    }
}

impl AsFd for EventListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.ready.as_fd()
    }
}

impl Drop for EventListener {
    fn drop(&mut self) {
        let _written = self.shared.stop.write(1);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl EventSources {
    fn listen(mut self, shared: &EventQueue) {
        loop {
            let mut descriptors = vec![
                PollFd::new(shared.stop.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.files.as_fd(), PollFlags::POLLIN),
            ];
            let netfilter = self.netfilter.as_ref().map(AsFd::as_fd);
            descriptors.extend(netfilter.map(|socket| PollFd::new(socket, PollFlags::POLLIN)));
            match poll(&mut descriptors, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    let error = service_error("the kernel's events")(errno.into());
                    return shared.push(Err(error));
                }
            }
            if descriptors[0].any() == Some(true) {
                return;
            }
            match self.read() {
                Ok(heard) if heard.is_empty() => {}
                Ok(heard) => shared.push(Ok(heard)),
                Err(error) => return shared.push(Err(error)),
            }
        }
    }

    fn read(&mut self) -> Result<Vec<TriggerEvent>, HostError> {
        let mut stirred = vec![];
        let told = self.netfilter.as_mut().map(NetfilterEvents::read);
        for (moved, process) in told.transpose()?.unwrap_or_default() {
            let meant = self
                .triggers
                .iter()
                .filter(|trigger| is_relevant(trigger, &moved));
            stirred.extend(meant.map(|trigger| TriggerEvent {
                trigger: trigger.clone(),
                process: process.clone(),
            }));
        }
        let heard = self.files.read()?;
        stirred.extend(heard.paths.into_iter().map(|path| TriggerEvent {
            trigger: Trigger::Path(path),
            process: None,
        }));
        if heard.lock_released {
            let chains = self.triggers.iter();
            let chains = chains.filter(|trigger| matches!(trigger, Trigger::Chain { .. }));
            stirred.extend(chains.map(|trigger| TriggerEvent {
                trigger: trigger.clone(),
                process: heard.locked_by.clone(),
            }));
        }
        Ok(stirred)
    }
}

impl EventQueue {
    fn push(&self, heard: Result<Vec<TriggerEvent>, HostError>) {
        let mut all = self.heard.lock().expect("no holder panics");
        match (&mut *all, heard) {
            (Ok(all), Ok(heard)) => all.extend(heard),
            (all @ Ok(_), error) => *all = error,
            (Err(_), _) => {}
        }
        drop(all);
        let _written = self.ready.write(1);
    }
}

/// Whether what netfilter says is about a trigger.
fn is_relevant(trigger: &Trigger, moved: &TableEvent) -> bool {
    match (trigger, moved) {
        (Trigger::Chain { .. }, TableEvent::Overflow) => true,
        (
            Trigger::Chain { table, chain },
            TableEvent::Changed {
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
