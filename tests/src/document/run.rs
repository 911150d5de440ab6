//! A page that is done: its files are put down, its commands run, and what they say is compared.

use std::{fmt::Write as _, fs, os::unix::fs::symlink, path::Path};

use similar::TextDiff;
use snapbox::{Data, IntoData, filter::NormalizeToExpected};

use super::{Block, BlockKind, Page, handwritten_pages, repository};
use crate::{Image, test_env::TestEnv};

/// Where the files of a page are, and where its commands run.
const PAGE_DIR: &str = "/srv/page";
/// The page that a newcomer reads.
const README: &str = "README.md";

/// Does what all pages show of one kind of place, each in a new one that `open` makes. With `UPDATE` the pages say then what came of it.
/// What the README shows of a host is left to [`run_as`].
///
/// # Panics
/// If something else comes of it than they show.
pub fn run_all<P: TestEnv>(host: Option<Image>, open: impl Fn() -> P) {
    let mut all = vec![];
    for page in handwritten_pages() {
        let is_run = |block: &Block| block.kind == BlockKind::Console(host);
        let is_left = host.is_some() && page.path == Path::new(README);
        if is_left || !page.blocks().iter().any(is_run) {
            continue;
        }
        all.extend(run_or_update(&page, &open(), host, None));
    }
    assert_no_differences(&all);
}

/// Does what the README shows of a host as a person of that name, who has to type `sudo` where it is needed.
///
/// # Panics
/// If something else comes of it than the README shows.
pub fn run_as(person: &str, place: &impl TestEnv, host: Image) {
    let page = Page::read(README);
    assert_no_differences(&run_or_update(&page, place, Some(host), Some(person)));
}

/// Runs a page and returns the differences, or writes them into the page.
fn run_or_update(
    page: &Page,
    place: &impl TestEnv,
    host: Option<Image>,
    person: Option<&str>,
) -> Vec<String> {
    let (rewritten, differences) = run_page(page, place, host, person);
    if std::env::var_os("UPDATE").is_none() {
        return differences;
    }
    fs::write(repository().join(&page.path), rewritten.text).unwrap();
    vec![]
}

fn assert_no_differences(all: &[String]) {
    assert!(
        all.is_empty(),
        "{}\n`make docs` writes down what comes of it now",
        all.join("\n")
    );
}

/// Does what a page shows for one kind of place, and returns the page as it would be if all it showed were so, with the differences.
fn run_page(
    page: &Page,
    place: &impl TestEnv,
    host: Option<Image>,
    person: Option<&str>,
) -> (Page, Vec<String>) {
    fs::create_dir_all(place.outside_path(PAGE_DIR)).unwrap();
    // A sandbox sees the files of this machine, and so the examples.
    drop(symlink(
        repository().join("examples"),
        place.outside_path(&format!("{PAGE_DIR}/examples")),
    ));
    if let Some(person) = person {
        place.run_ok(&["chown", person, PAGE_DIR]);
    }
    let mut shell = Shell {
        place,
        person,
        last_code: 0,
        targets: make_targets(),
    };
    let mut rewritten = page.clone();
    let mut differences = vec![];
    let mut shift = 0_isize;
    for block in page.blocks() {
        let text = page.text_of(&block);
        match &block.kind {
            BlockKind::File(name) => place.put(&format!("{PAGE_DIR}/{name}"), text),
            BlockKind::Setup(on) if *on == host => {
                for (command, _) in commands_with_output(text) {
                    let said = shell.run_line_as_root(&command);
                    assert_eq!(
                        shell.last_code,
                        0,
                        "{}: {command}: {said}",
                        page.path.display()
                    );
                }
            }
            BlockKind::Console(on) if *on == host => {
                let mut new = String::new();
                let parts = commands_with_output(text);
                assert!(
                    !parts.is_empty(),
                    "{}: no `$ `:\n{text}",
                    page.path.display()
                );
                for (command, expected) in parts {
                    let said = shell.run_line(&command);
                    writeln!(new, "$ {command}").unwrap();
                    if matches_shown(&said, &expected) {
                        new.push_str(&expected);
                    } else {
                        new.push_str(&said);
                        let diff = TextDiff::from_lines(&expected, &said);
                        let place = page.path.display();
                        differences.push(format!("{place}: $ {command}\n{}", diff.unified_diff()));
                    }
                }
                let moved = |at: usize| at.checked_add_signed(shift).unwrap();
                let range = moved(block.range.start)..moved(block.range.end);
                shift += isize::try_from(new.len()).unwrap()
                    - isize::try_from(block.range.len()).unwrap();
                rewritten.text.replace_range(range, &new);
            }
            _ => {}
        }
    }
    (rewritten, differences)
}

/// Returns the commands of a block, each with what it says.
fn commands_with_output(text: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = vec![];
    for line in text.split_inclusive('\n') {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.trim_end().to_owned(), String::new()));
        } else if let Some((_, said)) = commands.last_mut() {
            said.push_str(line);
        }
    }
    commands
}

struct Shell<'a, T> {
    place: &'a T,
    /// Who types; root if nobody is named.
    person: Option<&'a str>,
    /// How the last command ended.
    last_code: i32,
    targets: Vec<String>,
}

impl<T: TestEnv> Shell<'_, T> {
    /// Runs a line and returns what it says on both streams.
    fn run_line(&mut self, line: &str) -> String {
        self.run_line_as(self.person, line)
    }

    /// Runs a line of a comment as root.
    fn run_line_as_root(&mut self, line: &str) -> String {
        self.run_line_as(None, line)
    }

    fn run_line_as(&mut self, person: Option<&str>, line: &str) -> String {
        let line = match person {
            Some(_) => line.to_owned(),
            None => line.replace("sudo ", ""),
        };
        if let Some(targets) = line.strip_prefix("make ") {
            for target in targets.split(' ') {
                let is_known = self.targets.iter().any(|known| known == target);
                assert!(is_known, "the Makefile has no {target}");
            }
            return String::new();
        }
        let stead = self.place.stead_path();
        let (dir, _) = stead.rsplit_once('/').unwrap();
        let script = format!(
            "exec 2>&1\ncd {PAGE_DIR}\nPATH=$PATH:/usr/sbin:/sbin:{dir}\n(exit {})\n{line}\n",
            self.last_code
        );
        let shell = ["sh", "-c", script.as_str()];
        let said = match person {
            Some(person) => {
                let argv = [&["runuser", "-u", person, "--"][..], &shell].concat();
                self.place.run(&argv)
            }
            None => self.place.run(&shell),
        };
        self.last_code = said.code.unwrap_or(255);
        let mut out = said.out;
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out
    }
}

fn make_targets() -> Vec<String> {
    let makefile = fs::read_to_string(repository().join("Makefile")).unwrap();
    let targets = makefile.lines().filter_map(|line| line.split_once(": "));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// Whether something was said as it is shown, but for what is another each time.
fn matches_shown(said: &str, shown: &str) -> bool {
    let shown = normalize(shown).into_data().raw();
    let said: Data = normalize(said).into_data().raw();
    let said = NormalizeToExpected::new().redact().normalize(said, &shown);
    said == shown
}

/// Replaces digests, times, durations, amounts of memory and numbers of processes, which are others each time.
fn normalize(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let mut steady: Vec<String> = vec![];
        for (at, word) in words.iter().enumerate() {
            let before = at.checked_sub(1).map_or("", |before| words[before]);
            let after = words.get(at + 1).unwrap_or(&"");
            steady.push(normalize_word(before, word, after));
        }
        let steady = steady.join(" ");
        // Not every step has a figure of its own for memory, and what takes milliseconds takes seconds on a busy machine.
        steady.replace(", ~ MB", "").replace("~ ms", "~ s") + "\n"
    });
    lines.collect()
}

fn normalize_word(before: &str, word: &str, after: &str) -> String {
    let core = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    let unit = after.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    let digits = |text: &str| !text.is_empty() && text.chars().all(|it| it.is_ascii_digit());
    let is_number = digits(&core.replacen('.', "", 1));
    let is_date = core.len() == 10 && digits(&core.replace('-', "")) && core.contains('-');
    let is_time = core.len() == 8 && digits(&core.replace(':', "")) && core.contains(':');
    let is_digest = before.ends_with("sha256") && core.len() == 12;
    let is_amount = is_number && ["ms", "s", "MB", "GB"].contains(&unit);
    let is_process = is_number && before.ends_with("process");
    if is_digest || is_date || is_time || is_amount || is_process {
        word.replace(core, "~")
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_block_splits_into_commands_and_output() {
        let owned = |command: &str, said: &str| (command.to_owned(), said.to_owned());
        assert_eq!(
            commands_with_output("$ one\na\n\nb\n$ two\n"),
            [owned("one", "a\n\nb\n"), owned("two", "")]
        );
    }

    #[test]
    fn comparison_ignores_volatile_values() {
        for (said, shown, is_so) in [
            (
                "(4 resources read in 12 ms).\n",
                "(4 resources read in 9 ms).\n",
                true,
            ),
            (
                "(4 resources read in 1.2 s).\n",
                "(4 resources read in 9 ms).\n",
                true,
            ),
            (
                "(5 resources read in 12 ms).\n",
                "(4 resources read in 12 ms).\n",
                false,
            ),
            (
                "contents  sha256 0123456789ab\n",
                "contents  sha256 ba9876543210\n",
                true,
            ),
            (
                "contents  sha256 0123456789ab\n",
                "contents  sha256\n",
                false,
            ),
            (
                "since 2026-11-25 12:03:11 UTC)\n",
                "since 2027-01-02 01:02:03 UTC)\n",
                true,
            ),
            ("run 3 failed\n", "run 4 failed\n", false),
            ("0 B to download\n", "1 B to download\n", false),
            (
                "done  hook:boot (102 ms, 57 MB)\n",
                "done  hook:boot (9 ms, 8 MB)\n",
                true,
            ),
            (
                "done  hook:boot (102 ms)\n",
                "done  hook:boot (9 ms, 8 MB)\n",
                true,
            ),
            (
                "by iptables (process 4711)\n",
                "by iptables (process 12)\n",
                true,
            ),
            ("a\nb\nc\n", "a\n...\nc\n", true),
            ("a\nb\n", "a\n", false),
            ("a\n", "a\nb\n", false),
            ("\n", "", false),
            ("a b c\n", "a [..] c\n", true),
        ] {
            assert_eq!(matches_shown(said, shown), is_so, "{said}{shown}");
        }
    }
}
