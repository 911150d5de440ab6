//! The kind `secret-file`: a file with secret contents. Its state has a digest of them and never themselves.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        drift::{Drift, Evidence},
        error_chain::chain,
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
        metadata::{Outside, stat},
        secret_source::{Reference, sealed},
    },
    host::{Existing, HostError, Live, MetaKind, Reader, Secret, Writer},
    values::{
        access::{GROUP, MODE, Mode, OWNER, Owner, OwnerGroup, canonical_owners, owners},
        path::{ancestors, check, refused},
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

fn check_reference(text: &str) -> Result<(), Problem> {
    Reference::parse(text).map(drop)
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "value",
        shape: Shape::Secret,
        role: Role::Input,
        doc: "Where the secret comes from: a file, a credential of systemd, or what a command prints. At most 64 KiB.",
        check: Some(check_reference),
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

impl Provider<Live> for SecretFile {
    const KIND: &'static str = "secret-file";
    const CAPABILITIES: Capabilities<Live, Self> = Capabilities::new()
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
            let secret = read_reference(host, value).await;
            let secret = secret.map_err(|problem| vec![problem.at("value")])?;
            let digest = sealed(host, name, &secret);
            let failed = |error: HostError| vec![Problem::new(chain(&error).join(": "))];
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
                    host.remove_file(path)
                        .map_err(refused(Self::KIND, name, "remove it"))?;
                }
                Change::Create { after } => put(host, name, &after, Existing::Refuse).await?,
                Change::Update { before, after } if before.digest == after.digest => {
                    outside(&after).set(Self::KIND, host, name, MetaKind::File)?;
                }
                Change::Update { after, .. } => put(host, name, &after, Existing::Replace).await?,
            }
        }
        Ok(())
    }

    fn requires(&self, name: &str, desired: &State) -> Vec<Address> {
        let owners = owners(desired.owner.as_ref(), desired.group.as_ref());
        let from = desired.value.as_deref().map(Reference::parse);
        let from = match from {
            Some(Ok(Reference::File(path))) => path.to_str().map(|path| Address::new("file", path)),
            _ => None,
        };
        ancestors(name)
            .into_iter()
            .chain(owners)
            .chain(from)
            .collect()
    }
}

impl Reversible<Live> for SecretFile {
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
        let refused = refused(Self::KIND, name, "save its contents for rollback");
        keep(host, name, digest).map_err(refused)
    }

    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        host.clean(Path::new(name))
            .map_err(refused(Self::KIND, name, "remove a temporary file"))
    }
}

impl Importable<Live> for SecretFile {
    async fn list(&self, _host: &Reader) -> Result<Listing, ProviderError> {
        Ok(Listing::outside(
            "not importable: a host does not record the source of a secret",
        ))
    }
}

impl Watchable<Live> for SecretFile {
    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        evidence::paths::of_path(host, name, drift).await
    }
}

impl Footprint<Live> for SecretFile {
    fn managed_paths(&self, name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }
}

async fn read_reference(host: &Reader, value: &str) -> Result<Secret, Problem> {
    Reference::parse(value)?.read(host).await
}

fn reader(host: &Writer) -> Reader {
    Reader::new(host.root())
}

/// Returns what is wanted besides the contents.
fn outside(state: &State) -> Outside {
    Outside {
        mode: state.mode,
        owner: state.owner.clone(),
        group: state.group.clone(),
        xattrs: state.xattrs.clone(),
    }
}

fn read(host: &Reader, name: &str) -> Result<Option<State>, ProviderError> {
    let Some(meta) = stat(SecretFile::KIND, host, name, MetaKind::File)? else {
        return Ok(None);
    };
    let digest = match host.read_secret(Path::new(name)) {
        Err(error) if error.is_not_allowed() => None,
        secret => {
            let secret = secret.map_err(refused(SecretFile::KIND, name, "read it"))?;
            let digest = secret.map(|secret| sealed(host, name, &secret)).transpose();
            digest.map_err(refused(SecretFile::KIND, name, "digest it"))?
        }
    };
    let Outside {
        mode,
        owner,
        group,
        xattrs,
    } = Outside::read(SecretFile::KIND, host, name, &meta)?;
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
async fn put(
    host: &Writer,
    name: &str,
    after: &State,
    existing: Existing,
) -> Result<(), ProviderError> {
    let there = stat(SecretFile::KIND, &reader(host), name, MetaKind::File)?;
    let access = outside(after).access(SecretFile::KIND, name, there.as_ref(), DEFAULT_MODE)?;
    let failed = |attempted: &str, why: Box<dyn std::error::Error + Send + Sync>| {
        ProviderError::new(Address::new(SecretFile::KIND, name), attempted, why)
    };
    let host_reader = reader(host);
    let kept = match &after.digest {
        Some(digest) => host.kept_secret(digest),
        None => Ok(None),
    };
    let kept = kept.map_err(refused(SecretFile::KIND, name, "find its saved contents"))?;
    let secret = match (kept, &after.value) {
        (Some(kept), _) => kept,
        (None, Some(value)) => read_reference(&host_reader, value)
            .await
            .map_err(|problem| failed("read the secret", problem.into()))?,
        (None, None) => return Err(failed("write it", "its contents were not saved".into())),
    };
    let digest = sealed(&host_reader, name, &secret);
    let digest = digest.map_err(refused(SecretFile::KIND, name, "digest the secret"))?;
    if after
        .digest
        .as_ref()
        .is_some_and(|planned| *planned != digest)
    {
        let why = "the secret has changed since the plan was made";
        return Err(failed("write it", why.into()));
    }
    let mut bytes = secret.as_slice();
    host.put_file(Path::new(name), &mut bytes, None, &access, existing)
        .map_err(refused(SecretFile::KIND, name, "write it"))
}

/// Keeps the contents that are there, for going back, as root's alone.
fn keep(host: &Writer, name: &str, digest: &str) -> Result<(), HostError> {
    let reader = reader(host);
    let changed = || HostError::Changed { path: name.into() };
    let secret = reader.read_secret(Path::new(name))?.ok_or_else(changed)?;
    if sealed(&reader, name, &secret)? != digest {
        return Err(changed());
    }
    host.keep_secret(digest, &secret)
}
