//! A terminal in which a person would sit: tmux draws it, tests type and look.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::NamedTempFile;

use crate::{test_env::run_local_ok, wait::wait_for};

/// A terminal with one program in it; it goes when this goes.
#[derive(Debug)]
pub struct Terminal {
    /// The name of its server, so that nobody else's is touched.
    server: String,
    /// The program leaves its exit code there: tmux does not always get to know it.
    code_file: NamedTempFile,
}

/// Runs a program and leaves its exit code in a file. Ctrl-C is for programs that listen to it, not for those that start them.
const RUN_SCRIPT: &str = r#"trap '' INT; "$@"; echo $? >"$0""#;

static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

impl Terminal {
    /// Opens a terminal of so many columns and rows and starts a program in it. When the program has ended, what it wrote stays.
    ///
    /// # Panics
    /// If tmux does not start.
    pub fn open(program: &Command, (columns, rows): (u16, u16)) -> Self {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let server = format!("stead-test-{}-{number}", std::process::id());
        let code_file = NamedTempFile::new().unwrap();
        let terminal = Self { server, code_file };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut tmux = terminal.tmux(&["-f", "/dev/null", "start-server", ";"]);
        for (option, value) in [("remain-on-exit", "on"), ("remain-on-exit-format", "")] {
            // Quietly: older ones do not know the second.
            tmux.args(["set-option", "-gq", option, value, ";"]);
        }
        tmux.args(["new-session", "-d", "-x", &columns, "-y", &rows]);
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                tmux.arg("-e").arg([name, value].join("=".as_ref()));
            }
        }
        tmux.args(["--", "sh", "-c", RUN_SCRIPT])
            .arg(terminal.code_file.path());
        tmux.arg(program.get_program()).args(program.get_args());
        run_local_ok(&mut tmux);
        terminal
    }

    /// Presses keys, by the names that tmux has for them: `Enter`, `C-c`, or text.
    pub fn press(&self, keys: &[&str]) {
        let mut tmux = self.tmux(&["send-keys"]);
        run_local_ok(tmux.args(keys));
    }

    /// Returns what stands there, without colours, and with the lines whole that the terminal broke.
    pub fn text(&self) -> String {
        let joined = self.capture(&["-J"]);
        let lines: Vec<_> = joined.lines().map(str::trim_end).collect();
        lines.join("\n") + "\n"
    }

    /// Returns what stands there, with the escape sequences of its colours.
    pub fn coloured(&self) -> String {
        self.capture(&["-e"])
    }

    /// Waits until `part` stands there, and returns all that does.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for(&self, part: &str) -> String {
        wait_for(|| {
            let text = self.text();
            if text.contains(part) {
                Ok(text)
            } else {
                Err(format!("no `{part}` in:\n{text}"))
            }
        })
    }

    /// Waits until the program has ended, and returns its exit code.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait_for_exit(&self) -> i32 {
        wait_for(|| {
            let code = fs::read_to_string(self.code_file.path()).unwrap();
            let ended = code.strip_suffix('\n').and_then(|code| code.parse().ok());
            let code = ended.ok_or_else(|| format!("it has not ended:\n{}", self.text()))?;
            // tmux closes the terminal once it has drawn all that was written.
            let mut tmux = self.tmux(&["display-message", "-p", "#{pane_dead}"]);
            match run_local_ok(&mut tmux).out.trim() {
                "1" => Ok(code),
                _ => Err("tmux has not drawn its last output".to_owned()),
            }
        })
    }

    fn capture(&self, how: &[&str]) -> String {
        let mut tmux = self.tmux(&["capture-pane", "-p"]);
        let text = run_local_ok(tmux.args(how)).out;
        format!("{}\n", text.trim_end())
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", &self.server]).args(arguments);
        tmux
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.tmux(&["kill-server"]).output());
    }
}
