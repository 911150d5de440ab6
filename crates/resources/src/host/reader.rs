//! Reading files of the host.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use md5::Md5;
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::OFlag,
    sys::{stat::FileStat, statvfs::fstatvfs},
    time::{ClockId, clock_gettime},
};
use sha2::Digest;
use stead_engine::model::boot_time::BootTime;
use tokio::sync::OnceCell;

use super::{HostError, ReadOnlyCommand};
use crate::host::{
    beneath::PathHandle,
    kubernetes::object::ClusterObject,
    meta::{FileDigest, Meta, digest_file, meta, xattrs},
    read_log::{ReadLog, ReadRecord},
};

/// One moment of the host, read only.
#[derive(Debug)]
pub struct Reader {
    pub(super) root: PathBuf,
    outputs: Mutex<HashMap<ReadOnlyCommand, CachedOutput>>,
    /// What is in the cluster, once it was asked.
    pub(super) cluster_objects: OnceCell<Arc<[ClusterObject]>>,
    memoized: Mutex<HashMap<TypeId, Cached>>,
    /// The bus of the host, once it was asked.
    pub(super) bus: OnceCell<zbus::Connection>,
    /// What it has looked at, if somebody wants to know.
    pub(super) trace: ReadLog,
}

/// Something that was worked out of this moment, by its type.
type Cached = Arc<dyn Any + Send + Sync>;

/// What a program printed, once it has run.
type CachedOutput = Arc<OnceCell<Arc<[u8]>>>;

/// How much room a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that nobody has taken and that are not kept for root.
    pub free: u64,
}

impl DiskSpace {
    /// Returns how much is taken, in percent.
    pub fn used_percent(self) -> u64 {
        let used = self.total.saturating_sub(self.free);
        used.saturating_mul(100) / self.total.max(1)
    }
}

impl Reader {
    /// Reads the host whose root directory is `root`. Programs are only run where that is `/`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            outputs: Mutex::default(),
            cluster_objects: OnceCell::new(),
            memoized: Mutex::default(),
            bus: OnceCell::new(),
            trace: ReadLog::default(),
        }
    }

    /// Makes it note what it looks at, from now on.
    #[must_use]
    pub fn with_read_log(mut self) -> Self {
        self.trace = ReadLog::enabled();
        self
    }

    /// Returns what it has looked at so far.
    pub fn read_log(&self) -> Vec<ReadRecord> {
        self.trace.records()
    }

    /// Works something out of this moment that several kinds need, once.
    pub(crate) fn memoize<T: Any + Send + Sync, E>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if let Some(known) = self.cached() {
            return Ok(known);
        }
        let found = Arc::new(work()?);
        let mut findings = self.memoized.lock().expect("no holder panics");
        findings.insert(TypeId::of::<T>(), found.clone());
        Ok(found)
    }

    fn cached<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let findings = self.memoized.lock().expect("no holder panics");
        let known = findings.get(&TypeId::of::<T>()).cloned();
        known.and_then(|known| known.downcast().ok())
    }

    /// As [`Self::memoize`], for what has to be waited for: whoever asks meanwhile waits for the same.
    pub(crate) async fn memoize_async<T: Any + Send + Sync, E>(
        &self,
        work: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let found: Arc<OnceCell<Arc<T>>> = self.memoize(|| Ok(OnceCell::new()))?;
        let found = found.get_or_try_init(async || work().await.map(Arc::new));
        found.await.cloned()
    }

    /// Returns the place for the answer to a query in this moment.
    pub(super) fn cached_output(&self, query: ReadOnlyCommand) -> CachedOutput {
        let mut answers = self.outputs.lock().expect("no holder panics");
        answers.entry(query).or_default().clone()
    }

    /// Returns the root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks at a path without following it; `None` if nothing is there.
    pub fn stat(&self, path: &Path) -> Result<Option<Meta>, HostError> {
        let Some(place) = PathHandle::find(&self.root, path)? else {
            return Ok(None);
        };
        Ok(place.stat()?.map(|stat| meta(&stat)))
    }

    /// Returns when the contents of a file last changed, in microseconds since 1970; `None` if nothing is there.
    pub fn modified_at(&self, path: &Path) -> Result<Option<u64>, HostError> {
        let Some(place) = PathHandle::find(&self.root, path)? else {
            return Ok(None);
        };
        let modified = |stat: FileStat| in_microseconds(stat.st_mtime, stat.st_mtime_nsec);
        Ok(place.stat()?.map(modified))
    }

    /// Returns when a file was last changed in any way, its place, owner and mode included, in microseconds since 1970; `None` if nothing
    /// is there. Nobody can set that time.
    pub fn changed_at(&self, path: &Path) -> Result<Option<u64>, HostError> {
        let Some(place) = PathHandle::find(&self.root, path)? else {
            return Ok(None);
        };
        let touched = |stat: FileStat| in_microseconds(stat.st_ctime, stat.st_ctime_nsec);
        Ok(place.stat()?.map(touched))
    }

    /// Opens a regular file or a file of /proc; `None` if nothing is there.
    pub fn open(&self, path: &Path) -> Result<Option<File>, HostError> {
        let opened = match PathHandle::find(&self.root, path)? {
            Some(place) => place.open(OFlag::O_RDONLY | OFlag::O_NONBLOCK)?,
            None => None,
        };
        if opened.is_some() {
            self.trace.record(|| path.display().to_string(), None);
        }
        Ok(opened)
    }

    /// Reads a whole file of at most `limit` bytes; `None` if nothing is there.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, HostError> {
        let Some(file) = self.open(path)? else {
            return Ok(None);
        };
        let mut bytes = vec![];
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(HostError::io("read", path))?;
        if bytes.len() as u64 > limit {
            return Err(HostError::io("read", path)(io::Error::from(Errno::EFBIG)));
        }
        self.trace
            .record(|| path.display().to_string(), Some(&bytes));
        Ok(Some(bytes))
    }

    /// Reads the first bytes of a file, at most `limit`; `None` if nothing is there.
    pub fn read_head(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, HostError> {
        let Some(file) = self.open(path)? else {
            return Ok(None);
        };
        let mut bytes = vec![];
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(HostError::io("read", path))?;
        Ok(Some(bytes))
    }

    /// Reads a text of at most `limit` bytes; bytes that are no UTF-8 are replaced. `None` if nothing is there.
    pub fn read_text(&self, path: &Path, limit: u64) -> Result<Option<String>, HostError> {
        Ok(self
            .read(path, limit)?
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Digests a file without holding it.
    pub fn digest(&self, path: &Path) -> Result<Option<FileDigest>, HostError> {
        let Some(mut file) = self.open(path)? else {
            return Ok(None);
        };
        digest_file(&mut file)
            .map(Some)
            .map_err(HostError::io("read", path))
    }

    /// Returns the MD5 of a file in hexadecimal, by which dpkg knows its files; `None` if nothing is there.
    pub fn md5(&self, path: &Path) -> Result<Option<String>, HostError> {
        let Some(mut file) = self.open(path)? else {
            return Ok(None);
        };
        let mut hasher = Md5::new();
        let mut bytes = vec![0; 64 << 10];
        loop {
            match file.read(&mut bytes).map_err(HostError::io("read", path))? {
                0 => return Ok(Some(hex::encode(hasher.finalize()))),
                count => hasher.update(&bytes[..count]),
            }
        }
    }

    /// Returns the target of a symlink.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, HostError> {
        PathHandle::find_existing(&self.root, path)?.read_link()
    }

    /// Returns the path that a path leads to. Follows links, so it is not for what is managed: it finds what belongs to
    /// the person who runs this, such as a file beside the spec.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, HostError> {
        path.canonicalize().map_err(HostError::io("find", path))
    }

    /// Returns the present moment: the boot, and the time since it, sleep included.
    pub fn now(&self) -> BootTime {
        let boot = self.read_text(Path::new("/proc/sys/kernel/random/boot_id"), 64);
        let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        let moment = BootTime {
            boot: boot.ok().flatten().unwrap_or_default().trim().to_owned(),
            milliseconds: 0,
        };
        moment.plus(time)
    }

    /// Returns the path of the program that runs.
    pub fn current_exe(&self) -> Result<PathBuf, HostError> {
        std::env::current_exe().map_err(HostError::io("find", Path::new("/proc/self/exe")))
    }

    /// Names what is in a directory, sorted; nothing if the directory does not exist.
    pub fn list_dir(&self, path: &Path) -> Result<Vec<OsString>, HostError> {
        let Some(place) = PathHandle::find(&self.root, path)? else {
            return Ok(vec![]);
        };
        let Some(directory) = place.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY)? else {
            return Ok(vec![]);
        };
        let mut names = vec![];
        for entry in Dir::from_fd(directory.into()).map_err(HostError::io("list", path))? {
            let entry = entry.map_err(HostError::io("list", path))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(std::os::unix::ffi::OsStringExt::from_vec(name.to_vec()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Returns how much room the file system of a directory has; `None` if the directory does not exist.
    pub fn disk_space(&self, path: &Path) -> Result<Option<DiskSpace>, HostError> {
        let Some(directory) = self.open(path)? else {
            return Ok(None);
        };
        let found = fstatvfs(&directory).map_err(HostError::io("measure", path))?;
        Ok(Some(DiskSpace {
            total: found.fragment_size() * found.blocks(),
            free: found.fragment_size() * found.blocks_available(),
        }))
    }

    /// Returns the extended attributes of a file or directory, ACLs among them; values in hexadecimal.
    pub fn xattrs(&self, path: &Path) -> Result<BTreeMap<String, String>, HostError> {
        match self.open(path)? {
            Some(file) => {
                xattrs(&file).map_err(HostError::io("read the extended attributes of", path))
            }
            None => Ok(BTreeMap::new()),
        }
    }
}

fn in_microseconds(seconds: i64, nanoseconds: i64) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(nanoseconds).unwrap_or(0) / 1_000
}
