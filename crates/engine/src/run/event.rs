//! Events of a run for its observer. Data; nothing is printed here.

use serde::Serialize;

use crate::model::address::Address;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run that an earlier process left unfinished, or that nobody confirmed, is rolled back.
    Recovering {
        /// Its number.
        run: u64,
    },
    /// The run has its number and its journal.
    Started {
        /// The number.
        run: u64,
        /// How many steps it has.
        steps: usize,
    },
    /// Somebody outside this process rolls the run back unless it is confirmed.
    Armed {
        /// How many seconds after its last step.
        seconds: u64,
    },
    /// A step begins.
    Step {
        /// Its number, counted from 1.
        step: usize,
        /// What it changes.
        addresses: Vec<Address>,
    },
    /// A step has ended well.
    StepDone {
        /// Its number.
        step: usize,
    },
    /// The running step has more of a download.
    Downloading(Download),
    /// The running step waits for something of the host.
    Waiting(Wait),
    /// The host is read again to see that it is as planned.
    Verifying,
    /// A check was made after the last step.
    Checked {
        /// Which.
        address: Address,
        /// Why it failed, if it did. Then it had failed before the run too, or the run is rolled back.
        fault: Option<String>,
    },
    /// It is looked whether what worked before the run still does.
    #[serde(rename = "looking")]
    CheckingHealth,
    /// It was seen whether something that worked before the run still does.
    #[serde(rename = "sign")]
    HealthResult {
        /// What, as the subject of a sentence.
        name: &'static str,
        /// Why it does not, if it does not. Then the run is rolled back.
        fault: Option<String>,
    },
    /// The run is rolled back.
    RollingBack {
        /// Why, from the general to the particular.
        cause: Vec<String>,
    },
    /// A resource is put back.
    #[serde(rename = "reverting")]
    Restoring {
        /// Which.
        address: Address,
    },
}

/// What a provider tells of the step that it carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepProgress {
    /// How far a download is.
    Downloading(Download),
    /// What it waits for.
    Waiting(Wait),
}

impl From<StepProgress> for Event {
    fn from(news: StepProgress) -> Self {
        match news {
            StepProgress::Downloading(download) => Self::Downloading(download),
            StepProgress::Waiting(wait) => Self::Waiting(wait),
        }
    }
}

/// What a step waits for. Told again when that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Wait {
    /// The service, script or object and what it lacks yet, in a few words.
    pub what: String,
}

/// How far a download is. Told at most once for each hundredth of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Download {
    /// What is downloaded, in the words of who does it.
    pub label: String,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes that it has.
    pub total: u64,
}

/// Whoever watches a run.
pub type Observer<'a> = &'a (dyn Fn(&Event) + Send + Sync);
