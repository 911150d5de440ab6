//! The kind `file`: a regular file with its contents, mode and owner.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    language::print::is_representable,
    model::{
        address::Address,
        change::Change,
        drift::{Drift, Evidence},
        listing::{Export, ExportedState, Listing},
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Footprint, Importable, Reversible, Watchable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    etc::{self, Etc},
    evidence,
    files::{
        content::{Content, MAX_IMPORTED_TEXT},
        metadata::{FileMetadata, stat_as},
    },
    host::{
        DirsToSync, HostError, IfExists, LinuxHost, MetaKind, Parallelism, PathBatch, Reader,
        StagedFile, Writer, par_chunks, par_map,
    },
    values::{
        access::{
            AccountNames, GROUP, MODE, Mode, OWNER, Owner, OwnerGroup, account_addresses,
            canonical_owners, omit_root,
        },
        path::{ancestors, check, kind_mismatch, provider_error},
        secret_patterns,
    },
};

/// Mode of a new file where none is written.
const DEFAULT_MODE: u32 = 0o644;
/// How much of a large file is searched for secrets, in bytes.
const MAX_SECRET_SCAN: u64 = 1 << 20;

/// How many files wait for the disk at once, from so many of each: a journal of the disk takes what is synced at one time in one go.
const SYNCS: Parallelism = Parallelism {
    max_threads: 8,
    min_per_thread: 4,
};

/// The kind `file`.
pub(crate) struct File;

/// State of a file.
///
/// ```kdl
/// file "/etc/motd" mode="0644" {
///     content "Welcome.\n"
/// }
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    source: Option<PathBuf>,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    owner: Option<Owner>,
    #[serde(default)]
    group: Option<OwnerGroup>,
    #[serde(default)]
    xattrs: Option<BTreeMap<String, String>>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "content",
        Shape::Text,
        Role::Managed,
        "The whole text. A text between three quotes ends with a line break if an empty line precedes the last three.",
    ),
    Attribute::new(
        "source",
        Shape::Path,
        Role::Input,
        "A file beside the spec with the contents, at most 1 GiB; instead of `content`.",
    ),
    MODE,
    OWNER,
    GROUP,
    Attribute::new(
        "xattrs",
        Shape::List,
        Role::Context,
        "Extended attributes and ACLs, kept when the file is replaced.",
    ),
];

impl Provider<LinuxHost> for File {
    const KIND: &'static str = "file";
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .reversible()
        .importable()
        .watchable()
        .footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A regular file, replaced atomically.",
            name: "absolute path",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                max_batch: 64,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Allowed,
            example: "file \"/etc/motd\" mode=\"0644\" {\n    content \"Welcome.\\n\"\n}\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        check(name)
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        if desired.content.is_some() && desired.source.is_some() {
            let problem = Problem::new("`content` and `source` exclude each other");
            return vec![problem.at("source").help("keep one of them")];
        }
        vec![]
    }

    async fn prepare(
        &self,
        _host: &Reader,
        _name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        canonical_owners(&mut desired.owner, &mut desired.group)?;
        if let Some(source) = &desired.source {
            let content = Content::read_source(source);
            desired.content = Some(content.map_err(|problem| vec![problem.at("source")])?);
        }
        if let Some(content) = &desired.content {
            content
                .check_length()
                .map_err(|problem| vec![problem.at("content")])?;
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        par_chunks(names, |names| {
            let (mut batch, mut accounts) = (host.batch(), AccountNames::default());
            let names = names.iter();
            names
                .map(|name| read(&mut batch, &mut accounts, name))
                .collect()
        })
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        let mut dirs = DirsToSync::default();
        let small = |change: &(&str, Change<State>)| is_batchable(&change.1);
        for neighbours in changes.chunk_by(|one, other| small(one) && small(other)) {
            let staged = stage(host, neighbours)?;
            for (written, (name, change)) in staged.into_iter().zip(neighbours) {
                let path = Path::new(name);
                match change {
                    Change::Delete { .. } => host
                        .remove_file_unsynced(path, &mut dirs)
                        .map_err(provider_error(Self::KIND, name, "remove it"))?,
                    Change::Create { after } | Change::Update { after, .. } => match written {
                        Some(written) => written.commit(&mut dirs).map_err(provider_error(
                            Self::KIND,
                            name,
                            "write it",
                        ))?,
                        None => metadata(after).apply(Self::KIND, host, name, MetaKind::File)?,
                    },
                }
            }
        }
        let first = changes.first().map_or("", |(name, _)| *name);
        let attempted = "sync it to disk";
        dirs.sync()
            .map_err(provider_error(Self::KIND, first, attempted))
    }

    fn requires(&self, name: &str, desired: &State) -> Vec<Address> {
        let owners = account_addresses(desired.owner.as_ref(), desired.group.as_ref());
        ancestors(name).into_iter().chain(owners).collect()
    }
}

impl Reversible<LinuxHost> for File {
    async fn back_up(
        &self,
        host: &Writer,
        name: &str,
        change: &Change<State>,
    ) -> Result<(), ProviderError> {
        match change.before().and_then(|before| before.content.as_ref()) {
            Some(content) => content
                .back_up(host, Path::new(name))
                .map_err(provider_error(
                    Self::KIND,
                    name,
                    "save its contents for rollback",
                )),
            None => Ok(()),
        }
    }

    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        host.remove_temporary(Path::new(name))
            .map_err(provider_error(Self::KIND, name, "remove a temporary file"))
    }
}

impl Importable<LinuxHost> for File {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let etc = Etc::read(host).map_err(provider_error(Self::KIND, "/etc", "inspect it"))?;
        let heading = "Files in /etc that are not from a package, or differ from it.";
        Ok(etc.listing(MetaKind::File, heading))
    }

    async fn export(
        &self,
        host: &Reader,
        name: &str,
        mut state: State,
    ) -> Result<Export<State>, ProviderError> {
        let is_secret = match &state.content {
            None => {
                return Ok(Export::Unreadable("only its owner may read it".to_owned()));
            }
            Some(Content::Text(text)) => secret_patterns::contains_secret(text),
            Some(Content::Digest { .. }) => host
                .read_head(Path::new(name), MAX_SECRET_SCAN)
                .map_err(provider_error(Self::KIND, name, "read it"))?
                .is_some_and(|head| {
                    secret_patterns::contains_secret(&String::from_utf8_lossy(&head))
                }),
        };
        if is_secret {
            return Ok(Export::Secret);
        }
        let is_text = |text: &str| text.len() <= MAX_IMPORTED_TEXT && is_representable(text);
        if !matches!(&state.content, Some(Content::Text(text)) if is_text(text)) {
            state.content = None;
            state.source = Some(name.into());
        }
        omit_root(&mut state.owner, &mut state.group);
        Ok(Export::Write(ExportedState {
            state,
            notes: vec![],
            target: etc::export_target(name),
        }))
    }
}

impl Watchable<LinuxHost> for File {
    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        evidence::paths::path_changed(host, name, drift).await
    }
}

impl Footprint<LinuxHost> for File {
    fn managed_paths(&self, name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }
}

/// Returns what is wanted besides the contents.
fn metadata(state: &State) -> FileMetadata {
    FileMetadata {
        mode: state.mode,
        owner: state.owner.clone(),
        group: state.group.clone(),
        xattrs: state.xattrs.clone(),
    }
}

fn read(
    batch: &mut PathBatch<'_>,
    accounts: &mut AccountNames,
    name: &str,
) -> Result<Option<State>, ProviderError> {
    let found = batch.entry(Path::new(name));
    let Some(seen) = found.map_err(provider_error(File::KIND, name, "inspect it"))? else {
        return Ok(None);
    };
    let meta = seen.meta.clone();
    if meta.kind != MetaKind::File {
        return Err(kind_mismatch(File::KIND, name, &meta));
    }
    let (mut content, mut xattrs) = (None, None);
    let opened = seen.open();
    if let Some(mut opened) = none_if_denied(opened, name, "read it")?.flatten() {
        let bytes = Content::read_open(&mut opened, meta.size);
        content = none_if_denied(bytes, name, "read it")?;
        xattrs = none_if_denied(opened.xattrs(), name, "read its extended attributes")?;
    }
    let outside = FileMetadata::from_meta(&meta, accounts);
    Ok(Some(State {
        content,
        source: None,
        mode: outside.mode,
        owner: outside.owner,
        group: outside.group,
        xattrs: xattrs.filter(|xattrs| !xattrs.is_empty()),
    }))
}

/// Takes what could be read; what only others may read is not seen.
fn none_if_denied<T>(
    read: Result<T, HostError>,
    name: &str,
    attempted: &'static str,
) -> Result<Option<T>, ProviderError> {
    match read {
        Err(error) if error.is_not_allowed() => Ok(None),
        read => read
            .map(Some)
            .map_err(provider_error(File::KIND, name, attempted)),
    }
}

/// Whether a change needs little room on the disk beside what it changes, so that many of them may be there at once.
fn is_batchable(change: &Change<State>) -> bool {
    let content = change.after().and_then(|after| after.content.as_ref());
    !matches!(content, Some(Content::Digest { .. }))
}

/// Puts what is to be written beside its place, several at a time; `None` for a change that writes nothing.
fn stage(
    host: &Writer,
    changes: &[(&str, Change<State>)],
) -> Result<Vec<Option<StagedFile>>, ProviderError> {
    par_map(changes, SYNCS, |changes| {
        let written = changes.iter().map(|(name, change)| match change {
            Change::Delete { .. } => Ok(None),
            Change::Update { before, after } if before.content == after.content => Ok(None),
            Change::Create { after } => stage_one(host, name, after, IfExists::Refuse).map(Some),
            Change::Update { after, .. } => {
                stage_one(host, name, after, IfExists::Replace).map(Some)
            }
        });
        written.collect()
    })
}

fn stage_one(
    host: &Writer,
    name: &str,
    after: &State,
    existing: IfExists,
) -> Result<StagedFile, ProviderError> {
    let reader = Reader::new(host.root());
    let there = stat_as(File::KIND, &reader, name, MetaKind::File)?;
    let access =
        metadata(after).desired_attributes(File::KIND, name, there.as_ref(), DEFAULT_MODE)?;
    let content = after
        .content
        .clone()
        .unwrap_or(Content::Text(String::new()));
    let source = after.source.as_deref();
    let staged = content.stage(host, Path::new(name), source, &access, existing);
    staged.map_err(provider_error(File::KIND, name, "write it"))
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use stead_engine::model::error_chain::error_chain;

    use super::*;
    use crate::files::{content::MAX_INLINE, test_root::TestRoot};

    const NAME: &str = "/etc/motd";

    fn with_error_text<T>(result: Result<T, ProviderError>) -> Result<T, String> {
        result.map_err(|error| error_chain(&error).join(": "))
    }

    async fn observed(root: &TestRoot, name: &str) -> Result<Option<State>, String> {
        with_error_text(File.read(&root.reader(), &[name]).await).map(|mut states| states.remove(0))
    }

    /// Saves and applies, as a step of the engine does.
    async fn change(root: &TestRoot, name: &str, after: Option<State>) -> Result<(), String> {
        let before = observed(root, name).await.unwrap();
        let host = root.writer();
        let change = Change::between(before, after).unwrap();
        with_error_text(File.back_up(&host, name, &change).await)?;
        with_error_text(File.apply(&host, vec![(name, change)]).await)
    }

    fn text(text: &str) -> State {
        State {
            content: Some(Content::Text(text.to_owned())),
            ..State::default()
        }
    }

    /// Makes a file with these bytes, lets `after` make another state of it, and rolls back.
    async fn check_round_trip(
        name: &str,
        bytes: Option<&[u8]>,
        after: impl FnOnce(Option<State>) -> Option<State>,
    ) {
        let root = TestRoot::new(&[("/etc/other", "")]);
        if let Some(bytes) = bytes {
            fs::write(root.at(name), bytes).unwrap();
            fs::set_permissions(root.at(name), fs::Permissions::from_mode(0o4711)).unwrap();
            // Not every file system has them; where they are, they must come back.
            xattr::set(root.at(name), "user.x", b"\xff").ok();
        }
        let before = observed(&root, name).await.unwrap();
        let after = after(before.clone());
        change(&root, name, after.clone()).await.unwrap();
        let now = observed(&root, name).await.unwrap();
        assert_eq!(now.is_some(), after.is_some());
        assert!(now.is_none() || now != before);
        if let (Some(now), Some(after)) = (now, after) {
            assert_eq!(now.content, after.content);
            assert_eq!(
                after.mode.unwrap_or(Mode::new(DEFAULT_MODE)),
                now.mode.unwrap()
            );
        }
        change(&root, name, before.clone()).await.unwrap();
        assert_eq!(observed(&root, name).await.unwrap(), before);
        assert_eq!(fs::read(root.at(name)).ok().as_deref(), bytes);
        let there = if bytes.is_some() { 2 } else { 1 };
        assert_eq!(fs::read_dir(root.at("/etc")).unwrap().count(), there);
    }

    #[tokio::test]
    async fn file_is_created_changed_removed_and_restored() {
        let with = |content: &'static str, mode: u32| {
            move |before: Option<State>| {
                Some(State {
                    mode: Some(Mode::new(mode)),
                    ..State {
                        content: text(content).content,
                        ..before.unwrap_or_default()
                    }
                })
            }
        };
        let long = vec![b'x'; 1 + usize::try_from(MAX_INLINE).unwrap()];
        let longest_name = format!("/etc/{}", "x".repeat(255));
        for bytes in [&b"old\n"[..], b"", b"\xff\0\xfe", &long] {
            for name in [NAME, &longest_name] {
                check_round_trip(name, Some(bytes), with("new\n", 0o6750)).await;
                check_round_trip(name, Some(bytes), |_| None).await;
            }
        }
        check_round_trip(NAME, None, |_| Some(text("new"))).await;
        check_round_trip(&longest_name, None, with("new", 0o2600)).await;
        check_round_trip(NAME, Some(b"same"), with("same", 0o600)).await;
    }

    #[tokio::test]
    async fn failed_write_in_a_batch_changes_no_file() {
        let root = TestRoot::new(&[("/etc/0", "old")]);
        let names: Vec<_> = (0..40).map(|number| format!("/etc/{number}")).collect();
        let changes = |bad: &'static str| {
            let names = names.iter().map(String::as_str).chain([bad]);
            let change = |name| (name, Change::Create { after: text("new") });
            let mut changes: Vec<_> = names.map(change).collect();
            let (before, after) = (text("old"), text("new"));
            changes[0].1 = Change::Update { before, after };
            changes
        };
        let host = root.writer();
        let said = with_error_text(File.apply(&host, changes("/none/x")).await);
        assert!(said.unwrap_err().starts_with("file:/none/x: "));
        let there = fs::read_dir(root.at("/etc")).unwrap();
        assert_eq!(there.count(), 1, "nothing is left beside it");
        assert_eq!(fs::read(root.at("/etc/0")).unwrap(), b"old");
        with_error_text(File.apply(&host, changes("/etc/last")).await).unwrap();
        assert_eq!(fs::read_dir(root.at("/etc")).unwrap().count(), 41);
        assert_eq!(fs::read(root.at("/etc/0")).unwrap(), b"new");
    }

    async fn check_content(bytes: &[u8], is_text: bool) {
        let root = TestRoot::new(&[(NAME, "")]);
        fs::write(root.at(NAME), bytes).unwrap();
        let content = observed(&root, NAME).await.unwrap().unwrap().content;
        match content.unwrap() {
            Content::Text(text) => assert!(is_text && text.as_bytes() == bytes),
            Content::Digest { size, .. } => assert!(!is_text && size == bytes.len() as u64),
        }
    }

    #[tokio::test]
    async fn file_content_is_inline_only_for_short_text() {
        let longest = usize::try_from(MAX_INLINE).unwrap();
        check_content(b"", true).await;
        check_content(&vec![b'x'; longest], true).await;
        check_content(&vec![b'x'; longest + 1], false).await;
        check_content(b"caf\xe9", false).await;
    }

    #[tokio::test]
    async fn owner_change_keeps_mode_bits() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        check_round_trip(NAME, Some(b"text"), |before| {
            Some(State {
                owner: Some(Owner::from_uid(12345)),
                group: Some(OwnerGroup::from_gid(12346)),
                ..before.unwrap()
            })
        })
        .await;
    }

    async fn check_refused(root: &TestRoot, name: &str, fact: &str) {
        let error = observed(root, name).await.unwrap_err();
        assert!(error.contains(fact), "{error}");
        let create = Change::Create { after: text("new") };
        let host = root.writer();
        with_error_text(File.apply(&host, vec![(name, create)]).await).unwrap_err();
    }

    #[tokio::test]
    async fn file_is_never_written_through_or_over_a_symlink() {
        let root = TestRoot::new(&[("/real/motd", "old")]);
        symlink("real", root.at("/etc")).unwrap();
        symlink("motd", root.at("/real/link")).unwrap();
        let fact = "`/etc` in the path `/etc/motd` is a symlink; write the real path";
        check_refused(&root, NAME, fact).await;
        let fact = "cannot manage `/real/link` as file: it is a symlink";
        check_refused(&root, "/real/link", fact).await;
        assert_eq!(root.text("/real/motd").as_deref(), Some("old"));
        assert!(root.at("/real/link").is_symlink());
        assert_eq!(fs::read_dir(root.at("/real")).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn file_refuses_directories_and_pipes() {
        let root = TestRoot::new(&[("/etc/motd/file", "")]);
        check_refused(&root, NAME, "it is a directory").await;
        nix::unistd::mkfifo(&root.at("/etc/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        check_refused(&root, "/etc/pipe", "it is a device, socket or pipe").await;
    }

    #[tokio::test]
    async fn remove_partial_deletes_the_temporary_file() {
        let root = TestRoot::new(&[("/etc/.motd.stead-new", "half"), (NAME, "old")]);
        File.remove_partial(&root.writer(), NAME).await.unwrap();
        assert_eq!(fs::read_dir(root.at("/etc")).unwrap().count(), 1);
        assert_eq!(root.text(NAME).as_deref(), Some("old"));
    }

    fn from_source(source: PathBuf) -> State {
        State {
            source: Some(source),
            ..State::default()
        }
    }

    async fn prepared(root: &TestRoot, source: &str) -> Result<State, Problem> {
        File.prepare(&root.reader(), NAME, from_source(root.at(source)))
            .await
            .map_err(|mut problems| problems.remove(0))
    }

    #[tokio::test]
    async fn source_changed_since_the_plan_is_refused() {
        let root = TestRoot::new(&[(NAME, "old")]);
        fs::write(root.at("/source"), b"\xffone").unwrap();
        let after = prepared(&root, "/source").await.unwrap();
        fs::write(root.at("/source"), b"\xfftwo").unwrap();
        let error = change(&root, NAME, Some(after.clone())).await.unwrap_err();
        assert!(
            error.contains("has changed since the plan was made"),
            "{error}"
        );
        assert_eq!(root.text(NAME).as_deref(), Some("old"));
        fs::write(root.at("/source"), b"\xffone").unwrap();
        change(&root, NAME, Some(after)).await.unwrap();
        assert_eq!(fs::read(root.at(NAME)).unwrap(), b"\xffone");
    }

    #[tokio::test]
    async fn missing_blob_is_an_error_and_keeps_the_file() {
        let root = TestRoot::new(&[(NAME, "old")]);
        fs::write(root.at("/source"), b"\xff").unwrap();
        let after = State {
            source: None,
            ..prepared(&root, "/source").await.unwrap()
        };
        let error = change(&root, NAME, Some(after)).await.unwrap_err();
        assert!(error.contains("were not saved"), "{error}");
        assert_eq!(root.text(NAME).as_deref(), Some("old"));
    }

    async fn check_source(root: &TestRoot, source: &str, fact: &str) {
        let problem = prepared(root, source).await.unwrap_err();
        assert_eq!(problem.attribute.as_deref(), Some("source"));
        assert!(problem.message.contains(fact), "{}", problem.message);
    }

    #[tokio::test]
    async fn unusable_source_is_reported_at_source() {
        let root = TestRoot::new(&[("/folder/file", "")]);
        check_source(&root, "/missing", "No such file or directory").await;
        check_source(&root, "/folder", "is a directory, not a file").await;
        symlink("nowhere", root.at("/dangling")).unwrap();
        check_source(&root, "/dangling", "No such file or directory").await;
        nix::unistd::mkfifo(&root.at("/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        check_source(&root, "/pipe", "is a device, socket or pipe, not a file").await;
        let sparse = fs::File::create(root.at("/sparse")).unwrap();
        sparse.set_len(5 << 30).unwrap();
        check_source(
            &root,
            "/sparse",
            "has 5368709120 bytes; a source has at most",
        )
        .await;
        symlink("folder/file", root.at("/link")).unwrap();
        assert_eq!(
            prepared(&root, "/link").await.unwrap().content,
            text("").content
        );
    }
}
