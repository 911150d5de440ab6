//! The history of runs: what was planned, what was done, how it ended.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    history::{
        journal::{self, JournalError, Outcome, Pending, Record, RetryState},
        stage::Stage,
        state_dir::{self, StateDir, StateDirError},
    },
    model::address::Address,
    plan::document::{DesiredResource, Plan, Scope},
};

/// One run of the history.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its number.
    pub run: u64,
    /// When it began; `None` if it was killed before its first record.
    pub started: Option<Timestamp>,
    /// When it ended; `None` if it was interrupted.
    pub ended: Option<Timestamp>,
    /// The run that it undoes, if it does.
    pub undoes: Option<u64>,
    /// How it ended, or that it waits for its confirmation; `None` if it was interrupted or is under way.
    pub outcome: Option<Outcome>,
    /// What it has not put back yet, if it is rolled back and could not put back everything so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "left")]
    pub retry: Option<RetryState>,
    /// Its plan; `None` if it was killed before the plan was on disk.
    pub plan: Option<Plan>,
    /// Its journal.
    #[serde(skip)]
    pub records: Vec<Record>,
}

/// A step that a run has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord<'a> {
    /// What it was to change.
    pub addresses: Vec<&'a Address>,
    /// What became of it.
    pub end: StepEnd,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// It ended well, after so long if that was measured.
    Done(Option<Duration>),
    /// It failed, is under way, or was cut off.
    NotDone,
}

impl Run {
    /// Returns the steps that it has begun, in their order.
    pub fn steps(&self) -> Vec<StepRecord<'_>> {
        let mut steps: Vec<StepRecord<'_>> = vec![];
        let mut is_whole = true;
        for record in &self.records {
            match record {
                Record::Step { before, .. } => {
                    is_whole = true;
                    steps.push(StepRecord {
                        addresses: before.iter().map(|(address, _)| address).collect(),
                        end: StepEnd::NotDone,
                    });
                }
                // Whatever ends after it may be a step that nobody can read any more.
                Record::Damaged => is_whole = false,
                Record::Done { milliseconds } if is_whole => {
                    if let Some(step) = steps.last_mut() {
                        step.end = StepEnd::Done(milliseconds.map(Duration::from_millis));
                    }
                }
                _ => {}
            }
        }
        steps
    }
}

/// The history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// There is no such run.
    #[error("there is no run {0}")]
    NoSuchRun(u64),
    /// A run directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// A journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A plan of a run that this version cannot read.
    #[error("the plan of run {run} cannot be read")]
    Plan {
        /// The run.
        run: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// Returns all runs, oldest first.
pub fn list(state: &StateDir) -> Result<Vec<Run>, HistoryError> {
    state
        .run_numbers()?
        .into_iter()
        .map(|run| load(state, run))
        .collect()
}

/// Returns what the runs that count have asked for: the newest of a whole spec and the parts that came after it, without
/// those that were undone. `None` if there is none.
pub fn committed(state: &StateDir) -> Result<Option<(String, Vec<DesiredResource>)>, HistoryError> {
    let mut wanted: Vec<DesiredResource> = vec![];
    let mut host = None;
    for plan in effective_runs(&list(state)?)
        .into_iter()
        .filter_map(|run| run.plan.as_ref())
    {
        host.get_or_insert_with(|| plan.host.clone());
        let known: BTreeSet<_> = wanted.iter().map(|wanted| wanted.address.clone()).collect();
        let older = plan.desired.iter();
        let older: Vec<_> = older
            .filter(|wanted| !known.contains(&wanted.address))
            .cloned()
            .collect();
        wanted.splice(0..0, older);
    }
    Ok(host.map(|host| (host, wanted)))
}

/// Returns the runs that count, newest first: a whole spec, and the parts that came after it and say something that no later one does.
/// None of them was undone.
pub(crate) fn effective_runs(runs: &[Run]) -> Vec<&Run> {
    let mut undone = BTreeSet::new();
    let mut declared: BTreeSet<&Address> = BTreeSet::new();
    let mut counting = vec![];
    for run in runs.iter().rev() {
        let is_done = matches!(run.outcome, Some(Outcome::Done { .. }));
        let Some(plan) = run.plan.as_ref().filter(|_| is_done) else {
            continue;
        };
        if undone.contains(&run.run) || plan.scope == Scope::Restore {
            continue;
        }
        if let Some(other) = run.undoes {
            undone.insert(other);
            continue;
        }
        let before = declared.len();
        declared.extend(plan.desired.iter().map(|wanted| &wanted.address));
        if declared.len() > before || plan.scope == Scope::Whole {
            counting.push(run);
        }
        if plan.scope == Scope::Whole {
            break;
        }
    }
    counting
}

/// Whether all runs after this one only bring back what others had asked for.
pub fn request_unchanged_since(state: &StateDir, since: u64) -> Result<bool, HistoryError> {
    for run in state.run_numbers()?.into_iter().filter(|run| *run > since) {
        let scope = load(state, run)?.plan.map(|plan| plan.scope);
        if scope != Some(Scope::Restore) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns what a run has changed. A step that was due no more when its turn came is not among it.
pub fn changed_addresses(state: &StateDir, run: u64) -> Result<BTreeSet<Address>, HistoryError> {
    let steps = journal::read(state, run)?
        .into_iter()
        .filter_map(|record| match record {
            Record::Step { before, .. } => Some(before),
            _ => None,
        });
    Ok(steps.flatten().map(|(address, _)| address).collect())
}

/// Returns one run.
pub fn load(state: &StateDir, run: u64) -> Result<Run, HistoryError> {
    if !state.run_numbers()?.contains(&run) {
        return Err(HistoryError::NoSuchRun(run));
    }
    let plan = state_dir::read(&state.run_dir(run).join("plan.json"))?
        .map(|bytes| {
            serde_json::from_slice(&bytes).map_err(|source| HistoryError::Plan { run, source })
        })
        .transpose()?;
    let records = journal::read(state, run)?;
    let (started, undoes) = match records.first() {
        Some(Record::Started { at, undoes, .. }) => (Some(*at), *undoes),
        _ => (None, None),
    };
    let ended = match records.last() {
        Some(Record::Ended { at, .. }) => Some(*at),
        _ => None,
    };
    let (outcome, retry) = match Stage::from_records(&records) {
        Stage::Started => (None, None),
        Stage::Pending(Pending { until, .. }) => (Some(Outcome::Pending { run, until }), None),
        Stage::RollingBack { retry, .. } => (None, retry),
        Stage::Ended(outcome) => (Some(outcome), None),
    };
    Ok(Run {
        run,
        started,
        ended,
        undoes,
        outcome,
        retry,
        plan,
        records,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_report_their_end_and_duration() {
        let step =
            |name: &str| format!(r#"{{"record": "step", "before": [["file:{name}", null]]}}"#);
        let check = |records: &[&str], expected: &[StepEnd]| {
            let records = records
                .iter()
                .map(|text| serde_json::from_str(text).unwrap());
            let run = Run {
                run: 1,
                started: None,
                ended: None,
                undoes: None,
                outcome: None,
                retry: None,
                plan: None,
                records: records.collect(),
            };
            let ends: Vec<_> = run.steps().iter().map(|step| step.end).collect();
            assert_eq!(ends, expected);
        };
        let (one, other) = (step("/a"), step("/b"));
        let timed = r#"{"record": "done", "milliseconds": 7}"#;
        let untimed = r#"{"record": "done"}"#;
        let damaged = r#"{"record": "damaged"}"#;
        let well = |milliseconds| StepEnd::Done(Some(Duration::from_millis(milliseconds)));
        check(&[&one, timed, &other], &[well(7), StepEnd::NotDone]);
        check(&[&one, untimed], &[StepEnd::Done(None)]);
        check(
            &[&one, damaged, timed, &other, timed],
            &[StepEnd::NotDone, well(7)],
        );
    }
}
