//! What a test does in a sandbox or on a test host: it runs programs there, and it puts and gets files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A place with namespaces of its own in which tests run programs.
pub trait TestEnv {
    /// Makes a command that runs there.
    fn command(&self, argv: &[&str]) -> Command;

    /// Returns where a path of that place is for whoever is outside.
    fn outside_path(&self, path: &str) -> PathBuf;

    /// Returns the path of stead for whoever is inside.
    fn stead_path(&self) -> String;

    /// Runs a program there, without input.
    fn run(&self, argv: &[&str]) -> CommandOutput {
        self.command(argv)
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .into()
    }

    /// Runs a program that must succeed.
    fn run_ok(&self, argv: &[&str]) -> CommandOutput {
        let said = self.run(argv);
        assert_eq!(said.code, Some(0), "{argv:?}: {said:?}");
        said
    }

    /// Runs stead there.
    fn stead(&self, arguments: &[&str]) -> CommandOutput {
        let stead = self.stead_path();
        let mut argv = vec![stead.as_str()];
        argv.extend(arguments);
        self.run(&argv)
    }

    /// Returns the number of the newest run; 0 if there was none. Older runs are pruned, so it is not how many there are.
    fn latest_run(&self) -> usize {
        let history = self.stead(&["history"]).out;
        let first_word = |line: &str| line.split_whitespace().next()?.parse::<usize>().ok();
        history.lines().filter_map(first_word).max().unwrap_or(0)
    }

    /// Runs stead, which must end with `code`.
    ///
    /// # Panics
    /// If it ends with another.
    fn stead_exits(&self, arguments: &[&str], code: i32) -> CommandOutput {
        let said = self.stead(arguments);
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        said
    }

    /// Makes a command that runs stead under strace with one `inject` expression, on all files or only on `paths`; the trace goes
    /// to /run/trace.
    fn stead_injected(
        &self,
        calls: &str,
        injection: &str,
        paths: &[String],
        arguments: &[&str],
    ) -> Command {
        let stead = self.stead_path();
        let trace = format!("trace={calls}");
        let inject = format!("inject={calls}:{injection}");
        let mut argv = vec![
            "strace",
            "-f",
            "-q",
            "-o",
            "/run/trace",
            "-e",
            &trace,
            "-e",
            &inject,
        ];
        if injection.starts_with("error=") {
            // Stops at these calls alone, which is much faster. It does not work with signals.
            argv.push("--seccomp-bpf");
        }
        argv.extend(paths.iter().flat_map(|path| ["-P", path]));
        argv.extend(["--", stead.as_str()]);
        argv.extend(arguments);
        let mut command = self.command(&argv);
        command.stdin(Stdio::null());
        command
    }

    /// Writes a file there.
    fn put(&self, path: &str, text: &str) {
        let path = self.outside_path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file there.
    fn get(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.outside_path(path)).ok()
    }
}

/// What a program said.
#[derive(Debug)]
pub struct CommandOutput {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Returns the path of a program of this workspace, beside the test that runs.
///
/// # Panics
/// If it was not built.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let dir = this.parent().unwrap();
    let path = [dir, dir.parent().unwrap_or(Path::new("/"))]
        .map(|dir| dir.join(name))
        .into_iter()
        .find(|path| path.exists());
    path.unwrap_or_else(|| panic!("{name} is not there: `cargo build --workspace` makes it"))
}

/// Runs a program of this machine that must succeed.
pub(crate) fn run_local_ok(command: &mut Command) -> CommandOutput {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    output.into()
}
