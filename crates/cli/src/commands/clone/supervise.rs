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
        document::{DesiredResource, Plan},
        planner::desired_resources,
    },
    rehearsal::{
        difference::Snapshot,
        report::{Rehearsal, to_millis},
    },
};
use stead_resources::clone::{
    self, HostClone, HostState, KernelSettings, OverlayDirs, memory_used,
};

use super::{inside::plan_possible, trial::Trial};
use crate::{
    args::RehearseArgs,
    context::Context,
    error::CommandError,
    exit::Exit,
    json::RehearsalDocument,
    render,
    spec_input::{SpecOverrides, SpecTexts},
};

/// Makes a clone, tries the spec in it, and says what came of it.
pub(super) fn supervise(context: &Context, args: &RehearseArgs) -> Result<Exit, CommandError> {
    let begin = Instant::now();
    exit_with_caller();
    HostState::enter_cgroup()?;
    let spec = args
        .spec
        .spec
        .as_deref()
        .unwrap_or(Path::new("/etc/stead/host.kdl"));
    let overrides = SpecOverrides::of(&args.spec.values)?;
    let graph = context.graph(&SpecTexts::read(spec)?, &overrides)?;
    let overlay = args
        .overlay_dir
        .as_deref()
        .map(OverlayDirs::create)
        .transpose()?;
    let mut rehearsal = RehearsalRunner {
        context,
        args,
        spec,
        wanted: Arc::new((graph.host().to_owned(), desired_resources(&graph))),
        exe: std::env::current_exe()
            .map_err(|error| CommandError::from_error(Exit::Failed, &error))?,
        overlay: overlay.as_ref(),
        settings: KernelSettings::default(),
        report: Rehearsal::default(),
    };
    rehearsal.run(begin)?;
    let report = rehearsal.report;
    if let Some(overlay) = overlay {
        overlay.remove()?;
    }
    let exit = if report.succeeded() {
        Exit::Done
    } else {
        Exit::Failed
    };
    if args.json {
        render::print_data(&RehearsalDocument::text(report));
    } else {
        render::print_text(&render::rehearsal(&report));
    }
    Ok(exit)
}

/// Whoever called holds the other end of standard input. The kernel ends all of this PID namespace with its first process.
fn exit_with_caller() {
    thread::spawn(|| {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().read(&mut rest), Ok(read) if read > 0) {}
        std::process::exit(i32::from(Exit::Failed as u8));
    });
}

/// A rehearsal under way.
struct RehearsalRunner<'a> {
    context: &'a Context,
    args: &'a RehearseArgs,
    spec: &'a Path,
    wanted: Arc<(String, Vec<DesiredResource>)>,
    exe: PathBuf,
    overlay: Option<&'a OverlayDirs>,
    settings: KernelSettings,
    report: Rehearsal,
}

impl<'a> RehearsalRunner<'a> {
    fn run(&mut self, begin: Instant) -> Result<(), CommandError> {
        let (host, wanted) = self.wanted.as_ref();
        let here = plan_possible(self.context, host, wanted.clone(), &[], true)?;
        let failed = |error: &(dyn std::error::Error + 'static)| {
            CommandError::from_error(Exit::Failed, error)
        };
        let (settings, host) = self.context.run_read_only(async |_, reader| {
            (
                clone::read_settings(reader).await,
                clone::take_snapshot(reader).await,
            )
        })?;
        self.settings = settings.map_err(|error| failed(&error))?;
        let host = host.map_err(|error| failed(&error))?;
        self.report.refused = here.refused;
        self.report.left_out = here.left_out;

        self.print_progress("Cloning this host and booting the clone");
        let mut trial = self.boot()?;
        self.report.up_ms = to_millis(begin.elapsed());
        self.report.memory = memory_used();
        self.report.differences = trial.clone.differences().to_vec();
        trial.configure(&self.settings)?;
        let before = trial.wait_until_quiet()?;
        self.report
            .differences
            .extend(new_failed_units(&host, &before.features));

        let known = self.report.untried();
        let there = trial.plan(&known)?;
        self.report
            .left_out
            .extend(there.refused.into_iter().chain(there.left_out));
        let known = self.report.untried();
        let plan = there.plan;
        if !plan.is_empty() {
            self.print_progress(&format!(
                "Applying {} changes in the clone",
                plan.changes.len()
            ));
            trial.apply(&before, &plan, &mut self.report)?;
        }
        let is_done = self.report.is_applied();
        if is_done {
            self.print_progress("Planning again in the clone");
            self.report.pending = trial.plan(&known)?.pending();
        }
        if self.args.reboot && is_done {
            self.print_progress("Rebooting the clone");
            self.report.reboot = Some(trial.reboot(&known)?);
        }
        trial.clone.shut_down()?;
        if self.args.kill_at.is_some() {
            self.kill_in_each_step(&plan)?;
        }
        Ok(())
    }

    fn kill_in_each_step(&mut self, plan: &Plan) -> Result<(), CommandError> {
        let steps = self.report.steps.clone();
        let mut kept: Option<Trial<'_>> = None;
        for (index, step) in steps.iter().enumerate() {
            let names: Vec<String> = step.addresses.iter().map(ToString::to_string).collect();
            self.print_progress(&format!(
                "Killing the run in step {} of {}: {}",
                index + 1,
                steps.len(),
                names.join(", ")
            ));
            let trial = if let Some(trial) = kept.take() {
                trial
            } else {
                let trial = self.boot()?;
                trial.configure(&self.settings)?;
                trial
            };
            let fault = trial.kill_in(index + 1, step, plan)?;
            let is_clean = fault.is_clean();
            self.report.kill_tests.push(fault);
            if is_clean {
                kept = Some(trial);
            } else {
                trial.clone.shut_down()?;
            }
        }
        if let Some(trial) = kept {
            trial.clone.shut_down()?;
        }
        Ok(())
    }

    fn boot(&self) -> Result<Trial<'a>, CommandError> {
        let dir = self.spec.parent().unwrap_or(Path::new("/"));
        let shown = [self.exe.as_path(), dir];
        let clone = HostClone::boot(self.overlay, &shown)?;
        Ok(Trial {
            context: self.context,
            clone,
            exe: self.exe.display().to_string(),
            wanted: self.wanted.clone(),
        })
    }

    fn print_progress(&self, text: &str) {
        if !self.args.json {
            render::eprint_message(&format!("{text}\n"));
        }
    }
}

/// Names units that fail in the clone and not on the host.
fn new_failed_units(host: &Snapshot, clone: &Snapshot) -> Vec<String> {
    let fails =
        |features: &Snapshot, name: &String| features.get(name).is_some_and(|is| is == "failed");
    clone
        .keys()
        .filter(|name| fails(clone, name) && !fails(host, name))
        .map(|name| format!("{} fails in the clone", name.trim_start_matches("unit:")))
        .collect()
}
