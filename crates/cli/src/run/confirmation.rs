//! Waiting for the confirmation of a run: what is asked, what is known meanwhile, and what is said.

use std::{
    sync::mpsc::{Receiver, channel},
    thread::{self, sleep},
    time::Duration,
};

use stead_engine::{
    history::stage::Stage,
    plan::document::Plan,
    run::{
        confirm::{By, Circumstances, Decision, Known, Refusal, Vigil, confirm, revert},
        recover::Newest,
    },
};
use stead_resources::{
    host::Reader,
    safety::ssh::{ConnectionOrigin, Witness},
};

use crate::{
    args::Consent,
    context::Session,
    error::Failure,
    exit::Exit,
    render,
    run::{prompt::is_yes, runner::Desk},
};

/// How often it is looked what has become of it.
const PAUSE: Duration = Duration::from_millis(250);

/// Says how a run of `plan` is to be confirmed; `None` if it is not.
pub(crate) fn vigil(
    session: &Session,
    plan: &Plan,
    consent: &Consent,
) -> Result<Option<Vigil>, Failure> {
    let reader = Reader::new(&session.root);
    let circumstances = Circumstances {
        is_remote: ConnectionOrigin::of_this(&reader) != ConnectionOrigin::Local,
        is_guarded: reader.has_systemd().unwrap_or(false),
    };
    Vigil::over(plan, consent.confirm, circumstances).map_err(|unguarded| {
        Failure::usage(
            format!("{unguarded}, and systemd is not running here"),
            "nothing was done; use `--confirm off` if you can reach the host another way",
        )
    })
}

/// Says that a run will wait, before anything is done.
pub(crate) fn announcement(vigil: &Vigil) -> String {
    let seconds = vigil.window.seconds;
    match &vigil.why {
        Some(why) => format!(
            "You are connected over SSH and this change may cut the network ({}).\n\
                 It will be rolled back in {seconds} s unless confirmed. Use `--confirm off` to skip this.\n",
            render::plain(why)
        ),
        None => {
            format!("It will be rolled back in {seconds} s unless confirmed (`stead confirm`).\n")
        }
    }
}

/// Whoever waits for the end of a run.
pub(crate) struct Watcher {
    vigil: Vigil,
    run: u64,
    witness: Witness,
}

impl Watcher {
    /// Begins to look out, before anybody is told that the run waits.
    pub(crate) fn begin(desk: &Desk<'_>, vigil: Vigil, run: u64) -> Self {
        let reader = Reader::new(&desk.session.root);
        let (origin, now) = (ConnectionOrigin::of_this(&reader), reader.now());
        let witness = desk.block_on(Witness::begin(&reader, origin, now));
        Self {
            vigil,
            run,
            witness,
        }
    }

    /// Waits until the run has ended, and says how. Where nobody can be asked and only a person may confirm, it leaves at once.
    pub(crate) fn wait(self, desk: &Desk<'_>, consent: &Consent) -> Result<Exit, Failure> {
        let can_ask = !consent.yes && !consent.json && render::can_ask();
        if !self.vigil.is_awaited(can_ask) {
            return Ok(Exit::Done);
        }
        let answers = can_ask.then(answers);
        render::message(self.invitation(can_ask));
        loop {
            let newest = Newest::find(&desk.state)?;
            let stage = newest
                .filter(|newest| newest.run == self.run)
                .map(|newest| newest.stage);
            match &stage {
                Some(Stage::Ended(outcome)) => {
                    desk.progress.end(outcome);
                    return Ok(Exit::from(outcome));
                }
                Some(Stage::GoingBack { left: Some(_), .. }) => {
                    render::message(&render::going_back(self.run, stage.as_ref()));
                    return Ok(Exit::Residue);
                }
                Some(stage) => self.move_on(desk, stage, answers.as_ref())?,
                // Somebody has begun another run since, which needs this one to have ended.
                None => return Ok(Exit::Done),
            }
            sleep(PAUSE);
        }
    }

    /// Confirms the run or takes it back, if there is a reason to. Whoever has the lock does that already.
    fn move_on(
        &self,
        desk: &Desk<'_>,
        stage: &Stage,
        answers: Option<&Receiver<bool>>,
    ) -> Result<(), Failure> {
        let reader = Reader::new(&desk.session.root);
        let answer = answers.and_then(|answers| answers.try_recv().ok());
        let proof = match self.vigil.by {
            By::Person => None,
            By::Pass => Some("all health checks pass".to_owned()),
            By::Proof => self.witness.proof(&reader),
        };
        let decision = self.vigil.decide(Known {
            answer,
            is_stopped: desk.is_stopped(),
            is_due: stage.is_due(&reader.now()),
            is_proven: proof.is_some(),
        });
        match decision {
            Decision::Wait => {}
            Decision::TakeBack(refusal) => {
                let because = refusal.map(|refusal| match refusal {
                    Refusal::Answer => "the answer was no",
                    Refusal::Stop => "interrupted by Ctrl-C or a signal",
                });
                desk.work_if_free(async |apply, lock| revert(apply, lock, because).await)?;
            }
            Decision::Keep(by) => {
                if let Some(proof) = proof.filter(|_| by != By::Person) {
                    render::message(&format!("Confirmed: {proof}.\n"));
                }
                desk.work_if_free(async |apply, lock| confirm(apply, lock).await)?;
            }
        }
        Ok(())
    }

    fn invitation(&self, can_ask: bool) -> &'static str {
        match (&self.vigil.by, can_ask) {
            (By::Proof, true) => {
                "Open a second SSH session to prove that you can still connect, or answer here. Keep the changes? [y/N] "
            }
            (By::Proof, false) => {
                "Open a second SSH session to prove that you can still connect.\n"
            }
            (_, true) => "Keep the changes? [y/N] ",
            (_, false) => "",
        }
    }
}

/// Reads answers while others look.
fn answers() -> Receiver<bool> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut answer = String::new();
        // Without an answer the run goes back when its time is over.
        if std::io::stdin()
            .read_line(&mut answer)
            .is_ok_and(|length| length > 0)
        {
            let _ = sender.send(is_yes(&answer));
        }
    });
    receiver
}
