//! Builds the images of the test hosts, and lets a person look around on one.
#![expect(
    clippy::print_stderr,
    reason = "a program for those who work on the tests"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use e2e::{Host, Image, Inside};

#[derive(Parser)]
#[command(about = "The hosts that stead is tested on")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the images that are missing
    Build,
    /// Say why this machine cannot boot test hosts; exit 0 if it can
    Check,
    /// Boot a host and run a shell on it; the host goes when the shell ends
    Shell { image: Image },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Build => {
            for image in Image::value_variants() {
                drop(Host::boot(*image));
                eprintln!("test hosts: {} boots", image.name());
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
    }
    ExitCode::SUCCESS
}
