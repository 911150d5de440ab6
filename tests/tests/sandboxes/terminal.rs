//! What people see, whatever terminal they have.

use e2e::{Sandbox, Terminal, TestEnv, difference, sandbox_with_spec};

/// A terminal of the usual size, and longer than what is shown in it.
const SIZE: (u16, u16) = (80, 400);
const SPEC: &str = "/run/host.kdl";

/// Opens a terminal of a sandbox with an environment.
fn open_terminal(sandbox: &Sandbox, environment: &[&str], arguments: &[&str]) -> Terminal {
    let stead = sandbox.stead_path();
    let mut argv = vec!["env", "-u", "NO_COLOR", "-u", "LC_ALL", "-u", "CI"];
    argv.extend(environment);
    argv.push(&stead);
    argv.extend(arguments);
    Terminal::open(&sandbox.command(&argv), SIZE)
}

/// Returns what a terminal shows at the end, as words: where lines break is its own business.
fn joined_words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn plan_reads_the_same_on_every_terminal() {
    let sandbox = sandbox_with_spec();
    let plan = ["plan", SPEC];
    let piped = joined_words(&sandbox.stead(&plan).out);
    assert!(piped.contains("\"0644\" → \"0640\""), "{piped}");
    for (environment, has_colours, has_unicode) in [
        (&["TERM=tmux-256color", "LANG=C.UTF-8"][..], true, true),
        (
            &["TERM=tmux-256color", "LANG=C.UTF-8", "NO_COLOR=1"],
            false,
            true,
        ),
        (&["TERM=tmux-256color", "LC_ALL=C"], true, false),
        (&["TERM=dumb", "LC_ALL=de_DE.ISO-8859-1"], false, false),
        (&["TERM=dumb", "LC_ALL=C", "CI=true"], false, false),
        (&["TERM=tmux-256color", "LC_ALL=C", "CI=true"], true, false),
    ] {
        let terminal = open_terminal(&sandbox, environment, &plan);
        assert_eq!(terminal.wait_for_exit(), 3);
        let (text, coloured) = (terminal.text(), terminal.coloured());
        assert_eq!(coloured.contains('\u{1b}'), has_colours, "{coloured:?}");
        assert_eq!(!text.is_ascii(), has_unicode, "{text}");
        let said = joined_words(&text).replace("->", "→");
        assert!(said.starts_with(&piped), "{said}\n\n{piped}");
        // Prose is laid out; what is quoted from files is left as it is.
        let prose = text
            .lines()
            .filter(|line| line.contains("may cut the network"));
        assert!(prose.clone().count() >= 2, "{text}");
        assert!(text.contains("may cut the network: iptables-policy:filter/FORWARD: packets that no rule of\n    filter/FORWARD"), "{text}");
    }
}

#[test]
fn apply_reads_the_same_without_cursor_control() {
    for (environment, step) in [
        (
            &["TERM=tmux-256color", "LC_ALL=C.UTF-8"][..],
            "  done  file:/srv/app/text and 1 more (",
        ),
        (
            &["TERM=dumb", "LC_ALL=C"],
            "file:/srv/app/text and 1 more\n",
        ),
    ] {
        let sandbox = sandbox_with_spec();
        let terminal = open_terminal(&sandbox, environment, &["apply", SPEC]);
        terminal.wait_for("Apply this plan? It may cut the network. [y/N]");
        terminal.press(&["y", "Enter"]);
        assert_eq!(terminal.wait_for_exit(), 0);
        let text = terminal.text();
        assert!(text.contains(step), "{text}");
        let done = "8 created, 6 changed, 1 removed in ";
        let end = "Applied and verified (run 1). Undo with `stead undo 1`.\n";
        assert!(text.contains(done) && text.ends_with(end), "{text}");
    }
}

#[test]
fn spec_error_is_shown_on_every_terminal() {
    let sandbox = Sandbox::new();
    sandbox.put(SPEC, "host \"x\" {\n    file \"/srv/é\" mod=\"0644\"\n}\n");
    for (environment, line) in [
        (
            &["TERM=tmux-256color", "LC_ALL=C.UTF-8"][..],
            "2 │     file \"/srv/é\" mod=\"0644\"",
        ),
        (
            &["TERM=dumb", "LC_ALL=C"],
            "2 |     file \"/srv/\\u{e9}\" mod=\"0644\"",
        ),
    ] {
        let terminal = open_terminal(&sandbox, environment, &["validate", SPEC]);
        assert_eq!(terminal.wait_for_exit(), 2);
        let text = terminal.text();
        assert!(text.contains(line), "{text}");
        assert!(text.contains("did you mean `mode`?"), "{text}");
    }
}

#[test]
fn ctrl_c_at_the_prompt_declines() {
    let sandbox = sandbox_with_spec();
    let start = sandbox.fingerprint();
    let terminal = open_terminal(&sandbox, &["TERM=tmux-256color"], &["apply", SPEC]);
    terminal.wait_for("[y/N]");
    terminal.press(&["C-c"]);
    assert_eq!(terminal.wait_for_exit(), 1);
    assert!(terminal.text().ends_with("Nothing was done.\n"));
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
    let history = sandbox.stead(&["history"]);
    assert_eq!(history.err, "There is no run yet.\n");
}

#[test]
fn long_plan_is_folded_unless_verbose() {
    let sandbox = Sandbox::new();
    let files = (0..20).map(|number| format!("    directory \"/srv/{number}\""));
    let files = files.collect::<Vec<_>>().join("\n");
    sandbox.put(SPEC, &format!("host \"x\" {{\n{files}\n}}\n"));
    let count = |said: String| said.matches("+ directory:/srv/").count();
    let folded = sandbox.stead(&["plan", SPEC]);
    assert!(
        folded
            .out
            .contains("+ 12 more of the kind directory; `--verbose` shows them"),
        "{folded:?}"
    );
    assert_eq!(count(folded.out), 8);
    assert_eq!(count(sandbox.stead(&["plan", "--verbose", SPEC]).out), 20);
}

#[test]
fn timings_are_printed_to_stderr() {
    let sandbox = sandbox_with_spec();
    let said = sandbox.stead(&["apply", "--yes", "--timings", SPEC]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let table = said.err.split("Time:\n").nth(1).unwrap();
    let labels: Vec<_> = table
        .lines()
        .map(|line| line.split("  ").nth(1).unwrap().trim())
        .collect();
    for label in [
        "spec",
        "read file",
        "apply file",
        "apply iptables-rule",
        "all",
    ] {
        assert!(labels.contains(&label), "{table}");
    }
}
