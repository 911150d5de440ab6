//! What stead costs against the least that its work costs: by turns in one run, so that a busy machine is busy for both. A
//! measurement, and no test.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{peers::PEERS, test_env::run_local_ok, workload};

/// For about so long another program is measured, and once at least.
const PEER_TIME: Duration = Duration::from_secs(30);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadSize {
    /// Files of a plan; ten times as many show the growth.
    pub files: usize,
    /// Rules of iptables.
    pub rules: usize,
    /// How often each is measured; the median counts.
    pub rounds: usize,
}

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// What was done.
    pub work: String,
    /// How long stead takes, and that which it is measured against; `None` where something else is measured.
    pub times: Option<[Duration; 2]>,
    /// The figure that counts.
    pub figure: String,
    /// What it should be.
    pub goal: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let [stead, floor] = match self.times {
            Some(times) => times.map(milliseconds),
            None => [String::new(), String::new()],
        };
        write!(
            f,
            "{:48} {:>11} {:>11}  {:>9}  {}",
            self.work, stead, floor, self.figure, self.goal
        )
    }
}

/// Measures in a sandbox, and hands on each row as soon as it is there.
///
/// # Panics
/// Outside of a sandbox, or if a program fails.
pub fn run(stead: &Path, floor: &Path, extent: WorkloadSize, print: impl FnMut(&Row)) {
    let bench = Bench {
        stead: stead.to_owned(),
        floor: floor.to_owned(),
        rounds: extent.rounds,
        print,
    };
    bench.measure(extent);
}

struct Bench<T> {
    stead: PathBuf,
    floor: PathBuf,
    rounds: usize,
    print: T,
}

/// How long one and the other take: their medians.
struct Pair(Duration, Duration);

impl Pair {
    fn ratio(&self) -> f64 {
        self.0.as_secs_f64() / self.1.as_secs_f64()
    }

    fn row(&self, work: impl Into<String>, figure: String, goal: &str) -> Row {
        Row {
            work: work.into(),
            times: Some([self.0, self.1]),
            figure,
            goal: goal.to_owned(),
        }
    }
}

impl<T: FnMut(&Row)> Bench<T> {
    fn measure(mut self, extent: WorkloadSize) {
        self.measure_start();
        self.measure_apply(extent.files);
        let few = self.measure_plan(extent.files);
        let many = self.measure_plan(extent.files * 10);
        let growth = Pair(many, few);
        let row = growth.row(
            "10 times as many files, against the row of fewer",
            format_ratio(growth.ratio()),
            "≤ 11 ×",
        );
        (self.print)(&row);
        self.measure_rules(extent.rules);
        self.measure_peers(extent.files);
    }

    fn measure_start(&mut self) {
        let pair = self.measure_alternately(
            |bench| time_command(bench.stead(&["--version"])),
            |bench| time_command(bench.floor(&["nothing"])),
        );
        let apart = pair.0.saturating_sub(pair.1).as_secs_f64() * 1e3;
        let row = pair.row(
            "`stead --version`, an empty process",
            format!("+{apart:.1} ms"),
            "≤ +2 ms",
        );
        (self.print)(&row);
    }

    /// Measures an apply of so many files from nothing.
    fn measure_apply(&mut self, count: usize) {
        let spec = write_spec("files.kdl", &workload::files_spec(count));
        let number = count.to_string();
        let pair = self.measure_alternately(
            |bench| {
                reset_state();
                time_command(bench.stead(&["apply", "--yes", &spec]))
            },
            |bench| {
                remove_dir(workload::FLOOR_DIR);
                time_command(bench.floor(&["write", workload::FLOOR_DIR, &number]))
            },
        );
        let row = pair.row(
            format!("apply, {count} files from nothing"),
            format_ratio(pair.ratio()),
            "≤ 1.5 × write, fsync, rename",
        );
        (self.print)(&row);
    }

    /// Measures plans of so many files that are there; returns how long one takes whose spec is as at the last apply.
    fn measure_plan(&mut self, count: usize) -> Duration {
        let text = workload::files_spec(count);
        let spec = write_spec("files.kdl", &text);
        let other = write_spec("other.kdl", &format!("// never applied\n{text}"));
        let number = count.to_string();
        reset_state();
        time_command(self.stead(&["apply", "--yes", &spec]));
        let compare =
            |bench: &Self| time_command(bench.floor(&["compare", workload::MANAGED_DIR, &number]));
        let known =
            self.measure_alternately(|bench| time_command(bench.stead(&["plan", &spec])), compare);
        let row = known.row(
            format!("plan, {count} files, as at the last apply"),
            format_ratio(known.ratio()),
            "≤ 2.5 × lstat, open, read, compare",
        );
        (self.print)(&row);
        let new = self.measure_alternately(
            |bench| time_command(bench.stead(&["plan", &other])),
            |bench| time_command(bench.floor(&["parse", &other])),
        );
        let beyond = new.0.saturating_sub(known.0).as_secs_f64() / new.1.as_secs_f64();
        let row = new.row(
            format!("plan, {count} files, changed; the parser alone"),
            format!("+{beyond:.2} ×"),
            "≤ +0.7 × the parser, beyond the row above",
        );
        (self.print)(&row);
        let memory = |argv: &[&str]| {
            let said = run_local_ok(
                Command::new(&self.floor)
                    .arg("peak")
                    .arg(&self.stead)
                    .args(argv),
            );
            said.out.trim().parse::<f64>().unwrap() / 1024.0
        };
        let (known_memory, new_memory) = (memory(&["plan", &spec]), memory(&["plan", &other]));
        for (work, memory, goal) in [
            ("as at the last apply", known_memory, "≤ 64 MiB"),
            ("changed", new_memory, "-"),
        ] {
            (self.print)(&Row {
                work: format!("its peak memory, {work}"),
                times: None,
                figure: format!("{memory:.0} MiB"),
                goal: goal.to_owned(),
            });
        }
        known.0
    }

    /// Measures a plan of so many rules that are there.
    fn measure_rules(&mut self, count: usize) {
        let spec = write_spec("rules.kdl", &workload::rules_spec(count));
        reset_state();
        time_command(self.stead(&["apply", "--yes", &spec]));
        let pair = self.measure_alternately(
            |bench| time_command(bench.stead(&["plan", &spec])),
            |_| time_command(Command::new("iptables-nft-save")),
        );
        let row = pair.row(
            format!("plan, {count} iptables rules"),
            format_ratio(pair.ratio()),
            "≤ 3 × one iptables-save",
        );
        (self.print)(&row);
    }

    /// Measures the same plan of files that are there beside each other program that can make one here.
    fn measure_peers(&mut self, count: usize) {
        for peer in PEERS.iter().filter(|peer| peer.is_installed()) {
            let count = peer.files(count);
            let spec = write_spec("files.kdl", &workload::files_spec(count));
            reset_state();
            time_command(self.stead(&["apply", "--yes", &spec]));
            peer.apply_from_nothing(count);
            let fit = PEER_TIME.as_nanos() / time_command(peer.dry_run()).as_nanos();
            let fit = usize::try_from(fit).expect("a second has few of them");
            let pair = alternate(
                fit.clamp(1, self.rounds),
                || time_command(self.stead(&["plan", &spec])),
                || time_command(peer.dry_run()),
            );
            let row = pair.row(
                format!("plan, {count} files; {}", peer.name),
                format!("1 / {:.1}", 1.0 / pair.ratio()),
                "faster",
            );
            (self.print)(&row);
        }
    }

    fn stead(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.stead);
        command.args(arguments);
        command
    }

    fn floor(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.floor);
        command.args(arguments);
        command
    }

    fn measure_alternately(
        &self,
        one: impl Fn(&Self) -> Duration,
        other: impl Fn(&Self) -> Duration,
    ) -> Pair {
        alternate(self.rounds, || one(self), || other(self))
    }
}

/// Runs one and the other in turn, once more than it counts.
fn alternate(
    rounds: usize,
    mut one: impl FnMut() -> Duration,
    mut other: impl FnMut() -> Duration,
) -> Pair {
    let mut times: Vec<_> = (0..=rounds).map(|_| (one(), other())).collect();
    times.remove(0);
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (ones, others) = times.into_iter().unzip();
    Pair(median(ones), median(others))
}

/// Runs a program that must succeed, and returns how long it took.
fn time_command(mut command: Command) -> Duration {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begin = Instant::now();
    let status = command.status().unwrap();
    let time = begin.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    time
}

fn format_ratio(ratio: f64) -> String {
    format!("{ratio:.2} ×")
}

/// Writes a spec, and returns its path.
fn write_spec(name: &str, text: &str) -> String {
    let path = format!("/run/{name}");
    fs::write(&path, text).unwrap();
    path
}

fn remove_dir(dir: &str) {
    if Path::new(dir).exists() {
        fs::remove_dir_all(dir).unwrap();
    }
}

/// Removes all that stead has made and knows, and makes the directory of its files.
fn reset_state() {
    remove_dir("/var/lib/stead");
    remove_dir(workload::MANAGED_DIR);
    fs::create_dir_all(workload::MANAGED_DIR).unwrap();
}
