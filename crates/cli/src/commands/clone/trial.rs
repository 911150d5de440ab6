//! One trial of a spec in a clone.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use stead_engine::{
    history::journal::Outcome,
    model::address::Address,
    plan::document::{Plan, Wanted},
    rehearsal::{
        difference::{Look, Own},
        planning::Possible,
        report::{Fault, LeftOut, Reboot, Rehearsal, Step, ms},
        returning::Returning,
    },
};
use stead_resources::clone::{HostClone, Settings, is_place, memory};

use crate::{
    commands::clone::step_by_step::{Paced, Pause},
    context::Session,
    error::Failure,
    exit::Exit,
};

/// How long a clone may take to come to rest.
const REST: Duration = Duration::from_secs(20);
/// How long it has to be as it is to count as at rest.
const QUIET: Duration = Duration::from_millis(700);
/// How often memory is measured during a step.
const MEASURE: Duration = Duration::from_millis(100);

/// A clone and what is tried in it.
pub(super) struct Trial<'a> {
    pub(super) session: &'a Session,
    pub(super) clone: HostClone,
    pub(super) own: String,
    /// The name of the host and what the spec wants of it, resolved on the host itself.
    pub(super) wanted: Arc<(String, Vec<Wanted>)>,
}

impl Trial<'_> {
    /// Runs this program in the clone, with a line for it to read, and returns what it printed.
    fn ask(&self, words: &[&str], input: &str) -> Result<String, Failure> {
        let failed = |error: std::io::Error| Failure::of(Exit::Failed, &error);
        let mut argv = vec![self.own.as_str()];
        argv.extend(words);
        let mut child = self
            .clone
            .command(&argv)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut stdin = child.stdin.take().expect("piped");
        let line = format!("{input}\n");
        let feed = thread::spawn(move || std::io::Write::write_all(&mut stdin, line.as_bytes()));
        let said = child.wait_with_output().map_err(failed)?;
        drop(feed.join());
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
        }
        let complaint = String::from_utf8_lossy(&said.stderr);
        Err(Failure::new(
            Exit::Failed,
            format!(
                "in the clone: {}",
                complaint.trim().trim_start_matches("error: ")
            ),
            "the host is as before",
        ))
    }

    /// Makes the settings of the host hold in the clone.
    pub(super) fn set(&self, settings: &Settings) -> Result<(), Failure> {
        let text = serde_json::to_string(settings).expect("they have string keys");
        self.ask(&["clone", "set"], &text).map(drop)
    }

    /// Plans what can be tried in the clone, without what is left out.
    pub(super) fn plan(&self, left_out: &[LeftOut]) -> Result<Possible, Failure> {
        let (host, wanted) = self.wanted.as_ref();
        let input = serde_json::to_string(&(host, wanted, left_out));
        let input = input.expect("it has string keys");
        let text = self.ask(&["clone", "plan"], &input)?;
        serde_json::from_str(&text).map_err(|error| Failure::of(Exit::Failed, &error))
    }

    fn look(&self) -> Result<Look, Failure> {
        let text = self.ask(&["clone", "look"], "")?;
        let features =
            serde_json::from_str(&text).map_err(|error| Failure::of(Exit::Failed, &error))?;
        Ok(Look {
            files: self.clone.files()?,
            features,
        })
    }

    /// Waits until nothing moves in the clone any more, and looks.
    pub(super) fn at_rest(&self) -> Result<Look, Failure> {
        let begin = Instant::now();
        let mut last = self.look()?;
        loop {
            sleep(QUIET);
            let now = self.look()?;
            if now == last || begin.elapsed() > REST {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Carries a plan out, and says what each step did.
    pub(super) fn apply(
        &self,
        before: &Look,
        plan: &Plan,
        report: &mut Rehearsal,
    ) -> Result<(), Failure> {
        let mut run = Paced::begin(&self.clone, &self.own, plan)?;
        let mut pause = run.next();
        let outcome = loop {
            match pause {
                Pause::End(outcome) => break outcome,
                Pause::After => {
                    run.go_on();
                    pause = run.next();
                }
                Pause::Before(addresses) => {
                    let last = self.clone.files()?;
                    let (begin, gauge) = (Instant::now(), Gauge::start());
                    run.go_on();
                    pause = run.next();
                    let mut step = Step {
                        ms: ms(begin.elapsed()),
                        memory: gauge.stop(),
                        is_done: matches!(pause, Pause::After),
                        files: vec![],
                        addresses,
                    };
                    let own = self.own(&step.addresses);
                    step.files = own.beyond(&last, &self.clone.files()?);
                    report.steps.push(step);
                }
            }
        };
        report.outcome = Some(outcome.map_err(lost)?);
        let after = self.at_rest()?;
        let own = self.own(plan.changes.iter().map(|planned| &planned.address));
        report.unplanned = before.unplanned(&after, plan, &own, &report.steps);
        report.restarts = before.restarts(&after);
        Ok(())
    }

    /// Finds the files that belong to addresses.
    fn own<'a>(&self, addresses: impl IntoIterator<Item = &'a Address>) -> Own {
        Own::of(&self.session.registry, addresses, is_place)
    }

    /// Reboots, and waits until everything is as described again.
    pub(super) fn reboot(&mut self, left_out: &[LeftOut]) -> Result<Reboot, Failure> {
        let begin = Instant::now();
        self.clone.reboot()?;
        let mut returning = Returning::begin(begin.elapsed(), Instant::now());
        loop {
            match self.plan(left_out) {
                Ok(possible) => {
                    if let Some(reboot) = returning.note(possible.pending(), Instant::now()) {
                        return Ok(reboot);
                    }
                }
                // A daemon that is just starting refuses to be asked.
                Err(failure) if returning.is_over(Instant::now()) => return Err(failure),
                Err(_) => {}
            }
            sleep(QUIET);
        }
    }

    /// Kills a run of the plan in the middle of a step, recovers, and says in what the clone differs from its start.
    pub(super) fn kill_in(
        &self,
        number: usize,
        step: &Step,
        plan: &Plan,
    ) -> Result<Fault, Failure> {
        let before = self.at_rest()?;
        let mut run = Paced::begin(&self.clone, &self.own, plan)?;
        let mut begun = 0;
        let fault = loop {
            match run.next() {
                Pause::Before(_) => {
                    begun += 1;
                    run.go_on();
                    if begun == number {
                        sleep(Duration::from_millis(step.ms / 2));
                        run.kill();
                        break None;
                    }
                }
                Pause::After => run.go_on(),
                Pause::End(Ok(_)) => break Some("the run ended before this step".to_owned()),
                Pause::End(Err(fault)) => break Some(fault),
            }
        };
        let said = self.ask(&["recover", "--json"], "")?;
        let last = said.lines().rev().find_map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            serde_json::from_value::<Outcome>(value).ok()
        });
        let after = self.at_rest()?;
        Ok(Fault {
            addresses: step.addresses.clone(),
            outcome: last,
            left: before.left(&after),
            fault,
        })
    }
}

fn lost(fault: String) -> Failure {
    Failure::new(Exit::Failed, fault, "the host is as before")
}

/// Measures memory for as long as a step lasts.
struct Gauge {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Gauge {
    fn start() -> Self {
        let (stop, peak) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, highest) = (stop.clone(), peak.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                highest.fetch_max(memory().unwrap_or_default(), Ordering::Relaxed);
                thread::park_timeout(MEASURE);
            }
        });
        Self { stop, peak, thread }
    }

    fn stop(self) -> Option<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        drop(self.thread.join());
        Some(self.peak.load(Ordering::Relaxed)).filter(|peak| *peak > 0)
    }
}
