//! Any text at all: the parser and the resolver say what is wrong with it, and neither panic nor take much memory. They run for ten
//! seconds, or ten minutes with `STEAD_EXHAUSTIVE`; `STEAD_FUZZ_SECONDS` makes it another time. A hang ends with the time that the runner gives to a test.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use peak_alloc::PeakAlloc;
use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use stead_engine::{
    language::{
        assignment::Assignment, error::SpecErrors, inputs::SpecInputs, load::load, resolve::resolve,
    },
    model::facts::{Fact, Facts},
    plan::graph::Graph,
};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// How long it runs unless told otherwise.
const DEFAULT_SECONDS: u64 = 10;
/// How long it runs with `STEAD_EXHAUSTIVE`.
const EXHAUSTIVE_SECONDS: u64 = 600;
/// Cases between two looks at the clock.
const CASES: u32 = 200;
/// Memory that a spec of nothing may take, in bytes: threads, tables of kinds, the first mistake.
const BASE_BYTES: usize = 1 << 19;
/// Memory for each byte of the files, in bytes.
const BYTES_PER_INPUT_BYTE: usize = 20;
/// Mistakes of one case that are drawn.
const MAX_RENDERED: usize = 3;

/// Specs to begin with.
const EXAMPLES: [&str; 7] = [
    include_str!("../../../examples/hosts/cloud-vm.kdl"),
    include_str!("../../../examples/hosts/laptop.kdl"),
    include_str!("../../../examples/hosts/server.kdl"),
    include_str!("../../../examples/hosts/fleet/host.kdl"),
    include_str!("../../../examples/hosts/fleet/values.kdl"),
    include_str!("../../../examples/hosts/fleet/cloud.kdl"),
    include_str!("../../../examples/hosts/fleet/microk8s.kdl"),
];

/// Pieces of the language, right and wrong.
const SNIPPETS: [&str; 72] = [
    "host \"x\" {\n",
    "}\n",
    "{",
    "}",
    "\n",
    " ",
    ";",
    "=",
    "(",
    ")",
    "\\\n",
    "/-",
    "//",
    "/*",
    "*/",
    "\"",
    "\"\"\"",
    "#\"",
    "\"#",
    "#true",
    "#null",
    "#nan",
    "1",
    "-1",
    "1e999",
    "0x",
    "99999999999999999999999999999999999999999",
    "\"text\"",
    "\"\\u{10FFFF}\"",
    "\"\\u{D800}\"",
    "\u{feff}",
    "\u{0}",
    "\u{202e}",
    "ü",
    "💥",
    "var \"a\" default=1\n",
    "var \"b\" default=(var)\"a\"\n",
    "(var)\"a\"",
    "(var)\"b\"",
    "(env)\"A\"",
    "(fact)\"memory\"",
    "(secret)\"file:/x\"",
    "(nothing)",
    "include \"a.kdl\"\n",
    "include \"b.kdl\"\n",
    "include \"./../a.kdl\"\n",
    "profile \"p\" {\n",
    "use \"p\"\n",
    "use \"q\"\n",
    "when fact=\"os\" is=\"debian\" {\n",
    "when var=\"a\" at-least=1 {\n",
    "when fact=\"memory\" below=\"x\" {\n",
    "override=#true",
    "needs=\"sysctl:a\"",
    "absent=#true",
    "file \"/a\" ",
    "directory \"/a\" ",
    "sysctl \"vm.swappiness\" ",
    "snap \"microk8s\" ",
    "kube-args \"kube-proxy\" {\n",
    "addons \"microk8s\" {\n",
    "iptables-rule \"r\" chain=\"FORWARD\" {\n",
    "match \"-s\" \"10.0.0.0/8\"\n",
    "jump \"DROP\"\n",
    "unit \"a.service\" {\n",
    "content \"",
    "mode=\"0644\"",
    "mode",
    "secret-file \"/s\" ",
    "package \"x\" version=\"1\"\n",
    "check \"c\" ",
    "symlink \"/l\" target=\"/t\"\n",
];

fn any_text() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(select(&SNIPPETS[..]), 0..60);
    let edits = prop::collection::vec(
        (any::<Index>(), any::<Index>(), select(&SNIPPETS[..])),
        0..8,
    );
    let deep = (
        select(
            &[
                "{",
                "a {\n",
                "(",
                "/*",
                "/-",
                "when fact=\"os\" is=\"debian\" {\n",
            ][..],
        ),
        0_usize..300,
    );
    prop_oneof![
        3 => pieces.prop_map(|pieces| pieces.concat()),
        4 => (select(&EXAMPLES[..]), edits).prop_map(|(text, edits)| edit_text(text, &edits)),
        1 => any::<String>(),
        1 => (select(&EXAMPLES[..]), 1_usize..40).prop_map(|(text, times)| text.repeat(times)),
        1 => deep.prop_map(|(piece, times)| piece.repeat(times)),
    ]
}

/// Cuts slices out of a text and puts pieces in, at places that need not be whole characters.
fn edit_text(text: &str, edits: &[(Index, Index, &str)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (from, to, piece) in edits {
        let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
        let cut = from.min(to)..from.max(to).min(from.min(to) + 40);
        bytes.splice(cut, piece.bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn resolver_accepts_or_rejects_any_text() {
    let seconds = std::env::var("STEAD_FUZZ_SECONDS").ok();
    let usual = if std::env::var_os("STEAD_EXHAUSTIVE").is_some() {
        EXHAUSTIVE_SECONDS
    } else {
        DEFAULT_SECONDS
    };
    let seconds = seconds.map_or(usual, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let registry = stead_resources::registry();
    let drawing = GraphicalReportHandler::new_themed(GraphicalTheme::none());
    let (most, valid, cases) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    while Instant::now() < end {
        // One that has run its cases runs no more.
        let run = TestRunner::new(config.clone()).run(
            &(any_text(), any_text(), any_text()),
            |(main, a, b)| {
                let length = main.len() + a.len() + b.len();
                let files = BTreeMap::from([("a.kdl", a), ("b.kdl", b)]);
                MEMORY.reset_peak_usage();
                let before = MEMORY.current_usage();
                let inputs = SpecInputs {
                    read: &|path| {
                        let name = path.to_str().unwrap_or_default();
                        let name = name.trim_start_matches("./../");
                        let text = files.get(name).ok_or(io::ErrorKind::NotFound)?;
                        Ok(text.clone().into_bytes())
                    },
                    assignments: &[Assignment::from_argument("a=2").unwrap()]
                        [usize::from(length % 3 > 0)..],
                    environment: &|name| (name == "A").then(|| "x".to_owned()),
                    facts: &|| {
                        Facts(BTreeMap::from([
                            ("os".to_owned(), Fact::Text("debian".to_owned())),
                            ("memory".to_owned(), Fact::Number(4000)),
                        ]))
                    },
                };
                let resolved = load("host.kdl".into(), main.into_bytes())
                    .and_then(|source| resolve(&source, &inputs, &registry))
                    .and_then(|spec| Graph::build(spec, &registry));
                let taken = MEMORY.peak_usage().saturating_sub(before);
                most.fetch_max(
                    taken.saturating_sub(BASE_BYTES) / length.max(1),
                    Ordering::Relaxed,
                );
                prop_assert!(
                    taken <= BASE_BYTES + BYTES_PER_INPUT_BYTE * length,
                    "{taken} bytes for {length}"
                );
                cases.fetch_add(1, Ordering::Relaxed);
                match resolved {
                    Ok(_) => drop(valid.fetch_add(1, Ordering::Relaxed)),
                    Err(errors) => check_errors(&errors, &drawing),
                }
                Ok(())
            },
        );
        if let Err(failure) = run {
            panic!("{failure}");
        }
    }
    let (cases, valid) = (cases.into_inner(), valid.into_inner());
    println!(
        "{cases} cases, {valid} of them valid, at most {} bytes for each byte over the base",
        most.into_inner()
    );
    assert!(
        valid > 0 && valid < cases,
        "both ends are reached: {valid} of {cases}"
    );
}

/// Every mistake has a message and a place that can be drawn.
fn check_errors(errors: &SpecErrors, drawing: &GraphicalReportHandler) {
    assert!(!errors.0.is_empty());
    for error in errors.0.iter().take(MAX_RENDERED) {
        assert!(!error.message.is_empty());
        for (span, _) in error.places() {
            let source: &Arc<_> = &span.source;
            assert!(
                source
                    .text
                    .get(span.offset..span.offset + span.length)
                    .is_some(),
                "{error:?}"
            );
        }
        // The library that breaks lines has no words of these scripts, and says so at length in a build for tests.
        let is_without_spaces =
            |c: char| matches!(c, '\u{e00}'..='\u{109f}' | '\u{1780}'..='\u{17ff}');
        let mut places = error.places().into_iter();
        if places.any(|(span, _)| span.source.text.contains(is_without_spaces)) {
            continue;
        }
        let mut text = String::new();
        let error: &dyn Diagnostic = error;
        drawing.render_report(&mut text, error).unwrap();
    }
}
