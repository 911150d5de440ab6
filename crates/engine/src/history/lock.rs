//! One run at a time: a lock that the kernel releases when its holders have exited.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, Flock, FlockArg, OFlag, fcntl},
    sys::signal::kill,
    unistd::Pid,
};

use crate::history::state_dir::StateDir;

/// How long to wait for programs that a killed run left behind: the deadline of a program is 30 s.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(35);

/// The lock of the host. Programs that a run starts hold it too, so that a recovery never races one that outlived its run.
/// It is taken on a file that others can read, and on the directory of the runs: somebody may empty /run.
#[derive(Debug)]
pub struct Lock {
    file: Flock<File>,
    _runs: Flock<File>,
}

/// The lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has it.
    #[error("another run holds the lock `{path}`{}", holder(*.pid, *.run))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, if it said so.
        pid: Option<i32>,
        /// Its run, if it has one already.
        run: Option<u64>,
    },
    /// The file could not be used.
    #[error("cannot lock `{path}`")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
}

fn holder(pid: Option<i32>, run: Option<u64>) -> String {
    match (pid, run) {
        (Some(pid), Some(run)) => format!(" (run {run}, process {pid})"),
        (Some(pid), None) => format!(" (process {pid})"),
        _ => String::new(),
    }
}

impl Lock {
    /// Takes the lock, or says who has it. Waits only for programs of a run that is dead itself.
    pub fn acquire(path: &Path, state: &StateDir) -> Result<Self, LockError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { path, source }
        };
        let mut file = open(path).map_err(failed(path))?;
        let mut runs = make_inheritable(File::open(state.path())).map_err(failed(state.path()))?;
        let deadline = Instant::now() + ORPHAN_TIMEOUT;
        loop {
            match lock_both(file, runs) {
                Ok(mut lock) => {
                    write_holder(&mut lock.file, None).map_err(failed(path))?;
                    return Ok(lock);
                }
                Err((mut unlocked, still_runs, Errno::EWOULDBLOCK)) => {
                    let (pid, run) = read_holder(&mut unlocked);
                    if pid.is_none_or(is_alive) || Instant::now() > deadline {
                        return Err(LockError::Held {
                            path: path.to_owned(),
                            pid,
                            run,
                        });
                    }
                    (file, runs) = (unlocked, still_runs);
                    sleep(Duration::from_millis(20));
                }
                Err((_, _, errno)) => return Err(failed(path)(errno.into())),
            }
        }
    }

    /// Tells others which run this is.
    pub(crate) fn record_run(&mut self, run: u64) -> std::io::Result<()> {
        write_holder(&mut self.file, Some(run))
    }
}

/// Locks both or none, and gives back what is not locked.
fn lock_both(file: File, runs: File) -> Result<Lock, (File, File, Errno)> {
    let noted = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(noted) => noted,
        Err((file, errno)) => return Err((file, runs, errno)),
    };
    match Flock::lock(runs, FlockArg::LockExclusiveNonblock) {
        Ok(runs) => Ok(Lock {
            file: noted,
            _runs: runs,
        }),
        Err((runs, errno)) => match noted.unlock() {
            Ok(file) => Err((file, runs, errno)),
            Err((_, errno)) => unreachable!("what is locked can be unlocked: {errno}"),
        },
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path);
    make_inheritable(file)
}

/// Lets the programs that this one starts have the file too.
fn make_inheritable(file: std::io::Result<File>) -> std::io::Result<File> {
    let file = file?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(file)
}

fn write_holder(file: &mut File, run: Option<u64>) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let run = run.map_or_else(String::new, |run| run.to_string());
    writeln!(file, "{} {run}", std::process::id())
}

fn read_holder(file: &mut File) -> (Option<i32>, Option<u64>) {
    let mut text = String::new();
    if file
        .rewind()
        .and_then(|()| file.read_to_string(&mut text))
        .is_err()
    {
        return (None, None);
    }
    let mut words = text.split_whitespace();
    (
        words.next().and_then(|word| word.parse().ok()),
        words.next().and_then(|word| word.parse().ok()),
    )
}

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_error_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/lock");
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        let mut lock = Lock::acquire(&path, &state).unwrap();
        lock.record_run(7).unwrap();
        let error = Lock::acquire(&path, &state).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("(run 7, process {})", std::process::id())),
            "{error}"
        );
        drop(lock);
        drop(Lock::acquire(&path, &state).unwrap());
    }

    #[test]
    fn lock_survives_removal_of_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/lock");
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        let lock = Lock::acquire(&path, &state).unwrap();
        std::fs::remove_dir_all(dir.path().join("run")).unwrap();
        let refused = Lock::acquire(&path, &state);
        assert!(
            matches!(refused, Err(LockError::Held { .. })),
            "{refused:?}"
        );
        drop(lock);
        drop(Lock::acquire(&path, &state).unwrap());
    }

    #[test]
    fn lock_refuses_symlinked_lock_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        let state = StateDir::new(dir.path());
        assert!(matches!(
            Lock::acquire(&path, &state),
            Err(LockError::Io { .. })
        ));
        assert!(!dir.path().join("elsewhere").exists());
    }
}
