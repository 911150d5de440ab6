//! What a clone needs on the host itself while it exists: a marker directory and, where systemd is not running, a cgroup. Both are removed at
//! the end; what a kill left of them is removed at the next start.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

use super::error::{CloneError, refused};

/// The directory that whoever rehearses has locked.
const LOCK_DIR: &str = "/run/stead/rehearsal";
/// The name of its cgroup and of its layers, and the beginning of that of its unit.
pub const REHEARSAL_NAME: &str = "stead-rehearsal";
/// How long the last processes of a clone may take to go after they were killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);

/// What is there as long as this is.
#[derive(Debug)]
pub struct HostState {
    created_parent: bool,
    _lock: Flock<fs::File>,
}

impl HostState {
    /// Makes them, after removing what a kill has left. `None` if another rehearsal is under way.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn create(needs_cgroup: bool) -> Result<Option<Self>, CloneError> {
        let place = Path::new(LOCK_DIR);
        let above = place.parent().expect("it has one");
        let created_parent = create_dir(above, 0o700)?;
        create_dir(place, 0o700)?;
        let dir = fs::File::open(place).map_err(refused("open the directory of the rehearsal"))?;
        let Ok(claim) = Flock::lock(dir, FlockArg::LockExclusiveNonblock) else {
            return Ok(None);
        };
        remove_cgroups()?;
        let traces = Self {
            created_parent,
            _lock: claim,
        };
        if needs_cgroup {
            let hierarchy = hierarchies("cgroup2")
                .pop()
                .ok_or_else(|| CloneError::Missing {
                    what: "cgroup v2 is not mounted".to_owned(),
                    help: "mount it on /sys/fs/cgroup".to_owned(),
                })?;
            fs::create_dir(hierarchy.join(REHEARSAL_NAME)).map_err(refused("create a cgroup"))?;
        }
        Ok(Some(traces))
    }

    /// Takes this process into the cgroup, if one was made.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn enter_cgroup() -> Result<(), CloneError> {
        for hierarchy in hierarchies("cgroup2") {
            let file = hierarchy.join(REHEARSAL_NAME).join("cgroup.procs");
            if file.exists() {
                fs::write(file, "0").map_err(refused::<io::Error>("enter the cgroup"))?;
            }
        }
        Ok(())
    }

    /// Removes them.
    ///
    /// # Errors
    /// If something of the clone is still there.
    pub fn remove(self) -> Result<(), CloneError> {
        remove_cgroups()?;
        fs::remove_dir(LOCK_DIR).map_err(refused("remove the directory of the rehearsal"))?;
        if self.created_parent {
            // Something else may have come to need it.
            drop(fs::remove_dir(
                Path::new(LOCK_DIR).parent().expect("it has one"),
            ));
        }
        Ok(())
    }
}

fn create_dir(path: &Path, mode: u32) -> Result<bool, CloneError> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(refused(format!("create {}", path.display()))(error)),
    }
}

/// Ends what is in cgroups of this name, and removes them: systemd-nspawn makes one in hierarchies of the first version too.
fn remove_cgroups() -> Result<(), CloneError> {
    let begin = Instant::now();
    let mut places = hierarchies("cgroup2");
    places.extend(hierarchies("cgroup"));
    for place in places.iter().map(|place| place.join(REHEARSAL_NAME)) {
        if !place.exists() {
            continue;
        }
        drop(fs::write(place.join("cgroup.kill"), "1"));
        while let Err(error) = remove_cgroup(&place) {
            if begin.elapsed() > EXIT_TIMEOUT {
                return Err(refused("remove the cgroup of the clone")(error));
            }
            sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn remove_cgroup(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

/// Returns where cgroups of a version are mounted.
pub(super) fn hierarchies(version: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == version).then(|| PathBuf::from(place))
    });
    places.collect()
}

/// A directory on a disk for what clones write.
#[derive(Debug)]
pub struct OverlayDirs(PathBuf);

impl OverlayDirs {
    /// Makes it in a directory, after removing what a kill has left there.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn create(dir: &Path) -> Result<Self, CloneError> {
        let own = Self(dir.join(REHEARSAL_NAME));
        own.clear()?;
        create_dir(&own.0, 0o700)?;
        Ok(own)
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn clear(&self) -> Result<(), CloneError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(refused("remove the overlays of a clone")(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes it.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn remove(self) -> Result<(), CloneError> {
        self.clear()
    }
}
