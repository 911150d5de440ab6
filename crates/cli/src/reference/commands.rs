//! The page of the guide about commands.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

use crate::{
    args::Args,
    exit::Exit,
    reference::page::{GENERATED_NOTE, cell},
};

/// Returns the page.
pub(super) fn page() -> String {
    let mut whole = Args::command().disable_help_subcommand(true);
    whole.build();
    let mut text = format!(
        "{GENERATED_NOTE}# Commands\n\n`stead` acts on the host it runs on. Root is needed to change things, and to read what only root may read; \
         a plan without root names what it could not read. `stead man --out DIR` writes the same pages as manual pages.\n\n\
         Options of every command:\n\n"
    );
    let global = whole.get_arguments();
    options(
        &mut text,
        global.filter(|argument| argument.is_global_set()),
    );
    text.push_str("\nData goes to standard output, progress and messages to standard error.\n\n## Exit codes\n\n");
    text.push_str("The same for every command.\n\n| exit code | meaning |\n|---|---|\n");
    for (exit, meaning) in Exit::MEANINGS {
        writeln!(text, "| {} | {} |", exit as u8, cell(meaning)).unwrap();
    }
    let commands = whole.get_subcommands();
    for command in commands.filter(|command| !command.is_hide_set()) {
        text.push_str(&section(command));
    }
    text
}

fn section(command: &Command) -> String {
    let name = command.get_name();
    let about = command.get_about().map(ToString::to_string);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut text = format!(
        "\n## {name}\n\n{}.\n\n```text\n{usage}\n```\n\n",
        about.unwrap_or_default()
    );
    let own: Vec<_> = command
        .get_arguments()
        .filter(|argument| !argument.is_global_set())
        .collect();
    options(&mut text, own.into_iter());
    text
}

fn options<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let ours = |argument: &&Arg| !argument.is_hide_set() && argument.get_id() != "help";
    let rows: Vec<_> = arguments.filter(ours).map(row).collect();
    if !rows.is_empty() {
        writeln!(text, "| option | meaning |\n|---|---|\n{}", rows.join("\n")).unwrap();
    }
}

fn row(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let value = names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let value = value.join(" ");
    let takes = argument.get_action().takes_values();
    let name = match (argument.get_long(), argument.get_short()) {
        (Some(long), _) if takes => format!("`--{long} {value}`"),
        (Some(long), Some(short)) => format!("`--{long}`, `-{short}`"),
        (Some(long), None) => format!("`--{long}`"),
        (None, _) if argument.is_required_set() => format!("`{value}`"),
        (None, _) => format!("`[{value}]`"),
    };
    let mut help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let possible = argument.get_possible_values();
    if takes && possible.len() > 1 {
        let words = possible.iter().map(|word| {
            let meaning = word.get_help().map(|help| format!(" ({help})"));
            format!("`{}`{}", word.get_name(), meaning.unwrap_or_default())
        });
        write!(help, ": {}", words.collect::<Vec<_>>().join(", ")).unwrap();
    }
    let defaults = argument.get_default_values();
    if takes && !defaults.is_empty() {
        let defaults: Vec<_> = defaults.iter().map(|text| text.to_string_lossy()).collect();
        write!(help, " [default: {}]", defaults.join(" ")).unwrap();
    }
    format!("| {} | {}. |", cell(&name), cell(&help))
}
