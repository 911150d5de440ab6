//! The corpus of the fuzz targets in `fuzz/` passes: each input that was worth keeping is read once in every test run.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads the corpus and stops at the first surprise"
)]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// The function that a fuzz target calls.
type Target = fn(&[u8]);

/// The fuzz targets, each with its function.
const TARGETS: [(&str, Target); 4] = [
    ("args_file", stead_resources::fuzzing::args_file),
    ("iptables_save", stead_resources::fuzzing::iptables_save),
    ("journal", stead_engine::fuzzing::journal),
    ("spec", stead_resources::fuzzing::spec),
];

/// Returns the paths in a directory below `fuzz`, sorted.
fn entries(directory: &str) -> Vec<PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let entries = fs::read_dir(fuzz.join(directory)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_fuzz_target_has_a_corpus() {
    let stems = |directory| -> Vec<String> {
        let paths = entries(directory).into_iter();
        paths
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let names = TARGETS.map(|(name, _)| name.to_owned());
    assert_eq!(stems("targets"), names);
    assert_eq!(stems("corpus"), names);
}

#[test]
fn every_input_of_the_corpus_passes_its_target() {
    for (name, target) in TARGETS {
        let paths = entries(&format!("corpus/{name}"));
        assert!(!paths.is_empty(), "{name}");
        for path in paths {
            let bytes = fs::read(&path).unwrap();
            let result = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
            assert!(result.is_ok(), "{} fails", path.display());
        }
    }
}
