//! Progress and outcome of a run.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;
use stead_engine::{
    event::{Download, Event},
    history::Run,
    journal::Outcome,
};

use super::{
    data, line, message, paint,
    value::{bytes, plain},
};
use crate::document::{EventDocument, Last, Line};

/// Whoever sits before a run.
pub(crate) struct Progress {
    as_json: bool,
    bars: Mutex<Bars>,
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
        Self {
            as_json,
            bars: Mutex::default(),
        }
    }

    /// Shows an event.
    pub(crate) fn show(&self, event: &Event) {
        if self.as_json {
            self.line(Line::Event(event.clone()));
            return;
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
        if self.as_json {
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
            format!("run {run} was interrupted; putting the host back first")
        }
        Event::Started { .. } | Event::StepDone { .. } | Event::Checked { fault: None, .. } => {
            String::new()
        }
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
        Outcome::Failed {
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
            for residue in residue {
                line(
                    &mut text,
                    format_args!(
                        "  {}: {}",
                        plain(&residue.address.to_string()),
                        plain(&residue.reason)
                    ),
                );
            }
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

fn causes(run: u64, cause: &[String]) -> String {
    let mut text = format!("{} run {run} failed\n", paint::error("error:"));
    for reason in cause {
        line(&mut text, format_args!("  {}", plain(reason)));
    }
    text
}

/// Shows a run in one line of the history.
pub(crate) fn summary_of_run(run: &Run) -> String {
    let when = run.started.map_or_else(
        || "never began".to_owned(),
        |at| {
            at.to_zoned_datetime(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S %Z")
                .to_string()
        },
    );
    let ended = match &run.outcome {
        None => "not ended",
        Some(Outcome::Done { .. }) => "done",
        Some(Outcome::Failed { .. }) => "failed, put back",
        Some(Outcome::CheckFailed { .. }) => "check failed",
        Some(Outcome::Residue { .. }) => "failed, residue",
        Some(Outcome::Stale { .. }) => "stale, nothing done",
    };
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
    format!("{:>5}  {when:23}  {ended:19}  {what}{undoes}\n", run.run)
}
