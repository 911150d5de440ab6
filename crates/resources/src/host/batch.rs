//! Reads many paths from one snapshot; paths in the same directory share a handle, large batches run on all cores.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    thread,
};

use nix::fcntl::OFlag;

use super::{Digested, HostError, Meta, Reader};
use crate::host::{
    beneath::{LastFolder, Place},
    meta::{digested, meta, xattrs},
};

/// How many paths are worth a thread of their own.
const SHARE: usize = 128;

/// Looks at one path after the other.
#[derive(Debug)]
pub(crate) struct Look<'r> {
    reader: &'r Reader,
    last: LastFolder,
}

/// What stands at a path.
#[derive(Debug)]
pub(crate) struct Seen<'r> {
    pub(crate) meta: Meta,
    place: Place,
    reader: &'r Reader,
}

/// A regular file that is open.
#[derive(Debug)]
pub(crate) struct Opened<'r> {
    pub(crate) file: File,
    path: PathBuf,
    reader: &'r Reader,
}

impl Reader {
    /// Looks at paths one after the other.
    pub(crate) fn look(&self) -> Look<'_> {
        Look {
            reader: self,
            last: LastFolder::default(),
        }
    }
}

impl<'r> Look<'r> {
    /// Looks at a path without following it; `None` if nothing is there.
    pub(crate) fn at(&mut self, path: &Path) -> Result<Option<Seen<'r>>, HostError> {
        let Some(place) = Place::find_after(&mut self.last, &self.reader.root, path)? else {
            return Ok(None);
        };
        let stat = place.stat()?;
        Ok(stat.map(|stat| Seen {
            meta: meta(&stat),
            place,
            reader: self.reader,
        }))
    }
}

impl<'r> Seen<'r> {
    /// Opens it, if it is a regular file; `None` if it has gone.
    pub(crate) fn open(self) -> Result<Option<Opened<'r>>, HostError> {
        let Self { place, reader, .. } = self;
        let file = place.open(OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        Ok(file.map(|file| {
            reader.trace.note(|| place.path.display().to_string(), None);
            Opened {
                file,
                path: place.path,
                reader,
            }
        }))
    }
}

impl Opened<'_> {
    /// Notes what was read of it, for whoever wants to know.
    pub(crate) fn note(&self, bytes: &[u8]) {
        let place = || self.path.display().to_string();
        self.reader.trace.note(place, Some(bytes));
    }

    /// Says that something could not be done with it.
    pub(crate) fn refused(
        &self,
        attempted: &'static str,
    ) -> impl FnOnce(std::io::Error) -> HostError + use<> {
        HostError::io(attempted, &self.path)
    }

    /// Digests what is left of it without holding it.
    pub(crate) fn digest(&mut self) -> Result<Digested, HostError> {
        digested(&mut self.file).map_err(self.refused("read"))
    }

    /// Returns its extended attributes, ACLs among them; values in hexadecimal.
    pub(crate) fn xattrs(&self) -> Result<BTreeMap<String, String>, HostError> {
        xattrs(&self.file).map_err(self.refused("read the extended attributes of"))
    }
}

/// Works on all `names`, on several cores where there are many, and returns the answers in their order. What confines this thread confines
/// those that it starts: landlock(7).
pub(crate) fn shared<N: Sync, T: Send, E: Send>(
    names: &[N],
    work: impl Fn(&[N]) -> Result<Vec<T>, E> + Sync,
) -> Result<Vec<T>, E> {
    let most = if names.len() < 2 * SHARE {
        1
    } else {
        thread::available_parallelism().map_or(1, usize::from)
    };
    at_once(names, Threads { most, share: SHARE }, work)
}

/// How many threads work at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threads {
    /// At most so many.
    pub(crate) most: usize,
    /// What is worth a thread of its own.
    pub(crate) share: usize,
}

/// Works on all `names` at once, and returns the answers in their order.
pub(crate) fn at_once<N: Sync, T: Send, E: Send>(
    names: &[N],
    threads: Threads,
    work: impl Fn(&[N]) -> Result<Vec<T>, E> + Sync,
) -> Result<Vec<T>, E> {
    let threads = (names.len() / threads.share).min(threads.most);
    if threads < 2 {
        return work(names);
    }
    let work = &work;
    thread::scope(|scope| {
        let parts = names.chunks(names.len().div_ceil(threads));
        let spawn = |names| {
            let builder = thread::Builder::new();
            let spawned = builder.spawn_scoped(scope, move || work(names));
            // Where no more threads may be, this one does it.
            spawned.map_err(|_| names)
        };
        let workers: Vec<_> = parts.map(spawn).collect();
        let mut answers = vec![];
        for worker in workers {
            let part = match worker {
                Ok(worker) => worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(names) => work(names),
            };
            answers.extend(part?);
        }
        Ok(answers)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_stand_in_the_order_of_the_names() {
        for count in [0, 1, 2 * SHARE, 10 * SHARE + 1] {
            let names: Vec<_> = (0..count).collect();
            let doubled =
                |names: &[usize]| Ok::<_, ()>(names.iter().map(|name| name * 2).collect());
            let expected: Vec<_> = names.iter().map(|name| name * 2).collect();
            assert_eq!(shared(&names, doubled), Ok(expected));
        }
    }

    #[test]
    fn the_first_refusal_is_told() {
        let names: Vec<_> = (0..10 * SHARE).collect();
        let refuse = |names: &[usize]| Err::<Vec<()>, _>(names[0]);
        assert_eq!(shared(&names, refuse), Err(0));
    }
}
