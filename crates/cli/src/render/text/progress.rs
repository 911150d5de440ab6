//! Progress of a run: drawn on a terminal, printed line by line elsewhere.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use stead_engine::{
    history::journal::Outcome,
    model::address::Address,
    plan::document::Summary,
    run::event::{Download, Event, Wait},
};

use crate::{
    json::{EventDocument, FinalEvent, Line},
    render::{
        format::{escape_control, format_bytes, format_duration},
        plan_view,
        print::{eprint_message, print_data},
        terminal::{supports_cursor, supports_unicode, to_terminal_charset},
        text::outcome::outcome,
    },
};

/// A step that took longer is told from others where nothing is drawn.
const SLOW_STEP: Duration = Duration::from_secs(1);

/// Whoever sits before a run.
pub(crate) struct Progress {
    mode: ProgressMode,
    state: Mutex<ProgressState>,
}

/// How they are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ProgressMode {
    /// People see each step.
    Interactive,
    /// People are told how it ended.
    Quiet,
    /// A program reads a line for each event.
    Json,
    /// As [`Self::Json`], and each step waits for whoever reads, before and after.
    JsonStepped,
}

/// What is drawn on a terminal, or was said where there is none.
struct ProgressState {
    bars: MultiProgress,
    steps: Option<ProgressBar>,
    download: Option<ProgressBar>,
    /// The tenth of each download that was said last.
    last_tenths: BTreeMap<String, u64>,
    /// What the running step changes, and when it began.
    step: Option<(String, Instant)>,
    /// What the run is to do, and when it began.
    run: Option<(Summary, Instant)>,
    /// How often somebody asked to stop.
    stops: usize,
}

impl Progress {
    pub(crate) fn new(as_json: bool) -> Self {
        Self::with_mode(if as_json {
            ProgressMode::Json
        } else {
            ProgressMode::Interactive
        })
    }

    /// For somebody who looks at the host between two steps: each waits for a line on standard input.
    pub(crate) fn step_by_step() -> Self {
        Self::with_mode(ProgressMode::JsonStepped)
    }

    /// For somebody who only wants to know how runs end.
    pub(crate) fn quiet(as_json: bool) -> Self {
        Self::with_mode(if as_json {
            ProgressMode::Json
        } else {
            ProgressMode::Quiet
        })
    }

    fn with_mode(mode: ProgressMode) -> Self {
        let target = if supports_cursor() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            mode,
            state: Mutex::new(ProgressState {
                bars: MultiProgress::with_draw_target(target),
                steps: None,
                download: None,
                last_tenths: BTreeMap::new(),
                step: None,
                run: None,
                stops: 0,
            }),
        }
    }

    /// Notes what the run is to do, to say afterwards that it is done.
    pub(crate) fn start(&self, summary: &Summary) {
        self.lock_state().run = Some((summary.clone(), Instant::now()));
    }

    /// Shows an event.
    pub(crate) fn show(&self, event: &Event) {
        match self.mode {
            ProgressMode::Interactive => self.lock_state().show(event),
            ProgressMode::Quiet => {}
            ProgressMode::Json => self.print_json(Line::Event(event.clone())),
            ProgressMode::JsonStepped => {
                self.print_json(Line::Event(event.clone()));
                if matches!(event, Event::Step { .. } | Event::StepDone { .. }) {
                    // Whoever has gone lets everything go on.
                    drop(std::io::stdin().read_line(&mut String::new()));
                }
            }
        }
    }

    /// Says what comes of Ctrl-C.
    pub(crate) fn show_stopping(&self) {
        if self.mode != ProgressMode::Quiet {
            self.lock_state().show_stopping();
        }
    }

    /// Says that there was nothing to do.
    pub(crate) fn show_unchanged(&self) {
        self.print_json(Line::Final(FinalEvent::Unchanged));
    }

    /// Shows how an interrupted run was put back.
    pub(crate) fn show_recovered(&self, ended: &Outcome) {
        self.print_json(Line::Final(FinalEvent::Recovered {
            outcome: ended.clone(),
        }));
        self.lock_state().clear();
        eprint_message(&outcome(ended));
    }

    /// Shows how it ended.
    pub(crate) fn show_outcome(&self, ended: &Outcome) {
        let mut state = self.lock_state();
        state.clear();
        self.print_json(Line::Final(FinalEvent::Outcome {
            outcome: ended.clone(),
        }));
        let run = state.run.take();
        if let (
            ProgressMode::Interactive,
            Outcome::Done { .. } | Outcome::Pending { .. },
            Some(run),
        ) = (self.mode, ended, run)
        {
            eprint_message(&done_text(&run.0, run.1.elapsed()));
        }
        eprint_message(&outcome(ended));
    }

    fn lock_state(&self) -> MutexGuard<'_, ProgressState> {
        self.state.lock().expect("no holder panics")
    }

    fn print_json(&self, line: Line) {
        if matches!(self.mode, ProgressMode::Json | ProgressMode::JsonStepped) {
            print_data(&EventDocument::json_line(line));
        }
    }
}

impl ProgressState {
    fn show(&mut self, event: &Event) {
        if let Event::Downloading(download) = event {
            return self.show_download(download);
        }
        if !matches!(event, Event::Waiting(_)) {
            self.end_download();
        }
        match event {
            Event::Started { steps, .. } => self.steps = Some(self.bars.add(new_step_bar(*steps))),
            Event::Step { addresses, .. } => {
                self.step = Some((summarize_addresses(addresses), Instant::now()));
                if let Some(bar) = &self.steps {
                    bar.reset_elapsed();
                }
            }
            Event::StepDone { .. } => self.end_step(),
            _ => {}
        }
        let text = event_text(event);
        if !text.is_empty() {
            self.print_line(event, &text);
        }
    }

    /// Draws what happens in its place, or says it.
    fn print_line(&self, event: &Event, text: &str) {
        if self.bars.is_hidden() {
            return eprint_message(&format!("{text}\n"));
        }
        match (event, &self.steps) {
            // What went wrong stays to be read.
            (Event::Checked { .. } | Event::HealthResult { .. } | Event::RollingBack { .. }, _)
            | (_, None) => self.print_above(text),
            (Event::Waiting(_), Some(bar)) => {
                let step = self.step.as_ref().map_or("", |(step, _)| step);
                bar.set_message(to_terminal_charset(
                    &format!("{step}, {text}"),
                    &std::io::stderr(),
                ));
            }
            (Event::Step { .. }, Some(bar)) => {
                let step = self.step.as_ref().map_or("", |(step, _)| step);
                bar.set_message(to_terminal_charset(step, &std::io::stderr()));
            }
            (_, Some(bar)) => bar.set_message(to_terminal_charset(text, &std::io::stderr())),
        }
    }

    /// Leaves a line above what is drawn.
    fn print_above(&self, text: &str) {
        // Whoever sat there may have gone.
        drop(
            self.bars
                .println(to_terminal_charset(text, &std::io::stderr())),
        );
    }

    fn end_step(&mut self) {
        let Some((step, begin)) = self.step.take() else {
            return;
        };
        let time = begin.elapsed();
        if !self.bars.is_hidden() {
            self.print_above(&format!("  done  {step} ({})", format_duration(time)));
        } else if time >= SLOW_STEP {
            eprint_message(&format!("  took {}\n", format_duration(time)));
        }
        if let Some(bar) = &self.steps {
            bar.inc(1);
        }
    }

    /// Draws how far a download is; without a terminal it is said for each tenth.
    fn show_download(&mut self, download: &Download) {
        let Download { label, done, total } = download;
        let (label, end) = (escape_control(label), format_bytes(*total));
        if self.bars.is_hidden() {
            let tenth = done.saturating_mul(10) / total.max(&1);
            if self.last_tenths.insert(label.clone(), tenth) != Some(tenth) {
                let done = format_bytes(*done);
                eprint_message(&format!("downloading {label}: {done} of {end}\n"));
            }
            return;
        }
        let all = &self.bars;
        let bar = self
            .download
            .get_or_insert_with(|| all.add(new_download_bar()));
        let text = format!("downloading {label}: {} of {end}", format_bytes(*done));
        bar.set_message(to_terminal_charset(&text, &std::io::stderr()));
        bar.set_length(*total);
        bar.set_position(*done);
        if done == total {
            self.end_download();
        }
    }

    fn end_download(&mut self) {
        if let Some(bar) = self.download.take() {
            bar.finish_and_clear();
        }
    }

    fn show_stopping(&mut self) {
        self.stops += 1;
        let process = std::process::id();
        let text = match (self.stops, &self.run) {
            // Nothing has begun; whoever asks or plans ends by itself.
            (_, None) => return,
            (1, _) => "stopping after this step, then rolling back".to_owned(),
            (2, _) => format!(
                "still stopping: stead does not interrupt a step. `kill -9 {process}` does; `stead recover` then rolls the run back"
            ),
            _ => return,
        };
        if self.bars.is_hidden() {
            eprint_message(&format!("{text}\n"));
        } else {
            self.print_above(&text);
        }
    }

    fn clear(&mut self) {
        self.end_download();
        if let Some(bar) = self.steps.take() {
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

fn new_step_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} [{pos}/{len}] {elapsed} {wide_msg}")
        .expect("the template is fixed");
    let style = if supports_unicode(&std::io::stderr()) {
        style
    } else {
        style.tick_chars("-\\|/ ")
    };
    let bar = ProgressBar::new(steps as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Names the first of what a step changes.
fn summarize_addresses(addresses: &[Address]) -> String {
    let first = addresses
        .first()
        .map_or_else(String::new, |address| escape_control(&address.to_string()));
    match addresses.len() {
        0 | 1 => first,
        count => format!("{first} and {} more", count - 1),
    }
}

/// Says what a run has done.
fn done_text(summary: &Summary, time: Duration) -> String {
    let Summary {
        create,
        change,
        remove,
        restarts,
        download,
        resources: _,
    } = summary;
    let mut parts = plan_view::counts(&[
        (*create, "created"),
        (*change, "changed"),
        (*remove, "removed"),
    ]);
    parts.extend(plan_view::restarts(*restarts));
    if *download > 0 {
        parts.push(format!("{} to download", format_bytes(*download)));
    }
    if parts.is_empty() {
        parts.push("nothing changed".to_owned());
    }
    format!("{} in {}.\n", parts.join(", "), format_duration(time))
}

fn event_text(event: &Event) -> String {
    match event {
        Event::Recovering { run } => {
            format!("run {run} was interrupted; rolling it back")
        }
        Event::Started { .. }
        | Event::Armed { .. }
        | Event::StepDone { .. }
        | Event::Downloading(_)
        | Event::Checked { fault: None, .. }
        | Event::HealthResult { fault: None, .. } => String::new(),
        Event::Step { step, addresses } => {
            format!("step {step}: {}", summarize_addresses(addresses))
        }
        Event::Waiting(Wait { what }) => format!("waiting for {}", escape_control(what)),
        Event::Verifying => "verifying".to_owned(),
        Event::Checked {
            address,
            fault: Some(fault),
        } => format!(
            "{} fails: {}",
            escape_control(&address.to_string()),
            escape_control(fault)
        ),
        Event::CheckingHealth => "running health checks".to_owned(),
        Event::HealthResult {
            name,
            fault: Some(fault),
        } => format!(
            "{name} worked before and fails now: {}",
            escape_control(fault)
        ),
        Event::RollingBack { cause } => format!(
            "rolling back: {}",
            escape_control(cause.first().map_or("", String::as_str))
        ),
        Event::Restoring { address } => {
            format!("restoring {}", escape_control(&address.to_string()))
        }
    }
}
