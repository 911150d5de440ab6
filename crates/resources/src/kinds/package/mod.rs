//! The kind `package`: a Debian package of this host.

pub(crate) mod drift;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        change::{Change, Effects},
        drift::{Drift, Evidence},
        listing::{Export, Listing},
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Footprint, Importable, Reversible, Watchable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    dpkg::database::{
        DpkgDatabase, InstalledPackage, available_versions, installed_packages, is_interrupted,
    },
    host::{CommandSpec, HostError, LinuxHost, Reader, Writer},
    values::path::provider_error,
};

/// How long installing or removing may take.
const DEADLINE: Duration = Duration::from_mins(10);
/// Nobody is there to answer: debconf(7). Settings that the host has changed stay: ucf(1).
const ENVIRONMENT: &[(&str, &str)] = &[
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("UCF_FORCE_CONFFOLD", "1"),
];
/// A new package never takes another one away, which nobody would bring back. Settings that the host has changed stay: dpkg(1).
/// Another apt, such as that of unattended-upgrades, is waited for. Without a terminal of its own dpkg says on standard error why it fails.
const INSTALL: &[&str] = &[
    "apt-get",
    "install",
    "--yes",
    "--quiet",
    "--no-install-recommends",
    "--no-remove",
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
    "--option=DPkg::Lock::Timeout=120",
    "--option=Dpkg::Use-Pty=0",
];

/// Finishes what is installed by halves.
const CONFIGURE_PENDING: &[&str] = &["dpkg", "--configure", "--pending"];

/// The kind `package`.
pub(crate) struct Package;

/// State of a package, that of the host's own architecture.
///
/// ```kdl
/// package "iptables" hold=#true
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    hold: Option<bool>,
    #[serde(default)]
    configured: Option<bool>,
    #[serde(default)]
    automatic: Option<bool>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "version",
        shape: Shape::Text,
        role: Role::Managed,
        doc: "Exactly this version, as `apt-cache policy` shows it. A new package gets the newest; an installed one stays.",
        check: Some(check_version),
    },
    Attribute::new(
        "hold",
        Shape::Flag,
        Role::Managed,
        "Whether it is on hold, as by `apt-mark hold`.",
    ),
    Attribute::new(
        "configured",
        Shape::Flag,
        Role::Derived,
        "Whether it is completely installed and not marked for removal.",
    ),
    Attribute::new(
        "automatic",
        Shape::Flag,
        Role::Context,
        "Whether it was installed automatically, as by `apt-mark auto`, so that rollback keeps that.",
    ),
];

/// deb-version(7).
fn check_version(version: &str) -> Result<(), Problem> {
    if let Some(plain) = version.strip_prefix("0:") {
        let problem = Problem::new("an epoch of 0 must be omitted");
        return Err(problem.help(format!("write `{plain}`")));
    }
    let is_version = version
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte));
    if is_version && version.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(());
    }
    let problem = Problem::new(format!("`{version}` is not the version of a package"));
    Err(problem.help("write one that `apt-cache policy` shows, such as `1.8.11-2`"))
}

impl Provider<LinuxHost> for Package {
    const KIND: &'static str = "package";
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .reversible()
        .importable()
        .watchable()
        .footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A Debian package, with its dependencies; its files in /etc stay when it is removed.",
            name: "name",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle::DEFAULT,
            absence: Absence::Allowed,
            example: "package \"iptables\" hold=#true\n",
        }
    }

    /// Debian Policy, 5.6.1.
    fn check_name(&self, name: &str) -> Result<(), Problem> {
        if let Some((plain, _)) = name.split_once([':', '=']) {
            let problem =
                Problem::new(format!("`{name}` contains more than the name of a package"));
            return Err(problem.help(format!(
                "write `package \"{plain}\"`; its architecture is that of the host, and `version` is an attribute"
            )));
        }
        let is_plain = name.bytes().enumerate().all(|(index, byte)| match byte {
            b'a'..=b'z' | b'0'..=b'9' => true,
            b'+' | b'-' | b'.' => index > 0,
            _ => false,
        });
        // apt-get(8) takes `name-` and `name+` for wishes to remove and to install.
        if is_plain && name.len() > 1 && !name.ends_with('-') {
            return Ok(());
        }
        Err(
            Problem::new(format!("`{name}` is not the name of a package"))
                .help("such as `iptables`"),
        )
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        let said = |error: HostError| vec![Problem::new(error.to_string())];
        // What is set already is a state to roll back to.
        desired.configured.get_or_insert(true);
        let there = installed_packages(host, &[name])
            .map_err(said)?
            .remove(name);
        let there = there.map(|package| package.version);
        if there.is_some()
            && desired
                .version
                .as_ref()
                .is_none_or(|version| there.as_ref() == Some(version))
        {
            return Ok(desired);
        }
        let Some(versions) = available_versions(host, name).map_err(said)? else {
            return Ok(desired);
        };
        let help = "update the package lists with `apt-get update`";
        match &desired.version {
            _ if versions.is_empty() => Err(vec![
                Problem::new(format!("the archives of apt have no package `{name}`")).help(help),
            ]),
            Some(version) if !versions.contains(version) => {
                let versions: Vec<_> = versions.iter().map(|other| format!("`{other}`")).collect();
                let problem = Problem::new(format!(
                    "the archives of apt do not have version `{version}`; they have {}",
                    versions.join(", ")
                ));
                Err(vec![problem.at("version").help(help)])
            }
            _ => Ok(desired),
        }
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let first = names.first().unwrap_or(&"");
        let mut there = installed_packages(host, names).map_err(provider_error(
            Self::KIND,
            first,
            "read the database of dpkg",
        ))?;
        Ok(names
            .iter()
            .map(|name| there.remove(*name).map(State::from))
            .collect())
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let attempted = match &change {
                Change::Create { .. } => "install it",
                Change::Update { .. } => "change it",
                Change::Delete { .. } => "remove it",
            };
            run_commands(host, name, &change)
                .await
                .map_err(provider_error(Self::KIND, name, attempted))?;
        }
        Ok(())
    }

    fn effects(&self, _name: &str, change: &Change<State>) -> Effects {
        let stays = matches!(change, Change::Create { .. })
            .then(|| "its files in /etc and the packages installed with it");
        Effects {
            leaves: stays.map(str::to_owned),
            ..Effects::default()
        }
    }
}

impl Reversible<LinuxHost> for Package {
    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        let fail = || {
            provider_error(
                Self::KIND,
                name,
                "complete the update of an interrupted dpkg",
            )
        };
        let reader = Reader::new(host.root());
        if !is_interrupted(&reader).map_err(fail())? {
            return Ok(());
        }
        // Selects nothing and runs no script of a package, but opens the database, and until then apt refuses to work.
        run(host, &to_strings(&["dpkg", "--set-selections"]))
            .await
            .map_err(fail())?;
        let there = installed_packages(&reader, &[name]).map_err(fail())?;
        if there.get(name).is_none_or(|package| package.is_configured) {
            // What it needs may be half done. If that cannot be finished, apt says so when it matters.
            drop(run(host, &to_strings(CONFIGURE_PENDING)).await);
        }
        Ok(())
    }
}

impl Importable<LinuxHost> for Package {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let database = DpkgDatabase::read(host).map_err(provider_error(
            Self::KIND,
            "",
            "read the database of dpkg",
        ))?;
        let heading = "Manually installed packages, beside those of a base system.";
        let mut listing = Listing::new(heading, []);
        let others = database.foreign_packages.iter();
        others.for_each(|name| listing.ignore("it has another architecture", name));
        for (name, package) in &database.packages {
            if !package.is_held && (package.is_automatic || database.base.contains(name)) {
                listing.default += 1;
            } else if package.is_configured {
                listing.managed.insert(name.clone());
            } else {
                listing.ignore("dpkg has not finished it", name);
            }
        }
        Ok(listing)
    }

    /// Without its version: another host gets what its archives have.
    async fn export(
        &self,
        _host: &Reader,
        _name: &str,
        mut state: State,
    ) -> Result<Export<State>, ProviderError> {
        state.version = None;
        state.hold.take_if(|hold| !*hold);
        Ok(Export::as_is(state))
    }
}

impl Watchable<LinuxHost> for Package {
    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        let now = drift.change.before();
        let version = now.and_then(|now| now.version.as_deref());
        let left = drift.after_run.as_ref().map(|left| left.version.as_deref());
        if now.is_some() && left.is_none_or(|left| left == version) {
            return None;
        }
        drift::attribute_drift(host, name, version, drift.modified_at)
    }
}

impl Footprint<LinuxHost> for Package {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        let below = [
            "/usr/*",
            "/var/lib/dpkg/*",
            "/var/lib/apt/*",
            "/var/cache/apt/*",
        ];
        let more = [
            "/var/cache/debconf/*",
            "/var/log/apt/*",
            "/var/log/dpkg.log",
        ];
        below.iter().chain(&more).map(ToString::to_string).collect()
    }
}

impl From<InstalledPackage> for State {
    fn from(package: InstalledPackage) -> Self {
        let InstalledPackage {
            version,
            is_configured,
            is_held,
            is_automatic,
        } = package;
        Self {
            version: Some(version),
            hold: Some(is_held),
            configured: Some(is_configured),
            automatic: Some(is_automatic),
        }
    }
}

async fn run_commands(host: &Writer, name: &str, change: &Change<State>) -> Result<(), HostError> {
    if let Change::Update { before, .. } = change
        && before.configured == Some(false)
    {
        mark_installed(host, name).await?;
    }
    for call in commands(name, change) {
        if let Err(error) = run(host, &call).await {
            if matches!(change, Change::Delete { .. }) {
                // dpkg keeps the wish to remove it even where it refuses: dpkg(1), selection states.
                drop(mark_installed(host, name).await);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Takes back the wish to remove a package, and a hold.
async fn mark_installed(host: &Writer, name: &str) -> Result<(), HostError> {
    let selection = format!("{name} install\n");
    host.run("dpkg", &["--set-selections"], selection.as_bytes())
        .await
        .map(drop)
}

async fn run(host: &Writer, call: &[String]) -> Result<(), HostError> {
    let arguments: Vec<&str> = call[1..].iter().map(String::as_str).collect();
    let call = CommandSpec {
        environment: ENVIRONMENT,
        deadline: DEADLINE,
        ..CommandSpec::new(&call[0], &arguments)
    };
    host.run_command(call).await.map(drop)
}

/// Returns the programs of a change, each with its arguments.
fn commands(name: &str, change: &Change<State>) -> Vec<Vec<String>> {
    let before = change.before();
    let mut is_held = before.is_some_and(|before| before.hold == Some(true));
    let unhold = to_strings(&["apt-mark", "unhold", name]);
    let Some(after) = change.after() else {
        // Unlike apt-get it takes nothing else along: what others need stays, and they are named.
        let remove = to_strings(&["dpkg", "--remove", name]);
        let is_half = before.is_some_and(|before| before.configured == Some(false));
        let calls = [
            is_held.then_some(unhold),
            Some(remove),
            is_half.then(|| to_strings(CONFIGURE_PENDING)),
        ];
        return calls.into_iter().flatten().collect();
    };
    let mut calls = vec![];
    if needs_install(before, after) {
        calls.extend(is_held.then(|| unhold.clone()));
        is_held = false;
        calls.push(install(name, after.version.as_deref()));
        if after.automatic == Some(true) {
            calls.push(to_strings(&["apt-mark", "auto", name]));
        }
    }
    match after.hold {
        Some(true) if !is_held => calls.push(to_strings(&["apt-mark", "hold", name])),
        Some(false) if is_held => calls.push(unhold),
        _ => {}
    }
    calls
}

fn to_strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn needs_install(before: Option<&State>, after: &State) -> bool {
    before.is_none_or(|before| {
        after.version != before.version || (after.configured != before.configured)
    })
}

fn install(name: &str, version: Option<&str>) -> Vec<String> {
    let mut call = to_strings(INSTALL);
    match version {
        Some(version) => {
            call.extend(["--allow-downgrades".to_owned(), format!("{name}={version}")]);
        }
        None => call.push(name.to_owned()),
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    const STATUS: &str = "/var/lib/dpkg/status";
    const LIST: (&str, &str) = (
        "/var/lib/apt/lists/deb.example_dists_x_main_Packages",
        "Package: hello\nVersion: 1.0\n\nPackage: hello\nVersion: 2.0\n",
    );

    fn state(version: &str, hold: bool, automatic: bool) -> State {
        State {
            version: Some(version.to_owned()),
            hold: Some(hold),
            configured: Some(true),
            automatic: Some(automatic),
        }
    }

    #[tokio::test]
    async fn package_read_keeps_order_of_requested_names() {
        let database = "Package: b\nStatus: hold ok installed\nVersion: 1\nArchitecture: all\n\n\
            Package: a\nStatus: install ok unpacked\nVersion: 2\nArchitecture: all\n";
        let root = TestRoot::new(&[(STATUS, database)]);
        let states = Package
            .read(&root.reader(), &["a", "b", "c"])
            .await
            .unwrap();
        let unpacked = State {
            configured: Some(false),
            ..state("2", false, false)
        };
        assert_eq!(
            states,
            [Some(unpacked), Some(state("1", true, false)), None]
        );
    }

    fn check_calls(before: Option<State>, after: Option<State>, expected: &[&str]) {
        let change = Change::between(before, after).unwrap();
        let install = INSTALL.join(" ");
        let shown = |call: &Vec<String>| call.join(" ").replace(&install, "INSTALL");
        let calls: Vec<_> = commands("hello", &change).iter().map(shown).collect();
        assert_eq!(calls, expected);
    }

    #[test]
    fn package_is_installed_at_requested_version() {
        check_calls(None, Some(State::default()), &["INSTALL hello"]);
        let wish = State {
            hold: Some(true),
            ..State::default()
        };
        check_calls(None, Some(wish), &["INSTALL hello", "apt-mark hold hello"]);
        check_calls(
            Some(state("1", false, true)),
            Some(state("2", false, true)),
            &["INSTALL --allow-downgrades hello=2", "apt-mark auto hello"],
        );
        let half = State {
            configured: Some(false),
            ..state("1", false, false)
        };
        check_calls(
            Some(half),
            Some(state("1", false, false)),
            &["INSTALL --allow-downgrades hello=1"],
        );
    }

    #[test]
    fn hold_is_lifted_only_for_the_change() {
        check_calls(
            Some(state("1", true, false)),
            Some(state("2", true, false)),
            &[
                "apt-mark unhold hello",
                "INSTALL --allow-downgrades hello=2",
                "apt-mark hold hello",
            ],
        );
        check_calls(
            Some(state("1", true, false)),
            Some(state("1", false, false)),
            &["apt-mark unhold hello"],
        );
        check_calls(
            Some(state("1", false, false)),
            Some(state("1", true, false)),
            &["apt-mark hold hello"],
        );
        check_calls(
            Some(state("1", true, false)),
            Some(state("1", true, true)),
            &[],
        );
    }

    #[test]
    fn package_removal_removes_nothing_else() {
        check_calls(
            Some(state("1", false, false)),
            None,
            &["dpkg --remove hello"],
        );
        check_calls(
            Some(state("1", true, false)),
            None,
            &["apt-mark unhold hello", "dpkg --remove hello"],
        );
        let half = State {
            configured: Some(false),
            ..state("1", false, false)
        };
        check_calls(
            Some(half),
            None,
            &["dpkg --remove hello", "dpkg --configure --pending"],
        );
    }

    async fn prepared(files: &[(&str, &str)], version: Option<&str>) -> Result<State, Problem> {
        let desired = State {
            version: version.map(str::to_owned),
            ..State::default()
        };
        let root = TestRoot::new(files);
        let prepared = Package.prepare(&root.reader(), "hello", desired).await;
        prepared.map_err(|mut problems| problems.remove(0))
    }

    #[tokio::test]
    async fn package_missing_from_archives_is_rejected_before_apply() {
        let problem = prepared(&[], None).await.unwrap_err();
        assert_eq!(
            problem.message,
            "the archives of apt have no package `hello`"
        );
        assert!(problem.help.unwrap().contains("`apt-get update`"));
        let problem = prepared(&[LIST], Some("3.0")).await.unwrap_err();
        assert_eq!(
            problem.message,
            "the archives of apt do not have version `3.0`; they have `1.0`, `2.0`"
        );
        let wish = prepared(&[LIST], Some("1.0")).await.unwrap();
        assert_eq!((wish.configured, wish.hold), (Some(true), None));
        prepared(&[LIST], None).await.unwrap();
    }

    #[tokio::test]
    async fn installed_package_needs_no_archive() {
        let status =
            "Package: hello\nStatus: install ok installed\nVersion: 0.9\nArchitecture: all\n";
        prepared(&[(STATUS, status)], None).await.unwrap();
        prepared(&[(STATUS, status)], Some("0.9")).await.unwrap();
        prepared(&[(STATUS, status)], Some("1.0"))
            .await
            .unwrap_err();
    }

    #[test]
    fn package_names_and_versions_follow_debian_rules() {
        for name in ["iptables", "g++", "libstdc++6", "0ad", "python3.13"] {
            Package.check_name(name).unwrap();
        }
        for name in [
            "",
            "a",
            "Hello",
            "-y",
            "hello-",
            "hello:i386",
            "hello=1",
            "a b",
            "a/b",
        ] {
            assert!(Package.check_name(name).is_err(), "{name}");
        }
        for version in ["1", "1:2.3-4+deb13u1~bpo", "2024.01"] {
            check_version(version).unwrap();
        }
        for version in ["", "0:1", "latest", "1.*", "1 2", "1/2"] {
            assert!(check_version(version).is_err(), "{version}");
        }
    }

    #[test]
    fn package_creation_names_its_remnants() {
        let effects = |change| Package.effects("hello", &change).leaves;
        let after = state("1", false, false);
        assert!(
            effects(Change::Create {
                after: after.clone()
            })
            .is_some()
        );
        assert_eq!(effects(Change::Delete { before: after }), None);
    }
}
