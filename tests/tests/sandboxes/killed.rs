//! Killed, or refused by the kernel, at every system call that writes: the host is the one before or the one after, never anything between.
//! The normal run takes a sample of the calls, each sort of them among it; `make test-exhaustive` takes all.

use e2e::{
    CommandOutput, Fingerprint, Sandbox, TestEnv, difference, sandbox_with_spec,
    walk::{self, Share},
};

/// Calls by which something reaches the disk or the kernel, each as one list for strace.
const CALLS: [&str; 3] = [
    "fsync,fdatasync,renameat,renameat2,unlinkat,mkdirat,symlinkat,fchmod,fchmodat,fchown,fchownat,ftruncate",
    "write,pwrite64,writev",
    "sendmsg,setsockopt",
];
/// The errors. In a sample each sort of calls meets one of them; which one comes of the seed.
const ERRORS: [&str; 4] = ["ENOSPC", "EIO", "EROFS", "EACCES"];
/// How many calls of a list a sample has, if there are not more sorts of them.
const SAMPLE: usize = 6;
const APPLY: [&str; 3] = ["apply", "--yes", "/run/host.kdl"];

/// Where a check leaves the sandbox.
#[derive(PartialEq)]
enum SandboxAfter {
    AtStartOrEnd,
    Residue,
}

struct StartAndEnd {
    start: Fingerprint,
    end: Fingerprint,
}

impl StartAndEnd {
    /// Learns what the host looks like before and after an apply.
    fn record(sandbox: &Sandbox) -> Self {
        let start = sandbox.fingerprint();
        assert_eq!(sandbox.stead(&APPLY).code, Some(0));
        let end = sandbox.fingerprint();
        assert_ne!(difference(&start, &end), [""; 0]);
        let ends = Self { start, end };
        ends.undo_latest(sandbox);
        ends
    }

    /// Takes the newest run back.
    fn undo_latest(&self, sandbox: &Sandbox) {
        let latest = sandbox.latest_run().to_string();
        let undone = sandbox.stead(&["undo", "--yes", &latest]);
        assert_eq!(undone.code, Some(0), "{undone:?}");
        assert_eq!(difference(&self.start, &sandbox.fingerprint()), [""; 0]);
    }

    /// Sees that the host is at one of its two ends, and takes it to the start.
    fn check(&self, sandbox: &Sandbox, what: &str) {
        let now = sandbox.fingerprint();
        let (from_start, from_end) = (difference(&self.start, &now), difference(&self.end, &now));
        if !from_start.is_empty() {
            assert!(
                from_end.is_empty(),
                "{what}: neither the start {from_start:#?} nor the end {from_end:#?}"
            );
            self.undo_latest(sandbox);
        }
    }
}

fn all_files(_run: usize) -> Vec<String> {
    vec![]
}

/// The files that the run writes bytes to. An error of anything else that takes bytes, such as the event descriptors
/// by which threads wake each other, cannot happen: eventfd(2), ERRORS.
fn written_files(run: usize) -> Vec<String> {
    let own = ["plan.new", "journal"].map(|name| format!("/var/lib/stead/runs/{run:06}/{name}"));
    let others = [
        "/run/stead/lock",
        "/etc/modules-load.d/.stead.conf.stead-new",
        "/etc/sysctl.d/.99-zz-stead.conf.stead-new",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv4/conf/all/rp_filter",
        "/srv/app/.text.stead-new",
        "/srv/.old.stead-new",
        "/srv/.secret.stead-new",
    ];
    own.into_iter().chain(others.map(str::to_owned)).collect()
}

/// Makes a sandbox with a spec of many files, which several threads write.
fn many_files() -> Sandbox {
    let sandbox = Sandbox::new();
    let files = (0..40).map(|number| {
        let path = format!("/srv/{number}");
        if number % 2 == 0 {
            sandbox.put(&path, "old\n");
        }
        if number % 8 == 0 {
            format!("    file \"{path}\" absent=#true\n")
        } else {
            format!("    file \"{path}\" mode=\"0640\" {{ content \"new {number}\\n\"; }}\n")
        }
    });
    let files: Vec<_> = files.collect();
    sandbox.put(
        "/run/host.kdl",
        &format!("host \"many\" {{\n{}}}\n", files.concat()),
    );
    sandbox
}

/// Something that is injected into one call after the other.
struct Walk<'a> {
    make: fn() -> Sandbox,
    /// Lists of calls, one after the other. strace counts the calls of each name by itself.
    lists: Vec<&'a str>,
    injection: String,
    paths: fn(usize) -> Vec<String>,
    share: Share,
}

impl Walk<'_> {
    /// Runs an apply again and again, with the injection into one call after the other.
    fn inject_at_each_call(
        &self,
        check: impl Fn(&Sandbox, &StartAndEnd, &CommandOutput, &str) -> SandboxAfter,
    ) {
        let mut sandbox = (self.make)();
        let ends = StartAndEnd::record(&sandbox);
        let all = self.lists.join(",");
        let walk = format!("{} at {all}", self.injection);
        let mut made = vec![];
        if !walk::is_exhaustive() {
            let paths = (self.paths)(sandbox.latest_run() + 1);
            made = walk::trace_calls(&sandbox, &all, &paths, &APPLY, 0);
            ends.undo_latest(&sandbox);
        }
        walk::for_each_call(
            &walk,
            (&self.lists, self.share),
            SAMPLE,
            made,
            |calls, number| self.inject_once(&mut sandbox, &ends, (calls, number), &check),
        );
    }

    /// Runs an apply with one injection. Returns whether there was a call of that number.
    fn inject_once(
        &self,
        sandbox: &mut Sandbox,
        ends: &StartAndEnd,
        (calls, number): (&str, usize),
        check: impl Fn(&Sandbox, &StartAndEnd, &CommandOutput, &str) -> SandboxAfter,
    ) -> bool {
        let injection = format!("{}:when={number}", self.injection);
        let paths = (self.paths)(sandbox.latest_run() + 1);
        let mut injected = sandbox.stead_injected(calls, &injection, &paths, &APPLY);
        let said = CommandOutput::from(injected.output().expect("strace is installed"));
        let what = format!("{injection} of {calls}: {said:?}");
        let trace = sandbox.get("/run/trace").expect("strace writes it");
        let is_injected = trace.contains("INJECTED") || trace.contains("killed by SIGKILL");
        if !is_injected {
            // Threads share the calls otherwise each time.
            assert_eq!(said.code, Some(0), "{what}");
            ends.check(sandbox, &what);
        } else if check(sandbox, ends, &said, &what) == SandboxAfter::Residue {
            *sandbox = (self.make)();
        }
        is_injected
    }
}

fn check_kills(make: fn() -> Sandbox, calls: &str) {
    let walk = Walk {
        make,
        lists: calls.split(',').collect(),
        injection: "signal=KILL".to_owned(),
        paths: all_files,
        share: Share::WHOLE,
    };
    walk.inject_at_each_call(|sandbox, ends, _, what| {
        let recovered = sandbox.stead(&["recover"]);
        assert_eq!(recovered.code, Some(0), "{what}, then {recovered:?}");
        ends.check(sandbox, what);
        SandboxAfter::AtStartOrEnd
    });
}

fn check_errors(calls: &str, error: &str) {
    let paths = if calls == CALLS[1] {
        written_files
    } else {
        all_files
    };
    let walk = Walk {
        make: sandbox_with_spec,
        lists: vec![calls],
        injection: format!("error={error}"),
        paths,
        share: Share {
            index: ERRORS
                .iter()
                .position(|it| *it == error)
                .expect("it is one of them") as u64,
            count: ERRORS.len() as u64,
        },
    };
    walk.inject_at_each_call(|sandbox, ends, said, what| {
        let expected = match said.code {
            Some(0) => &ends.end,
            Some(1) => &ends.start,
            // Each program that a run starts meets the error anew, that of the rollback too.
            Some(4) => {
                check_residue(ends, sandbox, said, what);
                return SandboxAfter::Residue;
            }
            _ => panic!("{what}"),
        };
        let now = sandbox.fingerprint();
        assert_eq!(difference(expected, &now), [""; 0], "{what}");
        assert_eq!(sandbox.stead(&["recover"]).code, Some(0), "{what}");
        ends.check(sandbox, what);
        SandboxAfter::AtStartOrEnd
    });
}

/// Sees that a rollback that could not put everything back says what is left, and that nothing else is.
fn check_residue(ends: &StartAndEnd, sandbox: &Sandbox, said: &CommandOutput, what: &str) {
    let now = sandbox.fingerprint();
    assert_ne!(difference(&ends.start, &now), [""; 0], "{what}");
    let residue = said
        .err
        .split("residue:")
        .nth(1)
        .expect("the message names it");
    for left in difference(&ends.start, &now) {
        assert!(
            left.contains("tables") && residue.contains("iptables-"),
            "{what}: {left}"
        );
    }
}

#[test]
fn recover_after_a_kill_at_a_file_call_leaves_an_end() {
    check_kills(sandbox_with_spec, CALLS[0]);
}

#[test]
fn recover_after_a_kill_at_a_byte_write_leaves_an_end() {
    check_kills(sandbox_with_spec, CALLS[1]);
}

#[test]
fn recover_after_a_kill_at_a_socket_call_leaves_an_end() {
    check_kills(sandbox_with_spec, CALLS[2]);
}

#[test]
fn recover_after_a_kill_among_many_files_leaves_an_end() {
    for calls in &CALLS[..2] {
        check_kills(many_files, calls);
    }
}

/// A test for each list of calls and each error.
macro_rules! refused {
    ($($name:ident: $calls:expr, $error:expr;)*) => {$(
        #[test]
        fn $name() {
            check_errors(CALLS[$calls], $error);
        }
    )*};
}

refused! {
    file_call_failing_with_enospc_is_rolled_back: 0, "ENOSPC";
    file_call_failing_with_eio_is_rolled_back: 0, "EIO";
    file_call_failing_with_erofs_is_rolled_back: 0, "EROFS";
    file_call_failing_with_eacces_is_rolled_back: 0, "EACCES";
    byte_write_failing_with_enospc_is_rolled_back: 1, "ENOSPC";
    byte_write_failing_with_eio_is_rolled_back: 1, "EIO";
    byte_write_failing_with_erofs_is_rolled_back: 1, "EROFS";
    byte_write_failing_with_eacces_is_rolled_back: 1, "EACCES";
    socket_call_failing_with_enospc_is_rolled_back: 2, "ENOSPC";
    socket_call_failing_with_eio_is_rolled_back: 2, "EIO";
    socket_call_failing_with_erofs_is_rolled_back: 2, "EROFS";
    socket_call_failing_with_eacces_is_rolled_back: 2, "EACCES";
}
