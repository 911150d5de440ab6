//! Other programs that keep files as a description says, with the same work: where one is installed, the benchmark measures it beside
//! stead.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::workload::{self, MANAGED_DIR};

/// Where what they read and keep is: in the `/run` of a sandbox.
const PEER_DIR: &str = "/run/peer";

/// Another program.
#[derive(Debug)]
pub struct Peer {
    /// What it is called.
    pub name: &'static str,
    /// The program that runs.
    program: &'static str,
    /// The most files that one waits for.
    max_files: usize,
    /// Writes what it reads, into a directory: the files of the workload, so many.
    write: fn(&Path, usize),
    /// What it is told, to bring the files about.
    apply_args: &'static [&'static str],
    /// What it is told in addition, to say what differs and do nothing.
    dry_run_args: &'static [&'static str],
}

/// Those that can be measured.
pub const PEERS: [Peer; 5] = [
    Peer {
        name: "Comtrya",
        program: "comtrya",
        max_files: 1_000,
        write: comtrya,
        apply_args: &["--manifest-directory", "/run/peer", "apply"],
        dry_run_args: &["--dry-run"],
    },
    Peer {
        name: "CFEngine",
        program: "cf-agent",
        max_files: 1_000,
        write: cfengine,
        apply_args: &["--no-lock", "--file", "/run/peer/many.cf"],
        dry_run_args: &["--dry-run"],
    },
    Peer {
        name: "Puppet",
        program: "puppet",
        max_files: 1_000,
        write: puppet,
        apply_args: &[
            "apply",
            "--vardir=/run/peer/var",
            "--confdir=/run/peer/etc",
            "--ssldir=/run/peer/ssl",
            "/run/peer/many.pp",
        ],
        dry_run_args: &["--noop"],
    },
    Peer {
        name: "pyinfra",
        program: "pyinfra",
        max_files: 1_000,
        write: pyinfra,
        apply_args: &["-y", "@local", "/run/peer/many.py"],
        dry_run_args: &["--dry"],
    },
    Peer {
        name: "Ansible",
        program: "ansible-playbook",
        max_files: 100,
        write: ansible,
        apply_args: &[
            "-i",
            "localhost,",
            "-c",
            "local",
            "-e",
            "ansible_python_interpreter={{ansible_playbook_python}} ansible_remote_tmp=/run/peer/tmp",
            "/run/peer/many.yml",
        ],
        dry_run_args: &["--check"],
    },
];

impl Peer {
    /// Whether it is installed.
    pub fn is_installed(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(self.program).is_file())
    }

    /// Returns how many of so many files it is measured with.
    pub fn files(&self, count: usize) -> usize {
        count.min(self.max_files)
    }

    /// Has it write the files of the workload from nothing, and looks at each.
    ///
    /// # Panics
    /// If one is not as it should be afterwards.
    pub fn apply_from_nothing(&self, count: usize) {
        for dir in [PEER_DIR, MANAGED_DIR] {
            drop(fs::remove_dir_all(dir));
            fs::create_dir_all(dir).unwrap();
        }
        (self.write)(Path::new(PEER_DIR), count);
        let said = self.command().output().unwrap();
        for number in 0..count {
            let found = fs::read_to_string(workload::path(MANAGED_DIR, number)).ok();
            assert_eq!(
                found.as_deref(),
                Some(&*workload::text(number)),
                "{}: {said:?}",
                self.name
            );
        }
    }

    /// Makes a command that says what differs.
    pub fn dry_run(&self) -> Command {
        let mut command = self.command();
        command.args(self.dry_run_args);
        command
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .args(self.apply_args)
            .current_dir(PEER_DIR)
            .env("HOME", PEER_DIR)
            .env("LC_ALL", "C.UTF-8");
        command
    }
}

/// Writes a file for each of so many lines, which `line` makes of a path and a text without its line break, between a head and a foot.
fn write_lines(
    path: PathBuf,
    count: usize,
    [head, foot]: [&str; 2],
    line: impl Fn(&str, &str) -> String,
) {
    let mut all = head.to_owned();
    for number in 0..count {
        let text = workload::text(number);
        let line = line(&workload::path(MANAGED_DIR, number), text.trim_end());
        writeln!(all, "{line}").unwrap();
    }
    fs::write(path, all + foot).unwrap();
}

fn comtrya(dir: &Path, count: usize) {
    let files = dir.join("many/files");
    fs::create_dir_all(&files).unwrap();
    for number in 0..count {
        let name = format!("f{number}");
        fs::write(files.join(name), workload::text(number)).unwrap();
    }
    let main = dir.join("many/main.yaml");
    write_lines(main, count, ["actions:\n", ""], |path, _| {
        let name = path.rsplit('/').next().unwrap();
        format!("  - action: file.copy\n    from: {name}\n    to: {path}")
    });
}

fn cfengine(dir: &Path, count: usize) {
    let head = "body perms m { mode => \"644\"; }\nbundle agent __main__ {\n files:\n";
    write_lines(dir.join("many.cf"), count, [head, "}\n"], |path, text| {
        format!("  \"{path}\" create => \"true\", perms => m, content => \"{text}$(const.n)\";")
    });
}

fn puppet(dir: &Path, count: usize) {
    write_lines(dir.join("many.pp"), count, ["", ""], |path, text| {
        format!("file {{ '{path}': mode => '0644', content => \"{text}\\n\" }}")
    });
}

fn pyinfra(dir: &Path, count: usize) {
    let head = "from io import StringIO\nfrom pyinfra.operations import files\n";
    write_lines(dir.join("many.py"), count, [head, ""], |path, text| {
        format!("files.put(src=StringIO(\"{text}\\n\"), dest=\"{path}\", mode=\"644\")")
    });
}

fn ansible(dir: &Path, count: usize) {
    let head = "- hosts: all\n  gather_facts: false\n  tasks:\n";
    write_lines(dir.join("many.yml"), count, [head, ""], |path, text| {
        format!("    - copy: {{dest: {path}, mode: '0644', content: \"{text}\\n\"}}")
    });
}
