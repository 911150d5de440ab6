//! An archive of Debian packages on a test host: a folder that apt trusts, and the only one that it knows.

use crate::{Host, Inside};

/// Where it is.
const FOLDER: &str = "/opt/archive";
/// The list of what it has.
pub const LIST: &str = "/opt/archive/Packages";

/// A package to be built.
#[derive(Clone, Copy, Debug, Default)]
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// More lines of its control file.
    pub control: &'a str,
    /// Its files, by path.
    pub files: &'a [(&'a str, &'a str)],
    /// What its script does after it was installed.
    pub after: Option<&'a str>,
}

impl Host {
    /// Builds packages and offers them, and nothing else.
    pub fn offer(&self, packages: &[Package<'_>]) {
        self.must(&["mkdir", "--parents", FOLDER]);
        for package in packages {
            self.build(package);
        }
        self.put("/etc/apt/sources.list", "");
        self.put(
            "/etc/apt/sources.list.d/test.list",
            &format!("deb [trusted=yes] file:{FOLDER} ./\n"),
        );
        self.must(&["apt-get", "update"]);
    }

    fn build(&self, package: &Package<'_>) {
        let Package {
            name,
            version,
            control,
            files,
            after,
        } = package;
        let folder = format!("/root/build/{name}_{version}");
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
             Description: greets\n{control}"
        );
        self.put(&format!("{folder}/DEBIAN/control"), &control);
        let settings = files.iter().map(|(path, _)| path);
        let settings: Vec<String> = settings
            .filter(|path| path.starts_with("/etc/"))
            .map(|path| format!("{path}\n"))
            .collect();
        self.put(&format!("{folder}/DEBIAN/conffiles"), &settings.concat());
        for (path, text) in *files {
            self.put(&format!("{folder}{path}"), text);
        }
        if let Some(after) = after {
            let script = format!("{folder}/DEBIAN/postinst");
            self.put(&script, &format!("#!/bin/sh\n{after}\n"));
            self.must(&["chmod", "0755", &script]);
        }
        let file = format!("{FOLDER}/{name}_{version}_all.deb");
        self.must(&["dpkg-deb", "--root-owner-group", "--build", &folder, &file]);
        let size = self.must(&["stat", "--format=%s", &file]).out;
        let digest = self.must(&["sha256sum", &file]).out;
        let digest = digest.split(' ').next().unwrap();
        let list = self.get(LIST).unwrap_or_default();
        let entry = format!(
            "{control}Filename: ./{name}_{version}_all.deb\nSize: {size}SHA256: {digest}\n\n"
        );
        self.put(LIST, &(list + &entry));
    }
}
