//! The limits of inotify(7) that are left for a user.

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
    unistd::geteuid,
};

use super::Reader;

/// How many instances are asked for, each with one file to watch. They go at once.
const INSTANCES: usize = 4;

/// Whether a user may watch more files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InotifyLimits {
    /// Whose room it is: the user that runs this.
    pub uid: u32,
    /// Whether the kernel gives some more inotify instances.
    pub has_instances: bool,
    /// Whether it takes some more inotify watches; `None` where it gave no instance to ask with.
    pub has_watches: Option<bool>,
}

impl Reader {
    /// Asks the kernel for a few inotify instances and a file to watch for each, which is the only exact answer that it gives, and gives
    /// them back. `None` where it cannot be told.
    pub fn inotify_limits(&self) -> Option<InotifyLimits> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let mut instances = vec![];
        let mut has_instances = true;
        for _ in 0..INSTANCES {
            match Inotify::init(flags) {
                Ok(instance) => instances.push(instance),
                // What this process may open is far from spent.
                Err(Errno::EMFILE) => has_instances = false,
                Err(_) => return None,
            }
        }
        let mut has_watches = None;
        for instance in &instances {
            match instance.add_watch("/", AddWatchFlags::IN_DELETE_SELF) {
                Ok(_) => has_watches = has_watches.or(Some(true)),
                Err(Errno::ENOSPC) => has_watches = Some(false),
                Err(_) => return None,
            }
        }
        Some(InotifyLimits {
            uid: geteuid().as_raw(),
            has_instances,
            has_watches,
        })
    }
}
