//! What comes with something else: its traces go when that is rolled back, it says itself whether it may be absent, and those of one
//! step may need each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use serde::{Deserialize, Serialize};
use stead_engine::{
    history::{journal::Outcome, lock::Lock, state_dir::StateDir},
    model::{
        address::Address,
        boot_time::BootTime,
        change::Change,
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
        state::Desired,
    },
    plan::{document::PlanError, graph::Graph, planner::plan},
    provider::{
        capabilities::Removable,
        erased::Capabilities,
        error::ProviderError,
        host::{Host, Watchdog, WatchdogError},
        registry::Registry,
        traits::Provider,
    },
    run::{context::RunContext, undo::undo},
};
use tempfile::TempDir;

use crate::promises::spec;

/// What is installed, and the settings that somebody put beside it; those stay when it goes.
#[derive(Debug, Default, PartialEq, Eq)]
struct PackageState {
    installed: BTreeSet<String>,
    settings: BTreeMap<String, String>,
}

type Handle = Arc<Mutex<PackageState>>;

struct InMemory;

impl Host for InMemory {
    type Reader = Handle;
    type Writer = Handle;
    type Trigger = ();

    fn reader(writer: &Handle) -> Handle {
        writer.clone()
    }

    fn boot_id(_reader: &Self::Reader) -> String {
        String::new()
    }

    fn now(_writer: &Handle) -> BootTime {
        BootTime::default()
    }

    async fn arm(_writer: &Handle, _guard: &Watchdog<'_>) -> Result<(), WatchdogError> {
        unreachable!("no run here waits to be confirmed")
    }

    async fn disarm(_writer: &Handle, _run: u64) -> Result<(), WatchdogError> {
        unreachable!("no run here waits to be confirmed")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    setting: Option<String>,
}

const SCHEMA: Schema = Schema {
    summary: "",
    name: "",
    main: None,
    attributes: &[Attribute::new("setting", Shape::Text, Role::Managed, "")],
    lifecycle: Lifecycle::DEFAULT,
    absence: Absence::Allowed,
    example: "",
};

struct Package;

impl Provider<InMemory> for Package {
    const KIND: &'static str = "package";
    type State = State;

    fn schema(&self) -> Schema {
        SCHEMA
    }

    async fn read(
        &self,
        host: &Handle,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let world = host.lock().unwrap();
        let there = |name: &&str| world.installed.contains(*name).then(State::default);
        Ok(names.iter().map(there).collect())
    }

    async fn apply(
        &self,
        host: &Handle,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        let mut world = host.lock().unwrap();
        for (name, change) in changes {
            match change.after() {
                Some(_) => world.installed.insert(name.to_owned()),
                None => world.installed.remove(name),
            };
        }
        Ok(())
    }
}

/// A service is there as long as its package is, or settings of it are. `b` is an instance of `a`.
struct Service;

impl Provider<InMemory> for Service {
    const KIND: &'static str = "service";
    const CAPABILITIES: Capabilities<InMemory, Self> = Capabilities::new().removable();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            lifecycle: Lifecycle {
                outlives_parent: true,
                max_batch: 10,
                ..Lifecycle::DEFAULT
            },
            ..SCHEMA
        }
    }

    async fn prepare(
        &self,
        host: &Handle,
        name: &str,
        desired: State,
    ) -> Result<State, Vec<Problem>> {
        if name == "b" && !host.lock().unwrap().settings.contains_key("a") {
            return Err(vec![Problem::new("there is no `a`")]);
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Handle,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let world = host.lock().unwrap();
        let there = |name: &&str| {
            let setting = world.settings.get(*name).cloned();
            let is_there = setting.is_some() || world.installed.contains(*name);
            is_there.then(|| State {
                setting: Some(setting.unwrap_or_default()),
            })
        };
        Ok(names.iter().map(there).collect())
    }

    async fn apply(
        &self,
        host: &Handle,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        let mut world = host.lock().unwrap();
        for (name, change) in changes {
            if name == "broken" {
                let address = Address::new(Self::KIND, name);
                return Err(ProviderError::new(address, "set it", "it is broken"));
            }
            let setting = change.after().and_then(|after| after.setting.clone());
            match setting.filter(|setting| !setting.is_empty()) {
                Some(setting) => world.settings.insert(name.to_owned(), setting),
                None => world.settings.remove(name),
            };
        }
        Ok(())
    }

    fn requires(&self, name: &str, _desired: &State) -> Vec<Address> {
        let mut needs = vec![Address::new("package", name)];
        if name == "b" {
            needs.push(Address::new(Self::KIND, "a"));
        }
        needs
    }
}

impl Removable<InMemory> for Service {
    async fn prepare_absent(&self, host: &Handle, name: &str) -> Result<(), Vec<Problem>> {
        if host.lock().unwrap().installed.contains(name) {
            return Err(vec![Problem::new("a package brings it").at("absent")]);
        }
        Ok(())
    }
}

fn registry() -> Registry<InMemory> {
    Registry::default().with(Package).with(Service)
}

fn present(setting: Option<&str>) -> Desired {
    Desired::present(serde_json::json!({ "setting": setting }))
}

/// Plans and applies.
async fn plan_and_apply(
    host: &Handle,
    dir: &TempDir,
    wishes: Vec<(&str, &str, Desired)>,
) -> Result<Outcome, PlanError> {
    let wishes = wishes.into_iter();
    let wishes = wishes.map(|(kind, name, desired)| (Address::new(kind, name), desired));
    let graph = Graph::build(spec(wishes.collect()), &registry()).unwrap();
    let plan = plan(&registry(), host, &graph).await?;
    Ok(apply_plan(host, dir, &plan).await)
}

async fn apply_plan(
    host: &Handle,
    dir: &TempDir,
    plan: &stead_engine::plan::document::Plan,
) -> Outcome {
    let state = StateDir::create(&dir.path().join("state")).unwrap();
    let mut lock = Lock::acquire(&dir.path().join("lock"), &state).unwrap();
    let apply = RunContext {
        registry: &registry(),
        writer: host,
        state: &state,
        observer: &|_| (),
        stop: &AtomicBool::new(false),
    };
    apply.run(&mut lock, plan, None).await.unwrap()
}

#[tokio::test]
async fn rollback_removes_remnants_of_created_resources() {
    let (host, dir) = (Handle::default(), tempfile::tempdir().unwrap());
    let both = || {
        vec![
            ("package", "a", present(None)),
            ("service", "a", present(Some("1"))),
        ]
    };
    let mut failing = both();
    failing.push(("service", "broken", present(Some("1"))));
    let outcome = plan_and_apply(&host, &dir, failing).await.unwrap();
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    assert_eq!(*host.lock().unwrap(), PackageState::default());

    let Outcome::Done { run: number } = plan_and_apply(&host, &dir, both()).await.unwrap() else {
        panic!("nothing stands against it")
    };
    assert_eq!(host.lock().unwrap().settings["a"], "1");
    let state = StateDir::new(&dir.path().join("state"));
    let back = undo(&registry(), &host, &state, number).await.unwrap();
    let outcome = apply_plan(&host, &dir, &back).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(*host.lock().unwrap(), PackageState::default());
}

#[tokio::test]
async fn step_members_may_satisfy_each_others_requirements() {
    let (host, dir) = (Handle::default(), tempfile::tempdir().unwrap());
    let wishes = vec![
        ("package", "b", present(None)),
        ("service", "a", present(Some("1"))),
        ("service", "b", present(Some("2"))),
    ];
    let outcome = plan_and_apply(&host, &dir, wishes).await.unwrap();
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(host.lock().unwrap().settings["b"], "2");
    let alone = vec![("service", "b", present(Some("3")))];
    host.lock().unwrap().settings.remove("a");
    let refused = plan_and_apply(&host, &dir, alone).await;
    assert!(matches!(refused, Err(PlanError::Spec(_))), "{refused:?}");
}

#[tokio::test]
async fn impossible_absence_is_rejected_at_planning() {
    let (host, dir) = (Handle::default(), tempfile::tempdir().unwrap());
    host.lock().unwrap().installed.insert("a".to_owned());
    let refused = plan_and_apply(&host, &dir, vec![("service", "a", Desired::Absent)]).await;
    assert!(matches!(refused, Err(PlanError::Spec(_))), "{refused:?}");
    plan_and_apply(&host, &dir, vec![("service", "b", Desired::Absent)])
        .await
        .unwrap();
}
