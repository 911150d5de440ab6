//! Waiting for the confirmation of a run: who may give it, and what is known meanwhile.

use std::{
    sync::mpsc::{Receiver, channel},
    thread::{self, sleep},
    time::Duration,
};

use stead_engine::{
    history::{stage::Stage, window::Window},
    plan::document::Plan,
    run::{
        confirm::{Confirm, confirm, revert},
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

/// How long a run waits unless told otherwise, in seconds.
const DEFAULT: u64 = 120;
/// How often it is looked what has become of it.
const PAUSE: Duration = Duration::from_millis(250);

/// How a run is to be confirmed.
pub(crate) struct Vigil {
    pub(crate) window: Window,
    by: By,
    origin: ConnectionOrigin,
    /// Why it is armed although nobody asked for that.
    why: Option<String>,
}

/// Who may confirm a run.
enum By {
    /// Somebody who types it.
    Person,
    /// Also stead, once all that worked before is known to work.
    Pass,
    /// Also stead, once it is known that others still get in.
    Proof,
}

impl Vigil {
    /// Says how a run of `plan` is to be confirmed; `None` if it is not.
    pub(crate) fn over(
        session: &Session,
        plan: &Plan,
        consent: &Consent,
    ) -> Result<Option<Self>, Failure> {
        let reader = Reader::new(&session.root);
        let origin = ConnectionOrigin::of_this(&reader);
        let cut = plan.changes.iter().find_map(|planned| {
            let why = planned.effects.may_cut_network.as_ref()?;
            Some(format!("{}: {why}", planned.address))
        });
        let risk = cut.filter(|_| origin != ConnectionOrigin::Local);
        let by = if risk.is_some() { By::Proof } else { By::Pass };
        let (seconds, by, why) = match (consent.confirm, risk) {
            (Some(Confirm::Off), _) | (None, None) => return Ok(None),
            (Some(Confirm::Within(seconds)), _) => (seconds, By::Person, None),
            (Some(Confirm::Auto(seconds)), _) => (seconds.unwrap_or(DEFAULT), by, None),
            (None, risk) => (DEFAULT, by, risk),
        };
        if !reader.has_systemd().unwrap_or(false) {
            return Err(Failure::usage(
                "nobody would take the run back if it were not confirmed: systemd does not run this host",
                "nothing was done; `--confirm off` goes without, if you get in by another way",
            ));
        }
        Ok(Some(Self {
            window: Window { seconds },
            by,
            origin,
            why,
        }))
    }

    /// Says that the run will wait, before anything is done.
    pub(crate) fn announcement(&self) -> String {
        let seconds = self.window.seconds;
        match &self.why {
            Some(why) => format!(
                "You came over SSH, and this may cut the network ({}).\n\
                 So it is taken back unless it is confirmed within {seconds} s; `--confirm off` goes without.\n",
                render::plain(why)
            ),
            None => format!("It is taken back unless it is confirmed within {seconds} s.\n"),
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
        let now = reader.now();
        let witness = desk.block_on(Witness::begin(&reader, vigil.origin, now));
        Self {
            vigil,
            run,
            witness,
        }
    }

    /// Waits until the run has ended, and says how. Where nobody can be asked and only a person may confirm, it leaves at once.
    pub(crate) fn wait(self, desk: &Desk<'_>, consent: &Consent) -> Result<Exit, Failure> {
        let can_ask = !consent.yes && !consent.json && render::can_ask();
        if matches!(self.vigil.by, By::Person) && !can_ask {
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
            By::Pass => Some("all that worked before still works".to_owned()),
            By::Proof => self.witness.proof(&reader),
        };
        let because = match answer {
            Some(false) => Some("the answer was no"),
            _ if desk.is_stopped() => Some("stopped on request"),
            _ => None,
        };
        if because.is_some() || stage.is_due(&reader.now()) {
            desk.work_if_free(async |apply, lock| revert(apply, lock, because).await)?;
        } else if answer == Some(true) {
            desk.work_if_free(async |apply, lock| confirm(apply, lock).await)?;
        } else if let Some(proof) = proof {
            render::message(&format!("Confirmed: {proof}.\n"));
            desk.work_if_free(async |apply, lock| confirm(apply, lock).await)?;
        }
        Ok(())
    }

    fn invitation(&self, can_ask: bool) -> &'static str {
        match (&self.vigil.by, can_ask) {
            (By::Proof, true) => {
                "Open a second session to prove that you still get in, or answer here. Keep it? [y/N] "
            }
            (By::Proof, false) => "A second session proves that you still get in.\n",
            (_, true) => "Keep it? [y/N] ",
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
