//! Files of other tools as resources: launch configurations of `MicroK8s`, rules that netfilter-persistent loads, and
//! the files of sysctl.d. Such a file is a desired state; the host is only asked for the names of its rules.

pub(crate) mod iptables;
pub(crate) mod iptables_save;
pub(crate) mod launch_config;
pub(crate) mod source;
pub(crate) mod sysctl_d;

use source::LIMIT;
use stead_engine::import::translate::ForeignSpec;

use crate::{
    foreign::{iptables_save::RulesFile, launch_config::LaunchConfig, sysctl_d::SysctlFiles},
    host::Reader,
    netfilter::{Family, Tables},
};

pub use source::{
    Contents, ForeignFormat, ForeignSource, LAUNCH_CONFIG_PATHS, LaunchConfigError, SourceError,
};

/// Puts all that was named into the words of kinds.
///
/// # Errors
/// When a source is not what it was named as; what merely cannot be said is part of the wishes.
pub async fn read_foreign(
    sources: Vec<ForeignSource>,
    host: &Reader,
) -> Result<ForeignSpec, SourceError> {
    let mut spec = ForeignSpec::default();
    let mut launch_config = LaunchConfig::default();
    let mut files: Vec<RulesFile> = vec![];
    let mut sysctls = SysctlFiles::default();
    for source in sources {
        let ForeignSource {
            format,
            path,
            contents,
        } = source;
        let bytes = match contents {
            Contents::Directory(dir) if format == ForeignFormat::Sysctl => {
                if !sysctls.dirs.contains(&dir) {
                    sysctls.dirs.push(dir);
                }
                continue;
            }
            Contents::Directory(_) => {
                return Err(SourceError::IsDirectory { path, format });
            }
            Contents::Bytes(bytes) if bytes.len() > LIMIT => {
                return Err(SourceError::TooLarge(path));
            }
            Contents::Bytes(bytes) => bytes,
        };
        let family = match format {
            ForeignFormat::LaunchConfig => {
                let text = String::from_utf8_lossy(&bytes);
                let read = launch_config.add_text(&text);
                read.map_err(|error| SourceError::LaunchConfig { path, error })?;
                continue;
            }
            ForeignFormat::Sysctl => {
                sysctls.add_file(path, &bytes)?;
                continue;
            }
            ForeignFormat::RulesV4 => Family::Ipv4,
            ForeignFormat::RulesV6 => Family::Ipv6,
        };
        if files.iter().any(|file| file.family == family) {
            return Err(SourceError::Duplicate(format.word()));
        }
        files.push(RulesFile::parse(&path, family, &bytes)?);
    }
    launch_config.add_to(&mut spec);
    if !files.is_empty() {
        // Where there is no iptables, or only root sees it, the file alone says how its rules are called.
        let tables = Tables::read(host).await.ok();
        iptables::add_to(&mut spec, files, tables.as_deref());
    }
    sysctls.add_to(&mut spec, host)?;
    Ok(spec)
}
