//! How long `stead watch` takes to put back the policy of FORWARD, as somebody else sees it, and what it costs while nothing happens: a
//! measurement, and no test.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use crate::{Host, Image, TestEnv, wait_until};

/// How long it is quiet between two flips: faster ones are a fight.
const FLIP_INTERVAL: Duration = Duration::from_millis(1_300);
/// How long to wait for a policy to come back.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often the legacy tables are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const SPEC: &str = r#"host "bench" {
    iptables-policy "filter/FORWARD" "ACCEPT" backend="both"
    sysctl "net.ipv4.ip_forward" "1"
    hook "watch"
}
"#;

/// Boots a host with a watch on it.
pub fn boot(image: Image) -> Host {
    let host = Host::boot(image);
    // So that there are tables in both.
    for backend in ["nft", "legacy"] {
        let program = format!("iptables-{backend}");
        host.run_ok(&[&program, "--policy", "FORWARD", "DROP"]);
    }
    host.put("/root/host.kdl", SPEC);
    host.stead_exits(&["apply", "--yes", "/root/host.kdl"], 0);
    host
}

/// Hears what the kernel tells of the chains, with a program that is not ours: `nft monitor`.
struct Monitor {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Monitor {
    fn start(host: &Host) -> Self {
        let mut child = host
            .command(&["nft", "monitor", "chains"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    break;
                }
            }
        });
        sleep(Duration::from_millis(300));
        Self { child, lines }
    }

    /// Waits until the policy is told to be this.
    fn wait_for(&self, policy: &str) -> Instant {
        let words = format!("policy {policy};");
        loop {
            match self.lines.recv_timeout(TIMEOUT) {
                Ok((when, line)) if line.contains(" FORWARD ") && line.contains(&words) => {
                    return when;
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("nobody made it {policy}"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sets the policy to DROP on the nft back end so often; returns how long it took each time until it was ACCEPT again, sorted.
///
/// # Panics
/// If it does not come back.
pub fn flip_nft(host: &Host, times: usize) -> Vec<Duration> {
    let monitor = Monitor::start(host);
    let mut found: Vec<Duration> = (0..times)
        .map(|_| {
            sleep(FLIP_INTERVAL);
            host.run_ok(&["iptables-nft", "--policy", "FORWARD", "DROP"]);
            let dropped = monitor.wait_for("drop");
            monitor.wait_for("accept") - dropped
        })
        .collect();
    found.sort();
    found
}

/// As [`flip_nft`], on the legacy back end, of which the kernel tells nobody: the tables are looked at again and again.
///
/// # Panics
/// If it does not come back.
pub fn flip_legacy(host: &Host, times: usize) -> Vec<Duration> {
    let is_accepting = || {
        let saved = host
            .run_ok(&["iptables-legacy-save", "--table", "filter"])
            .out;
        saved.contains(":FORWARD ACCEPT")
    };
    let mut found: Vec<Duration> = (0..times)
        .map(|_| {
            sleep(FLIP_INTERVAL);
            host.run_ok(&["iptables-legacy", "--policy", "FORWARD", "DROP"]);
            let begin = Instant::now();
            while !is_accepting() {
                assert!(begin.elapsed() < TIMEOUT, "nobody made it ACCEPT");
                sleep(POLL_INTERVAL);
            }
            begin.elapsed()
        })
        .collect();
    found.sort();
    found
}

/// What a watch costs.
#[derive(Debug)]
pub struct Cost {
    /// Processor time, that of the programs that it ran with it, as a part of one core.
    pub share: f64,
    /// Memory that it has, in bytes: `VmRSS` of `proc_pid_status(5)`, the pages of its program among it.
    pub resident: u64,
    /// The part of it that is its own alone: `RssAnon`.
    pub anonymous: u64,
}

/// Looks what a watch costs in a time in which nothing happens.
///
/// # Panics
/// If there is none.
pub fn measure_idle(host: &Host, time: Duration) -> Cost {
    let process = main_process(host);
    let ticks = || {
        let stat = host.run_ok(&["cat", &format!("/proc/{process}/stat")]).out;
        // utime, stime, cutime and cstime, behind the name in parentheses: `proc_pid_stat(5)`.
        let words = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks = words
            .skip(11)
            .take(4)
            .map(|ticks| ticks.parse::<u64>().unwrap());
        ticks.sum::<u64>()
    };
    // The last change is behind it.
    sleep(Duration::from_secs(2));
    let before = ticks();
    sleep(time);
    #[expect(clippy::cast_precision_loss, reason = "so few ticks are exact")]
    let seconds = (ticks() - before) as f64 / 100.0;
    let status = host
        .run_ok(&["cat", &format!("/proc/{process}/status")])
        .out;
    let kilobytes = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim_end_matches(" kB").trim().parse().unwrap()
    };
    Cost {
        share: seconds / time.as_secs_f64(),
        resident: kilobytes("VmRSS:") << 10,
        anonymous: kilobytes("RssAnon:") << 10,
    }
}

/// Returns the process that watches.
///
/// # Panics
/// If there is none.
pub fn main_process(host: &Host) -> String {
    let show = [
        "systemctl",
        "show",
        "--value",
        "--property=MainPID",
        "stead-watch.service",
    ];
    let mut process = String::new();
    wait_until("somebody watches", || {
        host.run_ok(&show).out.trim().clone_into(&mut process);
        process != "0"
    });
    process
}
