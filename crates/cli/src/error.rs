//! Errors of commands, printed for people or as data.

use std::{error::Error, io::IsTerminal};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, ThemeStyles};
use stead_engine::{
    history::{lock::LockError, runs::HistoryError, state_dir::StateDirError},
    import::options::ImportError,
    language::error::SpecErrors,
    model::error_chain::error_chain,
    plan::{document::PlanError, observe::ObserveError},
    provider::{error::ProviderError, host::WatchdogError},
    run::{apply::ApplyError, recover::RecoverError, undo::UndoError},
};
use stead_resources::clone::CloneError;
use terminal_size::terminal_size_of;

use crate::{
    exit::Exit,
    json::{ErrorDocument, ErrorEntry},
    render::{self, eprint_message, escape_control, print_data, push_line, style},
};

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// Mistakes in the spec.
    Spec(SpecErrors),
    /// Anything else, with the code to end with.
    Other(Exit, Vec<ErrorItem>),
}

/// One thing that went wrong.
#[derive(Debug)]
pub(crate) struct ErrorItem {
    /// What, from the general to the particular.
    messages: Vec<String>,
    /// What to do about it.
    help: Option<String>,
}

impl CommandError {
    /// Makes a mistake in what was typed.
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, help)
    }

    /// Makes a failure with a way out.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, help: impl Into<String>) -> Self {
        let fault = ErrorItem {
            messages: vec![message.into()],
            help: Some(help.into()),
        };
        Self::Other(exit, vec![fault])
    }

    /// Makes a failure of an error and what caused it.
    pub(crate) fn from_error(exit: Exit, error: &dyn Error) -> Self {
        Self::Other(
            exit,
            vec![ErrorItem {
                messages: error_chain(error),
                help: None,
            }],
        )
    }

    /// Says what to do about it.
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        if let Self::Other(_, faults) = &mut self
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
            Self::Other(exit, _) => *exit,
        }
    }

    /// Prints it: for people on standard error, and as data on standard output if asked.
    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            print_data(&self.document().text());
        }
        eprint_message(&self.text());
    }

    fn text(&self) -> String {
        match self {
            Self::Spec(errors) => render_spec_errors(errors),
            Self::Other(_, faults) => faults.iter().map(ErrorItem::text).collect(),
        }
    }

    fn document(&self) -> ErrorDocument {
        let errors = match self {
            Self::Spec(errors) => errors.0.iter().map(ErrorEntry::from).collect(),
            Self::Other(_, faults) => faults.iter().map(ErrorItem::to_entry).collect(),
        };
        ErrorDocument::new(self.exit() as u8, errors)
    }
}

impl ErrorItem {
    fn to_entry(&self) -> ErrorEntry {
        let (message, causes) = self.messages.split_first().expect("a fault has a line");
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
        for (index, shown) in self.messages.iter().enumerate() {
            let shown = escape_control(shown);
            match index {
                0 => push_line(
                    &mut text,
                    format_args!("{} {shown}", style::error("error:")),
                ),
                _ => push_line(&mut text, format_args!("  {shown}")),
            }
        }
        if let Some(help) = &self.help {
            push_line(
                &mut text,
                format_args!("  {} {}", style::help("help:"), escape_control(help)),
            );
        }
        text
    }
}

/// Reports are no wider, in columns: longer lines are hard to read.
const MAX_WIDTH: usize = 100;

/// Draws mistakes in a spec with the lines they stand in.
fn render_spec_errors(errors: &SpecErrors) -> String {
    let stderr = std::io::stderr();
    let is_coloured = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
    let theme = match (
        stderr.is_terminal() && render::supports_unicode(&stderr),
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
    let width = terminal_size_of(&stderr).map_or(MAX_WIDTH, |(width, _)| usize::from(width.0));
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width.min(MAX_WIDTH))
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

impl From<SpecErrors> for CommandError {
    fn from(errors: SpecErrors) -> Self {
        Self::Spec(errors)
    }
}

impl From<ObserveError> for CommandError {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Provider(errors) => {
                let fault = |error: ProviderError| ErrorItem {
                    messages: error_chain(&error),
                    help: error.help,
                };
                Self::Other(Exit::Failed, errors.into_iter().map(fault).collect())
            }
            ObserveError::UnknownKind(_) => Self::from_error(Exit::Failed, &error),
        }
    }
}

impl From<CloneError> for CommandError {
    fn from(error: CloneError) -> Self {
        Self::from_error(Exit::Failed, &error).with_help("the host is as before")
    }
}

impl From<PlanError> for CommandError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Spec(errors) => Self::Spec(errors),
            PlanError::Observe(error) => error.into(),
            PlanError::Problems(problems) => {
                let faults = problems.into_iter().map(|(address, problem)| ErrorItem {
                    messages: vec![format!("{address}: {}", problem.message)],
                    help: problem.help,
                });
                Self::Other(Exit::Failed, faults.collect())
            }
        }
    }
}

impl From<ImportError> for CommandError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Spec(errors) => Self::Spec(errors),
            ImportError::Observe(error) => error.into(),
            ImportError::NotEmpty(_) => Self::from_error(Exit::Failed, &error),
        }
    }
}

impl From<StateDirError> for CommandError {
    fn from(error: StateDirError) -> Self {
        let failure = Self::from_error(Exit::Failed, &error);
        match error {
            StateDirError::Unsafe { path, .. } => failure.with_help(format!(
                "undo relies on its contents, so only root may write to it: check it, then run `chown root: {path}` and `chmod 0700 {path}`, or use another directory with `--state-dir`",
                path = path.display()
            )),
            StateDirError::Io { .. } => failure,
        }
    }
}

impl From<LockError> for CommandError {
    fn from(error: LockError) -> Self {
        match &error {
            LockError::Held { .. } => Self::from_error(Exit::Locked, &error)
                .with_help("wait until it has ended; `stead history` shows it"),
            LockError::Io { .. } => Self::from_error(Exit::Failed, &error),
        }
    }
}

impl From<ApplyError> for CommandError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Damaged => Self::from_error(Exit::Usage, &error)
                .with_help("create it again with `stead plan --out FILE`"),
            ApplyError::Observe(error) => error.into(),
            ApplyError::StateDir(error) => error.into(),
            ApplyError::Journal(_) => Self::from_error(Exit::Failed, &error),
        }
    }
}

impl From<RecoverError> for CommandError {
    fn from(error: RecoverError) -> Self {
        match error {
            RecoverError::StateDir(error) => error.into(),
            RecoverError::Pending { run, .. } => Self::from_error(Exit::Locked, &error).with_help(format!(
                "`stead confirm` confirms run {run}, `stead revert` rolls it back now; without either it is rolled back when its time is over"
            )),
            RecoverError::Journal(_) => Self::from_error(Exit::Failed, &error),
        }
    }
}

impl From<WatchdogError> for CommandError {
    fn from(error: WatchdogError) -> Self {
        Self::from_error(Exit::Failed, &error)
    }
}

impl From<HistoryError> for CommandError {
    fn from(error: HistoryError) -> Self {
        match &error {
            HistoryError::NoSuchRun(_) => {
                Self::from_error(Exit::Usage, &error).with_help("`stead history` lists the runs")
            }
            _ => Self::from_error(Exit::Failed, &error),
        }
    }
}

impl From<UndoError> for CommandError {
    fn from(error: UndoError) -> Self {
        match error {
            UndoError::Conflicts(addresses) => {
                let moved = addresses.iter().map(|address| ErrorItem {
                    messages: vec![format!("{address} has changed since that run")],
                    help: None,
                });
                Self::Other(Exit::Stale, moved.collect()).with_help(
                    "nothing was done: undo would lose the later change; undo the later runs first, or restore this by hand",
                )
            }
            UndoError::NothingDone(_) => {
                Self::from_error(Exit::Usage, &error).with_help("`stead history` shows which runs succeeded")
            }
            UndoError::Damaged(run) => Self::from_error(Exit::Failed, &error).with_help(format!(
                "nothing was done; `stead show {run}` shows the plan of that run: restore by hand what you need"
            )),
            UndoError::History(error) => error.into(),
            UndoError::Observe(error) => error.into(),
            UndoError::UnknownKind(_) => Self::from_error(Exit::Failed, &error),
        }
    }
}
