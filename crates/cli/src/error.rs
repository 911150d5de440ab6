//! Errors of commands, printed for people or as data.

use std::{error::Error, io::IsTerminal};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, ThemeStyles};
use stead_engine::{
    history::{lock::LockError, runs::HistoryError, state_dir::StateFolderError},
    import::options::ImportError,
    language::error::SpecErrors,
    model::error_chain::chain,
    plan::{document::PlanError, observe::ObserveError},
    provider::{error::ProviderError, host::GuardError},
    run::{apply::ApplyError, recover::RecoverError, undo::UndoError},
};
use stead_resources::clone::CloneError;
use terminal_size::terminal_size_of;

use crate::{
    exit::Exit,
    json::{ErrorDocument, ErrorEntry},
    render::{self, data, line, message, paint, plain},
};

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Mistakes in the spec.
    Spec(SpecErrors),
    /// Anything else, with the code to end with.
    Faults(Exit, Vec<Fault>),
}

/// One thing that went wrong.
#[derive(Debug)]
pub(crate) struct Fault {
    /// What, from the general to the particular.
    lines: Vec<String>,
    /// What to do about it.
    help: Option<String>,
}

impl Failure {
    /// Makes a mistake in what was typed.
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, help)
    }

    /// Makes a failure with a way out.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, help: impl Into<String>) -> Self {
        let fault = Fault {
            lines: vec![message.into()],
            help: Some(help.into()),
        };
        Self::Faults(exit, vec![fault])
    }

    /// Makes a failure of an error and what caused it.
    pub(crate) fn of(exit: Exit, error: &dyn Error) -> Self {
        Self::Faults(
            exit,
            vec![Fault {
                lines: chain(error),
                help: None,
            }],
        )
    }

    /// Says what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        if let Self::Faults(_, faults) = &mut self
            && let Some(fault) = faults.last_mut()
        {
            fault.help = Some(help.into());
        }
        self
    }

    /// Returns the code to end with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Spec(_) => Exit::Usage,
            Self::Faults(exit, _) => *exit,
        }
    }

    /// Prints it: for people on standard error, and as data on standard output if asked.
    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            data(&self.document().text());
        }
        message(&self.text());
    }

    fn text(&self) -> String {
        match self {
            Self::Spec(errors) => report(errors),
            Self::Faults(_, faults) => faults.iter().map(Fault::text).collect(),
        }
    }

    fn document(&self) -> ErrorDocument {
        let errors = match self {
            Self::Spec(errors) => errors.0.iter().map(ErrorEntry::from).collect(),
            Self::Faults(_, faults) => faults.iter().map(Fault::entry).collect(),
        };
        ErrorDocument::new(self.exit() as u8, errors)
    }
}

impl Fault {
    fn entry(&self) -> ErrorEntry {
        let (message, causes) = self.lines.split_first().expect("a fault has a line");
        ErrorEntry {
            code: None,
            message: message.clone(),
            causes: causes.to_vec(),
            help: self.help.clone(),
            labels: vec![],
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (index, shown) in self.lines.iter().enumerate() {
            let shown = plain(shown);
            match index {
                0 => line(
                    &mut text,
                    format_args!("{} {shown}", paint::error("error:")),
                ),
                _ => line(&mut text, format_args!("  {shown}")),
            }
        }
        if let Some(help) = &self.help {
            line(
                &mut text,
                format_args!("  {} {}", paint::help("help:"), plain(help)),
            );
        }
        text
    }
}

/// Reports are no wider, in columns: longer lines are hard to read.
const WIDTH: usize = 100;

/// Draws mistakes in a spec with the lines they stand in.
fn report(errors: &SpecErrors) -> String {
    let stderr = std::io::stderr();
    let is_coloured = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
    let theme = match (
        stderr.is_terminal() && render::has_letters(&stderr),
        is_coloured,
    ) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, true) => GraphicalTheme {
            styles: ThemeStyles::ansi(),
            ..GraphicalTheme::ascii()
        },
        (false, false) => GraphicalTheme::none(),
    };
    let width = terminal_size_of(&stderr).map_or(WIDTH, |(width, _)| usize::from(width.0));
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width.min(WIDTH))
        .with_links(false);
    let mut text = String::new();
    let mut draw = |error: &dyn Diagnostic| {
        handler
            .render_report(&mut text, error)
            .expect("writing to a String cannot fail");
    };
    for error in &errors.0 {
        draw(error);
        for note in error.notes() {
            draw(&note);
        }
    }
    text + &format!("{errors}\n")
}

impl From<SpecErrors> for Failure {
    fn from(errors: SpecErrors) -> Self {
        Self::Spec(errors)
    }
}

impl From<ObserveError> for Failure {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Provider(errors) => {
                let fault = |error: ProviderError| Fault {
                    lines: chain(&error),
                    help: error.help,
                };
                Self::Faults(Exit::Failed, errors.into_iter().map(fault).collect())
            }
            ObserveError::UnknownKind(_) => Self::of(Exit::Failed, &error),
        }
    }
}

impl From<CloneError> for Failure {
    fn from(error: CloneError) -> Self {
        Self::of(Exit::Failed, &error).help("the host is as before")
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Spec(errors) => Self::Spec(errors),
            PlanError::Observe(error) => error.into(),
            PlanError::Problems(problems) => {
                let faults = problems.into_iter().map(|(address, problem)| Fault {
                    lines: vec![format!("{address}: {}", problem.message)],
                    help: problem.help,
                });
                Self::Faults(Exit::Failed, faults.collect())
            }
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Spec(errors) => Self::Spec(errors),
            ImportError::Observe(error) => error.into(),
            ImportError::NotEmpty(_) => Self::of(Exit::Failed, &error),
        }
    }
}

impl From<StateFolderError> for Failure {
    fn from(error: StateFolderError) -> Self {
        let failure = Self::of(Exit::Failed, &error);
        match error {
            StateFolderError::Unsafe { path, .. } => failure.help(format!(
                "undo relies on its contents, so only root may write to it: check it, then run `chown root: {path}` and `chmod 0700 {path}`, or use another directory with `--state-dir`",
                path = path.display()
            )),
            StateFolderError::Io { .. } => failure,
        }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match &error {
            LockError::Held { .. } => Self::of(Exit::Locked, &error)
                .help("wait until it has ended; `stead history` shows it"),
            LockError::Io { .. } => Self::of(Exit::Failed, &error),
        }
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Damaged => {
                Self::of(Exit::Usage, &error).help("create it again with `stead plan --out FILE`")
            }
            ApplyError::Observe(error) => error.into(),
            ApplyError::Folder(error) => error.into(),
            ApplyError::Journal(_) => Self::of(Exit::Failed, &error),
        }
    }
}

impl From<RecoverError> for Failure {
    fn from(error: RecoverError) -> Self {
        match error {
            RecoverError::Folder(error) => error.into(),
            RecoverError::Pending { run, .. } => Self::of(Exit::Locked, &error).help(format!(
                "`stead confirm` confirms run {run}, `stead revert` rolls it back now; without either it is rolled back when its time is over"
            )),
            RecoverError::Journal(_) => Self::of(Exit::Failed, &error),
        }
    }
}

impl From<GuardError> for Failure {
    fn from(error: GuardError) -> Self {
        Self::of(Exit::Failed, &error)
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        match &error {
            HistoryError::NoSuchRun(_) => {
                Self::of(Exit::Usage, &error).help("`stead history` lists the runs")
            }
            _ => Self::of(Exit::Failed, &error),
        }
    }
}

impl From<UndoError> for Failure {
    fn from(error: UndoError) -> Self {
        match error {
            UndoError::Conflicts(addresses) => {
                let moved = addresses.iter().map(|address| Fault {
                    lines: vec![format!("{address} has changed since that run")],
                    help: None,
                });
                Self::Faults(Exit::Stale, moved.collect()).help(
                    "nothing was done: undo would lose the later change; undo the later runs first, or restore this by hand",
                )
            }
            UndoError::NothingDone(_) => {
                Self::of(Exit::Usage, &error).help("`stead history` shows which runs succeeded")
            }
            UndoError::Damaged(run) => Self::of(Exit::Failed, &error).help(format!(
                "nothing was done; `stead show {run}` shows the plan of that run: restore by hand what you need"
            )),
            UndoError::History(error) => error.into(),
            UndoError::Observe(error) => error.into(),
            UndoError::UnknownKind(_) => Self::of(Exit::Failed, &error),
        }
    }
}
