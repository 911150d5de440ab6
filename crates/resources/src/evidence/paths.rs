//! Changes of files as evidence.

use std::path::Path;

use jiff::Timestamp;
use stead_engine::model::drift::{Drift, Evidence};

use crate::{
    evidence::{
        sudo,
        times::{format_time, from_microseconds},
    },
    host::{HostError, Reader},
};

/// Where nothing outlives a start of the host: file-hierarchy(7).
const VOLATILE: &str = "/run";

/// Looks for what moved a file, directory or link.
pub(crate) async fn path_changed<S>(
    host: &Reader,
    path: &str,
    drift: &Drift<S>,
) -> Option<Evidence> {
    let path = Path::new(path);
    if drift.change.before().is_none() {
        let is_lost = drift.rebooted == Some(true) && path.starts_with(VOLATILE);
        if is_lost {
            return Some(Evidence::Reboot);
        }
        return sudo::file_removal(host, path, drift.modified_at).await;
    }
    files_changed(host, &[path], drift.modified_at).await
}

/// Looks for what changed some files, of which the last change counts.
pub(crate) async fn files_changed(
    host: &Reader,
    paths: &[&Path],
    since: Timestamp,
) -> Option<Evidence> {
    let found = paths.iter().filter_map(|path| {
        let times = change_times(host, path).ok()??;
        Some((times.changed_after(since)?, path, times))
    });
    let (at, path, times) = found.max_by_key(|(at, ..)| *at)?;
    if let Some(person) = sudo::file_write(host, path, at, since).await {
        return Some(person);
    }
    let how = if times.mtime == at {
        "changed"
    } else {
        "was created, or its owner or mode changed,"
    };
    Some(Evidence::Modified {
        fact: format!("{} {how} {}", path.display(), format_time(at)),
    })
}

/// When a file changed.
pub(crate) struct ChangeTimes {
    pub(crate) mtime: Timestamp,
    /// Its contents, its place, its owner or its mode. Nobody can set this time: inode(7).
    pub(crate) ctime: Timestamp,
}

impl ChangeTimes {
    /// Returns when that was, if it was after `since`.
    pub(super) fn changed_after(&self, since: Timestamp) -> Option<Timestamp> {
        let is_later = |at: &Timestamp| *at > since;
        // What is dated into the future, or was not touched at all, shows nothing.
        let contents = Some(self.mtime).filter(|at| is_later(at) && *at <= self.ctime);
        contents.or(Some(self.ctime).filter(is_later))
    }
}

pub(crate) fn change_times(host: &Reader, path: &Path) -> Result<Option<ChangeTimes>, HostError> {
    let (Some(mtime), Some(ctime)) = (host.modified_at(path)?, host.changed_at(path)?) else {
        return Ok(None);
    };
    Ok(from_microseconds(mtime)
        .zip(from_microseconds(ctime))
        .map(|(mtime, ctime)| ChangeTimes { mtime, ctime }))
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]
mod tests {
    use std::{
        fs::{File, FileTimes},
        time::{Duration, SystemTime},
    };

    use stead_engine::model::change::Change;

    use super::*;
    use crate::files::test_root::TestRoot;

    const PATH: &str = "/etc/motd";

    fn drift(since: Timestamp, before: Option<()>, rebooted: bool) -> Drift<()> {
        Drift {
            since,
            modified_at: since,
            rebooted: Some(rebooted),
            after_run: None,
            original: None,
            change: Change::between(before, Some(())).unwrap(),
        }
    }

    async fn trace_fact(root: &TestRoot, since: Timestamp) -> Option<String> {
        let found = path_changed(&root.reader(), PATH, &drift(since, Some(()), false)).await?;
        let Evidence::Modified { fact } = found else {
            panic!("{found:?}")
        };
        Some(fact.split(" 2").next().unwrap().to_owned())
    }

    #[tokio::test]
    async fn path_changed_trusts_ctime_over_a_set_mtime() {
        let hour = Duration::from_hours(1);
        let root = TestRoot::new(&[(PATH, "")]);
        let now = Timestamp::now();
        let (past, future) = (now - hour, now + hour);
        assert_eq!(trace_fact(&root, past).await.unwrap(), "/etc/motd changed");
        assert_eq!(trace_fact(&root, future).await, None);
        let file = File::options().write(true).open(root.at(PATH)).unwrap();
        for at in [SystemTime::now() - 2 * hour, SystemTime::now() + hour] {
            file.set_times(FileTimes::new().set_modified(at)).unwrap();
            let other = "/etc/motd was created, or its owner or mode changed,";
            assert_eq!(trace_fact(&root, past).await.unwrap(), other);
            assert_eq!(trace_fact(&root, now + Duration::from_mins(1)).await, None);
        }
    }

    #[tokio::test]
    async fn only_paths_below_run_are_lost_at_a_reboot() {
        let root = TestRoot::new(&[(PATH, "")]);
        let now = Timestamp::now();
        for (path, rebooted, expected) in [
            ("/run/x", true, Some(Evidence::Reboot)),
            ("/run/x", false, None),
            ("/etc/x", true, None),
        ] {
            let drift = drift(now, None, rebooted);
            assert_eq!(path_changed(&root.reader(), path, &drift).await, expected);
        }
    }
}
