//! What is imported of units: those that an administrator has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use stead_engine::model::listing::{Export, ExportTarget, ExportedState, Listing};

use crate::{
    dpkg::owners::{DpkgFiles, PathOwner},
    etc::{
        Etc,
        rules::{FOREIGN, IGNORED, rule_for},
    },
    files::content::{Content, MAX_IMPORTED_TEXT},
    host::{HostError, Reader},
    systemd::{
        expressible::{is_consistent, is_expressible},
        files::{
            self, UNITS, UnitFile, drop_in_path, find_unit_files, unit_names, unit_path, unit_text,
        },
        links::Links,
        name::UnitName,
        process::is_up,
        state::UnitState,
        text::UnitText,
    },
    values::{glob::matches, secret_patterns},
};

/// Why no unit is written where systemd does not run.
pub(crate) const NO_SYSTEMD: &str =
    "systemd is not running here: unit files are recorded as files, and nothing starts them";
/// Rule for a unit whose process is older than its files.
const STALE_RULE: &str = "runs with outdated unit files; restart it and import again";
/// Rule for a unit that is somewhere else.
const LINKED_RULE: &str = "its file is elsewhere; the link to it is recorded";
/// Rule for a unit of which nothing else can be written.
const FILES_RULE: &str = "only its files were changed, which are recorded as files";
/// What installers of packages have enabled, by the same links as in [`UNITS`]: deb-systemd-helper(1p).
const ENABLED_DIR: &str = "/var/lib/systemd/deb-systemd-helper-enabled";
/// What they have masked when a package was removed.
const MASKED_DIR: &str = "/var/lib/systemd/deb-systemd-helper-masked";
/// What the makers of systemd want enabled: systemd.preset(5).
const PRESET_DIRS: [&str; 2] = [
    "/usr/lib/systemd/system-preset",
    "/lib/systemd/system-preset",
];
/// The largest list that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// What installers have decided.
#[derive(Debug, Default)]
struct InstallerDefaults {
    enabled: BTreeSet<String>,
    masked: BTreeSet<String>,
    /// Patterns of names.
    presets: Vec<String>,
}

impl InstallerDefaults {
    /// Reads it, once in a moment.
    fn read(host: &Reader) -> Result<Arc<Self>, HostError> {
        host.memoize(|| Self::read_uncached(host))
    }

    fn read_uncached(host: &Reader) -> Result<Self, HostError> {
        let mut installed = Self::default();
        for dir in host.list_dir(Path::new(ENABLED_DIR))? {
            let dir = Path::new(ENABLED_DIR).join(dir);
            if dir.extension().is_some_and(|ending| ending != "dsh-also")
                && let Ok(names) = host.list_dir(&dir)
            {
                installed.enabled.extend(utf8_names(names));
            }
        }
        installed
            .masked
            .extend(utf8_names(host.list_dir(Path::new(MASKED_DIR))?));
        for dir in PRESET_DIRS {
            let names = match host.list_dir(Path::new(dir)) {
                Err(HostError::ThroughSymlink { .. }) => continue,
                names => names?,
            };
            for name in names {
                let path = Path::new(dir).join(name);
                let text = host.read_text(&path, LIMIT)?.unwrap_or_default();
                let enabled = text.lines().filter_map(|line| line.strip_prefix("enable "));
                installed
                    .presets
                    .extend(enabled.map(|name| name.trim().to_owned()));
            }
        }
        Ok(installed)
    }

    /// Whether a unit is enabled without anybody's doing.
    fn enables(&self, name: &str) -> bool {
        let template = UnitName::parse(name).ok().and_then(UnitName::template);
        let is_preset = |name: &str| self.presets.iter().any(|pattern| matches(pattern, name));
        self.enabled.contains(name) || is_preset(name) || template.as_deref().is_some_and(is_preset)
    }
}

fn utf8_names(names: Vec<std::ffi::OsString>) -> impl Iterator<Item = String> {
    names.into_iter().filter_map(|name| name.into_string().ok())
}

/// Lists the units about which somebody has decided something.
pub(crate) async fn listing(host: &Reader) -> Result<Listing, HostError> {
    let heading = "systemd units that were created, changed, enabled, disabled or masked.";
    let mut listing = Listing::new(heading, admin_decisions(host)?);
    for template in listing.managed.clone() {
        let Some(unit) = UnitName::parse(&template)
            .ok()
            .filter(|unit| unit.is_template())
        else {
            continue;
        };
        for instance in host.list_units(&unit.of_instance("*")).await? {
            if !has_trigger_unit(host, &instance)? && is_up(&host.unit(&instance).await?) {
                listing.managed.insert(instance);
            }
        }
    }
    for name in unit_names(host)? {
        let path = unit_path(&name).display().to_string();
        if listing.managed.contains(&name) {
            continue;
        }
        match (rule_for(FOREIGN, &path), rule_for(IGNORED, &path)) {
            (Some(whose), _) => listing.add_foreign(whose),
            (_, Some(rule)) => listing.ignore(rule, name),
            _ => listing.default += 1,
        }
    }
    Ok(listing)
}

fn admin_decisions(host: &Reader) -> Result<BTreeSet<String>, HostError> {
    let installed = InstallerDefaults::read(host)?;
    let links = Links::read(host)?;
    let etc = Etc::read(host)?;
    let mut decided: BTreeSet<String> = etc.admin_units().map(str::to_owned).collect();
    let is_others = |name: &str| {
        let path = unit_path(name).display().to_string();
        rule_for(FOREIGN, &path).is_some() || rule_for(IGNORED, &path).is_some()
    };
    decided.retain(|name| !is_others(name) && !installed.masked.contains(name));
    let enabled = links.units();
    for name in &enabled {
        if !installed.enables(name) && !is_others(name) && can_be_enabled(host, name)? {
            decided.insert(name.clone());
        }
    }
    for name in &installed.enabled {
        if !enabled.contains(name) && can_be_enabled(host, name)? {
            decided.insert(name.clone());
        }
    }
    Ok(decided)
}

/// Whether a name is that of a unit which says what it is to start with. Those of others say nothing.
fn can_be_enabled(host: &Reader, name: &str) -> Result<bool, HostError> {
    let Ok(unit) = UnitName::parse(name) else {
        return Ok(false);
    };
    let mut found = find_unit_files(host, name)?;
    if let (Some(template), true) = (unit.template(), found.is_empty()) {
        found = find_unit_files(host, &template)?;
    }
    let is_own = found.first().is_some_and(|first| {
        first
            .link
            .as_ref()
            .is_none_or(|link| link.file_name() == Some(name.as_ref()))
            && !first.is_generated()
    });
    Ok(is_own && unit_text(host, name, None, None)?.can_be_enabled())
}

/// Says what is written of a unit.
pub(crate) fn export_unit(
    host: &Reader,
    name: &str,
    state: &UnitState,
) -> Result<Export<UnitState>, HostError> {
    let first = find_unit_files(host, name)?.into_iter().next();
    if first.is_some_and(|first| first.is_in(UNITS) && first.link.is_some() && !first.is_mask()) {
        return Ok(Export::Ignored(LINKED_RULE.to_owned()));
    }
    let files = [state.content.as_ref()].into_iter().chain(
        state
            .drop_ins
            .iter()
            .flat_map(|drop_ins| drop_ins.values().map(Option::as_ref)),
    );
    let mut texts = files.flatten().filter_map(UnitFile::text);
    if texts.any(secret_patterns::contains_secret) {
        return Ok(Export::Secret);
    }
    let mut wish = UnitState::default();
    if is_expressible(host, name)? {
        wish.drop_ins = own_drop_ins(host, name, state)?;
        match &state.content {
            Some(UnitFile::File(Content::Text(text))) if text.len() > MAX_IMPORTED_TEXT => {
                wish.source = Some(unit_path(name));
            }
            content => wish.content = content.clone().filter(|file| file.text().is_some()),
        }
        if (wish.content.is_some() || wish.source.is_some() || wish.drop_ins.is_some())
            && state.stale == Some(true)
        {
            return Ok(Export::Ignored(STALE_RULE.to_owned()));
        }
    }
    if state.masked == Some(true) {
        wish.masked = Some(true);
        wish.running = state.running.filter(|is_running| !is_running);
        return Ok(Export::as_is(wish));
    }
    let text = unit_text(host, name, None, None)?;
    let unit = UnitName::parse(name).ok();
    // Nobody but a person starts an instance.
    let is_packaged =
        state.content == Some(UnitFile::ABSENT) && !unit.is_some_and(UnitName::is_instance);
    let has_decided = state.enabled != Some(InstallerDefaults::read(host)?.enables(name));
    if text.can_be_enabled() && (has_decided || !is_packaged) {
        wish.enabled = state.enabled;
    }
    let is_free = !is_short_lived(name, &text) && !has_trigger_unit(host, name)?;
    if is_free && (wish.enabled.is_some() || !is_packaged) {
        wish.running = state.running;
    }
    if unit.is_some_and(UnitName::is_template) {
        wish.running = None;
        wish.enabled = wish.enabled.filter(|_| text.default_instance().is_some());
    }
    if wish == UnitState::default() || !is_consistent(name, &wish) {
        return Ok(Export::Ignored(FILES_RULE.to_owned()));
    }
    Ok(Export::Write(ExportedState {
        notes: reboot_drift(&wish, &text)
            .map(str::to_owned)
            .into_iter()
            .collect(),
        state: wish,
        target: ExportTarget::Shared,
    }))
}

/// Returns the drop-ins that no package brings as they are.
fn own_drop_ins(
    host: &Reader,
    name: &str,
    state: &UnitState,
) -> Result<Option<files::DropIns>, HostError> {
    let owned = DpkgFiles::read(host)?;
    let mut own = BTreeMap::new();
    for (drop_in, file) in state.drop_ins.iter().flatten() {
        let path = drop_in_path(name, drop_in);
        let is_as_made = match owned.owner(&path.display().to_string()) {
            PathOwner::Package(md5) => host.md5(&path)?.as_ref() == Some(&md5),
            PathOwner::Unknown => true,
            PathOwner::NoPackage => false,
        };
        if !is_as_made {
            own.insert(drop_in.clone(), file.clone());
        }
    }
    Ok((!own.is_empty()).then_some(own))
}

/// Whether it runs for a moment only.
fn is_short_lived(name: &str, text: &UnitText) -> bool {
    name.strip_suffix(".service").is_some() && text.ends_by_itself()
}

/// Whether something else starts a service when it is needed.
fn has_trigger_unit(host: &Reader, name: &str) -> Result<bool, HostError> {
    let Some(stem) = name.strip_suffix(".service") else {
        return Ok(false);
    };
    // A socket of a template starts an instance for each connection.
    let of_all = stem.split('@').next().unwrap_or(stem);
    for starter in ["socket", "timer", "path"]
        .map(|kind| format!("{stem}.{kind}"))
        .into_iter()
        .chain([format!("{of_all}.socket")])
    {
        if !find_unit_files(host, &starter)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Says what a reboot changes.
fn reboot_drift(wish: &UnitState, text: &UnitText) -> Option<&'static str> {
    match (wish.enabled, wish.running) {
        (Some(true), Some(false)) => Some("drift: it starts at the next boot"),
        (Some(false), Some(true)) if text.can_be_enabled() => {
            Some("drift: it does not start at the next boot")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::files::test_root::TestRoot;

    const SERVICE: &str = "[Service]\nExecStart=/bin/x\n[Install]\nWantedBy=multi-user.target\n";

    #[test]
    fn admin_decisions_exclude_installer_defaults() {
        let packaged = |name: &str| format!("/usr/lib/systemd/system/{name}");
        let names = [
            "as-installed.service",
            "enabled.service",
            "disabled.service",
            "preset.service",
            "preset@.service",
            "masked.service",
            "masked-by-dpkg.service",
            "changed.service",
            "static.service",
            "off.service",
        ];
        let mut files: Vec<(String, &str)> =
            names.iter().map(|name| (packaged(name), SERVICE)).collect();
        let wants = "multi-user.target.wants";
        for (path, text) in [
            (packaged("static.service"), "[Service]\n"),
            (format!("{ENABLED_DIR}/{wants}/as-installed.service"), ""),
            (format!("{ENABLED_DIR}/{wants}/disabled.service"), ""),
            (format!("{ENABLED_DIR}/{wants}/static.service"), ""),
            (format!("{ENABLED_DIR}/{wants}/gone.service"), ""),
            (format!("{ENABLED_DIR}/off.service.dsh-also"), "x"),
            (format!("{MASKED_DIR}/masked-by-dpkg.service"), ""),
            (
                format!("{}/90-systemd.preset", PRESET_DIRS[0]),
                "# x\nenable preset.service\nenable preset@.service\ndisable enabled.service\n",
            ),
            (format!("{UNITS}/mine.service"), SERVICE),
            (format!("{UNITS}/changed.service.d/a.conf"), "[Unit]\n"),
            (format!("{UNITS}/stead-restore@.service"), SERVICE),
            (format!("{UNITS}/snap.x.y.service"), SERVICE),
        ] {
            files.push((path, text));
        }
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        let root = TestRoot::new(&files);
        for name in ["as-installed", "enabled", "preset", "static"] {
            let name = format!("{name}.service");
            root.symlink(&format!("{UNITS}/{wants}/{name}"), &packaged(&name));
        }
        for instance in ["preset@1.service", "snap.x.y.service"] {
            root.symlink(&format!("{UNITS}/{wants}/{instance}"), "../any");
        }
        for name in ["masked", "masked-by-dpkg"] {
            root.symlink(&format!("{UNITS}/{name}.service"), "/dev/null");
        }
        let decided = admin_decisions(&root.reader()).unwrap();
        let expected = ["changed", "disabled", "enabled", "masked", "mine"];
        assert_eq!(
            decided,
            expected.map(|name| format!("{name}.service")).into()
        );
    }
}
