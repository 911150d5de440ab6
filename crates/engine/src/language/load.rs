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
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// What to type into a spec that has nothing in it.
pub(crate) const EMPTY_SPEC_HELP: &str =
    "write `host \"NAME\" { … }` and put the resources between the braces";

/// Makes a source of the bytes of the file at `path`, which is a spec.
pub fn load(path: PathBuf, bytes: Vec<u8>) -> Result<Arc<Source>, SpecErrors> {
    let source = Arc::new(load_included(path, bytes)?);
    if source.text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Err(SpecErrors(vec![empty(&source)]));
    }
    Ok(source)
}

/// Makes a source of the bytes of a file that may be empty.
pub(crate) fn load_included(path: PathBuf, bytes: Vec<u8>) -> Result<Source, SpecErrors> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large(&path));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(path, text)),
        Err(error) => Err(not_utf8(path, &error)),
    }
}

fn empty(source: &Arc<Source>) -> SpecError {
    SpecError::new("spec::empty", "the spec is empty", Span::new(source, 0..0))
        .help(EMPTY_SPEC_HELP)
}

fn too_large(path: &Path) -> SpecErrors {
    SpecErrors(vec![SpecError {
        message: format!(
            "`{}` is larger than the limit of {} MiB for one spec file",
            path.display(),
            MAX_FILE_BYTES >> 20
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
    let span = Span::new(&source, offset..offset + '\u{fffd}'.len_utf8());
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
    fn load_accepts_utf8_text() {
        check(b"host \"x\" {}", Ok(()));
    }

    #[test]
    fn empty_spec_is_rejected() {
        check(b"", Err("spec::empty"));
        check("\u{feff} \n\t".as_bytes(), Err("spec::empty"));
    }

    #[test]
    fn load_accepts_sizes_up_to_the_limit() {
        let limit = usize::try_from(MAX_FILE_BYTES).unwrap();
        check(&vec![b'x'; limit], Ok(()));
        check(&vec![b'x'; limit + 1], Err("spec::too-large"));
    }

    #[test]
    fn load_error_names_first_byte_that_is_not_utf8() {
        let errors = load(PathBuf::from("host.kdl"), b"host \"\xff\"".to_vec()).unwrap_err();
        assert_eq!(errors.0[0].message, "byte 6 (0xff) is not UTF-8");
        assert_eq!(errors.0[0].labels[0].0.offset, 6);
    }
}
