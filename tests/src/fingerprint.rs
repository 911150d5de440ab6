//! What a place looks like, written without any code of the engine, so that it can contradict it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::test_env::TestEnv;

/// What a place looks like: a line for each file, setting, table and unit.
pub type Fingerprint = BTreeMap<String, String>;

/// Says in which keys two fingerprints differ, with both values.
pub fn difference(one: &Fingerprint, other: &Fingerprint) -> Vec<String> {
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    keys.into_iter()
        .filter(|key| one.get(*key) != other.get(*key))
        .map(|key| format!("{key}: {:?} / {:?}", one.get(key), other.get(key)))
        .collect()
}

/// Adds the files of a directory: mode, owners, and what is in them.
pub(crate) fn add_files(inside: &impl TestEnv, dir: &str, found: &mut Fingerprint) {
    add_path(inside, Path::new(dir), found);
}

fn add_path(inside: &impl TestEnv, path: &Path, found: &mut Fingerprint) {
    let real = inside.outside_path(path.to_str().unwrap());
    let Ok(meta) = fs::symlink_metadata(&real) else {
        return;
    };
    let content = if meta.is_symlink() {
        format!("-> {}", fs::read_link(&real).unwrap().display())
    } else if meta.is_file() {
        String::from_utf8_lossy(&fs::read(&real).unwrap()).into_owned()
    } else {
        String::new()
    };
    let line = format!("{:o} {}:{} {content}", meta.mode(), meta.uid(), meta.gid());
    found.insert(path.display().to_string(), line);
    if meta.is_dir() {
        for entry in fs::read_dir(&real).unwrap() {
            add_path(inside, &path.join(entry.unwrap().file_name()), found);
        }
    }
}

/// Adds the sysctls whose names match a pattern.
pub(crate) fn add_sysctls(inside: &impl TestEnv, pattern: &str, found: &mut Fingerprint) {
    let settings = inside.run(&["sysctl", "-a", "--pattern", pattern]);
    assert!(!settings.out.is_empty(), "{settings:?}");
    for (key, value) in settings
        .out
        .lines()
        .filter_map(|line| line.split_once(" = "))
    {
        found.insert(format!("sysctl {key}"), value.to_owned());
    }
}

/// Adds the rules and policies of both back ends and both families.
pub(crate) fn add_rules(inside: &impl TestEnv, found: &mut Fingerprint) {
    for program in [
        "iptables-nft-save",
        "iptables-legacy-save",
        "ip6tables-nft-save",
        "ip6tables-legacy-save",
    ] {
        for (table, text) in nonempty_tables(&inside.run_ok(&[program]).out) {
            found.insert(format!("{program} {table}"), text);
        }
    }
}

/// Adds the lines that a program prints, each under its first word.
pub(crate) fn add_lines(inside: &impl TestEnv, name: &str, argv: &[&str], found: &mut Fingerprint) {
    for line in inside.run_ok(argv).out.lines() {
        let line: Vec<&str> = line.split_whitespace().collect();
        let key = format!("{name} {}", line.first().unwrap_or(&""));
        let values = found.entry(key).or_default();
        values.push_str(&line.join(" "));
        values.push('\n');
    }
}

/// Splits what `iptables-save` prints into tables. A table in which nothing was ever decided is as good as none:
/// a kernel that has once had a table of the legacy back end cannot lose it again.
fn nonempty_tables(text: &str) -> BTreeMap<String, String> {
    let mut tables: BTreeMap<String, String> = BTreeMap::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
        } else if line.starts_with([':', '-']) {
            let line = line.split(" [").next().unwrap_or(line);
            let text = tables.entry(table.clone()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    tables.retain(|_, text| {
        !text
            .lines()
            .all(|line| line.starts_with(':') && line.ends_with(" ACCEPT"))
    });
    tables
}
