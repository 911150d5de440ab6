//! The store on a test host: snapd's own, which signs with its test keys.

use crate::{Host, Inside, standin};

/// Where the store has its snaps and assertions.
const FOLDER: &str = "/var/lib/store";

/// Where a snap is packed on the host.
const WORKSHOP: &str = "/root/workshop";

impl Host {
    /// Packs a snap on the host itself, as one of those that [`Host::publish`] takes: the files of another with some in place of its own.
    pub fn pack(&self, file: &str, from: &str, files: &[(&str, &str)]) {
        let (snap, packed) = (packed(from), packed(file));
        self.must(&[
            "unsquashfs",
            "-quiet",
            "-no-progress",
            "-dest",
            WORKSHOP,
            &snap,
        ]);
        for (path, text) in files {
            let path = format!("{WORKSHOP}/{path}");
            self.put(&path, text);
            self.must(&["chmod", "755", &path]);
        }
        let quietly = [
            "-noappend",
            "-comp",
            "xz",
            "-all-root",
            "-no-progress",
            "-quiet",
        ];
        self.must(&[&["mksquashfs", WORKSHOP, &packed], &quietly[..]].concat());
        self.must(&["rm", "-r", WORKSHOP]);
    }

    /// Offers a packed stand-in in the store, as a revision of a snap, in all channels. It takes the place of the one before.
    pub fn publish(&self, snap: &str, file: &str, revision: u32) {
        let packed = packed(file);
        let offered = format!("{FOLDER}/{snap}_{revision}.snap");
        let old = format!("{FOLDER}/{snap}_*.snap");
        self.must(&["find", FOLDER, "-path", &old, "-delete"]);
        self.must(&["cp", &packed, &offered]);
        let about = "/run/stead-tests-revision.json";
        self.put(about, &format!("{{\"snap-revision\": \"{revision}\"}}"));
        let declared = format!("{FOLDER}/asserts/16,{snap}-id.snap-declaration");
        if self.get(&declared).is_none() {
            self.sign(&["new-snap-declaration", "--dir", FOLDER, &offered]);
        }
        self.sign(&[
            "new-snap-revision",
            "--dir",
            FOLDER,
            "--snap-rev-json",
            about,
            &offered,
        ]);
    }

    fn sign(&self, arguments: &[&str]) {
        let argv = ["env", "SNAPPY_TESTING=1", "/usr/lib/snapd/fakestore"];
        self.must(&[&argv, arguments].concat());
    }
}

fn packed(file: &str) -> String {
    format!("{}/{file}.snap", standin::FOLDER)
}
