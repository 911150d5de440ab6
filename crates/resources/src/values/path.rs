//! Absolute paths as names of resources.

use stead_engine::{
    model::{address::Address, schema::Problem},
    provider::error::ProviderError,
};

use crate::host::{HostError, Meta};

/// Longest path in bytes: limits.h, `PATH_MAX`, without the closing NUL.
const LONGEST: usize = 4095;
/// Longest part of a path in bytes: limits.h, `NAME_MAX`.
const LONGEST_PART: usize = 255;

/// Says what is wrong with a path that names a resource: it must be absolute and in its only spelling.
pub(crate) fn check(path: &str) -> Result<(), Problem> {
    if !path.starts_with('/') {
        return Err(Problem::new(format!("`{path}` is not an absolute path"))
            .help(format!("write `/{path}`")));
    }
    if path == "/" {
        return Err(Problem::new("`/` cannot be managed"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(Problem::new(format!("`{path}` contains `..`")).help("write the resolved path"));
    }
    let parts: Vec<_> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let canonical = format!("/{}", parts.join("/"));
    if path != canonical {
        return Err(Problem::new(format!("`{path}` is not a canonical path"))
            .help(format!("write `{canonical}`")));
    }
    if path.len() > LONGEST || parts.iter().any(|part| part.len() > LONGEST_PART) {
        return Err(Problem::new(format!(
            "the path is too long: at most {LONGEST} bytes, and {LONGEST_PART} between two slashes"
        )));
    }
    Ok(())
}

/// Returns what the directories on the way to a path could be declared as.
pub(crate) fn ancestors(path: &str) -> Vec<Address> {
    let above = path
        .rmatch_indices('/')
        .map(|(end, _)| &path[..end])
        .filter(|above| !above.is_empty());
    above
        .flat_map(|above| {
            [
                Address::new("directory", above),
                Address::new("symlink", above),
            ]
        })
        .collect()
}

/// Makes the error of a path at which something else stands than the kind manages.
pub(crate) fn kind_mismatch(kind: &str, path: &str, there: &Meta) -> ProviderError {
    ProviderError::new(
        Address::new(kind, path),
        format!("manage `{path}` as {kind}"),
        format!("it is {}", there.kind.noun()),
    )
    .help("stead does not replace one kind with another: move it away, or declare it `absent` under its own kind")
}

/// Makes the error of something that the host refused.
pub(crate) fn provider_error(
    kind: &str,
    path: &str,
    attempted: &str,
) -> impl Fn(HostError) -> ProviderError + use<> {
    let address = Address::new(kind, path);
    let attempted = attempted.to_owned();
    move |error| {
        let help = help_for(&error);
        let error = ProviderError::new(address.clone(), attempted.clone(), error);
        match help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

fn help_for(error: &HostError) -> Option<String> {
    let HostError::Io { source, path, .. } = error else {
        return None;
    };
    match source.raw_os_error().map(nix::errno::Errno::from_raw)? {
        nix::errno::Errno::EPERM => Some(format!(
            "it may be immutable: `lsattr -d {}` shows it",
            path.display()
        )),
        nix::errno::Errno::EROFS => Some("the file system is mounted read-only".to_owned()),
        nix::errno::Errno::ENOSPC => Some("the file system is full".to_owned()),
        nix::errno::Errno::EACCES => Some("run stead as root".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_help(path: &str, expected: Option<&str>) {
        assert_eq!(check(path).unwrap_err().help.as_deref(), expected, "{path}");
    }

    #[test]
    fn path_has_one_spelling() {
        check("/etc/motd").unwrap();
        check_help("etc/motd", Some("write `/etc/motd`"));
        check_help("/etc//motd/", Some("write `/etc/motd`"));
        check_help("/etc/./motd", Some("write `/etc/motd`"));
        check_help("/etc/../motd", Some("write the resolved path"));
        check_help("/", None);
        assert!(check(&format!("/{}", "x".repeat(256))).is_err());
    }

    #[test]
    fn help_names_the_refused_path() {
        let path = std::path::Path::new("/etc/sysctl.d/99-zz-stead.conf");
        let error = HostError::io("remove", path)(nix::errno::Errno::EPERM);
        let error = provider_error("sysctl", "net.ipv4.ip_forward", "set it for boot")(error);
        assert_eq!(
            error.help.as_deref(),
            Some("it may be immutable: `lsattr -d /etc/sysctl.d/99-zz-stead.conf` shows it")
        );
    }

    #[test]
    fn ancestors_lists_parent_directories() {
        let needed: Vec<_> = ancestors("/a/b/c")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            needed,
            [
                "directory:/a/b",
                "symlink:/a/b",
                "directory:/a",
                "symlink:/a"
            ]
        );
    }
}
