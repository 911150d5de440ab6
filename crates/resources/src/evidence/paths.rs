//! Changes of files as evidence.

use std::path::Path;

use jiff::Timestamp;
use stead_engine::model::drift::{Drift, Evidence};

use crate::{
    evidence::{
        sudo,
        times::{time, when},
    },
    host::{HostError, Reader},
};

/// Where nothing outlives a start of the host: file-hierarchy(7).
const VOLATILE: &str = "/run";

/// Looks for what moved a file, folder or link.
pub(crate) async fn of_path<S>(host: &Reader, path: &str, drift: &Drift<S>) -> Option<Evidence> {
    let path = Path::new(path);
    if drift.change.before().is_none() {
        let is_lost = drift.rebooted == Some(true) && path.starts_with(VOLATILE);
        if is_lost {
            return Some(Evidence::Reboot);
        }
        return sudo::removal(host, path, drift.touched).await;
    }
    of_files(host, &[path], drift.touched).await
}

/// Looks for what changed some files, of which the last change counts.
pub(crate) async fn of_files(host: &Reader, paths: &[&Path], since: Timestamp) -> Option<Evidence> {
    let found = paths.iter().filter_map(|path| {
        let times = changed(host, path).ok()??;
        Some((times.at(since)?, path, times))
    });
    let (at, path, times) = found.max_by_key(|(at, ..)| *at)?;
    if let Some(person) = sudo::change(host, path, at, since).await {
        return Some(person);
    }
    let how = if times.contents == at {
        "changed"
    } else {
        "was created, or its owner or mode changed,"
    };
    Some(Evidence::Trace {
        fact: format!("{} {how} {}", path.display(), when(at)),
    })
}

/// When a file changed.
pub(crate) struct Changed {
    pub(crate) contents: Timestamp,
    /// Its contents, its place, its owner or its mode. Nobody can set this time: inode(7).
    pub(crate) anything: Timestamp,
}

impl Changed {
    /// Returns when that was, if it was after `since`.
    pub(super) fn at(&self, since: Timestamp) -> Option<Timestamp> {
        let is_later = |at: &Timestamp| *at > since;
        // What is dated into the future, or was not touched at all, shows nothing.
        let contents = Some(self.contents).filter(|at| is_later(at) && *at <= self.anything);
        contents.or(Some(self.anything).filter(is_later))
    }
}

pub(crate) fn changed(host: &Reader, path: &Path) -> Result<Option<Changed>, HostError> {
    let (Some(contents), Some(anything)) = (host.modified(path)?, host.touched(path)?) else {
        return Ok(None);
    };
    Ok(time(contents)
        .zip(time(anything))
        .map(|(contents, anything)| Changed { contents, anything }))
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own folder"
)]
mod tests {
    use std::{
        fs::{File, FileTimes},
        time::{Duration, SystemTime},
    };

    use stead_engine::model::change::Change;

    use super::*;
    use crate::files::test_root::Root;

    const PATH: &str = "/etc/motd";

    fn drift(since: Timestamp, before: Option<()>, rebooted: bool) -> Drift<()> {
        Drift {
            since,
            touched: since,
            rebooted: Some(rebooted),
            left: None,
            original: None,
            change: Change::between(before, Some(())).unwrap(),
        }
    }

    async fn said(root: &Root, since: Timestamp) -> Option<String> {
        let found = of_path(&root.reader(), PATH, &drift(since, Some(()), false)).await?;
        let Evidence::Trace { fact } = found else {
            panic!("{found:?}")
        };
        Some(fact.split(" 2").next().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_file_shows_when_it_changed_and_a_time_that_was_set_shows_nothing() {
        let hour = Duration::from_hours(1);
        let root = Root::new(&[(PATH, "")]);
        let now = Timestamp::now();
        let (past, future) = (now - hour, now + hour);
        assert_eq!(said(&root, past).await.unwrap(), "/etc/motd changed");
        assert_eq!(said(&root, future).await, None);
        let file = File::options().write(true).open(root.at(PATH)).unwrap();
        for at in [SystemTime::now() - 2 * hour, SystemTime::now() + hour] {
            file.set_times(FileTimes::new().set_modified(at)).unwrap();
            let other = "/etc/motd was created, or its owner or mode changed,";
            assert_eq!(said(&root, past).await.unwrap(), other);
            assert_eq!(said(&root, now + Duration::from_mins(1)).await, None);
        }
    }

    #[tokio::test]
    async fn only_what_lay_in_memory_is_lost_at_a_reboot() {
        let root = Root::new(&[(PATH, "")]);
        let now = Timestamp::now();
        for (path, rebooted, expected) in [
            ("/run/x", true, Some(Evidence::Reboot)),
            ("/run/x", false, None),
            ("/etc/x", true, None),
        ] {
            let drift = drift(now, None, rebooted);
            assert_eq!(of_path(&root.reader(), path, &drift).await, expected);
        }
    }
}
