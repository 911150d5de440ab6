//! The runs that were: what was planned, what was done, how it ended.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    journal::{self, JournalError, Outcome, Record},
    plan::{Plan, Scope, Wanted},
    state_folder::{self, StateFolder, StateFolderError},
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
    /// The run that it takes back, if it does.
    pub undoes: Option<u64>,
    /// How it ended; `None` if it was interrupted.
    pub outcome: Option<Outcome>,
    /// Its plan; `None` if it was killed before the plan was on disk.
    pub plan: Option<Plan>,
    /// Its journal.
    #[serde(skip)]
    pub records: Vec<Record>,
}

/// The history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// There is no such run.
    #[error("there is no run {0}")]
    NoSuchRun(u64),
    /// A run folder.
    #[error(transparent)]
    Folder(#[from] StateFolderError),
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
pub fn list(state: &StateFolder) -> Result<Vec<Run>, HistoryError> {
    state
        .runs()?
        .into_iter()
        .map(|run| show(state, run))
        .collect()
}

/// Returns what the runs that count have asked for: the newest of a whole spec and the parts that came after it, without
/// those that were taken back. `None` if there is none.
pub fn committed(state: &StateFolder) -> Result<Option<(String, Vec<Wanted>)>, HistoryError> {
    let mut undone = BTreeSet::new();
    let mut wanted: Vec<Wanted> = vec![];
    let mut host = None;
    for run in list(state)?.into_iter().rev() {
        let Some(plan) = run.plan.filter(|_| {
            matches!(run.outcome, Some(Outcome::Done { .. })) && !undone.contains(&run.run)
        }) else {
            continue;
        };
        if let Some(other) = run.undoes {
            undone.insert(other);
            continue;
        }
        if plan.scope == Scope::Restore {
            continue;
        }
        host.get_or_insert(plan.host);
        let known: BTreeSet<_> = wanted.iter().map(|wanted| wanted.address.clone()).collect();
        let older = plan.wanted.into_iter();
        let older: Vec<_> = older
            .filter(|wanted| !known.contains(&wanted.address))
            .collect();
        wanted.splice(0..0, older);
        if plan.scope == Scope::Whole {
            break;
        }
    }
    Ok(host.map(|host| (host, wanted)))
}

/// Returns one run.
pub fn show(state: &StateFolder, run: u64) -> Result<Run, HistoryError> {
    if !state.runs()?.contains(&run) {
        return Err(HistoryError::NoSuchRun(run));
    }
    let plan = state_folder::read(&state.run(run).join("plan.json"))?
        .map(|bytes| {
            serde_json::from_slice(&bytes).map_err(|source| HistoryError::Plan { run, source })
        })
        .transpose()?;
    let records = journal::read(state, run)?;
    let (started, undoes) = match records.first() {
        Some(Record::Started { at, undoes, .. }) => (Some(*at), *undoes),
        _ => (None, None),
    };
    let (ended, outcome) = match records.last() {
        Some(Record::Ended { at, outcome, .. }) => (Some(*at), Some(outcome.clone())),
        _ => (None, None),
    };
    Ok(Run {
        run,
        started,
        ended,
        undoes,
        outcome,
        plan,
        records,
    })
}
