//! A run in the clone that waits before and after each step, so that the clone can be inspected or the run killed.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use serde_json::Value;
use stead_engine::{history::journal::Outcome, model::address::Address, plan::document::Plan};
use stead_resources::clone::{HostClone, kill_inside};

use crate::{error::CommandError, exit::Exit};

/// A run in the clone.
pub(super) struct SteppedRun {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What a run waits at, or ended with.
#[derive(Debug)]
pub(super) enum StepEvent {
    /// Before a step.
    Before(Vec<Address>),
    /// After a step.
    After,
    /// It has ended.
    End(Result<Outcome, String>),
}

impl SteppedRun {
    /// Begins to carry out a plan.
    pub(super) fn start(clone: &HostClone, exe: &str, plan: &Plan) -> Result<Self, CommandError> {
        let failed = |error: std::io::Error| CommandError::from_error(Exit::Failed, &error);
        let mut child = clone
            .command(&[exe, "clone", "apply"])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let input = child.stdin.take();
        let output = child.stdout.take().expect("piped");
        let mut run = Self {
            child,
            input,
            lines: BufReader::new(output).lines(),
        };
        let plan = serde_json::to_string(plan).expect("a plan has string keys");
        run.send(&plan).map_err(failed)?;
        Ok(run)
    }

    fn send(&mut self, line: &str) -> std::io::Result<()> {
        match &mut self.input {
            Some(input) => writeln!(input, "{line}").and_then(|()| input.flush()),
            None => Ok(()),
        }
    }

    /// Lets it go on after a pause.
    pub(super) fn resume(&mut self) {
        // One that has ended says so by its output.
        drop(self.send(""));
    }

    /// Waits for the next pause, or for the end.
    pub(super) fn next_event(&mut self) -> StepEvent {
        let mut last = None;
        for line in self.lines.by_ref() {
            let Ok(line) = line else { break };
            let Ok(value) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            match value["event"].as_str() {
                Some("step") => {
                    let addresses = serde_json::from_value(value["addresses"].clone());
                    return StepEvent::Before(addresses.unwrap_or_default());
                }
                Some("step-done") => return StepEvent::After,
                Some("outcome") => {
                    let outcome = serde_json::from_value(value);
                    return StepEvent::End(outcome.map_err(|error| error.to_string()));
                }
                _ => last = Some(value),
            }
        }
        let status = self.child.wait().map(|status| status.to_string());
        let said = last.map(|value| match &value["errors"][0]["message"] {
            Value::String(message) => message.clone(),
            _ => value.to_string(),
        });
        StepEvent::End(Err(format!(
            "the run ended without an outcome ({}): {}",
            status.unwrap_or_default(),
            said.unwrap_or_default()
        )))
    }

    /// Kills it where it is.
    pub(super) fn kill(mut self) {
        if kill_inside(self.child.id()).is_none() {
            // It has not gone in yet, or has ended.
            drop(self.child.kill());
        }
        self.input = None;
        drop(self.child.wait());
    }
}
