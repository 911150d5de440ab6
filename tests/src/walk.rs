//! A walk: one thing after the other goes wrong, each in a run of its own. The normal run takes a sample of the cases, and
//! `STEAD_EXHAUSTIVE=1` takes all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use crate::test_env::TestEnv;

/// Where strace leaves what it saw of a run that nothing was injected into.
const TRACE_FILE: &str = "/run/calls";

/// Returns whether a walk takes all of its cases.
pub fn is_exhaustive() -> bool {
    std::env::var_os("STEAD_EXHAUSTIVE").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Returns the seed of `STEAD_SEED`, or one that was not there before: all tests of one run of nextest have the same.
///
/// # Panics
/// If the variable is no number.
pub fn seed() -> u64 {
    if let Ok(given) = std::env::var("STEAD_SEED") {
        return given.parse().expect("STEAD_SEED is a number");
    }
    match std::env::var("NEXTEST_RUN_ID") {
        Ok(run) => {
            let digest = Sha256::digest(run);
            u64::from(u32::from_le_bytes(digest[..4].try_into().unwrap()))
        }
        Err(_) => seed_from_clock(),
    }
}

fn seed_from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap().as_micros()).unwrap()
}

/// More calls of one list than a run can make; reaching it means that the walk does not end by itself.
const MAX_CALLS: usize = 10_000;

/// Walks over the calls of lists, which strace counts each name by itself: `once` makes a run in which something happens at the call of a
/// number, and returns whether there was one. The normal run takes a sample of `size` of the calls that are `made`, an exhaustive one
/// goes on until there is no call of a number. Returns how many cases there were, and prints it.
///
/// # Panics
/// If there was none.
pub fn for_each_call<'a>(
    walk: &str,
    (lists, share): (&[&'a str], Share),
    size: usize,
    made: Vec<Call>,
    mut once: impl FnMut(&'a str, usize) -> bool,
) -> usize {
    let mut taken = 0;
    if is_exhaustive() {
        for list in lists {
            let mut number = 1;
            while once(list, number) {
                assert!(number < MAX_CALLS, "{walk} does not end");
                number += 1;
            }
            taken += number - 1;
        }
        print(&format!("{walk}: all of {taken} cases"));
    } else {
        let mut cases: BTreeMap<(&'a str, usize), BTreeSet<String>> = BTreeMap::new();
        for call in made {
            let is_in = |list: &&&'a str| list.split(',').any(|name| name == call.name);
            let list = lists.iter().find(is_in).expect("strace saw no other");
            let classes = cases.entry((list, call.number)).or_default();
            classes.extend(call.classes);
        }
        let (cases, classes): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
        for case in sample(walk, share, &classes, size) {
            let (list, number) = cases[case];
            taken += usize::from(once(list, number));
        }
    }
    assert!(taken > 0, "{walk}: nothing happened");
    taken
}

/// One of several walks over the same cases, of which each takes its share of the classes: which class is whose comes of the seed.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Which of them it is, from 0 on.
    pub index: u64,
    /// How many there are.
    pub count: u64,
}

impl Share {
    /// A walk that takes all classes.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    fn includes(self, seed: u64, class: &str) -> bool {
        let digest = Sha256::digest([&seed.to_le_bytes(), class.as_bytes()].concat());
        u64::from(digest[0]) % self.count == self.index
    }
}

/// Says which cases of a walk are taken, by what each of them is like: one of each class of its share, the first and the last, and others
/// until there are `size` of them. Prints the seed by which the same are taken again.
pub fn sample(walk: &str, share: Share, classes: &[BTreeSet<String>], size: usize) -> Vec<usize> {
    let (seed, all) = (seed(), classes.len());
    let taken: Vec<usize> = if is_exhaustive() {
        (0..all).collect()
    } else {
        choose(seed, share, classes, size)
    };
    print(&format!(
        "{walk}: {} of {all} cases; the same again: STEAD_SEED={seed}, all of them: STEAD_EXHAUSTIVE=1",
        taken.len()
    ));
    taken
}

#[expect(
    clippy::print_stdout,
    reason = "whoever reads the test run needs the seed to repeat it"
)]
fn print(text: &str) {
    println!("{text}");
}

fn choose(seed: u64, share: Share, classes: &[BTreeSet<String>], size: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.sort_by_key(|case| {
        let mut digest = Sha256::new();
        digest.update(seed.to_le_bytes());
        digest.update(case.to_le_bytes());
        digest.finalize().to_vec()
    });
    let mut taken: BTreeSet<usize> = [0, classes.len().saturating_sub(1)]
        .into_iter()
        .filter(|case| *case < classes.len())
        .collect();
    let mut covered: BTreeSet<&String> = taken.iter().flat_map(|case| &classes[*case]).collect();
    for case in &order {
        let is_new = |class: &String| !covered.contains(class) && share.includes(seed, class);
        if classes[*case].iter().any(is_new) {
            taken.insert(*case);
            covered.extend(&classes[*case]);
        }
    }
    for case in order {
        if taken.len() >= size {
            break;
        }
        taken.insert(case);
    }
    taken.into_iter().collect()
}

/// A call of a run, as strace counts it: the first, the second and so on of its name, in each thread for itself.
#[derive(Debug)]
pub struct Call {
    /// The name of the system call.
    pub name: String,
    /// How many of that name there were in a thread with it.
    pub number: usize,
    /// What it is like in each thread that makes as many: its name, and the files that it is made on, whatever their numbers are.
    pub classes: BTreeSet<String>,
}

/// Runs stead to its end and returns the calls that it and its programs make.
///
/// # Panics
/// If the run does not end with `code`.
pub fn trace_calls(
    place: &impl TestEnv,
    calls: &str,
    paths: &[String],
    arguments: &[&str],
    code: i32,
) -> Vec<Call> {
    let (stead, traced) = (place.stead_path(), format!("trace={calls}"));
    let mut argv = vec!["strace", "-f", "-q", "-y", "-o", TRACE_FILE, "-e", &traced];
    argv.push("--seccomp-bpf");
    argv.extend(paths.iter().flat_map(|path| ["-P", path]));
    argv.extend(["--", stead.as_str()]);
    argv.extend(arguments);
    let mut command = place.command(&argv);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    parse_trace(&place.get(TRACE_FILE).expect("strace writes it"))
}

fn parse_trace(trace: &str) -> Vec<Call> {
    let mut found: BTreeMap<(&str, usize), BTreeSet<String>> = BTreeMap::new();
    let mut made: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, class)) = call_class(call.trim_start()) else {
            continue;
        };
        let number = made.entry((thread, name)).or_default();
        *number += 1;
        let classes = found.entry((name, *number)).or_default();
        // Between two records of the journal another end is right: none of them is like another.
        if name.ends_with("sync") && class.contains(JOURNAL_CLASS) {
            classes.insert(format!("{class} {number}"));
        } else {
            classes.insert(class);
        }
    }
    let calls = found.into_iter().map(|((name, number), classes)| Call {
        name: name.to_owned(),
        number,
        classes,
    });
    calls.collect()
}

/// Returns the name of a call and what it is like. `None` for the second half of a line, and for what is no call.
fn call_class(call: &str) -> Option<(&str, String)> {
    let (name, words) = call.split_once('(')?;
    if name.starts_with(['<', '+', '-']) {
        return None;
    }
    // A file that is open, or one that is named: what is written into it stands between quotes as well.
    let open = words.find('<').map(|begin| (begin, '>'));
    let named = words.find('"').map(|begin| (begin, '"'));
    let file = match (open, named) {
        (Some(open), Some(named)) => Some(open.min(named)),
        (open, named) => open.or(named),
    };
    let file = file.map_or("", |(begin, end)| {
        let path = &words[begin + 1..];
        path.split(end).next().unwrap_or(path)
    });
    let is_temporary = words.contains("stead-new");
    Some((name, format!("{name} {} {is_temporary}", path_class(file))))
}

/// What files of a run are like.
const JOURNAL_CLASS: &str = "the journal";

/// Where a file is: at the top of the host, or what it is to stead.
fn path_class(file: &str) -> &str {
    let second = file.match_indices('/').nth(1);
    if file.ends_with("/journal") {
        JOURNAL_CLASS
    } else if file.starts_with("/var/lib/stead") {
        "/var/lib/stead"
    } else if file.contains(":[") {
        file.split(":[").next().unwrap_or(file)
    } else {
        second.map_or(file, |(end, _)| &file[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes_of(names: &[&str]) -> Vec<BTreeSet<String>> {
        let one = |name: &&str| BTreeSet::from([(*name).to_owned()]);
        names.iter().map(one).collect()
    }

    #[test]
    fn sample_has_each_class_and_both_ends() {
        let classes = classes_of(&["a", "b", "b", "b", "c", "b", "b", "b"]);
        for seed in 0..50 {
            let taken = choose(seed, Share::WHOLE, &classes, 5);
            assert_eq!(taken.len(), 5, "{taken:?}");
            for case in [0, 4, 7] {
                assert!(taken.contains(&case), "{taken:?}");
            }
            assert_eq!(taken, choose(seed, Share::WHOLE, &classes, 5));
        }
        let whole = |seed| choose(seed, Share::WHOLE, &classes, 5);
        assert_ne!(whole(1), whole(2));
        assert!(choose(1, Share::WHOLE, &[], 5).is_empty());
        assert_eq!(choose(1, Share::WHOLE, &classes[..2], 5), [0, 1]);
    }

    #[test]
    fn shares_cover_each_class_together() {
        let classes = classes_of(&["-", "a", "b", "c", "d", "e", "f", "g", "h", "-"]);
        let taken = (0..4).flat_map(|index| choose(1, Share { index, count: 4 }, &classes, 0));
        let taken: BTreeSet<usize> = taken.collect();
        assert_eq!(taken, (0..classes.len()).collect());
    }

    #[test]
    fn calls_are_counted_by_name_in_each_thread() {
        let trace = "7 fsync(3</a>) = 0\n8  fsync(4</b>) = 0\n7 rename(\"a\", \"b\") = 0\n7 fsync(3</c> <unfinished ...>\n\
            7 <... fsync resumed>) = 0\n7 +++ exited with 0 +++\n";
        let found = parse_trace(trace);
        let found: Vec<_> = found
            .iter()
            .map(|call| (call.name.as_str(), call.number, call.classes.len()))
            .collect();
        assert_eq!(found, [("fsync", 1, 2), ("fsync", 2, 1), ("rename", 1, 1)]);
    }

    #[test]
    fn call_class_is_its_name_and_files() {
        for (line, expected) in [
            (
                "fdatasync(7</var/lib/stead/runs/000012/journal>) = 0",
                Some("fdatasync the journal false"),
            ),
            (
                "renameat2(5</srv/app>, \".old.stead-new\", 5</srv/app>, \"old\", 0) = 0",
                Some("renameat2 /srv true"),
            ),
            (
                "unlinkat(AT_FDCWD, \"/etc/systemd/system/a.service\", 0) = 0",
                Some("unlinkat /etc false"),
            ),
            (
                "write(7</run/lock>, \"one \\\" <two>\"..., 9 <unfinished ...>",
                Some("write /run false"),
            ),
            (
                "sendmsg(3<socket:[4711]>, {}) = 0",
                Some("sendmsg socket false"),
            ),
            ("<... fsync resumed>) = 0", None),
            ("+++ exited with 0 +++", None),
        ] {
            let class = call_class(line).map(|(_, class)| class);
            assert_eq!(class.as_deref(), expected, "{line}");
        }
    }
}
