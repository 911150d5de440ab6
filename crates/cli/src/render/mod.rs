//! What people see: plans, progress, outcomes. Understood without colour.

pub(crate) mod attribute_help;
pub(crate) mod format;
mod gitlab;
#[cfg(test)]
pub(crate) mod hostile_fixture;
pub(crate) mod html;
mod junit;
mod markdown;
pub(crate) mod plan_view;
mod svg;
pub(crate) mod terminal;
pub(crate) mod text;

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal, Write},
};

use terminal::lettered;

pub(crate) use attribute_help::{meaning, shape};
pub(crate) use format::{plain, took, value};
pub(crate) use gitlab::gitlab;
pub(crate) use html::page as history_page;
pub(crate) use junit::junit;
pub(crate) use markdown::markdown;
pub(crate) use plan_view::{Detail, marks};
pub(crate) use svg::svg;
pub(crate) use terminal::{has_letters, wrapped, wrapped_aside};
pub(crate) use text::coverage::coverage;
pub(crate) use text::expected::expected;
pub(crate) use text::finding::{ailment, examination};
pub(crate) use text::outcome::{end_of, exit_of, going_back, outcome, summary_of_run, time};
pub(crate) use text::plan::{no_changes, plan, question};
pub(crate) use text::progress::Progress;
pub(crate) use text::rehearsal::rehearsal;

/// Writes data to standard output, as it is: programs and files read it.
pub(crate) fn data(text: &str) {
    write(anstream::stdout(), text);
}

/// Writes what people asked for to standard output.
pub(crate) fn page(text: &str) {
    write(anstream::stdout(), &lettered(text, &io::stdout()));
}

/// Writes a message for people to standard error.
pub(crate) fn message(text: &str) {
    write(anstream::stderr(), &lettered(text, &io::stderr()));
}

/// A terminal that calls itself dumb gets no colours, wherever it stands: in a CI, which the library takes for
/// something that shows them, too. `CLICOLOR_FORCE` still forces them.
pub(crate) fn respect_dumb_terminals() {
    let is = |name: &str, wanted: fn(&str) -> bool| {
        std::env::var(name).is_ok_and(|value| wanted(&value))
    };
    if is("TERM", |term| term == "dumb") && !is("CLICOLOR_FORCE", |force| force != "0") {
        anstream::ColorChoice::Never.write_global();
    }
}

/// Whether somebody sits there who can be asked.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal()
}

/// Whoever reads may have gone away; a run goes on without them.
fn write(mut stream: impl Write, text: &str) {
    drop(stream.write_all(text.as_bytes()));
    drop(stream.flush());
}

/// Adds a line to a text.
pub(crate) fn line(text: &mut String, line: fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String cannot fail");
}

/// Colours; taken away again where they do not belong.
pub(crate) mod paint {
    use anstyle::{AnsiColor, Style};

    fn paint(style: Style, text: &str) -> String {
        format!("{style}{text}{style:#}")
    }

    pub(crate) fn error(text: &str) -> String {
        paint(AnsiColor::Red.on_default().bold(), text)
    }

    pub(crate) fn help(text: &str) -> String {
        paint(AnsiColor::Cyan.on_default(), text)
    }

    pub(crate) fn warning(text: &str) -> String {
        paint(AnsiColor::Yellow.on_default().bold(), text)
    }

    pub(crate) fn added(text: &str) -> String {
        paint(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn removed(text: &str) -> String {
        paint(AnsiColor::Red.on_default(), text)
    }

    pub(crate) fn changed(text: &str) -> String {
        paint(AnsiColor::Yellow.on_default(), text)
    }

    pub(crate) fn bold(text: &str) -> String {
        paint(Style::new().bold(), text)
    }

    pub(crate) fn faint(text: &str) -> String {
        paint(Style::new().dimmed(), text)
    }
}
