//! The six promises, as properties over a strict world in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use proptest::prelude::*;
use stead_engine::{
    history::{journal::Outcome, lock::Lock, state_dir::StateDir},
    language::{
        provenance::Provenance,
        source::{Source, Span},
        spec::{Resource, Spec, SpecSources},
    },
    model::{address::Address, state::Desired},
    plan::{
        document::{Plan, PlannedChange},
        graph::Graph,
        planner::plan,
    },
    run::{
        context::RunContext,
        recover::{OnResidue, recover},
        undo::{UndoError, undo},
    },
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::world::{
    Directory, Fault, Handle, Leaf, MemoryHost, Node, Tree, differing_paths, parents, registry,
};

/// Where state directories are: what matters is which bytes are on disk, not when.
const IN_MEMORY: &str = "/dev/shm";
const DIRECTORIES: [&str; 4] = ["a", "a/b", "a/b/c", "d"];
const LEAVES: [&str; 6] = ["x", "a/x", "a/y", "a/b/x", "a/b/c/x", "d/x"];

pub(crate) struct Case {
    pub(crate) start: Tree,
    pub(crate) spec: Spec,
}

/// One stead on one world.
pub(crate) struct Site {
    pub(crate) runtime: Runtime,
    pub(crate) host: Handle,
    dir: TempDir,
}

impl Site {
    pub(crate) fn new(tree: Tree) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        Self {
            runtime,
            host: Handle::new(tree),
            dir: tempfile::tempdir_in(IN_MEMORY).unwrap(),
        }
    }

    pub(crate) fn state(&self) -> StateDir {
        StateDir::create(&self.state_path()).unwrap()
    }

    fn state_path(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test looks at its own directory"
    )]
    fn has_state(&self) -> bool {
        self.state_path().exists()
    }

    pub(crate) fn plan(&self, spec: &Spec) -> Plan {
        let graph = Graph::build(spec.clone(), &registry()).unwrap();
        self.runtime
            .block_on(plan(&registry(), &self.host, &graph))
            .unwrap()
    }

    /// Applies, or returns `None` if the process was killed on the way.
    pub(crate) fn apply(&self, plan: &Plan) -> Option<Outcome> {
        self.with_lock(async |apply, lock| apply.run(lock, plan, None).await.unwrap())
    }

    /// Recovers, or returns `None` if the process was killed on the way.
    pub(crate) fn recover(&self) -> Option<Outcome> {
        self.with_lock(async |apply, lock| {
            recover(apply, lock, OnResidue::Stop)
                .await
                .unwrap()
                .expect("a killed run is unfinished")
        })
    }

    pub(crate) fn undo(&self, run: u64) -> Result<Plan, UndoError> {
        let state = StateDir::new(&self.state_path());
        self.runtime
            .block_on(undo(&registry(), &self.host, &state, run))
    }

    /// Acts as one process does, or returns `None` if it was killed on the way.
    pub(crate) fn with_lock<T>(
        &self,
        act: impl AsyncFnOnce(&RunContext<'_, MemoryHost>, &mut Lock) -> T,
    ) -> Option<T> {
        let state = self.state();
        let mut lock = Lock::acquire(&self.dir.path().join("lock"), &state).unwrap();
        let registry = registry();
        let apply = RunContext {
            registry: &registry,
            writer: &self.host,
            state: &state,
            observer: &|_| (),
            stop: &AtomicBool::new(false),
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.host.killed.notified() => None,
                result = act(&apply, &mut lock) => Some(result),
            }
        })
    }
}

pub(crate) fn present(state: &impl serde::Serialize) -> Desired {
    Desired::present(serde_json::to_value(state).unwrap())
}

pub(crate) fn spec(wishes: Vec<(Address, Desired)>) -> Spec {
    let source = Arc::new(Source::new("host.kdl", String::new()));
    let span = Span {
        source,
        offset: 0,
        length: 0,
    };
    let resource = |(address, desired)| Resource {
        address,
        desired,
        implied_by: None,
        requires: vec![],
        span: span.clone(),
        name_span: span.clone(),
        attributes: litemap::LiteMap::new_vec(),
        provenance: Provenance::default(),
    };
    Spec {
        host: "world".into(),
        resources: wishes.into_iter().map(resource).collect(),
        sources: SpecSources::default(),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("1".to_owned()),
        Just("2".to_owned()),
        Just("3".to_owned())
    ]
}

/// A tree without orphans.
pub(crate) fn tree() -> impl Strategy<Value = Tree> {
    let dirs = prop::collection::vec(prop::option::of(text()), DIRECTORIES.len());
    let leaves = prop::collection::vec(prop::option::of((text(), text())), LEAVES.len());
    (dirs, leaves).prop_map(|(dirs, leaves)| {
        let mut tree = Tree::new();
        for (path, mode) in DIRECTORIES.iter().zip(dirs) {
            if let Some(mode) = mode {
                tree.insert(
                    (*path).to_owned(),
                    Node::Directory(Directory { mode: Some(mode) }),
                );
            }
        }
        for (path, leaf) in LEAVES.iter().zip(leaves) {
            if let Some((mode, text)) = leaf {
                tree.insert(
                    (*path).to_owned(),
                    Node::Leaf(Leaf {
                        mode: Some(mode),
                        text: Some(text),
                    }),
                );
            }
        }
        let whole = tree.clone();
        tree.retain(|path, _| parents(path).all(|parent| whole.contains_key(parent)));
        tree
    })
}

/// A spec that asks for any mixture, in any order, and never for something within what shall not exist.
fn desired_resources() -> impl Strategy<Value = Vec<(Address, Desired)>> {
    let wish = prop_oneof![3 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None)];
    let details = (wish, prop::option::of(text()), prop::option::of(text()));
    prop::collection::vec(details, DIRECTORIES.len() + LEAVES.len())
        .prop_map(|details| {
            let dirs = DIRECTORIES.map(|path| ("folder", path));
            let leaves = LEAVES.map(|path| ("leaf", path));
            let mut wishes: BTreeMap<&str, (Address, Desired)> = BTreeMap::new();
            for ((kind, path), (wish, mode, text)) in dirs.into_iter().chain(leaves).zip(details) {
                let is_inside_absent = parents(path)
                    .any(|parent| matches!(wishes.get(parent), Some((_, Desired::Absent))));
                let desired = match wish {
                    None => continue,
                    Some(true) if !is_inside_absent && kind == "folder" => {
                        present(&Directory { mode })
                    }
                    Some(true) if !is_inside_absent => present(&Leaf { mode, text }),
                    Some(_) => Desired::Absent,
                };
                wishes.insert(path, (Address::new(kind, path), desired));
            }
            wishes.into_values().collect::<Vec<_>>()
        })
        .prop_shuffle()
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    (tree(), desired_resources()).prop_map(|(start, wishes)| Case {
        start,
        spec: spec(wishes),
    })
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "start {:#?}", self.start)?;
        f.debug_list()
            .entries(
                self.spec
                    .resources
                    .iter()
                    .map(|r| (r.address.to_string(), &r.desired)),
            )
            .finish()
    }
}

pub(crate) fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![
        Fault::Refused,
        Fault::Half,
        Fault::Whole,
        Fault::KilledBefore,
        Fault::KilledHalf,
        Fault::KilledAfter,
    ])
}

/// Applies and recovers until nobody is killed any more; returns the last outcome.
fn apply_and_recover(site: &Site, plan: &Plan) -> Outcome {
    if let Some(outcome) = site.apply(plan) {
        return outcome;
    }
    loop {
        if let Some(outcome) = site.recover() {
            return outcome;
        }
    }
}

fn check_outcome(site: &Site, start: &Tree, outcome: &Outcome, spec: &Spec) {
    let moved = differing_paths(start, &site.host.tree());
    match outcome {
        Outcome::Done { .. } => assert!(site.plan(spec).is_empty()),
        Outcome::Failed { .. } => assert_eq!(moved, BTreeSet::new(), "{outcome:?}"),
        Outcome::Residue { residue, .. } => {
            let named: BTreeSet<_> = residue
                .iter()
                .map(|residue| residue.address.name.to_string())
                .collect();
            assert_eq!(named, moved, "{outcome:?}");
        }
        Outcome::CheckFailed { .. } => panic!("the world has no checks"),
        Outcome::Pending { .. } | Outcome::NotConfirmed { .. } => panic!("nobody waits"),
        Outcome::Stale { .. } => panic!("nobody moved the world"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn apply_leaves_an_empty_plan(case in case()) {
        let site = Site::new(case.start.clone());
        let outcome = site.apply(&site.plan(&case.spec)).unwrap();
        check_outcome(&site, &case.start, &outcome, &case.spec);
    }

    #[test]
    fn faults_and_kills_leave_the_start_or_exact_residue(
        case in case(),
        faults in prop::collection::btree_map(0_usize..24, fault(), 1..4),
    ) {
        let site = Site::new(case.start.clone());
        let plan = site.plan(&case.spec);
        site.host.lock().faults = faults;
        let outcome = apply_and_recover(&site, &plan);
        check_outcome(&site, &case.start, &outcome, &case.spec);
    }

    #[test]
    fn single_fault_leaves_no_residue(case in case(), at in 0_usize..10, fault in fault()) {
        let site = Site::new(case.start.clone());
        let plan = site.plan(&case.spec);
        site.host.lock().faults = [(at, fault)].into();
        let outcome = apply_and_recover(&site, &plan);
        let is_clean = matches!(outcome, Outcome::Done { .. } | Outcome::Failed { .. });
        prop_assert!(is_clean, "{:?}", outcome);
        check_outcome(&site, &case.start, &outcome, &case.spec);
    }

    #[test]
    fn undo_restores_the_start_and_its_undo_the_end(case in case()) {
        let site = Site::new(case.start.clone());
        if let Some(Outcome::Done { run }) = site.apply(&site.plan(&case.spec)) {
            let end = site.host.tree();
            let back = site.apply(&site.undo(run).unwrap()).unwrap();
            let Outcome::Done { run } = back else { panic!("{back:?}") };
            prop_assert_eq!(&site.host.tree(), &case.start);
            let forth = site.apply(&site.undo(run).unwrap()).unwrap();
            prop_assert!(matches!(forth, Outcome::Done { .. }), "{:?}", forth);
            prop_assert_eq!(site.host.tree(), end);
        }
    }

    #[test]
    fn rollback_removes_children_before_parents(start in tree(), at in 0_usize..10) {
        let wishes = DIRECTORIES.map(|path| (Address::new("folder", path), present(&Directory::default())));
        let leaves = LEAVES.map(|path| (Address::new("leaf", path), present(&Leaf::default())));
        let spec = spec(leaves.into_iter().chain(wishes).collect());
        let site = Site::new(start.clone());
        let plan = site.plan(&spec);
        site.host.lock().faults = [(at, Fault::Whole)].into();
        let outcome = site.apply(&plan).unwrap();
        check_outcome(&site, &start, &outcome, &spec);
        let removed = site.host.lock().removed.clone();
        for (index, path) in removed.iter().enumerate() {
            let inside = format!("{path}/");
            prop_assert!(removed[index..].iter().all(|later| !later.starts_with(&inside)), "{:?}", removed);
        }
        if at < plan.changes.len() {
            prop_assert!(matches!(outcome, Outcome::Failed { .. }), "{:?}", outcome);
            let created = plan.changes[..=at].iter().filter(|planned| planned.change.before().is_none()).count();
            prop_assert_eq!(removed.len(), created);
        }
    }

    #[test]
    fn irreversible_changes_run_last_except_for_their_dependents(case in case()) {
        let plan = Site::new(case.start.clone()).plan(&case.spec);
        let first = plan.point_of_no_return().unwrap_or(plan.changes.len());
        let is_final = |planned: &PlannedChange| planned.effects.irreversible.is_some();
        for planned in &plan.changes[first..] {
            let holds_some = plan.changes[first..].iter().any(|other| is_final(other) && other.address.name.starts_with(&format!("{}/", planned.address.name)));
            prop_assert!(is_final(planned) || holds_some, "{:?}", planned);
        }
    }

    #[test]
    fn stale_plan_is_refused_without_writes(case in case(), pick in any::<prop::sample::Index>()) {
        let site = Site::new(case.start.clone());
        let plan = site.plan(&case.spec);
        prop_assume!(!plan.state_digests.is_empty());
        let address = pick.get(&plan.state_digests.keys().collect::<Vec<_>>()).to_owned().clone();
        let moved = match address.kind.as_str() {
            "folder" => Node::Directory(Directory { mode: Some("moved".into()) }),
            _ => Node::Leaf(Leaf { mode: Some("moved".into()), text: None }),
        };
        site.host.lock().tree.insert(address.name.to_string(), moved);
        let before = site.host.tree();
        let outcome = site.apply(&plan).unwrap();
        prop_assert_eq!(outcome, Outcome::Stale { addresses: vec![address] });
        prop_assert_eq!(site.host.tree(), before);
        prop_assert_eq!(site.host.lock().writes, 0);
        prop_assert_eq!(StateDir::new(&site.state_path()).run_numbers().unwrap(), Vec::<u64>::new());
    }

    #[test]
    fn plan_writes_nothing_and_is_deterministic(case in case()) {
        let site = Site::new(case.start.clone());
        let (one, two) = (site.plan(&case.spec), site.plan(&case.spec));
        prop_assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&two).unwrap());
        prop_assert!(one.has_valid_fingerprint());
        prop_assert_eq!(site.host.lock().writes, 0);
        prop_assert_eq!(site.host.tree(), case.start);
        prop_assert!(!site.has_state());
    }
}

#[test]
fn undo_refuses_a_changed_host_and_names_conflicts() {
    let site = Site::new(Tree::new());
    let leaf = |text: &str| Leaf {
        mode: None,
        text: Some(text.into()),
    };
    let spec = spec(vec![(Address::new("leaf", "x"), present(&leaf("1")))]);
    let Some(Outcome::Done { run }) = site.apply(&site.plan(&spec)) else {
        panic!("must apply")
    };
    site.host
        .lock()
        .tree
        .insert("x".into(), Node::Leaf(leaf("by hand")));
    let Err(UndoError::Conflicts(conflicts)) = site.undo(run) else {
        panic!("must conflict")
    };
    assert_eq!(conflicts, [Address::new("leaf", "x")]);
    assert!(matches!(site.undo(run + 1), Err(UndoError::History(_))));
}

#[test]
fn tampered_plan_has_an_invalid_fingerprint() {
    let site = Site::new(Tree::new());
    let spec = spec(vec![(Address::new("leaf", "x"), present(&Leaf::default()))]);
    let mut plan = site.plan(&spec);
    plan.changes.clear();
    assert!(!plan.has_valid_fingerprint());
}
