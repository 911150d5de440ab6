//! How long a spec of 100,000 resources in 1,000 files takes to be resolved, against the parser alone that reads the same files one
//! after the other; and how long their order and a comparison of all with what is there, in memory; and the memory that each needs.
//! A figure, no test: `make bench-resolve`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark makes its own files and prints what it measures"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use stead_engine::{
    language::{
        inputs::SpecInputs,
        load::load,
        resolve::resolve,
        spec::{Resource, Spec},
    },
    model::{address::Address, facts::Facts, state::State},
    plan::{diff::diff, graph::Graph, planner::desired_resources},
};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILES: usize = 1_000;
const EACH: usize = 100;
/// What each resource needs.
const NEEDS: usize = 2;
/// The number of the first group.
const GID: usize = 100_000;
/// Each is measured so often, by turns; the median counts.
const ROUNDS: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "parse", dir, ..] => parse(Path::new(dir)),
        [_, "resolve", dir, ..] => drop(resolve_all(Path::new(dir))),
        [_, "order", dir, ..] => order_and_compare(Path::new(dir), 10),
        [_, "order-all", dir, ..] => order_and_compare(Path::new(dir), 1),
        _ => run_alternately(),
    }
}

fn run_alternately() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = u32::try_from(write_spec(dir.path())).unwrap();
    let megabytes = f64::from(bytes) / 1e6;
    let mut measured = [vec![], vec![], vec![], vec![]];
    for _ in 0..ROUNDS {
        for (of, what) in measured
            .iter_mut()
            .zip(["parse", "resolve", "order", "order-all"])
        {
            let own = std::env::current_exe().unwrap();
            let output = Command::new(own)
                .arg(what)
                .arg(dir.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            let said = String::from_utf8(output.stdout).unwrap();
            let last = said.lines().last().unwrap();
            let mut numbers = last
                .split_whitespace()
                .map(|word| word.parse::<f64>().unwrap());
            of.push((numbers.next().unwrap(), numbers.next().unwrap()));
        }
    }
    let median = |of: &mut Vec<(f64, f64)>| {
        of.sort_by(|one, other| one.0.total_cmp(&other.0));
        of[ROUNDS / 2]
    };
    let [mut parsed, mut resolved, mut ordered, mut all] = measured;
    let (parsed, resolved) = (median(&mut parsed), median(&mut resolved));
    let (ordered, all) = (median(&mut ordered), median(&mut all));
    println!(
        "{} resources in {FILES} files, {:.1} MB",
        FILES * EACH,
        megabytes
    );
    println!(
        "the parser alone, all documents kept   {:.2} s  {:.0} MB",
        parsed.0, parsed.1
    );
    println!(
        "resolved                               {:.2} s  {:.0} MB",
        resolved.0, resolved.1
    );
    println!(
        "ratio                                  {:.2}    {:.2}",
        resolved.0 / parsed.0,
        resolved.1 / parsed.1
    );
    println!("{NEEDS} needs of each: order, comparison");
    for (differ, of) in [("a tenth differs", ordered), ("all differ", all)] {
        println!("    {differ:35}{:.2} s  {:.0} MB", of.0, of.1);
    }
}

/// Parses the files one after the other, as the crate does it alone.
fn parse(dir: &Path) {
    let begin = Instant::now();
    let documents: Vec<_> = part_paths(dir)
        .map(|path| {
            fs::read_to_string(path)
                .unwrap()
                .parse::<kdl::KdlDocument>()
                .unwrap()
        })
        .collect();
    print_usage(begin);
    drop(documents);
}

/// Resolves the spec that includes them.
fn resolve_all(dir: &Path) -> Spec {
    let registry = stead_resources::registry();
    let main = dir.join("host.kdl");
    let begin = Instant::now();
    let source = load(main.clone(), fs::read(main).unwrap()).unwrap();
    let inputs = SpecInputs {
        read: &|path| fs::read(path),
        assignments: &[],
        environment: &|_| None,
        facts: &Facts::default,
    };
    let spec = resolve(&source, &inputs, &registry).unwrap();
    assert_eq!(spec.resources.len(), FILES * EACH);
    print_usage(begin);
    spec
}

/// Orders the resources, each of which needs those before it, and compares each with a reading, of which one in so many differs. What
/// would change is kept with both its sides, as a plan does.
fn order_and_compare(dir: &Path, one_in: usize) {
    let registry = stead_resources::registry();
    let mut spec = resolve_all(dir);
    for at in 0..spec.resources.len() {
        let before = spec.resources[at.saturating_sub(NEEDS)..at].iter();
        let before = before.map(|need| (need.address.clone(), need.span.clone()));
        spec.resources[at].requires = before.collect();
    }
    let readings = spec.resources.iter().enumerate();
    let observed: BTreeMap<_, _> = readings
        .map(|(at, resource)| observed_state(resource, at % one_in == 0))
        .collect();
    let begin = Instant::now();
    let graph = Graph::build(spec, &registry).unwrap();
    assert!(graph.needs().count() >= NEEDS * (FILES * EACH - NEEDS));
    let wanted = desired_resources(&graph);
    let comparison = diff(&registry, observed, &wanted);
    assert_eq!(comparison.changes.len(), FILES * EACH / one_in);
    print_usage(begin);
}

/// Makes a reading of which every attribute is there, and each is as it is wanted or none is.
fn observed_state(resource: &Resource, differs: bool) -> (Address, Option<State>) {
    let mut state = resource.desired.state().unwrap().clone();
    if differs {
        for value in state.as_object_mut().unwrap().values_mut() {
            *value = format!("not {value}").into();
        }
    }
    (resource.address.clone(), Some(state))
}

/// Prints seconds, and the most memory that the process had, in MB: `VmHWM` of `proc_pid_status(5)`.
fn print_usage(begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{seconds} {}", kib * 1024.0 / 1e6);
}

fn part_paths(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let dir = dir.to_owned();
    (0..FILES).map(move |file| dir.join(format!("part-{file}.kdl")))
}

/// Writes the spec; returns its bytes.
fn write_spec(dir: &Path) -> usize {
    let includes: Vec<_> = (0..FILES)
        .map(|file| format!("    include \"part-{file}.kdl\"\n"))
        .collect();
    let includes = includes.concat();
    fs::write(
        dir.join("host.kdl"),
        format!("host \"many\" {{\n{includes}}}\n"),
    )
    .unwrap();
    let mut bytes = 0;
    for (file, path) in part_paths(dir).enumerate() {
        let text: String = (0..EACH)
            .map(|number| resource_text(file, number))
            .collect();
        bytes += text.len();
        fs::write(path, text).unwrap();
    }
    bytes
}

fn resource_text(file: usize, number: usize) -> String {
    let name = format!("{file}-{number}");
    match number % 4 {
        0 => format!(
            "file \"/srv/f{name}\" mode=\"0644\" owner=\"root\" {{\n    content \"{name}\\n\"\n}}\n"
        ),
        1 => format!("directory \"/srv/d{name}\" mode=\"0755\"\n"),
        2 => format!("group \"g{name}\" gid={}\n", GID + file * EACH + number),
        _ => format!(
            "symlink \"/srv/l{name}\" target=\"/srv/d{file}-{}\"\n",
            number - 2
        ),
    }
}
