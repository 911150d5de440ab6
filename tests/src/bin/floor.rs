//! The least that a work costs on this machine: its system calls in a bare loop. What `make bench` measures stead against.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that measures makes its own files, and stops at the first surprise"
)]

use std::{
    fs::{self, File},
    io::{Read, Write},
    process::{Command, Stdio},
};

use e2e::workload::{path, text};
use nix::sys::resource::{UsageWho, getrusage};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["nothing"] => {}
        ["compare", dir, count] => compare(dir, count.parse().unwrap()),
        ["write", dir, count] => write(dir, count.parse().unwrap()),
        ["parse", spec] => parse(spec),
        ["peak", program, ref arguments @ ..] => print_peak_memory(program, arguments),
        _ => panic!("floor nothing | compare DIR N | write DIR N | parse SPEC | peak PROGRAM …"),
    }
}

/// Looks at so many files, and compares what is in them.
fn compare(dir: &str, count: usize) {
    for number in 0..count {
        let path = path(dir, number);
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        let mut bytes = vec![];
        File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, text(number).as_bytes());
    }
}

/// Writes so many files, each durably and whole or not at all.
fn write(dir: &str, count: usize) {
    fs::create_dir_all(dir).unwrap();
    for number in 0..count {
        let path = path(dir, number);
        let temporary = format!("{path}.new");
        let mut file = File::create_new(&temporary).unwrap();
        file.write_all(text(number).as_bytes()).unwrap();
        file.sync_all().unwrap();
        fs::rename(&temporary, &path).unwrap();
    }
}

/// Parses a spec by the crate kdl alone.
fn parse(spec: &str) {
    let document: kdl::KdlDocument = fs::read_to_string(spec).unwrap().parse().unwrap();
    assert!(!document.nodes().is_empty());
    // A process that ends frees nothing.
    std::mem::forget(document);
}

/// Runs a program, and prints the most memory that it had, in KiB: `ru_maxrss` of getrusage(2).
fn print_peak_memory(program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    println!("{}", used.max_rss());
}
