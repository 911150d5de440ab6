//! Entry points of the fuzz targets in `fuzz/`. Each function reads any bytes and panics if a property of the reader is broken.
//! It is no part of the interface of the crate.

use std::path::PathBuf;

use crate::{
    history::{journal, stage::Stage},
    language::{format::format, lexer::tokens, load, resolve},
    plan::graph::Graph,
    provider::{host::Host, registry::Registry},
};

/// Reads a spec. Tokens cover the text without gaps, and a formatted text is formatted to itself.
pub fn spec<H: Host>(bytes: &[u8], registry: &Registry<H>) {
    let load = |bytes: &[u8]| load::load(PathBuf::from("host.kdl"), bytes.to_vec());
    let Ok(source) = load(bytes) else {
        return;
    };
    let text = &source.text;
    let without_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut end = text.len() - without_mark.len();
    for token in tokens(text) {
        assert_eq!(token.start, end, "a gap before a token");
        end = token.end;
    }
    assert_eq!(end, text.len(), "text behind the last token");
    if let Ok(formatted) = format(&source) {
        let again = load(formatted.as_bytes()).and_then(|source| format(&source));
        assert_eq!(
            again.ok(),
            Some(formatted),
            "formatting changes its own result"
        );
    }
    let resolved = resolve::decode(&source, registry);
    let _graph = resolved.and_then(|spec| Graph::build(spec, registry));
}

/// Reads a journal, as it is and once more with correct checksums. What was read up to the last whole record is read again from
/// these bytes alone, and written records are read as they were.
pub fn journal(bytes: &[u8]) {
    read_journal(bytes);
    let lines = bytes.split(|&byte| byte == b'\n');
    let lines = lines.filter_map(|line| str::from_utf8(line).ok());
    let sealed: String = lines.map(journal::with_checksum).collect();
    let records = read_journal(sealed.as_bytes());
    let known = records.iter();
    let known: Vec<_> = known
        .filter(|record| **record != journal::Record::Damaged)
        .collect();
    let written: String = known.iter().map(|record| journal::line(record)).collect();
    let again = read_journal(written.as_bytes());
    assert!(
        again.iter().eq(known),
        "records are not read as they were written"
    );
}

fn read_journal(bytes: &[u8]) -> Vec<journal::Record> {
    let (records, length) = journal::parse(bytes);
    let length = usize::try_from(length).expect("it is a length in memory");
    assert_eq!(
        journal::parse(&bytes[..length]),
        (records.clone(), length as u64),
        "the whole records are read in another way without the torn tail"
    );
    let _stage = Stage::from_records(&records);
    records
}
