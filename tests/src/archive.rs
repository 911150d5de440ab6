//! An archive of Debian packages on a test host: a directory that apt trusts, and the only one that it knows.

use crate::{Host, TestEnv};

/// Where it is.
const ARCHIVE_DIR: &str = "/opt/archive";
/// The list of what it has.
pub const PACKAGES_FILE: &str = "/opt/archive/Packages";

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
    pub postinst: Option<&'a str>,
}

impl Host {
    /// Builds packages and offers them, and nothing else.
    pub fn publish_packages(&self, packages: &[Package<'_>]) {
        self.run_ok(&["mkdir", "--parents", ARCHIVE_DIR]);
        for package in packages {
            self.build_package(package);
        }
        self.put("/etc/apt/sources.list", "");
        self.put(
            "/etc/apt/sources.list.d/test.list",
            &format!("deb [trusted=yes] file:{ARCHIVE_DIR} ./\n"),
        );
        self.run_ok(&["apt-get", "update"]);
    }

    fn build_package(&self, package: &Package<'_>) {
        let Package {
            name,
            version,
            control,
            files,
            postinst,
        } = package;
        let dir = format!("/root/build/{name}_{version}");
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
             Description: greets\n{control}"
        );
        self.put(&format!("{dir}/DEBIAN/control"), &control);
        let settings = files.iter().map(|(path, _)| path);
        let settings: Vec<String> = settings
            .filter(|path| path.starts_with("/etc/"))
            .map(|path| format!("{path}\n"))
            .collect();
        self.put(&format!("{dir}/DEBIAN/conffiles"), &settings.concat());
        for (path, text) in *files {
            self.put(&format!("{dir}{path}"), text);
        }
        if let Some(postinst) = postinst {
            let script = format!("{dir}/DEBIAN/postinst");
            self.put(&script, &format!("#!/bin/sh\n{postinst}\n"));
            self.run_ok(&["chmod", "0755", &script]);
        }
        let file = format!("{ARCHIVE_DIR}/{name}_{version}_all.deb");
        self.run_ok(&["dpkg-deb", "--root-owner-group", "--build", &dir, &file]);
        let size = self.run_ok(&["stat", "--format=%s", &file]).out;
        let digest = self.run_ok(&["sha256sum", &file]).out;
        let digest = digest.split(' ').next().unwrap();
        let list = self.get(PACKAGES_FILE).unwrap_or_default();
        let entry = format!(
            "{control}Filename: ./{name}_{version}_all.deb\nSize: {size}SHA256: {digest}\n\n"
        );
        self.put(PACKAGES_FILE, &(list + &entry));
    }
}
