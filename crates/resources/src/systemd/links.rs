//! The links that enable units.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{
    host::{HostError, MetaKind, Reader},
    systemd::{
        files::{UNITS, link_dirs, unit_text_if_readable},
        name::UnitName,
    },
};

/// The links in `/etc/systemd/system` by which units are enabled: where each is, and where it leads.
#[derive(Debug)]
pub(crate) struct Links(BTreeMap<String, String>);

impl Links {
    /// Reads all of them.
    pub(crate) fn read(host: &Reader) -> Result<Self, HostError> {
        let mut links = BTreeMap::new();
        let mut dirs = link_dirs(host)?;
        dirs.push(UNITS.into());
        for dir in dirs {
            for entry in host.list_dir(&dir)? {
                let path = dir.join(entry);
                let is_link = host
                    .stat(&path)?
                    .is_some_and(|meta| meta.kind == MetaKind::Symlink);
                if is_link {
                    let target = host.read_link(&path)?;
                    links.insert(path.display().to_string(), target.display().to_string());
                }
            }
        }
        Ok(Self(links))
    }

    /// Names the units that are enabled by any.
    pub(crate) fn units(&self) -> BTreeSet<String> {
        let name_of = |path: &str| Some(Path::new(path).file_name()?.to_str()?.to_owned());
        let enabled = self.0.iter().filter_map(|(path, target)| {
            let is_alias = Path::new(path).parent() == Some(Path::new(UNITS));
            let name = name_of(path)?;
            if is_alias {
                name_of(target).filter(|other| *other != name)
            } else {
                Some(name)
            }
        });
        enabled
            .filter(|name| UnitName::parse(name).is_ok())
            .collect()
    }

    /// Returns the links of a unit.
    pub(crate) fn of_unit(&self, name: &str) -> BTreeMap<String, String> {
        let mine = self
            .0
            .iter()
            .filter(|(path, target)| enables(name, path, target));
        mine.map(|(path, target)| (path.clone(), target.clone()))
            .collect()
    }
}

/// Whether a link enables a unit: by its name among what another unit wants, or as another name that leads to it.
/// Those of all instances are of their template too.
pub(crate) fn enables(name: &str, path: &str, target: &str) -> bool {
    let (path, target) = (Path::new(path), Path::new(target));
    let has_name = |path: &Path| {
        let file = path.file_name().and_then(|file| file.to_str());
        let template = file.and_then(|file| UnitName::parse(file).ok()?.template());
        file == Some(name) || template.as_deref() == Some(name)
    };
    if path.parent() == Some(Path::new(UNITS)) {
        has_name(target) && !has_name(path)
    } else {
        has_name(path)
    }
}

/// Returns the name under which a unit is enabled: its own, and for a template that of its default instance, if it has one.
pub(crate) fn enabled_name(host: &Reader, name: &str) -> Result<Option<String>, HostError> {
    match UnitName::parse(name) {
        Ok(unit) if unit.is_template() => {
            let text = unit_text_if_readable(host, name)?;
            Ok(text
                .default_instance()
                .map(|instance| unit.of_instance(instance)))
        }
        _ => Ok(Some(name.to_owned())),
    }
}

/// Names the units that are enabled and disabled together with one, itself among them.
pub(crate) fn also_units(host: &Reader, name: &str) -> Result<BTreeSet<String>, HostError> {
    let mut seen = BTreeSet::new();
    let mut next = vec![name.to_owned()];
    while let Some(name) = next.pop() {
        if UnitName::parse(&name).is_err() || !seen.insert(name.clone()) {
            continue;
        }
        let text = unit_text_if_readable(host, &name)?;
        next.extend(text.also_units().into_iter().map(str::to_owned));
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    const TOP: &str = "/etc/systemd/system";

    fn root() -> TestRoot {
        let root = TestRoot::new(&[
            (
                "/usr/lib/systemd/system/a.service",
                "[Install]\nAlso=a.socket b.service %i.service\n",
            ),
            (
                "/usr/lib/systemd/system/b.service",
                "[Install]\nAlso=a.service\n",
            ),
            (
                "/usr/lib/systemd/system/w@.service",
                "[Install]\nDefaultInstance=1\n",
            ),
        ]);
        for (path, target) in [
            ("x.target.wants/a.service", "../a.service"),
            (
                "y.target.requires/a.service",
                "/usr/lib/systemd/system/a.service",
            ),
            ("other.service", "/usr/lib/systemd/system/a.service"),
            ("linked.service", "/opt/linked.service"),
            (
                "sockets.target.wants/a.socket",
                "/usr/lib/systemd/system/a.socket",
            ),
            (
                "x.target.wants/w@1.service",
                "/usr/lib/systemd/system/w@.service",
            ),
            (
                "x.target.wants/w@2.service",
                "/usr/lib/systemd/system/w@.service",
            ),
        ] {
            root.symlink(&format!("{TOP}/{path}"), target);
        }
        root
    }

    fn check(name: &str, expected: &[&str]) {
        let links = Links::read(&root().reader()).unwrap().of_unit(name);
        let links: Vec<_> = links
            .keys()
            .map(|path| path.trim_start_matches(TOP))
            .collect();
        assert_eq!(links, expected, "{name}");
    }

    #[test]
    fn links_belong_to_the_unit_they_enable() {
        check(
            "a.service",
            &[
                "/other.service",
                "/x.target.wants/a.service",
                "/y.target.requires/a.service",
            ],
        );
        check("a.socket", &["/sockets.target.wants/a.socket"]);
        check("w@1.service", &["/x.target.wants/w@1.service"]);
        check(
            "w@.service",
            &["/x.target.wants/w@1.service", "/x.target.wants/w@2.service"],
        );
        check("other.service", &[]);
        check("linked.service", &[]);
    }

    #[test]
    fn also_units_are_collected_recursively() {
        let root = root();
        let names = also_units(&root.reader(), "a.service").unwrap();
        assert_eq!(
            names,
            ["a.service", "a.socket", "b.service"]
                .map(str::to_owned)
                .into()
        );
        for (name, expected) in [
            ("a.service", Some("a.service")),
            ("w@.service", Some("w@1.service")),
            ("v@.service", None),
        ] {
            let enabled_as = enabled_name(&root.reader(), name).unwrap();
            assert_eq!(enabled_as.as_deref(), expected, "{name}");
        }
    }
}
