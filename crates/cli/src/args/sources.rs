//! `--from KIND FILE…`: a repeatable option with a kind and files.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, ValueHint, builder};

/// The name of the option.
const FROM: &str = "from";
/// What makes no sense beside it: it chooses among what is on this host.
const CONFLICTING_OPTIONS: [&str; 6] = ["only", "except", "missing_from", "ignore", "var", "vars"];

/// What was named behind each `--from`: a word and paths, not judged yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForeignSources(pub(crate) Vec<(String, Vec<PathBuf>)>);

impl Args for ForeignSources {
    fn augment_args(command: Command) -> Command {
        let help = "Import files of other tools instead of this host: \
            `launch-config FILE` of MicroK8s, `rules-v4 FILE` and `rules-v6 FILE` of netfilter-persistent, `sysctl FILE` or a directory such as \
            /etc/sysctl.d; may be repeated, all into one spec";
        command.arg(
            Arg::new(FROM)
                .long(FROM)
                .help(help)
                .value_names(["KIND", "FILE"])
                .num_args(2..)
                .action(ArgAction::Append)
                .value_parser(builder::ValueParser::os_string())
                .value_hint(ValueHint::AnyPath)
                .conflicts_with_all(CONFLICTING_OPTIONS),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ForeignSources {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let named = matches.get_occurrences::<OsString>(FROM);
        let named = named.into_iter().flatten().filter_map(|mut values| {
            let word = values.next()?.to_string_lossy().into_owned();
            Some((word, values.map(PathBuf::from).collect()))
        });
        Ok(Self(named.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
