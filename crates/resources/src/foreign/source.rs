//! The files of other tools that can be given, and their errors.

use crate::host::HostError;

/// Where `MicroK8s` looks for one when it is installed, in this order: `snap/hooks/install`.
pub const LAUNCH_CONFIG_PATHS: [&str; 3] = [
    "/etc/microk8s.yaml",
    "/root/snap/microk8s/common/.microk8s.yaml",
    "/var/snap/microk8s/common/.microk8s.yaml",
];

/// A text is no launch configuration.
#[derive(Debug, thiserror::Error)]
pub enum LaunchConfigError {
    /// It is no YAML.
    #[error("it is not YAML: {0}")]
    Yaml(String),
    /// A part of it has another form than `MicroK8s` takes.
    #[error("`{0}` does not have the form that MicroK8s accepts")]
    WrongShape(String),
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForeignFormat {
    /// A launch configuration of `MicroK8s`.
    LaunchConfig,
    /// Rules of IPv4, as `iptables-save` prints them.
    RulesV4,
    /// Rules of IPv6, as `ip6tables-save` prints them.
    RulesV6,
    /// A file of sysctl.d, or a directory of such files.
    Sysctl,
}

impl ForeignFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::LaunchConfig,
        Self::RulesV4,
        Self::RulesV6,
        Self::Sysctl,
    ];

    /// Returns the word that users type for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::LaunchConfig => "launch-config",
            Self::RulesV4 => "rules-v4",
            Self::RulesV6 => "rules-v6",
            Self::Sysctl => "sysctl",
        }
    }

    /// Returns the family that the rules are not of.
    fn describe_mismatch(self) -> &'static str {
        match self {
            Self::RulesV6 => "IPv4, and `rules-v6` is for IPv6",
            _ => "IPv6, and `rules-v4` is for IPv4",
        }
    }

    /// Returns where such a file usually is.
    pub fn usual_path(self) -> &'static str {
        match self {
            Self::LaunchConfig => LAUNCH_CONFIG_PATHS[2],
            Self::RulesV4 => "/etc/iptables/rules.v4",
            Self::RulesV6 => "/etc/iptables/rules.v6",
            Self::Sysctl => "/etc/sysctl.d",
        }
    }
}

/// A file or directory that was named.
#[derive(Debug)]
pub struct ForeignSource {
    /// What it is.
    pub format: ForeignFormat,
    /// Its path as it was named.
    pub path: String,
    /// What is in it.
    pub contents: Contents,
}

/// What is in a file or a directory.
#[derive(Debug)]
pub enum Contents {
    /// The bytes of a file.
    Bytes(Vec<u8>),
    /// A directory: its real path.
    Directory(String),
}

/// A source is not what it was named as.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A directory stands where a file is wanted.
    #[error("`{path}` is a directory")]
    IsDirectory {
        /// The path.
        path: String,
        /// What it was named as.
        format: ForeignFormat,
    },
    /// A file is longer than any that is read.
    #[error("`{0}` is larger than {limit} MiB", limit = LIMIT >> 20)]
    TooLarge(String),
    /// Rules of one family were named twice: a host loads one such file.
    #[error("`{0}` is given twice, and a host loads one such file")]
    Duplicate(&'static str),
    /// It is no launch configuration.
    #[error("`{path}`: {error}")]
    LaunchConfig {
        /// The path.
        path: String,
        /// Why.
        error: LaunchConfigError,
    },
    /// A line is none of those that iptables-restore reads.
    #[error("`{0}` is not a line that iptables-restore accepts here")]
    NotRules(String),
    /// A table has no `COMMIT`.
    #[error(
        "`{place}`: the table {table} has no `COMMIT`, and iptables-restore rejects such a file"
    )]
    NoCommit {
        /// Where the table begins.
        place: String,
        /// The table.
        table: String,
    },
    /// A line is of the other family.
    #[error("`{place}` is for {}", .named.describe_mismatch())]
    WrongFamily {
        /// Where.
        place: String,
        /// What the file was named as.
        named: ForeignFormat,
    },
    /// No line of a file sets a sysctl.
    #[error("`{0}` has no line `key = value`")]
    NotSysctls(String),
    /// A directory cannot be read.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// The largest file that is read, in bytes: as large as a spec.
pub(super) const LIMIT: usize = 4 << 20;

impl SourceError {
    /// Says what to type.
    pub fn help(&self) -> String {
        let name = |format: ForeignFormat| {
            let (word, place) = (format.word(), format.usual_path());
            format!("give a file, as in `--from {word} {place}`")
        };
        match self {
            Self::IsDirectory { format, .. } => name(*format),
            Self::TooLarge(_) => "remove what programs write themselves, such as the rules of Kubernetes".to_owned(),
            Self::Duplicate(_) => "give one of them".to_owned(),
            Self::LaunchConfig { .. } => "give a launch configuration of MicroK8s".to_owned(),
            Self::NotRules(_) => "give a file that `iptables-save` or `ip6tables-save` printed, such as /etc/iptables/rules.v4".to_owned(),
            Self::NoCommit { .. } => "the file may be truncated: write it again with `netfilter-persistent save`, or end the table with `COMMIT`".to_owned(),
            Self::WrongFamily { named, .. } => match named {
                ForeignFormat::RulesV6 => "write `--from rules-v4 FILE`".to_owned(),
                _ => "write `--from rules-v6 FILE`".to_owned(),
            },
            Self::NotSysctls(_) => "give a file of sysctl.d or a directory, as in `--from sysctl /etc/sysctl.d`".to_owned(),
            Self::Host(_) => "give a directory that you may read".to_owned(),
        }
    }
}
