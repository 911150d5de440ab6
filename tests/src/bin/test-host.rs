//! Builds the images of the test hosts, lets a person look around on one, and measures on one.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for those who work on the tests"
)]

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use e2e::{
    Host, Image, Sandbox, TestEnv, host_benchmark, load, program, proxy_benchmark, speed_benchmark,
    watch_benchmark,
};

#[derive(Parser)]
#[command(about = "The hosts that stead is tested on")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the images that are missing
    Build {
        /// Boot a host of each
        #[arg(long)]
        boot: bool,
    },
    /// Say why this machine cannot boot test hosts; exit 0 if it can
    Check,
    /// Boot a host and run a shell on it; the host goes when the shell ends
    Shell { image: Image },
    /// Measure requests through a Service of kube-proxy, in userspace mode and in iptables mode
    BenchProxy,
    /// Measure how soon a policy is put back, and what that costs while nothing happens
    BenchWatch {
        /// How often it is set to DROP
        #[arg(long, default_value_t = 100)]
        flips: usize,
        /// For how many seconds nothing happens
        #[arg(long, default_value_t = 600)]
        idle: u64,
    },
    /// Measure stead against the least that its work costs, in a sandbox
    Bench {
        /// The stead to measure, if not the one beside this program
        #[arg(long)]
        stead: Option<PathBuf>,
        /// Files of a plan; ten times as many show the growth
        #[arg(long, default_value_t = 1_000)]
        files: usize,
        /// Rules of iptables
        #[arg(long, default_value_t = 500)]
        rules: usize,
        /// How often each is measured
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        /// This is the sandbox
        #[arg(long, hide = true)]
        inside: bool,
    },
    /// Measure a plan and an import on a host against the slowest of their reads
    BenchHost {
        /// How often each is measured; the median counts
        #[arg(long, default_value_t = 15)]
        rounds: usize,
    },
    /// Send requests to an address, and print how many were answered in a second
    #[command(hide = true)]
    Load {
        address: SocketAddr,
        connections: u32,
        requests: u32,
    },
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Build { boot } => {
            for image in Image::value_variants() {
                image.build();
                if boot {
                    drop(Host::boot(*image));
                    eprintln!("test hosts: {} boots", image.name());
                }
            }
        }
        Command::Check => {
            if let Err(missing) = Host::check_machine() {
                eprintln!("this machine boots no test hosts: {missing}");
                return ExitCode::FAILURE;
            }
        }
        Command::Shell { image } => {
            let host = Host::boot(image);
            let status = host.command(&["env", "TERM=xterm", "bash", "-l"]).status();
            return status.map_or(ExitCode::FAILURE, |status| {
                ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
            });
        }
        Command::BenchProxy => {
            let measured = proxy_benchmark::run();
            for rates in &measured {
                let (mode, median) = (&rates.mode, rates.median());
                println!(
                    "{mode}: {median:.0} requests a second (of {:.0?})",
                    rates.rates
                );
            }
            let [before, after] = measured.map(|rates| rates.median());
            println!("ratio: {:.2}", after / before);
        }
        Command::BenchWatch { flips, idle } => {
            let host = watch_benchmark::boot(Image::Debian13);
            for (backend, times) in [
                ("nft", watch_benchmark::flip_nft(&host, flips)),
                ("legacy", watch_benchmark::flip_legacy(&host, flips.min(10))),
            ] {
                let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
                println!("{backend}: put back after {median:.1?}, at most {last:.1?}");
            }
            let cost = watch_benchmark::measure_idle(&host, Duration::from_secs(idle));
            println!(
                "idle: {:.3} % of a core, {:.1} MB, {:.1} MB of it its own",
                cost.share * 100.0,
                megabytes(cost.resident),
                megabytes(cost.anonymous)
            );
        }
        Command::BenchHost { rounds } => {
            for row in host_benchmark::run(rounds) {
                println!("{row}");
            }
        }
        Command::Bench { inside: false, .. } => {
            let own = std::env::current_exe().expect("a program has a path");
            let arguments: Vec<_> = std::env::args().skip(1).collect();
            let mut argv = vec![own.to_str().expect("made of UTF-8")];
            argv.extend(arguments.iter().map(String::as_str));
            argv.push("--inside");
            let status = Sandbox::bare().command(&argv).status();
            if !status.is_ok_and(|status| status.success()) {
                return ExitCode::FAILURE;
            }
        }
        Command::Bench {
            stead,
            files,
            rules,
            rounds,
            inside: true,
        } => {
            let extent = speed_benchmark::WorkloadSize {
                files,
                rules,
                rounds,
            };
            let stead = stead.unwrap_or_else(|| program("stead"));
            speed_benchmark::run(&stead, &program("floor"), extent, |row| println!("{row}"));
        }
        Command::Load {
            address,
            connections,
            requests,
        } => match load::send(address, connections, requests) {
            Ok(time) => println!("{}", f64::from(requests) / time.as_secs_f64()),
            Err(error) => {
                eprintln!("{address}: {error}");
                return ExitCode::FAILURE;
            }
        },
    }
    ExitCode::SUCCESS
}
