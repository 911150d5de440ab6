//! The store on a test host: snapd's own, which signs with its test keys.

use crate::{Host, TestEnv, standin};

/// Where the store has its snaps and assertions.
const STORE_DIR: &str = "/var/lib/store";

/// Where a snap is packed on the host.
const PACK_DIR: &str = "/root/workshop";

impl Host {
    /// Packs a snap on the host itself, as one of those that [`Host::publish`] takes: the files of another with some in place of its own.
    pub fn pack(&self, file: &str, from: &str, files: &[(&str, &str)]) {
        let (snap, packed) = (packed_path(from), packed_path(file));
        self.run_ok(&[
            "unsquashfs",
            "-quiet",
            "-no-progress",
            "-dest",
            PACK_DIR,
            &snap,
        ]);
        for (path, text) in files {
            let path = format!("{PACK_DIR}/{path}");
            self.put(&path, text);
            self.run_ok(&["chmod", "755", &path]);
        }
        let quietly = [
            "-noappend",
            "-comp",
            "xz",
            "-all-root",
            "-no-progress",
            "-quiet",
        ];
        self.run_ok(&[&["mksquashfs", PACK_DIR, &packed], &quietly[..]].concat());
        self.run_ok(&["rm", "-r", PACK_DIR]);
    }

    /// Offers a packed stand-in in the store, as a revision of a snap, in all channels. It takes the place of the one before.
    pub fn publish(&self, snap: &str, file: &str, revision: u32) {
        let packed = packed_path(file);
        let offered = format!("{STORE_DIR}/{snap}_{revision}.snap");
        let old = format!("{STORE_DIR}/{snap}_*.snap");
        self.run_ok(&["find", STORE_DIR, "-path", &old, "-delete"]);
        self.run_ok(&["cp", &packed, &offered]);
        let about = "/run/stead-tests-revision.json";
        self.put(about, &format!("{{\"snap-revision\": \"{revision}\"}}"));
        let declared = format!("{STORE_DIR}/asserts/16,{snap}-id.snap-declaration");
        if self.get(&declared).is_none() {
            self.sign(&["new-snap-declaration", "--dir", STORE_DIR, &offered]);
        }
        self.sign(&[
            "new-snap-revision",
            "--dir",
            STORE_DIR,
            "--snap-rev-json",
            about,
            &offered,
        ]);
    }

    fn sign(&self, arguments: &[&str]) {
        let argv = ["env", "SNAPPY_TESTING=1", "/usr/lib/snapd/fakestore"];
        self.run_ok(&[&argv, arguments].concat());
    }
}

fn packed_path(file: &str) -> String {
    format!("{}/{file}.snap", standin::SNAPS_DIR)
}
