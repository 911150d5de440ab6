//! Commands that people ran by sudo, as recorded in the systemd journal: sudoers(5), LOG FORMAT.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use stead_engine::model::drift::Evidence;

use crate::{
    evidence::times::{format_time, from_microseconds},
    host::{ReadOnlyCommand, Reader},
};

/// Editors, which write the file that they are called for if anything.
const EDITORS: [&str; 9] = [
    "ed", "emacs", "joe", "mcedit", "nano", "sudoedit", "vi", "vim", "nvim",
];
/// Programs that write every file that they are called for.
const WRITERS: [&str; 8] = [
    "chgrp", "chmod", "chown", "rm", "sed", "tee", "touch", "truncate",
];
/// Programs that write the last file that they are called for.
const COPIERS: [&str; 4] = ["cp", "install", "ln", "mv"];
/// Programs that do what a text says.
const SHELLS: [&str; 4] = ["sh", "bash", "dash", "zsh"];
/// sudo, and the one in Rust.
const SUDO_PATHS: [&str; 2] = ["/usr/bin/sudo", "/usr/lib/cargo/bin/sudo"];
/// How long a command is taken to last whose end nobody has noted.
const ASSUMED_DURATION: SignedDuration = SignedDuration::from_secs(60);
/// How much the clock of the journal and that of the files may differ.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_millis(100);

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SudoCommand {
    started: Timestamp,
    /// When its session was closed; `None` if it is open.
    ended: Option<Timestamp>,
    /// Who called sudo.
    user: String,
    words: Vec<String>,
}

/// Returns who wrote a file at a time, if a command that writes it was under way then.
pub(super) async fn file_write(
    host: &Reader,
    path: &Path,
    at: Timestamp,
    since: Timestamp,
) -> Option<Evidence> {
    let path = path.to_str()?;
    let is_it = |command: &SudoCommand| {
        let ended = command.ended.unwrap_or(command.started + ASSUMED_DURATION);
        command.writes(path) && command.started - CLOCK_SLACK <= at && at <= ended + CLOCK_SLACK
    };
    last_command(host, since, is_it).await
}

/// Returns who removed a file, if a command did that.
pub(super) async fn file_removal(host: &Reader, path: &Path, since: Timestamp) -> Option<Evidence> {
    let path = path.to_str()?;
    let is_it = |command: &SudoCommand| match command.program() {
        "rm" | "rmdir" | "unlink" => command.mentions(path),
        "mv" => command.mentions(path) && !command.ends_with(path),
        _ => false,
    };
    last_command(host, since, is_it).await
}

/// Returns who called a program with these words beside each other, if somebody did.
pub(crate) async fn program_call(
    host: &Reader,
    since: Timestamp,
    is_program: impl Fn(&str) -> bool,
    words: &[&str],
) -> Option<Evidence> {
    let is_it = |command: &SudoCommand| {
        let arguments: Vec<&str> = command.words.iter().skip(1).map(String::as_str).collect();
        is_program(command.program()) && arguments.windows(words.len()).any(|some| some == words)
    };
    last_command(host, since, is_it).await
}

/// Returns the last command after `since` for which `is_it` holds, as evidence.
async fn last_command(
    host: &Reader,
    since: Timestamp,
    is_it: impl Fn(&SudoCommand) -> bool,
) -> Option<Evidence> {
    if host.root() != Path::new("/") {
        return None;
    }
    let journal = host.query(ReadOnlyCommand::SudoJournal).await.ok()?;
    let commands = parse_journal(&String::from_utf8_lossy(&journal));
    let mut later = commands
        .into_iter()
        .filter(|command| command.started > since);
    let command = later.rfind(is_it)?;
    Some(Evidence::Person {
        fact: format!(
            "sudo {}, {}",
            command.redacted(),
            format_time(command.started)
        ),
        name: command.user,
    })
}

impl SudoCommand {
    /// Returns the name of its program, without the directory.
    fn program(&self) -> &str {
        let path = self.words.first().map_or("", String::as_str);
        let name = path.rsplit('/').next().unwrap_or(path);
        // Debian's editors have variants: vim.tiny, vim.basic.
        name.split('.').next().unwrap_or(name)
    }

    /// Returns its words, without texts that it writes: those may be secrets.
    fn redacted(&self) -> String {
        match self.program() {
            "sed" => format!("{} …", self.words[0]),
            program if SHELLS.contains(&program) => format!("{} …", self.words[0]),
            _ => self.words.join(" "),
        }
    }

    fn mentions(&self, path: &str) -> bool {
        self.words.iter().skip(1).any(|word| word == path)
    }

    fn ends_with(&self, path: &str) -> bool {
        self.words.last().is_some_and(|word| word == path)
    }

    /// Whether it writes a file, as far as its words say that.
    fn writes(&self, path: &str) -> bool {
        let words = &self.words;
        let is_told = |pair: &[String]| matches!(pair[0].as_str(), ">" | ">>") && pair[1] == path;
        let glued = [">", ">>", "of="].map(|sign| format!("{sign}{path}"));
        match self.program() {
            "sed" if !words.iter().any(|word| word.starts_with("-i")) => false,
            program if SHELLS.contains(&program) => {
                words.windows(2).any(is_told) || words.iter().any(|word| glued[..2].contains(word))
            }
            "dd" => words.contains(&glued[2]),
            program if COPIERS.contains(&program) => self.ends_with(path),
            program => {
                (WRITERS.contains(&program) || EDITORS.contains(&program)) && self.mentions(path)
            }
        }
    }
}

/// Reads the entries of sudo in the journal of systemd, one JSON document a line, oldest first.
fn parse_journal(journal: &str) -> Vec<SudoCommand> {
    let mut commands: Vec<(String, SudoCommand)> = vec![];
    for line in journal.lines() {
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        // Fields with this mark come from the kernel, and nobody can write others into them: systemd.journal-fields(7).
        let is_of_sudo = SUDO_PATHS.contains(&text("_EXE"));
        let Some(at) = text("__REALTIME_TIMESTAMP")
            .parse()
            .ok()
            .and_then(from_microseconds)
        else {
            continue;
        };
        let process = format!("{} {}", text("_BOOT_ID"), text("_PID"));
        if let Some((user, words)) = parse_message(text("MESSAGE")).filter(|_| is_of_sudo) {
            let command = SudoCommand {
                started: at,
                ended: None,
                user,
                words,
            };
            commands.push((process, command));
        } else if text("MESSAGE").contains("session closed for user") {
            let mut open = commands.iter_mut().rev();
            if let Some((_, command)) = open.find(|(other, _)| *other == process) {
                command.ended = Some(at);
            }
        }
    }
    commands.into_iter().map(|(_, command)| command).collect()
}

/// Takes the message about a command that was allowed apart: who, and its words.
fn parse_message(message: &str) -> Option<(String, Vec<String>)> {
    let (person, rest) = message.trim_start().split_once(" : ")?;
    let (about, command) = rest.split_once("COMMAND=")?;
    // What stands before these says why it was not allowed.
    let is_allowed = about.starts_with("TTY=") || about.starts_with("PWD=");
    let is_root = about.contains("USER=root ");
    let words = command.split_whitespace().map(str::to_owned).collect();
    (is_allowed && is_root).then(|| (person.to_owned(), words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: u64, process: u32, message: &str) -> String {
        serde_json::json!({
            "__REALTIME_TIMESTAMP": (second * 1_000_000).to_string(),
            "_EXE": "/usr/bin/sudo",
            "_BOOT_ID": "b",
            "_PID": process.to_string(),
            "MESSAGE": message,
        })
        .to_string()
    }

    const BEGIN: &str =
        "   alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/vim.basic /etc/motd";
    const OPEN: &str =
        "pam_unix(sudo:session): session opened for user root(uid=0) by alice(uid=1000)";
    const CLOSE: &str = "pam_unix(sudo:session): session closed for user root";

    #[test]
    fn sudo_command_ends_with_its_session() {
        let journal = [
            entry(1, 7, BEGIN),
            entry(1, 7, OPEN),
            entry(2, 8, CLOSE),
            entry(5, 7, CLOSE),
        ]
        .join("\n");
        let [command] = &parse_journal(&journal)[..] else {
            panic!("one command")
        };
        assert_eq!(command.user, "alice");
        assert_eq!(command.program(), "vim");
        let second = |at: Option<Timestamp>| at.map(Timestamp::as_second);
        assert_eq!(second(Some(command.started)), Some(1));
        assert_eq!(second(command.ended), Some(5));
    }

    #[test]
    fn commands_skips_refused_and_forged_entries() {
        let refused = BEGIN.replace("TTY", "command not allowed ; TTY");
        let other = BEGIN.replace("USER=root", "USER=bob");
        let forged = entry(1, 7, BEGIN).replace("/usr/bin/sudo", "/home/alice/sudo");
        let journal = [entry(1, 1, &refused), entry(1, 2, &other), forged].join("\n");
        assert_eq!(parse_journal(&journal), []);
        assert_eq!(parse_journal("no journal"), []);
    }

    fn check(words: &str, expected: bool) {
        let command = SudoCommand {
            started: Timestamp::UNIX_EPOCH,
            ended: None,
            user: String::new(),
            words: words.split(' ').map(str::to_owned).collect(),
        };
        assert_eq!(command.writes("/etc/motd"), expected, "{words}");
        let is_told = command.redacted().contains("hunter2");
        assert!(!is_told, "{}", command.redacted());
    }

    #[test]
    fn command_writes_file_only_if_its_arguments_say_so() {
        check("/usr/bin/nano /etc/motd", true);
        check("sudoedit /etc/motd", true);
        check("/usr/bin/tee -a /etc/motd", true);
        check("/usr/bin/sed -i s/a/b/ /etc/motd", true);
        check("/usr/bin/sed s/a/b/ /etc/motd", false);
        check("/usr/bin/bash -c echo hunter2 > /etc/motd", true);
        check("/usr/bin/sed -i s/a/hunter2/ /etc/motd", true);
        check("/usr/bin/bash -c echo x >/etc/motd", true);
        check("/usr/bin/bash -c cat /etc/motd", false);
        check("/usr/bin/cp /root/motd /etc/motd", true);
        check("/usr/bin/cp /etc/motd /root/motd", false);
        check("/usr/bin/dd if=/dev/zero of=/etc/motd", true);
        check("/usr/bin/cat /etc/motd", false);
        check("/usr/bin/nano /etc/motd.d", false);
        check("/usr/bin/bash", false);
    }
}
