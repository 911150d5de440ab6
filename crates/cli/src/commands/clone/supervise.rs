//! The process that holds the clone: when it exits, the kernel ends everything of the clone.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

use stead_engine::{
    plan::{
        document::{Plan, Wanted},
        planner::wanted,
    },
    rehearsal::{
        difference::Features,
        report::{Rehearsal, ms},
    },
};
use stead_resources::clone::{self, HostClone, Layers, Settings, Traces, memory};

use super::{inside::possible, trial::Trial};
use crate::{
    args::Rehearse,
    context::Session,
    error::Failure,
    exit::Exit,
    json::RehearsalDocument,
    render,
    spec_input::{SpecTexts, Told},
};

/// Makes a clone, tries the spec in it, and says what came of it.
pub(super) fn hold(session: &Session, args: &Rehearse) -> Result<Exit, Failure> {
    let begin = Instant::now();
    end_with_the_caller();
    Traces::enter()?;
    let spec = args
        .spec
        .spec
        .as_deref()
        .unwrap_or(Path::new("/etc/stead/host.kdl"));
    let told = Told::of(&args.spec.values)?;
    let graph = session.graph(&SpecTexts::read(spec)?, &told)?;
    let layers = args.overlay_dir.as_deref().map(Layers::make).transpose()?;
    let mut rehearsal = InClones {
        session,
        args,
        spec,
        wanted: Arc::new((graph.host().to_owned(), wanted(&graph))),
        own: std::env::current_exe().map_err(|error| Failure::of(Exit::Failed, &error))?,
        layers: layers.as_ref(),
        settings: Settings::default(),
        report: Rehearsal::default(),
    };
    rehearsal.run(begin)?;
    let report = rehearsal.report;
    if let Some(layers) = layers {
        layers.remove()?;
    }
    let exit = if report.holds() {
        Exit::Done
    } else {
        Exit::Failed
    };
    if args.json {
        render::data(&RehearsalDocument::text(report));
    } else {
        render::page(&render::rehearsal(&report));
    }
    Ok(exit)
}

/// Whoever called holds the other end of standard input. The kernel ends all of this PID namespace with its first process.
fn end_with_the_caller() {
    thread::spawn(|| {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().read(&mut rest), Ok(read) if read > 0) {}
        std::process::exit(i32::from(Exit::Failed as u8));
    });
}

/// A rehearsal under way.
struct InClones<'a> {
    session: &'a Session,
    args: &'a Rehearse,
    spec: &'a Path,
    wanted: Arc<(String, Vec<Wanted>)>,
    own: PathBuf,
    layers: Option<&'a Layers>,
    settings: Settings,
    report: Rehearsal,
}

impl<'a> InClones<'a> {
    fn run(&mut self, begin: Instant) -> Result<(), Failure> {
        let (host, wanted) = self.wanted.as_ref();
        let here = possible(self.session, host, wanted.clone(), &[], true)?;
        let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Failed, error);
        let (settings, host) = self.session.confined(async |_, reader| {
            (clone::settings(reader).await, clone::look(reader).await)
        })?;
        self.settings = settings.map_err(|error| failed(&error))?;
        let host = host.map_err(|error| failed(&error))?;
        self.report.refused = here.refused;
        self.report.left_out = here.left_out;

        self.say("Cloning this host and booting the clone");
        let mut trial = self.boot()?;
        self.report.up_ms = ms(begin.elapsed());
        self.report.memory = memory();
        self.report.differences = trial.clone.differences().to_vec();
        trial.set(&self.settings)?;
        let before = trial.at_rest()?;
        self.report
            .differences
            .extend(failures(&host, &before.features));

        let known = self.report.untried();
        let there = trial.plan(&known)?;
        self.report
            .left_out
            .extend(there.refused.into_iter().chain(there.left_out));
        let known = self.report.untried();
        let plan = there.plan;
        if !plan.is_empty() {
            self.say(&format!(
                "Applying {} changes in the clone",
                plan.changes.len()
            ));
            trial.apply(&before, &plan, &mut self.report)?;
        }
        let is_done = self.report.is_applied();
        if is_done {
            self.say("Planning again in the clone");
            self.report.pending = trial.plan(&known)?.pending();
        }
        if self.args.reboot && is_done {
            self.say("Rebooting the clone");
            self.report.reboot = Some(trial.reboot(&known)?);
        }
        trial.clone.end()?;
        if self.args.kill_at.is_some() {
            self.kill_in_each_step(&plan)?;
        }
        Ok(())
    }

    fn kill_in_each_step(&mut self, plan: &Plan) -> Result<(), Failure> {
        let steps = self.report.steps.clone();
        let mut kept: Option<Trial<'_>> = None;
        for (index, step) in steps.iter().enumerate() {
            let names: Vec<String> = step.addresses.iter().map(ToString::to_string).collect();
            self.say(&format!(
                "Killing the run in step {} of {}: {}",
                index + 1,
                steps.len(),
                names.join(", ")
            ));
            let trial = if let Some(trial) = kept.take() {
                trial
            } else {
                let trial = self.boot()?;
                trial.set(&self.settings)?;
                trial
            };
            let fault = trial.kill_in(index + 1, step, plan)?;
            let is_clean = fault.is_clean();
            self.report.faults.push(fault);
            if is_clean {
                kept = Some(trial);
            } else {
                trial.clone.end()?;
            }
        }
        if let Some(trial) = kept {
            trial.clone.end()?;
        }
        Ok(())
    }

    fn boot(&self) -> Result<Trial<'a>, Failure> {
        let folder = self.spec.parent().unwrap_or(Path::new("/"));
        let shown = [self.own.as_path(), folder];
        let clone = HostClone::boot(self.layers, &shown)?;
        Ok(Trial {
            session: self.session,
            clone,
            own: self.own.display().to_string(),
            wanted: self.wanted.clone(),
        })
    }

    fn say(&self, text: &str) {
        if !self.args.json {
            render::message(&format!("{text}\n"));
        }
    }
}

/// Names units that fail in the clone and not on the host.
fn failures(host: &Features, clone: &Features) -> Vec<String> {
    let fails =
        |features: &Features, name: &String| features.get(name).is_some_and(|is| is == "failed");
    clone
        .keys()
        .filter(|name| fails(clone, name) && !fails(host, name))
        .map(|name| format!("{} fails in the clone", name.trim_start_matches("unit:")))
        .collect()
}
