//! The kind `secret-file`: a file with secret contents. Its state has a digest of them and never themselves.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        drift::{Drift, Evidence},
        error_chain::error_chain,
        listing::Listing,
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
    evidence,
    files::{
        metadata::{FileMetadata, stat_as},
        secret_source::{SecretSource, digest_for_path},
    },
    host::{HostError, IfExists, LinuxHost, MetaKind, Reader, Secret, Writer},
    values::{
        access::{
            GROUP, MODE, Mode, OWNER, Owner, OwnerGroup, account_addresses, canonical_owners,
        },
        path::{ancestors, check, provider_error},
    },
};

/// Mode of a new file where none is written: for its owner alone.
const DEFAULT_MODE: u32 = 0o600;

/// The kind `secret-file`.
pub(crate) struct SecretFile;

/// State of a file with a secret.
///
/// ```kdl
/// secret-file "/etc/app/token" (secret)"file:/etc/stead/token" owner="root"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    owner: Option<Owner>,
    #[serde(default)]
    group: Option<OwnerGroup>,
    #[serde(default)]
    xattrs: Option<BTreeMap<String, String>>,
}

fn check_source(text: &str) -> Result<(), Problem> {
    SecretSource::parse(text).map(drop)
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "value",
        shape: Shape::Secret,
        role: Role::Input,
        doc: "Where the secret comes from: a file, a credential of systemd, or what a command prints. At most 64 KiB.",
        check: Some(check_source),
    },
    Attribute::new(
        "digest",
        Shape::Text,
        Role::Derived,
        "A digest of the contents, useless on other hosts.",
    ),
    Attribute {
        doc: "Permission bits as octal digits. A new one gets 0600.",
        ..MODE
    },
    OWNER,
    GROUP,
    Attribute::new(
        "xattrs",
        Shape::List,
        Role::Context,
        "Extended attributes and ACLs, kept when the file is replaced.",
    ),
];

impl Provider<LinuxHost> for SecretFile {
    const KIND: &'static str = "secret-file";
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .reversible()
        .importable()
        .watchable()
        .footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A file with secret contents, which appear in no plan, journal, log or error.",
            name: "absolute path",
            main: Some("value"),
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle::DEFAULT,
            absence: Absence::Allowed,
            example: "secret-file \"/etc/app/token\" (secret)\"file:/etc/stead/token\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        check(name)
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        if desired.value.is_none() {
            let problem = Problem::new("the source of the secret is missing");
            return vec![problem.help(crate::files::secret_source::USAGE)];
        }
        vec![]
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        canonical_owners(&mut desired.owner, &mut desired.group)?;
        if desired.digest.is_none()
            && let Some(value) = &desired.value
        {
            let secret = read_source(host, value).await;
            let secret = secret.map_err(|problem| vec![problem.at("value")])?;
            let digest = digest_for_path(host, name, &secret);
            let failed = |error: HostError| vec![Problem::new(error_chain(&error).join(": "))];
            desired.digest = Some(digest.map_err(failed)?);
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

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let path = Path::new(name);
            match change {
                Change::Delete { .. } => {
                    host.remove_file(path).map_err(provider_error(
                        Self::KIND,
                        name,
                        "remove it",
                    ))?;
                }
                Change::Create { after } => {
                    write_secret(host, name, &after, IfExists::Refuse).await?;
                }
                Change::Update { before, after } if before.digest == after.digest => {
                    metadata(&after).apply(Self::KIND, host, name, MetaKind::File)?;
                }
                Change::Update { after, .. } => {
                    write_secret(host, name, &after, IfExists::Replace).await?;
                }
            }
        }
        Ok(())
    }

    fn requires(&self, name: &str, desired: &State) -> Vec<Address> {
        let owners = account_addresses(desired.owner.as_ref(), desired.group.as_ref());
        let from = desired.value.as_deref().map(SecretSource::parse);
        let from = match from {
            Some(Ok(SecretSource::File(path))) => {
                path.to_str().map(|path| Address::new("file", path))
            }
            _ => None,
        };
        ancestors(name)
            .into_iter()
            .chain(owners)
            .chain(from)
            .collect()
    }
}

impl Reversible<LinuxHost> for SecretFile {
    async fn back_up(
        &self,
        host: &Writer,
        name: &str,
        change: &Change<State>,
    ) -> Result<(), ProviderError> {
        let before = change.before().and_then(|before| before.digest.as_ref());
        if before == change.after().and_then(|after| after.digest.as_ref()) {
            return Ok(());
        }
        let Some(digest) = before else { return Ok(()) };
        let refused = provider_error(Self::KIND, name, "save its contents for rollback");
        back_up_secret(host, name, digest).map_err(refused)
    }

    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        host.remove_temporary(Path::new(name))
            .map_err(provider_error(Self::KIND, name, "remove a temporary file"))
    }
}

impl Importable<LinuxHost> for SecretFile {
    async fn list(&self, _host: &Reader) -> Result<Listing, ProviderError> {
        Ok(Listing::not_importable(
            "not importable: a host does not record the source of a secret",
        ))
    }
}

impl Watchable<LinuxHost> for SecretFile {
    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        evidence::paths::path_changed(host, name, drift).await
    }
}

impl Footprint<LinuxHost> for SecretFile {
    fn managed_paths(&self, name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }
}

async fn read_source(host: &Reader, value: &str) -> Result<Secret, Problem> {
    SecretSource::parse(value)?.read(host).await
}

fn reader(host: &Writer) -> Reader {
    Reader::new(host.root())
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

fn read(host: &Reader, name: &str) -> Result<Option<State>, ProviderError> {
    let Some(meta) = stat_as(SecretFile::KIND, host, name, MetaKind::File)? else {
        return Ok(None);
    };
    let digest = match host.read_secret(Path::new(name)) {
        Err(error) if error.is_not_allowed() => None,
        secret => {
            let secret = secret.map_err(provider_error(SecretFile::KIND, name, "read it"))?;
            let digest = secret
                .map(|secret| digest_for_path(host, name, &secret))
                .transpose();
            digest.map_err(provider_error(SecretFile::KIND, name, "digest it"))?
        }
    };
    let FileMetadata {
        mode,
        owner,
        group,
        xattrs,
    } = FileMetadata::read(SecretFile::KIND, host, name, &meta)?;
    Ok(Some(State {
        value: None,
        digest,
        mode,
        owner,
        group,
        xattrs,
    }))
}

/// Writes the secret that has the digest: the one that was kept, else the one of the reference.
async fn write_secret(
    host: &Writer,
    name: &str,
    after: &State,
    existing: IfExists,
) -> Result<(), ProviderError> {
    let there = stat_as(SecretFile::KIND, &reader(host), name, MetaKind::File)?;
    let access =
        metadata(after).desired_attributes(SecretFile::KIND, name, there.as_ref(), DEFAULT_MODE)?;
    let failed = |attempted: &str, why: Box<dyn std::error::Error + Send + Sync>| {
        ProviderError::new(Address::new(SecretFile::KIND, name), attempted, why)
    };
    let host_reader = reader(host);
    let kept = match &after.digest {
        Some(digest) => host.load_secret(digest),
        None => Ok(None),
    };
    let kept = kept.map_err(provider_error(
        SecretFile::KIND,
        name,
        "find its saved contents",
    ))?;
    let secret = match (kept, &after.value) {
        (Some(kept), _) => kept,
        (None, Some(value)) => read_source(&host_reader, value)
            .await
            .map_err(|problem| failed("read the secret", problem.into()))?,
        (None, None) => return Err(failed("write it", "its contents were not saved".into())),
    };
    let digest = digest_for_path(&host_reader, name, &secret);
    let digest = digest.map_err(provider_error(SecretFile::KIND, name, "digest the secret"))?;
    if after
        .digest
        .as_ref()
        .is_some_and(|planned| *planned != digest)
    {
        let why = "the secret has changed since the plan was made";
        return Err(failed("write it", why.into()));
    }
    let mut bytes = secret.as_slice();
    host.write_file(Path::new(name), &mut bytes, None, &access, existing)
        .map_err(provider_error(SecretFile::KIND, name, "write it"))
}

/// Keeps the contents that are there, for rollback, as root's alone.
fn back_up_secret(host: &Writer, name: &str, digest: &str) -> Result<(), HostError> {
    let reader = reader(host);
    let changed = || HostError::Changed { path: name.into() };
    let secret = reader.read_secret(Path::new(name))?.ok_or_else(changed)?;
    if digest_for_path(&reader, name, &secret)? != digest {
        return Err(changed());
    }
    host.store_secret(digest, &secret)
}
