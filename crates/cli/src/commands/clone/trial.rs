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
    plan::document::{DesiredResource, Plan},
    rehearsal::{
        difference::{HostSnapshot, Own},
        planning::RehearsalPlan,
        report::{KillTest, Reboot, Rehearsal, Skipped, Step, to_millis},
        returning::Returning,
    },
};
use stead_resources::clone::{HostClone, KernelSettings, matches_path, memory_used};

use crate::{
    commands::clone::step_by_step::{StepEvent, SteppedRun},
    context::Context,
    error::CommandError,
    exit::Exit,
};

/// How long a clone may take to come to rest.
const QUIET_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it has to be as it is to count as at rest.
const QUIET_PERIOD: Duration = Duration::from_millis(700);
/// How often memory is measured during a step.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// A clone and what is tried in it.
pub(super) struct Trial<'a> {
    pub(super) context: &'a Context,
    pub(super) clone: HostClone,
    pub(super) exe: String,
    /// The name of the host and what the spec wants of it, resolved on the host itself.
    pub(super) wanted: Arc<(String, Vec<DesiredResource>)>,
}

impl Trial<'_> {
    /// Runs this program in the clone, with a line for it to read, and returns what it printed.
    fn run_inside(&self, words: &[&str], input: &str) -> Result<String, CommandError> {
        let failed = |error: std::io::Error| CommandError::from_error(Exit::Failed, &error);
        let mut argv = vec![self.exe.as_str()];
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
        let stderr = String::from_utf8_lossy(&said.stderr);
        Err(CommandError::new(
            Exit::Failed,
            format!(
                "in the clone: {}",
                stderr.trim().trim_start_matches("error: ")
            ),
            "the host is as before",
        ))
    }

    /// Makes the settings of the host hold in the clone.
    pub(super) fn configure(&self, settings: &KernelSettings) -> Result<(), CommandError> {
        let text = serde_json::to_string(settings).expect("they have string keys");
        self.run_inside(&["clone", "set"], &text).map(drop)
    }

    /// Plans what can be tried in the clone, without what is left out.
    pub(super) fn plan(&self, left_out: &[Skipped]) -> Result<RehearsalPlan, CommandError> {
        let (host, wanted) = self.wanted.as_ref();
        let input = serde_json::to_string(&(host, wanted, left_out));
        let input = input.expect("it has string keys");
        let text = self.run_inside(&["clone", "plan"], &input)?;
        serde_json::from_str(&text).map_err(|error| CommandError::from_error(Exit::Failed, &error))
    }

    fn snapshot(&self) -> Result<HostSnapshot, CommandError> {
        let text = self.run_inside(&["clone", "look"], "")?;
        let features = serde_json::from_str(&text)
            .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
        Ok(HostSnapshot {
            files: self.clone.changed_files()?,
            features,
        })
    }

    /// Waits until nothing moves in the clone any more, and looks.
    pub(super) fn wait_until_quiet(&self) -> Result<HostSnapshot, CommandError> {
        let begin = Instant::now();
        let mut last = self.snapshot()?;
        loop {
            sleep(QUIET_PERIOD);
            let now = self.snapshot()?;
            if now == last || begin.elapsed() > QUIET_TIMEOUT {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Carries a plan out, and says what each step did.
    pub(super) fn apply(
        &self,
        before: &HostSnapshot,
        plan: &Plan,
        report: &mut Rehearsal,
    ) -> Result<(), CommandError> {
        let mut run = SteppedRun::start(&self.clone, &self.exe, plan)?;
        let mut event = run.next_event();
        let outcome = loop {
            match event {
                StepEvent::End(outcome) => break outcome,
                StepEvent::After => {
                    run.resume();
                    event = run.next_event();
                }
                StepEvent::Before(addresses) => {
                    let last = self.clone.changed_files()?;
                    let (begin, sampler) = (Instant::now(), MemorySampler::start());
                    run.resume();
                    event = run.next_event();
                    let mut step = Step {
                        ms: to_millis(begin.elapsed()),
                        memory: sampler.stop(),
                        is_done: matches!(event, StepEvent::After),
                        files: vec![],
                        addresses,
                    };
                    let own = self.own(&step.addresses);
                    step.files = own.unplanned_changes(&last, &self.clone.changed_files()?);
                    report.steps.push(step);
                }
            }
        };
        report.outcome = Some(outcome.map_err(host_unchanged_error)?);
        let after = self.wait_until_quiet()?;
        let own = self.own(plan.changes.iter().map(|planned| &planned.address));
        report.unplanned = before.unplanned(&after, plan, &own, &report.steps);
        report.restarts = before.restarts(&after);
        Ok(())
    }

    /// Finds the files that belong to addresses.
    fn own<'a>(&self, addresses: impl IntoIterator<Item = &'a Address>) -> Own {
        Own::of(&self.context.registry, addresses, matches_path)
    }

    /// Reboots, and waits until everything is as described again.
    pub(super) fn reboot(&mut self, left_out: &[Skipped]) -> Result<Reboot, CommandError> {
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
            sleep(QUIET_PERIOD);
        }
    }

    /// Kills a run of the plan in the middle of a step, recovers, and says in what the clone differs from its start.
    pub(super) fn kill_in(
        &self,
        number: usize,
        step: &Step,
        plan: &Plan,
    ) -> Result<KillTest, CommandError> {
        let before = self.wait_until_quiet()?;
        let mut run = SteppedRun::start(&self.clone, &self.exe, plan)?;
        let mut started = 0;
        let error = loop {
            match run.next_event() {
                StepEvent::Before(_) => {
                    started += 1;
                    run.resume();
                    if started == number {
                        sleep(Duration::from_millis(step.ms / 2));
                        run.kill();
                        break None;
                    }
                }
                StepEvent::After => run.resume(),
                StepEvent::End(Ok(_)) => break Some("the run ended before this step".to_owned()),
                StepEvent::End(Err(error)) => break Some(error),
            }
        };
        let said = self.run_inside(&["recover", "--json"], "")?;
        let last = said.lines().rev().find_map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            serde_json::from_value::<Outcome>(value).ok()
        });
        let after = self.wait_until_quiet()?;
        Ok(KillTest {
            addresses: step.addresses.clone(),
            outcome: last,
            differences: before.left(&after),
            error,
        })
    }
}

fn host_unchanged_error(fault: String) -> CommandError {
    CommandError::new(Exit::Failed, fault, "the host is as before")
}

/// Measures memory for as long as a step lasts.
struct MemorySampler {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl MemorySampler {
    fn start() -> Self {
        let (stop, peak) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, highest) = (stop.clone(), peak.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                highest.fetch_max(memory_used().unwrap_or_default(), Ordering::Relaxed);
                thread::park_timeout(SAMPLE_INTERVAL);
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
