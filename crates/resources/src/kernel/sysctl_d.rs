//! The files that set sysctls at boot: sysctl.d(5).

use std::path::{Path, PathBuf};

use stead_engine::model::schema::Problem;

use crate::{
    files::conf_d::{ConfFile, read_conf_dirs, read_conf_file as read_boot_file, set_line},
    host::{HostError, Reader, Writer},
    values::setting::Setting,
};

/// Where files for boot are looked for, in order of precedence: sysctl.d(5).
pub(crate) const CONF_DIRS: [&str; 5] = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
];
/// Read after all of them by procps' `sysctl --system`: sysctl(8).
pub(crate) const SYSCTL_CONF: &str = "/etc/sysctl.conf";
/// Ours; its name sorts behind what packages and people usually write.
pub(crate) const STEAD_FILE: &str = "/etc/sysctl.d/99-zz-stead.conf";
/// The largest value that is read, in bytes.
const LIMIT: u64 = 64 << 10;

/// Returns the file of a key. A slash in a key stands for a dot in the name of a file: sysctl.d(5), CONFIGURATION FORMAT.
pub(crate) fn path(name: &str) -> PathBuf {
    let swapped: String = name
        .chars()
        .map(|character| match character {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    Path::new("/proc/sys").join(swapped)
}

/// Runs of blanks are one blank, for the kernel and for us.
pub(crate) fn canonical(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every file that is read at boot, in its order.
pub(crate) fn files(host: &Reader) -> Result<Vec<ConfFile>, HostError> {
    let mut files = read_conf_dirs(host, &CONF_DIRS)?;
    files.push(read_boot_file(host, PathBuf::from(SYSCTL_CONF))?);
    Ok(files)
}

/// Returns what a text assigns, in order: each key as it is written there, with its value.
pub(crate) fn assignments(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with(['#', ';']));
    let assignments = lines.filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let key = key.trim();
        let key = key.strip_prefix('-').unwrap_or(key);
        Some((key.to_owned(), canonical(value)))
    });
    assignments.collect()
}

/// Returns what the files give a key: the last assignment wins.
pub(crate) fn boot_setting(files: &[ConfFile], name: &str) -> Setting {
    effective_assignment(files, name).map_or(Setting::Unset, |(_, value)| Setting::Value(value))
}

/// Returns the file whose assignment wins, and the value that it gives a key.
pub(crate) fn effective_assignment<'a>(
    files: &'a [ConfFile],
    name: &str,
) -> Option<(&'a ConfFile, String)> {
    let mut assigning = files.iter().rev().filter_map(|file| {
        let (value, _) = last_assignment(&file.text, name)?;
        Some((file, value))
    });
    assigning.next()
}

/// Says what a boot makes of a key, if a file says that and it is something else than `wanted`.
pub(crate) fn overridden_at_boot(
    host: &Reader,
    name: &str,
    wanted: &str,
) -> Result<Option<String>, HostError> {
    let files = files(host)?;
    let other = effective_assignment(&files, name).filter(|(_, value)| value != wanted);
    Ok(other
        .map(|(file, value)| format!("after a reboot: {value}, set by {}", file.path.display())))
}

/// Returns the value that the files give a key at boot.
pub(crate) fn value_at_boot(host: &Reader, name: &str) -> Result<Option<String>, HostError> {
    Ok(match boot_setting(&files(host)?, name) {
        Setting::Value(value) => Some(value),
        Setting::Unset => None,
    })
}

/// Returns the last value that a text gives a key.
pub(crate) fn last_value(text: &str, name: &str) -> Option<String> {
    last_assignment(text, name).map(|(value, _)| value)
}

/// Returns the last value that a text gives a key, and the line of it, counted from 1.
pub(crate) fn last_assignment(text: &str, name: &str) -> Option<(String, usize)> {
    let wanted = path(name);
    let lines = text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim();
        let (key, value) = line
            .split_once('=')
            .filter(|_| !line.starts_with(['#', ';']))?;
        let key = key.trim();
        let key = key.strip_prefix('-').unwrap_or(key);
        (key_path(key) == wanted).then(|| (canonical(value), index + 1))
    });
    lines.last()
}

/// The first separator of a key says whether dots or slashes separate its parts: sysctl.d(5).
pub(crate) fn key_path(key: &str) -> PathBuf {
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'/') => Path::new("/proc/sys").join(key.trim_start_matches('/')),
        _ => path(key),
    }
}

/// A file that is read after ours and sets the key would win at every boot.
pub(crate) fn check_not_overridden(
    host: &Reader,
    name: &str,
    value: &str,
) -> Result<(), Vec<Problem>> {
    let files = files(host).map_err(|error| vec![Problem::new(error.to_string())])?;
    let later = files.iter().rev().take_while(|file| {
        file.path.file_name() > Path::new(STEAD_FILE).file_name()
            || file.path == Path::new(SYSCTL_CONF)
    });
    for file in later {
        if let Some((other, line)) =
            last_assignment(&file.text, name).filter(|(other, _)| other != value)
        {
            let problem = Problem::new(format!(
                "after a reboot it would be `{other}`: {}:{line} sets it, and is read last",
                file.path.display()
            ));
            return Err(vec![
                problem.help("remove that line, or write `persist=#false`"),
            ]);
        }
    }
    Ok(())
}

/// Makes the files for boot give `setting`: ours only says what the others do not.
pub(crate) fn set_boot(
    host: &Writer,
    name: &str,
    setting: Option<&Setting>,
) -> Result<(), HostError> {
    let mut others = files(&Reader::new(host.root()))?;
    others.retain(|file| file.path != Path::new(STEAD_FILE));
    let line = match setting {
        Some(Setting::Value(value))
            if boot_setting(&others, name) != Setting::Value(value.clone()) =>
        {
            Some(format!("{name} = {value}"))
        }
        _ => None,
    };
    let wanted = path(name);
    let is_wanted = |line: &str| {
        line.split_once('=')
            .is_some_and(|(key, _)| key_path(key.trim()) == wanted)
    };
    set_line(host, Path::new(STEAD_FILE), is_wanted, line.as_deref())
}

/// Says what is wrong with the key of a sysctl, as users write it.
pub(crate) fn check_key(name: &str) -> Result<(), Problem> {
    if name.starts_with('/') || (name.contains('/') && !name.contains('.')) {
        let dotted = name.trim_start_matches('/').replace('/', ".");
        return Err(Problem::new("a sysctl is written with dots").help(format!("write `{dotted}`")));
    }
    let is_key = |part: &str| {
        let is_plain = part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-/@:".contains(&byte));
        is_plain && !part.is_empty() && !part.split('/').any(|part| part.is_empty() || part == "..")
    };
    if name.contains('.') && name.split('.').all(is_key) {
        return Ok(());
    }
    Err(Problem::new(format!("`{name}` is not the key of a sysctl"))
        .help("such as `net.ipv4.ip_forward`"))
}

/// Whether every line of a file for boot holds now and is a sysctl of its own, so that the file says nothing else.
pub(crate) fn fully_covers(host: &Reader, path: &Path) -> Result<bool, HostError> {
    let is_one = path.parent() == Some(Path::new(CONF_DIRS[0]))
        && path
            .extension()
            .is_some_and(|extension| extension == "conf");
    if !is_one && path != Path::new(SYSCTL_CONF) {
        return Ok(false);
    }
    let file = read_boot_file(host, path.to_owned())?;
    let lines = file.text.lines().map(str::trim);
    let settings = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let assignments = assignments(&file.text);
    if assignments.is_empty() || settings.count() != assignments.len() {
        return Ok(false);
    }
    let files = files(host)?;
    for (key, value) in assignments {
        let Some(name) = name(&key) else {
            return Ok(false);
        };
        let running = host.read_text(&self::path(&name), LIMIT)?;
        let holds = running.is_some_and(|running| canonical(&running) == value);
        if !holds || boot_setting(&files, &name) != Setting::Value(value) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the key as users write it; `None` if it is a pattern, or no key at all.
pub(crate) fn name(key: &str) -> Option<String> {
    let path = key_path(key);
    let parts = path.strip_prefix("/proc/sys").ok()?.to_str()?;
    let swapped = |c| match c {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    let name: String = parts.chars().map(swapped).collect();
    let is_plain = !key.contains(['*', '?', '[']) && check_key(&name).is_ok();
    is_plain.then_some(name)
}
