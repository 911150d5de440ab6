//! The write-ahead journal of a run: what was there before each step, on disk before the step.
//!
//! A file of lines, each a CRC-32 and a JSON record. A torn tail is no record: the step it would have announced never began.
//! A broken line before a whole one is what the disk has lost: [`Record::Damaged`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::PathBuf,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    history::{
        state_dir::{self, StateDir, StateDirError},
        window::ConfirmWindow,
    },
    model::{address::Address, boot_time::BootTime, state::State},
};

/// The version of the records. A reader refuses a greater one.
pub const VERSION: u32 = 2;

/// What [`Record::Ended`] begins with: serde writes the tag first.
const ENDED_PREFIX: &str = r#"{"record":"ended","#;

/// One record of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// The run began.
    Started {
        /// [`VERSION`].
        version: u32,
        /// When.
        at: Timestamp,
        /// The version of stead.
        stead: String,
        /// The run that this one undoes, if it does.
        undoes: Option<u64>,
        /// How long it waits for its confirmation in the end, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<ConfirmWindow>,
        /// The boot in which it began: what tells that one from every other.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<String>,
    },
    /// A step is about to begin: its changes go from these states.
    Step {
        /// What the step changes, with what is there just before; `None` means that it does not exist.
        before: Vec<(Address, Option<State>)>,
        /// What was there when the run began, for those of them that earlier steps of the run have moved since.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        #[serde(rename = "moved")]
        start_states: BTreeMap<Address, Option<State>>,
        /// What removing those that are to be made would leave and was there already.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        #[serde(rename = "left")]
        remnants: BTreeMap<Address, BTreeSet<String>>,
    },
    /// The newest step has ended well.
    Done {
        /// How long it took, if it was measured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        milliseconds: Option<u64>,
    },
    /// A record stood here, and nobody can read it any more. Never written.
    Damaged,
    /// All steps are made and verified. The run counts once it is confirmed, and is rolled back if it is not.
    Pending(Pending),
    /// The run has failed, or was not confirmed, and is rolled back.
    RollingBack {
        /// Why.
        cause: String,
        /// What made it do so.
        #[serde(default)]
        reason: RollbackReason,
    },
    /// Rollback has not come to its end yet, and will be tried again.
    #[serde(rename = "left")]
    Retry(RetryState),
    /// The run has ended.
    Ended {
        /// When.
        at: Timestamp,
        /// How.
        outcome: Outcome,
        /// What was there at the end, for each address that a run changed; what `undo` goes by. Empty unless done.
        after: BTreeMap<Address, Option<State>>,
    },
}

/// A run that waits for its confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// When it is rolled back, for people: by a clock that somebody may set.
    pub until: Timestamp,
    /// When it is rolled back, by a clock that nobody sets. Another boot is later.
    pub deadline: BootTime,
    /// What is there now, for each address that the run changed; what `undo` goes by.
    pub after: BTreeMap<Address, Option<State>>,
}

/// What caused a rollback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RollbackReason {
    /// A step or its verification failed, or the process was killed.
    #[default]
    Failed,
    /// Something that worked before did not any more.
    Check,
    /// Nobody confirmed it.
    Unconfirmed,
}

/// What a rollback has not put back yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryState {
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried again. Another boot is later.
    #[serde(rename = "again")]
    pub retry_at: BootTime,
    /// What is not as it was.
    pub residue: Vec<Residue>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Applied and verified.
    Done {
        /// The run.
        run: u64,
    },
    /// Applied and verified; it is rolled back unless it is confirmed in time. Not an end yet.
    Pending {
        /// The run.
        run: u64,
        /// When it is rolled back.
        #[schemars(with = "String")]
        until: Timestamp,
    },
    /// Failed; the host is as before.
    Failed {
        /// The run.
        run: u64,
        /// Why, from the general to the particular.
        cause: Vec<String>,
        /// What was put back, newest first.
        #[serde(rename = "reverted")]
        restored: Vec<Address>,
    },
    /// A check that passed before failed after; the host is as before.
    CheckFailed {
        /// The run.
        run: u64,
        /// Which check, and why.
        cause: Vec<String>,
        /// What was put back, newest first.
        #[serde(rename = "reverted")]
        restored: Vec<Address>,
    },
    /// Nobody confirmed it in time, or somebody asked for rollback; the host is as before.
    NotConfirmed {
        /// The run.
        run: u64,
        /// Why it was rolled back.
        cause: Vec<String>,
        /// What was put back, newest first.
        #[serde(rename = "reverted")]
        restored: Vec<Address>,
    },
    /// Failed; not everything could be put back.
    Residue {
        /// The run.
        run: u64,
        /// Why it failed.
        cause: Vec<String>,
        /// What was put back, newest first.
        #[serde(rename = "reverted")]
        restored: Vec<Address>,
        /// What is not as it was.
        residue: Vec<Residue>,
    },
    /// The host has moved since the plan; nothing was done.
    Stale {
        /// What moved.
        addresses: Vec<Address>,
    },
}

/// Something that a rollback could not put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Residue {
    /// What.
    pub address: Address,
    /// Why not.
    pub reason: String,
}

/// A journal that is open for writing.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// The bytes of its whole records.
    length: u64,
    /// Whether something else may follow them.
    is_torn: bool,
}

/// The journal of a run cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It was written by a newer stead.
    #[error(
        "run {run} was written by a newer stead (journal version {version}, this one knows {VERSION})"
    )]
    Newer {
        /// The run.
        run: u64,
        /// The version of its journal.
        version: u32,
    },
    /// Its file.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
}

impl Journal {
    /// Opens the journal of a run at its end; what follows its last whole record is cut off.
    pub fn open(state: &StateDir, run: u64) -> Result<Self, JournalError> {
        let path = path(state, run);
        let (_, length) = parse(&state_dir::read(&path)?.unwrap_or_default());
        let file = state_dir::open_append(&path)?;
        state_dir::truncate(&file, &path, length)?;
        Ok(Self {
            file,
            path,
            length,
            is_torn: false,
        })
    }

    /// Appends a record and waits until it is on disk, with all before it.
    pub fn write(&mut self, record: &Record) -> Result<(), StateDirError> {
        let length = self.append(record)?;
        state_dir::sync(&self.file, &self.path)?;
        self.mark_written(length);
        Ok(())
    }

    /// Appends a record that nothing waits for: it comes to the disk with the next one at the latest.
    pub fn append_unsynced(&mut self, record: &Record) -> Result<(), StateDirError> {
        let length = self.append(record)?;
        self.mark_written(length);
        Ok(())
    }

    /// Appends a record, and returns its bytes; it counts once [`Self::mark_written`] says so.
    fn append(&mut self, record: &Record) -> Result<usize, StateDirError> {
        let line = line(record);
        if self.is_torn {
            // A record after half a record would be lost with it.
            state_dir::truncate(&self.file, &self.path, self.length)?;
        }
        self.is_torn = true;
        state_dir::append(&mut self.file, &self.path, line.as_bytes())?;
        Ok(line.len())
    }

    fn mark_written(&mut self, by: usize) {
        self.is_torn = false;
        self.length += by as u64;
    }
}

/// Reads the records of a run. A run without any never began.
pub fn read(state: &StateDir, run: u64) -> Result<Vec<Record>, JournalError> {
    let (records, _) = parse(&state_dir::read(&path(state, run))?.unwrap_or_default());
    match records.first() {
        Some(&Record::Started { version, .. }) if version > VERSION => {
            Err(JournalError::Newer { run, version })
        }
        _ => Ok(records),
    }
}

/// Whether the last record of a run says that it has ended. That is told without understanding the others, of which there may be many.
pub(crate) fn has_ended(state: &StateDir, run: u64) -> Result<bool, StateDirError> {
    let bytes = state_dir::read(&path(state, run))?.unwrap_or_default();
    let last = bytes.split_inclusive(|&byte| byte == b'\n').next_back();
    let json = last.and_then(checked_json);
    Ok(json.is_some_and(|json| json.starts_with(ENDED_PREFIX)))
}

/// Counts the records that nobody can read any more.
pub(crate) fn damaged_count(records: &[Record]) -> usize {
    let damaged = records.iter().filter(|record| **record == Record::Damaged);
    damaged.count()
}

fn path(state: &StateDir, run: u64) -> PathBuf {
    state.run_dir(run).join("journal")
}

/// Returns a record as a line.
pub(crate) fn line(record: &Record) -> String {
    let json =
        serde_json::to_string(record).expect("records have string keys and no failing serialisers");
    with_checksum(&json)
}

/// Returns a line with its checksum.
pub(crate) fn with_checksum(json: &str) -> String {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// Returns the records up to the last whole one, and the number of bytes that they take.
pub(crate) fn parse(bytes: &[u8]) -> (Vec<Record>, u64) {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let mut lines: Vec<_> = lines.map(|line| (line.len(), parse_line(line))).collect();
    while lines.pop_if(|(_, record)| record.is_none()).is_some() {}
    let length = lines.iter().map(|(length, _)| *length as u64).sum();
    let records = lines
        .into_iter()
        .map(|(_, record)| record.unwrap_or(Record::Damaged));
    (records.collect(), length)
}

fn parse_line(line: &[u8]) -> Option<Record> {
    serde_json::from_str(checked_json(line)?).ok()
}

/// Returns the JSON of a line that is as it was written.
fn checked_json(line: &[u8]) -> Option<&str> {
    let line = str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (checksum, json) = line.split_once(' ')?;
    let is_whole = u32::from_str_radix(checksum, 16).ok()? == crc32fast::hash(json.as_bytes());
    is_whole.then_some(json)
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DONE: Record = Record::Done { milliseconds: None };

    fn records() -> Vec<Record> {
        let address = Address::new("thing", "a");
        vec![
            Record::Started {
                version: VERSION,
                at: Timestamp::UNIX_EPOCH,
                stead: "0".into(),
                undoes: None,
                window: None,
                boot: None,
            },
            Record::Step {
                before: vec![(address, Some(serde_json::json!({"text": "two\nlines"})))],
                start_states: BTreeMap::new(),
                remnants: BTreeMap::new(),
            },
            DONE,
        ]
    }

    proptest! {
        #[test]
        fn truncated_journal_yields_whole_records_and_accepts_more(cut in 0_usize..400) {
            let dir = tempfile::tempdir().unwrap();
            let state = StateDir::create(&dir.path().join("state")).unwrap();
            let run = state.create_run().unwrap();
            let mut journal = Journal::open(&state, run).unwrap();
            for record in records() {
                journal.write(&record).unwrap();
            }
            drop(journal);
            let bytes = std::fs::read(path(&state, run)).unwrap();
            let cut = cut.min(bytes.len());
            std::fs::write(path(&state, run), &bytes[..cut]).unwrap();
            let whole = str::from_utf8(&bytes[..cut]).unwrap().lines().count() - usize::from(!bytes[..cut].ends_with(b"\n") && cut > 0);
            prop_assert_eq!(read(&state, run).unwrap(), &records()[..whole]);
            Journal::open(&state, run).unwrap().write(&DONE).unwrap();
            let mut expected = records()[..whole].to_vec();
            expected.push(DONE);
            prop_assert_eq!(read(&state, run).unwrap(), expected);
        }
    }

    #[test]
    fn journal_without_boot_time_is_parsed() {
        let old = r#"{"record":"started","version":2,"at":"1970-01-01T00:00:00Z","stead":"0","undoes":null}"#;
        let line = format!("{:08x} {old}\n", crc32fast::hash(old.as_bytes()));
        assert_eq!(parse(line.as_bytes()).0, &records()[..1]);
    }

    #[test]
    fn has_ended_requires_complete_last_record() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        let run = state.create_run().unwrap();
        assert!(!has_ended(&state, run).unwrap());
        let mut journal = Journal::open(&state, run).unwrap();
        for record in records() {
            journal.write(&record).unwrap();
            assert!(!has_ended(&state, run).unwrap(), "{record:?}");
        }
        let ended = Record::Ended {
            at: Timestamp::UNIX_EPOCH,
            outcome: Outcome::Done { run },
            after: BTreeMap::new(),
        };
        journal.write(&ended).unwrap();
        assert!(has_ended(&state, run).unwrap());
        let bytes = std::fs::read(path(&state, run)).unwrap();
        for cut in [1, 2, 9] {
            std::fs::write(path(&state, run), &bytes[..bytes.len() - cut]).unwrap();
            assert!(!has_ended(&state, run).unwrap(), "{cut} bytes less");
        }
    }

    #[test]
    fn parse_marks_corrupt_record_and_keeps_the_rest() {
        let json = serde_json::to_string(&DONE).unwrap();
        let good = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
        let bad = good.replace("done", "dome");
        let check = |lines: &[&str], records: &[Record], whole: &[&str]| {
            let length = whole.concat().len() as u64;
            assert_eq!(parse(lines.concat().as_bytes()), (records.to_vec(), length));
        };
        let all = [&good, &bad, &bad, &good].map(String::as_str);
        let damaged = [DONE, Record::Damaged, Record::Damaged, DONE];
        check(&all, &damaged, &all);
        check(&all[..3], &damaged[..1], &all[..1]);
        check(&[&good, &bad, "half"], &damaged[..1], &all[..1]);
        check(&[&bad], &[], &[]);
    }
}
