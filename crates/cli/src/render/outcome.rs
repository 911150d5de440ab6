//! Progress and outcome of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::{Timestamp, tz::TimeZone};
use stead_engine::{
    cause::Cause,
    event::{Download, Event},
    history::Run,
    journal::{Left, Outcome, Residue},
    plan::{Plan, Scope},
    window::Stage,
};

use super::{
    data, line, message, paint,
    value::{bytes, plain},
};
use crate::{
    document::{EventDocument, Last, Line},
    exit::Exit,
};

/// Whoever sits before a run.
pub(crate) struct Progress {
    manner: Manner,
    bars: Mutex<Bars>,
}

/// How they are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// People see each step.
    Shown,
    /// People are told how it ended.
    Quiet,
    /// A program reads a line for each event.
    Lines,
    /// As [`Self::Lines`], and each step waits for whoever reads, before and after.
    Paced,
}

/// What is drawn on a terminal, or was said where there is none.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    steps: Option<ProgressBar>,
    download: Option<ProgressBar>,
    /// The tenth of each download that was said last.
    said: BTreeMap<String, u64>,
}

impl Progress {
    pub(crate) fn new(as_json: bool) -> Self {
        Self::in_manner(if as_json {
            Manner::Lines
        } else {
            Manner::Shown
        })
    }

    /// For somebody who looks at the host between two steps: each waits for a line on standard input.
    pub(crate) fn paced() -> Self {
        Self::in_manner(Manner::Paced)
    }

    /// For somebody who only wants to know how runs end.
    pub(crate) fn quiet(as_json: bool) -> Self {
        Self::in_manner(if as_json {
            Manner::Lines
        } else {
            Manner::Quiet
        })
    }

    fn in_manner(manner: Manner) -> Self {
        Self {
            manner,
            bars: Mutex::default(),
        }
    }

    /// Shows an event.
    pub(crate) fn show(&self, event: &Event) {
        match self.manner {
            Manner::Shown => {}
            Manner::Quiet => return,
            Manner::Lines => return self.line(Line::Event(event.clone())),
            Manner::Paced => {
                self.line(Line::Event(event.clone()));
                if matches!(event, Event::Step { .. } | Event::StepDone { .. }) {
                    // Whoever has gone lets everything go on.
                    drop(std::io::stdin().read_line(&mut String::new()));
                }
                return;
            }
        }
        let mut bars = self.bars.lock().expect("no holder panics");
        let text = words(event);
        if let Event::Downloading(download) = event {
            bars.show_download(download, text);
            return;
        }
        bars.end_download();
        if let Event::Started { steps, .. } = event {
            bars.steps = Some(bars.all.add(new_bar(*steps)));
        }
        match bars.steps.as_ref().filter(|bar| !bar.is_hidden()) {
            Some(bar) => {
                if let Event::StepDone { .. } = event {
                    bar.inc(1);
                } else {
                    bar.set_message(text);
                }
            }
            None if text.is_empty() => {}
            None => message(&format!("{text}\n")),
        }
    }

    /// Says that there was nothing to do.
    pub(crate) fn unchanged(&self) {
        self.line(Line::Last(Last::Unchanged));
    }

    /// Shows how an interrupted run was put back.
    pub(crate) fn recovered(&self, ended: &Outcome) {
        self.line(Line::Last(Last::Recovered {
            outcome: ended.clone(),
        }));
        message(&outcome(ended));
    }

    /// Shows how it ended.
    pub(crate) fn end(&self, ended: &Outcome) {
        let mut bars = self.bars.lock().expect("no holder panics");
        bars.end_download();
        if let Some(bar) = bars.steps.take() {
            bar.finish_and_clear();
        }
        self.line(Line::Last(Last::Outcome {
            outcome: ended.clone(),
        }));
        message(&outcome(ended));
    }

    fn line(&self, line: Line) {
        if matches!(self.manner, Manner::Lines | Manner::Paced) {
            data(&EventDocument::line(line));
        }
    }
}

impl Bars {
    /// Draws how far a download is; without a terminal it is said for each tenth.
    fn show_download(&mut self, download: &Download, text: String) {
        let Download { label, done, total } = download;
        if self.all.is_hidden() {
            let tenth = done.saturating_mul(10) / total.max(&1);
            if self.said.insert(label.clone(), tenth) != Some(tenth) {
                message(&format!("{text}\n"));
            }
            return;
        }
        let all = &self.all;
        let bar = self
            .download
            .get_or_insert_with(|| all.add(new_download_bar()));
        bar.set_length(*total);
        bar.set_position(*done);
        bar.set_message(text);
        if done == total {
            self.end_download();
        }
    }

    fn end_download(&mut self) {
        if let Some(bar) = self.download.take() {
            bar.finish_and_clear();
        }
    }
}

fn new_download_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("  [{bar:30}] {wide_msg}")
        .expect("the template is fixed")
        .progress_chars("=> ");
    ProgressBar::no_length().with_style(style)
}

fn new_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} [{pos}/{len}] {wide_msg}")
        .expect("the template is fixed");
    let bar = ProgressBar::new(steps as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn words(event: &Event) -> String {
    match event {
        Event::Recovering { run } => {
            format!("run {run} has not come to its end; putting the host back")
        }
        Event::Started { .. }
        | Event::Armed { .. }
        | Event::StepDone { .. }
        | Event::Checked { fault: None, .. }
        | Event::Sign { fault: None, .. } => String::new(),
        Event::Step { step, addresses } => {
            let first = addresses
                .first()
                .map_or_else(String::new, |address| plain(&address.to_string()));
            match addresses.len() {
                1 => format!("step {step}: {first}"),
                count => format!("step {step}: {first} and {} more", count - 1),
            }
        }
        Event::Downloading(Download { label, done, total }) => format!(
            "downloading {}: {} of {}",
            plain(label),
            bytes(*done),
            bytes(*total)
        ),
        Event::Verifying => "verifying".to_owned(),
        Event::Checked {
            address,
            fault: Some(fault),
        } => format!("{} fails: {}", plain(&address.to_string()), plain(fault)),
        Event::Looking => "looking whether all that worked before still works".to_owned(),
        Event::Sign {
            name,
            fault: Some(fault),
        } => format!("{name} worked before and does not now: {}", plain(fault)),
        Event::RollingBack { cause } => format!(
            "going back: {}",
            plain(cause.first().map_or("", String::as_str))
        ),
        Event::Reverting { address } => format!("putting back {}", plain(&address.to_string())),
    }
}

/// Says how a run ended.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { run } => {
            format!("Done and verified. This was run {run}; `stead undo {run}` takes it back.\n")
        }
        Outcome::Pending { run, until } => format!(
            "{} This is run {run}. `stead confirm` keeps it, `stead revert` takes it back now;\n\
             without either it goes back by itself at {}.\n",
            paint::bold("Applied and verified, not confirmed yet."),
            time(*until)
        ),
        Outcome::Failed {
            run,
            cause,
            reverted,
        }
        | Outcome::NotConfirmed {
            run,
            cause,
            reverted,
        }
        | Outcome::CheckFailed {
            run,
            cause,
            reverted,
        } => {
            let back = match reverted.len() {
                0 => String::new(),
                count => format!(" {count} put back."),
            };
            format!(
                "{}{} The host is as it was before run {run}.{back}\n",
                causes(*run, cause),
                paint::bold("Reverted.")
            )
        }
        Outcome::Residue {
            run,
            cause,
            residue,
            ..
        } => {
            let mut text = causes(*run, cause);
            line(
                &mut text,
                format_args!(
                    "{} not everything could be put back:",
                    paint::error("residue:")
                ),
            );
            residues(&mut text, residue);
            text + &format!(
                "  {} mend these by hand; `stead show {run}` has the states before\n",
                paint::help("help:")
            )
        }
        Outcome::Stale { addresses } => {
            let mut text = format!(
                "{} the host has changed since the plan was made\n",
                paint::error("error:")
            );
            for address in addresses {
                line(&mut text, format_args!("  {}", plain(&address.to_string())));
            }
            text + &format!("  {} nothing was done; plan again\n", paint::help("help:"))
        }
    }
}

/// Says that a run goes back, and what is not back yet.
pub(crate) fn going_back(run: u64, stage: Option<&Stage>) -> String {
    let mut text = format!("{} run {run} goes back\n", paint::error("error:"));
    if let Some(Stage::GoingBack { cause, left, .. }) = stage {
        line(&mut text, format_args!("  {}", plain(cause)));
        text += &left.as_ref().map_or_else(String::new, still_left);
    }
    text
}

/// Says what a rollback has not put back yet.
fn still_left(left: &Left) -> String {
    let mut text = format!(
        "{} not everything is back yet; it is tried again and again ({} so far):\n",
        paint::warning("left:"),
        left.tries
    );
    residues(&mut text, &left.residue);
    text + &format!(
        "  {} mend what stands in the way, or end it with `stead recover`\n",
        paint::help("help:")
    )
}

fn residues(text: &mut String, residues: &[Residue]) {
    for residue in residues {
        let address = plain(&residue.address.to_string());
        line(
            text,
            format_args!("  {address}: {}", plain(&residue.reason)),
        );
    }
}

/// Shows a time.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

fn causes(run: u64, cause: &[String]) -> String {
    let mut text = format!("{} run {run} failed\n", paint::error("error:"));
    for reason in cause {
        line(&mut text, format_args!("  {}", plain(reason)));
    }
    text
}

/// Returns the code that the command of a run ended with, or would have if it had not been cut off; `None` before its end.
pub(crate) fn exit_of(run: &Run) -> Option<u8> {
    let ended = run.outcome.as_ref();
    ended
        .filter(|outcome| !matches!(outcome, Outcome::Pending { .. }))
        .map(|outcome| Exit::from(outcome) as u8)
}

/// Says in a word how a run ended.
pub(crate) fn end_of(run: &Run) -> &'static str {
    match &run.outcome {
        None if run.left.is_some() => "goes back",
        None => "not ended",
        Some(Outcome::Pending { .. }) => "not confirmed yet",
        Some(Outcome::NotConfirmed { .. }) => "not confirmed",
        Some(Outcome::Done { .. }) => "done",
        Some(Outcome::Failed { .. }) => "failed, put back",
        Some(Outcome::CheckFailed { .. }) => "check failed",
        Some(Outcome::Residue { .. }) => "failed, residue",
        Some(Outcome::Stale { .. }) => "stale, nothing done",
    }
}

/// Shows a run in one line of the history.
pub(crate) fn summary_of_run(run: &Run) -> String {
    let when = run.started.map_or_else(|| "never began".to_owned(), time);
    let ended = end_of(run);
    let what = run.plan.as_ref().map_or_else(String::new, |plan| {
        format!(
            "+{} ~{} -{}  {}",
            plan.summary.create,
            plan.summary.change,
            plan.summary.remove,
            plain(&plan.host)
        )
    });
    let undoes = run
        .undoes
        .map_or_else(String::new, |other| format!("  (takes back run {other})"));
    let exit = exit_of(run).map_or_else(|| "-".to_owned(), |exit| exit.to_string());
    let left = run.left.as_ref().map_or_else(String::new, still_left);
    let because = run.plan.as_ref().map_or_else(String::new, brought_back);
    format!(
        "{:>5}  {when:23}  {ended:19}  {exit}  {what}{undoes}{because}\n{left}",
        run.run
    )
}

/// Says who or what made a run of the hooks necessary, as far as that is known.
fn brought_back(plan: &Plan) -> String {
    let causes = plan
        .changes
        .iter()
        .filter_map(|planned| planned.cause.as_ref());
    let names: BTreeSet<&str> = causes
        .filter_map(|cause| match cause {
            Cause::Reboot { .. } => Some("a reboot"),
            Cause::Actor { actor, .. } => Some(actor.as_str()),
            Cause::Hand { person, .. } => Some(person.as_str()),
            _ => None,
        })
        .collect();
    if plan.scope != Scope::Restore || names.is_empty() {
        return String::new();
    }
    let names: Vec<_> = names.into_iter().map(plain).collect();
    format!("  (because of {})", names.join(", "))
}
