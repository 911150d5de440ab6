//! The power goes in the middle of an apply, at many of the calls that reach the disk, and the host boots again.

use e2e::{
    Fingerprint, Host, Image, SPEC, TestEnv, create_spec_files, difference, wait_for,
    walk::{self, Share},
};

/// Calls by which an apply reaches the disk.
const CALLS: [&str; 9] = [
    "fsync",
    "fdatasync",
    "renameat",
    "renameat2",
    "unlinkat",
    "mkdirat",
    "symlinkat",
    "fchmod",
    "ftruncate",
];

const APPLY: [&str; 3] = ["apply", "--yes", "/root/host.kdl"];
/// How many cuts a sample has, if there are not more sorts of calls.
const CUT_SAMPLE: usize = 12;

/// Starts an apply that stops for ever after a call so often. Returns whether it came that far.
fn apply_until(host: &Host, call: &str, number: usize) -> bool {
    let inject = format!("signal=STOP:when={number}");
    let mut apply = host
        .stead_injected(call, &inject, &[], &APPLY)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("strace is on the host");
    let is_stopped = wait_for(|| {
        let trace = host.get("/run/trace").unwrap_or_default();
        if trace.contains("stopped by SIGSTOP") {
            return Ok(true);
        }
        let ended = apply.try_wait().expect("it is ours");
        ended
            .map(|_| false)
            .ok_or_else(|| format!("neither stopped nor ended: {trace}"))
    });
    if is_stopped {
        // The power cut ends it, and this process must not wait for it here.
        std::thread::spawn(move || drop(apply.wait()));
    }
    is_stopped
}

/// Boots a host with a spec on its disk, and looks at it.
fn boot_with_spec() -> (Host, Fingerprint) {
    let mut host = Host::boot(Image::Debian13);
    create_spec_files(&host);
    let spec = SPEC.replace("    kernel-module \"dummy\"\n", "");
    host.put("/root/host.kdl", &spec);
    host.run_ok(&["sync"]);
    host.reboot();
    let start = host.fingerprint();
    (host, start)
}

#[test]
fn recover_restores_the_start_after_a_power_cut() {
    let (mut host, start) = boot_with_spec();
    let (mut host_at_end, _) = boot_with_spec();
    let made = walk::trace_calls(&host_at_end, &CALLS.join(","), &[], &APPLY, 0);
    // An apply that came to its end is on the disk, although nobody synced the disk for it.
    check_applied(&mut host_at_end);
    drop(host_at_end);

    let mut halfway = 0;
    let cut = |call: &'static str, number| {
        let at = format!("cut at {call} {number}");
        let was_reached = apply_until(&host, call, number);
        host.power_cut();
        let cut = difference(&start, &host.fingerprint());
        let recovered = host.stead(&["recover"]);
        assert_eq!(recovered.code, Some(0), "{at}: {recovered:?}");
        let left = difference(&start, &host.fingerprint());
        if !left.is_empty() && recovered.err.contains("Nothing to recover") {
            // The end of the run was on the disk already: then everything that it did is there too.
            check_applied(&mut host);
            host = boot_with_spec().0;
        } else {
            assert_eq!(left, [""; 0], "{at}: {recovered:?}");
            halfway += usize::from(!cut.is_empty());
        }
        was_reached
    };
    let cuts = walk::for_each_call(
        "power cuts in an apply",
        (&CALLS, Share::WHOLE),
        CUT_SAMPLE,
        made,
        cut,
    );
    assert!(cuts > 5, "the apply has more calls than {cuts}");
    assert!(halfway > 2, "some cuts must leave something to roll back");
}

/// Sees that all of an apply is on the disk of a host.
fn check_applied(host: &mut Host) {
    host.power_cut();
    let end = file_fingerprint(host);
    assert_eq!(host.get("/srv/old").as_deref(), Some("changed\n"));
    assert_eq!(host.get("/srv/link").as_deref(), Some("new\n"));
    assert_eq!(host.get("/srv/gone"), None);
    let again = host.stead(&["apply", "--yes", "/root/host.kdl"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(difference(&end, &file_fingerprint(host)), [""; 0]);
    let plan = host.stead(&["plan", "/root/host.kdl"]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
}

/// The files of a fingerprint: rules and settings of the kernel end with the power.
fn file_fingerprint(host: &Host) -> Fingerprint {
    let mut found = host.fingerprint();
    found.retain(|key, _| key.starts_with('/'));
    found
}
