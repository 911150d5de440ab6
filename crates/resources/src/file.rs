//! The kind `file`: a regular file with its contents, mode and owner.

use std::{
    collections::BTreeMap,
    fs::File as OpenFile,
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use stead_engine::{
    address::Address,
    change::Change,
    provider::{Provider, ProviderError},
    report::chain,
    schema::{Absence, Attribute, Problem, Role, Schema, Shape},
};

use crate::{
    access::{GROUP, MODE, Mode, OWNER, Owner, OwnerGroup, access, canonical_owners},
    content::{Content, INLINE},
    host::{Existing, HostError, Live, Meta, MetaKind, Reader, Writer},
    path::{ancestors, check, other_kind, refused},
};

/// Mode of a new file where none is written.
const DEFAULT_MODE: u32 = 0o644;
/// The largest source, in bytes: what is larger does not belong into a host's configuration.
const LARGEST_SOURCE: u64 = 1 << 30;

/// The kind `file`.
pub(crate) struct File;

/// State of a file.
///
/// ```kdl
/// file "/etc/motd" mode="0644" {
///     content "Welcome.\n"
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<Owner>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<OwnerGroup>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xattrs: Option<BTreeMap<String, String>>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "content",
        shape: Shape::Text,
        role: Role::Managed,
        doc: "The whole text. A text between three quotes ends with a line break if an empty line stands before the last three.",
        check: None,
    },
    Attribute {
        name: "source",
        shape: Shape::Path,
        role: Role::Input,
        doc: "A file beside the spec whose bytes are wanted, at most 1 GiB; instead of `content`.",
        check: None,
    },
    MODE,
    OWNER,
    GROUP,
    Attribute {
        name: "xattrs",
        shape: Shape::List,
        role: Role::Context,
        doc: "Extended attributes and ACLs, kept when the file is replaced.",
        check: None,
    },
];

impl Provider<Live> for File {
    const KIND: &'static str = "file";
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A regular file, replaced atomically.",
            name: "absolute path",
            main: None,
            attributes: ATTRIBUTES,
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
            desired.content =
                Some(read_source(source).map_err(|problem| vec![problem.at("source")])?);
        }
        if let Some(Content::Text(text)) = &desired.content
            && text.len() as u64 > INLINE
        {
            let problem = Problem::new(format!(
                "a text of {} bytes is too long for a spec",
                text.len()
            ));
            return Err(vec![problem.at("content").help(format!(
                "more than {INLINE} bytes go into a file beside the spec: `source=\"…\"`"
            ))]);
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        names.iter().map(|name| read(host, name)).collect()
    }

    async fn save(&self, host: &Writer, name: &str, before: &State) -> Result<(), ProviderError> {
        match before.content.as_ref().and_then(Content::digested) {
            Some(digested) => host.save_blob(Path::new(name), &digested).map_err(refused(
                Self::KIND,
                name,
                "keep its contents for going back",
            )),
            None => Ok(()),
        }
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let path = Path::new(name);
            match change {
                Change::Delete { .. } => {
                    host.remove_file(path)
                        .map_err(refused(Self::KIND, name, "remove it"))?;
                }
                Change::Create { after } => put(host, name, &after, Existing::Refuse)?,
                Change::Update { before, after } if before.content == after.content => {
                    let there = meta(&reader(host), name)?;
                    host.set_access(path, wanted_access(name, &after, there.as_ref())?)
                        .map_err(refused(Self::KIND, name, "change its owner and mode"))?;
                    restore_xattrs(host, name, &after)?;
                }
                Change::Update { after, .. } => put(host, name, &after, Existing::Replace)?,
            }
        }
        Ok(())
    }

    async fn clean(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        host.clean(Path::new(name))
            .map_err(refused(Self::KIND, name, "remove a temporary file"))
    }

    async fn list(&self, _host: &Reader) -> Result<Vec<String>, ProviderError> {
        Ok(vec![])
    }

    fn requires(&self, name: &str, _desired: &State) -> Vec<Address> {
        ancestors(name)
    }
}

fn reader(host: &Writer) -> Reader {
    Reader::new(host.root())
}

fn meta(host: &Reader, name: &str) -> Result<Option<Meta>, ProviderError> {
    let found = host
        .stat(Path::new(name))
        .map_err(refused(File::KIND, name, "look at it"))?;
    match found {
        Some(meta) if meta.kind != MetaKind::File => Err(other_kind(File::KIND, name, &meta)),
        found => Ok(found),
    }
}

fn read(host: &Reader, name: &str) -> Result<Option<State>, ProviderError> {
    let path = Path::new(name);
    let Some(meta) = meta(host, name)? else {
        return Ok(None);
    };
    let content = match Content::read(host, path, meta.size) {
        Err(error) if is_not_allowed(&error) => None,
        content => content.map_err(refused(File::KIND, name, "read it"))?,
    };
    let xattrs = match host.xattrs(path) {
        Err(error) if is_not_allowed(&error) => None,
        xattrs => {
            Some(xattrs.map_err(refused(File::KIND, name, "read its extended attributes"))?)
        }
    };
    Ok(Some(State {
        content,
        source: None,
        mode: Some(Mode::new(meta.mode)),
        owner: Some(Owner::of(meta.uid)),
        group: Some(OwnerGroup::of(meta.gid)),
        xattrs: xattrs.filter(|xattrs| !xattrs.is_empty()),
    }))
}

fn is_not_allowed(error: &HostError) -> bool {
    matches!(error, HostError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
}

fn wanted_access(
    name: &str,
    after: &State,
    there: Option<&Meta>,
) -> Result<crate::host::Access, ProviderError> {
    access(
        after.mode,
        after.owner.as_ref(),
        after.group.as_ref(),
        there,
        DEFAULT_MODE,
    )
    .map_err(|problem| {
        ProviderError::new(Address::new(File::KIND, name), "find its owner", problem)
    })
}

fn put(host: &Writer, name: &str, after: &State, existing: Existing) -> Result<(), ProviderError> {
    let path = Path::new(name);
    let there = meta(&reader(host), name)?;
    let access = wanted_access(name, after, there.as_ref())?;
    let content = after
        .content
        .clone()
        .unwrap_or(Content::Text(String::new()));
    let result = match &content {
        Content::Text(text) => host.put_file(path, &mut text.as_bytes(), None, access, existing),
        Content::Digest { sha256, .. } => {
            let mut bytes = open_bytes(host, sha256, after.source.as_deref()).map_err(refused(
                File::KIND,
                name,
                "find its contents",
            ))?;
            host.put_file(
                path,
                &mut bytes,
                content.digested().as_ref(),
                access,
                existing,
            )
        }
    };
    result.map_err(refused(File::KIND, name, "write it"))?;
    restore_xattrs(host, name, after)
}

fn restore_xattrs(host: &Writer, name: &str, after: &State) -> Result<(), ProviderError> {
    match &after.xattrs {
        Some(xattrs) => host.set_xattrs(Path::new(name), xattrs).map_err(refused(
            File::KIND,
            name,
            "set its extended attributes",
        )),
        None => Ok(()),
    }
}

/// Opens the bytes of a digest: where they were kept, else the source. They are checked while they are written.
fn open_bytes(
    host: &Writer,
    sha256: &str,
    source: Option<&Path>,
) -> Result<Box<dyn Read>, HostError> {
    if let Some(kept) = host.open_blob(sha256)? {
        return Ok(Box::new(kept));
    }
    let source = source.unwrap_or(Path::new("/")).to_owned();
    let opened = OpenFile::open(&source).map_err(HostError::io("open the source", &source))?;
    Ok(Box::new(opened))
}

/// Reads the source of a spec: a file of the person who runs stead, wherever it is, so links to it are followed.
fn read_source(source: &Path) -> Result<Content, Problem> {
    let shown = source.display();
    let resolved = source.canonicalize().map_err(|error| {
        Problem::new(format!("cannot read `{shown}`: {error}"))
            .help("`source` is a path relative to the spec")
    })?;
    let reader = Reader::new(Path::new("/"));
    let meta = reader.stat(&resolved).map_err(|error| said(&error))?;
    let Some(meta) = meta else {
        return Err(Problem::new(format!("`{shown}` does not exist")));
    };
    if meta.kind != MetaKind::File {
        return Err(Problem::new(format!(
            "`{shown}` is {}, not a file",
            meta.kind.noun()
        )));
    }
    if meta.size > LARGEST_SOURCE {
        return Err(Problem::new(format!(
            "`{shown}` has {} bytes; a source has at most {LARGEST_SOURCE}",
            meta.size
        )));
    }
    Content::read(&reader, &resolved, meta.size)
        .map_err(|error| said(&error))?
        .ok_or_else(|| Problem::new(format!("`{shown}` does not exist")))
}

fn said(error: &HostError) -> Problem {
    Problem::new(chain(error).join(": "))
}
