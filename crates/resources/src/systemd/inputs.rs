//! What the process of a unit is started with, as far as it is in `/etc/systemd/system`.

use stead_engine::model::digest::digest;

use crate::{
    host::{HostError, Reader},
    systemd::{
        files::{AdminFiles, UnitFile},
        name::UnitName,
        text::UnitText,
    },
};

/// What the files of a unit, and those of its template, give to its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartInputs {
    /// A digest of it.
    pub(crate) digest: String,
    /// When the newest of the files was changed, in microseconds since 1970.
    pub(crate) newest: u64,
}

impl StartInputs {
    /// Reads them; `None` if this user may not.
    pub(crate) fn read(host: &Reader, name: &str) -> Result<Option<Self>, HostError> {
        let own = AdminFiles::read(host, name)?;
        let template = UnitName::parse(name).ok().and_then(UnitName::template);
        let template = template
            .map(|template| AdminFiles::read(host, &template))
            .transpose()?;
        let mut newest = own.newest_change;
        let mut files = vec![];
        if let Some(template) = template {
            newest = newest.max(template.newest_change);
            let Some(of_template) = template.files() else {
                return Ok(None);
            };
            files.extend(of_template);
        }
        let Some(of_unit) = own.files() else {
            return Ok(None);
        };
        files.extend(of_unit);
        let digest = digest_files(files.iter());
        Ok(Some(Self { digest, newest }))
    }
}

/// Digests what files of a unit give to its process, in the order in which they count.
pub(crate) fn digest_files<'a>(files: impl Iterator<Item = &'a UnitFile> + Clone) -> String {
    let is_text = |file: &UnitFile| *file == UnitFile::ABSENT || file.text().is_some();
    if files.clone().all(is_text) {
        return UnitText::parse(files.filter_map(UnitFile::text)).digest();
    }
    digest(&files.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    fn digest(files: &[(&str, &str)], name: &str) -> String {
        let root = TestRoot::new(files);
        StartInputs::read(&root.reader(), name)
            .unwrap()
            .unwrap()
            .digest
    }

    #[test]
    fn inputs_digest_covers_unit_and_template_files() {
        let own = (
            "/etc/systemd/system/w@1.service.d/a.conf",
            "[Service]\nNice=1\n",
        );
        let template = (
            "/etc/systemd/system/w@.service",
            "[Service]\nExecStart=/bin/a\n",
        );
        let other = (template.0, "[Service]\nExecStart=/bin/b\n");
        let install = (
            template.0,
            "[Service]\nExecStart=/bin/a\n[Install]\nWantedBy=x.target\n",
        );
        let all = digest(&[own, template], "w@1.service");
        assert_eq!(all, digest(&[own, install], "w@1.service"));
        for files in [&[template][..], &[own], &[own, other], &[]] {
            assert_ne!(all, digest(files, "w@1.service"), "{files:?}");
        }
        // What a package brings is the package's to restart.
        let packaged = ("/usr/lib/systemd/system/w@2.service", "[Service]\n");
        assert_eq!(
            digest(&[packaged, template], "w@2.service"),
            digest(&[template], "w@2.service")
        );
    }

    #[test]
    fn inputs_digest_covers_symlinked_drop_ins() {
        let root = TestRoot::new(&[("/etc/systemd/system/a.service", "[Service]\n")]);
        let before = StartInputs::read(&root.reader(), "a.service").unwrap();
        root.symlink("/etc/systemd/system/a.service.d/x.conf", "/dev/null");
        let after = StartInputs::read(&root.reader(), "a.service").unwrap();
        assert_ne!(before.unwrap().digest, after.unwrap().digest);
    }
}
