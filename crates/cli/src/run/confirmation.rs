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
        confirm::{
            Circumstances, ConfirmPolicy, ConfirmedBy, Decision, Known, Refusal, confirm, revert,
        },
        recover::LatestRun,
    },
};
use stead_resources::{
    host::Reader,
    safety::ssh::{ConnectionOrigin, Reachability},
};

use crate::{
    args::RunOptions,
    context::Context,
    error::CommandError,
    exit::Exit,
    render,
    run::{prompt::is_yes, runner::Runner},
};

/// How often it is looked what has become of it.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Says how a run of `plan` is to be confirmed; `None` if it is not.
pub(crate) fn confirm_policy(
    context: &Context,
    plan: &Plan,
    options: &RunOptions,
) -> Result<Option<ConfirmPolicy>, CommandError> {
    let reader = Reader::new(&context.root);
    let circumstances = Circumstances {
        is_remote: ConnectionOrigin::of_this_process(&reader) != ConnectionOrigin::Local,
        is_guarded: reader.has_systemd().unwrap_or(false),
    };
    ConfirmPolicy::for_plan(plan, options.confirm, circumstances).map_err(|unguarded| {
        CommandError::usage(
            format!("{unguarded}, and systemd is not running here"),
            "nothing was done; use `--confirm off` if you can reach the host another way",
        )
    })
}

/// Says that a run will wait, before anything is done.
pub(crate) fn notice(policy: &ConfirmPolicy) -> String {
    let seconds = policy.window.seconds;
    match &policy.why {
        Some(why) => format!(
            "You are connected over SSH and this change may cut the network ({}).\n\
                 It will be rolled back in {seconds} s unless confirmed. Use `--confirm off` to skip this.\n",
            render::escape_control(why)
        ),
        None => {
            format!("It will be rolled back in {seconds} s unless confirmed (`stead confirm`).\n")
        }
    }
}

/// Whoever waits for the end of a run.
pub(crate) struct ConfirmWaiter {
    policy: ConfirmPolicy,
    run: u64,
    reachability: Reachability,
}

impl ConfirmWaiter {
    /// Begins to look out, before anybody is told that the run waits.
    pub(crate) fn begin(runner: &Runner<'_>, policy: ConfirmPolicy, run: u64) -> Self {
        let reader = Reader::new(&runner.context.root);
        let (origin, now) = (ConnectionOrigin::of_this_process(&reader), reader.now());
        let reachability = runner.block_on(Reachability::start(&reader, origin, now));
        Self {
            policy,
            run,
            reachability,
        }
    }

    /// Waits until the run has ended, and says how. Where nobody can be asked and only a person may confirm, it leaves at once.
    pub(crate) fn wait(
        self,
        runner: &Runner<'_>,
        options: &RunOptions,
    ) -> Result<Exit, CommandError> {
        let is_interactive = !options.yes && !options.json && render::is_interactive();
        if !self.policy.is_awaited(is_interactive) {
            return Ok(Exit::Done);
        }
        let answers = is_interactive.then(spawn_answer_reader);
        render::eprint_message(self.prompt_text(is_interactive));
        loop {
            let newest = LatestRun::load(&runner.state)?;
            let stage = newest
                .filter(|newest| newest.run == self.run)
                .map(|newest| newest.stage);
            match &stage {
                Some(Stage::Ended(outcome)) => {
                    runner.progress.show_outcome(outcome);
                    return Ok(Exit::from(outcome));
                }
                Some(Stage::RollingBack { retry: Some(_), .. }) => {
                    render::eprint_message(&render::rolling_back(self.run, stage.as_ref()));
                    return Ok(Exit::Residue);
                }
                Some(stage) => self.poll(runner, stage, answers.as_ref())?,
                // Somebody has begun another run since, which needs this one to have ended.
                None => return Ok(Exit::Done),
            }
            sleep(POLL_INTERVAL);
        }
    }

    /// Confirms the run or rolls it back, if there is a reason to. Whoever has the lock does that already.
    fn poll(
        &self,
        runner: &Runner<'_>,
        stage: &Stage,
        answers: Option<&Receiver<bool>>,
    ) -> Result<(), CommandError> {
        let reader = Reader::new(&runner.context.root);
        let answer = answers.and_then(|answers| answers.try_recv().ok());
        let proof = match self.policy.by {
            ConfirmedBy::User => None,
            ConfirmedBy::Pass => Some("all health checks pass".to_owned()),
            ConfirmedBy::Proof => self.reachability.proof(&reader),
        };
        let decision = self.policy.decide(Known {
            answer,
            is_stopped: runner.is_stop_requested(),
            is_due: stage.is_rollback_due(&reader.now()),
            is_proven: proof.is_some(),
        });
        match decision {
            Decision::Wait => {}
            Decision::TakeBack(refusal) => {
                let reason = refusal.map(|refusal| match refusal {
                    Refusal::Answer => "the answer was no",
                    Refusal::Stop => "interrupted by Ctrl-C or a signal",
                });
                runner.try_with_lock(async |apply, lock| revert(apply, lock, reason).await)?;
            }
            Decision::Keep(by) => {
                if let Some(proof) = proof.filter(|_| by != ConfirmedBy::User) {
                    render::eprint_message(&format!("Confirmed: {proof}.\n"));
                }
                runner.try_with_lock(async |apply, lock| confirm(apply, lock).await)?;
            }
        }
        Ok(())
    }

    fn prompt_text(&self, is_interactive: bool) -> &'static str {
        match (&self.policy.by, is_interactive) {
            (ConfirmedBy::Proof, true) => {
                "Open a second SSH session to prove that you can still connect, or answer here. Keep the changes? [y/N] "
            }
            (ConfirmedBy::Proof, false) => {
                "Open a second SSH session to prove that you can still connect.\n"
            }
            (_, true) => "Keep the changes? [y/N] ",
            (_, false) => "",
        }
    }
}

/// Reads answers while others look.
fn spawn_answer_reader() -> Receiver<bool> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut answer = String::new();
        // Without an answer the run is rolled back when its time is over.
        if std::io::stdin()
            .read_line(&mut answer)
            .is_ok_and(|length| length > 0)
        {
            let _ = sender.send(is_yes(&answer));
        }
    });
    receiver
}
