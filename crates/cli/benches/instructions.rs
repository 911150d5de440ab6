//! How many instructions the parts of a plan take, of files that all differ. The same on a busy machine, so that each run
//! can be held against the one before. A figure, no test: `make bench-instructions`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark makes its own files"
)]
#![expect(missing_docs, reason = "the macros of gungraun write none")]

use std::{fmt::Write as _, fs};

use gungraun::{
    BinaryBenchmarkConfig, Callgrind, Command, EntryPoint, ExitWith, OutputFormat, Sandbox,
    binary_benchmark, binary_benchmark_group, main,
};

/// Files of the spec.
const FILE_COUNT: usize = 100;

/// Writes a spec and the files that it names, into the directory where the program will run.
fn write_spec_and_files() {
    fs::create_dir("managed").unwrap();
    let mut spec = "host \"many\" {\n".to_owned();
    let dir = fs::canonicalize("managed").unwrap();
    for number in 0..FILE_COUNT {
        let path = dir.join(format!("f{number}"));
        fs::write(&path, format!("what file {number} has\n")).unwrap();
        let text = format!("what file {number} shall have, and no other; ").repeat(3);
        writeln!(
            spec,
            "    file \"{}\" mode=\"0600\" {{\n        content \"{text}\\n\"\n    }}",
            path.display()
        )
        .unwrap();
    }
    fs::write("files.kdl", spec + "}\n").unwrap();
}

fn callgrind() -> Callgrind {
    Callgrind::with_args(["--cache-sim=no"])
}

/// Counts in one function, as Rust names it, and in what it calls. It must not be inlined: the count would be none.
fn in_function(function: &str) -> BinaryBenchmarkConfig {
    let mut callgrind = callgrind();
    callgrind.entry_point(EntryPoint::Custom(function.to_owned()));
    let mut config = BinaryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

#[binary_benchmark(setup = write_spec_and_files())]
#[bench::parse(config = in_function("stead_engine::language::fragment::fragment_here"))]
#[bench::resolve(config = in_function("stead_engine::language::resolve::resolve"))]
#[bench::diff(config = in_function("stead_engine::plan::diff::Comparing*::take"))]
#[bench::render(config = in_function("stead::render::plan::plan"))]
#[bench::whole(config = BinaryBenchmarkConfig::default().tool(callgrind()))]
fn plan() -> Command {
    Command::new(env!("CARGO_BIN_EXE_stead"))
        .args(["plan", "--verbose", "files.kdl"])
        .build()
}

binary_benchmark_group!(name = parts; benchmarks = plan);

main!(
    config = BinaryBenchmarkConfig::default()
        .sandbox(Sandbox::new(true))
        .exit_with(ExitWith::Code(3))
        .output_format(OutputFormat::default().truncate_description(None));
    binary_benchmark_groups = parts
);
