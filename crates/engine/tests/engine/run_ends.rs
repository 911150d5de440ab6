//! The promise of all runs, for a great many specs, worlds, faults and ends.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde::Deserialize;
use stead_engine::{
    history::{journal::Outcome, stage::Stage, window::Window},
    language::spec::Spec,
    model::state::Desired,
    run::{
        confirm::{confirm, revert},
        recover::Newest,
    },
};

use crate::{
    promises::{Case, Site, case, fault},
    world::{Fault, Folder, Leaf, Node, Tree, differing},
};

/// How many cases there are unless `STEAD_CASES` says so.
const CASES: u64 = 10_000;
/// How many there are with `STEAD_EXHAUSTIVE`.
const MANY_CASES: u64 = 100_000;
/// How many threads share them.
const PARTS: u64 = 2;
/// More looks after a run than faults can make necessary.
const LOOKS: usize = 20;

/// What becomes of a run that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It does not wait.
    Plain,
    Confirmed,
    Reverted,
    /// Nobody says anything.
    Forgotten,
    /// The host is started anew.
    Rebooted,
}

/// What a spec leads to from a tree, if all of it can be done.
fn goal(start: &Tree, spec: &Spec) -> Tree {
    let mut tree = start.clone();
    for resource in &spec.resources {
        let path = resource.address.name.to_string();
        let (Desired::Present(state), kind) = (&resource.desired, resource.address.kind.as_str())
        else {
            tree.remove(&path);
            continue;
        };
        let node = if kind == "folder" {
            let wish: Folder = Deserialize::deserialize(&**state).unwrap();
            let before = match tree.get(&path) {
                Some(Node::Folder(before)) => before.clone(),
                _ => Folder::default(),
            };
            Node::Folder(Folder {
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
fn run(site: &Site, case: &Case, faults: BTreeMap<usize, Fault>, end: End) -> Option<Outcome> {
    let plan = site.plan(&case.spec);
    if plan.is_empty() {
        return None;
    }
    site.host.lock().faults = faults;
    let window = (end != End::Plain).then_some(Window { seconds: 60 });
    let outcome = site.with(async |apply, lock| apply.run(lock, &plan, window).await.unwrap());
    if let Some(Outcome::Pending { .. }) = outcome {
        match end {
            End::Confirmed => drop(site.with(async |apply, lock| confirm(apply, lock).await)),
            End::Reverted => {
                drop(site.with(async |apply, lock| revert(apply, lock, Some("me")).await));
            }
            End::Rebooted => site.host.lock().boot += 1,
            End::Plain | End::Forgotten => {}
        }
    }
    for _ in 0..LOOKS {
        let newest = Newest::find(&site.state()).unwrap().unwrap();
        if let Stage::Ended(outcome) = newest.stage {
            return Some(outcome);
        }
        site.host.lock().uptime += Duration::from_mins(10);
        site.with(async |apply, lock| revert(apply, lock, None).await.unwrap());
    }
    panic!("the run does not end");
}

fn check(case: &Case, faults: BTreeMap<usize, Fault>, end: End) {
    let site = Site::new(case.start.clone());
    let outcome = run(&site, case, faults, end);
    let now = site.host.tree();
    assert_eq!(site.host.lock().armed, None, "{outcome:?}");
    match outcome {
        None | Some(Outcome::Failed { .. }) => assert_eq!(now, case.start),
        Some(Outcome::Done { .. }) => {
            assert!(matches!(end, End::Plain | End::Confirmed));
            assert_eq!(now, goal(&case.start, &case.spec));
        }
        Some(Outcome::NotConfirmed { .. }) => {
            assert!(matches!(
                end,
                End::Reverted | End::Forgotten | End::Rebooted
            ));
            assert_eq!(now, case.start);
        }
        Some(Outcome::Residue { residue, .. }) => {
            let named = residue
                .iter()
                .map(|residue| residue.address.name.to_string());
            assert_eq!(
                named.collect::<std::collections::BTreeSet<_>>(),
                differing(&case.start, &now)
            );
        }
        Some(outcome) => panic!("{outcome:?}"),
    }
}

#[test]
fn every_end_is_the_start_or_the_goal_or_an_exact_residue() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let seed: u64 = number("STEAD_SEED").unwrap_or_else(seed_of_now);
    let usual = if std::env::var_os("STEAD_EXHAUSTIVE").is_some() {
        MANY_CASES
    } else {
        CASES
    };
    let cases = number("STEAD_CASES").unwrap_or(usual);
    println!("{cases} cases; the same again: STEAD_SEED={seed}");
    std::thread::scope(|scope| {
        for part in 0..PARTS {
            scope.spawn(move || check_all(seed, part, cases.div_ceil(PARTS)));
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
        End::Plain,
        End::Confirmed,
        End::Reverted,
        End::Forgotten,
        End::Rebooted,
    ]);
    let faults = prop::collection::btree_map(0_usize..24, fault(), 0..4);
    let found = runner.run(&(case(), faults, ends), |(case, faults, end)| {
        check(&case, faults, end);
        Ok(())
    });
    if let Err(found) = found {
        panic!("STEAD_SEED={seed}: {found}");
    }
}

/// Returns a seed that was not there before.
fn seed_of_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_micros()).unwrap()
}
