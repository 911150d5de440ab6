//! Why a world that had converged differs again.

use std::collections::BTreeSet;

use proptest::prelude::*;
use stead_engine::{
    drift::explain::explain,
    history::journal::Outcome,
    language::spec::Spec,
    model::{address::Address, change::Change, drift::Evidence, state::Desired},
    plan::{cause::Cause, document::Plan},
};

use crate::{
    promises::{Case, Site, case, present, spec},
    world::{Fault, Leaf, Node, Tree, registry},
};

fn leaf(text: &str) -> Leaf {
    Leaf {
        mode: None,
        text: Some(text.to_owned()),
    }
}

fn desired_leaf(name: &str, text: &str) -> (Address, Desired) {
    (Address::new("leaf", name), present(&leaf(text)))
}

fn set_leaf(site: &Site, name: &str, text: &str) {
    let node = Node::Leaf(leaf(text));
    site.host.lock().tree.insert(name.to_owned(), node);
}

fn explained_plan(site: &Site, spec: &Spec) -> Plan {
    let plan = site.plan(spec);
    let (registry, state) = (registry(), site.state());
    site.runtime
        .block_on(explain(&registry, &site.host, &state, plan))
}

fn apply(site: &Site, wishes: &[(Address, Desired)]) -> u64 {
    match site.apply(&site.plan(&spec(wishes.to_vec()))) {
        Some(Outcome::Done { run }) => run,
        other => panic!("{other:?}"),
    }
}

/// Plans, and expects these causes, one for each change, or none at all.
fn check_causes(site: &Site, wishes: &[(Address, Desired)], expected: &[Cause]) {
    let spec = spec(wishes.to_vec());
    let plan = explained_plan(site, &spec);
    let causes = plan.changes.iter().filter_map(|one| one.cause.clone());
    assert_eq!(causes.collect::<Vec<_>>(), expected);
    let said = plan.changes.iter().all(|one| one.cause.is_some());
    assert!(said || expected.is_empty(), "{plan:?}");
    assert!(plan.has_valid_fingerprint());
    let json = serde_json::to_string(&plan).unwrap();
    let again = serde_json::to_string(&explained_plan(site, &spec)).unwrap();
    assert_eq!(json, again);
}

fn unknown_cause(run: u64) -> Cause {
    Cause::Unknown { run }
}

fn spec_cause(run: u64) -> Cause {
    let is_new = false;
    Cause::Spec { run, is_new }
}

#[test]
fn drift_has_no_cause_before_the_first_run() {
    let site = Site::new(Tree::new());
    check_causes(&site, &[desired_leaf("x", "1")], &[]);
    site.host.lock().faults = [(0, Fault::Refused)].into();
    let failed = site.apply(&site.plan(&spec(vec![desired_leaf("x", "1")])));
    assert!(matches!(failed, Some(Outcome::Failed { .. })), "{failed:?}");
    check_causes(&site, &[desired_leaf("x", "1")], &[]);
}

#[test]
fn changed_spec_is_the_cause() {
    let site = Site::new(Tree::new());
    apply(&site, &[desired_leaf("x", "1")]);
    check_causes(&site, &[desired_leaf("x", "2")], &[spec_cause(1)]);
    let is_new = true;
    let new = Cause::Spec { run: 1, is_new };
    check_causes(
        &site,
        &[desired_leaf("x", "1"), desired_leaf("y", "1")],
        &[new],
    );
    let gone = (Address::new("leaf", "x"), Desired::Absent);
    check_causes(&site, &[gone], &[spec_cause(1)]);

    // A run that was undone does not count.
    let run = apply(&site, &[desired_leaf("x", "2")]);
    let back = site.undo(run).unwrap();
    site.apply(&back).unwrap();
    check_causes(&site, &[desired_leaf("x", "2")], &[spec_cause(1)]);
}

#[test]
fn change_without_evidence_has_unknown_cause() {
    let site = Site::new(Tree::new());
    apply(&site, &[desired_leaf("x", "1"), desired_leaf("y", "1")]);
    apply(&site, &[desired_leaf("x", "1"), desired_leaf("y", "2")]);
    set_leaf(&site, "x", "3");
    check_causes(
        &site,
        &[desired_leaf("x", "1"), desired_leaf("y", "2")],
        &[unknown_cause(2)],
    );
    // The spec changed too, but what is there is not what it asked for then.
    check_causes(
        &site,
        &[desired_leaf("x", "2"), desired_leaf("y", "2")],
        &[spec_cause(2)],
    );
    site.host.lock().tree.remove("x");
    check_causes(
        &site,
        &[desired_leaf("x", "2"), desired_leaf("y", "2")],
        &[unknown_cause(2)],
    );
}

#[test]
fn spec_change_does_not_hide_drift() {
    let both = |mode: &str, text: &str| Leaf {
        mode: Some(mode.to_owned()),
        text: Some(text.to_owned()),
    };
    let wish = |mode, text| (Address::new("leaf", "x"), present(&both(mode, text)));
    let site = Site::new(Tree::new());
    apply(&site, &[wish("1", "1")]);
    check_causes(&site, &[wish("2", "1")], &[spec_cause(1)]);
    let moved = Node::Leaf(both("1", "moved"));
    site.host.lock().tree.insert("x".to_owned(), moved);
    check_causes(&site, &[wish("2", "1")], &[unknown_cause(1)]);
    check_causes(&site, &[wish("2", "2")], &[spec_cause(1)]);
}

#[test]
fn volatile_state_is_attributed_to_a_reboot_only() {
    let site = Site::new(Tree::new());
    let wishes = [desired_leaf("x", "1"), desired_leaf("y", "1")];
    apply(&site, &wishes);
    let reboot = |run| Cause::Reboot { run };
    site.host.lock().volatile.insert("x".to_owned());
    site.host.lock().tree.clear();
    check_causes(&site, &wishes, &[unknown_cause(1), unknown_cause(1)]);
    site.host.lock().boot += 1;
    check_causes(&site, &wishes, &[reboot(1), unknown_cause(1)]);
    // What a run has brought back since was not lost then.
    apply(&site, &wishes);
    site.host.lock().tree.clear();
    check_causes(&site, &wishes, &[unknown_cause(2), unknown_cause(2)]);
}

#[test]
fn evidence_of_the_kind_becomes_the_cause() {
    let site = Site::new(Tree::new());
    apply(&site, &[desired_leaf("x", "1")]);
    set_leaf(&site, "x", "2");
    let fact = || "seen".to_owned();
    for (evidence, cause) in [
        (
            Evidence::Actor {
                name: "Docker".to_owned(),
                fact: fact(),
            },
            Cause::Actor {
                run: 1,
                actor: "Docker".to_owned(),
                evidence: fact(),
            },
        ),
        (
            Evidence::Person {
                name: "alice".to_owned(),
                fact: fact(),
            },
            Cause::Manual {
                run: 1,
                person: "alice".to_owned(),
                evidence: fact(),
            },
        ),
        (
            Evidence::Modified { fact: fact() },
            Cause::Modified {
                run: 1,
                evidence: fact(),
            },
        ),
    ] {
        site.host.lock().evidence.insert("x".to_owned(), evidence);
        check_causes(&site, &[desired_leaf("x", "1")], &[cause]);
    }
}

#[test]
fn unfinished_run_yields_no_cause() {
    let site = Site::new(Tree::new());
    apply(&site, &[desired_leaf("x", "1")]);
    site.host.lock().faults = [(1, Fault::KilledHalf)].into();
    assert_eq!(
        site.apply(&site.plan(&spec(vec![desired_leaf("x", "2")]))),
        None
    );
    check_causes(&site, &[desired_leaf("x", "3")], &[]);
    site.recover().unwrap();
    check_causes(&site, &[desired_leaf("x", "3")], &[spec_cause(1)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn unchanged_state_with_changed_spec_is_attributed_to_the_spec(
        first in case(),
        second in case(),
        moved in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let site = Site::new(first.start.clone());
        let Some(Outcome::Done { .. }) = site.apply(&site.plan(&first.spec)) else {
            return Ok(());
        };
        let leaves: Vec<_> = site.host.tree().into_iter().filter(|(_, node)| matches!(node, Node::Leaf(_))).map(|(path, _)| path).collect();
        let moved: BTreeSet<_> = moved.iter().filter(|_| !leaves.is_empty()).map(|index| index.get(&leaves).clone()).collect();
        for path in &moved {
            let other = Leaf { mode: Some("other".to_owned()), text: Some("other".to_owned()) };
            site.host.lock().tree.insert(path.clone(), Node::Leaf(other));
        }
        let asked = |case: &Case, address: &Address| case.spec.resources.iter().find(|one| one.address == *address).map(|one| one.desired.clone());
        let plan = explained_plan(&site, &second.spec);
        prop_assert!(plan.has_valid_fingerprint());
        for planned in &plan.changes {
            let address = &planned.address;
            let is_spec = matches!(planned.cause, Some(Cause::Spec { .. }));
            let before = asked(&first, address);
            prop_assert_eq!(matches!(planned.cause, Some(Cause::Spec { is_new: true, .. })), before.is_none(), "{:?}", planned);
            if !moved.contains(address.name.as_str()) {
                prop_assert!(is_spec, "{:?}", planned);
            } else if before == asked(&second, address) {
                prop_assert_eq!(&planned.cause, &Some(unknown_cause(1)), "{:?}", planned);
            }
            let is_gone = matches!(planned.change, Change::Delete { .. });
            prop_assert!(is_spec || !is_gone, "{:?}", planned);
        }
    }
}
