//! The files of /etc and their owners: what `file`, `directory` and `symlink` import.

pub(crate) mod rules;

use std::{collections::BTreeSet, ffi::OsStr, path::Path, sync::Arc};

use stead_engine::{
    language::print::is_representable,
    model::listing::{ExportTarget, Listing},
};

use crate::{
    dpkg::{
        alternatives,
        owners::{DpkgFiles, PathOwner},
    },
    etc::rules::{
        COMMENT_ONLY, FOREIGN, IGNORED, MACHINE_SPECIFIC, PACKAGE_COPIES, SECRET, rule_for,
    },
    files::content::MAX_SOURCE,
    host::{HostError, Meta, MetaKind, Reader},
    kernel::{modules, sysctl_d},
    systemd::{expressible, files::UNITS, name::UnitName},
    values::glob::matches,
};

/// The directory.
const ETC: &str = "/etc";

/// Everything in /etc.
#[derive(Debug, Default)]
pub(crate) struct Etc {
    entries: Vec<EtcEntry>,
    /// Settings of packages that somebody removed.
    removed: BTreeSet<String>,
    /// Directories that could not be looked into.
    unreadable_dirs: Vec<(String, String)>,
}

/// One thing in /etc.
#[derive(Debug)]
struct EtcEntry {
    path: String,
    kind: MetaKind,
    disposition: Disposition,
}

/// What import makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Disposition {
    Managed,
    Default,
    Foreign(&'static str),
    Ignored(&'static str),
    Secret,
    Unreadable(String),
}

impl Etc {
    /// Looks at all of it, once in a moment.
    pub(crate) fn read(host: &Reader) -> Result<Arc<Self>, HostError> {
        let owned = DpkgFiles::read(host)?;
        host.memoize(|| {
            let mut etc = Self::default();
            let mut walk = Walk {
                host,
                owned: &owned,
                chosen_alternatives: alternatives::manual_links(host)?,
                etc: &mut etc,
            };
            walk.walk_dir(Path::new(ETC))?;
            let there: BTreeSet<&str> = etc
                .entries
                .iter()
                .map(|entry| entry.path.as_str())
                .collect();
            let is_hidden = |path: &str| {
                let mut closed = etc.unreadable_dirs.iter();
                closed.any(|(dir, _)| path.starts_with(dir.as_str()))
            };
            etc.removed = owned
                .current_conffiles()
                .filter(|path| {
                    path.starts_with("/etc/") && !there.contains(path) && !is_hidden(path)
                })
                .map(str::to_owned)
                .collect();
            Ok(etc)
        })
    }

    /// Returns what there is of one kind of thing.
    pub(crate) fn listing(&self, kind: MetaKind, heading: &str) -> Listing {
        let mut listing = Listing::new(heading, []);
        if kind == MetaKind::File {
            listing.absent.clone_from(&self.removed);
        }
        if kind == MetaKind::Directory {
            listing
                .unreadable
                .extend(self.unreadable_dirs.iter().cloned());
        }
        let is_meant = |entry: &&EtcEntry| {
            entry.kind == kind || (kind == MetaKind::File && entry.kind == MetaKind::Other)
        };
        for EtcEntry {
            path, disposition, ..
        } in self.entries.iter().filter(is_meant)
        {
            match disposition {
                Disposition::Managed => drop(listing.managed.insert(path.clone())),
                Disposition::Default => listing.default += 1,
                Disposition::Foreign(whose) => listing.add_foreign(*whose),
                Disposition::Ignored(rule) => listing.ignore(*rule, path),
                Disposition::Secret => drop(listing.secrets.insert(path.clone())),
                Disposition::Unreadable(why) => {
                    drop(listing.unreadable.insert(path.clone(), why.clone()));
                }
            }
        }
        listing
    }

    /// Whether somebody decided what is in a file: no package and no known program made it as it is.
    pub(crate) fn is_admin_configured(&self, path: &Path) -> bool {
        let path = path.to_str().unwrap_or_default();
        let mut entries = self.entries.iter().filter(|entry| entry.path == path);
        entries.any(|entry| {
            matches!(
                entry.disposition,
                Disposition::Managed
                    | Disposition::Ignored(SYSCTL_RULE | MODULE_RULE | STEAD_RULE | UNIT_RULE)
            )
        })
    }

    /// Names the units of which somebody made or changed a file.
    pub(crate) fn admin_units(&self) -> impl Iterator<Item = &str> {
        let decided = self.entries.iter().filter(|entry| {
            matches!(
                entry.disposition,
                Disposition::Managed | Disposition::Secret | Disposition::Ignored(UNIT_RULE)
            )
        });
        decided.filter_map(|entry| unit_of(Path::new(&entry.path)))
    }
}

/// Rule for files whose every line is a resource of its own.
const SYSCTL_RULE: &str = "recorded as sysctls";
/// Rule for lists whose every line is a resource of its own.
const MODULE_RULE: &str = "recorded as kernel-modules";
/// Rule for links that are names of units.
const ALIAS_RULE: &str = "an alias of a unit, created by enabling it";
/// Rule for what is written of units.
const UNIT_RULE: &str = "recorded as a unit";
/// Rule for files of stead.
const STEAD_RULE: &str = "written by stead for other resources";

/// Returns whom a file in /etc concerns.
pub(crate) fn export_target(path: &str) -> ExportTarget {
    if MACHINE_SPECIFIC
        .iter()
        .any(|pattern| matches(pattern, path))
    {
        ExportTarget::Machine
    } else {
        ExportTarget::Shared
    }
}

struct Walk<'a> {
    host: &'a Reader,
    owned: &'a DpkgFiles,
    /// Links of update-alternatives that somebody chose.
    chosen_alternatives: BTreeSet<String>,
    etc: &'a mut Etc,
}

impl Walk<'_> {
    fn walk_dir(&mut self, dir: &Path) -> Result<(), HostError> {
        let names = match self.host.list_dir(dir) {
            Err(error) if error.is_not_allowed() => {
                let why = "only its owner may read it".to_owned();
                self.etc
                    .unreadable_dirs
                    .push((dir.display().to_string(), why));
                return Ok(());
            }
            names => names?,
        };
        for name in names {
            self.walk_entry(&dir.join(&name), &name)?;
        }
        Ok(())
    }

    fn walk_entry(&mut self, path: &Path, name: &OsStr) -> Result<(), HostError> {
        let Some(meta) = self.host.stat(path)? else {
            return Ok(());
        };
        let Some(text) = path
            .to_str()
            .filter(|_| name.to_str().is_some_and(is_representable))
        else {
            self.add(
                path.display().to_string(),
                &meta,
                Disposition::Ignored(
                    "its name is not UTF-8, or contains characters that a spec cannot contain",
                ),
            );
            return Ok(());
        };
        let fate = self.classify(text, path, &meta)?;
        let is_closed = match fate {
            Disposition::Ignored(rule) => rule != UNIT_RULE && text != "/etc/ssl/certs",
            Disposition::Foreign(_) | Disposition::Secret => true,
            _ => false,
        };
        self.add(text.to_owned(), &meta, fate);
        if meta.kind == MetaKind::Directory && !is_closed {
            self.walk_dir(path)?;
        }
        Ok(())
    }

    fn add(&mut self, path: String, meta: &Meta, disposition: Disposition) {
        self.etc.entries.push(EtcEntry {
            path,
            kind: meta.kind,
            disposition,
        });
    }

    fn classify(&self, text: &str, path: &Path, meta: &Meta) -> Result<Disposition, HostError> {
        let named = |table| rule_for(table, text);
        let owner = self.owned.owner(text);
        if meta.kind == MetaKind::Directory {
            return Ok(match (named(FOREIGN), named(IGNORED), owner) {
                (Some(whose), ..) => Disposition::Foreign(whose),
                (_, Some(rule), PathOwner::NoPackage) => Disposition::Ignored(rule),
                (_, _, PathOwner::NoPackage) if self.is_of_unit(path)? => {
                    Disposition::Ignored(UNIT_RULE)
                }
                (_, _, PathOwner::NoPackage) => Disposition::Managed,
                _ => Disposition::Default,
            });
        }
        if let Some(whose) = named(FOREIGN) {
            return Ok(Disposition::Foreign(whose));
        }
        if self.chosen_alternatives.contains(text) && meta.kind == MetaKind::Symlink {
            return Ok(self.classify_symlink(path, &PathOwner::NoPackage));
        }
        if owner == PathOwner::NoPackage
            && let Some(rule) = named(IGNORED)
        {
            return Ok(Disposition::Ignored(rule));
        }
        if meta.kind != MetaKind::Symlink && SECRET.iter().any(|pattern| matches(pattern, text)) {
            return Ok(match owner {
                PathOwner::NoPackage => Disposition::Secret,
                _ => self.classify_file(text, path, meta, &owner)?,
            });
        }
        Ok(match meta.kind {
            MetaKind::Symlink if owner == PathOwner::NoPackage && self.is_unit_alias(path)? => {
                Disposition::Ignored(ALIAS_RULE)
            }
            MetaKind::Symlink if owner == PathOwner::NoPackage && self.is_of_unit(path)? => {
                Disposition::Ignored(UNIT_RULE)
            }
            MetaKind::Symlink => self.classify_symlink(path, &owner),
            MetaKind::Other => Disposition::Ignored("it is a device, a socket or a pipe"),
            _ => self.classify_file(text, path, meta, &owner)?,
        })
    }

    fn classify_symlink(&self, path: &Path, owner: &PathOwner) -> Disposition {
        match self.host.read_link(path) {
            _ if *owner != PathOwner::NoPackage => Disposition::Default,
            Ok(target) if target.to_str().is_some_and(is_representable) => Disposition::Managed,
            Ok(_) => Disposition::Ignored(
                "its target is not UTF-8, or contains characters that a spec cannot contain",
            ),
            Err(error) => Disposition::Unreadable(error.to_string()),
        }
    }

    fn classify_file(
        &self,
        text: &str,
        path: &Path,
        meta: &Meta,
        owner: &PathOwner,
    ) -> Result<Disposition, HostError> {
        if meta.size > MAX_SOURCE {
            return Ok(Disposition::Ignored("it is larger than 1 GiB"));
        }
        let is_as_made = match owner {
            PathOwner::Package(md5) => self.host.md5(path).map(|there| there.as_ref() == Some(md5)),
            // A package brings it, and dpkg does not know what was in it.
            PathOwner::Unknown => Ok(true),
            PathOwner::NoPackage => self.is_unmodified(text, path, meta),
        };
        match is_as_made {
            Ok(true) => return Ok(Disposition::Default),
            Err(error) if error.is_not_allowed() => {
                return Ok(Disposition::Unreadable(
                    "only its owner may read it".to_owned(),
                ));
            }
            is_as_made => drop(is_as_made?),
        }
        if sysctl_d::fully_covers(self.host, path)? {
            return Ok(Disposition::Ignored(SYSCTL_RULE));
        }
        if modules::fully_covers(self.host, path)? {
            return Ok(Disposition::Ignored(MODULE_RULE));
        }
        if self.is_of_unit(path)? {
            return Ok(Disposition::Ignored(UNIT_RULE));
        }
        Ok(Disposition::Managed)
    }

    /// Whether a path is that of a file or of the drop-ins of a unit that is written as one.
    fn is_of_unit(&self, path: &Path) -> Result<bool, HostError> {
        unit_of(path).map_or(Ok(false), |name| {
            expressible::is_expressible(self.host, name)
        })
    }

    /// Whether a link is another name of a unit that is somewhere.
    fn is_unit_alias(&self, path: &Path) -> Result<bool, HostError> {
        let is_among_units = path.parent().is_some_and(|dir| {
            [UNITS, "/etc/systemd/user"].contains(&dir.to_str().unwrap_or_default())
        });
        if !is_among_units || path.ends_with("default.target") {
            return Ok(false);
        }
        let target = self.host.read_link(path)?;
        Ok(target.file_name() != path.file_name() && target != Path::new("/dev/null"))
    }

    fn is_unmodified(&self, text: &str, path: &Path, meta: &Meta) -> Result<bool, HostError> {
        if COMMENT_ONLY.iter().any(|pattern| matches(pattern, text)) {
            let contents = self.host.read_text(path, MAX_SOURCE)?.unwrap_or_default();
            let mut lines = contents.lines().map(str::trim);
            return Ok(lines.all(|line| line.is_empty() || line.starts_with('#')));
        }
        let originals = PACKAGE_COPIES
            .iter()
            .filter(|(copy, _)| *copy == text)
            .flat_map(|(_, originals)| *originals);
        for original in originals {
            let original = Path::new(original);
            if self
                .host
                .stat(original)?
                .is_some_and(|other| other.size == meta.size)
                && self.host.digest(original)? == self.host.digest(path)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Returns the unit whose file, or directory of drop-ins, or drop-in a path of the administrator's can be.
fn unit_of(path: &Path) -> Option<&str> {
    let rest = path.strip_prefix(UNITS).ok()?;
    let first = rest.iter().next()?.to_str()?;
    let name = first.strip_suffix(".d").unwrap_or(first);
    UnitName::parse(name).ok().map(|_| name)
}
