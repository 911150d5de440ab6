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
    json::{EventDocument, Last, Line},
    render::{
        format::{bytes, plain, took},
        plan_view,
        print::{data, message},
        terminal::{has_letters, lettered, moves},
        text::outcome::outcome,
    },
};

/// A step that took longer is told from others where nothing is drawn.
const LONG: Duration = Duration::from_secs(1);

/// Whoever sits before a run.
pub(crate) struct Progress {
    manner: Manner,
    scene: Mutex<Scene>,
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
struct Scene {
    all: MultiProgress,
    steps: Option<ProgressBar>,
    download: Option<ProgressBar>,
    /// The tenth of each download that was said last.
    said: BTreeMap<String, u64>,
    /// What the running step changes, and when it began.
    step: Option<(String, Instant)>,
    /// What the run is to do, and when it began.
    run: Option<(Summary, Instant)>,
    /// How often somebody asked to stop.
    stops: usize,
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
        let target = if moves() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            manner,
            scene: Mutex::new(Scene {
                all: MultiProgress::with_draw_target(target),
                steps: None,
                download: None,
                said: BTreeMap::new(),
                step: None,
                run: None,
                stops: 0,
            }),
        }
    }

    /// Notes what the run is to do, to say afterwards that it is done.
    pub(crate) fn begin(&self, summary: &Summary) {
        self.scene().run = Some((summary.clone(), Instant::now()));
    }

    /// Shows an event.
    pub(crate) fn show(&self, event: &Event) {
        match self.manner {
            Manner::Shown => self.scene().show(event),
            Manner::Quiet => {}
            Manner::Lines => self.line(Line::Event(event.clone())),
            Manner::Paced => {
                self.line(Line::Event(event.clone()));
                if matches!(event, Event::Step { .. } | Event::StepDone { .. }) {
                    // Whoever has gone lets everything go on.
                    drop(std::io::stdin().read_line(&mut String::new()));
                }
            }
        }
    }

    /// Says what comes of Ctrl-C.
    pub(crate) fn stopping(&self) {
        if self.manner != Manner::Quiet {
            self.scene().stopping();
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
        self.scene().clear();
        message(&outcome(ended));
    }

    /// Shows how it ended.
    pub(crate) fn end(&self, ended: &Outcome) {
        let mut scene = self.scene();
        scene.clear();
        self.line(Line::Last(Last::Outcome {
            outcome: ended.clone(),
        }));
        let run = scene.run.take();
        if let (Manner::Shown, Outcome::Done { .. } | Outcome::Pending { .. }, Some(run)) =
            (self.manner, ended, run)
        {
            message(&done(&run.0, run.1.elapsed()));
        }
        message(&outcome(ended));
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().expect("no holder panics")
    }

    fn line(&self, line: Line) {
        if matches!(self.manner, Manner::Lines | Manner::Paced) {
            data(&EventDocument::line(line));
        }
    }
}

impl Scene {
    fn show(&mut self, event: &Event) {
        if let Event::Downloading(download) = event {
            return self.show_download(download);
        }
        if !matches!(event, Event::Waiting(_)) {
            self.end_download();
        }
        match event {
            Event::Started { steps, .. } => self.steps = Some(self.all.add(new_bar(*steps))),
            Event::Step { addresses, .. } => {
                self.step = Some((several(addresses), Instant::now()));
                if let Some(bar) = &self.steps {
                    bar.reset_elapsed();
                }
            }
            Event::StepDone { .. } => self.end_step(),
            _ => {}
        }
        let text = words(event);
        if !text.is_empty() {
            self.say(event, &text);
        }
    }

    /// Draws what happens in its place, or says it.
    fn say(&self, event: &Event, text: &str) {
        if self.all.is_hidden() {
            return message(&format!("{text}\n"));
        }
        match (event, &self.steps) {
            // What went wrong stays to be read.
            (Event::Checked { .. } | Event::Sign { .. } | Event::RollingBack { .. }, _)
            | (_, None) => self.leave(text),
            (Event::Waiting(_), Some(bar)) => {
                let step = self.step.as_ref().map_or("", |(step, _)| step);
                bar.set_message(lettered(&format!("{step}, {text}"), &std::io::stderr()));
            }
            (Event::Step { .. }, Some(bar)) => {
                let step = self.step.as_ref().map_or("", |(step, _)| step);
                bar.set_message(lettered(step, &std::io::stderr()));
            }
            (_, Some(bar)) => bar.set_message(lettered(text, &std::io::stderr())),
        }
    }

    /// Leaves a line above what is drawn.
    fn leave(&self, text: &str) {
        // Whoever sat there may have gone.
        drop(self.all.println(lettered(text, &std::io::stderr())));
    }

    fn end_step(&mut self) {
        let Some((step, begin)) = self.step.take() else {
            return;
        };
        let time = begin.elapsed();
        if !self.all.is_hidden() {
            self.leave(&format!("  done  {step} ({})", took(time)));
        } else if time >= LONG {
            message(&format!("  took {}\n", took(time)));
        }
        if let Some(bar) = &self.steps {
            bar.inc(1);
        }
    }

    /// Draws how far a download is; without a terminal it is said for each tenth.
    fn show_download(&mut self, download: &Download) {
        let Download { label, done, total } = download;
        let (label, end) = (plain(label), bytes(*total));
        if self.all.is_hidden() {
            let tenth = done.saturating_mul(10) / total.max(&1);
            if self.said.insert(label.clone(), tenth) != Some(tenth) {
                let done = bytes(*done);
                message(&format!("downloading {label}: {done} of {end}\n"));
            }
            return;
        }
        let all = &self.all;
        let bar = self
            .download
            .get_or_insert_with(|| all.add(new_download_bar()));
        let text = format!("downloading {label}: {} of {end}", bytes(*done));
        bar.set_message(lettered(&text, &std::io::stderr()));
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

    fn stopping(&mut self) {
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
        if self.all.is_hidden() {
            message(&format!("{text}\n"));
        } else {
            self.leave(&text);
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

fn new_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} [{pos}/{len}] {elapsed} {wide_msg}")
        .expect("the template is fixed");
    let style = if has_letters(&std::io::stderr()) {
        style
    } else {
        style.tick_chars("-\\|/ ")
    };
    let bar = ProgressBar::new(steps as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Names the first of what a step changes.
fn several(addresses: &[Address]) -> String {
    let first = addresses
        .first()
        .map_or_else(String::new, |address| plain(&address.to_string()));
    match addresses.len() {
        0 | 1 => first,
        count => format!("{first} and {} more", count - 1),
    }
}

/// Says what a run has done.
fn done(summary: &Summary, time: Duration) -> String {
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
        parts.push(format!("{} to download", bytes(*download)));
    }
    if parts.is_empty() {
        parts.push("nothing changed".to_owned());
    }
    format!("{} in {}.\n", parts.join(", "), took(time))
}

fn words(event: &Event) -> String {
    match event {
        Event::Recovering { run } => {
            format!("run {run} was interrupted; rolling it back")
        }
        Event::Started { .. }
        | Event::Armed { .. }
        | Event::StepDone { .. }
        | Event::Downloading(_)
        | Event::Checked { fault: None, .. }
        | Event::Sign { fault: None, .. } => String::new(),
        Event::Step { step, addresses } => format!("step {step}: {}", several(addresses)),
        Event::Waiting(Wait { what }) => format!("waiting for {}", plain(what)),
        Event::Verifying => "verifying".to_owned(),
        Event::Checked {
            address,
            fault: Some(fault),
        } => format!("{} fails: {}", plain(&address.to_string()), plain(fault)),
        Event::Looking => "running health checks".to_owned(),
        Event::Sign {
            name,
            fault: Some(fault),
        } => format!("{name} worked before and fails now: {}", plain(fault)),
        Event::RollingBack { cause } => format!(
            "rolling back: {}",
            plain(cause.first().map_or("", String::as_str))
        ),
        Event::Reverting { address } => format!("restoring {}", plain(&address.to_string())),
    }
}
