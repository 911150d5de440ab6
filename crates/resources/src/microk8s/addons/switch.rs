//! Enables and disables one addon by the commands of `MicroK8s`. Their exit codes are not trusted: the objects are compared before and
//! after.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use stead_engine::provider::error::ProviderError;
use tokio::time::sleep;

use crate::{
    host::{ClusterObject, CommandSpec, HostError, IfExists, ObjectIdentity, Reader, Writer},
    microk8s::restart,
    microk8s::{
        addons::{
            catalog::WORKLOADS,
            cluster::{AddonStatus, Cluster, ClusterView, EnabledBy, persistent_objects},
            record::{AddonRecord, CONFIG_MAP, PartialEnable},
        },
        args_file::ArgsFile,
        layout::{self, LIMIT, Layout, SNAP},
    },
};

/// How long a script of an addon may take. It may have to fetch what it installs.
const SCRIPT_TIMEOUT: Duration = Duration::from_mins(15);
/// How long the API server may be away; some scripts restart it.
const API_TIMEOUT: Duration = Duration::from_mins(3);
/// How long objects may take to come after their script has ended well: it made them itself, mostly.
const CREATION_TIMEOUT: Duration = Duration::from_secs(20);
/// How long objects may take to go after their script has ended. A namespace goes last.
const REMOVAL_TIMEOUT: Duration = Duration::from_mins(2);
/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// An addon was not switched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddonError {
    /// The host or the cluster refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The cluster cannot be looked at.
    #[error("MicroK8s is not running here")]
    NoCluster,
    /// Objects of others would go too.
    #[error("disabling {addon} would also delete objects of others: {}", join_identities(.objects))]
    WouldDelete {
        /// The addon.
        addon: String,
        /// What would go.
        objects: Vec<ObjectIdentity>,
    },
    /// Objects of others stand where those of the addon would.
    #[error("MicroK8s would mistake these for {addon}: {}", join_identities(.objects))]
    Conflict {
        /// The addon.
        addon: String,
        /// What is there.
        objects: Vec<ObjectIdentity>,
    },
    /// A service did not come up again.
    #[error(transparent)]
    Restart(#[from] ProviderError),
    /// The script ended well, and nothing came of it.
    #[error("`microk8s enable {0}` succeeded, but created no objects")]
    NothingCreated(String),
    /// The script ended, and the addon is still there.
    #[error("`microk8s disable {addon}` ended, but these still exist: {}", join_identities(.objects))]
    NotRemoved {
        /// The addon.
        addon: String,
        /// What is there.
        objects: Vec<ObjectIdentity>,
    },
    /// The script took what it should not have.
    #[error("`microk8s disable {addon}` also deleted objects of others: {}", join_identities(.objects))]
    DeletedOthers {
        /// The addon.
        addon: String,
        /// What has gone.
        objects: Vec<ObjectIdentity>,
    },
}

/// Names objects in a line.
pub(crate) fn join_identities(objects: &[ObjectIdentity]) -> String {
    let names: Vec<_> = objects.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What to do with what a script leaves of its addon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// It stays, as `MicroK8s` wants it: volumes with their data, for instance.
    Keep,
    /// It goes: the run that made it is rolled back.
    Remove,
}

/// Enables an addon and records what came of it.
pub(crate) async fn enable(
    host: &Writer,
    name: &str,
    arguments: &[String],
) -> Result<(), AddonError> {
    clean_up(host, name).await?;
    let mut cluster = read_cluster(host).await?;
    let objects = cluster.conflicting_objects(name);
    if !objects.is_empty() {
        let addon = name.to_owned();
        return Err(AddonError::Conflict { addon, objects });
    }
    if cluster.status(name) != AddonStatus::Disabled {
        // Half of it is there, or it has other arguments: the command would do nothing.
        disable(host, name, Leftovers::Keep).await?;
        cluster = read_cluster(host).await?;
    }
    let begun = PartialEnable {
        objects: created(&cluster, &BTreeSet::new())
            .map(|object| object.identity.uid.clone())
            .collect(),
        arguments: read_argument_files(&Reader::new(host.root()))?,
    };
    let mut record = AddonRecord {
        arguments: arguments.to_vec(),
        objects: vec![],
        partial: Some(begun.clone()),
    };
    write_record(host, name, Some(&record)).await?;
    run_script(host, "enable", name, arguments).await?;

    record.partial = None;
    host.report_wait(format!("objects of the addon {name}"));
    let ended = Instant::now();
    loop {
        let cluster = read_cluster(host).await?;
        let objects = created(&cluster, &begun.objects).filter(|object| !object.is_terminating);
        record.objects = objects.map(|object| object.identity.clone()).collect();
        if persistent_objects(&record).next().is_some() || cluster.is_reported_enabled(name) {
            return write_record(host, name, Some(&record)).await;
        }
        if ended.elapsed() > CREATION_TIMEOUT {
            return Err(AddonError::NothingCreated(name.to_owned()));
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Disables an addon, unless it would take along what others made.
pub(crate) async fn disable(
    host: &Writer,
    name: &str,
    leftovers: Leftovers,
) -> Result<(), AddonError> {
    let before = read_cluster(host).await?;
    let status = before.status(name);
    if let AddonStatus::Mistaken(_) | AddonStatus::Disabled = status {
        return write_record(host, name, None).await;
    }
    let objects = before.would_be_deleted(name);
    if !objects.is_empty() {
        let addon = name.to_owned();
        return Err(AddonError::WouldDelete { addon, objects });
    }
    let own = before.records.0.get(name).cloned().unwrap_or_default();
    let said = run_script(host, "disable", name, &[]).await;
    host.report_wait(format!("the removal of the objects of the addon {name}"));
    let begin = Instant::now();
    while let Some(objects) = remaining(&read_cluster(host).await?, name, &own) {
        if begin.elapsed() > REMOVAL_TIMEOUT {
            said?;
            let addon = name.to_owned();
            return Err(AddonError::NotRemoved { addon, objects });
        }
        sleep(POLL_INTERVAL).await;
    }
    if status == AddonStatus::Enabled(EnabledBy::Stead) {
        let objects = missing(&before, &read_cluster(host).await?, name);
        if !objects.is_empty() {
            let addon = name.to_owned();
            return Err(AddonError::DeletedOthers { addon, objects });
        }
    }
    if leftovers == Leftovers::Remove {
        let is_own = |object: &&ClusterObject| own.objects.contains(&object.identity);
        delete_objects(host, name, |cluster| {
            cluster.objects.iter().filter(is_own).cloned().collect()
        })
        .await?;
    }
    write_record(host, name, None).await
}

/// Takes back all that [`enable`] began and did not end, on a host whose cluster can be seen.
pub(crate) async fn clean_up_all(host: &Writer) -> Result<(), AddonError> {
    let Some(cluster) = try_read_cluster(host).await? else {
        return Ok(());
    };
    let records = cluster.records.0.iter();
    for (name, _) in records.filter(|(_, record)| record.partial.is_some()) {
        clean_up(host, name).await?;
    }
    Ok(())
}

/// Takes back what enabling an addon began and did not end: by its own script where that is safe, then object by object.
async fn clean_up(host: &Writer, name: &str) -> Result<(), AddonError> {
    let cluster = read_cluster(host).await?;
    let record = cluster.records.0.get(name);
    let Some(begun) = record.and_then(|record| record.partial.clone()) else {
        return Ok(());
    };
    let own: BTreeSet<&str> = created(&cluster, &begun.objects)
        .map(|object| object.identity.uid.as_str())
        .collect();
    if !own.is_empty() && cluster.deletion_set(name, &own).is_empty() {
        // It also undoes what the other script did outside of the cluster. That it may fail half way is why the rest follows.
        drop(run_script(host, "disable", name, &[]).await);
    }
    delete_objects(host, name, |cluster| {
        created(cluster, &begun.objects).cloned().collect()
    })
    .await?;
    restore_argument_files(host, &begun.arguments).await?;
    write_record(host, name, None).await
}

/// Deletes objects one by one and waits until they are gone.
async fn delete_objects(
    host: &Writer,
    name: &str,
    which: impl Fn(&Cluster) -> Vec<ClusterObject>,
) -> Result<(), AddonError> {
    let begin = Instant::now();
    loop {
        let cluster = read_cluster(host).await?;
        let objects = which(&cluster);
        if objects.is_empty() {
            return Ok(());
        }
        for object in objects.iter().filter(|object| !object.is_terminating) {
            host.delete_object(&cluster.kubeconfig, &object.identity)
                .await?;
        }
        if begin.elapsed() > REMOVAL_TIMEOUT {
            let objects = objects.into_iter().map(|object| object.identity).collect();
            let addon = name.to_owned();
            return Err(AddonError::NotRemoved { addon, objects });
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Returns the objects without an owner that are not among `before`, apart from stead's own note.
fn created<'a>(
    cluster: &'a Cluster,
    before: &BTreeSet<String>,
) -> impl Iterator<Item = &'a ClusterObject> {
    let is_new = move |object: &&ClusterObject| {
        !object.is_owned
            && !before.contains(&object.identity.uid)
            && object.identity.name != CONFIG_MAP
    };
    cluster.objects.iter().filter(is_new)
}

/// Returns what is still there of an addon that was disabled, or is going; `None` if it is gone.
fn remaining(now: &Cluster, name: &str, own: &AddonRecord) -> Option<Vec<ObjectIdentity>> {
    let there = now.objects.iter().filter(|object| {
        let is_program = WORKLOADS.contains(&object.identity.kind.as_str());
        own.objects.contains(&object.identity) && (is_program || object.is_terminating)
    });
    let there: Vec<_> = there.map(|object| object.identity.clone()).collect();
    let is_enabled = matches!(now.status(name), AddonStatus::Enabled(EnabledBy::Other));
    (!there.is_empty() || is_enabled && own.objects.is_empty()).then_some(there)
}

/// Returns what has gone since `before` that is not the addon's.
fn missing(before: &Cluster, now: &Cluster, name: &str) -> Vec<ObjectIdentity> {
    let own = before.own_uids(name);
    before
        .live()
        .filter(|object| !object.is_owned && !now.is_live(&object.identity.uid))
        .filter(|object| !own.contains(object.identity.uid.as_str()))
        .filter(|object| !before.is_leftover(&own, object))
        .map(|object| object.identity.clone())
        .collect()
}

/// Looks at the cluster, and waits while it is away: scripts of addons restart it.
async fn read_cluster(host: &Writer) -> Result<Cluster, AddonError> {
    try_read_cluster(host).await?.ok_or(AddonError::NoCluster)
}

/// As [`read_cluster`]; `None` where there is no cluster to look at.
async fn try_read_cluster(host: &Writer) -> Result<Option<Cluster>, AddonError> {
    let begin = Instant::now();
    loop {
        match Cluster::read(&Reader::new(host.root())).await {
            Ok(ClusterView::Cluster(cluster)) => return Ok(Some(*cluster)),
            Ok(ClusterView::NotInstalled | ClusterView::Unknown) => return Ok(None),
            Err(error) if begin.elapsed() > API_TIMEOUT => return Err(error.into()),
            Err(_) => sleep(POLL_INTERVAL).await,
        }
    }
}

/// Notes what is known of an addon; `None` forgets it.
async fn write_record(
    host: &Writer,
    name: &str,
    record: Option<&AddonRecord>,
) -> Result<(), AddonError> {
    let begin = Instant::now();
    loop {
        let mut cluster = read_cluster(host).await?;
        let noted = match record {
            Some(record) => cluster.records.0.insert(name.to_owned(), record.clone()),
            None => cluster.records.0.remove(name),
        };
        if noted.as_ref() == record {
            return Ok(());
        }
        match cluster.records.write(host, &cluster.kubeconfig).await {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > API_TIMEOUT => return Err(error.into()),
            Err(_) => sleep(POLL_INTERVAL).await,
        }
    }
}

async fn run_script(
    host: &Writer,
    verb: &str,
    name: &str,
    arguments: &[String],
) -> Result<(), HostError> {
    let mut line = vec!["run", SNAP, verb, name];
    line.extend(arguments.iter().map(String::as_str));
    let call = CommandSpec {
        deadline: SCRIPT_TIMEOUT,
        ..CommandSpec::new("snap", &line)
    };
    host.report_wait(format!("the script that {verb}s the addon {name}"));
    host.run_command(call).await.map(drop)
}

/// Reads the files of arguments that scripts of addons may edit.
fn read_argument_files(host: &Reader) -> Result<BTreeMap<String, String>, HostError> {
    let mut texts = BTreeMap::new();
    let Some(layout) = Layout::find(host)? else {
        return Ok(texts);
    };
    for file in layout::files() {
        if let Some(text) = host.read_text(&layout.args(file), LIMIT)? {
            texts.insert(file.to_owned(), text);
        }
    }
    Ok(texts)
}

/// Puts back the files of arguments that differ, and restarts what reads them.
async fn restore_argument_files(
    host: &Writer,
    texts: &BTreeMap<String, String>,
) -> Result<(), AddonError> {
    let now = read_argument_files(&Reader::new(host.root()))?;
    let Some(layout) = Layout::find(&Reader::new(host.root()))? else {
        return Ok(());
    };
    let mut due = BTreeMap::<_, BTreeSet<_>>::new();
    for (file, text) in texts {
        let flags = |text: &str| ArgsFile::parse(text, layout.grammar(file)).flags();
        if now
            .get(file)
            .is_none_or(|there| flags(there) == flags(text))
        {
            continue;
        }
        let path = layout.args(file);
        if let Some(meta) = Reader::new(host.root()).stat(&path)? {
            let bytes = &mut text.as_bytes();
            host.write_file(&path, bytes, None, &meta.attributes(), IfExists::Replace)?;
        }
        let group = layout::group(file).unwrap_or(file);
        let service = layout::service(layout.is_kubelite, file);
        due.entry(group).or_default().insert(service);
    }
    for (group, services) in due {
        let name = format!("{SNAP}/{group}");
        restart::restart(host, &name, &Vec::from_iter(services), None).await?;
    }
    Ok(())
}
