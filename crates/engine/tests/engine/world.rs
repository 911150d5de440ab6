//! A host in memory, stricter than a real one: creating what exists fails, a directory with children cannot be removed,
//! nothing lives without its directory, and a state that is not the one the change starts from is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        boot_time::BootTime,
        change::{Change, Effects},
        drift::{Drift, Evidence},
        listing::Listing,
        schema::{Absence, Attribute, Lifecycle, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Importable, Reversible, Watchable},
        erased::Capabilities,
        error::ProviderError,
        host::{HealthCheck, Host, Watchdog, WatchdogError},
        registry::Registry,
        traits::Provider,
    },
};
use tokio::{sync::Notify, time::Instant};

/// What exists: a path within the world, and what stands there.
pub(crate) type Tree = BTreeMap<String, Node>;

/// One thing in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Holds others.
    Directory(Directory),
    /// Holds a text.
    Leaf(Leaf),
}

/// State of the kind `directory`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directory {
    #[serde(default)]
    pub(crate) mode: Option<String>,
}

/// State of the kind `leaf`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leaf {
    #[serde(default)]
    pub(crate) mode: Option<String>,
    #[serde(default)]
    pub(crate) text: Option<String>,
}

/// What goes wrong at one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Refused; nothing is done.
    Refused,
    /// Half of it is done, then refused.
    Half,
    /// All of it is done, and yet an error is reported.
    Whole,
    /// The process is killed before it.
    KilledBefore,
    /// The process is killed half way.
    KilledHalf,
    /// The process is killed after it.
    KilledAfter,
}

/// The world and what is to happen to it.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) tree: Tree,
    /// Faults by the number of the write, counted from 0 over the life of the world.
    pub(crate) faults: BTreeMap<usize, Fault>,
    /// Writes so far.
    pub(crate) writes: usize,
    /// Everything that was taken away, in order.
    pub(crate) removed: Vec<String>,
    /// Which boot it is.
    pub(crate) boot: usize,
    /// How long ago that began when time began to pass.
    pub(crate) uptime: Duration,
    /// When time began to pass.
    clock_start: Option<Instant>,
    /// The run that is looked after.
    pub(crate) armed: Option<u64>,
    /// Whether nobody can be armed.
    pub(crate) cannot_arm: bool,
    /// How often what a killed step left beside a thing cannot be removed yet.
    pub(crate) cleanup_failures: BTreeMap<String, usize>,
    /// What is known of who moved what, by path.
    pub(crate) evidence: BTreeMap<String, Evidence>,
    /// What a boot loses, by path.
    pub(crate) volatile: BTreeSet<String>,
    /// Why the world is cut off, once something stands at this path.
    pub(crate) cut_off_by: Option<String>,
}

/// A handle to a world: its reader and its writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handle {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) killed: Arc<Notify>,
}

/// Worlds in memory.
pub(crate) struct MemoryHost;

impl Host for MemoryHost {
    type Reader = Handle;
    type Writer = Handle;
    type Trigger = ();

    fn reader(writer: &Handle) -> Handle {
        writer.clone()
    }

    fn boot_id(reader: &Handle) -> String {
        reader.lock().boot.to_string()
    }

    fn now(writer: &Handle) -> BootTime {
        let mut world = writer.lock();
        let begun = *world.clock_start.get_or_insert_with(Instant::now);
        let moment = BootTime {
            boot: world.boot.to_string(),
            milliseconds: 0,
        };
        moment.plus(world.uptime + begun.elapsed())
    }

    async fn arm(writer: &Handle, guard: &Watchdog<'_>) -> Result<(), WatchdogError> {
        let mut world = writer.lock();
        if world.cannot_arm {
            return Err(WatchdogError {
                attempted: "arm".to_owned(),
                source: "a fault of the test".into(),
            });
        }
        assert_eq!(world.armed, None, "one run at a time");
        world.armed = Some(guard.run);
        Ok(())
    }

    async fn disarm(writer: &Handle, run: u64) -> Result<(), WatchdogError> {
        let armed = writer.lock().armed.take();
        assert!(armed.is_none_or(|armed| armed == run), "another is armed");
        Ok(())
    }

    async fn health_checks(writer: &Handle, _since: &BootTime) -> Vec<HealthCheck> {
        let world = writer.lock();
        let cut = world.cut_off_by.as_ref();
        let cut = cut.filter(|path| world.tree.contains_key(*path));
        vec![HealthCheck {
            name: "the world",
            grace_period: Duration::from_secs(15),
            fault: cut.map(|path| format!("{path} is in the way")),
        }]
    }
}

impl Handle {
    pub(crate) fn new(tree: Tree) -> Self {
        let handle = Self::default();
        handle.lock().tree = tree;
        handle
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn tree(&self) -> Tree {
        self.lock().tree.clone()
    }
}

/// Returns the kinds of the world.
pub(crate) fn registry() -> Registry<MemoryHost> {
    Registry::default().with(Directories).with(Leaves)
}

/// The directories of a path, nearest first.
pub(crate) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').map(|(end, _)| &path[..end])
}

struct Directories;
struct Leaves;

/// What the two kinds differ in.
trait KindState: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static {
    const KIND: &'static str;
    const BATCH: usize;
    const ATTRIBUTES: &'static [Attribute];
    fn from_node(node: &Node) -> Option<&Self>;
    fn into_node(self) -> Node;
    /// What is there when only half of the change from `before` to `self` was made.
    fn half_done(self, before: Option<&Self>) -> Self;
}

const fn attribute(name: &'static str) -> Attribute {
    Attribute {
        name,
        shape: Shape::Text,
        role: Role::Managed,
        doc: "Some text.",
        check: None,
    }
}

impl KindState for Directory {
    const KIND: &'static str = "folder";
    const BATCH: usize = 1;
    const ATTRIBUTES: &'static [Attribute] = &[attribute("mode")];

    fn from_node(node: &Node) -> Option<&Self> {
        match node {
            Node::Directory(dir) => Some(dir),
            Node::Leaf(_) => None,
        }
    }

    fn into_node(self) -> Node {
        Node::Directory(self)
    }

    fn half_done(self, before: Option<&Self>) -> Self {
        before.cloned().unwrap_or_else(|| Self {
            mode: Some("half".into()),
        })
    }
}

impl KindState for Leaf {
    const KIND: &'static str = "leaf";
    const BATCH: usize = 3;
    const ATTRIBUTES: &'static [Attribute] = &[attribute("mode"), attribute("text")];

    fn from_node(node: &Node) -> Option<&Self> {
        match node {
            Node::Leaf(leaf) => Some(leaf),
            Node::Directory(_) => None,
        }
    }

    fn into_node(self) -> Node {
        Node::Leaf(self)
    }

    fn half_done(self, before: Option<&Self>) -> Self {
        Self {
            mode: before.map_or(Some("half".into()), |before| before.mode.clone()),
            ..self
        }
    }
}

macro_rules! provider {
    ($provider:ty, $state:ty) => {
        impl Provider<MemoryHost> for $provider {
            const KIND: &'static str = <$state as KindState>::KIND;
            const CAPABILITIES: Capabilities<MemoryHost, Self> =
                Capabilities::new().reversible().importable().watchable();
            type State = $state;

            fn schema(&self) -> Schema {
                Schema {
                    summary: "Something in memory.",
                    name: "path",
                    main: None,
                    attributes: <$state as KindState>::ATTRIBUTES,
                    lifecycle: Lifecycle {
                        max_batch: <$state as KindState>::BATCH,
                        ..Lifecycle::DEFAULT
                    },
                    absence: Absence::Allowed,
                    example: "",
                }
            }

            async fn read(
                &self,
                host: &Handle,
                names: &[&str],
            ) -> Result<Vec<Option<$state>>, ProviderError> {
                let world = host.lock();
                Ok(names
                    .iter()
                    .map(|name| world.tree.get(*name).and_then(<$state>::from_node).cloned())
                    .collect())
            }

            async fn apply(
                &self,
                host: &Handle,
                changes: Vec<(&str, Change<$state>)>,
            ) -> Result<(), ProviderError> {
                for (name, change) in changes {
                    write(host, name, change).await?;
                }
                Ok(())
            }

            fn effects(&self, _name: &str, change: &Change<$state>) -> Effects {
                let is_gone = change.after().is_none();
                let before = change.before().filter(|_| is_gone);
                let is_final = before.is_some_and(|before| before.mode.as_deref() == Some("3"));
                Effects {
                    irreversible: is_final.then(|| "it says so".to_owned()),
                    ..Effects::default()
                }
            }

            fn requires(&self, name: &str, _desired: &$state) -> Vec<Address> {
                parents(name)
                    .map(|parent| Address::new("folder", parent))
                    .collect()
            }
        }

        impl Reversible<MemoryHost> for $provider {
            async fn remove_partial(&self, host: &Handle, name: &str) -> Result<(), ProviderError> {
                let mut world = host.lock();
                let Some(left) = world
                    .cleanup_failures
                    .get_mut(name)
                    .filter(|left| **left > 0)
                else {
                    return Ok(());
                };
                *left -= 1;
                let address = Address::new(Self::KIND, name);
                Err(ProviderError::new(
                    address,
                    "clean it",
                    "a fault of the test",
                ))
            }
        }

        impl Importable<MemoryHost> for $provider {
            async fn list(&self, host: &Handle) -> Result<Listing, ProviderError> {
                let world = host.lock();
                let mine = world
                    .tree
                    .iter()
                    .filter(|(_, node)| <$state>::from_node(node).is_some());
                let names = mine.map(|(name, _)| name.clone());
                Ok(Listing::new("Things in memory.", names))
            }
        }

        impl Watchable<MemoryHost> for $provider {
            async fn attribute_drift(
                &self,
                host: &Handle,
                name: &str,
                drift: &Drift<$state>,
            ) -> Option<Evidence> {
                let is_unmoved = |left: &$state| drift.change.before() == Some(left);
                assert!(
                    !drift.after_run.as_ref().is_some_and(is_unmoved),
                    "nobody is asked who moved what nobody moved"
                );
                assert!(drift.modified_at >= drift.since);
                let world = host.lock();
                let is_lost = world.volatile.contains(name) && drift.change.before().is_none();
                if is_lost && drift.rebooted == Some(true) {
                    return Some(Evidence::Reboot);
                }
                world.evidence.get(name).cloned()
            }
        }
    };
}

provider!(Directories, Directory);
provider!(Leaves, Leaf);

async fn write<T: KindState>(
    host: &Handle,
    name: &str,
    change: Change<T>,
) -> Result<(), ProviderError> {
    let fault = {
        let mut world = host.lock();
        let number = world.writes;
        world.writes += 1;
        world.faults.get(&number).copied()
    };
    if fault == Some(Fault::KilledBefore) {
        report_kill::<()>(host).await;
    }
    let refused = || {
        Err(ProviderError::new(
            Address::new(T::KIND, name),
            "write",
            "a fault of the test",
        ))
    };
    if fault == Some(Fault::Refused) {
        return refused();
    }
    let change = match fault {
        Some(Fault::Half | Fault::KilledHalf) => half_change(change),
        _ => Some(change),
    };
    if let Some(change) = change {
        apply_change(&mut host.lock(), name, change)
            .map_err(|fact| ProviderError::new(Address::new(T::KIND, name), "write", fact))?;
    }
    match fault {
        Some(Fault::KilledHalf | Fault::KilledAfter) => report_kill(host).await,
        Some(Fault::Half | Fault::Whole) => refused(),
        _ => Ok(()),
    }
}

async fn report_kill<T>(host: &Handle) -> T {
    host.killed.notify_one();
    pending().await
}

fn half_change<T: KindState>(change: Change<T>) -> Option<Change<T>> {
    match change {
        Change::Create { after } => Some(Change::Create {
            after: after.half_done(None),
        }),
        Change::Update { before, after } => {
            let after = after.half_done(Some(&before));
            Some(Change::Update { before, after })
        }
        Change::Delete { .. } => None,
    }
}

fn apply_change<T: KindState>(
    world: &mut World,
    name: &str,
    change: Change<T>,
) -> Result<(), String> {
    let there = world.tree.get(name);
    let is_as_told = match (there, change.before()) {
        (None, None) => true,
        (Some(node), Some(before)) => T::from_node(node) == Some(before),
        _ => false,
    };
    if !is_as_told {
        return Err(format!(
            "{name} is {there:?}, which is not where the change starts"
        ));
    }
    if let Some(orphan) = parents(name)
        .next()
        .filter(|parent| !matches!(world.tree.get(*parent), Some(Node::Directory(_))))
    {
        return Err(format!("{orphan} is no directory"));
    }
    match change {
        Change::Create { after } | Change::Update { after, .. } => {
            world.tree.insert(name.to_owned(), after.into_node());
        }
        Change::Delete { .. } => {
            let inside = format!("{name}/");
            if let Some(child) = world.tree.keys().find(|path| path.starts_with(&inside)) {
                return Err(format!("{name} still holds {child}"));
            }
            world.tree.remove(name);
            world.removed.push(name.to_owned());
        }
    }
    Ok(())
}

/// Names what differs between two trees, as addresses of either kind.
pub(crate) fn differing_paths(one: &Tree, other: &Tree) -> BTreeSet<String> {
    let paths: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    paths
        .into_iter()
        .filter(|path| one.get(*path) != other.get(*path))
        .cloned()
        .collect()
}
