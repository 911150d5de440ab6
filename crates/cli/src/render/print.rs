//! Writing to standard output and standard error, lines and colours.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
};

use crate::render::terminal::to_terminal_charset;

/// Writes data to standard output, as it is: programs and files read it.
pub(crate) fn print_data(text: &str) {
    write(anstream::stdout(), text);
}

/// Writes what people asked for to standard output.
pub(crate) fn print_text(text: &str) {
    write(
        anstream::stdout(),
        &to_terminal_charset(text, &io::stdout()),
    );
}

/// Writes a message for people to standard error.
pub(crate) fn eprint_message(text: &str) {
    write(
        anstream::stderr(),
        &to_terminal_charset(text, &io::stderr()),
    );
}

/// Whoever reads may have gone away; a run goes on without them.
fn write(mut stream: impl Write, text: &str) {
    drop(stream.write_all(text.as_bytes()));
    drop(stream.flush());
}

/// Adds a line to a text.
pub(crate) fn push_line(text: &mut String, line: fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String cannot fail");
}

/// Colours; taken away again where they do not belong.
pub(crate) mod style {
    use anstyle::{AnsiColor, Style};

    fn styled(style: Style, text: &str) -> String {
        format!("{style}{text}{style:#}")
    }

    pub(crate) fn error(text: &str) -> String {
        styled(AnsiColor::Red.on_default().bold(), text)
    }

    pub(crate) fn help(text: &str) -> String {
        styled(AnsiColor::Cyan.on_default(), text)
    }

    pub(crate) fn warning(text: &str) -> String {
        styled(AnsiColor::Yellow.on_default().bold(), text)
    }

    pub(crate) fn added(text: &str) -> String {
        styled(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn removed(text: &str) -> String {
        styled(AnsiColor::Red.on_default(), text)
    }

    pub(crate) fn changed(text: &str) -> String {
        styled(AnsiColor::Yellow.on_default(), text)
    }

    pub(crate) fn bold(text: &str) -> String {
        styled(Style::new().bold(), text)
    }

    pub(crate) fn faint(text: &str) -> String {
        styled(Style::new().dimmed(), text)
    }
}
