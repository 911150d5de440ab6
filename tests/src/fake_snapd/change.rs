//! Changes under way: their tasks, how far they are, and what they do when they are done.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::installed::Offer;

#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) tasks: Vec<Task>,
    pub(super) effect: Option<Effect>,
    pub(super) error: Option<String>,
    pub(super) outage: Option<Duration>,
    pub(super) is_aborted: bool,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) kind: &'static str,
    pub(super) done: u64,
    pub(super) total: u64,
}

#[derive(Debug)]
pub(super) enum Effect {
    Add(Offer),
    Remove,
    Revert(usize),
    Enable(bool),
    Track(String),
    Hold(Option<String>),
    Run(bool),
    Conf(Map<String, Value>),
}

/// A change as it stands after one more step of it.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) change: Value,
    pub(super) outage: Option<Duration>,
}

/// A download is done after so many looks at it.
pub(super) const POLLS_PER_DOWNLOAD: u64 = 10;
pub(super) const TIMESTAMP: &str = "2026-01-01T00:00:00Z";

impl Change {
    pub(super) fn is_ready(&self) -> bool {
        self.tasks.iter().all(|task| task.done == task.total)
    }

    /// Goes back at once, and is ready.
    pub(super) fn abort(&mut self) {
        self.is_aborted = true;
        self.effect = None;
        for task in &mut self.tasks {
            task.done = task.total;
        }
    }

    pub(super) fn to_json(&self, id: &str) -> Value {
        let ready = self.is_ready();
        let ended = match self.error {
            _ if self.is_aborted => "Undone",
            Some(_) => "Error",
            None => "Done",
        };
        let summary = format!("{} {}", self.kind, self.name);
        // One after the other, as they wait for each other.
        let first = self.tasks.iter().position(|task| task.done < task.total);
        let tasks: Vec<Value> = self
            .tasks
            .iter()
            .enumerate()
            .map(|(at, task)| {
                let last = at + 1 == self.tasks.len();
                let status = match (task.done, task.done == task.total) {
                    (_, true) if self.is_aborted => "Undone",
                    (_, true) if self.error.is_some() && ready => if last { "Error" } else { "Undone" },
                    (_, true) => "Done",
                    _ if first == Some(at) => "Doing",
                    _ => "Do",
                };
                json!({
                    "id": format!("{id}{at}"), "kind": task.kind, "summary": task.kind, "status": status, "spawn-time": TIMESTAMP,
                    "progress": {"label": if task.kind == "download-snap" { self.name.as_str() } else { "" }, "done": task.done, "total": task.total},
                })
            })
            .collect();
        let mut shown = json!({
            "id": id, "kind": self.kind, "summary": summary, "ready": ready, "tasks": tasks, "spawn-time": TIMESTAMP,
            "status": if ready { ended } else { "Doing" }, "data": {"snap-names": [self.name]},
        });
        if ready && let Some(error) = &self.error {
            let last = self.tasks.last().map_or("", |task| task.kind);
            shown["err"] =
                format!("cannot perform the following tasks:\n- {last} ({error})").into();
        }
        shown
    }
}
