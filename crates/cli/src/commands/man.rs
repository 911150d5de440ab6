//! `stead man`.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};
use stead_resources::host::Writer;

use crate::{args::Args, error::CommandError, exit::Exit, render};

/// Where stead has something of its own.
const FILES: [(&str, &str); 6] = [
    ("./host.kdl", "the spec, if none is given"),
    (
        "/etc/stead/host.kdl",
        "the spec, if ./host.kdl does not exist",
    ),
    (
        "/etc/stead/import-ignore.kdl",
        "what `stead import` ignores, with reasons",
    ),
    (
        "/var/lib/stead",
        "the runs and what undo needs, readable only by root; another directory with --state-dir or STEAD_STATE_DIR",
    ),
    (
        "/run/stead",
        "the lock, and the arguments that services were started with",
    ),
    (
        "/etc/systemd/system/stead-*",
        "units of hooks, and the watchdog of a run that waits to be confirmed",
    ),
];

/// Whose pages say more.
const SEE_ALSO: [&str; 5] = [
    "iptables(8)",
    "snap(8)",
    "sysctl(8)",
    "systemctl(1)",
    "systemd-nspawn(1)",
];

/// Prints the manual page, or writes the pages of all commands.
pub(crate) fn man(out: Option<&Path>) -> Result<Exit, CommandError> {
    let Some(dir) = out else {
        let whole = build_command();
        render::print_data(&page(&whole, &whole));
        return Ok(Exit::Done);
    };
    let wrong = |error: &dyn std::fmt::Display| {
        let message = format!("cannot write into `{}`: {error}", dir.display());
        CommandError::usage(message, "give a directory that exists")
    };
    let real = canonical_dir(dir).map_err(|error| wrong(&error))?;
    let writer = Writer::new(&real, &real);
    for (name, text) in pages() {
        writer
            .write_text(&Path::new("/").join(&name), text.as_bytes(), 0o644)
            .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
        render::eprint_message(&format!("Wrote {}.\n", dir.join(name).display()));
    }
    Ok(Exit::Done)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pages are output, not the host"
)]
fn canonical_dir(dir: &Path) -> std::io::Result<std::path::PathBuf> {
    let real = dir.canonicalize()?;
    if real.is_dir() {
        Ok(real)
    } else {
        Err(std::io::ErrorKind::NotADirectory.into())
    }
}

/// Returns what can be typed, as the pages show it.
fn build_command() -> Command {
    let mut whole = Args::command().disable_help_subcommand(true);
    whole.build();
    whole
}

/// Returns the commands that people type.
fn visible_subcommands(whole: &Command) -> impl Iterator<Item = &Command> {
    let commands = whole.get_subcommands();
    commands.filter(|command| !command.is_hide_set())
}

/// Returns all pages, each with the name of its file.
fn pages() -> Vec<(String, String)> {
    let whole = build_command();
    let commands = std::iter::once(&whole).chain(visible_subcommands(&whole));
    let named = commands.map(|command| {
        let name = command
            .get_display_name()
            .unwrap_or_else(|| command.get_name());
        (format!("{name}.1"), page(&whole, command))
    });
    named.collect()
}

/// Returns the page of a command, or that of the whole.
fn page(whole: &Command, command: &Command) -> String {
    let is_whole = command.get_name() == whole.get_name();
    let man = Man::new(command.clone())
        .source(format!("stead {}", env!("CARGO_PKG_VERSION")))
        .manual("stead");
    let mut text = vec![];
    let write = |text: &mut Vec<u8>| {
        man.render_title(text)?;
        man.render_name_section(text)?;
        man.render_synopsis_section(text)?;
        man.render_description_section(text)?;
        man.render_options_section(text)?;
        if is_whole {
            man.render_subcommands_section(text)?;
        }
        sections(whole, command).to_writer(text)
    };
    write(&mut text).expect("writing into memory cannot fail");
    String::from_utf8(text).expect("what can be typed is UTF-8")
}

/// Returns what the code of clap does not know.
fn sections(whole: &Command, command: &Command) -> Roff {
    let is_whole = command.get_name() == whole.get_name();
    let mut roff = Roff::default();
    roff.control("SH", ["EXIT STATUS"]);
    if is_whole {
        for (exit, meaning) in Exit::MEANINGS {
            push_entry(&mut roff, &(exit as u8).to_string(), meaning);
        }
        roff.control("SH", ["FILES"]);
        for (path, meaning) in FILES {
            push_entry(&mut roff, path, meaning);
        }
    } else {
        roff.text([roman("The same for every command; see stead(1).")]);
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut pages: Vec<_> = if is_whole {
        let own =
            visible_subcommands(whole).map(|command| format!("stead-{}(1)", command.get_name()));
        own.chain(SEE_ALSO.map(str::to_owned)).collect()
    } else {
        vec!["stead(1)".to_owned()]
    };
    pages.sort();
    roff.text([roman(pages.join(", "))]);
    roff
}

fn push_entry(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(meaning)]);
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, process::Stdio};

    use super::*;

    #[test]
    fn man_pages_cover_exactly_the_visible_commands() {
        let names: Vec<_> = pages().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names[0], "stead.1");
        assert!(names.contains(&"stead-plan.1".to_owned()), "{names:?}");
        assert!(!names.contains(&"stead-clone.1".to_owned()), "{names:?}");
        assert!(!names.contains(&"stead-help.1".to_owned()), "{names:?}");
        assert_eq!(
            names.len(),
            visible_subcommands(&build_command()).count() + 1
        );
    }

    #[test]
    fn man_pages_have_sections_in_order_and_list_subcommands() {
        for (name, text) in pages() {
            let sections = text.lines().filter_map(|line| line.strip_prefix(".SH "));
            let sections: Vec<_> = sections.map(|section| section.replace('"', "")).collect();
            let own = if name == "stead.1" {
                vec!["SUBCOMMANDS", "EXIT STATUS", "FILES", "SEE ALSO"]
            } else {
                vec!["EXIT STATUS", "SEE ALSO"]
            };
            let begin = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"];
            assert_eq!(sections, [begin.as_slice(), &own].concat(), "{name}");
            if name == "stead.1" {
                for command in visible_subcommands(&build_command()) {
                    let other = format!("stead\\-{}(1)", command.get_name());
                    let listed = text.matches(&other).count();
                    assert_eq!(listed, 2, "{other} is a subcommand and in SEE ALSO");
                }
            }
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test asks a formatter")]
    fn groff_accepts_man_pages_without_warnings() {
        for (name, text) in pages() {
            let groff = std::process::Command::new("groff")
                .args(["-man", "-ww", "-z"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let mut groff = groff.expect("groff is installed: `make test` does it");
            let mut input = groff.stdin.take().unwrap();
            input.write_all(text.as_bytes()).unwrap();
            drop(input);
            let output = groff.wait_with_output().unwrap();
            assert!(output.status.success(), "{name}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said, "", "{name}");
        }
    }
}
