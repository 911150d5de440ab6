//! The kind `unit`: a systemd unit: its file, its drop-ins, whether it starts at boot, and whether it runs.

pub(crate) mod import;

use std::{collections::BTreeMap, path::PathBuf};

use stead_engine::{
    model::{
        address::Address,
        change::{Change, Effects},
        drift::{Drift, Evidence},
        listing::{Export, Listing},
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Footprint, Importable, Removable, Reversible, Watchable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    evidence,
    files::content::Content,
    host::{HostError, LinuxHost, Reader, UnitStatus, Writer},
    systemd::{
        change::execute,
        check::{
            check_absent_here, check_consistency, check_drop_ins, check_host, check_text,
            may_cut_network, require_systemd,
        },
        files::{self, AdminFiles, UNITS, UnitFile, drop_in_path, find_unit_files, unit_path},
        links::{Links, also_units, enabled_name},
        name::UnitName,
        needs::{desired_text, needs},
        process::{self, is_running, is_stale, is_up},
        state::{KIND, UnitState},
    },
    values::path::provider_error,
};

/// How long a service is away while it is restarted, in milliseconds: an estimate for the plan.
const OUTAGE: u64 = 2_000;

/// The kind `unit`.
pub(crate) struct Unit;

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "content",
        Shape::Text,
        Role::Managed,
        "The whole unit file, in /etc/systemd/system; it overrides a packaged one of the same name.",
    ),
    Attribute::new(
        "source",
        Shape::Path,
        Role::Input,
        "A file beside the spec that is the unit file; instead of `content`.",
    ),
    Attribute::new(
        "drop-ins",
        Shape::Map,
        Role::Managed,
        "Drop-ins beside the unit file, packaged or not: each a name (`.conf` is added) and a text, or `#null` to remove it.",
    ),
    Attribute::new(
        "enabled",
        Shape::Flag,
        Role::Managed,
        "Whether it is enabled: starts at boot, or with what its section `[Install]` names, together with the units in `Also=`.",
    ),
    Attribute::new(
        "running",
        Shape::Flag,
        Role::Managed,
        "Whether it is active now. A service of `Type=oneshot` without `RemainAfterExit=yes` never is; let a timer start it.",
    ),
    Attribute::new(
        "masked",
        Shape::Flag,
        Role::Managed,
        "Prevents it from being started. Does not stop it: add `running=#false`.",
    ),
    Attribute::new(
        "stale",
        Shape::Flag,
        Role::Derived,
        "Whether its process, or systemd itself, uses outdated files, so that a restart is due.",
    ),
    Attribute::new(
        "links",
        Shape::Map,
        Role::Context,
        "The links that enable it, and the units enabled with it.",
    ),
    Attribute::new(
        "access",
        Shape::Map,
        Role::Context,
        "Owner, mode and extended attributes of its files, if they are not the usual ones.",
    ),
    Attribute::new(
        "instances",
        Shape::List,
        Role::Context,
        "The running instances of a template.",
    ),
    Attribute::new(
        "active",
        Shape::Text,
        Role::Context,
        "Its state in systemd.",
    ),
];

impl Provider<LinuxHost> for Unit {
    const KIND: &'static str = KIND;
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .removable()
        .reversible()
        .importable()
        .watchable()
        .footprint();
    type State = UnitState;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A systemd unit. A service that runs with outdated files is restarted.",
            name: "name with its type, such as docker.service",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                needs_init: true,
                outlives_parent: true,
                max_batch: 100,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Allowed,
            example: "unit \"hello.service\" enabled=#true running=#true {\n    content \"\"\"\n        [Service]\n        ExecStart=/usr/bin/sleep infinity\n\n        [Install]\n        WantedBy=multi-user.target\n\n        \"\"\"\n}\n\
                      unit \"docker.service\" {\n    drop-ins {\n        \"50-memory\" \"\"\"\n            [Service]\n            MemoryMax=1G\n\n            \"\"\"\n        \"old\" #null\n    }\n}\n\
                      unit \"cups.service\" masked=#true running=#false\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        UnitName::parse(name).map(drop)
    }

    fn check(&self, name: &str, desired: &UnitState) -> Vec<Problem> {
        let mut problems = check_consistency(name, desired);
        problems.extend(check_drop_ins(desired));
        if let Some(content) = desired.content.as_ref().and_then(UnitFile::text) {
            problems.extend(check_text(name, desired, &desired_text(desired, content)));
        }
        problems
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: UnitState,
    ) -> Result<UnitState, Vec<Problem>> {
        if desired.active.is_some() {
            // Nobody can start a process with settings that are nowhere any more.
            desired.stale = desired.stale.filter(|is_stale| !is_stale);
            return Ok(desired);
        }
        if let Some(source) = &desired.source {
            let content =
                Content::read_source(source).map_err(|problem| vec![problem.at("source")])?;
            if !matches!(content, Content::Text(_)) {
                let fact = "a unit file is a text of at most 64 KiB";
                return Err(vec![Problem::new(fact).at("source")]);
            }
            desired.content = Some(UnitFile::File(content));
        }
        if let Some(UnitFile::File(content)) = &desired.content {
            content
                .check_length()
                .map_err(|problem| vec![problem.at("content")])?;
        }
        require_systemd(host).map_err(|problem| vec![problem])?;
        check_host(host, name, &mut desired)?;
        if desired.content.is_some() || desired.drop_ins.is_some() {
            desired.stale = Some(false);
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<UnitState>>, ProviderError> {
        let mut states = vec![];
        let mut links = None;
        for name in names {
            let refused = provider_error(KIND, name, "read it");
            if links.is_none() {
                links = Some(Links::read(host).map_err(&refused)?);
            }
            let links = links.as_ref().expect("it was read above");
            let processes = processes(host, name).await.map_err(&refused)?;
            states.push(read(host, name, links, processes.as_ref()).map_err(&refused)?);
        }
        Ok(states)
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<UnitState>)>,
    ) -> Result<(), ProviderError> {
        execute(host, changes).await
    }

    fn requires(&self, name: &str, desired: &UnitState) -> Vec<Address> {
        needs(name, desired).into_iter().collect()
    }

    fn effects(&self, name: &str, change: &Change<UnitState>) -> Effects {
        let processes = |state: Option<&UnitState>| {
            state.map(|state| state.processes(name)).unwrap_or_default()
        };
        let (before, after) = (change.before(), change.after());
        let (run, will_run) = (processes(before), processes(after));
        let is_stale = before.is_some_and(|before| before.stale == Some(true));
        let is_due =
            is_stale || before.map(UnitState::inputs_digest) != after.map(UnitState::inputs_digest);
        let restarts: Vec<_> = run.intersection(&will_run).cloned().collect();
        let restarts = if is_due { restarts } else { vec![] };
        let is_restart = !restarts.is_empty();
        let may_cut_network = if is_restart || run != will_run {
            may_cut_network(name, !run.is_empty())
        } else {
            None
        };
        Effects {
            outage: if is_restart { OUTAGE } else { 0 },
            restarts,
            may_cut_network,
            ..Effects::default()
        }
    }
}

impl Removable<LinuxHost> for Unit {
    async fn prepare_absent(&self, host: &Reader, name: &str) -> Result<(), Vec<Problem>> {
        require_systemd(host)
            .and_then(|()| check_absent_here(host, name))
            .map_err(|problem| vec![problem.at("absent")])
    }
}

impl Reversible<LinuxHost> for Unit {
    async fn back_up(
        &self,
        host: &Writer,
        name: &str,
        change: &Change<UnitState>,
    ) -> Result<(), ProviderError> {
        let Some(before) = change.before() else {
            return Ok(());
        };
        let drop_ins = before.drop_ins.iter().flatten();
        let drop_ins = drop_ins.map(|(drop_in, file)| (drop_in_path(name, drop_in), file.as_ref()));
        for (path, file) in drop_ins.chain([(unit_path(name), before.content.as_ref())]) {
            if let Some(UnitFile::File(content)) = file {
                content.back_up(host, &path).map_err(provider_error(
                    KIND,
                    name,
                    "save its files for rollback",
                ))?;
            }
        }
        Ok(())
    }

    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        let reader = Reader::new(host.root());
        let cleaned = async {
            files::remove_remnants(host, name)?;
            let runs = UnitName::parse(name).is_ok_and(|name| !name.is_template());
            if runs && reader.has_systemd()? {
                process::cancel_remnants(host, name).await?;
            }
            Ok(())
        };
        cleaned
            .await
            .map_err(provider_error(KIND, name, "remove what a killed run left"))
    }
}

impl Importable<LinuxHost> for Unit {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let refused = provider_error(KIND, "*", "list its files");
        if !host.has_systemd().map_err(&refused)? {
            return Ok(Listing::not_importable(import::NO_SYSTEMD));
        }
        import::listing(host).await.map_err(&refused)
    }

    async fn export(
        &self,
        host: &Reader,
        name: &str,
        state: UnitState,
    ) -> Result<Export<UnitState>, ProviderError> {
        import::export_unit(host, name, &state).map_err(provider_error(
            KIND,
            name,
            "read which settings of it are the administrator's",
        ))
    }
}

impl Watchable<LinuxHost> for Unit {
    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<UnitState>,
    ) -> Option<Evidence> {
        let now = drift.change.before()?;
        let then = drift.change.after()?;
        let mut files = vec![];
        if now.content != then.content && then.content.is_some() {
            files.push(unit_path(name));
        }
        let texts = |state: &UnitState| state.drop_ins.clone().unwrap_or_default();
        let (is, was) = (texts(now), texts(then));
        let moved = was
            .iter()
            .filter(|(name, text)| is.get(*name).cloned().flatten() != **text);
        files.extend(moved.map(|(file, _)| drop_in_path(name, file)));
        if !files.is_empty() {
            let files: Vec<_> = files.iter().map(PathBuf::as_path).collect();
            return evidence::paths::files_changed(host, &files, drift.modified_at).await;
        }
        // A start of the host starts what is enabled and nothing else.
        let runs = then.running?;
        let is_lost = drift.rebooted == Some(true)
            && now.running == Some(!runs)
            && now.enabled == Some(!runs)
            && then.enabled == now.enabled;
        is_lost.then_some(Evidence::Reboot)
    }
}

impl Footprint<LinuxHost> for Unit {
    fn managed_paths(&self, name: &str) -> Vec<String> {
        vec![
            format!("{UNITS}/{name}"),
            format!("{UNITS}/{name}.d*"),
            format!("{UNITS}/*.wants"),
            format!("{UNITS}/*.requires"),
            format!("{UNITS}/*/{name}"),
        ]
    }
}

/// Asks systemd for what runs of a unit: itself, or the instances of a template; `None` where systemd does not run.
async fn processes(
    host: &Reader,
    name: &str,
) -> Result<Option<BTreeMap<String, UnitStatus>>, HostError> {
    let Ok(unit) = UnitName::parse(name) else {
        return Ok(None);
    };
    if !host.has_systemd()? {
        return Ok(None);
    }
    if !unit.is_template() {
        let status = host.unit(name).await?;
        return Ok(Some(BTreeMap::from([(name.to_owned(), status)])));
    }
    let mut instances = BTreeMap::new();
    for instance in host.list_units(&unit.of_instance("*")).await? {
        let status = host.unit(&instance).await?;
        if is_up(&status) && is_running(&status).is_some() {
            instances.insert(instance, status);
        }
    }
    Ok(Some(instances))
}

/// Reads a unit; `None` if there is none, or an instance of a template that nobody uses.
fn read(
    host: &Reader,
    name: &str,
    links: &Links,
    processes: Option<&BTreeMap<String, UnitStatus>>,
) -> Result<Option<UnitState>, HostError> {
    let unit = UnitName::parse(name).ok();
    let is_instance = unit.is_some_and(UnitName::is_instance);
    let own = AdminFiles::read(host, name)?;
    let status = processes.and_then(|processes| processes.get(name));
    let is_enabled = enabled_name(host, name)?.is_some_and(|name| !links.of_unit(&name).is_empty());
    let is_used = is_instance && (is_enabled || status.is_some_and(is_up));
    if !own.exists() && !is_used && find_unit_files(host, name)?.is_empty() {
        return Ok(None);
    }
    let mut state = UnitState {
        content: own.content,
        drop_ins: own.drop_ins,
        enabled: Some(is_enabled),
        masked: Some(own.is_masked),
        links: Some(
            also_units(host, name)?
                .iter()
                .flat_map(|name| links.of_unit(name))
                .collect(),
        ),
        access: (!own.access.is_empty()).then_some(own.access),
        active: Some(String::new()),
        ..UnitState::default()
    };
    if let Some(status) = status {
        state.running = is_running(status);
        state.active = Some(match status.load_state.as_str() {
            bad @ ("bad-setting" | "error") => bad.to_owned(),
            _ => status.active_state.clone(),
        });
    } else if let Some(instances) = processes {
        state.running = Some(false);
        state.instances = Some(instances.keys().cloned().collect());
    }
    state.stale = processes.map(|_| false);
    for (name, status) in processes.into_iter().flatten() {
        let is_stale = is_stale(host, name, status)?;
        state.stale = state.stale.zip(is_stale).map(|(one, other)| one || other);
    }
    Ok(Some(state))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::files::test_root::TestRoot;

    fn state(value: serde_json::Value) -> UnitState {
        serde_json::from_value(value).unwrap()
    }

    fn check_needs(name: &str, desired: serde_json::Value, expected: &[&str]) {
        let needs = Unit.requires(name, &state(desired));
        let needs: Vec<_> = needs.iter().map(ToString::to_string).collect();
        assert_eq!(needs, expected, "{name}");
    }

    #[test]
    fn unit_requires_its_provider_and_referenced_resources() {
        check_needs(
            "ssh.service",
            json!({"running": true}),
            &[
                "file:/etc/systemd/system/ssh.service",
                "package:ssh",
                "unit:ssh.socket",
            ],
        );
        check_needs(
            "snap.microk8s.daemon-kubelite.service",
            json!({}),
            &[
                "file:/etc/systemd/system/snap.microk8s.daemon-kubelite.service",
                "package:snap.microk8s.daemon-kubelite",
                "snap:microk8s",
                "unit:snap.microk8s.daemon-kubelite.socket",
            ],
        );
        check_needs(
            "w@1.service",
            json!({}),
            &[
                "file:/etc/systemd/system/w@1.service",
                "package:w",
                "unit:w@.service",
                "unit:w@1.socket",
            ],
        );
        check_needs(
            "a.service",
            json!({"content": "[Unit]\nRequires=b.service c.timer %i.service\n[Service]\nExecStart=/opt/a\nUser=anna\n"}),
            &[
                "directory:/opt/a",
                "file:/opt/a",
                "symlink:/opt/a",
                "unit:a.socket",
                "unit:b.service",
                "user:anna",
            ],
        );
        check_needs(
            "a.timer",
            json!({"content": "[Timer]\n"}),
            &["unit:a.service"],
        );
        check_needs(
            "a.path",
            json!({"content": "[Path]\nUnit=b.service\n"}),
            &["unit:b.service"],
        );
    }

    fn check_effects(
        name: &str,
        before: serde_json::Value,
        after: serde_json::Value,
        restarts: &[&str],
        cuts: bool,
    ) {
        let states = [before, after].map(|value| (!value.is_null()).then(|| state(value)));
        let [before, after] = states;
        let effects = Unit.effects(name, &Change::between(before, after).unwrap());
        assert_eq!(effects.restarts, restarts, "{name}");
        assert_eq!(effects.may_cut_network.is_some(), cuts, "{name}");
        assert_eq!(effects.outage > 0, !restarts.is_empty(), "{name}");
    }

    #[test]
    fn unit_effects_predict_restarts_and_network_cuts() {
        let unit = |text: &str, running: bool| json!({"content": text, "running": running});
        let (old, new) = ("[Service]\nNice=1\n", "[Service]\nNice=2\n");
        check_effects(
            "ssh.service",
            unit(old, true),
            unit(new, true),
            &["ssh.service"],
            true,
        );
        check_effects(
            "ssh.service",
            unit(old, true),
            unit("# why\n[Service]\nNice=1\n", true),
            &[],
            false,
        );
        check_effects("ssh.service", unit(old, true), unit(new, false), &[], true);
        check_effects(
            "ssh.service",
            unit(old, false),
            unit(new, false),
            &[],
            false,
        );
        check_effects("ssh.service", json!(null), unit(new, true), &[], false);
        check_effects("cron.service", unit(old, true), json!(null), &[], false);
        let stale = json!({"running": true, "stale": true});
        let fresh = json!({"running": true, "stale": false});
        check_effects("cron.service", stale, fresh, &["cron.service"], false);
        let template = |text: &str| json!({"content": text, "running": false, "instances": ["wg-quick@a.service"]});
        check_effects(
            "wg-quick@.service",
            template(old),
            template(new),
            &["wg-quick@a.service"],
            true,
        );
    }

    #[tokio::test]
    async fn unit_without_systemd_is_read_but_not_prepared() {
        let root = TestRoot::new(&[("/etc/systemd/system/a.service", "[Service]\n")]);
        let states = Unit.read(&root.reader(), &["a.service", "b.service"]).await;
        let states = states.unwrap();
        let there = states[0].as_ref().unwrap();
        assert_eq!(
            (there.enabled, there.running, there.stale),
            (Some(false), None, None)
        );
        assert_eq!(states[1], None);
        let refused = Unit
            .prepare(&root.reader(), "a.service", UnitState::default())
            .await;
        assert_eq!(
            refused.unwrap_err()[0].message,
            "systemd is not running on this host"
        );
        Unit.prepare_absent(&root.reader(), "a.service")
            .await
            .unwrap_err();
        let recorded = UnitState {
            stale: Some(true),
            ..there.clone()
        };
        let prepared = Unit.prepare(&root.reader(), "a.service", recorded).await;
        assert_eq!(prepared.as_ref(), Ok(there));
    }

    #[test]
    fn unused_template_instance_is_absent() {
        let root = TestRoot::new(&[("/etc/systemd/system/w@.service", "[Service]\n")]);
        let observed = |root: &TestRoot, status: Option<UnitStatus>| {
            let links = Links::read(&root.reader()).unwrap();
            let processes =
                BTreeMap::from([("w@1.service".to_owned(), status.unwrap_or_default())]);
            read(&root.reader(), "w@1.service", &links, Some(&processes)).unwrap()
        };
        assert_eq!(observed(&root, None), None);
        let active = UnitStatus {
            active_state: "active".to_owned(),
            ..UnitStatus::default()
        };
        assert_eq!(observed(&root, Some(active)).unwrap().running, Some(true));
        root.symlink(
            "/etc/systemd/system/x.target.wants/w@1.service",
            "../w@.service",
        );
        assert_eq!(observed(&root, None).unwrap().enabled, Some(true));
    }
}
