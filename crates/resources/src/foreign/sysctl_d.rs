//! Files of sysctl.d as sysctls: their precedence is that of systemd-sysctl(8) and sysctl.d(5).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::json;
use stead_engine::{
    import::{coverage::KindCoverage, translate::Wishes},
    model::address::Address,
    provider::traits::Provider,
};

use crate::{
    files::conf_d::boot_files,
    foreign::SourceError,
    host::{HostError, Reader},
    kernel::sysctl_d::{FOLDERS, canonical, name, path},
    kinds::sysctl::Sysctl,
};

/// What was named: folders first, as sysctl.d(5) puts them in order, then files as they were named.
#[derive(Debug, Default)]
pub(super) struct Sysctls {
    /// Real paths of folders.
    pub(super) folders: Vec<String>,
    /// Files, by the path that was named, with their texts.
    files: Vec<(String, String)>,
}

/// The files that were named.
struct Texts {
    /// Those that count with what is in them, in the order in which they are read.
    files: Vec<(String, String)>,
    /// The paths of those that others hide.
    hidden: Vec<String>,
}

/// A line that sets a key.
#[derive(Debug)]
struct Said {
    place: String,
    /// `None` if it only keeps patterns off.
    value: Option<String>,
    /// Whether a `-` stands before it.
    may_fail: bool,
}

const OVERRIDDEN: &str = "overridden by a later line";
const HIDDEN: &str =
    "its file is overridden by one of the same name in a directory with precedence";
const PATTERN: &str = "its name is a pattern, which also matches keys that do not exist yet; keep the line in a `file`";
const NO_KEY: &str = "it is not the key of a sysctl";
const STRANGE: &str = "it is not `key = value`";
const EXCEPTION: &str = "it sets nothing, it only excludes a key from patterns";
const NOT_UTF8: &str = "it is not UTF-8";
const EMPTY: &str = "its value is empty";
const MAY_FAIL: &str = "this kernel does not have it now, which the `-` before it ignores";
const NOT_THERE: &str = "this kernel does not have it now; it may come with a module";
const READ_ONLY: &str = "it is read-only";

impl Sysctls {
    /// Adds a file that was named. One that has lines, but none that could be meant, was named by mistake.
    pub(super) fn add_file(&mut self, path: String, bytes: &[u8]) -> Result<(), SourceError> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines: Vec<_> = text
            .lines()
            .map(|line| said(line.trim(), String::new()).map(|said| said.is_some()))
            .collect();
        let is_strange = |line: &Result<bool, &str>| matches!(line, Err(STRANGE | NOT_UTF8));
        if lines.iter().any(is_strange)
            && lines
                .iter()
                .all(|line| *line == Ok(false) || is_strange(line))
        {
            return Err(SourceError::NoSysctls(path));
        }
        self.files.push((path, text));
        Ok(())
    }

    /// Adds what the files say.
    pub(super) fn add_to(self, wishes: &mut Wishes, host: &Reader) -> Result<(), SourceError> {
        if self.folders.is_empty() && self.files.is_empty() {
            return Ok(());
        }
        let Texts { files, hidden } = self.texts()?;
        let heading = "Kernel settings.".to_owned();
        wishes.headings.insert(Sysctl::KIND.to_owned(), heading);
        let found = wishes.coverage.of(Sysctl::KIND);
        for path in hidden {
            found.ignore(HIDDEN, path);
        }
        for (name, mut lines) in settings(&files, found) {
            let Some(last) = lines.pop() else { continue };
            for earlier in lines {
                found.ignore(OVERRIDDEN, earlier.of(&name));
            }
            match last.fate(host, &name)? {
                Fate::Written(value) => {
                    let address = Address::new(Sysctl::KIND, name);
                    wishes.resources.insert(address, json!({ "value": value }));
                }
                Fate::PassedOver(why) => found.ignore(why, last.of(&name)),
                Fate::Unsaid(why) => {
                    found.unreadable.insert(last.of(&name), why.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Reads the files.
    fn texts(mut self) -> Result<Texts, SourceError> {
        // Folders that were copied from a host count as those that they were.
        self.folders.sort_by_key(|folder| {
            let mut known = FOLDERS.iter();
            known.position(|known| Path::new(folder).ends_with(known.trim_start_matches('/')))
        });
        // A folder that was named is input: it is read where it is, whatever the root of the host.
        let here = Reader::new(Path::new("/"));
        let folders: Vec<&str> = self.folders.iter().map(String::as_str).collect();
        let files = boot_files(&here, &folders)?;
        let counting: BTreeSet<&PathBuf> = files.iter().map(|file| &file.path).collect();
        let mut hidden = vec![];
        for folder in &folders {
            for name in here.list_folder(Path::new(folder))? {
                let path = Path::new(folder).join(name);
                let is_one = path.extension().is_some_and(|end| end == "conf");
                if is_one && !counting.contains(&path) {
                    hidden.push(path.display().to_string());
                }
            }
        }
        let files = files
            .into_iter()
            .map(|file| (file.path.display().to_string(), file.text));
        Ok(Texts {
            files: files.chain(self.files).collect(),
            hidden,
        })
    }
}

/// Returns the lines for each sysctl in the order in which they are read; what is none for a single sysctl is named.
fn settings(files: &[(String, String)], found: &mut KindCoverage) -> BTreeMap<String, Vec<Said>> {
    let mut settings: BTreeMap<String, Vec<Said>> = BTreeMap::new();
    for (path, text) in files {
        for (index, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", index + 1);
            match said(line.trim(), place.clone()) {
                Ok(None) => {}
                Ok(Some((name, said))) => settings.entry(name).or_default().push(said),
                Err(why) => drop(found.unreadable.insert(place, why.to_owned())),
            }
        }
    }
    settings
}

/// Reads a line as systemd-sysctl does; says why it is for no single sysctl. The line itself is not repeated: it may be of any file.
fn said(line: &str, place: String) -> Result<Option<(String, Said)>, &'static str> {
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
        None => return Err(STRANGE),
    };
    if key.contains(['*', '?', '[']) {
        return Err(PATTERN);
    }
    let name = name(key).ok_or(NO_KEY)?;
    let said = Said {
        place,
        value,
        may_fail,
    };
    Ok(Some((name, said)))
}

/// What becomes of the line that counts.
enum Fate {
    Written(String),
    PassedOver(&'static str),
    Unsaid(&'static str),
}

impl Said {
    /// Says the line in few words.
    fn of(&self, name: &str) -> String {
        match &self.value {
            Some(value) => format!("{} {name} = {value}", self.place),
            None => format!("{} -{name}", self.place),
        }
    }

    fn fate(&self, host: &Reader, name: &str) -> Result<Fate, HostError> {
        let Some(value) = &self.value else {
            return Ok(Fate::PassedOver(EXCEPTION));
        };
        Ok(match host.stat(&path(name))? {
            _ if value.is_empty() => Fate::Unsaid(EMPTY),
            Some(meta) if meta.mode & 0o222 == 0 => Fate::Unsaid(READ_ONLY),
            Some(_) => Fate::Written(value.clone()),
            None if self.may_fail => Fate::PassedOver(MAY_FAIL),
            None => Fate::Unsaid(NOT_THERE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::Root;

    const KEYS: [(&str, &str); 3] = [
        ("/proc/sys/net/ipv4/ip_forward", "0\n"),
        ("/proc/sys/net/ipv4/tcp_rmem", "1 2 3\n"),
        ("/proc/sys/net/ipv4/conf/eth0.100/rp_filter", "0\n"),
    ];

    /// Reads these files of a folder each, and these texts; returns what is written, and what is not, with the reason.
    fn read(there: &[(&str, &str)], folders: &[&str], text: &str) -> (Vec<String>, Vec<String>) {
        let files: Vec<(&str, &str)> = KEYS.iter().chain(there).copied().collect();
        let root = Root::new(&files);
        let at = |path: &&str| {
            format!(
                "{}{path}",
                root.at("").display().to_string().trim_end_matches('/')
            )
        };
        let mut sysctls = Sysctls {
            folders: folders.iter().map(at).collect(),
            ..Sysctls::default()
        };
        sysctls
            .add_file("named".to_owned(), text.as_bytes())
            .unwrap();
        let mut wishes = Wishes::default();
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
    fn the_order_is_that_of_systemd_sysctl() {
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
        let folders = ["/usr/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d"];
        let (written, left) = read(&there, &folders, "");
        assert_eq!(written, ["net.ipv4.ip_forward 3"]);
        assert_eq!(
            left,
            [
                format!("/usr/lib/sysctl.d/50-x.conf: {HIDDEN}"),
                format!("/etc/sysctl.d/50-x.conf:1 {key} = 2: {OVERRIDDEN}"),
                format!("/run/sysctl.d/40-z.conf:1 {key} = 4: {OVERRIDDEN}"),
            ]
        );
        let (written, _) = read(&there, &folders, "net/ipv4/ip_forward = 9\n");
        assert_eq!(written, ["net.ipv4.ip_forward 9"], "named files come last");
    }

    #[test]
    fn every_line_is_written_or_named() {
        let text = "# a\n; b\n\n  net/ipv4/conf/eth0.100/rp_filter=  2 \nnet.ipv4.tcp_rmem = 4\t5  6\n\
            -net.ipv4.none = 1\nnet.ipv4.nothing = 1\nnet.ipv4.conf.*.rp_filter = 1\n\
            -net.ipv4.conf.all.rp_filter\nhello\nroot:$y$secret\nkernel = 1\nnet.ipv4.ip_forward =\n../../etc/x = 1\n";
        let (written, left) = read(&[], &[], text);
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
                format!("named:10: {STRANGE}"),
                format!("named:11: {STRANGE}"),
                format!("named:12: {NO_KEY}"),
                format!("named:13 net.ipv4.ip_forward = : {EMPTY}"),
                format!("named:14: {NO_KEY}"),
                format!("named:7 net.ipv4.nothing = 1: {NOT_THERE}"),
                format!("named:8: {PATTERN}"),
                format!("named:9 -net.ipv4.conf.all.rp_filter: {EXCEPTION}"),
                format!("named:6 net.ipv4.none = 1: {MAY_FAIL}"),
            ]
        );
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        for (text, is_one) in [
            ("root:x:0:0\n", false),
            ("\u{fffd}\n# a\n", false),
            ("root:x:0:0\na.b = c\n", true),
            ("# nothing\n", true),
            ("", true),
        ] {
            let added = Sysctls::default().add_file("f".to_owned(), text.as_bytes());
            assert_eq!(added.is_ok(), is_one, "{text}");
        }
    }

    #[test]
    fn a_key_that_patterns_leave_alone_is_no_longer_set() {
        let text = "net.ipv4.ip_forward = 1\n-net.ipv4.ip_forward\n";
        let (written, left) = read(&[], &[], text);
        assert!(written.is_empty());
        assert_eq!(left.len(), 2, "{left:?}");
    }
}
