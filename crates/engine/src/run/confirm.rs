//! The confirmation of a run: whether one is needed, who may give it and when, and ending the run with it or without.

use thiserror::Error;

use crate::{
    history::{
        journal::{Journal, Outcome},
        lock::Lock,
        stage::Stage,
        window::ConfirmWindow,
    },
    plan::document::Plan,
    provider::host::Host,
    run::{
        context::RunContext,
        recover::{LatestRun, RecoverError},
        rollback_run::{OnResidue, RunEnd},
    },
};

/// How long a run waits unless told otherwise, in seconds.
const DEFAULT_SECONDS: u64 = 120;

/// Whether a run waits to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// It does not.
    Off,
    /// Until somebody does, or it is known that all is well; so many seconds, if that is told.
    Auto(Option<u64>),
    /// So many seconds, until somebody does.
    Within(u64),
}

/// How a run is to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmPolicy {
    /// How long it waits for that.
    pub window: ConfirmWindow,
    /// Who may do so.
    pub by: ConfirmedBy,
    /// Why it waits although nobody asked for that.
    pub why: Option<String>,
}

/// Who may confirm a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmedBy {
    /// Somebody who types it.
    User,
    /// Also stead, once all that worked before is known to work.
    Pass,
    /// Also stead, once it is known that others still get in.
    Proof,
}

/// From where and on what a run is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Whether whoever begins it came over a network that it may cut.
    pub is_remote: bool,
    /// Whether somebody outside this process would roll it back.
    pub is_guarded: bool,
}

/// Nobody would roll a run back if it were not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("`--confirm` needs systemd to roll the run back")]
pub struct Unguarded;

/// What is known of a run that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What somebody has answered who was asked whether to keep it.
    pub answer: Option<bool>,
    /// Whether somebody asked to stop.
    pub is_stopped: bool,
    /// Whether its time is over.
    pub is_due: bool,
    /// Whether others are known to get in still.
    pub is_proven: bool,
}

/// What is to become of a run that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It waits on.
    Wait,
    /// It is kept: who confirms it.
    Keep(ConfirmedBy),
    /// It is rolled back: who wants that, if not its time is over.
    TakeBack(Option<Refusal>),
}

/// Why a run is rolled back before its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The answer was no.
    Answer,
    /// Somebody asked to stop.
    Stop,
}

impl ConfirmPolicy {
    /// Says how a run of `plan` is to be confirmed; `None` if it is not.
    pub fn for_plan(
        plan: &Plan,
        asked: Option<Confirm>,
        circumstances: Circumstances,
    ) -> Result<Option<Self>, Unguarded> {
        let cut = plan.changes.iter().find_map(|planned| {
            let why = planned.effects.may_cut_network.as_ref()?;
            Some(format!("{}: {why}", planned.address))
        });
        let risk = cut.filter(|_| circumstances.is_remote);
        let confirmed_by = if risk.is_some() {
            ConfirmedBy::Proof
        } else {
            ConfirmedBy::Pass
        };
        let (seconds, by, why) = match (asked, risk) {
            (Some(Confirm::Off), _) | (None, None) => return Ok(None),
            (Some(Confirm::Within(seconds)), _) => (seconds, ConfirmedBy::User, None),
            (Some(Confirm::Auto(seconds)), _) => {
                (seconds.unwrap_or(DEFAULT_SECONDS), confirmed_by, None)
            }
            (None, risk) => (DEFAULT_SECONDS, confirmed_by, risk),
        };
        if !circumstances.is_guarded {
            return Err(Unguarded);
        }
        Ok(Some(Self {
            window: ConfirmWindow { seconds },
            by,
            why,
        }))
    }

    /// Whether there is anything to wait for where somebody can be asked, or nobody.
    pub fn is_awaited(&self, can_ask: bool) -> bool {
        can_ask || self.by != ConfirmedBy::User
    }

    /// Says what is to become of a run that waits: no counts more than time, and time more than yes.
    pub fn decide(&self, known: Known) -> Decision {
        let refusal = match known.answer {
            Some(false) => Some(Refusal::Answer),
            _ if known.is_stopped => Some(Refusal::Stop),
            _ => None,
        };
        if refusal.is_some() || known.is_due {
            return Decision::TakeBack(refusal);
        }
        if known.answer == Some(true) {
            return Decision::Keep(ConfirmedBy::User);
        }
        match self.by {
            // A run waits only after all that worked before was seen to work.
            ConfirmedBy::Pass => Decision::Keep(ConfirmedBy::Pass),
            ConfirmedBy::Proof if known.is_proven => Decision::Keep(ConfirmedBy::Proof),
            ConfirmedBy::User | ConfirmedBy::Proof => Decision::Wait,
        }
    }
}

/// Keeps the newest run if it waits for that. It does so until it is rolled back, even if its time is over: whoever has the lock first decides.
/// Returns the run and what has become of it; `None` if there was no run yet.
pub async fn confirm<H: Host>(
    apply: &RunContext<'_, H>,
    _lock: &Lock,
) -> Result<Option<(u64, Stage)>, RecoverError> {
    let Some(newest) = LatestRun::load(apply.state)? else {
        return Ok(None);
    };
    let run = newest.run;
    let Stage::Pending(pending) = newest.stage else {
        return Ok(Some((run, newest.stage)));
    };
    let mut journal = Journal::open(apply.state, run)?;
    let outcome = Outcome::Done { run };
    let end = RunEnd {
        run,
        window: newest.window,
        after: pending.after,
    };
    if end.write(&mut journal, &outcome).is_err() {
        // The file system may be full: what is kept for rollback is not needed any more.
        apply.state.release_reserve();
        end.write(&mut journal, &outcome)?;
    }
    end.disarm(apply).await;
    Ok(Some((run, Stage::Ended(outcome))))
}

/// Takes the newest run back if it has not ended, `because` somebody asked for that or its time is over. Returns the run and what has become
/// of it; `None` if there was no run yet.
pub async fn revert<H: Host>(
    apply: &RunContext<'_, H>,
    lock: &Lock,
    because: Option<&str>,
) -> Result<Option<(u64, Stage)>, RecoverError> {
    let Some(newest) = LatestRun::load(apply.state)? else {
        return Ok(None);
    };
    let run = newest.run;
    if because.is_none() && !newest.stage.is_rollback_due(&H::now(apply.writer)) {
        return Ok(Some((run, newest.stage)));
    }
    if !matches!(newest.stage, Stage::Ended(_)) {
        newest
            .roll_back_run(apply, lock, OnResidue::Retry, because)
            .await?;
    }
    Ok(LatestRun::load(apply.state)?.map(|newest| (run, newest.stage)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            address::Address,
            change::{Change, Effects},
            state::State,
        },
        plan::document::{Diff, PlannedChange, Reason, StateDigests},
    };

    /// A plan of one change that may cut the network, or of one that may not.
    fn plan(may_cut_network: Option<&str>) -> Plan {
        let mut comparison = Diff::default();
        comparison.changes.push(PlannedChange {
            address: Address::new("iptables-policy", "filter/INPUT"),
            change: Change::Delete {
                before: State::default(),
            },
            reason: Reason::Undo { run: 1 },
            cause: None,
            effects: Effects {
                may_cut_network: may_cut_network.map(str::to_owned),
                ..Effects::default()
            },
        });
        Plan::new("host".to_owned(), vec![], comparison, StateDigests::new())
    }

    fn policy(seconds: u64, by: ConfirmedBy, why: Option<&str>) -> ConfirmPolicy {
        ConfirmPolicy {
            window: ConfirmWindow { seconds },
            by,
            why: why.map(str::to_owned),
        }
    }

    #[test]
    fn run_waits_if_that_was_asked_for_or_if_it_may_cut_off_whoever_came_by_network() {
        let check = |cut: Option<&str>, asked, is_remote, expected: Option<ConfirmPolicy>| {
            let there = |is_guarded| Circumstances {
                is_remote,
                is_guarded,
            };
            let found = ConfirmPolicy::for_plan(&plan(cut), asked, there(true));
            assert_eq!(found, Ok(expected.clone()), "{cut:?} {asked:?} {is_remote}");
            let unguarded = ConfirmPolicy::for_plan(&plan(cut), asked, there(false));
            let refused = if expected.is_some() {
                Err(Unguarded)
            } else {
                Ok(None)
            };
            assert_eq!(unguarded, refused, "{cut:?} {asked:?} {is_remote}");
        };
        let cut = Some("it drops what comes in");
        let why = Some("iptables-policy:filter/INPUT: it drops what comes in");
        check(None, None, true, None);
        check(cut, None, false, None);
        check(cut, None, true, Some(policy(120, ConfirmedBy::Proof, why)));
        check(cut, Some(Confirm::Off), true, None);
        let within = Some(policy(7, ConfirmedBy::User, None));
        check(cut, Some(Confirm::Within(7)), true, within.clone());
        check(None, Some(Confirm::Within(7)), false, within);
        let auto = |seconds| Some(Confirm::Auto(seconds));
        check(
            cut,
            auto(None),
            true,
            Some(policy(120, ConfirmedBy::Proof, None)),
        );
        check(
            cut,
            auto(Some(7)),
            false,
            Some(policy(7, ConfirmedBy::Pass, None)),
        );
        check(
            None,
            auto(Some(7)),
            true,
            Some(policy(7, ConfirmedBy::Pass, None)),
        );
    }

    #[test]
    fn run_is_kept_by_whoever_may_confirm_it_unless_somebody_refuses_or_time_is_over() {
        let check = |by, known: Known, expected| {
            let found = policy(120, by, None).decide(known);
            assert_eq!(found, expected, "{by:?} {known:?}");
        };
        let nothing = Known::default();
        let proven = Known {
            is_proven: true,
            ..nothing
        };
        check(ConfirmedBy::User, nothing, Decision::Wait);
        check(ConfirmedBy::User, proven, Decision::Wait);
        check(
            ConfirmedBy::Pass,
            nothing,
            Decision::Keep(ConfirmedBy::Pass),
        );
        check(ConfirmedBy::Proof, nothing, Decision::Wait);
        check(
            ConfirmedBy::Proof,
            proven,
            Decision::Keep(ConfirmedBy::Proof),
        );
        for by in [ConfirmedBy::User, ConfirmedBy::Pass, ConfirmedBy::Proof] {
            let yes = Known {
                answer: Some(true),
                ..proven
            };
            let no = Known {
                answer: Some(false),
                ..proven
            };
            let stopped = Known {
                is_stopped: true,
                ..yes
            };
            let due = Known {
                is_due: true,
                ..yes
            };
            check(by, yes, Decision::Keep(ConfirmedBy::User));
            check(by, no, Decision::TakeBack(Some(Refusal::Answer)));
            check(by, stopped, Decision::TakeBack(Some(Refusal::Stop)));
            check(by, due, Decision::TakeBack(None));
        }
    }

    #[test]
    fn only_a_run_that_nobody_can_confirm_here_is_not_awaited() {
        for by in [ConfirmedBy::User, ConfirmedBy::Pass, ConfirmedBy::Proof] {
            let policy = policy(120, by, None);
            assert!(policy.is_awaited(true), "{by:?}");
            assert_eq!(policy.is_awaited(false), by != ConfirmedBy::User, "{by:?}");
        }
    }
}
