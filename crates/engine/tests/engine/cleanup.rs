//! What a step left beside its resource shows in no state: where it cannot be removed, the resource is not back.

use stead_engine::{history::journal::Outcome, model::address::Address};

use crate::{
    promises::{Site, present, spec},
    world::{Fault, Leaf, Tree},
};

/// Fails at the only step of a run, with nothing made of it, where cleaning up is refused `times` times.
fn run_with_failed_cleanup(times: usize) -> Outcome {
    let site = Site::new(Tree::new());
    let leaf = Address::new("leaf", "x");
    let plan = site.plan(&spec(vec![(leaf, present(&Leaf::default()))]));
    site.host.lock().faults.insert(0, Fault::Refused);
    site.host
        .lock()
        .cleanup_failures
        .insert("x".to_owned(), times);
    site.with_lock(async |apply, lock| apply.run(lock, &plan, None).await.unwrap())
        .expect("nobody is killed")
}

#[test]
fn failed_cleanup_is_reported_as_residue() {
    let outcome = run_with_failed_cleanup(usize::MAX);
    let Outcome::Residue { residue, .. } = &outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(residue[0].address, Address::new("leaf", "x"));
    assert_eq!(
        residue[0].reason,
        "leaf:x: cannot clean it: a fault of the test"
    );
}

#[test]
fn cleanup_is_retried() {
    // Once for the step, once for its only change; then comes the second pass.
    let outcome = run_with_failed_cleanup(2);
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
}
