//! `stead fmt`.

use std::{io::Read, path::Path};

use similar::TextDiff;
use stead_engine::language::{
    format::format,
    load::{LIMIT, load},
};
use stead_resources::host::{Existing, Reader, Writer};

use crate::{
    args::Fmt,
    error::Failure,
    exit::Exit,
    render,
    spec_input::{read_input, spec_path},
};

/// Lays out spec files; a file that is laid out already is not touched.
pub(crate) fn fmt(args: &Fmt) -> Result<Exit, Failure> {
    let files = if args.files.is_empty() {
        vec![spec_path(None)?]
    } else {
        args.files.clone()
    };
    let mut exit = Exit::Done;
    for path in files {
        if path == Path::new("-") {
            let formatted = formatted(&path, standard_input()?)?;
            render::data(&formatted.1);
            continue;
        }
        let (old, new) = formatted(&path, read_input(&path)?)?;
        if old == new {
            continue;
        }
        if args.check {
            exit = Exit::Pending;
            let name = path.display().to_string();
            let diff = TextDiff::from_lines(&old, &new);
            render::page(&render::plain(
                &diff.unified_diff().header(&name, &name).to_string(),
            ));
        } else {
            replace(&path, &new)?;
            render::message(&format!("Formatted {}\n", path.display()));
        }
    }
    Ok(exit)
}

fn formatted(path: &Path, bytes: Vec<u8>) -> Result<(String, String), Failure> {
    let source = load(path.to_owned(), bytes)?;
    let new = format(&source)?;
    Ok((source.text.clone(), new))
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![];
    std::io::stdin()
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    Ok(bytes)
}

/// Replaces a file as a host's files are replaced: whole, with its owner and mode.
#[expect(
    clippy::disallowed_methods,
    reason = "the file is the user's own spec, not the host"
)]
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let real = path
        .canonicalize()
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    let root = Path::new("/");
    let failed = |error| Failure::of(Exit::Failed, &error);
    let access = Reader::new(root)
        .stat(&real)
        .map_err(failed)?
        .map(|meta| meta.access());
    let Some(access) = access else {
        return Err(Failure::usage(
            format!("`{}` no longer exists", path.display()),
            "try again",
        ));
    };
    Writer::new(root, root)
        .put_file(
            &real,
            &mut text.as_bytes(),
            None,
            &access,
            Existing::Replace,
        )
        .map_err(failed)
}
