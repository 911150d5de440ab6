//! How long a plan of `examples/hosts/cloud-vm.kdl` and an import take on a host that is so, against the slowest of their reads: what goes
//! on at the same time costs nothing. A measurement, and no test.

use std::time::Duration;

use crate::{CommandOutput, Host, Image, TestEnv, speed_benchmark::Row};

const SPEC: &str = "/root/cloud-vm.kdl";
/// What a read is called in the table of `--timings`.
const READ_LABEL: &str = "read ";
/// What an import may take beyond its reads: starting, and writing the file.
const IMPORT_OVERHEAD: Duration = Duration::from_millis(50);

/// Boots a host, brings it to where the example wants it, and measures so many times; the median counts.
///
/// # Panics
/// If the host does not get there.
pub fn run(rounds: usize) -> [Row; 2] {
    let mut host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    host.run_ok(&["systemctl", "enable", "--quiet", "docker.service"]);
    host.reboot();
    let example = include_str!("../../examples/hosts/cloud-vm.kdl");
    host.put(SPEC, example);
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    let plan = measure(&host, rounds, &["plan", SPEC]);
    let import = measure(&host, rounds, &["import"]);
    let beyond = Timing {
        total: import.total.saturating_sub(IMPORT_OVERHEAD),
        ..import
    };
    [
        plan.row("plan, cloud-vm.kdl; its slowest read", &plan, "≤ 1.2 ×"),
        import.row(
            "import of that host; its slowest list or read",
            &beyond,
            "≤ 1.5 × and 50 ms",
        ),
    ]
}

#[derive(Clone, Copy)]
struct Timing {
    total: Duration,
    slowest: Duration,
}

impl Timing {
    fn row(&self, work: &str, counted: &Self, goal: &str) -> Row {
        let ratio = counted.total.as_secs_f64() / counted.slowest.as_secs_f64();
        Row {
            work: work.to_owned(),
            times: Some([self.total, self.slowest]),
            figure: format!("{ratio:.2} ×"),
            goal: goal.to_owned(),
        }
    }
}

/// Measures a command once more than it counts.
fn measure(host: &Host, rounds: usize, arguments: &[&str]) -> Timing {
    let arguments = [arguments, &["--timings"]].concat();
    let took = (0..=rounds).map(|_| parse_timings(&host.stead_exits(&arguments, 0)));
    let mut took: Vec<_> = took.skip(1).collect();
    took.sort_by_key(|took| took.total);
    took[took.len() / 2]
}

/// Reads the table of `--timings`.
fn parse_timings(said: &CommandOutput) -> Timing {
    let table = said.err.split("Time:\n").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| {
        let (label, time) = line.trim().split_once("  ")?;
        Some((label, parse_duration(time.trim())))
    });
    let rows: Vec<_> = rows.collect();
    let reads = rows
        .iter()
        .filter(|(label, _)| label.starts_with(READ_LABEL));
    Timing {
        total: rows.iter().find(|(label, _)| *label == "all").unwrap().1,
        slowest: reads.map(|(_, time)| *time).max().unwrap(),
    }
}

/// Reads a time as stead writes it for people: `12 ms`, `1.4 s`.
fn parse_duration(text: &str) -> Duration {
    let mut words = text.split_whitespace();
    let number: f64 = words.next().unwrap().parse().unwrap();
    match words.next() {
        Some("ms") => Duration::from_secs_f64(number / 1e3),
        Some("s") => Duration::from_secs_f64(number),
        unit => panic!("{unit:?} in {text:?}"),
    }
}
