//! Runs that wait to be confirmed: who ends them, and what does not.

use std::time::Duration;

use stead_engine::{
    history::{journal::Outcome, stage::Stage, window::Window},
    model::address::Address,
    run::{
        confirm::{confirm, revert},
        recover::{Newest, Persistence, RecoverError, recover},
    },
};

use crate::{
    promises::{Site, present, spec},
    world::{Fault, Leaf, Tree},
};

const WINDOW: Window = Window { seconds: 60 };

/// A site where two leaves were made by a run that waits, or by one that did not come that far.
fn begun(arrange: impl FnOnce(&Site)) -> (Site, Option<Outcome>) {
    let site = Site::new(Tree::new());
    let leaf = |name: &str| (Address::new("leaf", name), present(&Leaf::default()));
    let plan = site.plan(&spec(vec![leaf("x"), leaf("y")]));
    arrange(&site);
    let outcome =
        site.with(async |apply, lock| apply.run(lock, &plan, Some(WINDOW)).await.unwrap());
    (site, outcome)
}

fn waiting() -> Site {
    let (site, outcome) = begun(|_| ());
    assert!(
        matches!(outcome, Some(Outcome::Pending { run: 1, .. })),
        "{outcome:?}"
    );
    assert_eq!(site.host.lock().armed, Some(1));
    site
}

impl Site {
    /// Takes the run back if that is due, as whoever is armed does, or because somebody asked for it.
    fn revert(&self, because: Option<&str>) -> Option<Stage> {
        self.with(async |apply, lock| revert(apply, lock, because).await.unwrap().unwrap().1)
    }

    fn confirm(&self) -> Option<Stage> {
        self.with(async |apply, lock| confirm(apply, lock).await.unwrap().unwrap().1)
    }

    fn pass(&self, time: Duration) {
        self.host.lock().uptime += time;
    }

    fn is_back(&self) -> bool {
        let world = self.host.lock();
        world.tree.is_empty() && world.armed.is_none()
    }

    /// Sees that the run went back because nobody confirmed it, for a reason.
    fn check_unconfirmed(&self, stage: Option<&Stage>, why: &str) {
        let Some(Stage::Ended(Outcome::NotConfirmed { cause, .. })) = stage else {
            panic!("{stage:?}");
        };
        assert!(cause[0].contains(why), "{cause:?}");
        assert!(self.is_back());
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_run_that_is_confirmed_in_time_stays_and_nobody_looks_after_it_any_more() {
    let site = waiting();
    site.pass(59 * SECOND);
    assert!(matches!(site.revert(None), Some(Stage::Pending(_))));
    assert_eq!(site.confirm(), Some(Stage::Ended(Outcome::Done { run: 1 })));
    assert_eq!(site.host.tree().len(), 2);
    assert_eq!(site.host.lock().armed, None);
    site.pass(60 * SECOND);
    assert_eq!(
        site.revert(None),
        Some(Stage::Ended(Outcome::Done { run: 1 }))
    );
    assert_eq!(site.host.tree().len(), 2);
    let undone = site.undo(1).unwrap();
    assert_eq!(undone.changes.len(), 2, "what it did is known");
}

#[test]
fn a_run_that_nobody_confirms_goes_back() {
    let site = waiting();
    site.pass(60 * SECOND);
    site.check_unconfirmed(site.revert(None).as_ref(), "the run was not confirmed by");
    assert!(matches!(
        site.confirm(),
        Some(Stage::Ended(Outcome::NotConfirmed { .. }))
    ));
    assert!(site.is_back());
}

#[test]
fn another_boot_takes_a_run_back_however_short_ago_it_was() {
    let site = waiting();
    site.host.lock().boot += 1;
    site.check_unconfirmed(site.revert(None).as_ref(), "was rebooted before");
}

#[test]
fn whoever_has_the_lock_first_decides() {
    let late = waiting();
    late.pass(3600 * SECOND);
    assert_eq!(late.confirm(), Some(Stage::Ended(Outcome::Done { run: 1 })));
    assert_eq!(
        late.revert(Some("me")),
        Some(Stage::Ended(Outcome::Done { run: 1 }))
    );
    assert_eq!(late.host.tree().len(), 2);

    let twice = waiting();
    twice.check_unconfirmed(twice.revert(Some("me")).as_ref(), "me");
    twice.check_unconfirmed(twice.revert(None).as_ref(), "me");
    twice.check_unconfirmed(twice.confirm().as_ref(), "me");
}

#[test]
fn nothing_else_begins_while_a_run_waits() {
    let site = waiting();
    let refused = site.with(async |apply, lock| recover(apply, lock, Persistence::Ends).await);
    let Some(Err(RecoverError::Pending { run: 1, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(site.host.tree().len(), 2);
    site.pass(60 * SECOND);
    let outcome =
        site.with(async |apply, lock| recover(apply, lock, Persistence::Ends).await.unwrap());
    assert!(
        matches!(outcome, Some(Some(Outcome::NotConfirmed { run: 1, .. }))),
        "{outcome:?}"
    );
    assert!(site.is_back());
}

#[test]
fn a_host_that_cannot_arm_anybody_is_left_alone() {
    let (site, outcome) = begun(|site| site.host.lock().is_guardless = true);
    assert!(
        matches!(outcome, Some(Outcome::Failed { .. })),
        "{outcome:?}"
    );
    assert_eq!(site.host.lock().writes, 0);
}

#[test]
fn a_sign_that_is_lost_takes_the_run_back_and_one_that_was_never_there_does_not() {
    let (site, outcome) = begun(|site| site.host.lock().cut_by = Some("y".to_owned()));
    let Some(Outcome::CheckFailed { cause, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        cause,
        ["the world worked before and fails now: y is in the way"]
    );
    assert!(site.is_back());

    let (site, outcome) = begun(|site| {
        let mut world = site.host.lock();
        world.cut_by = Some("z".to_owned());
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
fn a_run_that_is_killed_goes_back_as_soon_as_somebody_looks() {
    for at in 0..2 {
        for fault in [Fault::KilledBefore, Fault::KilledHalf, Fault::KilledAfter] {
            let (site, outcome) = begun(|site| site.host.lock().faults = [(at, fault)].into());
            assert_eq!(outcome, None);
            assert_eq!(site.host.lock().armed, Some(1));
            let Some(Stage::Ended(Outcome::Failed { .. })) = site.revert(None) else {
                panic!("killed at {at}");
            };
            assert!(site.is_back(), "killed at {at}");
        }
    }
}

#[test]
fn going_back_is_tried_again_until_it_is_done_and_says_what_is_left_meanwhile() {
    let site = waiting();
    // Writes 0 and 1 made the leaves. One try of a rollback writes each twice at most, together and alone, in two passes.
    site.host.lock().faults = (2..8).map(|at| (at, Fault::Refused)).collect();
    let Some(Stage::GoingBack {
        left: Some(left), ..
    }) = site.revert(Some("me"))
    else {
        panic!("it must not be done");
    };
    assert_eq!((left.tries, left.residue.len()), (1, 2), "{left:?}");
    assert_eq!(site.host.lock().armed, Some(1));
    let shown = stead_engine::history::runs::show(&site.state(), 1).unwrap();
    assert_eq!(shown.left.as_ref(), Some(&left));

    let writes = site.host.lock().writes;
    assert!(
        matches!(site.revert(None), Some(Stage::GoingBack { .. })),
        "not due yet"
    );
    assert!(
        matches!(site.confirm(), Some(Stage::GoingBack { .. })),
        "too late"
    );
    assert_eq!(site.host.lock().writes, writes);
    site.pass(5 * SECOND);
    site.check_unconfirmed(site.revert(None).as_ref(), "me");
}

#[test]
fn somebody_can_end_a_rollback_that_does_not_come_to_its_end() {
    let site = waiting();
    site.host.lock().faults = (2..100).map(|at| (at, Fault::Refused)).collect();
    assert!(matches!(
        site.revert(Some("me")),
        Some(Stage::GoingBack { .. })
    ));
    let outcome =
        site.with(async |apply, lock| recover(apply, lock, Persistence::Ends).await.unwrap());
    let Some(Some(Outcome::Residue { residue, .. })) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(residue.len(), 2);
    assert_eq!(site.host.lock().armed, None);
    let newest = Newest::find(&site.state()).unwrap().unwrap();
    assert!(matches!(
        newest.stage,
        Stage::Ended(Outcome::Residue { .. })
    ));
}

#[test]
fn a_run_that_is_killed_while_it_goes_back_still_says_that_nobody_confirmed_it() {
    let site = waiting();
    site.host.lock().faults = [(2, Fault::KilledAfter)].into();
    assert_eq!(site.revert(Some("me")), None);
    assert!(
        matches!(site.confirm(), Some(Stage::GoingBack { .. })),
        "too late"
    );
    site.check_unconfirmed(site.revert(None).as_ref(), "me");
}
