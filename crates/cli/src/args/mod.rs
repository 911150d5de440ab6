//! The command line.

pub(crate) mod parse;
pub(crate) mod sources;

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use stead_engine::{plan::document::Scope, run::confirm::Confirm};

use crate::{args::sources::ForeignSources, exit::Exit};

/// Makes a Linux host match a KDL file: shows a plan, applies it, verifies the result, and rolls back on failure.
#[derive(Debug, Parser)]
#[command(name = "stead", version, max_term_width = 100, after_help = codes())]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) paths: Paths,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// Lists the exit codes, in one line.
fn codes() -> String {
    let meanings = Exit::MEANINGS.map(|(exit, meaning)| format!("{} {meaning}", exit as u8));
    format!("Exit codes: {}.", meanings.join("; "))
}

/// Paths.
#[derive(Debug, clap::Args)]
pub(crate) struct Paths {
    /// Directory of the runs and of what undo needs
    #[arg(
        long,
        global = true,
        env = "STEAD_STATE_DIR",
        value_name = "DIR",
        hide_env = true
    )]
    pub(crate) state_dir: Option<PathBuf>,
    /// Root directory of the host
    #[arg(long, global = true, hide = true, default_value = "/")]
    pub(crate) root: PathBuf,
}

/// How much is printed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputOptions {
    /// Show long plans and long texts in full
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// Show timings
    #[arg(long, global = true)]
    pub(crate) timings: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what would change and why; changes nothing
    Plan(PlanArgs),
    /// Plan, ask, apply and verify; roll back on failure
    Apply(ApplyArgs),
    /// Try a spec on a disposable clone of this host; the host itself is not changed
    Rehearse(RehearseArgs),
    /// What a rehearsal runs in its clone and around it
    #[command(hide = true, subcommand)]
    Clone(CloneCommand),
    /// Create a spec from this host and report what was skipped
    Import(ImportArgs),
    /// Find known problems on this host and how to fix them; changes nothing
    Doctor(DoctorArgs),
    /// Check a spec without reading the host
    Validate(SpecForAnyHost),
    /// Test specs against recorded hosts
    Test(TestArgs),
    /// Format spec files
    Fmt(FmtArgs),
    /// Language server (LSP) for editors, on standard input and output
    Lsp(LspArgs),
    /// Draw the dependency graph
    Graph(GraphArgs),
    /// Show facts about this host, for use in a spec: `(fact)"memory"`, `when fact="cloud" is="azure"`
    Facts {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// List the kinds of resource
    Kinds(KindsArgs),
    /// Explain a kind, a finding of `doctor`, or one resource: where its values come from, its observed state, and its runs
    Explain(ExplainArgs),
    /// List the runs
    History(HistoryArgs),
    /// Show one run: its plan, steps and outcome
    Show {
        /// Its number
        run: u64,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Undo a finished run, by a new run
    Undo {
        /// Its number
        run: u64,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Roll back an interrupted run
    Recover {
        /// Print a JSON line for each event
        #[arg(long)]
        json: bool,
    },
    /// Confirm the run that waits for it
    Confirm {
        /// Print a JSON line for each event
        #[arg(long)]
        json: bool,
    },
    /// Roll back now the run that waits to be confirmed
    Revert(RevertArgs),
    /// Restore what was applied as soon as something overwrites it: kernel settings, iptables, arguments, services
    Watch(WatchArgs),
    /// Print shell completions
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
pub(crate) struct SpecArgs {
    /// The spec [default: ./host.kdl, then /etc/stead/host.kdl]
    pub(crate) spec: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) values: VarArgs,
}

/// Values for the variables of a spec.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct VarArgs {
    /// Set a variable of the spec
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::assignment)]
    pub(crate) var: Vec<String>,
    /// Set variables from FILE, one per line such as `dns "9.9.9.9"`; `--var` takes precedence
    #[arg(long, value_name = "FILE")]
    pub(crate) vars: Vec<PathBuf>,
}

impl VarArgs {
    /// Whether nothing is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.var.is_empty() && self.vars.is_empty()
    }
}

/// A spec, possibly for another host.
#[derive(Debug, clap::Args)]
pub(crate) struct SpecForAnyHost {
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    /// Read the facts from FILE, as `stead facts --json` prints them, instead of this host
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    /// Save the plan to FILE; `stead apply FILE` applies exactly this plan
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print the plan as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = PlanFormat::Text, conflicts_with = "json")]
    pub(crate) format: PlanFormat,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// What a plan is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// For people
    Text,
    /// A comment of a merge request, for GitHub and GitLab
    Markdown,
    /// A Code Quality report, for GitLab
    Gitlab,
    /// A JUnit report: a pending change is a failure
    Junit,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RehearseArgs {
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    /// Also reboot the clone, and plan once more
    #[arg(long)]
    pub(crate) reboot: bool,
    /// Also kill the run in each step, one after the other, and check that `stead recover` rolls the clone back
    #[arg(long, alias = "fault", value_name = "STEP", value_parser = ["all"])]
    pub(crate) kill_at: Option<String>,
    /// Store what the clone writes in DIR while it exists [default: in memory]
    #[arg(long, alias = "layers", value_name = "DIR")]
    pub(crate) overlay_dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a rehearsal runs in its clone and around it.
#[derive(Debug, Subcommand)]
pub(crate) enum CloneCommand {
    /// Make the clone and do everything: in mount and PID namespaces of its own
    #[command(name = "hold")]
    Supervise(RehearseArgs),
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
    #[command(name = "idle")]
    Init {
        /// Its root directory
        root: PathBuf,
        /// Pairs of what is shown in it and where
        shown: Vec<PathBuf>,
    },
    /// Print what the host looks like, as JSON
    #[command(name = "look")]
    Snapshot,
    /// Make settings hold that standard input has as JSON
    #[command(name = "set")]
    Configure,
    /// Plan what standard input has as JSON
    Plan,
    /// Carry out the plan that the first line of standard input has, and wait for another line after each event
    Apply,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Show a spec that would fix the findings, and its plan; changes nothing
    #[arg(long, alias = "fix", conflicts_with = "json")]
    pub(crate) show_fix: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Write the spec to FILE, machine-specific resources to FILE-own.kdl, and large files to FILE.d [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Import only these; `KIND:PREFIX*` matches several
    #[arg(long, value_name = "KIND[:NAME]")]
    pub(crate) only: Vec<String>,
    /// Do not import these
    #[arg(long, value_name = "KIND[:NAME]")]
    pub(crate) except: Vec<String>,
    /// Import only what SPEC does not declare yet
    #[arg(long, alias = "against", value_name = "SPEC")]
    pub(crate) missing_from: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) values: VarArgs,
    /// Ignore what FILE lists, with its reasons [default: /etc/stead/import-ignore.kdl, if it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) from: ForeignSources,
    /// Print one JSON document: the specs and the report
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// Only these resources, without dependencies
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
pub(crate) struct RunOptions {
    /// Apply without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print a JSON line for each event; the last one is the outcome
    #[arg(long)]
    pub(crate) json: bool,
    /// Roll back unless `stead confirm` runs within TIME (`2m`, `90s`). `auto[,TIME]` confirms itself once you are known to be able to
    /// reconnect; `off` disables it [default: auto if the plan may cut the network and you are connected over SSH, else off]
    #[arg(long, value_name = "TIME", value_parser = parse::confirm)]
    pub(crate) confirm: Option<Confirm>,
    /// Allow changes that cannot be undone, without asking
    #[arg(long)]
    pub(crate) allow_irreversible: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RevertArgs {
    /// Roll back only if it is due; what the timer calls
    #[arg(long, value_name = "RUN", hide = true)]
    pub(crate) unless_confirmed: Option<u64>,
    /// Print a JSON line for each event
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// Restore once and exit; what the hooks `boot` and `snap-refresh` run
    #[arg(long)]
    pub(crate) once: bool,
    /// What a hook runs for: the instance of its unit
    #[arg(
        long = "because",
        value_name = "REASON",
        requires = "once",
        hide = true
    )]
    pub(crate) reason: Option<String>,
    /// Also write Prometheus metrics to FILE, for instance for the textfile collector of the Node exporter
    #[arg(long, value_name = "FILE", conflicts_with = "once")]
    pub(crate) metrics: Option<PathBuf>,
    /// Print a JSON line for each event; the last one is the outcome
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// The spec or a saved plan [default: ./host.kdl, then /etc/stead/host.kdl]
    pub(crate) spec: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) values: VarArgs,
    #[command(flatten)]
    pub(crate) options: RunOptions,
    /// Refuse a plan that downloads more, for instance `50M`
    #[arg(long, value_name = "BYTES", value_parser = parse::bytes)]
    pub(crate) max_download: Option<u64>,
    /// Refuse a plan that restarts more than N services
    #[arg(long, value_name = "N")]
    pub(crate) max_restarts: Option<usize>,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the runs to FILE as one HTML page: plans, reasons, outcomes, durations
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The kind, the finding or the address, for instance `file`, `forward-drop` or `sysctl:net.ipv4.ip_forward`
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// The specs; the expectations of `laptop.kdl` are in the directory `laptop.expect` beside it [default: ./host.kdl, then /etc/stead/host.kdl]
    pub(crate) specs: Vec<PathBuf>,
    /// Replace the expected plans by the current ones
    #[arg(long)]
    pub(crate) update: bool,
    /// Record this host as NAME.live.json, as far as the specs declare it, with its plan
    #[arg(long, value_name = "NAME", conflicts_with = "update")]
    pub(crate) record: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FmtArgs {
    /// The files, or `-` for standard input [default: ./host.kdl, then /etc/stead/host.kdl]
    pub(crate) files: Vec<PathBuf>,
    /// Change nothing; show the difference and exit with 3 if a file is not formatted
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LspArgs {
    #[command(flatten)]
    pub(crate) values: VarArgs,
    /// Read the facts from FILE, as `stead facts --json` prints them, instead of this host
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
    /// Accepted for compatibility; stdio is the only transport
    #[arg(long, hide = true)]
    pub(crate) stdio: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pub(crate) spec: SpecForAnyHost,
    /// Output format
    #[arg(long, value_enum, default_value_t = GraphFormat::Dot)]
    pub(crate) format: GraphFormat,
    /// Mark what a plan on this host would create, change, remove and restart
    #[arg(long)]
    pub(crate) changes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Graphviz
    Dot,
    /// Mermaid, as Markdown pages show it
    Mermaid,
    /// A picture, for browsers
    Svg,
}

#[derive(Debug, clap::Args)]
pub(crate) struct KindsArgs {
    /// Print one JSON document with every attribute
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the JSON Schema of the documents of `--json`
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
            Self::Rehearse(rehearse) | Self::Clone(CloneCommand::Supervise(rehearse)) => {
                rehearse.json
            }
            Self::Apply(ApplyArgs { options, .. }) | Self::Undo { options, .. } => options.json,
            Self::Facts { json }
            | Self::History(HistoryArgs { json, .. })
            | Self::Show { json, .. }
            | Self::Recover { json }
            | Self::Confirm { json }
            | Self::Revert(RevertArgs { json, .. }) => *json,
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
    fn args_pass_clap_debug_assert() {
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
