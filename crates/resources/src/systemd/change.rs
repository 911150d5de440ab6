//! Executes one change of a unit.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use stead_engine::{model::change::Change, provider::error::ProviderError};

use crate::{
    host::{HostError, IfExists, Reader, UnitFileChange, Writer},
    systemd::{
        files::{UnitFile, drop_in_path, remove, unit_path, write_symlink, write_unit_file},
        links::{enabled_name, enables},
        name::UnitName,
        process::{IfUnknown, check_loaded, ensure_running, record_start, reset_failed, stop},
        start_record::remove_start_record,
        state::{KIND, UnitState},
    },
    values::path::provider_error,
};

/// One change of a unit.
struct UnitChange<'a> {
    name: &'a str,
    is_template: bool,
    before: UnitState,
    /// What is wanted; for a unit that shall not exist, that nothing of it is left.
    after: UnitState,
    is_removed: bool,
}

impl<'a> UnitChange<'a> {
    fn new(name: &'a str, change: Change<UnitState>) -> Self {
        let is_template = UnitName::parse(name).is_ok_and(UnitName::is_template);
        let (before, after) = match change {
            Change::Create { after } => (None, Some(after)),
            Change::Update { before, after } => (Some(before), Some(after)),
            Change::Delete { before } => (Some(before), None),
        };
        Self {
            name,
            is_template,
            before: before.unwrap_or_default(),
            is_removed: after.is_none(),
            after: after.unwrap_or_else(UnitState::absent),
        }
    }

    /// Names the processes that shall end.
    fn processes_to_stop(&self) -> BTreeSet<String> {
        &self.before.processes(self.name) - &self.after.processes(self.name)
    }
}

/// Carries out changes: stops what shall not run, puts all files and links in order, makes systemd read them once, and starts what
/// shall run. So units that cannot start without each other find each other.
pub(crate) async fn execute(
    host: &Writer,
    changes: Vec<(&str, Change<UnitState>)>,
) -> Result<(), ProviderError> {
    let changes = changes.into_iter();
    let works: Vec<_> = changes
        .map(|(name, change)| UnitChange::new(name, change))
        .collect();
    for work in &works {
        stop_outdated(host, work).await?;
    }
    let mut is_outdated = false;
    for work in &works {
        is_outdated |= update_files_and_links(host, work).await? || work.before.stale == Some(true);
    }
    if is_outdated && let Some(first) = works.first() {
        let failed = provider_error(KIND, first.name, "make systemd read its units again");
        host.reload_units().await.map_err(failed)?;
    }
    for work in &works {
        let was = work.after.active.as_deref().unwrap_or_default();
        if !work.is_template && !work.is_removed && !["bad-setting", "error"].contains(&was) {
            check_loaded(host, work.name).await?;
        }
    }
    for work in &works {
        start_desired(host, work).await?;
    }
    Ok(())
}

/// Ends what shall not run any more, and notes what that which goes on was started with.
async fn stop_outdated(host: &Writer, work: &UnitChange<'_>) -> Result<(), ProviderError> {
    let UnitChange {
        name,
        before,
        after,
        ..
    } = work;
    for process in work.processes_to_stop() {
        stop(host, &process).await?;
    }
    if work.is_removed && !work.is_template {
        // What nobody can observe, such as the work of a oneshot, may be under way.
        stop(host, name).await?;
    }
    if before.inputs_digest() != after.inputs_digest() {
        for process in &before.processes(name) & &after.processes(name) {
            record_start(host, &process).await?;
        }
    }
    Ok(())
}

/// Starts what shall run, restarts what runs with older settings than its files have, and forgets what has ended.
async fn start_desired(host: &Writer, work: &UnitChange<'_>) -> Result<(), ProviderError> {
    let UnitChange {
        name,
        before,
        after,
        ..
    } = work;
    let unknown = match (after.stale, before.stale) {
        (Some(true), _) => IfUnknown::Leave,
        (_, Some(true)) => IfUnknown::Restart,
        _ => IfUnknown::CompareTimes,
    };
    let to_run = after.processes(name);
    if after.masked != Some(true) {
        for process in &to_run {
            ensure_running(host, process, unknown).await?;
        }
    }
    for process in work.processes_to_stop() {
        let failed = provider_error(KIND, name, "remove the record of its start");
        remove_start_record(host, &process).map_err(failed)?;
    }
    if !work.is_template && to_run.is_empty() && after.active.as_deref() != Some("failed") {
        reset_failed(host, name).await?;
    }
    Ok(())
}

/// Puts the files and links of a unit in order. Says whether there was anything to do.
async fn update_files_and_links(
    host: &Writer,
    work: &UnitChange<'_>,
) -> Result<bool, ProviderError> {
    let UnitChange {
        name,
        before,
        after,
        is_removed,
        ..
    } = work;
    let failed = |attempted: &'static str| provider_error(KIND, name, attempted);
    let enabled_as = enabled_name(&Reader::new(host.root()), name).map_err(failed("read it"))?;
    // What is recorded is put back as it was; otherwise `[Install]` says which links there are.
    let is_recorded = *is_removed || after.has_recorded_links(enabled_as.as_deref());
    let is_enabled = (before.enabled == Some(true), after.enabled == Some(true));
    let is_masked = (before.masked == Some(true), after.masked == Some(true));
    let mut has_changed = false;
    if is_masked == (true, false) {
        change_links(host, name, UnitFileChange::Unmask, "unmask it").await?;
        has_changed = true;
    }
    if !is_recorded && is_enabled == (true, false) {
        change_links(host, name, UnitFileChange::Disable, "disable it").await?;
        has_changed = true;
    }
    has_changed |= write_files(host, name, before, after).map_err(failed("write its files"))?;
    if is_recorded {
        has_changed |= write_links(host, name, before, (!is_removed).then_some(after))
            .map_err(failed("restore the links that enable it"))?;
    } else if is_enabled == (false, true) {
        change_links(host, name, UnitFileChange::Enable, "enable it").await?;
        has_changed = true;
    }
    if is_masked == (false, true) {
        change_links(host, name, UnitFileChange::Mask, "mask it").await?;
        has_changed = true;
    }
    Ok(has_changed)
}

async fn change_links(
    host: &Writer,
    name: &str,
    links: UnitFileChange,
    attempted: &'static str,
) -> Result<(), ProviderError> {
    host.change_unit_files(links, name)
        .await
        .map_err(provider_error(KIND, name, attempted))
}

/// Writes and removes the unit file and the drop-ins; says whether there was anything to do.
fn write_files(
    host: &Writer,
    name: &str,
    before: &UnitState,
    after: &UnitState,
) -> Result<bool, HostError> {
    let mut files = vec![];
    if let Some(wanted) = &after.content {
        let there = before.content.as_ref().unwrap_or(&UnitFile::ABSENT);
        files.push((unit_path(name), there, wanted));
    }
    let names = |state: &UnitState| -> BTreeSet<String> {
        state
            .drop_ins
            .iter()
            .flat_map(BTreeMap::keys)
            .cloned()
            .collect()
    };
    let drop_ins = &names(before) | &names(after);
    for drop_in in &drop_ins {
        let path = drop_in_path(name, drop_in);
        files.push((path, before.drop_in(drop_in), after.drop_in(drop_in)));
    }
    let mut has_changed = false;
    for (path, there, wanted) in files {
        if there == wanted {
            continue;
        }
        has_changed = true;
        let key = path.display().to_string();
        let access = after.access.as_ref().and_then(|access| access.get(&key));
        let existing = match there {
            UnitFile::Unset { .. } => IfExists::Refuse,
            _ => IfExists::Replace,
        };
        write_unit_file(host, &path, wanted, access, existing)?;
    }
    Ok(has_changed)
}

/// Puts the links in order that were recorded; those of a unit that shall not exist are removed.
pub(crate) fn write_links(
    host: &Writer,
    name: &str,
    before: &UnitState,
    after: Option<&UnitState>,
) -> Result<bool, HostError> {
    let wanted = after
        .and_then(|after| after.links.clone())
        .unwrap_or_default();
    let is_mine = |path: &str, target: &str| after.is_some() || enables(name, path, target);
    let mut has_changed = false;
    for (path, target) in before.links.iter().flatten() {
        if !wanted.contains_key(path) && is_mine(path, target) {
            remove(host, Path::new(path))?;
            has_changed = true;
        }
    }
    for (path, target) in &wanted {
        if before.links.as_ref().and_then(|links| links.get(path)) != Some(target) {
            write_symlink(host, Path::new(path), Path::new(target))?;
            has_changed = true;
        }
    }
    Ok(has_changed)
}

#[cfg(test)]
mod tests {
    use stead_engine::provider::traits::Provider;

    use super::*;
    use crate::{files::test_root::TestRoot, kinds::unit::Unit};

    const NAME: &str = "a.service";

    async fn apply_change(
        root: &TestRoot,
        before: Option<&UnitState>,
        after: Option<&UnitState>,
    ) -> bool {
        let change = Change::between(before.cloned(), after.cloned()).unwrap();
        update_files_and_links(&root.writer(), &UnitChange::new(NAME, change))
            .await
            .unwrap()
    }

    async fn observed(root: &TestRoot) -> Option<UnitState> {
        Unit.read(&root.reader(), &[NAME]).await.unwrap().remove(0)
    }

    /// A unit with everything that it can have in /etc/systemd/system.
    fn whole() -> TestRoot {
        let root = TestRoot::new(&[
            (
                "/etc/systemd/system/a.service",
                "[Service]\nExecStart=/bin/a\n",
            ),
            (
                "/etc/systemd/system/a.service.d/10-x.conf",
                "[Service]\nNice=1\n",
            ),
        ]);
        root.symlink("/etc/systemd/system/a.service.d/20-y.conf", "/dev/null");
        root.symlink(
            "/etc/systemd/system/x.target.wants/a.service",
            "../a.service",
        );
        root.symlink(
            "/etc/systemd/system/other.service",
            "/etc/systemd/system/a.service",
        );
        root
    }

    #[tokio::test]
    async fn files_and_links_are_restored_as_recorded() {
        let root = whole();
        let recorded = observed(&root).await.unwrap();
        assert!(apply_change(&root, Some(&recorded), None).await);
        assert_eq!(observed(&root).await, None);
        let left = root
            .reader()
            .list_dir(std::path::Path::new("/etc/systemd/system"));
        assert!(left.unwrap().is_empty());
        assert!(apply_change(&root, None, Some(&recorded)).await);
        assert_eq!(observed(&root).await.as_ref(), Some(&recorded));
        assert!(!apply_change(&root, Some(&recorded), Some(&recorded)).await);
    }

    #[tokio::test]
    async fn unit_change_touches_only_named_files() {
        let root = whole();
        let before = observed(&root).await.unwrap();
        let mut after = before.clone();
        let drop_ins = after.drop_ins.as_mut().unwrap();
        drop_ins.remove("10-x");
        let text = crate::files::content::Content::Text("[Service]\nNice=2\n".to_owned());
        drop_ins.insert("30-z".to_owned(), Some(UnitFile::File(text)));
        assert!(apply_change(&root, Some(&before), Some(&after)).await);
        let now = observed(&root).await.unwrap();
        assert_eq!(now, after);
        assert!(apply_change(&root, Some(&now), Some(&before)).await);
        assert_eq!(observed(&root).await, Some(before));
    }

    #[tokio::test]
    async fn foreign_unit_files_are_not_replaced() {
        let root = whole();
        let before = UnitState::default();
        let after = UnitState {
            links: None,
            ..observed(&root).await.unwrap()
        };
        let result = write_files(&root.writer(), NAME, &before, &after);
        assert!(result.unwrap_err().to_string().contains("move into place"));
    }
}
