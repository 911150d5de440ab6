//! The kind `kernel-module`: a kernel module, now and after a reboot, with its options.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        drift::{Drift, Evidence},
        error_chain::error_chain,
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
    etc::Etc,
    evidence,
    files::conf_d::set_line,
    host::{HostError, LinuxHost, Reader, Trigger, Writer},
    kernel::modules::{
        LoadableModules, Modules, STEAD_LOAD_FILE, STEAD_OPTIONS_FILE, canonical_name,
        canonical_options, join_paths, module_names, option_line,
    },
    values::path::provider_error,
};

/// Longest name of a module in bytes: linux/moduleparam.h, `MODULE_NAME_LEN`, without the closing NUL.
const MAX_NAME: usize = 55;

/// The kind `kernel-module`.
pub(crate) struct KernelModule;

/// State of a kernel module.
///
/// ```kdl
/// kernel-module "nf_conntrack" options="hashsize=65536"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// What all files together give it; empty if none gives it any.
    #[serde(default)]
    options: Option<String>,
    #[serde(default)]
    persist: Option<bool>,
    #[serde(default)]
    running: Option<bool>,
    #[serde(default)]
    boot: Option<bool>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "options",
        shape: Shape::Text,
        role: Role::Managed,
        doc: "Its options in modprobe.d, as `key=value` separated by spaces; \"\" for none. A loaded module gets them at its next load, at the latest after a reboot.",
        check: Some(check_options),
    },
    Attribute::new(
        "persist",
        Shape::Flag,
        Role::Input,
        "Whether it is also loaded at boot. Default: true.",
    ),
    Attribute::new(
        "running",
        Shape::Flag,
        Role::Derived,
        "Whether the kernel has it now, loaded or built in.",
    ),
    Attribute::new(
        "boot",
        Shape::Flag,
        Role::Derived,
        "Whether a file in modules-load.d, or /etc/modules, loads it at boot.",
    ),
];

fn check_options(options: &str) -> Result<(), Problem> {
    if options.contains(['\n', '\0']) || options.ends_with('\\') {
        return Err(Problem::new("options are one line"));
    }
    Ok(())
}

impl Provider<LinuxHost> for KernelModule {
    const KIND: &'static str = "kernel-module";
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .reversible()
        .importable()
        .watchable()
        .footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A kernel module, now and after a reboot.",
            name: "module",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                is_runtime: true,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Allowed,
            example: "kernel-module \"nf_conntrack\" options=\"hashsize=65536\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        let is_module = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_module || name.is_empty() || name.len() > MAX_NAME {
            return Err(
                Problem::new(format!("`{name}` is not the name of a kernel module"))
                    .help("such as `br_netfilter`"),
            );
        }
        if name.contains('-') {
            return Err(Problem::new("the kernel writes names of modules with `_`")
                .help(format!("write `{}`", canonical_name(name))));
        }
        Ok(())
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        let said = |error: HostError| vec![Problem::new(error_chain(&error).join(": "))];
        let modules = Modules::read(host).map_err(said)?;
        if !modules.is_running(name) {
            let tree = LoadableModules::read(host).map_err(said)?;
            if !tree.names.contains(name) {
                return Err(vec![tree.unknown_module(name)]);
            }
        }
        // What is set already is a state to roll back to.
        desired.running.get_or_insert(true);
        if desired.persist != Some(false) {
            desired.boot.get_or_insert(true);
        }
        if let Some(options) = &mut desired.options {
            *options = canonical_options(options);
            let others = modules.foreign_options(name);
            if others.ours(options).is_none() {
                return Err(vec![others.conflict_problem().at("options")]);
            }
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let modules = Modules::read(host).map_err(provider_error(
            Self::KIND,
            names.first().unwrap_or(&""),
            "read the lists of modules",
        ))?;
        Ok(names.iter().map(|name| state(&modules, name)).collect())
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            apply(host, name, change).await?;
        }
        Ok(())
    }
}

impl Reversible<LinuxHost> for KernelModule {
    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        host.remove_temporary(Path::new(STEAD_LOAD_FILE))
            .and_then(|()| host.remove_temporary(Path::new(STEAD_OPTIONS_FILE)))
            .map_err(provider_error(Self::KIND, name, "remove a temporary file"))
    }
}

impl Importable<LinuxHost> for KernelModule {
    /// Names what somebody chose, in /etc, and what is loaded: a module that the host could not load is no state to bring back.
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let refused = provider_error(
            Self::KIND,
            "/etc/modules-load.d",
            "read the lists of modules",
        );
        let modules = Modules::read(host).map_err(&refused)?;
        let etc = Etc::read(host).map_err(&refused)?;
        let mut listing = Listing::new("Kernel modules that a file in /etc loads at boot.", []);
        for file in &modules.loads {
            for name in module_names(&file.text) {
                if !etc.is_admin_configured(&file.path) {
                    listing.default += 1;
                } else if modules.is_running(&name) {
                    listing.managed.insert(name);
                } else {
                    listing.ignore("this kernel has not loaded it", name);
                }
            }
        }
        Ok(listing)
    }

    async fn export(
        &self,
        _host: &Reader,
        _name: &str,
        mut state: State,
    ) -> Result<Export<State>, ProviderError> {
        state.options.take_if(|options| options.is_empty());
        Ok(Export::as_is(state))
    }
}

impl Watchable<LinuxHost> for KernelModule {
    fn triggers(&self, name: &str, _desired: Option<&State>) -> Vec<Trigger> {
        let loaded = Path::new("/sys/module")
            .join(canonical_name(name))
            .join("initstate");
        vec![
            Trigger::Value(loaded),
            Trigger::Path(STEAD_LOAD_FILE.into()),
            Trigger::Path(STEAD_OPTIONS_FILE.into()),
        ]
    }

    async fn attribute_drift(
        &self,
        host: &Reader,
        _name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        let now = drift.change.before().cloned().unwrap_or_default();
        let then = drift.change.after()?;
        let lists = |state: &State| state.boot == Some(true);
        if lists(&now) != lists(then) && then.boot.is_some() {
            return evidence::paths::files_changed(
                host,
                &[Path::new(STEAD_LOAD_FILE)],
                drift.modified_at,
            )
            .await;
        }
        if now.options != then.options && then.options.is_some() {
            return evidence::paths::files_changed(
                host,
                &[Path::new(STEAD_OPTIONS_FILE)],
                drift.modified_at,
            )
            .await;
        }
        // No list loads it, so that a start of the host leaves it out.
        let is_lost = then.running == Some(true) && drift.rebooted == Some(true) && !lists(&now);
        is_lost.then_some(Evidence::Reboot)
    }
}

impl Footprint<LinuxHost> for KernelModule {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        vec![STEAD_LOAD_FILE.to_owned(), STEAD_OPTIONS_FILE.to_owned()]
    }

    fn blocks_rehearsal(&self, _name: &str, change: &Change<State>) -> Option<&'static str> {
        let running = |state: Option<&State>| state.and_then(|state| state.running);
        (running(change.before()).unwrap_or_default()
            != running(change.after()).unwrap_or_default())
        .then_some("a module is loaded for the host and the clone")
    }
}

/// A module exists if it is running, if boot loads it, or if our options wait for it.
fn state(modules: &Modules, name: &str) -> Option<State> {
    let options = modules.options(name);
    let running = modules.is_running(name);
    let boot = modules.is_loaded_at_boot(name);
    let exists = running || boot || options != modules.foreign_options(name).with("");
    exists.then_some(State {
        options: Some(options),
        persist: None,
        running: Some(running),
        boot: Some(boot),
    })
}

/// Files first: a module that cannot be loaded or unloaded now is at least right after a reboot, and rollback is the same.
async fn apply(host: &Writer, name: &str, change: Change<State>) -> Result<(), ProviderError> {
    let fail = |attempted: &str| provider_error(KernelModule::KIND, name, attempted);
    let modules = Modules::read(&Reader::new(host.root())).map_err(fail("read the lists"))?;
    let (before, after) = match change {
        Change::Create { after } => (State::default(), after),
        Change::Update { before, after } => (before, after),
        Change::Delete { before } => (before, absent_state(&modules, name)?),
    };
    if let Some(boot) = after.boot.filter(|boot| before.boot != Some(*boot)) {
        set_boot(host, &modules, name, boot)?;
    }
    if let Some(options) = &after.options
        && before.options.as_ref() != Some(options)
    {
        set_options(host, &modules, name, options)?;
    }
    match after.running {
        running if running == before.running => Ok(()),
        Some(true) => host
            .run("modprobe", &[name], b"")
            .await
            .map(drop)
            .map_err(fail("load it")),
        Some(false) => unload(host, &modules, name)
            .await
            .map_err(fail("unload it")),
        None => Ok(()),
    }
}

/// Returns the state of a module that is gone, if it can go.
fn absent_state(modules: &Modules, name: &str) -> Result<State, ProviderError> {
    if modules.built_in.contains(name) {
        let fact = "it is built into the kernel";
        return Err(module_error(name, "unload it", fact));
    }
    Ok(State {
        options: Some(modules.foreign_options(name).with("")),
        persist: None,
        running: Some(false),
        boot: Some(false),
    })
}

fn set_boot(host: &Writer, modules: &Modules, name: &str, boot: bool) -> Result<(), ProviderError> {
    let foreign = modules.foreign_loads(name);
    if !boot && !foreign.is_empty() {
        let fact = format!("{} lists it", join_paths(foreign.iter().copied()));
        let help = "stead edits only its own file: remove the line there first";
        return Err(module_error(name, "prevent that it is loaded at boot", &fact).help(help));
    }
    let is_wanted = |line: &str| module_names(line).contains(name);
    let line = (boot && foreign.is_empty()).then_some(name);
    set_line(host, Path::new(STEAD_LOAD_FILE), is_wanted, line).map_err(provider_error(
        KernelModule::KIND,
        name,
        "set it for boot",
    ))
}

fn set_options(
    host: &Writer,
    modules: &Modules,
    name: &str,
    options: &str,
) -> Result<(), ProviderError> {
    let others = modules.foreign_options(name);
    let attempted = format!("set its options to `{options}`");
    let ours = others
        .ours(options)
        .ok_or_else(|| module_error(name, &attempted, &others.conflict_problem().message))?;
    let is_wanted = |line: &str| option_line(line).is_some_and(|(module, _)| module == name);
    let line = (!ours.is_empty()).then(|| format!("options {name} {ours}"));
    set_line(
        host,
        Path::new(STEAD_OPTIONS_FILE),
        is_wanted,
        line.as_deref(),
    )
    .map_err(provider_error(KernelModule::KIND, name, &attempted))
}

/// Unloads a module. `modprobe -r` also unloads what it needed and nobody else uses now (modprobe(8));
/// what boot loads for its own sake comes back.
async fn unload(host: &Writer, modules: &Modules, name: &str) -> Result<(), HostError> {
    host.run("modprobe", &["-r", name], b"").await?;
    let now = Modules::read(&Reader::new(host.root()))?;
    let gone = modules.loaded.difference(&now.loaded);
    for also in gone.filter(|also| *also != name) {
        if now
            .loads
            .iter()
            .any(|file| module_names(&file.text).contains(also))
        {
            host.run("modprobe", &[also], b"").await?;
        }
    }
    Ok(())
}

fn module_error(name: &str, attempted: &str, fact: &str) -> ProviderError {
    ProviderError::new(Address::new(KernelModule::KIND, name), attempted, fact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{conf_d::HEADER, test_root::TestRoot};

    const NAME: &str = "nf_conntrack";
    const LOADED: (&str, &str) = (
        "/proc/modules",
        "nf_conntrack 172032 2 nf_nat,xt_conntrack, Live 0x0000000000000000\n",
    );
    const RELEASE: (&str, &str) = ("/proc/sys/kernel/osrelease", "6.8.0-31-generic\n");
    const DEPENDENCIES: (&str, &str) = (
        "/usr/lib/modules/6.8.0-31-generic/modules.dep",
        "kernel/net/netfilter/nf_conntrack.ko.zst: kernel/lib/libcrc32c.ko.zst\n",
    );
    const BUILT_IN: (&str, &str) = (
        "/usr/lib/modules/6.8.0-31-generic/modules.builtin",
        "kernel/fs/ext4/ext4.ko\nkernel/net/netfilter/nf_conntrack.ko\n",
    );
    /// The directories that packages bring.
    const DIRS: [(&str, &str); 2] = [
        ("/etc/modules-load.d/README", ""),
        ("/etc/modprobe.d/README", ""),
    ];

    fn host(files: &[(&str, &str)]) -> TestRoot {
        TestRoot::new(&[&DIRS, files].concat())
    }

    async fn observed(root: &TestRoot) -> Option<State> {
        KernelModule
            .read(&root.reader(), &[NAME])
            .await
            .unwrap()
            .remove(0)
    }

    async fn change(root: &TestRoot, after: Option<State>) -> Result<(), String> {
        let change = Change::between(observed(root).await, after).unwrap();
        KernelModule
            .apply(&root.writer(), vec![(NAME, change)])
            .await
            .map_err(|error| error_chain(&error).join(": "))
    }

    fn state(running: bool, boot: bool, options: &str) -> State {
        State {
            options: Some(options.to_owned()),
            persist: None,
            running: Some(running),
            boot: Some(boot),
        }
    }

    async fn check_observed(files: &[(&str, &str)], expected: Option<State>) {
        assert_eq!(observed(&host(files)).await, expected, "{files:?}");
    }

    #[tokio::test]
    async fn module_state_combines_kernel_and_conf_files() {
        check_observed(&[], None).await;
        check_observed(&[LOADED], Some(state(true, false, ""))).await;
        check_observed(&[RELEASE, BUILT_IN], Some(state(true, false, ""))).await;
        let listed = "# at boot\nnf-conntrack\n";
        check_observed(
            &[("/usr/lib/modules-load.d/a.conf", listed)],
            Some(state(false, true, "")),
        )
        .await;
        check_observed(&[("/etc/modules", listed)], Some(state(false, true, ""))).await;
        check_observed(
            &[
                ("/usr/lib/modules-load.d/a.conf", listed),
                ("/etc/modules-load.d/a.conf", ""),
            ],
            None,
        )
        .await;
        let options = "options nf_conntrack hashsize=1\n";
        check_observed(&[("/etc/modprobe.d/a.conf", options)], None).await;
        check_observed(
            &[LOADED, ("/etc/modprobe.d/a.conf", options)],
            Some(state(true, false, "hashsize=1")),
        )
        .await;
        check_observed(
            &[(STEAD_OPTIONS_FILE, options)],
            Some(state(false, false, "hashsize=1")),
        )
        .await;
    }

    async fn check_round_trip(files: &[(&str, &str)], after: State, expected: [Option<&str>; 2]) {
        let root = host(files);
        let ours = || [root.text(STEAD_LOAD_FILE), root.text(STEAD_OPTIONS_FILE)];
        let files_before = ours();
        let before = observed(&root).await;
        change(&root, Some(after.clone())).await.unwrap();
        assert_eq!(observed(&root).await, Some(after), "{files:?}");
        let with_header = |text: Option<&str>| text.map(|text| format!("{HEADER}\n{text}"));
        assert_eq!(ours(), expected.map(with_header), "{files:?}");
        change(&root, before.clone()).await.unwrap();
        assert_eq!(observed(&root).await, before, "{files:?}");
        assert_eq!(ours(), files_before, "{files:?}");
    }

    #[tokio::test]
    async fn module_files_are_created_and_removed_without_trace() {
        let both = [Some("nf_conntrack\n"), Some("options nf_conntrack a=1\n")];
        check_round_trip(&[LOADED], state(true, true, "a=1"), both).await;
        check_round_trip(&[LOADED], state(true, true, ""), [both[0], None]).await;
        check_round_trip(&[LOADED], state(true, false, "a=1"), [None, both[1]]).await;
        let ours = format!("{HEADER}\nbr_netfilter\noverlay\n");
        check_round_trip(
            &[LOADED, (STEAD_LOAD_FILE, &ours)],
            state(true, true, ""),
            [Some("br_netfilter\nnf_conntrack\noverlay\n"), None],
        )
        .await;
        let ours = format!("{HEADER}\noptions nf_conntrack a=0\n");
        check_round_trip(
            &[LOADED, (STEAD_OPTIONS_FILE, &ours)],
            state(true, true, "a=1"),
            both,
        )
        .await;
        let theirs = ("/etc/modprobe.d/a.conf", "options nf_conntrack z=1\n");
        check_round_trip(&[LOADED, theirs], state(true, true, "z=1 a=1"), both).await;
    }

    #[tokio::test]
    async fn absence_removes_only_own_lines() {
        let loads = format!("{HEADER}\nnf_conntrack\noverlay\n");
        let options = format!("{HEADER}\noptions nf_conntrack a=1\n");
        let root = host(&[
            (STEAD_LOAD_FILE, &loads),
            (STEAD_OPTIONS_FILE, &options),
            ("/etc/modprobe.d/a.conf", "options nf_conntrack z=1\n"),
        ]);
        change(&root, None).await.unwrap();
        assert_eq!(observed(&root).await, None);
        assert_eq!(
            root.text(STEAD_LOAD_FILE),
            Some(format!("{HEADER}\noverlay\n"))
        );
        assert_eq!(root.text(STEAD_OPTIONS_FILE), None);
    }

    async fn check_not_removable(files: &[(&str, &str)], expected: &str) {
        let root = host(files);
        assert_eq!(change(&root, None).await.unwrap_err(), expected);
        for (path, text) in files {
            assert_eq!(root.text(path).as_deref(), Some(*text));
        }
    }

    #[tokio::test]
    async fn module_loaded_by_others_cannot_be_absent() {
        check_not_removable(
            &[LOADED, ("/etc/modules", "nf_conntrack\n"), (STEAD_LOAD_FILE, "nf_conntrack\n")],
            "kernel-module:nf_conntrack: cannot prevent that it is loaded at boot: /etc/modules lists it",
        )
        .await;
        check_not_removable(
            &[RELEASE, BUILT_IN, (STEAD_LOAD_FILE, "nf_conntrack\n")],
            "kernel-module:nf_conntrack: cannot unload it: it is built into the kernel",
        )
        .await;
    }

    async fn prepared(
        files: &[(&str, &str)],
        name: &str,
        desired: State,
    ) -> Result<State, Problem> {
        KernelModule
            .prepare(&host(files).reader(), name, desired)
            .await
            .map_err(|mut problems| problems.remove(0))
    }

    #[tokio::test]
    async fn module_runs_and_loads_at_boot_by_default() {
        let files = [RELEASE, DEPENDENCIES];
        let wish = prepared(&files, NAME, State::default()).await.unwrap();
        assert_eq!(
            (wish.running, wish.boot, wish.options),
            (Some(true), Some(true), None)
        );
        let only_now = State {
            persist: Some(false),
            options: Some(" a=1   b=2 ".to_owned()),
            ..State::default()
        };
        let wish = prepared(&files, NAME, only_now).await.unwrap();
        assert_eq!((wish.running, wish.boot), (Some(true), None));
        assert_eq!(wish.options.as_deref(), Some("a=1 b=2"));
    }

    #[tokio::test]
    async fn prepare_keeps_a_recorded_state() {
        let before = State {
            running: Some(true),
            boot: Some(false),
            ..State::default()
        };
        let wish = prepared(&[RELEASE, DEPENDENCIES], NAME, before.clone()).await;
        assert_eq!(wish.unwrap(), before);
    }

    async fn check_problem(files: &[(&str, &str)], name: &str, message: &str, help: &str) {
        let desired = State {
            options: Some("a=1".to_owned()),
            ..State::default()
        };
        let problem = prepared(files, name, desired).await.unwrap_err();
        assert_eq!(
            (&*problem.message, problem.help.as_deref()),
            (message, Some(help))
        );
    }

    #[tokio::test]
    async fn prepare_rejects_missing_modules_and_conflicts() {
        check_problem(
            &[RELEASE, DEPENDENCIES],
            "nf_contrack",
            "the running kernel `6.8.0-31-generic` has no module `nf_contrack`",
            "did you mean `nf_conntrack`?",
        )
        .await;
        check_problem(
            &[RELEASE, DEPENDENCIES],
            "overlay",
            "the running kernel `6.8.0-31-generic` has no module `overlay`",
            "a package may provide it, such as `linux-modules-extra-6.8.0-31-generic`",
        )
        .await;
        check_problem(
            &[RELEASE],
            NAME,
            "there are no modules for the running kernel `6.8.0-31-generic`",
            "reboot, if the kernel was upgraded",
        )
        .await;
        check_problem(
            &[
                LOADED,
                ("/etc/modprobe.d/x.conf", "options nf_conntrack z=1\n"),
            ],
            NAME,
            "/etc/modprobe.d/x.conf already sets `z=1`",
            "add these: `options=\"z=1 …\"`, or remove them there",
        )
        .await;
    }

    #[tokio::test]
    async fn import_lists_modules_that_are_chosen_and_loaded() {
        let root = host(&[
            LOADED,
            ("/etc/modules-load.d/a.conf", "nf-conntrack\noverlay\n"),
            ("/usr/lib/modules-load.d/b.conf", "fuse\n"),
        ]);
        let listing = KernelModule.list(&root.reader()).await.unwrap();
        assert_eq!(listing.managed, [NAME.to_owned()].into());
        assert_eq!(listing.default, 1, "a package brings `fuse`");
        assert!(listing.ignored["this kernel has not loaded it"].contains("overlay"));
    }

    #[test]
    fn module_name_has_one_spelling() {
        KernelModule.check_name("8021q").unwrap();
        let help = |name: &str| KernelModule.check_name(name).unwrap_err().help.unwrap();
        assert_eq!(help("nf-conntrack"), "write `nf_conntrack`");
        for name in ["", "a b", "../a", "a.ko", &"a".repeat(56)] {
            assert_eq!(help(name), "such as `br_netfilter`", "{name}");
        }
    }
}
