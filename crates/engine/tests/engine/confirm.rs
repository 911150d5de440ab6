//! Runs that wait to be confirmed: who ends them, and what does not.

use std::time::Duration;

use stead_engine::{
    history::{journal::Outcome, stage::Stage, window::ConfirmWindow},
    model::address::Address,
    run::{
        confirm::{confirm, revert},
        recover::{LatestRun, OnResidue, RecoverError, recover},
    },
};

use crate::{
    promises::{Site, present, spec},
    world::{Fault, Leaf, Tree},
};

const WINDOW: ConfirmWindow = ConfirmWindow { seconds: 60 };

/// A site where two leaves were made by a run that waits, or by one that did not come that far.
fn run_with_window(arrange: impl FnOnce(&Site)) -> (Site, Option<Outcome>) {
    let site = Site::new(Tree::new());
    let leaf = |name: &str| (Address::new("leaf", name), present(&Leaf::default()));
    let plan = site.plan(&spec(vec![leaf("x"), leaf("y")]));
    arrange(&site);
    let outcome =
        site.with_lock(async |apply, lock| apply.run(lock, &plan, Some(WINDOW)).await.unwrap());
    (site, outcome)
}

fn site_with_pending_run() -> Site {
    let (site, outcome) = run_with_window(|_| ());
    assert!(
        matches!(outcome, Some(Outcome::Pending { run: 1, .. })),
        "{outcome:?}"
    );
    assert_eq!(site.host.lock().armed, Some(1));
    site
}

impl Site {
    /// Rolls the run back if that is due, as whoever is armed does, or because somebody asked for it.
    fn revert(&self, because: Option<&str>) -> Option<Stage> {
        self.with_lock(async |apply, lock| revert(apply, lock, because).await.unwrap().unwrap().1)
    }

    fn confirm(&self) -> Option<Stage> {
        self.with_lock(async |apply, lock| confirm(apply, lock).await.unwrap().unwrap().1)
    }

    fn advance_time(&self, time: Duration) {
        self.host.lock().uptime += time;
    }

    fn is_rolled_back(&self) -> bool {
        let world = self.host.lock();
        world.tree.is_empty() && world.armed.is_none()
    }

    /// Sees that the run was rolled back because nobody confirmed it, for a reason.
    fn check_unconfirmed(&self, stage: Option<&Stage>, why: &str) {
        let Some(Stage::Ended(Outcome::NotConfirmed { cause, .. })) = stage else {
            panic!("{stage:?}");
        };
        assert!(cause[0].contains(why), "{cause:?}");
        assert!(self.is_rolled_back());
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn confirmed_run_stays_and_disarms_the_watchdog() {
    let site = site_with_pending_run();
    site.advance_time(59 * SECOND);
    assert!(matches!(site.revert(None), Some(Stage::Pending(_))));
    assert_eq!(site.confirm(), Some(Stage::Ended(Outcome::Done { run: 1 })));
    assert_eq!(site.host.tree().len(), 2);
    assert_eq!(site.host.lock().armed, None);
    site.advance_time(60 * SECOND);
    assert_eq!(
        site.revert(None),
        Some(Stage::Ended(Outcome::Done { run: 1 }))
    );
    assert_eq!(site.host.tree().len(), 2);
    let undone = site.undo(1).unwrap();
    assert_eq!(undone.changes.len(), 2, "what it did is known");
}

#[test]
fn unconfirmed_run_is_rolled_back_after_its_window() {
    let site = site_with_pending_run();
    site.advance_time(60 * SECOND);
    site.check_unconfirmed(site.revert(None).as_ref(), "the run was not confirmed by");
    assert!(matches!(
        site.confirm(),
        Some(Stage::Ended(Outcome::NotConfirmed { .. }))
    ));
    assert!(site.is_rolled_back());
}

#[test]
fn unconfirmed_run_is_rolled_back_by_a_reboot() {
    let site = site_with_pending_run();
    site.host.lock().boot += 1;
    site.check_unconfirmed(site.revert(None).as_ref(), "was rebooted before");
}

#[test]
fn confirm_and_rollback_are_serialized_by_the_lock() {
    let late = site_with_pending_run();
    late.advance_time(3600 * SECOND);
    assert_eq!(late.confirm(), Some(Stage::Ended(Outcome::Done { run: 1 })));
    assert_eq!(
        late.revert(Some("me")),
        Some(Stage::Ended(Outcome::Done { run: 1 }))
    );
    assert_eq!(late.host.tree().len(), 2);

    let twice = site_with_pending_run();
    twice.check_unconfirmed(twice.revert(Some("me")).as_ref(), "me");
    twice.check_unconfirmed(twice.revert(None).as_ref(), "me");
    twice.check_unconfirmed(twice.confirm().as_ref(), "me");
}

#[test]
fn recover_is_refused_while_a_run_is_pending() {
    let site = site_with_pending_run();
    let refused = site.with_lock(async |apply, lock| recover(apply, lock, OnResidue::Stop).await);
    let Some(Err(RecoverError::Pending { run: 1, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(site.host.tree().len(), 2);
    site.advance_time(60 * SECOND);
    let outcome =
        site.with_lock(async |apply, lock| recover(apply, lock, OnResidue::Stop).await.unwrap());
    assert!(
        matches!(outcome, Some(Some(Outcome::NotConfirmed { run: 1, .. }))),
        "{outcome:?}"
    );
    assert!(site.is_rolled_back());
}

#[test]
fn run_without_watchdog_changes_nothing() {
    let (site, outcome) = run_with_window(|site| site.host.lock().cannot_arm = true);
    assert!(
        matches!(outcome, Some(Outcome::Failed { .. })),
        "{outcome:?}"
    );
    assert_eq!(site.host.lock().writes, 0);
}

#[test]
fn lost_health_check_rolls_back_unless_it_failed_before() {
    let (site, outcome) =
        run_with_window(|site| site.host.lock().cut_off_by = Some("y".to_owned()));
    let Some(Outcome::CheckFailed { cause, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        cause,
        ["the world worked before and fails now: y is in the way"]
    );
    assert!(site.is_rolled_back());

    let (site, outcome) = run_with_window(|site| {
        let mut world = site.host.lock();
        world.cut_off_by = Some("z".to_owned());
        world
            .tree
            .insert("z".to_owned(), crate::world::Node::Leaf(Leaf::default()));
    });
    assert!(
        matches!(outcome, Some(Outcome::Pending { .. })),
        "{outcome:?}"
    );
    assert_eq!(site.host.tree().len(), 3);
}

#[test]
fn killed_run_is_rolled_back_by_the_watchdog() {
    for at in 0..2 {
        for fault in [Fault::KilledBefore, Fault::KilledHalf, Fault::KilledAfter] {
            let (site, outcome) =
                run_with_window(|site| site.host.lock().faults = [(at, fault)].into());
            assert_eq!(outcome, None);
            assert_eq!(site.host.lock().armed, Some(1));
            let Some(Stage::Ended(Outcome::Failed { .. })) = site.revert(None) else {
                panic!("killed at {at}");
            };
            assert!(site.is_rolled_back(), "killed at {at}");
        }
    }
}

#[test]
fn rollback_retries_and_reports_residue_meanwhile() {
    let site = site_with_pending_run();
    // Writes 0 and 1 made the leaves. One try of a rollback writes each twice at most, together and alone, in two passes.
    site.host.lock().faults = (2..8).map(|at| (at, Fault::Refused)).collect();
    let Some(Stage::RollingBack {
        retry: Some(left), ..
    }) = site.revert(Some("me"))
    else {
        panic!("it must not be done");
    };
    assert_eq!((left.tries, left.residue.len()), (1, 2), "{left:?}");
    assert_eq!(site.host.lock().armed, Some(1));
    let shown = stead_engine::history::runs::load(&site.state(), 1).unwrap();
    assert_eq!(shown.retry.as_ref(), Some(&left));

    let writes = site.host.lock().writes;
    assert!(
        matches!(site.revert(None), Some(Stage::RollingBack { .. })),
        "not due yet"
    );
    assert!(
        matches!(site.confirm(), Some(Stage::RollingBack { .. })),
        "too late"
    );
    assert_eq!(site.host.lock().writes, writes);
    site.advance_time(5 * SECOND);
    site.check_unconfirmed(site.revert(None).as_ref(), "me");
}

#[test]
fn recover_ends_a_rollback_that_keeps_failing() {
    let site = site_with_pending_run();
    site.host.lock().faults = (2..100).map(|at| (at, Fault::Refused)).collect();
    assert!(matches!(
        site.revert(Some("me")),
        Some(Stage::RollingBack { .. })
    ));
    let outcome =
        site.with_lock(async |apply, lock| recover(apply, lock, OnResidue::Stop).await.unwrap());
    let Some(Some(Outcome::Residue { residue, .. })) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(residue.len(), 2);
    assert_eq!(site.host.lock().armed, None);
    let newest = LatestRun::load(&site.state()).unwrap().unwrap();
    assert!(matches!(
        newest.stage,
        Stage::Ended(Outcome::Residue { .. })
    ));
}

#[test]
fn rollback_killed_midway_keeps_its_reason() {
    let site = site_with_pending_run();
    site.host.lock().faults = [(2, Fault::KilledAfter)].into();
    assert_eq!(site.revert(Some("me")), None);
    assert!(
        matches!(site.confirm(), Some(Stage::RollingBack { .. })),
        "too late"
    );
    site.check_unconfirmed(site.revert(None).as_ref(), "me");
}
