//! The promise of all runs, for a great many specs, worlds, faults and ends.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde::Deserialize;
use stead_engine::{
    history::{journal::Outcome, stage::Stage, window::ConfirmWindow},
    language::spec::Spec,
    model::state::Desired,
    run::{
        confirm::{confirm, revert},
        recover::LatestRun,
    },
};

use crate::{
    promises::{Case, Site, case, fault},
    world::{Directory, Fault, Leaf, Node, Tree, differing_paths},
};

/// How many cases there are unless `STEAD_CASES` says so.
const CASES: u64 = 10_000;
/// How many there are with `STEAD_EXHAUSTIVE`.
const EXHAUSTIVE_CASES: u64 = 100_000;
/// How many threads share them.
const THREADS: u64 = 2;
/// More looks after a run than faults can make necessary.
const MAX_REVERTS: usize = 20;

/// What becomes of a run that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ConfirmCase {
    /// It does not wait.
    NotPending,
    Confirmed,
    Reverted,
    /// Nobody says anything.
    TimedOut,
    /// The host is started anew.
    Rebooted,
}

/// What a spec leads to from a tree, if all of it can be done.
fn expected_tree(start: &Tree, spec: &Spec) -> Tree {
    let mut tree = start.clone();
    for resource in &spec.resources {
        let path = resource.address.name.to_string();
        let (Desired::Present(state), kind) = (&resource.desired, resource.address.kind.as_str())
        else {
            tree.remove(&path);
            continue;
        };
        let node = if kind == "folder" {
            let wish: Directory = Deserialize::deserialize(&**state).unwrap();
            let before = match tree.get(&path) {
                Some(Node::Directory(before)) => before.clone(),
                _ => Directory::default(),
            };
            Node::Directory(Directory {
                mode: wish.mode.or(before.mode),
            })
        } else {
            let wish: Leaf = Deserialize::deserialize(&**state).unwrap();
            let before = match tree.get(&path) {
                Some(Node::Leaf(before)) => before.clone(),
                _ => Leaf::default(),
            };
            Node::Leaf(Leaf {
                mode: wish.mode.or(before.mode),
                text: wish.text.or(before.text),
            })
        };
        tree.insert(path, node);
    }
    tree
}

/// Runs a case to its end, whoever is killed on the way, and returns how it ended.
fn run_to_its_end(
    site: &Site,
    case: &Case,
    faults: BTreeMap<usize, Fault>,
    end: ConfirmCase,
) -> Option<Outcome> {
    let plan = site.plan(&case.spec);
    if plan.is_empty() {
        return None;
    }
    site.host.lock().faults = faults;
    let window = (end != ConfirmCase::NotPending).then_some(ConfirmWindow { seconds: 60 });
    let outcome = site.with_lock(async |apply, lock| apply.run(lock, &plan, window).await.unwrap());
    if let Some(Outcome::Pending { .. }) = outcome {
        match end {
            ConfirmCase::Confirmed => {
                drop(site.with_lock(async |apply, lock| confirm(apply, lock).await));
            }
            ConfirmCase::Reverted => {
                drop(site.with_lock(async |apply, lock| revert(apply, lock, Some("me")).await));
            }
            ConfirmCase::Rebooted => site.host.lock().boot += 1,
            ConfirmCase::NotPending | ConfirmCase::TimedOut => {}
        }
    }
    for _ in 0..MAX_REVERTS {
        let newest = LatestRun::load(&site.state()).unwrap().unwrap();
        if let Stage::Ended(outcome) = newest.stage {
            return Some(outcome);
        }
        site.host.lock().uptime += Duration::from_mins(10);
        site.with_lock(async |apply, lock| revert(apply, lock, None).await.unwrap());
    }
    panic!("the run does not end");
}

fn check_end(case: &Case, faults: BTreeMap<usize, Fault>, end: ConfirmCase) {
    let site = Site::new(case.start.clone());
    let outcome = run_to_its_end(&site, case, faults, end);
    let now = site.host.tree();
    assert_eq!(site.host.lock().armed, None, "{outcome:?}");
    match outcome {
        None | Some(Outcome::Failed { .. }) => assert_eq!(now, case.start),
        Some(Outcome::Done { .. }) => {
            assert!(matches!(
                end,
                ConfirmCase::NotPending | ConfirmCase::Confirmed
            ));
            assert_eq!(now, expected_tree(&case.start, &case.spec));
        }
        Some(Outcome::NotConfirmed { .. }) => {
            assert!(matches!(
                end,
                ConfirmCase::Reverted | ConfirmCase::TimedOut | ConfirmCase::Rebooted
            ));
            assert_eq!(now, case.start);
        }
        Some(Outcome::Residue { residue, .. }) => {
            let named = residue
                .iter()
                .map(|residue| residue.address.name.to_string());
            assert_eq!(
                named.collect::<std::collections::BTreeSet<_>>(),
                differing_paths(&case.start, &now)
            );
        }
        Some(outcome) => panic!("{outcome:?}"),
    }
}

#[test]
fn every_run_ends_at_start_goal_or_exact_residue() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let seed: u64 = number("STEAD_SEED").unwrap_or_else(seed_from_clock);
    let usual = if std::env::var_os("STEAD_EXHAUSTIVE").is_some() {
        EXHAUSTIVE_CASES
    } else {
        CASES
    };
    let cases = number("STEAD_CASES").unwrap_or(usual);
    println!("{cases} cases; the same again: STEAD_SEED={seed}");
    std::thread::scope(|scope| {
        for part in 0..THREADS {
            scope.spawn(move || check_all(seed, part, cases.div_ceil(THREADS)));
        }
    });
}

/// Checks one part of all cases.
fn check_all(seed: u64, part: u64, cases: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&part.to_le_bytes());
    let config = Config {
        cases: cases.try_into().unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    let ends = prop::sample::select(vec![
        ConfirmCase::NotPending,
        ConfirmCase::Confirmed,
        ConfirmCase::Reverted,
        ConfirmCase::TimedOut,
        ConfirmCase::Rebooted,
    ]);
    let faults = prop::collection::btree_map(0_usize..24, fault(), 0..4);
    let found = runner.run(&(case(), faults, ends), |(case, faults, end)| {
        check_end(&case, faults, end);
        Ok(())
    });
    if let Err(found) = found {
        panic!("STEAD_SEED={seed}: {found}");
    }
}

/// Returns a seed that was not there before.
fn seed_from_clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_micros()).unwrap()
}
