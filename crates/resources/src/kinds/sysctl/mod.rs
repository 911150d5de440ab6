//! The kind `sysctl`: a kernel setting, now and after a reboot.

pub(crate) mod drift;
pub(crate) mod state;
pub(crate) mod suggest;

use std::path::Path;

use stead_engine::{
    model::{
        address::Address,
        change::{Change, Effects},
        completion::CompletionTarget,
        drift::{Drift, Evidence},
        listing::{Export, Listing},
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Completable, Footprint, Importable, Reversible, Watchable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::kinds::sysctl::state::State;
use crate::{
    etc::Etc,
    host::{HostError, LinuxHost, Reader, Trigger, Writer},
    kernel::sysctl_d::{
        CONF_DIRS, STEAD_FILE, SYSCTL_CONF, assignments, boot_setting, canonical, check_key,
        check_not_overridden, files, name, overridden_at_boot, path, set_boot,
    },
    values::{path::provider_error, setting::Setting},
};

/// The largest value that is read, in bytes.
const LIMIT: u64 = 64 << 10;

/// The kind `sysctl`.
pub(crate) struct Sysctl;

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "value",
        shape: Shape::Text,
        role: Role::Input,
        doc: "The value, as `sysctl -n` prints it.",
        check: Some(check_value),
    },
    Attribute::new(
        "persist",
        Shape::Flag,
        Role::Input,
        "Whether it also applies after a reboot. Default: true.",
    ),
    Attribute::new(
        "running",
        Shape::Text,
        Role::Derived,
        "The current value in the kernel.",
    ),
    Attribute::new(
        "boot",
        Shape::Text,
        Role::Derived,
        "The value that the files in sysctl.d set at boot.",
    ),
    Attribute::new(
        "remarks",
        Shape::List,
        Role::Remark,
        "Its value after a boot, if a file sets another one.",
    ),
];

fn check_value(value: &str) -> Result<(), Problem> {
    if value.contains(['\n', '\0']) {
        return Err(Problem::new("a value is one line"));
    }
    if value.trim().is_empty() {
        return Err(Problem::new("the value is empty"));
    }
    Ok(())
}

impl Provider<LinuxHost> for Sysctl {
    const KIND: &'static str = "sysctl";
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .reversible()
        .importable()
        .completable()
        .watchable()
        .footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A kernel setting, now and after a reboot.",
            name: "key",
            main: Some("value"),
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                is_runtime: true,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Refused("a sysctl always has a value; write the one that you want"),
            example: "sysctl \"net.ipv4.ip_forward\" \"1\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        check_key(name)
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        match (&desired.value, &desired.running) {
            (None, None) => {
                vec![Problem::new("a sysctl needs its value").help("write it after the key")]
            }
            _ => vec![],
        }
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        let path = path(name);
        let there = host
            .stat(&path)
            .map_err(|error| vec![Problem::new(error.to_string())])?;
        match there {
            None => return Err(vec![unknown_sysctl(host, name)]),
            Some(meta) if meta.mode & 0o222 == 0 => {
                return Err(vec![Problem::new("this sysctl is read-only")]);
            }
            Some(_) => {}
        }
        if let Some(value) = &desired.value {
            let value = canonical(value);
            let other = overridden_at_boot(host, name, &value);
            let other = other.map_err(|error| vec![Problem::new(error.to_string())])?;
            desired.remarks = other.map(|other| vec![other]);
            if desired.persist != Some(false) {
                check_not_overridden(host, name, &value)?;
                desired.boot = Some(Setting::Value(value.clone()));
            }
            desired.running = Some(value);
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let refuse = |name: &str| provider_error(Self::KIND, name, "read the files for boot");
        let files = files(host).map_err(refuse(names.first().unwrap_or(&"")))?;
        names
            .iter()
            .map(|name| {
                let running = match host.read_text(&path(name), LIMIT) {
                    Err(HostError::Io { source, .. })
                        if source.kind() == std::io::ErrorKind::PermissionDenied =>
                    {
                        Some(None)
                    }
                    running => running
                        .map_err(provider_error(Self::KIND, name, "read it"))?
                        .map(Some),
                };
                Ok(running.map(|running| State {
                    running: running.map(|text| canonical(&text)),
                    boot: Some(boot_setting(&files, name)),
                    ..State::default()
                }))
            })
            .collect()
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let Change::Update { before, after } = change else {
                let fact = "only the kernel creates and removes sysctls";
                return Err(ProviderError::new(
                    Address::new(Self::KIND, name),
                    "create or remove it",
                    fact,
                ));
            };
            if before.boot != after.boot {
                set_boot(host, name, after.boot.as_ref()).map_err(provider_error(
                    Self::KIND,
                    name,
                    "set it for boot",
                ))?;
            }
            if let Some(value) = after
                .running
                .filter(|value| before.running.as_ref() != Some(value))
            {
                host.write_kernel_file(&path(name), value.as_bytes())
                    .map_err(provider_error(
                        Self::KIND,
                        name,
                        &format!("set it to `{value}`"),
                    ))?;
            }
        }
        Ok(())
    }

    fn requires(&self, name: &str, _desired: &State) -> Vec<Address> {
        let module = match name {
            name if name.starts_with("net.bridge.") => "br_netfilter",
            name if name.starts_with("net.netfilter.nf_conntrack") => "nf_conntrack",
            _ => return vec![],
        };
        vec![Address::new("kernel-module", module)]
    }

    fn effects(&self, name: &str, change: &Change<State>) -> Effects {
        let is_off = change
            .after()
            .is_some_and(|after| after.running.as_deref() == Some("0"));
        let was_on = change
            .before()
            .is_some_and(|before| before.running.as_deref() != Some("0"));
        let forwards = name.ends_with(".forwarding") || name == "net.ipv4.ip_forward";
        Effects {
            may_cut_network: (forwards && is_off && was_on)
                .then(|| "packets are no longer forwarded".to_owned()),
            ..Effects::default()
        }
    }
}

impl Reversible<LinuxHost> for Sysctl {
    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        host.remove_temporary(Path::new(STEAD_FILE))
            .map_err(provider_error(Self::KIND, name, "remove a temporary file"))
    }
}

impl Importable<LinuxHost> for Sysctl {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        list(host).map_err(provider_error(
            Self::KIND,
            "/etc/sysctl.d",
            "read the files for boot",
        ))
    }

    async fn export(
        &self,
        _host: &Reader,
        _name: &str,
        state: State,
    ) -> Result<Export<State>, ProviderError> {
        let Some(running) = state.running else {
            return Ok(Export::Unreadable("only root may read it".to_owned()));
        };
        let boot = match state.boot {
            Some(Setting::Value(boot)) if boot == running => {
                return Ok(Export::as_is(State {
                    value: Some(running),
                    ..State::default()
                }));
            }
            Some(Setting::Value(boot)) => format!("after a reboot it is `{boot}`"),
            _ => "after a reboot it has the default of the kernel".to_owned(),
        };
        let now = State {
            value: Some(running),
            persist: Some(false),
            ..State::default()
        };
        Ok(Export::drift(now, boot))
    }
}

impl Completable<LinuxHost> for Sysctl {
    /// Names what a file in /etc sets that no package brought as it is.
    async fn complete(&self, host: &Reader, _name: &str, gap: &CompletionTarget) -> Vec<String> {
        match gap {
            CompletionTarget::Name => suggest::sysctls(host),
            _ => vec![],
        }
    }
}

impl Watchable<LinuxHost> for Sysctl {
    fn triggers(&self, name: &str, _desired: Option<&State>) -> Vec<Trigger> {
        let dirs = CONF_DIRS.iter().chain([&SYSCTL_CONF]);
        let files = dirs.map(|path| Trigger::Path(path.into()));
        files.chain([Trigger::Value(path(name))]).collect()
    }

    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        drift::attribute_drift(host, name, drift).await
    }
}

impl Footprint<LinuxHost> for Sysctl {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        vec![STEAD_FILE.to_owned()]
    }

    fn blocks_rehearsal(&self, name: &str, change: &Change<State>) -> Option<&'static str> {
        let running = |state: Option<&State>| state.and_then(|state| state.running.clone());
        let moves = running(change.before()) != running(change.after());
        (moves && !name.starts_with("net."))
            .then_some("the kernel has one value of it for the host and the clone")
    }
}

fn unknown_sysctl(host: &Reader, name: &str) -> Problem {
    let problem = Problem::new(format!("there is no sysctl `{name}` on this host"));
    let path = path(name);
    let dir = path.parent().unwrap_or(Path::new("/proc/sys"));
    let last = path.file_name().unwrap_or_default().to_string_lossy();
    let siblings = host.list_dir(dir).unwrap_or_default();
    let near = siblings
        .iter()
        .map(|sibling| sibling.to_string_lossy())
        .map(|sibling| (strsim::damerau_levenshtein(&sibling, &last), sibling))
        .filter(|(distance, _)| *distance <= last.len().div_ceil(3))
        .min();
    match (near, name.rsplit_once('.')) {
        (Some((_, near)), Some((above, _))) => {
            problem.help(format!("did you mean `{above}.{near}`?"))
        }
        _ => problem.help("it may need a kernel module that is not loaded"),
    }
}

fn list(host: &Reader) -> Result<Listing, HostError> {
    let etc = Etc::read(host)?;
    let mut listing = Listing::new("Kernel settings from files in /etc.", []);
    for file in files(host)? {
        for (key, _) in assignments(&file.text) {
            let Some(name) = name(&key) else {
                listing.ignore("it has a pattern for a name", key);
                continue;
            };
            let there = host.stat(&path(&name))?;
            if !file.path.starts_with("/etc") || !etc.is_admin_configured(&file.path) {
                listing.default += 1;
            } else if let Some(meta) = there {
                match meta.mode & 0o222 {
                    0 => listing.ignore("it is read-only", name),
                    _ => drop(listing.managed.insert(name)),
                }
            } else {
                listing.ignore("this kernel does not have it now", name);
            }
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{conf_d::HEADER, test_root::TestRoot};

    const KEY: &str = "net.ipv4.ip_forward";

    fn check_boot(files: &[(&str, &str)], expected: Option<&str>) {
        let root = TestRoot::new(files);
        let expected = expected.map_or(Setting::Unset, |value| Setting::Value(value.to_owned()));
        assert_eq!(
            boot_setting(&super::files(&root.reader()).unwrap(), KEY),
            expected,
            "{files:?}"
        );
    }

    #[test]
    fn last_assignment_in_order_of_names_wins() {
        check_boot(&[], None);
        check_boot(
            &[("/etc/sysctl.d/10-a.conf", "net.ipv4.ip_forward=1")],
            Some("1"),
        );
        check_boot(
            &[(
                "/etc/sysctl.d/10-a.conf",
                "-net/ipv4/ip_forward = 1\n# net.ipv4.ip_forward=0",
            )],
            Some("1"),
        );
        check_boot(
            &[
                ("/usr/lib/sysctl.d/50-b.conf", "net.ipv4.ip_forward=1"),
                ("/etc/sysctl.d/10-a.conf", "net.ipv4.ip_forward=0"),
            ],
            Some("1"),
        );
        check_boot(
            &[
                ("/usr/lib/sysctl.d/50-b.conf", "net.ipv4.ip_forward=1"),
                ("/etc/sysctl.d/50-b.conf", "; empty"),
            ],
            None,
        );
        check_boot(
            &[
                ("/etc/sysctl.conf", "net.ipv4.ip_forward = 0"),
                (STEAD_FILE, "net.ipv4.ip_forward = 1"),
            ],
            Some("0"),
        );
        check_boot(&[("/etc/sysctl.d/10-a", "net.ipv4.ip_forward=1")], None);
    }

    #[test]
    fn own_file_holds_only_settings_not_set_elsewhere() {
        let root = TestRoot::new(&[("/etc/sysctl.d/10-a.conf", "net.ipv4.ip_forward=0")]);
        let host = root.writer();
        let set = |name: &str, value: &str| {
            set_boot(&host, name, Some(&Setting::Value(value.to_owned()))).unwrap();
        };
        set("vm.swappiness", "10");
        let one = root.text(STEAD_FILE).unwrap();
        set(KEY, "1");
        assert_eq!(
            root.text(STEAD_FILE).unwrap(),
            format!("{HEADER}\nnet.ipv4.ip_forward = 1\nvm.swappiness = 10\n")
        );
        set(KEY, "0");
        assert_eq!(
            root.text(STEAD_FILE).unwrap(),
            one,
            "the other file says it already"
        );
        set_boot(&host, "vm.swappiness", Some(&Setting::Unset)).unwrap();
        assert_eq!(root.text(STEAD_FILE), None);
    }

    #[tokio::test]
    async fn unknown_sysctl_suggests_the_nearest_key() {
        let root = TestRoot::new(&[("/proc/sys/net/ipv4/ip_forward", "0\n")]);
        let desired = State {
            value: Some("1".to_owned()),
            ..State::default()
        };
        let problems = Sysctl
            .prepare(&root.reader(), "net.ipv4.ip_foward", desired)
            .await
            .unwrap_err();
        assert_eq!(
            problems[0].help.as_deref(),
            Some("did you mean `net.ipv4.ip_forward`?")
        );
    }

    #[tokio::test]
    async fn later_file_that_overrides_at_boot_is_a_problem() {
        let root = TestRoot::new(&[
            ("/proc/sys/net/ipv4/ip_forward", "0\n"),
            ("/etc/sysctl.conf", "\nnet.ipv4.ip_forward=0\n"),
        ]);
        let desired = State {
            value: Some("1".to_owned()),
            ..State::default()
        };
        let problems = Sysctl
            .prepare(&root.reader(), KEY, desired.clone())
            .await
            .unwrap_err();
        assert_eq!(
            problems[0].message,
            "after a reboot it would be `0`: /etc/sysctl.conf:2 sets it, and is read last"
        );
        let only_now = State {
            persist: Some(false),
            ..desired
        };
        assert_eq!(
            Sysctl
                .prepare(&root.reader(), KEY, only_now)
                .await
                .unwrap()
                .boot,
            None
        );
    }

    #[tokio::test]
    async fn sysctl_overridden_at_boot_names_the_file() {
        let root = TestRoot::new(&[
            ("/proc/sys/net/ipv4/ip_forward", "0\n"),
            ("/etc/sysctl.d/10-x.conf", "net.ipv4.ip_forward=0\n"),
        ]);
        let check = async |value: &str, expected: Option<&str>| {
            let desired = State {
                value: Some(value.to_owned()),
                persist: Some(false),
                ..State::default()
            };
            let prepared = Sysctl.prepare(&root.reader(), KEY, desired).await.unwrap();
            let remarks = prepared.remarks.unwrap_or_default();
            assert_eq!(remarks.first().map(String::as_str), expected);
        };
        let said = "after a reboot: 0, set by /etc/sysctl.d/10-x.conf";
        check("1", Some(said)).await;
        check("0", None).await;
    }

    #[tokio::test]
    async fn running_and_boot_values_are_changed_and_restored() {
        let root = TestRoot::new(&[
            ("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
            ("/etc/sysctl.d/README", ""),
        ]);
        let name = "net.ipv4.tcp_rmem";
        let before = Sysctl
            .read(&root.reader(), &[name])
            .await
            .unwrap()
            .remove(0)
            .unwrap();
        assert_eq!(before.running.as_deref(), Some("4096 131072 6291456"));
        let desired = State {
            value: Some("1  2 3".to_owned()),
            ..State::default()
        };
        let after = Sysctl.prepare(&root.reader(), name, desired).await.unwrap();
        let change = Change::Update {
            before: before.clone(),
            after,
        };
        Sysctl
            .apply(&root.writer(), vec![(name, change)])
            .await
            .unwrap();
        let now = Sysctl
            .read(&root.reader(), &[name])
            .await
            .unwrap()
            .remove(0)
            .unwrap();
        assert_eq!(
            (now.running.as_deref(), &now.boot),
            (Some("1 2 3"), &Some(Setting::Value("1 2 3".into())))
        );
        let back = Change::Update {
            before: now,
            after: before.clone(),
        };
        Sysctl
            .apply(&root.writer(), vec![(name, back)])
            .await
            .unwrap();
        assert_eq!(
            Sysctl.read(&root.reader(), &[name]).await.unwrap(),
            [Some(before)]
        );
        assert_eq!(root.text(STEAD_FILE), None);
    }

    #[test]
    fn sysctl_key_has_one_spelling() {
        Sysctl
            .check_name("net.ipv4.conf.eth0/100.forwarding")
            .unwrap();
        assert_eq!(
            path("net.ipv4.conf.eth0/100.forwarding"),
            Path::new("/proc/sys/net/ipv4/conf/eth0.100/forwarding")
        );
        let help = |name: &str| Sysctl.check_name(name).unwrap_err().help.unwrap();
        assert_eq!(help("/net/ipv4/ip_forward"), "write `net.ipv4.ip_forward`");
        assert_eq!(help("net/ipv4/ip_forward"), "write `net.ipv4.ip_forward`");
        assert!(Sysctl.check_name("kernel").is_err());
        assert!(Sysctl.check_name("a/../b.c").is_err());
    }
}
