//! `--timings`: durations, by the spans of the engine and of the commands.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry};

use crate::render::{self, Column, format_duration, table};

/// Spans of other crates are their own business.
const TARGET_PREFIX: &str = "stead";
/// How many characters most durations take at most.
const DURATION_WIDTH: usize = 9;

/// What is measured from here on.
pub(crate) struct Timings {
    begin: Instant,
    rows: Arc<Mutex<Rows>>,
}

/// What was measured, in the order of its first begin.
#[derive(Default)]
struct Rows {
    all: Vec<Row>,
    running: HashMap<Id, (usize, Instant)>,
}

struct Row {
    label: String,
    time: Duration,
    times: usize,
}

impl Timings {
    /// Measures from here on, until the end of this process.
    pub(crate) fn start() -> Self {
        let rows = Arc::new(Mutex::new(Rows::default()));
        let timer = SpanTimer(Arc::clone(&rows));
        // A process has one; nobody else sets it.
        drop(tracing::subscriber::set_global_default(
            registry().with(timer),
        ));
        Self {
            begin: Instant::now(),
            rows,
        }
    }

    /// Says what took how long. What goes on at the same time is shown with its whole time.
    pub(crate) fn print(&self) {
        let rows = self.rows.lock().expect("no holder panics");
        render::eprint_message(&timings_table(&rows.all, self.begin.elapsed()));
    }
}

fn timings_table(rows: &[Row], all: Duration) -> String {
    let shown = rows.iter().map(|Row { label, time, times }| {
        let often = match times {
            1 => String::new(),
            times => format!("{times} times"),
        };
        [label.clone(), format_duration(*time), often]
    });
    let sum = ["all".to_owned(), format_duration(all), String::new()];
    let shown: Vec<_> = shown.chain([sum]).collect();
    let columns = [
        Column::LEFT,
        Column::RIGHT.min_width(DURATION_WIDTH),
        Column::LEFT,
    ];
    format!("Time:\n{}", table("  ", columns, &shown))
}

struct SpanTimer(Arc<Mutex<Rows>>);

impl<S: Subscriber> Layer<S> for SpanTimer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _context: Context<'_, S>) {
        if !attributes.metadata().target().starts_with(TARGET_PREFIX) {
            return;
        }
        let mut label = Label(attributes.metadata().name().to_owned());
        attributes.record(&mut label);
        let mut rows = self.0.lock().expect("no holder panics");
        let row = rows.all.iter().position(|row| row.label == label.0);
        let row = row.unwrap_or_else(|| {
            rows.all.push(Row {
                label: label.0,
                time: Duration::ZERO,
                times: 0,
            });
            rows.all.len() - 1
        });
        rows.running.insert(id.clone(), (row, Instant::now()));
    }

    fn on_close(&self, id: Id, _context: Context<'_, S>) {
        let mut rows = self.0.lock().expect("no holder panics");
        if let Some((row, begin)) = rows.running.remove(&id) {
            let row = &mut rows.all[row];
            row.time += begin.elapsed();
            row.times += 1;
        }
    }
}

/// The name of a span with its fields.
struct Label(String);

impl Visit for Label {
    fn record_str(&mut self, _field: &Field, value: &str) {
        self.0 += " ";
        self.0 += value;
    }

    fn record_debug(&mut self, _field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {value:?}").expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use tracing::{debug_span, subscriber::with_default};

    use super::*;

    #[test]
    fn timings_list_own_spans_in_order_with_fields() {
        let rows = Arc::new(Mutex::new(Rows::default()));
        let stopwatch = registry().with(SpanTimer(Arc::clone(&rows)));
        with_default(stopwatch, || {
            debug_span!("read", kind = "file").in_scope(|| ());
            debug_span!("step", number = 1)
                .in_scope(|| debug_span!("read", kind = "file").in_scope(|| ()));
            debug_span!(target: "hyper", "theirs").in_scope(|| ());
        });
        let rows = rows.lock().unwrap();
        let shown: Vec<_> = rows
            .all
            .iter()
            .map(|row| (row.label.as_str(), row.times))
            .collect();
        assert_eq!(shown, [("read file", 2), ("step 1", 1)]);
    }

    #[test]
    fn timings_table_aligns_times() {
        let row = |label: &str, ms, times| Row {
            label: label.to_owned(),
            time: Duration::from_millis(ms),
            times,
        };
        let rows = [row("spec", 4, 1), row("read file", 1200, 2)];
        let table = timings_table(&rows, Duration::from_millis(1300));
        let expected = "Time:\n  spec            4 ms\n  read file      1.2 s  2 times\n  all            1.3 s\n";
        assert_eq!(table, expected);
    }
}
