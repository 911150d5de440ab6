//! Enables and disables one addon by the commands of `MicroK8s`. Their exit codes are not trusted: the objects are compared before and
//! after.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use stead_engine::provider::error::ProviderError;
use tokio::time::sleep;

use crate::{
    host::{Call, ClusterObject, Existing, HostError, Identity, Reader, Writer},
    microk8s::restart,
    microk8s::{
        addons::{
            catalog::WORKLOADS,
            cluster::{Cluster, Owner, Seen, Standing, lasting},
            record::{Begun, NAME, Record},
        },
        args_file::ArgsFile,
        layout::{self, LIMIT, Layout, SNAP},
    },
};

/// How long a script of an addon may take. It may have to fetch what it installs.
const SCRIPT: Duration = Duration::from_mins(15);
/// How long the API server may be away; some scripts restart it.
const API: Duration = Duration::from_mins(3);
/// How long objects may take to come after their script has ended well: it made them itself, mostly.
const COMES: Duration = Duration::from_secs(20);
/// How long objects may take to go after their script has ended. A namespace goes last.
const SETTLED: Duration = Duration::from_mins(2);
/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(300);

/// An addon was not switched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    /// The host or the cluster refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The cluster cannot be looked at.
    #[error("MicroK8s is not running here")]
    NoCluster,
    /// Objects of others would go too.
    #[error("disabling {addon} would also delete objects of others: {}", list(.objects))]
    WouldDie {
        /// The addon.
        addon: String,
        /// What would go.
        objects: Vec<Identity>,
    },
    /// Objects of others stand where those of the addon would.
    #[error("MicroK8s would mistake these for {addon}: {}", list(.objects))]
    InTheWay {
        /// The addon.
        addon: String,
        /// What is there.
        objects: Vec<Identity>,
    },
    /// A service did not come up again.
    #[error(transparent)]
    Restart(#[from] ProviderError),
    /// The script ended well, and nothing came of it.
    #[error("`microk8s enable {0}` succeeded, but created no objects")]
    NothingCame(String),
    /// The script ended, and the addon is still there.
    #[error("`microk8s disable {addon}` ended, but these still exist: {}", list(.objects))]
    StillThere {
        /// The addon.
        addon: String,
        /// What is there.
        objects: Vec<Identity>,
    },
    /// The script took what it should not have.
    #[error("`microk8s disable {addon}` also deleted objects of others: {}", list(.objects))]
    Took {
        /// The addon.
        addon: String,
        /// What has gone.
        objects: Vec<Identity>,
    },
}

/// Names objects in a line.
pub(crate) fn list(objects: &[Identity]) -> String {
    let names: Vec<_> = objects.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What to do with what a script leaves of its addon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// It stays, as `MicroK8s` wants it: volumes with their data, for instance.
    Keep,
    /// It goes: the run that made it is taken back.
    Remove,
}

/// Enables an addon and records what came of it.
pub(crate) async fn enable(
    host: &Writer,
    name: &str,
    arguments: &[String],
) -> Result<(), SwitchError> {
    finish(host, name).await?;
    let mut cluster = look(host).await?;
    let objects = cluster.in_the_way(name);
    if !objects.is_empty() {
        let addon = name.to_owned();
        return Err(SwitchError::InTheWay { addon, objects });
    }
    if cluster.standing(name) != Standing::Disabled {
        // Half of it is there, or it has other arguments: the command would do nothing.
        disable(host, name, Leftovers::Keep).await?;
        cluster = look(host).await?;
    }
    let begun = Begun {
        objects: came(&cluster, &BTreeSet::new())
            .map(|object| object.identity.uid.clone())
            .collect(),
        arguments: argument_files(&Reader::new(host.root()))?,
    };
    let mut record = Record {
        arguments: arguments.to_vec(),
        objects: vec![],
        begun: Some(begun.clone()),
    };
    note(host, name, Some(&record)).await?;
    run(host, "enable", name, arguments).await?;

    record.begun = None;
    host.waits_for(format!("objects of the addon {name}"));
    let ended = Instant::now();
    loop {
        let cluster = look(host).await?;
        let objects = came(&cluster, &begun.objects).filter(|object| !object.is_going);
        record.objects = objects.map(|object| object.identity.clone()).collect();
        if lasting(&record).next().is_some() || cluster.is_hit(name) {
            return note(host, name, Some(&record)).await;
        }
        if ended.elapsed() > COMES {
            return Err(SwitchError::NothingCame(name.to_owned()));
        }
        sleep(PAUSE).await;
    }
}

/// Disables an addon, unless it would take along what others made.
pub(crate) async fn disable(
    host: &Writer,
    name: &str,
    leftovers: Leftovers,
) -> Result<(), SwitchError> {
    let before = look(host).await?;
    let standing = before.standing(name);
    if let Standing::Mistaken(_) | Standing::Disabled = standing {
        return note(host, name, None).await;
    }
    let objects = before.would_die(name);
    if !objects.is_empty() {
        let addon = name.to_owned();
        return Err(SwitchError::WouldDie { addon, objects });
    }
    let own = before.records.0.get(name).cloned().unwrap_or_default();
    let said = run(host, "disable", name, &[]).await;
    host.waits_for(format!("the removal of the objects of the addon {name}"));
    let begin = Instant::now();
    while let Some(objects) = left(&look(host).await?, name, &own) {
        if begin.elapsed() > SETTLED {
            said?;
            let addon = name.to_owned();
            return Err(SwitchError::StillThere { addon, objects });
        }
        sleep(PAUSE).await;
    }
    if standing == Standing::Enabled(Owner::Stead) {
        let objects = lost(&before, &look(host).await?, name);
        if !objects.is_empty() {
            let addon = name.to_owned();
            return Err(SwitchError::Took { addon, objects });
        }
    }
    if leftovers == Leftovers::Remove {
        let is_own = |object: &&ClusterObject| own.objects.contains(&object.identity);
        remove(host, name, |cluster| {
            cluster.objects.iter().filter(is_own).cloned().collect()
        })
        .await?;
    }
    note(host, name, None).await
}

/// Takes back all that [`enable`] began and did not end, on a host whose cluster can be seen.
pub(crate) async fn finish_all(host: &Writer) -> Result<(), SwitchError> {
    let Some(cluster) = look_if_any(host).await? else {
        return Ok(());
    };
    let records = cluster.records.0.iter();
    for (name, _) in records.filter(|(_, record)| record.begun.is_some()) {
        finish(host, name).await?;
    }
    Ok(())
}

/// Takes back what enabling an addon began and did not end: by its own script where that is safe, then object by object.
async fn finish(host: &Writer, name: &str) -> Result<(), SwitchError> {
    let cluster = look(host).await?;
    let record = cluster.records.0.get(name);
    let Some(begun) = record.and_then(|record| record.begun.clone()) else {
        return Ok(());
    };
    let own: BTreeSet<&str> = came(&cluster, &begun.objects)
        .map(|object| object.identity.uid.as_str())
        .collect();
    if !own.is_empty() && cluster.doomed(name, &own).is_empty() {
        // It also undoes what the other script did outside of the cluster. That it may fail half way is why the rest follows.
        drop(run(host, "disable", name, &[]).await);
    }
    remove(host, name, |cluster| {
        came(cluster, &begun.objects).cloned().collect()
    })
    .await?;
    restore(host, &begun.arguments).await?;
    note(host, name, None).await
}

/// Deletes objects one by one and waits until they are gone.
async fn remove(
    host: &Writer,
    name: &str,
    which: impl Fn(&Cluster) -> Vec<ClusterObject>,
) -> Result<(), SwitchError> {
    let begin = Instant::now();
    loop {
        let cluster = look(host).await?;
        let objects = which(&cluster);
        if objects.is_empty() {
            return Ok(());
        }
        for object in objects.iter().filter(|object| !object.is_going) {
            host.delete_object(&cluster.kubeconfig, &object.identity)
                .await?;
        }
        if begin.elapsed() > SETTLED {
            let objects = objects.into_iter().map(|object| object.identity).collect();
            let addon = name.to_owned();
            return Err(SwitchError::StillThere { addon, objects });
        }
        sleep(PAUSE).await;
    }
}

/// Returns the objects without an owner that are not among `before`, apart from stead's own note.
fn came<'a>(
    cluster: &'a Cluster,
    before: &BTreeSet<String>,
) -> impl Iterator<Item = &'a ClusterObject> {
    let is_new = move |object: &&ClusterObject| {
        !object.is_owned && !before.contains(&object.identity.uid) && object.identity.name != NAME
    };
    cluster.objects.iter().filter(is_new)
}

/// Returns what is still there of an addon that was disabled, or is going; `None` if it is gone.
fn left(now: &Cluster, name: &str, own: &Record) -> Option<Vec<Identity>> {
    let there = now.objects.iter().filter(|object| {
        let is_program = WORKLOADS.contains(&object.identity.kind.as_str());
        own.objects.contains(&object.identity) && (is_program || object.is_going)
    });
    let there: Vec<_> = there.map(|object| object.identity.clone()).collect();
    let is_enabled = matches!(now.standing(name), Standing::Enabled(Owner::Other));
    (!there.is_empty() || is_enabled && own.objects.is_empty()).then_some(there)
}

/// Returns what has gone since `before` that is not the addon's.
fn lost(before: &Cluster, now: &Cluster, name: &str) -> Vec<Identity> {
    let own = before.own(name);
    before
        .live()
        .filter(|object| !object.is_owned && !now.is_live(&object.identity.uid))
        .filter(|object| !own.contains(object.identity.uid.as_str()))
        .filter(|object| !before.is_debris(&own, object))
        .map(|object| object.identity.clone())
        .collect()
}

/// Looks at the cluster, and waits while it is away: scripts of addons restart it.
async fn look(host: &Writer) -> Result<Cluster, SwitchError> {
    look_if_any(host).await?.ok_or(SwitchError::NoCluster)
}

/// As [`look`]; `None` where there is no cluster to look at.
async fn look_if_any(host: &Writer) -> Result<Option<Cluster>, SwitchError> {
    let begin = Instant::now();
    loop {
        match Cluster::look(&Reader::new(host.root())).await {
            Ok(Seen::Cluster(cluster)) => return Ok(Some(*cluster)),
            Ok(Seen::Nothing | Seen::Unknown) => return Ok(None),
            Err(error) if begin.elapsed() > API => return Err(error.into()),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Notes what is known of an addon; `None` forgets it.
async fn note(host: &Writer, name: &str, record: Option<&Record>) -> Result<(), SwitchError> {
    let begin = Instant::now();
    loop {
        let mut cluster = look(host).await?;
        let noted = match record {
            Some(record) => cluster.records.0.insert(name.to_owned(), record.clone()),
            None => cluster.records.0.remove(name),
        };
        if noted.as_ref() == record {
            return Ok(());
        }
        match cluster.records.write(host, &cluster.kubeconfig).await {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > API => return Err(error.into()),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn run(host: &Writer, verb: &str, name: &str, arguments: &[String]) -> Result<(), HostError> {
    let mut line = vec!["run", SNAP, verb, name];
    line.extend(arguments.iter().map(String::as_str));
    let call = Call {
        deadline: SCRIPT,
        ..Call::new("snap", &line)
    };
    host.waits_for(format!("the script that {verb}s the addon {name}"));
    host.call(call).await.map(drop)
}

/// Reads the files of arguments that scripts of addons may edit.
fn argument_files(host: &Reader) -> Result<BTreeMap<String, String>, HostError> {
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
async fn restore(host: &Writer, texts: &BTreeMap<String, String>) -> Result<(), SwitchError> {
    let now = argument_files(&Reader::new(host.root()))?;
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
            host.put_file(&path, bytes, None, &meta.access(), Existing::Replace)?;
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
