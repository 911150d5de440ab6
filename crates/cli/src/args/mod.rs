//! What can be typed.

pub(crate) mod parse;
pub(crate) mod sources;

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use stead_engine::{plan::document::Scope, run::confirm::Confirm};

use crate::{args::sources::Sources, exit::Exit};

/// Brings this host to the state that a KDL file describes, shows first what it would change, and puts it back when it fails.
#[derive(Debug, Parser)]
#[command(name = "stead", version, max_term_width = 100, after_help = codes())]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) extent: Extent,
}

/// Says what exit codes mean, in one line.
fn codes() -> String {
    let meanings = Exit::MEANINGS.map(|(exit, meaning)| format!("{} {meaning}", exit as u8));
    format!("Exit codes: {}.", meanings.join("; "))
}

/// Where things are.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Folder of the runs and of what undo needs
    #[arg(
        long,
        global = true,
        env = "STEAD_STATE_DIR",
        value_name = "DIR",
        hide_env = true
    )]
    pub(crate) state_dir: Option<PathBuf>,
    /// Root folder of the host
    #[arg(long, global = true, hide = true, default_value = "/")]
    pub(crate) root: PathBuf,
}

/// How much is said.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Extent {
    /// Show long plans and long texts whole
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// Say at the end what took how long
    #[arg(long, global = true)]
    pub(crate) timings: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what would change and why; writes nothing
    Plan(Plan),
    /// Plan, ask, apply and verify; on failure roll back
    Apply(Apply),
    /// Try a spec on a clone of this host, which is thrown away; the host itself stays as it is
    Rehearse(Rehearse),
    /// What a rehearsal runs in its clone and around it
    #[command(hide = true, subcommand)]
    Clone(Clone),
    /// Write this host down as a spec whose plan is empty, and say what became of the rest
    Import(Import),
    /// Find what is known to go wrong on such hosts, say why, and how to mend it; writes nothing
    Doctor(Doctor),
    /// Check a spec without looking at the host
    Validate(AnySpec),
    /// Plan specs on hosts that were written down, and compare with the plans that must result; looks at no host
    Test(Test),
    /// Lay out spec files in the one way
    Fmt(Fmt),
    /// Talk to an editor about specs: mistakes as one types, completion, explanations; on standard input and output, writes nothing
    Lsp(Lsp),
    /// Draw what needs what
    Graph(Graph),
    /// Show what a spec may ask about this host: `(fact)"memory"`, `when fact="cloud" is="azure"`
    Facts {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// List the kinds of resource
    Kinds(Kinds),
    /// Explain a kind, what `doctor` may find, or one resource: why it is wanted so, where that was read, and what runs did to it
    Explain(Explain),
    /// List the runs
    History(History),
    /// Show one run: what it planned, did and left
    Show {
        /// Its number
        run: u64,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Take one run back
    Undo {
        /// Its number
        run: u64,
        #[command(flatten)]
        consent: Consent,
    },
    /// Finish what an interrupted run left: put the host back
    Recover {
        /// Print a JSON line for each event
        #[arg(long)]
        json: bool,
    },
    /// Keep the run that waits to be confirmed
    Confirm {
        /// Print a JSON line for each event
        #[arg(long)]
        json: bool,
    },
    /// Take back the run that waits to be confirmed, now
    Revert(Revert),
    /// Bring back what was applied as soon as something overwrites it: settings of the kernel, arguments, services
    Watch(Watch),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands
    Man {
        /// Write `stead.1` and a page for each command, such as `stead-plan.1`, into DIR
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Spec {
    /// The spec [default: ./host.kdl, then /etc/stead/host.kdl]
    pub(crate) spec: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) values: Values,
}

/// Values for the variables of a spec.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Values {
    /// Give a variable of the spec a value
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::assignment)]
    pub(crate) var: Vec<String>,
    /// Give variables the values that FILE has, each as a line like `dns "9.9.9.9"`; `--var` counts more
    #[arg(long, value_name = "FILE")]
    pub(crate) vars: Vec<PathBuf>,
}

impl Values {
    /// Whether nothing is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.var.is_empty() && self.vars.is_empty()
    }
}

/// A spec that may be meant for another host.
#[derive(Debug, clap::Args)]
pub(crate) struct AnySpec {
    #[command(flatten)]
    pub(crate) spec: Spec,
    /// Take the facts from FILE, as `stead facts --json` prints them, instead of from this host
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) spec: Spec,
    /// Save the plan, to be applied as it is: `stead apply FILE`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print the plan as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// What to print the plan as
    #[arg(long, value_enum, default_value_t = Layout::Text, conflicts_with = "json")]
    pub(crate) format: Layout,
    #[command(flatten)]
    pub(crate) only: Only,
}

/// What a plan is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// For people
    Text,
    /// A comment of a merge request, for GitHub and GitLab
    Markdown,
    /// A Code Quality report, for GitLab
    Gitlab,
    /// A JUnit report: what would change has failed
    Junit,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rehearse {
    #[command(flatten)]
    pub(crate) spec: Spec,
    /// Reboot the clone too, and see that everything is still as described
    #[arg(long)]
    pub(crate) reboot: bool,
    /// Kill the run in each step, one after the other, and see that the clone is as before after `stead recover`
    #[arg(long, alias = "fault", value_name = "STEP", value_parser = ["all"])]
    pub(crate) kill_at: Option<String>,
    /// Keep what the clone writes in this folder while it lives [default: in memory]
    #[arg(long, alias = "layers", value_name = "DIR")]
    pub(crate) overlay_dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a rehearsal runs in its clone and around it.
#[derive(Debug, Subcommand)]
pub(crate) enum Clone {
    /// Make the clone and do everything: in mount and PID namespaces of its own
    Hold(Rehearse),
    /// Go into the clone and become another program
    Enter {
        /// The file that takes whoever writes to it into a cgroup of the clone
        cgroup: PathBuf,
        /// The init of the clone
        init: u32,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        argv: Vec<OsString>,
    },
    /// Be a clone without an init, in namespaces of its own
    Idle {
        /// Its root folder
        root: PathBuf,
        /// Pairs of what is shown in it and where
        shown: Vec<PathBuf>,
    },
    /// Print what the host looks like, as JSON
    Look,
    /// Make settings hold that standard input has as JSON
    Set,
    /// Plan what standard input has as JSON
    Plan,
    /// Carry out the plan that the first line of standard input has, and wait for another line after each event
    Apply,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the spec that mends what was found, and the plan of it
    #[arg(long, alias = "fix", conflicts_with = "json")]
    pub(crate) show_fix: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Write the spec to FILE, what concerns this machine alone to FILE-own.kdl, and large files into FILE.d [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Write these alone; `KIND:BEGINNING*` means several
    #[arg(long, value_name = "KIND[:NAME]")]
    pub(crate) only: Vec<String>,
    /// Write all but these
    #[arg(long, value_name = "KIND[:NAME]")]
    pub(crate) except: Vec<String>,
    /// Write only what SPEC does not say yet
    #[arg(long, alias = "against", value_name = "SPEC")]
    pub(crate) missing_from: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) values: Values,
    /// Pass over what this file names, with its reasons [default: /etc/stead/import-ignore.kdl, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) from: Sources,
    /// Print one JSON document: what became of everything, and the specs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Only {
    /// Look at these alone, not at what they need
    #[arg(long, value_name = "KIND[:NAME]")]
    pub(crate) only: Vec<String>,
}

/// Returns of how much of a spec a plan with `--only` is.
pub(crate) fn scope(only: &[String]) -> Scope {
    if only.is_empty() {
        Scope::Whole
    } else {
        Scope::Part
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Consent {
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print a JSON line for each event; the last one is the outcome
    #[arg(long)]
    pub(crate) json: bool,
    /// Take everything back unless `stead confirm` comes in time: `2m`, `90s`; `auto` or `auto,90s` confirms by itself once it is known that
    /// you still get in; `off` [default: auto if the plan may cut the network and you came over SSH, else off]
    #[arg(long, value_name = "TIME", value_parser = parse::confirm)]
    pub(crate) confirm: Option<Confirm>,
    /// Carry out what cannot be undone, too, without being asked
    #[arg(long)]
    pub(crate) allow_irreversible: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Revert {
    /// Do so only if that is due: what the timer calls
    #[arg(long, value_name = "RUN", hide = true)]
    pub(crate) unless_confirmed: Option<u64>,
    /// Print a JSON line for each event
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Look once and end; what the hooks `boot` and `snap-refresh` run
    #[arg(long)]
    pub(crate) once: bool,
    /// What a hook runs for: the instance of its unit
    #[arg(long, value_name = "REASON", requires = "once", hide = true)]
    pub(crate) because: Option<String>,
    /// Also write figures for Prometheus to this file, for instance below the folder that its node exporter reads
    #[arg(long, value_name = "FILE", conflicts_with = "once")]
    pub(crate) metrics: Option<PathBuf>,
    /// Print a JSON line for each event; the last one is the outcome
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Apply {
    /// The spec or a saved plan [default: ./host.kdl, then /etc/stead/host.kdl]
    pub(crate) spec: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) values: Values,
    #[command(flatten)]
    pub(crate) consent: Consent,
    /// Refuse a plan that downloads more, for instance 50M
    #[arg(long, value_name = "BYTES", value_parser = parse::bytes)]
    pub(crate) max_download: Option<u64>,
    /// Refuse a plan that restarts more services
    #[arg(long, value_name = "N")]
    pub(crate) max_restarts: Option<usize>,
    #[command(flatten)]
    pub(crate) only: Only,
}

#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the runs to FILE, as one page for browsers: what they planned, why, how they ended, how long their steps took
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The kind, the finding or the address, for instance `file`, `forward-drop` or `sysctl:net.ipv4.ip_forward`
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) spec: Spec,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// The specs; what is expected of `laptop.kdl` stands in the folder `laptop.expect` beside it [default: ./host.kdl, then /etc/stead/host.kdl]
    pub(crate) specs: Vec<PathBuf>,
    /// Take what is planned now as what is expected
    #[arg(long)]
    pub(crate) update: bool,
    /// Write this host down as NAME.live.json, as far as the specs speak of it, with the plan for it
    #[arg(long, value_name = "NAME", conflicts_with = "update")]
    pub(crate) record: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Fmt {
    /// The files, `-` for standard input [default: ./host.kdl, then /etc/stead/host.kdl]
    pub(crate) files: Vec<PathBuf>,
    /// Change nothing; exit with 3 and show the difference if a file is laid out otherwise
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Lsp {
    #[command(flatten)]
    pub(crate) values: Values,
    /// Take the facts from FILE, as `stead facts --json` prints them, instead of from this host
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
    /// What editors add of themselves: there is no other way
    #[arg(long, hide = true)]
    pub(crate) stdio: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Graph {
    #[command(flatten)]
    pub(crate) spec: AnySpec,
    /// The language to draw in
    #[arg(long, value_enum, default_value_t = Drawing::Dot)]
    pub(crate) format: Drawing,
    /// Plan on this host, and mark what would be created, changed, removed and restarted
    #[arg(long)]
    pub(crate) changes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Drawing {
    /// Graphviz
    Dot,
    /// Mermaid, as Markdown pages show it
    Mermaid,
    /// A picture for browsers
    Svg,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Kinds {
    /// Print one JSON document with every attribute
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the JSON Schema of what `--json` prints elsewhere
    #[arg(long, conflicts_with = "json")]
    pub(crate) schema: bool,
}

impl Command {
    /// Whether errors are printed as data too.
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Self::Plan(plan) => plan.json,
            Self::Import(import) => import.json,
            Self::Doctor(doctor) => doctor.json,
            Self::Rehearse(rehearse) | Self::Clone(Clone::Hold(rehearse)) => rehearse.json,
            Self::Apply(Apply { consent, .. }) | Self::Undo { consent, .. } => consent.json,
            Self::Facts { json }
            | Self::History(History { json, .. })
            | Self::Show { json, .. }
            | Self::Recover { json }
            | Self::Confirm { json }
            | Self::Revert(Revert { json, .. }) => *json,
            Self::Kinds(kinds) => kinds.json,
            Self::Watch(watch) => watch.json,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_keep_their_old_names_for_one_release() {
        for (command, old, new, value) in [
            ("doctor", "--fix", "--show-fix", None),
            ("rehearse", "--fault", "--kill-at", Some("all")),
            ("rehearse", "--layers", "--overlay-dir", Some("/layers")),
            ("import", "--against", "--missing-from", Some("host.kdl")),
        ] {
            let parse = |option| {
                let words = ["stead", command, option].into_iter().chain(value);
                format!("{:?}", Args::try_parse_from(words).unwrap())
            };
            assert_eq!(parse(old), parse(new), "{old}");
            let help = Args::command()
                .find_subcommand_mut(command)
                .map(|command| command.render_long_help().to_string())
                .unwrap();
            assert!(
                help.contains(new) && !help.contains(&format!("{old} ")),
                "{help}"
            );
        }
    }
}
