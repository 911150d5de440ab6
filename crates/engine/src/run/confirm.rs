//! Ending a run that waits for its confirmation: keeping it, or taking it back.

use crate::{
    history::{
        journal::{Journal, Outcome},
        lock::Lock,
        stage::Stage,
    },
    provider::traits::Host,
    run::{
        context::Apply,
        recover::{Newest, RecoverError},
        take_back::{Ending, Persistence},
    },
};

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

/// Keeps the newest run if it waits for that. It does so until it goes back, even if its time is over: whoever has the lock first decides.
/// Returns the run and what has become of it; `None` if there was no run yet.
pub async fn confirm<H: Host>(
    apply: &Apply<'_, H>,
    _lock: &Lock,
) -> Result<Option<(u64, Stage)>, RecoverError> {
    let Some(newest) = Newest::find(apply.state)? else {
        return Ok(None);
    };
    let run = newest.run;
    let Stage::Pending(pending) = newest.stage else {
        return Ok(Some((run, newest.stage)));
    };
    let mut journal = Journal::open(apply.state, run)?;
    let outcome = Outcome::Done { run };
    let ending = Ending {
        run,
        window: newest.window,
        after: pending.after,
    };
    if ending.write(&mut journal, &outcome).is_err() {
        // The file system may be full: what is kept for going back is not needed any more.
        apply.state.release();
        ending.write(&mut journal, &outcome)?;
    }
    ending.disarm(apply).await;
    Ok(Some((run, Stage::Ended(outcome))))
}

/// Takes the newest run back if it has not ended, `because` somebody asked for that or its time is over. Returns the run and what has become
/// of it; `None` if there was no run yet.
pub async fn revert<H: Host>(
    apply: &Apply<'_, H>,
    lock: &Lock,
    because: Option<&str>,
) -> Result<Option<(u64, Stage)>, RecoverError> {
    let Some(newest) = Newest::find(apply.state)? else {
        return Ok(None);
    };
    let run = newest.run;
    if because.is_none() && !newest.stage.is_due(&H::now(apply.writer)) {
        return Ok(Some((run, newest.stage)));
    }
    if !matches!(newest.stage, Stage::Ended(_)) {
        newest
            .take_back(apply, lock, Persistence::TriesAgain, because)
            .await?;
    }
    Ok(Newest::find(apply.state)?.map(|newest| (run, newest.stage)))
}
