//! Files of sysctl.d as sysctls: their precedence is that of systemd-sysctl(8) and sysctl.d(5).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::json;
use stead_engine::{
    import::{coverage::KindCoverage, translate::ForeignSpec},
    model::address::Address,
    provider::traits::Provider,
};

use crate::{
    files::conf_d::read_conf_dirs,
    foreign::SourceError,
    host::{HostError, Reader},
    kernel::sysctl_d::{CONF_DIRS, canonical, name, path},
    kinds::sysctl::Sysctl,
};

/// What was named: directories first, as sysctl.d(5) puts them in order, then files as they were named.
#[derive(Debug, Default)]
pub(super) struct SysctlFiles {
    /// Real paths of directories.
    pub(super) dirs: Vec<String>,
    /// Files, by the path that was named, with their texts.
    files: Vec<(String, String)>,
}

/// The files that were named.
struct SourceTexts {
    /// Those that count with what is in them, in the order in which they are read.
    files: Vec<(String, String)>,
    /// The paths of those that others hide.
    hidden: Vec<String>,
}

/// A line that sets a key.
#[derive(Debug)]
struct SysctlLine {
    location: String,
    /// `None` if it only keeps patterns off.
    value: Option<String>,
    /// Whether a `-` stands before it.
    may_fail: bool,
}

const OVERRIDDEN: &str = "overridden by a later line";
const HIDDEN: &str =
    "its file is overridden by one of the same name in a directory with precedence";
const PATTERN: &str = "its name is a pattern, which also matches keys that do not exist yet; keep the line in a `file`";
const INVALID_KEY: &str = "it is not the key of a sysctl";
const NOT_ASSIGNMENT: &str = "it is not `key = value`";
const EXCEPTION: &str = "it sets nothing, it only excludes a key from patterns";
const NOT_UTF8: &str = "it is not UTF-8";
const EMPTY: &str = "its value is empty";
const MAY_FAIL: &str = "this kernel does not have it now, which the `-` before it ignores";
const UNKNOWN_KEY: &str = "this kernel does not have it now; it may come with a module";
const READ_ONLY: &str = "it is read-only";

impl SysctlFiles {
    /// Adds a file that was named. One that has lines, but none that could be meant, was named by mistake.
    pub(super) fn add_file(&mut self, path: String, bytes: &[u8]) -> Result<(), SourceError> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines: Vec<_> = text
            .lines()
            .map(|line| parse_line(line.trim(), String::new()).map(|said| said.is_some()))
            .collect();
        let is_strange = |line: &Result<bool, &str>| matches!(line, Err(NOT_ASSIGNMENT | NOT_UTF8));
        if lines.iter().any(is_strange)
            && lines
                .iter()
                .all(|line| *line == Ok(false) || is_strange(line))
        {
            return Err(SourceError::NotSysctls(path));
        }
        self.files.push((path, text));
        Ok(())
    }

    /// Adds what the files say.
    pub(super) fn add_to(self, spec: &mut ForeignSpec, host: &Reader) -> Result<(), SourceError> {
        if self.dirs.is_empty() && self.files.is_empty() {
            return Ok(());
        }
        let SourceTexts { files, hidden } = self.read_files()?;
        let heading = "Kernel settings.".to_owned();
        spec.headings.insert(Sysctl::KIND.to_owned(), heading);
        let found = spec.coverage.kind_mut(Sysctl::KIND);
        for path in hidden {
            found.ignore(HIDDEN, path);
        }
        for (name, mut lines) in lines_by_name(&files, found) {
            let Some(last) = lines.pop() else { continue };
            for earlier in lines {
                found.ignore(OVERRIDDEN, earlier.describe(&name));
            }
            match last.disposition(host, &name)? {
                LineDisposition::Written(value) => {
                    let address = Address::new(Sysctl::KIND, name);
                    spec.resources.insert(address, json!({ "value": value }));
                }
                LineDisposition::Ignored(why) => found.ignore(why, last.describe(&name)),
                LineDisposition::Unrepresentable(why) => {
                    found
                        .unreadable
                        .insert(last.describe(&name), why.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Reads the files.
    fn read_files(mut self) -> Result<SourceTexts, SourceError> {
        // Directories that were copied from a host count as those that they were.
        self.dirs.sort_by_key(|dir| {
            let mut known = CONF_DIRS.iter();
            known.position(|known| Path::new(dir).ends_with(known.trim_start_matches('/')))
        });
        // A directory that was named is input: it is read where it is, whatever the root of the host.
        let here = Reader::new(Path::new("/"));
        let directories: Vec<&str> = self.dirs.iter().map(String::as_str).collect();
        let files = read_conf_dirs(&here, &directories)?;
        let counting: BTreeSet<&PathBuf> = files.iter().map(|file| &file.path).collect();
        let mut hidden = vec![];
        for dir in &directories {
            for name in here.list_dir(Path::new(dir))? {
                let path = Path::new(dir).join(name);
                let is_one = path.extension().is_some_and(|end| end == "conf");
                if is_one && !counting.contains(&path) {
                    hidden.push(path.display().to_string());
                }
            }
        }
        let files = files
            .into_iter()
            .map(|file| (file.path.display().to_string(), file.text));
        Ok(SourceTexts {
            files: files.chain(self.files).collect(),
            hidden,
        })
    }
}

/// Returns the lines for each sysctl in the order in which they are read; what is none for a single sysctl is named.
fn lines_by_name(
    files: &[(String, String)],
    found: &mut KindCoverage,
) -> BTreeMap<String, Vec<SysctlLine>> {
    let mut settings: BTreeMap<String, Vec<SysctlLine>> = BTreeMap::new();
    for (path, text) in files {
        for (index, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", index + 1);
            match parse_line(line.trim(), place.clone()) {
                Ok(None) => {}
                Ok(Some((name, said))) => settings.entry(name).or_default().push(said),
                Err(why) => drop(found.unreadable.insert(place, why.to_owned())),
            }
        }
    }
    settings
}

/// Reads a line as systemd-sysctl does; says why it is for no single sysctl. The line itself is not repeated: it may be of any file.
fn parse_line(line: &str, location: String) -> Result<Option<(String, SysctlLine)>, &'static str> {
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(None);
    }
    if line.contains(char::REPLACEMENT_CHARACTER) {
        return Err(NOT_UTF8);
    }
    let (may_fail, line) = match line.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (key, value) = match line.split_once('=') {
        Some((key, value)) => (key.trim(), Some(canonical(value))),
        None if may_fail => (line.trim(), None),
        None => return Err(NOT_ASSIGNMENT),
    };
    if key.contains(['*', '?', '[']) {
        return Err(PATTERN);
    }
    let name = name(key).ok_or(INVALID_KEY)?;
    let said = SysctlLine {
        location,
        value,
        may_fail,
    };
    Ok(Some((name, said)))
}

/// What becomes of the line that counts.
enum LineDisposition {
    Written(String),
    Ignored(&'static str),
    Unrepresentable(&'static str),
}

impl SysctlLine {
    /// Says the line in few words.
    fn describe(&self, name: &str) -> String {
        match &self.value {
            Some(value) => format!("{} {name} = {value}", self.location),
            None => format!("{} -{name}", self.location),
        }
    }

    fn disposition(&self, host: &Reader, name: &str) -> Result<LineDisposition, HostError> {
        let Some(value) = &self.value else {
            return Ok(LineDisposition::Ignored(EXCEPTION));
        };
        Ok(match host.stat(&path(name))? {
            _ if value.is_empty() => LineDisposition::Unrepresentable(EMPTY),
            Some(meta) if meta.mode & 0o222 == 0 => LineDisposition::Unrepresentable(READ_ONLY),
            Some(_) => LineDisposition::Written(value.clone()),
            None if self.may_fail => LineDisposition::Ignored(MAY_FAIL),
            None => LineDisposition::Unrepresentable(UNKNOWN_KEY),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    const KEYS: [(&str, &str); 3] = [
        ("/proc/sys/net/ipv4/ip_forward", "0\n"),
        ("/proc/sys/net/ipv4/tcp_rmem", "1 2 3\n"),
        ("/proc/sys/net/ipv4/conf/eth0.100/rp_filter", "0\n"),
    ];

    /// Reads these files of a directory each, and these texts; returns what is written, and what is not, with the reason.
    fn read_settings(
        there: &[(&str, &str)],
        directories: &[&str],
        text: &str,
    ) -> (Vec<String>, Vec<String>) {
        let files: Vec<(&str, &str)> = KEYS.iter().chain(there).copied().collect();
        let root = TestRoot::new(&files);
        let at = |path: &&str| {
            format!(
                "{}{path}",
                root.at("").display().to_string().trim_end_matches('/')
            )
        };
        let mut sysctls = SysctlFiles {
            dirs: directories.iter().map(at).collect(),
            ..SysctlFiles::default()
        };
        sysctls
            .add_file("named".to_owned(), text.as_bytes())
            .unwrap();
        let mut wishes = ForeignSpec::default();
        sysctls.add_to(&mut wishes, &root.reader()).unwrap();
        let written = wishes.resources.iter();
        let written = written.map(|(address, state)| {
            format!("{} {}", address.name, state["value"].as_str().unwrap())
        });
        let found = &wishes.coverage.0["sysctl"];
        let ignored = found.ignored.iter().flat_map(|(rule, names)| {
            let names = names.iter();
            names.map(move |name| format!("{name}: {rule}"))
        });
        let unsaid = found.unreadable.iter();
        let unsaid = unsaid.map(|(name, why)| format!("{name}: {why}"));
        let plain = |what: String| what.replace(root.at("").to_str().unwrap(), "/");
        (
            written.collect(),
            unsaid.chain(ignored).map(plain).collect(),
        )
    }

    #[test]
    fn sysctl_files_are_read_in_systemd_order() {
        let key = "net.ipv4.ip_forward";
        let there: Vec<(String, String)> = [
            ("/usr/lib/sysctl.d/50-x.conf", "1"),
            ("/etc/sysctl.d/50-x.conf", "2"),
            ("/usr/lib/sysctl.d/60-y.conf", "3"),
            ("/run/sysctl.d/40-z.conf", "4"),
        ]
        .map(|(path, value)| (path.to_owned(), format!("{key}={value}\n")))
        .into();
        let there: Vec<(&str, &str)> = there
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        let directories = ["/usr/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d"];
        let (written, left) = read_settings(&there, &directories, "");
        assert_eq!(written, ["net.ipv4.ip_forward 3"]);
        assert_eq!(
            left,
            [
                format!("/usr/lib/sysctl.d/50-x.conf: {HIDDEN}"),
                format!("/etc/sysctl.d/50-x.conf:1 {key} = 2: {OVERRIDDEN}"),
                format!("/run/sysctl.d/40-z.conf:1 {key} = 4: {OVERRIDDEN}"),
            ]
        );
        let (written, _) = read_settings(&there, &directories, "net/ipv4/ip_forward = 9\n");
        assert_eq!(written, ["net.ipv4.ip_forward 9"], "named files come last");
    }

    #[test]
    fn every_sysctl_line_is_imported_or_reported() {
        let text = "# a\n; b\n\n  net/ipv4/conf/eth0.100/rp_filter=  2 \nnet.ipv4.tcp_rmem = 4\t5  6\n\
            -net.ipv4.none = 1\nnet.ipv4.nothing = 1\nnet.ipv4.conf.*.rp_filter = 1\n\
            -net.ipv4.conf.all.rp_filter\nhello\nroot:$y$secret\nkernel = 1\nnet.ipv4.ip_forward =\n../../etc/x = 1\n";
        let (written, left) = read_settings(&[], &[], text);
        assert_eq!(
            written,
            [
                "net.ipv4.conf.eth0/100.rp_filter 2",
                "net.ipv4.tcp_rmem 4 5 6"
            ]
        );
        assert_eq!(
            left,
            [
                format!("named:10: {NOT_ASSIGNMENT}"),
                format!("named:11: {NOT_ASSIGNMENT}"),
                format!("named:12: {INVALID_KEY}"),
                format!("named:13 net.ipv4.ip_forward = : {EMPTY}"),
                format!("named:14: {INVALID_KEY}"),
                format!("named:7 net.ipv4.nothing = 1: {UNKNOWN_KEY}"),
                format!("named:8: {PATTERN}"),
                format!("named:9 -net.ipv4.conf.all.rp_filter: {EXCEPTION}"),
                format!("named:6 net.ipv4.none = 1: {MAY_FAIL}"),
            ]
        );
    }

    #[test]
    fn file_that_is_no_sysctl_conf_is_rejected() {
        for (text, is_one) in [
            ("root:x:0:0\n", false),
            ("\u{fffd}\n# a\n", false),
            ("root:x:0:0\na.b = c\n", true),
            ("# nothing\n", true),
            ("", true),
        ] {
            let added = SysctlFiles::default().add_file("f".to_owned(), text.as_bytes());
            assert_eq!(added.is_ok(), is_one, "{text}");
        }
    }

    #[test]
    fn exclusion_line_unsets_an_earlier_key() {
        let text = "net.ipv4.ip_forward = 1\n-net.ipv4.ip_forward\n";
        let (written, left) = read_settings(&[], &[], text);
        assert!(written.is_empty());
        assert_eq!(left.len(), 2, "{left:?}");
    }
}
