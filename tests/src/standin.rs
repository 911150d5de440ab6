//! Snaps that stand in for those of the store, packed from the files in `standin/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    image::{cache_entry, directory_bytes},
    test_env::run_local_ok,
};

/// Where a test host has the packed snaps, each as `NAME.snap`.
pub const SNAPS_DIR: &str = "/usr/share/stead-tests/snaps";

/// Top-level directories that snapd wants to find in a base.
const BASE_DIRS: [&str; 13] = [
    "dev", "etc", "home", "lib", "media", "mnt", "proc", "root", "run", "snap", "sys", "usr", "var",
];

/// A snap that stands in for `MicroK8s`: its file, the directory of its files, and the version that it says it is.
const MICROK8S_SNAPS: [(&str, &str, &str); 4] = [
    ("microk8s_1", "microk8s", "v1.32.9"),
    ("microk8s_2", "microk8s", "v1.33.5"),
    ("microk8s-1.13_1", "microk8s-1.13", "v1.13.4"),
    ("microk8s-1.13_2", "microk8s-1.13", "v1.13.5"),
];

/// Returns a layer with the snaps that every host has installed, after packing them if their files have changed.
pub(crate) fn bases_layer() -> PathBuf {
    let source = source_dir();
    let inputs = ["core22", "snapd"].map(|name| directory_bytes(&source.join(name)));
    cache_entry("bases", &[&inputs[0], &inputs[1]], |dir| {
        let target = snaps_dir(dir);
        let work = dir.join("work");
        fs::create_dir(&work).unwrap();
        for name in ["core22", "snapd"] {
            copy(&source.join(name), &work.join(name));
        }
        for name in BASE_DIRS {
            fs::create_dir_all(work.join("core22").join(name)).unwrap();
        }
        for name in ["core22", "snapd"] {
            pack(&work.join(name), &target.join(format!("{name}.snap")));
        }
        fs::remove_dir_all(&work).unwrap();
    })
}

/// Returns a layer with the snaps that stand in for `MicroK8s`, after packing them if their files have changed.
pub(crate) fn microk8s_layer() -> PathBuf {
    let source = source_dir();
    let versions = format!("{MICROK8S_SNAPS:?}");
    let inputs = [&directory_bytes(&source), versions.as_bytes()];
    cache_entry("microk8s", &inputs, |dir| {
        let target = snaps_dir(dir);
        let work = dir.join("work");
        copy(&source, &work);
        for repository in ["core", "community"] {
            make_repository(&work.join("microk8s/addons").join(repository));
        }
        for (file, name, version) in MICROK8S_SNAPS {
            let snap = work.join(file);
            copy(&work.join(name), &snap);
            copy(&work.join("common/."), &snap);
            let about = snap.join("meta/snap.yaml");
            let text = fs::read_to_string(&about).unwrap();
            fs::write(&about, text.replace("@VERSION@", version)).unwrap();
            pack(&snap, &target.join(format!("{file}.snap")));
        }
        fs::remove_dir_all(&work).unwrap();
    })
}

fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("standin")
}

fn snaps_dir(layer: &Path) -> PathBuf {
    let target = layer.join(SNAPS_DIR.trim_start_matches('/'));
    fs::create_dir_all(&target).unwrap();
    target
}

fn copy(from: &Path, to: &Path) {
    run_local_ok(
        Command::new("cp")
            .args(["--recursive", "--no-dereference", "--preserve=mode"])
            .args([from, to]),
    );
}

/// Makes a git repository of a directory: `MicroK8s` clones its addons from the snap.
fn make_repository(dir: &Path) {
    for arguments in [
        &["init", "--quiet", "--initial-branch=main"][..],
        &["add", "--all"],
        &["commit", "--quiet", "--message=addons"],
    ] {
        let mut command = Command::new("git");
        command.arg("-C").arg(dir).args(arguments);
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "stand-in")
                .env(format!("GIT_{who}_EMAIL"), "stand-in@localhost")
                .env(format!("GIT_{who}_DATE"), "2026-01-01T00:00:00Z");
        }
        run_local_ok(&mut command);
    }
}

fn pack(dir: &Path, snap: &Path) {
    run_local_ok(Command::new("mksquashfs").args([dir, snap]).args([
        "-noappend",
        "-comp",
        "xz",
        "-all-root",
        "-no-progress",
        "-quiet",
    ]));
}
