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

fn wish(name: &str, text: &str) -> (Address, Desired) {
    (Address::new("leaf", name), present(&leaf(text)))
}

fn put(site: &Site, name: &str, text: &str) {
    let node = Node::Leaf(leaf(text));
    site.host.lock().tree.insert(name.to_owned(), node);
}

fn explained(site: &Site, spec: &Spec) -> Plan {
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
fn check(site: &Site, wishes: &[(Address, Desired)], expected: &[Cause]) {
    let spec = spec(wishes.to_vec());
    let plan = explained(site, &spec);
    let causes = plan.changes.iter().filter_map(|one| one.cause.clone());
    assert_eq!(causes.collect::<Vec<_>>(), expected);
    let said = plan.changes.iter().all(|one| one.cause.is_some());
    assert!(said || expected.is_empty(), "{plan:?}");
    assert!(plan.is_intact());
    let json = serde_json::to_string(&plan).unwrap();
    let again = serde_json::to_string(&explained(site, &spec)).unwrap();
    assert_eq!(json, again);
}

fn unknown(run: u64) -> Cause {
    Cause::Unknown { run }
}

fn of_spec(run: u64) -> Cause {
    let is_new = false;
    Cause::Spec { run, is_new }
}

#[test]
fn before_any_run_the_spec_says_all() {
    let site = Site::new(Tree::new());
    check(&site, &[wish("x", "1")], &[]);
    site.host.lock().faults = [(0, Fault::Refused)].into();
    let failed = site.apply(&site.plan(&spec(vec![wish("x", "1")])));
    assert!(matches!(failed, Some(Outcome::Failed { .. })), "{failed:?}");
    check(&site, &[wish("x", "1")], &[]);
}

#[test]
fn a_spec_that_asks_for_something_else_is_the_cause() {
    let site = Site::new(Tree::new());
    apply(&site, &[wish("x", "1")]);
    check(&site, &[wish("x", "2")], &[of_spec(1)]);
    let is_new = true;
    let new = Cause::Spec { run: 1, is_new };
    check(&site, &[wish("x", "1"), wish("y", "1")], &[new]);
    let gone = (Address::new("leaf", "x"), Desired::Absent);
    check(&site, &[gone], &[of_spec(1)]);

    // A run that was taken back does not count.
    let run = apply(&site, &[wish("x", "2")]);
    let back = site.undo(run).unwrap();
    site.apply(&back).unwrap();
    check(&site, &[wish("x", "2")], &[of_spec(1)]);
}

#[test]
fn what_nobody_is_known_to_have_moved_has_no_cause() {
    let site = Site::new(Tree::new());
    apply(&site, &[wish("x", "1"), wish("y", "1")]);
    apply(&site, &[wish("x", "1"), wish("y", "2")]);
    put(&site, "x", "3");
    check(&site, &[wish("x", "1"), wish("y", "2")], &[unknown(2)]);
    // The spec changed too, but what is there is not what it asked for then.
    check(&site, &[wish("x", "2"), wish("y", "2")], &[of_spec(2)]);
    site.host.lock().tree.remove("x");
    check(&site, &[wish("x", "2"), wish("y", "2")], &[unknown(2)]);
}

#[test]
fn a_change_of_the_spec_hides_no_drift_beside_it() {
    let both = |mode: &str, text: &str| Leaf {
        mode: Some(mode.to_owned()),
        text: Some(text.to_owned()),
    };
    let wish = |mode, text| (Address::new("leaf", "x"), present(&both(mode, text)));
    let site = Site::new(Tree::new());
    apply(&site, &[wish("1", "1")]);
    check(&site, &[wish("2", "1")], &[of_spec(1)]);
    let moved = Node::Leaf(both("1", "moved"));
    site.host.lock().tree.insert("x".to_owned(), moved);
    check(&site, &[wish("2", "1")], &[unknown(1)]);
    check(&site, &[wish("2", "2")], &[of_spec(1)]);
}

#[test]
fn what_a_boot_loses_is_lost_at_a_boot_and_at_nothing_else() {
    let site = Site::new(Tree::new());
    let wishes = [wish("x", "1"), wish("y", "1")];
    apply(&site, &wishes);
    let reboot = |run| Cause::Reboot { run };
    site.host.lock().volatile.insert("x".to_owned());
    site.host.lock().tree.clear();
    check(&site, &wishes, &[unknown(1), unknown(1)]);
    site.host.lock().boot += 1;
    check(&site, &wishes, &[reboot(1), unknown(1)]);
    // What a run has brought back since was not lost then.
    apply(&site, &wishes);
    site.host.lock().tree.clear();
    check(&site, &wishes, &[unknown(2), unknown(2)]);
}

#[test]
fn evidence_of_a_kind_is_believed() {
    let site = Site::new(Tree::new());
    apply(&site, &[wish("x", "1")]);
    put(&site, "x", "2");
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
            Cause::Hand {
                run: 1,
                person: "alice".to_owned(),
                evidence: fact(),
            },
        ),
        (
            Evidence::Trace { fact: fact() },
            Cause::Changed {
                run: 1,
                evidence: fact(),
            },
        ),
    ] {
        site.host.lock().evidence.insert("x".to_owned(), evidence);
        check(&site, &[wish("x", "1")], &[cause]);
    }
}

#[test]
fn while_a_run_has_not_ended_nothing_is_said() {
    let site = Site::new(Tree::new());
    apply(&site, &[wish("x", "1")]);
    site.host.lock().faults = [(1, Fault::KilledHalf)].into();
    assert_eq!(site.apply(&site.plan(&spec(vec![wish("x", "2")]))), None);
    check(&site, &[wish("x", "3")], &[]);
    site.recover().unwrap();
    check(&site, &[wish("x", "3")], &[of_spec(1)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_as_the_run_left_it_differs_because_of_the_spec_and_what_is_asked_for_as_before_never_does(
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
        let plan = explained(&site, &second.spec);
        prop_assert!(plan.is_intact());
        for planned in &plan.changes {
            let address = &planned.address;
            let is_spec = matches!(planned.cause, Some(Cause::Spec { .. }));
            let before = asked(&first, address);
            prop_assert_eq!(matches!(planned.cause, Some(Cause::Spec { is_new: true, .. })), before.is_none(), "{:?}", planned);
            if !moved.contains(address.name.as_str()) {
                prop_assert!(is_spec, "{:?}", planned);
            } else if before == asked(&second, address) {
                prop_assert_eq!(&planned.cause, &Some(unknown(1)), "{:?}", planned);
            }
            let is_gone = matches!(planned.change, Change::Delete { .. });
            prop_assert!(is_spec || !is_gone, "{:?}", planned);
        }
    }
}
