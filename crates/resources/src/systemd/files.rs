//! Unit files: where systemd looks for them, and the one directory in which any are changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    files::{
        conf_d::{self, read_conf_dirs},
        content::Content,
    },
    host::{FileAttributes, HostError, IfExists, MetaKind, Reader, Writer},
    systemd::{name::UnitName, text::UnitText},
};

/// Where units of the administrator are; nothing is changed anywhere else.
pub(crate) const UNITS: &str = "/etc/systemd/system";
/// Where units are that programs have asked for; they go when they end.
pub(crate) const TRANSIENT_DIR: &str = "/run/systemd/transient";
/// Where units are that systemd makes of other files, such as fstab, at boot.
const GENERATORS: [&str; 3] = [
    "/run/systemd/generator.early",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
];
/// Where systemd looks for unit files, the first place first: systemd.unit(5), "Unit File Load Path".
const UNIT_DIRS: [&str; 10] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    TRANSIENT_DIR,
    GENERATORS[0],
    UNITS,
    "/run/systemd/system",
    GENERATORS[1],
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    GENERATORS[2],
];
/// Endings of the directories whose links say what starts with what.
const LINK_DIR_SUFFIXES: [&str; 3] = ["wants", "requires", "upholds"];
/// Where the link of a masked unit leads.
const MASK_TARGET: &str = "/dev/null";

/// What stands in the place of a file of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum UnitFile {
    /// Nothing.
    Unset { unset: bool },
    /// A link.
    Link { link: PathBuf },
    /// A file.
    File(Content),
    /// A value in a spec that no file can have.
    Invalid(Value),
}

impl UnitFile {
    /// Nothing.
    pub(crate) const ABSENT: Self = Self::Unset { unset: true };

    /// Returns the text, if that is what it is.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::File(Content::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// Drop-ins by name, without `.conf`; `None` for one that shall not be there.
pub(crate) type DropIns = BTreeMap<String, Option<UnitFile>>;

/// What is in `/etc/systemd/system` of a unit.
#[derive(Debug, Default)]
pub(crate) struct AdminFiles {
    /// The unit file; `None` if this user may not read it.
    pub(crate) content: Option<UnitFile>,
    /// The drop-ins; `None` if this user may not read them.
    pub(crate) drop_ins: Option<DropIns>,
    /// Whether a link to /dev/null stands in its place.
    pub(crate) is_masked: bool,
    /// Who owns the files and who may do what, by path.
    pub(crate) access: BTreeMap<String, FileAttributes>,
    /// When the newest of them was changed, in microseconds since 1970.
    pub(crate) newest_change: u64,
}

impl AdminFiles {
    /// Reads it.
    pub(crate) fn read(host: &Reader, name: &str) -> Result<Self, HostError> {
        let mut own = Self::default();
        let content = own.read_file(host, &unit_path(name))?;
        own.is_masked = is_mask(content.as_ref());
        own.content = if own.is_masked {
            Some(UnitFile::ABSENT)
        } else {
            content
        };
        let mut drop_ins = Some(DropIns::new());
        for file in host.list_dir(&drop_in_dir(name))? {
            let Some(drop_in) = file.to_str().and_then(|file| file.strip_suffix(".conf")) else {
                continue;
            };
            let read = own.read_file(host, &drop_in_path(name, drop_in))?;
            drop_ins = drop_ins.zip(read).map(|(mut drop_ins, read)| {
                drop_ins.insert(drop_in.to_owned(), Some(read));
                drop_ins
            });
        }
        own.drop_ins = drop_ins;
        Ok(own)
    }

    /// Returns the unit file and the drop-ins; `None` if this user may not read them.
    pub(crate) fn files(self) -> Option<Vec<UnitFile>> {
        let (content, drop_ins) = self.content.zip(self.drop_ins)?;
        let drop_ins = drop_ins.into_values().flatten();
        Some(std::iter::once(content).chain(drop_ins).collect())
    }

    /// Whether there is anything.
    pub(crate) fn exists(&self) -> bool {
        self.is_masked
            || self.content != Some(UnitFile::ABSENT)
            || self.drop_ins.as_ref().is_none_or(|there| !there.is_empty())
    }

    /// Reads a file of a unit; `None` if this user may not.
    fn read_file(&mut self, host: &Reader, path: &Path) -> Result<Option<UnitFile>, HostError> {
        let Some(meta) = host.stat(path)? else {
            return Ok(Some(UnitFile::ABSENT));
        };
        self.newest_change = self.newest_change.max(host.modified_at(path)?.unwrap_or(0));
        if meta.kind == MetaKind::Symlink {
            let link = host.read_link(path)?;
            return Ok(Some(UnitFile::Link { link }));
        }
        let content = match Content::read(host, path, meta.size) {
            Err(error) if error.is_not_allowed() => return Ok(None),
            content => content?,
        };
        let xattrs = host.xattrs(path)?;
        let access = FileAttributes {
            xattrs: (!xattrs.is_empty()).then_some(xattrs),
            ..meta.attributes()
        };
        if access != FileAttributes::for_current_user(0o644) {
            self.access.insert(path.display().to_string(), access);
        }
        Ok(Some(content.map_or(UnitFile::ABSENT, UnitFile::File)))
    }
}

fn is_mask(file: Option<&UnitFile>) -> bool {
    matches!(file, Some(UnitFile::Link { link }) if link == Path::new(MASK_TARGET))
}

/// Returns the path of the unit file of the administrator.
pub(crate) fn unit_path(name: &str) -> PathBuf {
    Path::new(UNITS).join(name)
}

/// Returns the directory of the drop-ins of the administrator.
pub(crate) fn drop_in_dir(name: &str) -> PathBuf {
    Path::new(UNITS).join(format!("{name}.d"))
}

/// Returns the path of a drop-in of the administrator.
pub(crate) fn drop_in_path(name: &str, drop_in: &str) -> PathBuf {
    drop_in_dir(name).join(format!("{drop_in}.conf"))
}

/// A unit file as systemd finds it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnitFileLocation {
    /// Where.
    pub(crate) path: PathBuf,
    /// Where it leads, if it is a link.
    pub(crate) link: Option<PathBuf>,
}

impl UnitFileLocation {
    /// Whether it is in a directory.
    pub(crate) fn is_in(&self, dir: &str) -> bool {
        self.path.parent() == Some(Path::new(dir))
    }

    /// Whether it is a link to /dev/null.
    pub(crate) fn is_mask(&self) -> bool {
        self.link.as_deref() == Some(Path::new(MASK_TARGET))
    }

    /// Whether systemd made it of another file.
    pub(crate) fn is_generated(&self) -> bool {
        GENERATORS.iter().any(|dir| self.is_in(dir))
    }
}

/// Finds the files of a name in all directories, the one that counts first.
pub(crate) fn find_unit_files(
    host: &Reader,
    name: &str,
) -> Result<Vec<UnitFileLocation>, HostError> {
    let mut found = vec![];
    for dir in UNIT_DIRS {
        let path = Path::new(dir).join(name);
        let link = match host.stat(&path) {
            Ok(Some(meta)) if meta.kind == MetaKind::Symlink => Some(host.read_link(&path)?),
            Ok(Some(_)) => None,
            Ok(None) | Err(HostError::ThroughSymlink { .. }) => continue,
            Err(error) => return Err(error),
        };
        found.push(UnitFileLocation { path, link });
    }
    Ok(found)
}

/// Names all units that have a file.
pub(crate) fn unit_names(host: &Reader) -> Result<BTreeSet<String>, HostError> {
    let mut known = BTreeSet::new();
    for dir in UNIT_DIRS {
        let names = match host.list_dir(Path::new(dir)) {
            Err(HostError::ThroughSymlink { .. }) => continue,
            names => names?,
        };
        known.extend(names.into_iter().filter_map(|name| name.into_string().ok()));
    }
    known.retain(|name| UnitName::parse(name).is_ok());
    Ok(known)
}

/// Returns what the files of a unit say together; those of `content` and `drop_ins` as if they were there.
pub(crate) fn unit_text(
    host: &Reader,
    name: &str,
    content: Option<&str>,
    drop_ins: Option<&DropIns>,
) -> Result<UnitText, HostError> {
    let template = UnitName::parse(name).ok().and_then(UnitName::template);
    let names: Vec<&str> = [Some(name), template.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    let mut unit = content.map(str::to_owned);
    for name in &names {
        if unit.is_none()
            && let Some(found) = find_unit_files(host, name)?
                .into_iter()
                .find(|found| !found.is_mask())
        {
            unit = Some(conf_d::read_conf_file(host, found.path)?.text);
        }
    }
    let dirs: Vec<String> = names
        .iter()
        .flat_map(|name| UNIT_DIRS.map(|dir| format!("{dir}/{name}.d")))
        .collect();
    let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();
    let mut texts = BTreeMap::new();
    for file in read_conf_dirs(host, &dirs)? {
        let name = file.path.file_stem().unwrap_or_default().to_string_lossy();
        texts.insert(name.into_owned(), file.text);
    }
    for (name, wish) in drop_ins.into_iter().flatten() {
        match wish.as_ref().and_then(UnitFile::text) {
            Some(text) => texts.insert(name.clone(), text.to_owned()),
            None => texts.remove(name),
        };
    }
    let unit = unit.unwrap_or_default();
    let all = std::iter::once(unit.as_str()).chain(texts.values().map(String::as_str));
    Ok(UnitText::parse(all))
}

/// Returns what the files of a unit say; nothing if this user may not read them.
pub(crate) fn unit_text_if_readable(host: &Reader, name: &str) -> Result<UnitText, HostError> {
    match unit_text(host, name, None, None) {
        Err(error) if error.is_not_allowed() => Ok(UnitText::default()),
        text => text,
    }
}

/// Returns the directories of links that say what starts with what.
pub(crate) fn link_dirs(host: &Reader) -> Result<Vec<PathBuf>, HostError> {
    let mut dirs = vec![];
    for entry in host.list_dir(Path::new(UNITS))? {
        let dir = Path::new(UNITS).join(entry);
        let is_folder = host
            .stat(&dir)?
            .is_some_and(|meta| meta.kind == MetaKind::Directory);
        if is_folder && has_suffix(&dir, &LINK_DIR_SUFFIXES) {
            dirs.push(dir);
        }
    }
    Ok(dirs)
}

fn has_suffix(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.contains(&ending))
}

/// Puts a file of a unit where it belongs, with its directory.
pub(crate) fn write_unit_file(
    host: &Writer,
    path: &Path,
    file: &UnitFile,
    access: Option<&FileAttributes>,
    existing: IfExists,
) -> Result<(), HostError> {
    let reader = Reader::new(host.root());
    let UnitFile::File(content) = file else {
        return match file {
            UnitFile::Link { link } => write_symlink(host, path, link),
            _ => remove(host, path),
        };
    };
    let there = reader.stat(path)?;
    let access = match (access, &there) {
        (Some(access), _) => access.clone(),
        (None, Some(meta)) if meta.kind == MetaKind::File => meta.attributes(),
        (None, _) => FileAttributes::for_current_user(0o644),
    };
    create_parent_dirs(host, path)?;
    let staged = content.stage(host, path, None, &access, existing)?;
    staged.commit_and_sync()
}

/// Puts a link where it belongs, with its directory.
pub(crate) fn write_symlink(host: &Writer, path: &Path, target: &Path) -> Result<(), HostError> {
    create_parent_dirs(host, path)?;
    host.write_symlink(path, target, IfExists::Replace)
}

/// Removes a file or a link, if it is there, and its directory if nothing else is in it; to systemd such a directory says nothing.
pub(crate) fn remove(host: &Writer, path: &Path) -> Result<(), HostError> {
    if Reader::new(host.root()).stat(path)?.is_some() {
        host.remove_file(path)?;
    }
    remove_empty_dir(host, path)
}

/// Makes the directories on the way to a path that are missing.
pub(crate) fn create_parent_dirs(host: &Writer, path: &Path) -> Result<(), HostError> {
    let reader = Reader::new(host.root());
    let dirs: Vec<_> = path.ancestors().skip(1).collect();
    for dir in dirs.into_iter().rev() {
        if reader.stat(dir)?.is_none() {
            host.create_dir(dir, &FileAttributes::for_current_user(0o755))?;
        }
    }
    Ok(())
}

/// Removes the directory of drop-ins or of links that a path is in, if nothing is.
pub(crate) fn remove_empty_dir(host: &Writer, path: &Path) -> Result<(), HostError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let is_of_units = dir.parent() == Some(Path::new(UNITS))
        && (has_suffix(dir, &LINK_DIR_SUFFIXES) || has_suffix(dir, &["d"]));
    let reader = Reader::new(host.root());
    if is_of_units && reader.stat(dir)?.is_some() && reader.list_dir(dir)?.is_empty() {
        host.remove_dir(dir)?;
    }
    Ok(())
}

/// Removes what a killed run left in the directories of units, and the directory of drop-ins of one if nothing is in it.
pub(crate) fn remove_remnants(host: &Writer, name: &str) -> Result<(), HostError> {
    let reader = Reader::new(host.root());
    for dir in link_dirs(&reader)? {
        host.remove_temporaries(&dir)?;
    }
    host.remove_temporaries(Path::new(UNITS))?;
    host.remove_temporaries(&drop_in_dir(name))?;
    remove_empty_dir(host, &drop_in_path(name, "any"))
}

/// Writes a file of systemd, or a link where the text is `-> TARGET`, with the directories that it needs.
pub(crate) fn write(host: &Writer, path: &Path, text: &str) -> Result<(), HostError> {
    // Releases of MicroK8s without hooks have no directory for them; after a refresh to another one they count.
    create_parent_dirs(host, path)?;
    if let Some(target) = text.strip_prefix("-> ") {
        return host.write_symlink(path, &PathBuf::from(target), IfExists::Replace);
    }
    let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
    host.write_text(path, text.as_bytes(), mode)
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::files::test_root::TestRoot;

    const NAME: &str = "a.service";
    const PATH: &str = "/etc/systemd/system/a.service";

    fn file(text: &str) -> UnitFile {
        UnitFile::File(Content::Text(text.to_owned()))
    }

    #[test]
    fn admin_files_are_read_verbatim_from_etc() {
        let root = TestRoot::new(&[
            (PATH, "[Service]\n"),
            ("/etc/systemd/system/a.service.d/10-x.conf", "[Unit]\n"),
            ("/etc/systemd/system/a.service.d/notes", ""),
            ("/usr/lib/systemd/system/a.service.d/20-y.conf", ""),
        ]);
        root.symlink("/etc/systemd/system/a.service.d/30-z.conf", "/dev/null");
        fs::set_permissions(root.at(PATH), fs::Permissions::from_mode(0o600)).unwrap();
        let own = AdminFiles::read(&root.reader(), NAME).unwrap();
        assert_eq!(own.content, Some(file("[Service]\n")));
        let link = UnitFile::Link {
            link: MASK_TARGET.into(),
        };
        let drop_ins = [("10-x", file("[Unit]\n")), ("30-z", link)];
        let drop_ins = drop_ins.map(|(name, file)| (name.to_owned(), Some(file)));
        assert_eq!(own.drop_ins, Some(drop_ins.into()));
        assert_eq!(own.access.keys().collect::<Vec<_>>(), [PATH]);
        assert_eq!(own.access[PATH].mode, 0o600);
        assert!(own.newest_change > 0 && own.exists() && !own.is_masked);

        let nothing = AdminFiles::read(&root.reader(), "b.service").unwrap();
        assert_eq!(nothing.content, Some(UnitFile::ABSENT));
        assert!(!nothing.exists());
        root.symlink("/etc/systemd/system/c.service", MASK_TARGET);
        let masked = AdminFiles::read(&root.reader(), "c.service").unwrap();
        assert_eq!(masked.content, Some(UnitFile::ABSENT));
        assert!(masked.is_masked && masked.exists());
    }

    fn exec_paths(
        root: &TestRoot,
        name: &str,
        content: Option<&str>,
        drop_ins: &DropIns,
    ) -> String {
        let text = unit_text(&root.reader(), name, content, Some(drop_ins)).unwrap();
        text.paths().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn unit_text_merges_first_unit_file_and_all_drop_ins() {
        let root = TestRoot::new(&[
            (
                "/usr/lib/systemd/system/a.service",
                "[Service]\nExecStart=/lib/a\n",
            ),
            (
                "/usr/lib/systemd/system/w@.service",
                "[Service]\nExecStart=/lib/w\n",
            ),
            (
                "/usr/lib/systemd/system/w@.service.d/20.conf",
                "[Service]\nExecStart=/20\n",
            ),
            (
                "/usr/lib/systemd/system/a.service.d/20.conf",
                "[Service]\nExecStart=/lib/20\n",
            ),
            (
                "/etc/systemd/system/a.service.d/10.conf",
                "[Service]\nExecStart=/10\n",
            ),
            (
                "/etc/systemd/system/a.service.d/20.conf",
                "[Service]\nExecStart=/20\n",
            ),
        ]);
        let none = DropIns::new();
        assert_eq!(exec_paths(&root, NAME, None, &none), "/lib/a /10 /20");
        assert_eq!(
            exec_paths(&root, NAME, Some("[Service]\nExecStart=/new\n"), &none),
            "/new /10 /20"
        );
        assert_eq!(exec_paths(&root, "w@1.service", None, &none), "/lib/w /20");
        let wish = [
            ("10", None),
            ("15", Some(file("[Service]\nExecStart=/15\n"))),
        ];
        let wish: DropIns = wish.map(|(name, file)| (name.to_owned(), file)).into();
        assert_eq!(exec_paths(&root, NAME, None, &wish), "/lib/a /15 /20");
        root.symlink("/run/systemd/system/a.service", MASK_TARGET);
        assert_eq!(exec_paths(&root, NAME, None, &none), "/lib/a /10 /20");
    }

    #[test]
    fn remove_remnants_deletes_temporary_unit_files() {
        let root = TestRoot::new(&[
            (PATH, ""),
            ("/etc/systemd/system/.a.service.stead-new", ""),
            ("/etc/systemd/system/a.service.d/.x.conf.stead-new", ""),
            ("/etc/systemd/system/b.service.d/x.conf", ""),
            (
                "/etc/systemd/system/x.target.wants/.b.service.stead-new",
                "",
            ),
            ("/etc/systemd/system/x.target.wants/b.service", ""),
        ]);
        remove_remnants(&root.writer(), NAME).unwrap();
        let reader = root.reader();
        let left = |dir: &str| reader.list_dir(&Path::new(UNITS).join(dir)).unwrap();
        assert_eq!(left(""), ["a.service", "b.service.d", "x.target.wants"]);
        assert_eq!(left("b.service.d"), ["x.conf"]);
        assert_eq!(left("x.target.wants"), ["b.service"]);
    }
}
