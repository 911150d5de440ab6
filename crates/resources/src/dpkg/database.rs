//! What dpkg has installed and what apt could install, from their own files: a plan runs none of their programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::host::{HostError, MetaKind, Reader};

/// dpkg's database: dpkg(1), FILES.
const STATUS: &str = "/var/lib/dpkg/status";
/// Steps that dpkg has not entered into its database yet: dpkg(1) was interrupted.
const UPDATES: &str = "/var/lib/dpkg/updates";
/// Which packages were installed because others need them: apt-mark(8), FILES.
const EXTENDED_STATES: &str = "/var/lib/apt/extended_states";
/// What the archives have, as `apt-get update` has fetched it: apt-get(8), FILES.
const LISTS: &str = "/var/lib/apt/lists";
/// The largest database that is read, in bytes.
const LIMIT: u64 = 256 << 20;

/// A package that is on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InstalledPackage {
    pub(crate) version: String,
    /// Whether dpkg has finished it and is not to remove it.
    pub(crate) is_configured: bool,
    /// Whether apt leaves it at its version.
    pub(crate) is_held: bool,
    /// Whether it is there only because others need it.
    pub(crate) is_automatic: bool,
}

/// Returns the packages of these names that are on the host, those of its own architecture.
pub(crate) fn installed_packages(
    host: &Reader,
    names: &[&str],
) -> Result<BTreeMap<String, InstalledPackage>, HostError> {
    let database = DpkgDatabase::read(host)?;
    let found = names.iter().filter_map(|name| {
        let package = database.packages.get(*name)?;
        Some(((*name).to_owned(), package.clone()))
    });
    Ok(found.collect())
}

/// What dpkg and apt know of one moment.
#[derive(Debug, Default)]
pub(crate) struct DpkgDatabase {
    /// The packages that are on the host, those of its own architecture.
    pub(crate) packages: BTreeMap<String, InstalledPackage>,
    /// Names of packages that every system has: because of their priority (Debian Policy, 2.5 and 3.8), or because one of those needs them.
    pub(crate) base: BTreeSet<String>,
    /// Names of packages of other architectures.
    pub(crate) foreign_packages: BTreeSet<String>,
    /// The files in /etc that packages brought, removed ones too, with the MD5 of what was in them.
    pub(crate) conffiles: BTreeMap<String, Conffile>,
}

/// A file in /etc of a package: dpkg(1), conffiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conffile {
    /// MD5 in hexadecimal.
    pub(crate) md5: String,
    /// Whether the package as it is now has it.
    pub(crate) is_current: bool,
}

impl DpkgDatabase {
    /// Reads it, once in a moment.
    pub(crate) fn read(host: &Reader) -> Result<Arc<Self>, HostError> {
        host.memoize(|| {
            let status = host
                .read_text(Path::new(STATUS), LIMIT)?
                .unwrap_or_default();
            let extended = host.read_text(Path::new(EXTENDED_STATES), LIMIT)?;
            Ok(Self::parse(&status, &extended.unwrap_or_default()))
        })
    }

    fn parse(status: &str, extended: &str) -> Self {
        // dpkg itself is always of the host's own architecture.
        let native = stanzas(status)
            .find(|stanza| field(stanza, "Package") == Some("dpkg"))
            .and_then(|stanza| field(stanza, "Architecture"));
        let is_native = |stanza: &str| {
            let architecture = field(stanza, "Architecture");
            architecture == Some("all") || native.is_none() || architecture == native
        };
        let mut database = Self::default();
        let mut needs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for stanza in stanzas(status) {
            needs
                .entry(field(stanza, "Package").unwrap_or_default())
                .or_default()
                .extend(dependency_names(stanza));
            let name = field(stanza, "Package").unwrap_or_default().to_owned();
            let package = parse_installed(stanza);
            if is_base(stanza) {
                database.base.insert(name.clone());
            }
            let is_there = package.is_some();
            database.conffiles.extend(conffiles_of(stanza, is_there));
            match package {
                Some(package) if is_native(stanza) => drop(database.packages.insert(name, package)),
                Some(_) => drop(database.foreign_packages.insert(name)),
                None => {}
            }
        }
        database.mark_base(&needs);
        for stanza in stanzas(extended).filter(|stanza| is_native(stanza)) {
            let name = field(stanza, "Package").unwrap_or_default();
            if let Some(package) = database.packages.get_mut(name) {
                package.is_automatic = field(stanza, "Auto-Installed") == Some("1");
            }
        }
        database
    }

    /// What the base needs is of the base too, however it came onto the host.
    fn mark_base(&mut self, needs: &BTreeMap<&str, BTreeSet<&str>>) {
        let mut next: Vec<String> = self.base.iter().cloned().collect();
        while let Some(name) = next.pop() {
            for need in needs.get(name.as_str()).into_iter().flatten() {
                if self.base.insert((*need).to_owned()) {
                    next.push((*need).to_owned());
                }
            }
        }
    }
}

/// Returns the names of what a package needs; of several of which one is enough, all.
fn dependency_names(stanza: &str) -> impl Iterator<Item = &str> {
    let fields = ["Depends", "Pre-Depends"]
        .into_iter()
        .filter_map(|name| field(stanza, name));
    let names = fields.flat_map(|needs| needs.split([',', '|']));
    names.filter_map(|need| need.trim().split([' ', ':', '(']).next())
}

/// Returns the conffiles of a stanza: ` PATH MD5`, with a word behind for those that the package has no more.
fn conffiles_of(stanza: &str, is_there: bool) -> impl Iterator<Item = (String, Conffile)> {
    let lines = stanza
        .lines()
        .skip_while(|line| *line != "Conffiles:")
        .skip(1);
    let lines = lines.take_while(|line| line.starts_with(' '));
    lines.filter_map(move |line| {
        let mut words = line.split_whitespace();
        let setting = |md5: &str, is_current| Conffile {
            md5: md5.to_owned(),
            is_current,
        };
        let (path, md5) = (words.next()?, words.next()?);
        Some((
            path.to_owned(),
            setting(md5, is_there && words.next().is_none()),
        ))
    })
}

/// Reads what a stanza says; `None` if nothing of the package is there but its settings.
fn parse_installed(stanza: &str) -> Option<InstalledPackage> {
    let mut words = field(stanza, "Status")?.split(' ');
    let (wish, flag, state) = (words.next()?, words.next()?, words.next()?);
    if matches!(state, "not-installed" | "config-files") {
        return None;
    }
    let is_complete = matches!(state, "installed" | "triggers-awaited" | "triggers-pending");
    Some(InstalledPackage {
        version: field(stanza, "Version")?.to_owned(),
        is_configured: is_complete && flag == "ok" && !matches!(wish, "deinstall" | "purge"),
        is_held: wish == "hold",
        is_automatic: false,
    })
}

fn is_base(stanza: &str) -> bool {
    let priority = field(stanza, "Priority").unwrap_or_default();
    field(stanza, "Essential") == Some("yes")
        || matches!(priority, "required" | "important" | "standard")
}

/// Whether dpkg was killed at work, so that it must be told to go on before it does anything else.
pub(crate) fn is_interrupted(host: &Reader) -> Result<bool, HostError> {
    let names = host.list_dir(Path::new(UPDATES))?;
    let is_number = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    Ok(names.iter().any(|name| is_number(&name.to_string_lossy())))
}

/// Returns the versions of a package that the archives have; `None` if their lists cannot be read here.
pub(crate) fn available_versions(
    host: &Reader,
    name: &str,
) -> Result<Option<BTreeSet<String>>, HostError> {
    let mut versions = BTreeSet::new();
    for list in host.list_dir(Path::new(LISTS))? {
        let list = list.to_string_lossy().into_owned();
        let Some((_, compression)) = list.rsplit_once("_Packages") else {
            continue;
        };
        if !compression.is_empty() {
            return Ok(None);
        }
        let Some(file) = host.open(&list_path(host, &list)?)? else {
            return Ok(None);
        };
        add_versions(file, name, &mut versions)
            .map_err(HostError::io("read", &Path::new(LISTS).join(&list)))?;
    }
    Ok(Some(versions))
}

/// Returns where a list is: apt makes a link to that of an archive which is a directory of the host.
fn list_path(host: &Reader, list: &str) -> Result<PathBuf, HostError> {
    let path = Path::new(LISTS).join(list);
    match host.stat(&path)? {
        Some(meta) if meta.kind == MetaKind::Symlink => host.read_link(&path),
        _ => Ok(path),
    }
}

/// Lists are large, so that they are not held.
fn add_versions(file: File, name: &str, versions: &mut BTreeSet<String>) -> std::io::Result<()> {
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let mut line = vec![];
    let mut is_wanted = false;
    while lines.read_until(b'\n', &mut line)? > 0 {
        if let Some(package) = line.strip_prefix(b"Package: ") {
            is_wanted = package.trim_ascii() == name.as_bytes();
        } else if let Some(version) = line.strip_prefix(b"Version: ").filter(|_| is_wanted) {
            versions.insert(String::from_utf8_lossy(version.trim_ascii()).into_owned());
        }
        line.clear();
    }
    Ok(())
}

fn stanzas(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n")
}

/// Returns the value of a field that stands in one line: deb822(5).
fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let mut values = stanza
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    const DATABASE: &str = "\
Package: dpkg
Essential: yes
Status: install ok installed
Architecture: amd64
Version: 1.22

Package: hello
Status: hold ok installed
Architecture: amd64
Version: 2.10-3
Description: greets
 Package: none of these
 .
 Version: 9

Package: hello
Status: install ok installed
Architecture: i386
Version: 1.0

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: half
Status: install ok half-configured
Architecture: all
Version: 1:2~rc1

Package: waits
Status: install ok triggers-pending
Architecture: all
Version: 3

Package: torn
Status: install reinstreq installed
Architecture: all
Version: 4

Package: goes
Status: deinstall ok installed
Architecture: all
Version: 5
";

    fn package(version: &str) -> InstalledPackage {
        InstalledPackage {
            version: version.to_owned(),
            is_configured: true,
            ..InstalledPackage::default()
        }
    }

    #[test]
    fn installed_packages_are_read_from_dpkg_status() {
        let automatic = "Package: waits\nArchitecture: amd64\nAuto-Installed: 1\n\n\
            Package: hello\nArchitecture: i386\nAuto-Installed: 1\n\n\
            Package: half\nArchitecture: amd64\nAuto-Installed: 0\n";
        let root = TestRoot::new(&[(STATUS, DATABASE), (EXTENDED_STATES, automatic)]);
        let names = ["goes", "gone", "half", "hello", "none", "torn", "waits"];
        let found = installed_packages(&root.reader(), &names).unwrap();
        let mut half = package("1:2~rc1");
        half.is_configured = false;
        let mut hello = package("2.10-3");
        hello.is_held = true;
        let mut torn = package("4");
        torn.is_configured = false;
        let mut goes = package("5");
        goes.is_configured = false;
        let mut waits = package("3");
        waits.is_automatic = true;
        let expected = [
            ("goes", goes),
            ("half", half),
            ("hello", hello),
            ("torn", torn),
            ("waits", waits),
        ];
        let expected = expected.map(|(name, package)| (name.to_owned(), package));
        assert_eq!(found, BTreeMap::from(expected));
        assert!(
            installed_packages(&TestRoot::new(&[]).reader(), &names)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn base_includes_dependencies_of_essential_packages() {
        let status = "Package: dpkg\nEssential: yes\nStatus: install ok installed\nVersion: 1\nPre-Depends: libc6 (>= 2), tar | x\n\n\
            Package: libc6\nStatus: install ok installed\nVersion: 1\nDepends: libgcc-s1:any\n\n\
            Package: libgcc-s1\nStatus: install ok installed\nVersion: 1\n\n\
            Package: tool\nPriority: optional\nStatus: install ok installed\nVersion: 1\nDepends: libtool\n\n\
            Package: libtool\nStatus: install ok installed\nVersion: 1\n";
        let database = DpkgDatabase::parse(status, "");
        let base: Vec<_> = database.base.iter().map(String::as_str).collect();
        assert_eq!(base, ["dpkg", "libc6", "libgcc-s1", "tar", "x"]);
    }

    #[test]
    fn available_versions_are_read_from_all_lists() {
        let list = |name: &str| format!("{LISTS}/deb.example_dists_x_{name}");
        let (one, two) = (list("main_Packages"), list("contrib_Packages"));
        let (release, compressed) = (list("InRelease"), list("main_Packages.lz4"));
        let hello = "Package: hello\nVersion: 2\n\nPackage: hello-doc\nVersion: 3\n";
        let older = "Package: other\nVersion: 7\n\nPackage: hello\nArchitecture: all\nVersion: 1\n";
        let root = TestRoot::new(&[(&one, hello), (&two, older), (&release, "Version: 5")]);
        let versions = |root: &TestRoot, name| available_versions(&root.reader(), name).unwrap();
        let expected = ["1", "2"].map(str::to_owned);
        assert_eq!(versions(&root, "hello"), Some(expected.into()));
        assert_eq!(versions(&root, "helo"), Some(BTreeSet::new()));
        assert_eq!(
            versions(&TestRoot::new(&[]), "hello"),
            Some(BTreeSet::new())
        );
        let unknown = TestRoot::new(&[(&one, hello), (&compressed, "?")]);
        assert_eq!(versions(&unknown, "hello"), None);
    }

    #[test]
    fn is_interrupted_detects_numbered_updates() {
        let interrupted = |files| is_interrupted(&TestRoot::new(files).reader()).unwrap();
        assert!(!interrupted(&[]));
        assert!(!interrupted(&[("/var/lib/dpkg/updates/tmp.i", "")]));
        assert!(interrupted(&[("/var/lib/dpkg/updates/0001", "")]));
    }
}
