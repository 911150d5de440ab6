//! The files of /etc and their owners: what `file`, `directory` and `symlink` import.

pub(crate) mod rules;

use std::{collections::BTreeSet, ffi::OsStr, path::Path, sync::Arc};

use stead_engine::{
    language::print::is_sayable,
    model::listing::{Concerns, Listing},
};

use crate::{
    dpkg::{
        alternatives,
        owners::{DpkgFiles, Owner},
    },
    etc::rules::{BLANK, COPIES, FOREIGN, IGNORED, OWN, SECRET, rule_for},
    files::content::LARGEST_SOURCE,
    host::{HostError, Meta, MetaKind, Reader},
    kernel::{modules, sysctl_d},
    systemd::{expressible, files::UNITS, name::UnitName},
    values::glob::fits,
};

/// The folder.
const ETC: &str = "/etc";

/// Everything in /etc.
#[derive(Debug, Default)]
pub(crate) struct Etc {
    entries: Vec<Entry>,
    /// Settings of packages that somebody removed.
    removed: BTreeSet<String>,
    /// Folders that could not be looked into.
    closed: Vec<(String, String)>,
}

/// One thing in /etc.
#[derive(Debug)]
struct Entry {
    path: String,
    kind: MetaKind,
    fate: Fate,
}

/// What import makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
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
        host.once(|| {
            let mut etc = Self::default();
            let mut walk = Walk {
                host,
                owned: &owned,
                chosen: alternatives::chosen(host)?,
                etc: &mut etc,
            };
            walk.folder(Path::new(ETC))?;
            let there: BTreeSet<&str> = etc
                .entries
                .iter()
                .map(|entry| entry.path.as_str())
                .collect();
            let is_hidden = |path: &str| {
                let mut closed = etc.closed.iter();
                closed.any(|(folder, _)| path.starts_with(folder.as_str()))
            };
            etc.removed = owned
                .current()
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
        let mut listing = Listing::of(heading, []);
        if kind == MetaKind::File {
            listing.absent.clone_from(&self.removed);
        }
        if kind == MetaKind::Folder {
            listing.unreadable.extend(self.closed.iter().cloned());
        }
        let is_meant = |entry: &&Entry| {
            entry.kind == kind || (kind == MetaKind::File && entry.kind == MetaKind::Other)
        };
        for Entry { path, fate, .. } in self.entries.iter().filter(is_meant) {
            match fate {
                Fate::Managed => drop(listing.managed.insert(path.clone())),
                Fate::Default => listing.default += 1,
                Fate::Foreign(whose) => listing.add_foreign(*whose),
                Fate::Ignored(rule) => listing.ignore(*rule, path),
                Fate::Secret => drop(listing.secrets.insert(path.clone())),
                Fate::Unreadable(why) => {
                    drop(listing.unreadable.insert(path.clone(), why.clone()));
                }
            }
        }
        listing
    }

    /// Whether somebody decided what is in a file: no package and no known program made it as it is.
    pub(crate) fn is_decided(&self, path: &Path) -> bool {
        let path = path.to_str().unwrap_or_default();
        let mut entries = self.entries.iter().filter(|entry| entry.path == path);
        entries.any(|entry| {
            matches!(
                entry.fate,
                Fate::Managed | Fate::Ignored(SETTINGS | MODULES | OURS | UNIT)
            )
        })
    }

    /// Names the units of which somebody made or changed a file.
    pub(crate) fn decided_units(&self) -> impl Iterator<Item = &str> {
        let decided = self.entries.iter().filter(|entry| {
            matches!(
                entry.fate,
                Fate::Managed | Fate::Secret | Fate::Ignored(UNIT)
            )
        });
        decided.filter_map(|entry| unit_of(Path::new(&entry.path)))
    }
}

/// Rule for files whose every line is a resource of its own.
const SETTINGS: &str = "recorded as sysctls";
/// Rule for lists whose every line is a resource of its own.
const MODULES: &str = "recorded as kernel-modules";
/// Rule for links that are names of units.
const OTHER_NAME: &str = "an alias of a unit, created by enabling it";
/// Rule for what is written of units.
const UNIT: &str = "recorded as a unit";
/// Rule for files of stead.
const OURS: &str = "written by stead for other resources";

/// Returns whom a file in /etc concerns.
pub(crate) fn concerns(path: &str) -> Concerns {
    if OWN.iter().any(|pattern| fits(pattern, path)) {
        Concerns::ThisMachine
    } else {
        Concerns::All
    }
}

struct Walk<'a> {
    host: &'a Reader,
    owned: &'a DpkgFiles,
    /// Links of update-alternatives that somebody chose.
    chosen: BTreeSet<String>,
    etc: &'a mut Etc,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path) -> Result<(), HostError> {
        let names = match self.host.list_folder(folder) {
            Err(error) if error.is_not_allowed() => {
                let why = "only its owner may read it".to_owned();
                self.etc.closed.push((folder.display().to_string(), why));
                return Ok(());
            }
            names => names?,
        };
        for name in names {
            self.entry(&folder.join(&name), &name)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &OsStr) -> Result<(), HostError> {
        let Some(meta) = self.host.stat(path)? else {
            return Ok(());
        };
        let Some(text) = path
            .to_str()
            .filter(|_| name.to_str().is_some_and(is_sayable))
        else {
            self.add(
                path.display().to_string(),
                &meta,
                Fate::Ignored(
                    "its name is not UTF-8, or contains characters that a spec cannot contain",
                ),
            );
            return Ok(());
        };
        let fate = self.fate(text, path, &meta)?;
        let is_closed = match fate {
            Fate::Ignored(rule) => rule != UNIT && text != "/etc/ssl/certs",
            Fate::Foreign(_) | Fate::Secret => true,
            _ => false,
        };
        self.add(text.to_owned(), &meta, fate);
        if meta.kind == MetaKind::Folder && !is_closed {
            self.folder(path)?;
        }
        Ok(())
    }

    fn add(&mut self, path: String, meta: &Meta, fate: Fate) {
        self.etc.entries.push(Entry {
            path,
            kind: meta.kind,
            fate,
        });
    }

    fn fate(&self, text: &str, path: &Path, meta: &Meta) -> Result<Fate, HostError> {
        let named = |table| rule_for(table, text);
        let owner = self.owned.owner(text);
        if meta.kind == MetaKind::Folder {
            return Ok(match (named(FOREIGN), named(IGNORED), owner) {
                (Some(whose), ..) => Fate::Foreign(whose),
                (_, Some(rule), Owner::Nobody) => Fate::Ignored(rule),
                (_, _, Owner::Nobody) if self.is_of_unit(path)? => Fate::Ignored(UNIT),
                (_, _, Owner::Nobody) => Fate::Managed,
                _ => Fate::Default,
            });
        }
        if let Some(whose) = named(FOREIGN) {
            return Ok(Fate::Foreign(whose));
        }
        if self.chosen.contains(text) && meta.kind == MetaKind::Symlink {
            return Ok(self.link(path, &Owner::Nobody));
        }
        if owner == Owner::Nobody
            && let Some(rule) = named(IGNORED)
        {
            return Ok(Fate::Ignored(rule));
        }
        if meta.kind != MetaKind::Symlink && SECRET.iter().any(|pattern| fits(pattern, text)) {
            return Ok(match owner {
                Owner::Nobody => Fate::Secret,
                _ => self.file(text, path, meta, &owner)?,
            });
        }
        Ok(match meta.kind {
            MetaKind::Symlink if owner == Owner::Nobody && self.is_other_name(path)? => {
                Fate::Ignored(OTHER_NAME)
            }
            MetaKind::Symlink if owner == Owner::Nobody && self.is_of_unit(path)? => {
                Fate::Ignored(UNIT)
            }
            MetaKind::Symlink => self.link(path, &owner),
            MetaKind::Other => Fate::Ignored("it is a device, a socket or a pipe"),
            _ => self.file(text, path, meta, &owner)?,
        })
    }

    fn link(&self, path: &Path, owner: &Owner) -> Fate {
        match self.host.read_link(path) {
            _ if *owner != Owner::Nobody => Fate::Default,
            Ok(target) if target.to_str().is_some_and(is_sayable) => Fate::Managed,
            Ok(_) => Fate::Ignored(
                "its target is not UTF-8, or contains characters that a spec cannot contain",
            ),
            Err(error) => Fate::Unreadable(error.to_string()),
        }
    }

    fn file(&self, text: &str, path: &Path, meta: &Meta, owner: &Owner) -> Result<Fate, HostError> {
        if meta.size > LARGEST_SOURCE {
            return Ok(Fate::Ignored("it is larger than 1 GiB"));
        }
        let is_as_made = match owner {
            Owner::Package(md5) => self.host.md5(path).map(|there| there.as_ref() == Some(md5)),
            // A package brings it, and dpkg does not know what was in it.
            Owner::Unknown => Ok(true),
            Owner::Nobody => self.is_copy(text, path, meta),
        };
        match is_as_made {
            Ok(true) => return Ok(Fate::Default),
            Err(error) if error.is_not_allowed() => {
                return Ok(Fate::Unreadable("only its owner may read it".to_owned()));
            }
            is_as_made => drop(is_as_made?),
        }
        if sysctl_d::says_all_of(self.host, path)? {
            return Ok(Fate::Ignored(SETTINGS));
        }
        if modules::says_all_of(self.host, path)? {
            return Ok(Fate::Ignored(MODULES));
        }
        if self.is_of_unit(path)? {
            return Ok(Fate::Ignored(UNIT));
        }
        Ok(Fate::Managed)
    }

    /// Whether a path is that of a file or of the drop-ins of a unit that is written as one.
    fn is_of_unit(&self, path: &Path) -> Result<bool, HostError> {
        unit_of(path).map_or(Ok(false), |name| expressible::takes(self.host, name))
    }

    /// Whether a link is another name of a unit that is somewhere.
    fn is_other_name(&self, path: &Path) -> Result<bool, HostError> {
        let is_among_units = path.parent().is_some_and(|folder| {
            [UNITS, "/etc/systemd/user"].contains(&folder.to_str().unwrap_or_default())
        });
        if !is_among_units || path.ends_with("default.target") {
            return Ok(false);
        }
        let target = self.host.read_link(path)?;
        Ok(target.file_name() != path.file_name() && target != Path::new("/dev/null"))
    }

    fn is_copy(&self, text: &str, path: &Path, meta: &Meta) -> Result<bool, HostError> {
        if BLANK.iter().any(|pattern| fits(pattern, text)) {
            let contents = self
                .host
                .read_text(path, LARGEST_SOURCE)?
                .unwrap_or_default();
            let mut lines = contents.lines().map(str::trim);
            return Ok(lines.all(|line| line.is_empty() || line.starts_with('#')));
        }
        let originals = COPIES
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

/// Returns the unit whose file, or folder of drop-ins, or drop-in a path of the administrator's can be.
fn unit_of(path: &Path) -> Option<&str> {
    let rest = path.strip_prefix(UNITS).ok()?;
    let first = rest.iter().next()?.to_str()?;
    let name = first.strip_suffix(".d").unwrap_or(first);
    UnitName::parse(name).ok().map(|_| name)
}
