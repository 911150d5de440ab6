//! `stead import --from`: files of other tools as a spec. They describe a desired state, so there is nothing to verify on the host.

use std::path::Path;

use stead_engine::{
    import::{importer::Imported, translate::translate},
    model::suggest,
};
use stead_resources::foreign::{Contents, ForeignFormat, Source, wishes};

use crate::{context::Session, error::Failure, spec_input::read_input};

/// Writes what was named as a spec for `host`.
pub(crate) fn import_from(
    session: &Session,
    host: &str,
    from: &crate::args::sources::Sources,
) -> Result<Imported, Failure> {
    let mut sources = vec![];
    for (word, paths) in &from.0 {
        let origin = origin(word)?;
        for path in paths {
            sources.push(source(origin, path)?);
        }
    }
    let wishes = session
        .confined(async |_, reader| wishes(sources, reader).await)?
        .map_err(|error| Failure::usage(error.to_string(), error.help()))?;
    let (spec, coverage) = translate(&session.registry, host, wishes);
    Ok(Imported {
        spec,
        own: None,
        sources: vec![],
        resources: 0,
        coverage,
    })
}

fn origin(word: &str) -> Result<ForeignFormat, Failure> {
    let words = ForeignFormat::ALL.map(ForeignFormat::word);
    let found = ForeignFormat::ALL
        .into_iter()
        .find(|origin| origin.word() == word);
    found.ok_or_else(|| {
        let help = suggest::help("write `--from KIND FILE`; the kinds are", word, words);
        Failure::usage(
            format!("`--from` does not know `{}`", word.escape_debug()),
            help,
        )
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is named is input, not the host"
)]
fn source(origin: ForeignFormat, path: &Path) -> Result<Source, Failure> {
    let contents = if path.is_dir() {
        let folder = path.canonicalize().ok();
        let folder = folder.and_then(|folder| folder.to_str().map(str::to_owned));
        let folder = folder.ok_or_else(|| {
            let fact = format!(
                "the path of the directory `{}` is not UTF-8",
                path.display()
            );
            Failure::usage(fact, "name the files in it")
        })?;
        Contents::Folder(folder)
    } else {
        Contents::Bytes(read_input(path)?)
    };
    Ok(Source {
        origin,
        path: path.display().to_string(),
        contents,
    })
}
