//! Running programs: an argument vector, a closed or given input, a deadline, a bounded output. Never a shell.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use iptables::IPTables;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

use super::{HostError, Reader, Writer};
use crate::host::query::ReadOnlyCommand;

/// How long a program may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How much a program may say, in bytes.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// How much of that has room from the start, in bytes.
pub(super) const PIPE_CAPACITY: usize = 64 << 10;
/// Where programs are looked for; the caller's PATH is not believed.
const PROGRAM_DIRS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// What all programs of an iptables before 1.8 are: `iptables/Makefile.am` of 1.6.
pub(crate) const OLD_IPTABLES: &str = "xtables-multi";
/// Where the programs of such an iptables may be that change one thing; the crate `iptables` wants a static path.
const OLD_IPTABLES_PATHS: [&str; 4] = [
    "/usr/sbin/iptables",
    "/usr/sbin/ip6tables",
    "/sbin/iptables",
    "/sbin/ip6tables",
];
/// The programs that change tables of iptables, one thing or many at once.
pub(super) const XTABLES: [&str; 8] = [
    "iptables-nft",
    "iptables-legacy",
    "ip6tables-nft",
    "ip6tables-legacy",
    "iptables-nft-restore",
    "iptables-legacy-restore",
    "ip6tables-nft-restore",
    "ip6tables-legacy-restore",
];
/// How the crate that reads the flags of Kubernetes begins its complaints: `flag.go` and `errors.go` of pflag.
const PFLAG_ERRORS: [&str; 5] = [
    "unknown flag: ",
    "unknown shorthand flag: ",
    "invalid argument ",
    "flag needs an argument: ",
    "bad flag syntax: ",
];
/// How much of what a program said goes into an error, in bytes.
const MAX_ERROR_TEXT: usize = 2_000;

/// One call of a program that changes the host.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec<'a> {
    /// The program.
    pub program: &'a str,
    /// Its arguments.
    pub arguments: &'a [&'a str],
    /// What it reads on its standard input.
    pub input: &'a [u8],
    /// What it finds in its environment beside PATH and the language.
    pub environment: &'a [(&'a str, &'a str)],
    /// How long it may take.
    pub deadline: Duration,
}

impl<'a> CommandSpec<'a> {
    /// Makes a call without input that may take half a minute.
    pub fn new(program: &'a str, arguments: &'a [&'a str]) -> Self {
        Self {
            program,
            arguments,
            input: b"",
            environment: &[],
            deadline: DEADLINE,
        }
    }
}

impl Reader {
    /// Runs a program that only reads, once in the moment that this reader is, and returns what it printed.
    pub async fn query(&self, query: ReadOnlyCommand) -> Result<Arc<[u8]>, HostError> {
        let answer = self.cached_output(query);
        answer
            .get_or_try_init(async || {
                let stdout = run(
                    self.root(),
                    CommandSpec::new(query.program(), query.arguments()),
                )
                .await?;
                let words = [&[query.program()], query.arguments()].concat();
                self.trace.record(|| words.join(" "), Some(&stdout));
                Ok(stdout.into())
            })
            .await
            .cloned()
    }

    /// Asks a program of Kubernetes what is wrong with arguments, in its own words. `None`: nothing, or it cannot be asked. With
    /// `--help` it takes all arguments apart, complains about what it does not take, and does nothing else (`execute` in cobra's
    /// `command.go`). That stands first, where no other flag can take it for its value.
    pub async fn flag_error(&self, program: &Path, arguments: &[&str]) -> Option<String> {
        if self.root() != Path::new("/") {
            return None;
        }
        let arguments = [&["--help"], arguments].concat();
        let call = CommandSpec::new(program.to_str()?, &arguments);
        let CommandOutput { stderr, .. } = command_output(program, call).await.ok()?;
        let stderr = String::from_utf8_lossy(&stderr);
        let words = stderr.lines().find_map(|line| {
            let from = PFLAG_ERRORS.iter().find_map(|error| line.find(error))?;
            line.get(from..)
        });
        words.map(|words| words.trim().to_owned())
    }

    /// Makes the error of a program that cannot be run here.
    pub(crate) fn missing_program_error(&self, program: &str) -> HostError {
        match find_program(self.root(), program) {
            Err(error) => error,
            Ok(_) => not_installed_error(program),
        }
    }

    /// Whether a program is installed.
    pub fn has_program(&self, program: &str) -> bool {
        self.root() == Path::new("/") && program_path(program).is_some()
    }
}

impl Writer {
    /// Calls the crate `iptables` with the program at `cmd`.
    pub async fn iptables(
        &self,
        cmd: &'static str,
        call: impl FnOnce(&IPTables) -> Result<(), Box<dyn Error>> + Send + 'static,
    ) -> Result<(), HostError> {
        let failed = |fault: String| HostError::Program {
            program: cmd.to_owned(),
            fault,
        };
        let path = find_program(self.root(), cmd.rsplit('/').next().unwrap_or(cmd))?;
        let old = OLD_IPTABLES_PATHS
            .into_iter()
            .find(|old| Path::new(old) == path);
        let cmd = old.unwrap_or(cmd);
        let tables = IPTables {
            cmd,
            has_check: true,
            has_wait: true,
            is_numeric: false,
        };
        let called =
            tokio::task::spawn_blocking(move || call(&tables).map_err(|error| error.to_string()));
        timeout(DEADLINE, called)
            .await
            .map_err(|_| failed(format!("did not end within {} s", DEADLINE.as_secs())))?
            .expect("the crate does not panic")
            .map_err(|fault| failed(format!("failed: {}", fault.trim())))
    }

    /// Runs a program with `input` on its standard input, and returns what it printed.
    pub async fn run(
        &self,
        program: &str,
        arguments: &[&str],
        input: &[u8],
    ) -> Result<Vec<u8>, HostError> {
        let call = CommandSpec::new(program, arguments);
        self.run_command(CommandSpec { input, ..call }).await
    }

    /// Runs a program as the call says, and returns what it printed.
    pub async fn run_command(&self, call: CommandSpec<'_>) -> Result<Vec<u8>, HostError> {
        run(self.root(), call).await
    }
}

/// Returns the path of a program, which acts on the running host and so is not run for another root directory.
pub(super) fn find_program(root: &Path, program: &str) -> Result<PathBuf, HostError> {
    if root != Path::new("/") {
        return Err(HostError::Program {
            program: program.to_owned(),
            fault: format!("is not run for the host below {}", root.display()),
        });
    }
    program_path(program).ok_or_else(|| not_installed_error(program))
}

fn not_installed_error(program: &str) -> HostError {
    HostError::NoProgram {
        program: program.to_owned(),
        package: package_of(program),
    }
}

/// Returns the path of a program.
fn program_path(program: &str) -> Option<PathBuf> {
    path_in_program_dirs(program).or_else(|| old_iptables_path(program))
}

/// Returns the path of a program of the legacy back end where iptables is older than 1.8: it has no other back end, and its programs
/// have no other names than the plain ones, all of them links to [`OLD_IPTABLES`].
fn old_iptables_path(program: &str) -> Option<PathBuf> {
    let (family, rest) = program.split_once("-legacy")?;
    let path = path_in_program_dirs(&format!("{family}{rest}"))?;
    let target = path.read_link().ok()?;
    (target.file_name()? == OLD_IPTABLES).then_some(path)
}

fn path_in_program_dirs(program: &str) -> Option<PathBuf> {
    PROGRAM_DIRS
        .iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file()
}

fn package_of(program: &str) -> &'static str {
    match program {
        "modprobe" => "kmod",
        "groupadd" | "groupmod" | "groupdel" | "gpasswd" | "useradd" | "usermod" | "userdel" => {
            "passwd"
        }
        "apt-get" | "apt-mark" => "apt",
        "dpkg" => "dpkg",
        "snap" => "snapd",
        _ => "iptables",
    }
}

async fn run(root: &Path, call: CommandSpec<'_>) -> Result<Vec<u8>, HostError> {
    let path = find_program(root, call.program)?;
    let CommandOutput {
        status,
        stdout,
        stderr,
    } = command_output(&path, call).await?;
    if stdout.len() as u64 >= OUTPUT_LIMIT {
        return Err(program_error(
            &call,
            format!("printed more than {OUTPUT_LIMIT} bytes"),
        ));
    }
    if status.success() {
        return Ok(stdout);
    }
    // Some programs complain on their standard output.
    let complaint = Some(tail(&stderr)).filter(|complaint| !complaint.is_empty());
    let complaint = complaint.unwrap_or_else(|| tail(&stdout));
    Err(program_error(
        &call,
        format!("failed ({status}): {complaint}"),
    ))
}

fn program_error(call: &CommandSpec<'_>, fault: String) -> HostError {
    HostError::Program {
        program: [&[call.program], call.arguments].concat().join(" "),
        fault,
    }
}

/// How a program ended and what it said.
pub(super) struct CommandOutput {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Runs the program at `path` to its end.
pub(super) async fn command_output(
    path: &Path,
    call: CommandSpec<'_>,
) -> Result<CommandOutput, HostError> {
    let mut child = Command::new(path)
        .args(call.arguments)
        .env_clear()
        .env("PATH", PROGRAM_DIRS.join(":"))
        .env("LC_ALL", "C")
        .envs(call.environment.iter().copied())
        .current_dir("/")
        .stdin(if call.input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(HostError::io("start", path))?;
    let stdin = child.stdin.take();
    let mut stdout_pipe = child.stdout.take().expect("piped").take(OUTPUT_LIMIT);
    let mut stderr_pipe = child.stderr.take().expect("piped").take(OUTPUT_LIMIT);
    let talk = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that ends early says why by its exit status.
                drop(stdin.write_all(call.input).await);
            }
        };
        let mut stdout = Vec::with_capacity(PIPE_CAPACITY);
        let mut stderr = Vec::with_capacity(PIPE_CAPACITY);
        let ((), one, two, status) = tokio::join!(
            feed,
            stdout_pipe.read_to_end(&mut stdout),
            stderr_pipe.read_to_end(&mut stderr),
            child.wait()
        );
        one.and(two).and(status).map(|status| CommandOutput {
            status,
            stdout,
            stderr,
        })
    };
    let late = || format!("did not end within {} s", call.deadline.as_secs());
    timeout(call.deadline, talk)
        .await
        .map_err(|_| program_error(&call, late()))?
        .map_err(HostError::io("run", path))
}

/// Returns the end of what a program said.
fn tail(output: &[u8]) -> String {
    let end = &output[output.len().saturating_sub(MAX_ERROR_TEXT)..];
    String::from_utf8_lossy(end).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run_here(program: &str, arguments: &[&str], input: &[u8]) -> Result<String, String> {
        let writer = Writer::new(Path::new("/"), Path::new("/nowhere"));
        let stdout = writer.run(program, arguments, input).await;
        stdout
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn run_passes_arguments_verbatim_and_input() {
        assert_eq!(
            run_here("printf", &["%s", "$(id); a b"], b"")
                .await
                .unwrap(),
            "$(id); a b"
        );
        assert_eq!(run_here("cat", &[], b"given").await.unwrap(), "given");
        assert_eq!(run_here("cat", &[], b"").await.unwrap(), "");
    }

    #[tokio::test]
    async fn run_command_sets_only_the_given_environment() {
        let writer = Writer::new(Path::new("/"), Path::new("/nowhere"));
        let stdout = writer.run_command(CommandSpec {
            environment: &[("DEBIAN_FRONTEND", "noninteractive")],
            ..CommandSpec::new("env", &[])
        });
        let stdout = String::from_utf8(stdout.await.unwrap()).unwrap();
        let mut names: Vec<_> = stdout
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["DEBIAN_FRONTEND", "LC_ALL", "PATH"]);
    }

    #[tokio::test]
    async fn run_command_kills_program_after_its_deadline() {
        let writer = Writer::new(Path::new("/"), Path::new("/nowhere"));
        let call = CommandSpec {
            deadline: Duration::from_millis(50),
            ..CommandSpec::new("sleep", &["60"])
        };
        let error = writer.run_command(call).await.unwrap_err().to_string();
        assert_eq!(error, "`sleep 60` did not end within 0 s");
    }

    #[tokio::test]
    async fn failure_names_program_status_and_stderr() {
        let error = run_here("ls", &["/does/not/exist"], b"").await.unwrap_err();
        assert!(
            error.contains("`ls /does/not/exist` failed (exit status: 2): ")
                && error.contains("cannot access"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn missing_program_error_names_its_package() {
        let error = run_here("iptables-nowhere", &[], b"").await.unwrap_err();
        assert_eq!(
            error,
            "the program `iptables-nowhere` is not installed; install the package `iptables`"
        );
    }

    #[tokio::test]
    async fn writer_below_another_root_runs_no_host_program() {
        let writer = Writer::new(Path::new("/tmp"), Path::new("/nowhere"));
        assert!(writer.run("true", &[], b"").await.is_err());
    }
}
