//! Reads many paths from one snapshot; paths in the same directory share a handle, large batches run on all cores.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    thread,
};

use nix::fcntl::OFlag;

use super::{FileDigest, HostError, Meta, Reader};
use crate::host::{
    beneath::{DirCache, PathHandle},
    meta::{digest_file, meta, xattrs},
};

/// How many paths are worth a thread of their own.
const MIN_PER_THREAD: usize = 128;

/// Looks at one path after the other.
#[derive(Debug)]
pub(crate) struct PathBatch<'r> {
    reader: &'r Reader,
    last: DirCache,
}

/// What stands at a path.
#[derive(Debug)]
pub(crate) struct PathEntry<'r> {
    pub(crate) meta: Meta,
    handle: PathHandle,
    reader: &'r Reader,
}

/// A regular file that is open.
#[derive(Debug)]
pub(crate) struct OpenFile<'r> {
    pub(crate) file: File,
    path: PathBuf,
    reader: &'r Reader,
}

impl Reader {
    /// Looks at paths one after the other.
    pub(crate) fn batch(&self) -> PathBatch<'_> {
        PathBatch {
            reader: self,
            last: DirCache::default(),
        }
    }
}

impl<'r> PathBatch<'r> {
    /// Looks at a path without following it; `None` if nothing is there.
    pub(crate) fn entry(&mut self, path: &Path) -> Result<Option<PathEntry<'r>>, HostError> {
        let Some(handle) = PathHandle::find_cached(&mut self.last, &self.reader.root, path)? else {
            return Ok(None);
        };
        let stat = handle.stat()?;
        Ok(stat.map(|stat| PathEntry {
            meta: meta(&stat),
            handle,
            reader: self.reader,
        }))
    }
}

impl<'r> PathEntry<'r> {
    /// Opens it, if it is a regular file; `None` if it has gone.
    pub(crate) fn open(self) -> Result<Option<OpenFile<'r>>, HostError> {
        let Self { handle, reader, .. } = self;
        let file = handle.open(OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        Ok(file.map(|file| {
            reader
                .trace
                .record(|| handle.path.display().to_string(), None);
            OpenFile {
                file,
                path: handle.path,
                reader,
            }
        }))
    }
}

impl OpenFile<'_> {
    /// Notes what was read of it, for whoever wants to know.
    pub(crate) fn record_read(&self, bytes: &[u8]) {
        let place = || self.path.display().to_string();
        self.reader.trace.record(place, Some(bytes));
    }

    /// Says that something could not be done with it.
    pub(crate) fn io_error(
        &self,
        attempted: &'static str,
    ) -> impl FnOnce(std::io::Error) -> HostError + use<> {
        HostError::io(attempted, &self.path)
    }

    /// Digests what is left of it without holding it.
    pub(crate) fn digest(&mut self) -> Result<FileDigest, HostError> {
        digest_file(&mut self.file).map_err(self.io_error("read"))
    }

    /// Returns its extended attributes, ACLs among them; values in hexadecimal.
    pub(crate) fn xattrs(&self) -> Result<BTreeMap<String, String>, HostError> {
        xattrs(&self.file).map_err(self.io_error("read the extended attributes of"))
    }
}

/// Works on all `names`, on several cores where there are many, and returns the answers in their order. What confines this thread confines
/// those that it starts: landlock(7).
pub(crate) fn par_chunks<N: Sync, T: Send, E: Send>(
    names: &[N],
    work: impl Fn(&[N]) -> Result<Vec<T>, E> + Sync,
) -> Result<Vec<T>, E> {
    let max_threads = if names.len() < 2 * MIN_PER_THREAD {
        1
    } else {
        thread::available_parallelism().map_or(1, usize::from)
    };
    par_map(
        names,
        Parallelism {
            max_threads,
            min_per_thread: MIN_PER_THREAD,
        },
        work,
    )
}

/// How many threads work at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parallelism {
    /// At most so many.
    pub(crate) max_threads: usize,
    /// What is worth a thread of its own.
    pub(crate) min_per_thread: usize,
}

/// Works on all `names` at once, and returns the answers in their order.
pub(crate) fn par_map<N: Sync, T: Send, E: Send>(
    names: &[N],
    threads: Parallelism,
    work: impl Fn(&[N]) -> Result<Vec<T>, E> + Sync,
) -> Result<Vec<T>, E> {
    let threads = (names.len() / threads.min_per_thread).min(threads.max_threads);
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
    fn par_chunks_keeps_the_order_of_names() {
        for count in [0, 1, 2 * MIN_PER_THREAD, 10 * MIN_PER_THREAD + 1] {
            let names: Vec<_> = (0..count).collect();
            let doubled =
                |names: &[usize]| Ok::<_, ()>(names.iter().map(|name| name * 2).collect());
            let expected: Vec<_> = names.iter().map(|name| name * 2).collect();
            assert_eq!(par_chunks(&names, doubled), Ok(expected));
        }
    }

    #[test]
    fn par_chunks_returns_the_first_error() {
        let names: Vec<_> = (0..10 * MIN_PER_THREAD).collect();
        let refuse = |names: &[usize]| Err::<Vec<()>, _>(names[0]);
        assert_eq!(par_chunks(&names, refuse), Err(0));
    }
}
