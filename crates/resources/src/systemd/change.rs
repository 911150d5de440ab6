//! Executes one change of a unit.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use stead_engine::{model::change::Change, provider::error::ProviderError};

use crate::{
    host::{Existing, HostError, Reader, UnitLinks, Writer},
    systemd::{
        files::{UnitFile, drop_in_of, path_of, put, put_link, remove},
        links::{enabled_as, is_link_of},
        name::UnitName,
        process::{Unknown, bring_up, check_loaded, forget_failure, note_start, stop},
        start_record::forget,
        state::{KIND, State},
    },
    values::path::refused,
};

/// One change of a unit.
struct Work<'a> {
    name: &'a str,
    is_template: bool,
    before: State,
    /// What is wanted; for a unit that shall not exist, that nothing of it is left.
    after: State,
    is_gone: bool,
}

impl<'a> Work<'a> {
    fn new(name: &'a str, change: Change<State>) -> Self {
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
            is_gone: after.is_none(),
            after: after.unwrap_or_else(State::gone),
        }
    }

    /// Names the processes that shall end.
    fn to_end(&self) -> BTreeSet<String> {
        &self.before.processes(self.name) - &self.after.processes(self.name)
    }
}

/// Carries out changes: stops what shall not run, puts all files and links in order, makes systemd read them once, and starts what
/// shall run. So units that cannot start without each other find each other.
pub(crate) async fn carry_out(
    host: &Writer,
    changes: Vec<(&str, Change<State>)>,
) -> Result<(), ProviderError> {
    let changes = changes.into_iter();
    let works: Vec<_> = changes
        .map(|(name, change)| Work::new(name, change))
        .collect();
    for work in &works {
        end(host, work).await?;
    }
    let mut is_outdated = false;
    for work in &works {
        is_outdated |= put_in_order(host, work).await? || work.before.stale == Some(true);
    }
    if is_outdated && let Some(first) = works.first() {
        let refused = refused(KIND, first.name, "make systemd read its units again");
        host.reload_units().await.map_err(refused)?;
    }
    for work in &works {
        let was = work.after.active.as_deref().unwrap_or_default();
        if !work.is_template && !work.is_gone && !["bad-setting", "error"].contains(&was) {
            check_loaded(host, work.name).await?;
        }
    }
    for work in &works {
        begin(host, work).await?;
    }
    Ok(())
}

/// Ends what shall not run any more, and notes what that which goes on was started with.
async fn end(host: &Writer, work: &Work<'_>) -> Result<(), ProviderError> {
    let Work {
        name,
        before,
        after,
        ..
    } = work;
    for process in work.to_end() {
        stop(host, &process).await?;
    }
    if work.is_gone && !work.is_template {
        // What nobody can observe, such as the work of a oneshot, may be under way.
        stop(host, name).await?;
    }
    if before.inputs() != after.inputs() {
        for process in &before.processes(name) & &after.processes(name) {
            note_start(host, &process).await?;
        }
    }
    Ok(())
}

/// Starts what shall run, restarts what runs with older settings than its files have, and forgets what has ended.
async fn begin(host: &Writer, work: &Work<'_>) -> Result<(), ProviderError> {
    let Work {
        name,
        before,
        after,
        ..
    } = work;
    let unknown = match (after.stale, before.stale) {
        (Some(true), _) => Unknown::Leave,
        (_, Some(true)) => Unknown::Restart,
        _ => Unknown::Judge,
    };
    let to_run = after.processes(name);
    if after.masked != Some(true) {
        for process in &to_run {
            bring_up(host, process, unknown).await?;
        }
    }
    for process in work.to_end() {
        let refused = refused(KIND, name, "remove the record of its start");
        forget(host, &process).map_err(refused)?;
    }
    if !work.is_template && to_run.is_empty() && after.active.as_deref() != Some("failed") {
        forget_failure(host, name).await?;
    }
    Ok(())
}

/// Puts the files and links of a unit in order. Says whether there was anything to do.
async fn put_in_order(host: &Writer, work: &Work<'_>) -> Result<bool, ProviderError> {
    let Work {
        name,
        before,
        after,
        is_gone,
        ..
    } = work;
    let refused = |attempted: &'static str| refused(KIND, name, attempted);
    let enabled_as = enabled_as(&Reader::new(host.root()), name).map_err(refused("read it"))?;
    // What is recorded is put back as it was; otherwise `[Install]` says which links there are.
    let is_recorded = *is_gone || after.has_its_links(enabled_as.as_deref());
    let is_enabled = (before.enabled == Some(true), after.enabled == Some(true));
    let is_masked = (before.masked == Some(true), after.masked == Some(true));
    let mut has_changed = false;
    if is_masked == (true, false) {
        link(host, name, UnitLinks::Unmask, "unmask it").await?;
        has_changed = true;
    }
    if !is_recorded && is_enabled == (true, false) {
        link(host, name, UnitLinks::Disable, "disable it").await?;
        has_changed = true;
    }
    has_changed |= put_files(host, name, before, after).map_err(refused("write its files"))?;
    if is_recorded {
        has_changed |= put_links(host, name, before, (!is_gone).then_some(after))
            .map_err(refused("restore the links that enable it"))?;
    } else if is_enabled == (false, true) {
        link(host, name, UnitLinks::Enable, "enable it").await?;
        has_changed = true;
    }
    if is_masked == (false, true) {
        link(host, name, UnitLinks::Mask, "mask it").await?;
        has_changed = true;
    }
    Ok(has_changed)
}

async fn link(
    host: &Writer,
    name: &str,
    links: UnitLinks,
    attempted: &'static str,
) -> Result<(), ProviderError> {
    host.link_unit(links, name)
        .await
        .map_err(refused(KIND, name, attempted))
}

/// Writes and removes the unit file and the drop-ins; says whether there was anything to do.
fn put_files(host: &Writer, name: &str, before: &State, after: &State) -> Result<bool, HostError> {
    let mut files = vec![];
    if let Some(wanted) = &after.content {
        let there = before.content.as_ref().unwrap_or(&UnitFile::NOTHING);
        files.push((path_of(name), there, wanted));
    }
    let names = |state: &State| -> BTreeSet<String> {
        state
            .drop_ins
            .iter()
            .flat_map(BTreeMap::keys)
            .cloned()
            .collect()
    };
    let drop_ins = &names(before) | &names(after);
    for drop_in in &drop_ins {
        let path = drop_in_of(name, drop_in);
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
            UnitFile::Unset { .. } => Existing::Refuse,
            _ => Existing::Replace,
        };
        put(host, &path, wanted, access, existing)?;
    }
    Ok(has_changed)
}

/// Puts the links in order that were recorded; those of a unit that shall not exist are removed.
pub(crate) fn put_links(
    host: &Writer,
    name: &str,
    before: &State,
    after: Option<&State>,
) -> Result<bool, HostError> {
    let wanted = after
        .and_then(|after| after.links.clone())
        .unwrap_or_default();
    let is_mine = |path: &str, target: &str| after.is_some() || is_link_of(name, path, target);
    let mut has_changed = false;
    for (path, target) in before.links.iter().flatten() {
        if !wanted.contains_key(path) && is_mine(path, target) {
            remove(host, Path::new(path))?;
            has_changed = true;
        }
    }
    for (path, target) in &wanted {
        if before.links.as_ref().and_then(|links| links.get(path)) != Some(target) {
            put_link(host, Path::new(path), Path::new(target))?;
            has_changed = true;
        }
    }
    Ok(has_changed)
}

#[cfg(test)]
mod tests {
    use stead_engine::provider::traits::Provider;

    use super::*;
    use crate::{files::test_root::Root, kinds::unit::Unit};

    const NAME: &str = "a.service";

    async fn put(root: &Root, before: Option<&State>, after: Option<&State>) -> bool {
        let change = Change::between(before.cloned(), after.cloned()).unwrap();
        put_in_order(&root.writer(), &Work::new(NAME, change))
            .await
            .unwrap()
    }

    async fn observed(root: &Root) -> Option<State> {
        Unit.read(&root.reader(), &[NAME]).await.unwrap().remove(0)
    }

    /// A unit with everything that it can have in /etc/systemd/system.
    fn whole() -> Root {
        let root = Root::new(&[
            (
                "/etc/systemd/system/a.service",
                "[Service]\nExecStart=/bin/a\n",
            ),
            (
                "/etc/systemd/system/a.service.d/10-x.conf",
                "[Service]\nNice=1\n",
            ),
        ]);
        root.link("/etc/systemd/system/a.service.d/20-y.conf", "/dev/null");
        root.link(
            "/etc/systemd/system/x.target.wants/a.service",
            "../a.service",
        );
        root.link(
            "/etc/systemd/system/other.service",
            "/etc/systemd/system/a.service",
        );
        root
    }

    #[tokio::test]
    async fn files_and_links_are_put_back_as_they_were_recorded() {
        let root = whole();
        let recorded = observed(&root).await.unwrap();
        assert!(put(&root, Some(&recorded), None).await);
        assert_eq!(observed(&root).await, None);
        let left = root
            .reader()
            .list_folder(std::path::Path::new("/etc/systemd/system"));
        assert!(left.unwrap().is_empty());
        assert!(put(&root, None, Some(&recorded)).await);
        assert_eq!(observed(&root).await.as_ref(), Some(&recorded));
        assert!(!put(&root, Some(&recorded), Some(&recorded)).await);
    }

    #[tokio::test]
    async fn a_wish_changes_only_what_it_names() {
        let root = whole();
        let before = observed(&root).await.unwrap();
        let mut after = before.clone();
        let drop_ins = after.drop_ins.as_mut().unwrap();
        drop_ins.remove("10-x");
        let text = crate::files::content::Content::Text("[Service]\nNice=2\n".to_owned());
        drop_ins.insert("30-z".to_owned(), Some(UnitFile::File(text)));
        assert!(put(&root, Some(&before), Some(&after)).await);
        let now = observed(&root).await.unwrap();
        assert_eq!(now, after);
        assert!(put(&root, Some(&now), Some(&before)).await);
        assert_eq!(observed(&root).await, Some(before));
    }

    #[tokio::test]
    async fn nothing_of_others_is_replaced() {
        let root = whole();
        let before = State::default();
        let after = State {
            links: None,
            ..observed(&root).await.unwrap()
        };
        let refused = put_files(&root.writer(), NAME, &before, &after);
        assert!(refused.unwrap_err().to_string().contains("move into place"));
    }
}
