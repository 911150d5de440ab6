//! `stead fmt`.

use std::{io::Read, path::Path};

use similar::TextDiff;
use stead_engine::language::{
    format::format,
    load::{MAX_FILE_BYTES, load},
};
use stead_resources::host::{IfExists, Reader, Writer};

use crate::{
    args::FmtArgs,
    error::CommandError,
    exit::Exit,
    render,
    spec_input::{find_spec, read_input},
};

/// Lays out spec files; a file that is laid out already is not touched.
pub(crate) fn fmt(args: &FmtArgs) -> Result<Exit, CommandError> {
    let files = if args.files.is_empty() {
        vec![find_spec(None)?]
    } else {
        args.files.clone()
    };
    let mut exit = Exit::Done;
    for path in files {
        if path == Path::new("-") {
            let formatted = format_source(&path, standard_input()?)?;
            render::print_data(&formatted.1);
            continue;
        }
        let (old, new) = format_source(&path, read_input(&path)?)?;
        if old == new {
            continue;
        }
        if args.check {
            exit = Exit::Pending;
            let name = path.display().to_string();
            let diff = TextDiff::from_lines(&old, &new);
            render::print_text(&render::escape_control(
                &diff.unified_diff().header(&name, &name).to_string(),
            ));
        } else {
            replace_file(&path, &new)?;
            render::eprint_message(&format!("Formatted {}\n", path.display()));
        }
    }
    Ok(exit)
}

fn format_source(path: &Path, bytes: Vec<u8>) -> Result<(String, String), CommandError> {
    let source = load(path.to_owned(), bytes)?;
    let new = format(&source)?;
    Ok((source.text.clone(), new))
}

fn standard_input() -> Result<Vec<u8>, CommandError> {
    let mut bytes = vec![];
    std::io::stdin()
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
    Ok(bytes)
}

/// Replaces a file as a host's files are replaced: whole, with its owner and mode.
#[expect(
    clippy::disallowed_methods,
    reason = "the file is the user's own spec, not the host"
)]
fn replace_file(path: &Path, text: &str) -> Result<(), CommandError> {
    let real = path
        .canonicalize()
        .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
    let root = Path::new("/");
    let failed = |error| CommandError::from_error(Exit::Failed, &error);
    let access = Reader::new(root)
        .stat(&real)
        .map_err(failed)?
        .map(|meta| meta.attributes());
    let Some(access) = access else {
        return Err(CommandError::usage(
            format!("`{}` no longer exists", path.display()),
            "try again",
        ));
    };
    Writer::new(root, root)
        .write_file(
            &real,
            &mut text.as_bytes(),
            None,
            &access,
            IfExists::Replace,
        )
        .map_err(failed)
}
