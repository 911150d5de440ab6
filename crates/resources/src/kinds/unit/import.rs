//! What is imported of units: those that an administrator has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use stead_engine::model::listing::{Concerns, Listing, Text, Written};

use crate::{
    dpkg::owners::{DpkgFiles, Owner},
    etc::{
        Etc,
        rules::{FOREIGN, IGNORED, rule_for},
    },
    files::content::{Content, SMALL},
    host::{HostError, Reader},
    systemd::{
        expressible::{is_fine, takes},
        files::{self, UNITS, UnitFile, drop_in_of, find, known, path_of, text_of},
        links::Links,
        name::UnitName,
        process::is_up,
        state::State,
        text::UnitText,
    },
    values::{glob::fits, secret_patterns},
};

/// Why no unit is written where systemd does not run.
pub(crate) const OUTSIDE: &str =
    "systemd is not running here: unit files are recorded as files, and nothing starts them";
/// Rule for a unit whose process is older than its files.
const STALE: &str = "runs with outdated unit files; restart it and import again";
/// Rule for a unit that is somewhere else.
const LINKED: &str = "its file is elsewhere; the link to it is recorded";
/// Rule for a unit of which nothing else can be written.
const FILES: &str = "only its files were changed, which are recorded as files";
/// What installers of packages have enabled, by the same links as in [`UNITS`]: deb-systemd-helper(1p).
const ENABLED: &str = "/var/lib/systemd/deb-systemd-helper-enabled";
/// What they have masked when a package was removed.
const MASKED: &str = "/var/lib/systemd/deb-systemd-helper-masked";
/// What the makers of systemd want enabled: systemd.preset(5).
const PRESETS: [&str; 2] = [
    "/usr/lib/systemd/system-preset",
    "/lib/systemd/system-preset",
];
/// The largest list that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// What installers have decided.
#[derive(Debug, Default)]
struct Installed {
    enabled: BTreeSet<String>,
    masked: BTreeSet<String>,
    /// Patterns of names.
    presets: Vec<String>,
}

impl Installed {
    /// Reads it, once in a moment.
    fn read(host: &Reader) -> Result<Arc<Self>, HostError> {
        host.once(|| Self::look(host))
    }

    fn look(host: &Reader) -> Result<Self, HostError> {
        let mut installed = Self::default();
        for folder in host.list_folder(Path::new(ENABLED))? {
            let folder = Path::new(ENABLED).join(folder);
            if folder
                .extension()
                .is_some_and(|ending| ending != "dsh-also")
                && let Ok(names) = host.list_folder(&folder)
            {
                installed.enabled.extend(plain(names));
            }
        }
        installed
            .masked
            .extend(plain(host.list_folder(Path::new(MASKED))?));
        for folder in PRESETS {
            let names = match host.list_folder(Path::new(folder)) {
                Err(HostError::ThroughSymlink { .. }) => continue,
                names => names?,
            };
            for name in names {
                let path = Path::new(folder).join(name);
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
    fn has_enabled(&self, name: &str) -> bool {
        let template = UnitName::parse(name).ok().and_then(UnitName::template);
        let is_preset = |name: &str| self.presets.iter().any(|pattern| fits(pattern, name));
        self.enabled.contains(name) || is_preset(name) || template.as_deref().is_some_and(is_preset)
    }
}

fn plain(names: Vec<std::ffi::OsString>) -> impl Iterator<Item = String> {
    names.into_iter().filter_map(|name| name.into_string().ok())
}

/// Lists the units about which somebody has decided something.
pub(crate) async fn listing(host: &Reader) -> Result<Listing, HostError> {
    let heading = "systemd units that were created, changed, enabled, disabled or masked.";
    let mut listing = Listing::of(heading, decided(host)?);
    for template in listing.managed.clone() {
        let Some(unit) = UnitName::parse(&template)
            .ok()
            .filter(|unit| unit.is_template())
        else {
            continue;
        };
        for instance in host.units_like(&unit.of_instance("*")).await? {
            if !is_started_by_others(host, &instance)? && is_up(&host.unit(&instance).await?) {
                listing.managed.insert(instance);
            }
        }
    }
    for name in known(host)? {
        let path = path_of(&name).display().to_string();
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

fn decided(host: &Reader) -> Result<BTreeSet<String>, HostError> {
    let installed = Installed::read(host)?;
    let links = Links::read(host)?;
    let etc = Etc::read(host)?;
    let mut decided: BTreeSet<String> = etc.decided_units().map(str::to_owned).collect();
    let is_others = |name: &str| {
        let path = path_of(name).display().to_string();
        rule_for(FOREIGN, &path).is_some() || rule_for(IGNORED, &path).is_some()
    };
    decided.retain(|name| !is_others(name) && !installed.masked.contains(name));
    let enabled = links.units();
    for name in &enabled {
        if !installed.has_enabled(name) && !is_others(name) && can_be_enabled(host, name)? {
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
    let mut found = find(host, name)?;
    if let (Some(template), true) = (unit.template(), found.is_empty()) {
        found = find(host, &template)?;
    }
    let is_own = found.first().is_some_and(|first| {
        first
            .link
            .as_ref()
            .is_none_or(|link| link.file_name() == Some(name.as_ref()))
            && !first.is_generated()
    });
    Ok(is_own && text_of(host, name, None, None)?.can_be_enabled())
}

/// Says what is written of a unit.
pub(crate) fn written(
    host: &Reader,
    name: &str,
    state: &State,
) -> Result<Written<State>, HostError> {
    let first = find(host, name)?.into_iter().next();
    if first.is_some_and(|first| first.is_in(UNITS) && first.link.is_some() && !first.is_mask()) {
        return Ok(Written::Ignored(LINKED.to_owned()));
    }
    let files = [state.content.as_ref()].into_iter().chain(
        state
            .drop_ins
            .iter()
            .flat_map(|drop_ins| drop_ins.values().map(Option::as_ref)),
    );
    let mut texts = files.flatten().filter_map(UnitFile::text);
    if texts.any(secret_patterns::are_in) {
        return Ok(Written::Secret);
    }
    let mut wish = State::default();
    if takes(host, name)? {
        wish.drop_ins = own_drop_ins(host, name, state)?;
        match &state.content {
            Some(UnitFile::File(Content::Text(text))) if text.len() > SMALL => {
                wish.source = Some(path_of(name));
            }
            content => wish.content = content.clone().filter(|file| file.text().is_some()),
        }
        if (wish.content.is_some() || wish.source.is_some() || wish.drop_ins.is_some())
            && state.stale == Some(true)
        {
            return Ok(Written::Ignored(STALE.to_owned()));
        }
    }
    if state.masked == Some(true) {
        wish.masked = Some(true);
        wish.running = state.running.filter(|is_running| !is_running);
        return Ok(Written::down(wish));
    }
    let text = text_of(host, name, None, None)?;
    let unit = UnitName::parse(name).ok();
    // Nobody but a person starts an instance.
    let is_packaged =
        state.content == Some(UnitFile::NOTHING) && !unit.is_some_and(UnitName::is_instance);
    let has_decided = state.enabled != Some(Installed::read(host)?.has_enabled(name));
    if text.can_be_enabled() && (has_decided || !is_packaged) {
        wish.enabled = state.enabled;
    }
    let is_free = !is_over_soon(name, &text) && !is_started_by_others(host, name)?;
    if is_free && (wish.enabled.is_some() || !is_packaged) {
        wish.running = state.running;
    }
    if unit.is_some_and(UnitName::is_template) {
        wish.running = None;
        wish.enabled = wish.enabled.filter(|_| text.default_instance().is_some());
    }
    if wish == State::default() || !is_fine(name, &wish) {
        return Ok(Written::Ignored(FILES.to_owned()));
    }
    Ok(Written::Down(Text {
        notes: drift(&wish, &text).map(str::to_owned).into_iter().collect(),
        state: wish,
        concerns: Concerns::All,
    }))
}

/// Returns the drop-ins that no package brings as they are.
fn own_drop_ins(
    host: &Reader,
    name: &str,
    state: &State,
) -> Result<Option<files::DropIns>, HostError> {
    let owned = DpkgFiles::read(host)?;
    let mut own = BTreeMap::new();
    for (drop_in, file) in state.drop_ins.iter().flatten() {
        let path = drop_in_of(name, drop_in);
        let is_as_made = match owned.owner(&path.display().to_string()) {
            Owner::Package(md5) => host.md5(&path)?.as_ref() == Some(&md5),
            Owner::Unknown => true,
            Owner::Nobody => false,
        };
        if !is_as_made {
            own.insert(drop_in.clone(), file.clone());
        }
    }
    Ok((!own.is_empty()).then_some(own))
}

/// Whether it runs for a moment only.
fn is_over_soon(name: &str, text: &UnitText) -> bool {
    name.strip_suffix(".service").is_some() && text.ends_by_itself()
}

/// Whether something else starts a service when it is needed.
fn is_started_by_others(host: &Reader, name: &str) -> Result<bool, HostError> {
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
        if !find(host, &starter)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Says what a reboot changes.
fn drift(wish: &State, text: &UnitText) -> Option<&'static str> {
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
    use crate::files::test_root::Root;

    const SERVICE: &str = "[Service]\nExecStart=/bin/x\n[Install]\nWantedBy=multi-user.target\n";

    #[test]
    fn what_installers_decided_is_nobodys_decision() {
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
            (format!("{ENABLED}/{wants}/as-installed.service"), ""),
            (format!("{ENABLED}/{wants}/disabled.service"), ""),
            (format!("{ENABLED}/{wants}/static.service"), ""),
            (format!("{ENABLED}/{wants}/gone.service"), ""),
            (format!("{ENABLED}/off.service.dsh-also"), "x"),
            (format!("{MASKED}/masked-by-dpkg.service"), ""),
            (
                format!("{}/90-systemd.preset", PRESETS[0]),
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
        let root = Root::new(&files);
        for name in ["as-installed", "enabled", "preset", "static"] {
            let name = format!("{name}.service");
            root.link(&format!("{UNITS}/{wants}/{name}"), &packaged(&name));
        }
        for instance in ["preset@1.service", "snap.x.y.service"] {
            root.link(&format!("{UNITS}/{wants}/{instance}"), "../any");
        }
        for name in ["masked", "masked-by-dpkg"] {
            root.link(&format!("{UNITS}/{name}.service"), "/dev/null");
        }
        let decided = decided(&root.reader()).unwrap();
        let expected = ["changed", "disabled", "enabled", "masked", "mine"];
        assert_eq!(
            decided,
            expected.map(|name| format!("{name}.service")).into()
        );
    }
}
