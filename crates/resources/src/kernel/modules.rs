//! The modules of the running kernel: loaded or built in, loaded at boot, and the options in files.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use stead_engine::model::schema::Problem;

use crate::{
    files::conf_d::{ConfFile, read_conf_dirs, read_conf_file as read_boot_file},
    host::{HostError, Reader},
};

/// Where lists of modules to load at boot are looked for, in order of precedence: modules-load.d(5).
const LOAD_DIRS: [&str; 5] = [
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
];
/// Debian's own list, older than the directories: modules(5).
const LOAD_LIST: &str = "/etc/modules";
/// Where options are looked for, in order of precedence: modprobe.d(5).
const OPTION_DIRS: [&str; 5] = [
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
];
/// Our list.
pub(crate) const STEAD_LOAD_FILE: &str = "/etc/modules-load.d/stead.conf";
/// Our options.
pub(crate) const STEAD_OPTIONS_FILE: &str = "/etc/modprobe.d/stead.conf";
/// Where a kernel's modules lie. The second is the first, or a link to it, on most hosts: file-hierarchy(7).
const MODULE_DIRS: [&str; 2] = ["/usr/lib/modules", "/lib/modules"];
/// The largest list that is read, in bytes.
const LIMIT: u64 = 64 << 20;

/// What a host says about its modules.
pub(crate) struct Modules {
    /// Those of /proc/modules.
    pub(crate) loaded: BTreeSet<String>,
    /// Those that are part of the kernel itself.
    pub(crate) built_in: BTreeSet<String>,
    /// The lists for boot.
    pub(crate) loads: Vec<ConfFile>,
    options: Vec<ConfFile>,
}

/// The options that files other than ours give, those read before ours and those read after it.
pub(crate) struct ForeignOptions {
    before: String,
    after: String,
    files: Vec<PathBuf>,
}

/// The modules that lie ready for the running kernel.
pub(crate) struct LoadableModules {
    kernel: String,
    /// Their names.
    pub(crate) names: BTreeSet<String>,
}

impl Modules {
    /// Reads all of it.
    pub(crate) fn read(host: &Reader) -> Result<Self, HostError> {
        let loaded = host.read_text(Path::new("/proc/modules"), LIMIT)?;
        let built_in = read_module_list(host, &kernel_release(host)?, "modules.builtin")?;
        let mut loads = read_conf_dirs(host, &LOAD_DIRS)?;
        loads.push(read_boot_file(host, PathBuf::from(LOAD_LIST))?);
        Ok(Self {
            loaded: module_names(&loaded.unwrap_or_default()),
            built_in: module_files(&built_in),
            loads,
            options: read_conf_dirs(host, &OPTION_DIRS)?,
        })
    }

    /// Whether the kernel has a module now.
    pub(crate) fn is_running(&self, name: &str) -> bool {
        self.loaded.contains(name) || self.built_in.contains(name)
    }

    /// Whether any file loads a module at boot.
    pub(crate) fn is_loaded_at_boot(&self, name: &str) -> bool {
        self.loads
            .iter()
            .any(|file| module_names(&file.text).contains(name))
    }

    /// Returns the files other than ours that load a module at boot.
    pub(crate) fn foreign_loads(&self, name: &str) -> Vec<&Path> {
        self.loads
            .iter()
            .filter(|file| file.path != Path::new(STEAD_LOAD_FILE))
            .filter(|file| module_names(&file.text).contains(name))
            .map(|file| file.path.as_path())
            .collect()
    }

    /// Returns the options that modprobe sees.
    pub(crate) fn options(&self, name: &str) -> String {
        join_options(self.options.iter().map(|file| options(&file.text, name)))
    }

    /// Returns the options that modprobe would see without our file.
    pub(crate) fn foreign_options(&self, name: &str) -> ForeignOptions {
        let (before, after): (Vec<_>, Vec<_>) = self
            .options
            .iter()
            .filter(|file| file.path != Path::new(STEAD_OPTIONS_FILE))
            .map(|file| (file, options(&file.text, name)))
            .filter(|(_, options)| !options.is_empty())
            .partition(|(file, _)| {
                file.path.file_name() < Path::new(STEAD_OPTIONS_FILE).file_name()
            });
        ForeignOptions {
            files: before
                .iter()
                .chain(&after)
                .map(|(file, _)| file.path.clone())
                .collect(),
            before: join_options(before.into_iter().map(|(_, options)| options)),
            after: join_options(after.into_iter().map(|(_, options)| options)),
        }
    }
}

/// Whether every line of a list for boot is a module that runs, so that the list says nothing else.
pub(crate) fn fully_covers(host: &Reader, path: &Path) -> Result<bool, HostError> {
    let is_one = path.parent() == Some(Path::new(LOAD_DIRS[0]))
        && path
            .extension()
            .is_some_and(|extension| extension == "conf");
    if !is_one && path != Path::new(LOAD_LIST) {
        return Ok(false);
    }
    let list = read_boot_file(host, path.to_owned())?;
    let names = module_names(&list.text);
    let lines = list.text.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.starts_with(['#', ';']));
    if names.is_empty() || lines.any(|line| line.contains(char::is_whitespace)) {
        return Ok(false);
    }
    let modules = Modules::read(host)?;
    Ok(names.iter().all(|name| modules.is_running(name)))
}

impl ForeignOptions {
    /// Returns what modprobe sees when our file gives `ours`.
    pub(crate) fn with(&self, ours: &str) -> String {
        join_options([self.before.clone(), ours.to_owned(), self.after.clone()])
    }

    /// Returns what our file must give so that modprobe sees `whole`; `None` if the other files do not allow that.
    pub(crate) fn ours(&self, whole: &str) -> Option<String> {
        let rest = whole.strip_prefix(&self.before)?;
        let ours = rest.strip_suffix(&self.after)?.trim();
        (self.with(ours) == whole).then(|| ours.to_owned())
    }

    /// Says that the other files are in the way.
    pub(crate) fn conflict_problem(&self) -> Problem {
        let there = self.with("");
        Problem::new(format!(
            "{} already sets `{there}`",
            join_paths(self.files.iter().map(PathBuf::as_path))
        ))
        .help(format!(
            "add these: `options=\"{there} …\"`, or remove them there"
        ))
    }
}

impl LoadableModules {
    /// Reads modules.dep(5).
    pub(crate) fn read(host: &Reader) -> Result<Self, HostError> {
        let kernel = kernel_release(host)?;
        let names = module_files(&read_module_list(host, &kernel, "modules.dep")?);
        Ok(Self { kernel, names })
    }

    /// Says that a module is not among them, and names the nearest.
    pub(crate) fn unknown_module(&self, name: &str) -> Problem {
        if self.names.is_empty() {
            let fact = format!(
                "there are no modules for the running kernel `{}`",
                self.kernel
            );
            return Problem::new(fact).help("reboot, if the kernel was upgraded");
        }
        let problem = Problem::new(format!(
            "the running kernel `{}` has no module `{name}`",
            self.kernel
        ));
        let near = self
            .names
            .iter()
            .map(|other| (strsim::damerau_levenshtein(other, name), other))
            .filter(|(distance, _)| *distance <= name.len().div_ceil(3))
            .min();
        match near {
            Some((_, near)) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!(
                "a package may provide it, such as `linux-modules-extra-{}`",
                self.kernel
            )),
        }
    }
}

/// Returns the release of the running kernel.
fn kernel_release(host: &Reader) -> Result<String, HostError> {
    let release = host.read_text(Path::new("/proc/sys/kernel/osrelease"), LIMIT)?;
    Ok(release.unwrap_or_default().trim().to_owned())
}

/// Reads a list of the modules of a kernel; empty if there is none.
fn read_module_list(host: &Reader, kernel: &str, file: &str) -> Result<String, HostError> {
    for tree in MODULE_DIRS {
        match host.read_text(&Path::new(tree).join(kernel).join(file), LIMIT) {
            Ok(None) | Err(HostError::ThroughSymlink { .. }) => {}
            text => return text.map(Option::unwrap_or_default),
        }
    }
    Ok(String::new())
}

/// Returns the first word of every line: of /proc/modules as of a list for boot.
pub(crate) fn module_names(text: &str) -> BTreeSet<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_whitespace().next())
        .map(canonical_name)
        .collect()
}

/// Returns the modules of modules.dep(5) or modules.builtin: one path in a line, maybe with a colon and what it needs.
fn module_files(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let path = line.split(':').next()?;
            let name = path.rsplit('/').next()?;
            Some(canonical_name(&name[..name.find(".ko")?]))
        })
        .collect()
}

/// Returns what a file of modprobe.d(5) gives a module.
fn options(text: &str, name: &str) -> String {
    let text = text.replace("\\\n", "");
    join_options(text.lines().filter_map(|line| {
        let (module, options) = option_line(line)?;
        (module == name).then(|| canonical_options(options))
    }))
}

/// Splits a line `options MODULE KEY=VALUE…`.
pub(crate) fn option_line(line: &str) -> Option<(String, &str)> {
    let rest = line.trim().strip_prefix("options")?;
    let (module, options) = rest
        .strip_prefix(char::is_whitespace)?
        .trim_start()
        .split_once(char::is_whitespace)?;
    Some((canonical_name(module), options))
}

/// `-` and `_` in a name are the same to the kernel: modprobe(8).
pub(crate) fn canonical_name(name: &str) -> String {
    name.replace('-', "_")
}

/// Runs of blanks are one blank, except where quotes may hold them.
pub(crate) fn canonical_options(options: &str) -> String {
    if options.contains('"') {
        return options.trim().to_owned();
    }
    options.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn join_options(parts: impl IntoIterator<Item = String>) -> String {
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

/// Shows several paths in a sentence.
pub(crate) fn join_paths<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    let paths: Vec<_> = paths.map(|path| path.display().to_string()).collect();
    paths.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_options(whole: &str, expected: Option<&str>) {
        let others = ForeignOptions {
            before: "a=1".to_owned(),
            after: "z=1 y=1".to_owned(),
            files: vec![],
        };
        assert_eq!(others.ours(whole).as_deref(), expected, "{whole}");
    }

    #[test]
    fn own_options_exclude_those_of_other_files() {
        check_options("a=1 z=1 y=1", Some(""));
        check_options("a=1 b=2 c=3 z=1 y=1", Some("b=2 c=3"));
        check_options("a=12 z=1 y=1", None);
        check_options("b=2 z=1 y=1", None);
        check_options("", None);
    }

    fn check_line(text: &str, expected: &str) {
        assert_eq!(options(text, "nf_conntrack"), expected, "{text}");
    }

    #[test]
    fn options_are_read_as_modprobe_reads_them() {
        check_line("options nf_conntrack hashsize=1", "hashsize=1");
        check_line("  options\tnf-conntrack  a=1   b=2 ", "a=1 b=2");
        check_line("options nf_conntrack a=1 \\\n b=2", "a=1 b=2");
        check_line(
            "options nf_conntrack a=1\noptions nf_conntrack b=2",
            "a=1 b=2",
        );
        check_line(
            "options nf_conntrack dyndbg=\"+p;  +f\"",
            "dyndbg=\"+p;  +f\"",
        );
        check_line("#options nf_conntrack a=1", "");
        check_line("options nf_conntrack_ftp a=1\noptions nf_conntrack", "");
        check_line("install nf_conntrack a=1\noptionsnf_conntrack a=1", "");
    }

    fn check_names(found: BTreeSet<String>, expected: &[&str]) {
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn module_names_are_read_from_every_list_format() {
        check_names(
            module_names(
                "br_netfilter 32768 0 - Live 0x0000000000000000\nbridge 4096 1 br_netfilter, Live 0x0\n",
            ),
            &["br_netfilter", "bridge"],
        );
        check_names(
            module_names("# a\n; b\n\n nf-conntrack \nlp io=1\n"),
            &["lp", "nf_conntrack"],
        );
        check_names(
            module_files(
                "kernel/net/x/nf-conntrack.ko.zst: kernel/lib/libcrc32c.ko\nkernel/fs/ext4/ext4.ko\n",
            ),
            &["ext4", "nf_conntrack"],
        );
    }
}
