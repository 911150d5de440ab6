//! `stead import --from`: files of other tools as a spec. They describe a desired state, so there is nothing to verify on the host.

use std::path::Path;

use stead_engine::{
    import::{importer::Imported, translate::translate},
    model::suggest,
};
use stead_resources::foreign::{Contents, ForeignFormat, ForeignSource, read_foreign};

use crate::{context::Context, error::CommandError, spec_input::read_input};

/// Writes what was named as a spec for `host`.
pub(crate) fn import_from(
    context: &Context,
    host: &str,
    from: &crate::args::sources::ForeignSources,
) -> Result<Imported, CommandError> {
    let mut sources = vec![];
    for (word, paths) in &from.0 {
        let origin = parse_format(word)?;
        for path in paths {
            sources.push(read_source(origin, path)?);
        }
    }
    let wishes = context
        .run_read_only(async |_, reader| read_foreign(sources, reader).await)?
        .map_err(|error| CommandError::usage(error.to_string(), error.help()))?;
    let (spec, coverage) = translate(&context.registry, host, wishes);
    Ok(Imported {
        spec,
        machine_spec: None,
        sources: vec![],
        resources: 0,
        coverage,
    })
}

fn parse_format(word: &str) -> Result<ForeignFormat, CommandError> {
    let words = ForeignFormat::ALL.map(ForeignFormat::word);
    let found = ForeignFormat::ALL
        .into_iter()
        .find(|origin| origin.word() == word);
    found.ok_or_else(|| {
        let help = suggest::did_you_mean("write `--from KIND FILE`; the kinds are", word, words);
        CommandError::usage(
            format!("`--from` does not know `{}`", word.escape_debug()),
            help,
        )
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is named is input, not the host"
)]
fn read_source(format: ForeignFormat, path: &Path) -> Result<ForeignSource, CommandError> {
    let contents = if path.is_dir() {
        let dir = path.canonicalize().ok();
        let dir = dir.and_then(|dir| dir.to_str().map(str::to_owned));
        let dir = dir.ok_or_else(|| {
            let fact = format!(
                "the path of the directory `{}` is not UTF-8",
                path.display()
            );
            CommandError::usage(fact, "name the files in it")
        })?;
        Contents::Directory(dir)
    } else {
        Contents::Bytes(read_input(path)?)
    };
    Ok(ForeignSource {
        format,
        path: path.display().to_string(),
        contents,
    })
}
