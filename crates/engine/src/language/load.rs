//! Limits of a spec file: its size, its encoding, and that it is not empty. The caller has read the bytes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::language::{
    error::{SpecError, SpecErrors},
    source::{Source, Span},
};

/// The most bytes that a spec file may hold (4 MiB): far above what a person writes, and parsed in seconds.
pub const LIMIT: u64 = 4 << 20;

/// What to type into a spec that has nothing in it.
pub(crate) const SKELETON: &str =
    "write `host \"NAME\" { … }` and put the resources between the braces";

/// Makes a source of the bytes of the file at `path`, which is a spec.
pub fn load(path: PathBuf, bytes: Vec<u8>) -> Result<Arc<Source>, SpecErrors> {
    let source = Arc::new(load_part(path, bytes)?);
    if source.text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Err(SpecErrors(vec![empty(&source)]));
    }
    Ok(source)
}

/// Makes a source of the bytes of a file that may be empty.
pub(crate) fn load_part(path: PathBuf, bytes: Vec<u8>) -> Result<Source, SpecErrors> {
    if bytes.len() as u64 > LIMIT {
        return Err(too_large(&path));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(path, text)),
        Err(error) => Err(not_utf8(path, &error)),
    }
}

fn empty(source: &Arc<Source>) -> SpecError {
    SpecError::new("spec::empty", "the spec is empty", Span::of(source, 0..0)).help(SKELETON)
}

fn too_large(path: &Path) -> SpecErrors {
    SpecErrors(vec![SpecError {
        message: format!(
            "`{}` is larger than the limit of {} MiB for one spec file",
            path.display(),
            LIMIT >> 20
        ),
        code: "spec::too-large",
        help: Some(
            "put large texts into files of their own and name them with `source`".to_owned(),
        ),
        labels: vec![],
    }])
}

fn not_utf8(path: PathBuf, error: &std::string::FromUtf8Error) -> SpecErrors {
    let offset = error.utf8_error().valid_up_to();
    let byte = error.as_bytes()[offset];
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let source = Arc::new(Source::new(path, text));
    let span = Span::of(&source, offset..offset + '\u{fffd}'.len_utf8());
    SpecErrors(vec![
        SpecError::new(
            "spec::not-utf-8",
            format!("byte {offset} (0x{byte:02x}) is not UTF-8"),
            span,
        )
        .help("save the spec as UTF-8; put binary data into a file of its own and name it with `source`"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<(), &str>) {
        let result = load(PathBuf::from("host.kdl"), bytes.to_vec());
        assert_eq!(
            result.as_ref().map(|_| ()).map_err(|e| e.0[0].code),
            expected
        );
    }

    #[test]
    fn a_text_is_accepted() {
        check(b"host \"x\" {}", Ok(()));
    }

    #[test]
    fn nothing_is_refused() {
        check(b"", Err("spec::empty"));
        check("\u{feff} \n\t".as_bytes(), Err("spec::empty"));
    }

    #[test]
    fn the_limit_itself_is_accepted_and_one_byte_more_is_not() {
        let limit = usize::try_from(LIMIT).unwrap();
        check(&vec![b'x'; limit], Ok(()));
        check(&vec![b'x'; limit + 1], Err("spec::too-large"));
    }

    #[test]
    fn the_first_byte_that_is_not_utf_8_is_named() {
        let errors = load(PathBuf::from("host.kdl"), b"host \"\xff\"".to_vec()).unwrap_err();
        assert_eq!(errors.0[0].message, "byte 6 (0xff) is not UTF-8");
        assert_eq!(errors.0[0].labels[0].0.offset, 6);
    }
}
