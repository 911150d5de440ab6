//! What the fake knows: snaps that are installed, snaps that a store offers, changes under way, and what is to go wrong.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{
    change::{Change, Effect, POLLS_PER_DOWNLOAD, Progress, Task},
    installed::{Installed, Offer},
    refusal::{Refusal, refusal, refusal_without_kind},
    requests::{Action, Services, Sideload},
};

/// What goes wrong with the next change.
#[derive(Debug, Clone)]
pub enum SnapdFault {
    /// It ends in the status Error with this message, and everything is as before.
    Error(String),
    /// It is refused, because another change of the snap is under way. One fault for each refusal.
    Conflict,
    /// In the middle of it the daemon and its socket are gone for this long.
    Outage(Duration),
    /// It is refused, because the store has nothing newer.
    NoUpdate,
}

/// The host and the store of a fake.
#[derive(Debug, Default)]
pub struct SnapdState {
    /// The release of snapd: before 2.58 it cannot hold single snaps.
    pub version: (u32, u32),
    /// What the store offers.
    pub offers: Vec<Offer>,
    installed: BTreeMap<String, Installed>,
    changes: BTreeMap<String, Change>,
    faults: VecDeque<SnapdFault>,
    conf: BTreeMap<String, Map<String, Value>>,
}

impl SnapdState {
    /// Makes a host without snaps, with a snapd of this release.
    pub fn new(version: (u32, u32), offers: Vec<Offer>) -> Self {
        Self {
            version,
            offers,
            ..Self::default()
        }
    }

    pub(super) fn inject(&mut self, fault: SnapdFault) {
        self.faults.push_back(fault);
    }

    pub(super) fn system_info(&self) -> Value {
        let (major, minor) = self.version;
        json!({
            "series": "16", "version": format!("{major}.{minor}"), "architecture": "amd64", "on-classic": true, "managed": false,
            "os-release": {"id": "debian", "version-id": "13"}, "kernel-version": "6.1", "confinement": "partial",
            "locations": {"snap-mount-dir": "/snap", "snap-bin-dir": "/snap/bin"},
            "refresh": {"timer": "00:00~24:00/4"},
        })
    }

    pub(super) fn snaps(&self, names: Option<&[&str]>, all: bool) -> Value {
        let wanted = |name: &str| names.is_none_or(|names| names.contains(&name));
        let those = self.installed.iter().filter(|(name, _)| wanted(name));
        those
            .flat_map(|(_, snap)| {
                let each = (0..snap.revisions.len()).filter(|at| all || *at == snap.current);
                each.map(|at| snap.to_json(at)).collect::<Vec<_>>()
            })
            .collect()
    }

    pub(super) fn snap(&self, name: &str) -> Result<Value, Refusal> {
        let snap = self.installed.get(name);
        let snap =
            snap.ok_or_else(|| refusal(404, "snap-not-found", "snap not installed".to_owned()))?;
        Ok(snap.to_json(snap.current))
    }

    pub(super) fn find(&self, name: Option<&str>, refresh: bool) -> Result<Value, Refusal> {
        let those = self.offers.iter().filter(|offer| {
            let newer = |snap: &Installed| {
                snap.tracking == offer.channel && snap.current_revision().revision != offer.revision
            };
            name.is_none_or(|name| name == offer.name)
                && (!refresh || self.installed.get(&offer.name).is_some_and(newer))
        });
        let found: Vec<Value> = those
            .map(|offer| {
                json!({
                    "name": offer.name, "version": offer.version, "revision": offer.revision, "channel": offer.channel,
                    "download-size": offer.bytes, "confinement": offer.confinement(), "status": "available", "type": "app",
                })
            })
            .collect();
        match name {
            Some(name) if found.is_empty() => Err(refusal(
                404,
                "snap-not-found",
                format!("snap \"{name}\" not found"),
            )),
            _ => Ok(found.into()),
        }
    }

    /// Begins a change of one snap and returns its id.
    pub(super) fn change(&mut self, name: &str, action: &Action) -> Result<String, Refusal> {
        if matches!(action.name.as_str(), "hold" | "unhold") && self.version < (2, 58) {
            let message = format!("unknown action {}", action.name);
            return Err(refusal_without_kind(400, message));
        }
        if action.name == "install" {
            if self.installed.contains_key(name) {
                let message = format!("snap \"{name}\" is already installed");
                return Err(refusal(400, "snap-already-installed", message));
            }
            let offer = self.offer(name, action, "latest/stable")?;
            if offer.classic && !action.is_true("classic") {
                let message = format!("snap \"{name}\" requires classic confinement");
                return Err(refusal(400, "snap-needs-classic", message));
            }
            return self.begin_change("install-snap", name, Effect::Add(offer));
        }
        let Some(snap) = self.installed.get(name) else {
            return Err(refusal(
                400,
                "snap-not-installed",
                format!("snap \"{name}\" is not installed"),
            ));
        };
        let (kind, effect) = match action.name.as_str() {
            "refresh" => {
                let tracking = snap.tracking.clone();
                let offer = self.offer(name, action, &tracking)?;
                if self.installed[name].current_revision().revision == offer.revision
                    && offer.channel == tracking
                {
                    let message = format!("snap \"{name}\" has no updates available");
                    return Err(refusal(400, "snap-no-update-available", message));
                }
                ("refresh-snap", Effect::Add(offer))
            }
            "remove" => ("remove-snap", Effect::Remove),
            "revert" => {
                let at = match action.text("revision") {
                    Some(revision) => snap
                        .revisions
                        .iter()
                        .position(|kept| kept.revision == revision),
                    None => snap.current.checked_sub(1),
                };
                let message = "no revision to revert to".to_owned();
                let none = refusal_without_kind(400, message);
                ("revert-snap", Effect::Revert(at.ok_or(none)?))
            }
            "enable" => ("enable-snap", Effect::Enable(true)),
            "disable" => ("disable-snap", Effect::Enable(false)),
            "switch" => {
                let channel = action.text("channel").unwrap_or(&snap.tracking);
                ("switch-snap", Effect::Track(channel.to_owned()))
            }
            "hold" => {
                let until = match action.text("time") {
                    // snapd's own notion of for ever: the longest duration that it can add to a time.
                    Some("forever") | None => "2318-01-01T00:00:00Z".to_owned(),
                    Some(time) => time.to_owned(),
                };
                ("hold-snap", Effect::Hold(Some(until)))
            }
            _ => ("unhold-snap", Effect::Hold(None)),
        };
        self.begin_change(kind, name, effect)
    }

    /// Finds what the store has for a change.
    pub(super) fn offer(
        &self,
        name: &str,
        action: &Action,
        channel: &str,
    ) -> Result<Offer, Refusal> {
        let of_name: Vec<&Offer> = self
            .offers
            .iter()
            .filter(|offer| offer.name == name)
            .collect();
        if of_name.is_empty() {
            return Err(refusal(
                404,
                "snap-not-found",
                format!("snap \"{name}\" not found"),
            ));
        }
        let channel = action.text("channel").unwrap_or(channel);
        let revision = action.text("revision");
        let found = of_name.iter().find(|offer| match revision {
            Some(revision) => offer.revision == revision,
            None => offer.channel == channel,
        });
        let kind = if revision.is_some() {
            "snap-revision-not-available"
        } else {
            "snap-channel-not-available"
        };
        found.map(|offer| (*offer).clone()).ok_or_else(|| {
            let releases: Vec<Value> = of_name
                .iter()
                .map(|offer| json!({"architecture": "amd64", "channel": offer.channel}))
                .collect();
            let value = json!({
                "snap-name": name, "action": action.name, "channel": channel, "architecture": "amd64", "releases": releases,
            });
            Refusal { value, ..refusal(404, kind, format!("no snap revision on {channel} as requested")) }
        })
    }

    pub(super) fn sideload(&mut self, sideload: &Sideload) -> Result<String, Refusal> {
        let name = &sideload.name;
        if !sideload.dangerous {
            let message = format!("cannot find signatures with metadata for snap \"{name}\"");
            return Err(refusal_without_kind(400, message));
        }
        let kept = self.installed.get(name).map_or(0, |snap| {
            snap.revisions
                .iter()
                .filter(|kept| kept.revision.starts_with('x'))
                .count()
        });
        let offer = Offer {
            name: name.clone(),
            channel: String::new(),
            revision: format!("x{}", kept + 1),
            version: "1".to_owned(),
            bytes: 1,
            classic: sideload.classic,
        };
        self.begin_change("install-snap", name, Effect::Add(offer))
    }

    pub(super) fn conf(&self, name: &str, keys: Option<Vec<&str>>) -> Result<Value, Refusal> {
        let all = self.conf.get(name).cloned().unwrap_or_default();
        let Some(keys) = keys else {
            return Ok(all.into());
        };
        let values = keys.into_iter().map(|key| {
            let unset = || {
                let message = format!("snap \"{name}\" has no \"{key}\" configuration option");
                let value = json!({"SnapName": name, "Key": key});
                Refusal {
                    value,
                    ..refusal(400, "option-not-found", message)
                }
            };
            let value = all.get(key).cloned().ok_or_else(unset)?;
            Ok((key.to_owned(), value))
        });
        values.collect::<Result<Map<_, _>, _>>().map(Value::from)
    }

    pub(super) fn set_conf(
        &mut self,
        name: &str,
        patch: Map<String, Value>,
    ) -> Result<String, Refusal> {
        if !["system", "core"].contains(&name) && !self.installed.contains_key(name) {
            return Err(refusal(
                404,
                "snap-not-found",
                format!("snap \"{name}\" is not installed"),
            ));
        }
        self.begin_change("configure-snap", name, Effect::Conf(patch))
    }

    pub(super) fn apps(&self, names: Option<&[&str]>) -> Result<Value, Refusal> {
        for name in names.into_iter().flatten() {
            self.service(name)?;
        }
        let those = self
            .installed
            .iter()
            .filter(|(name, _)| names.is_none_or(|names| names.contains(&name.as_str())));
        let apps = those.map(|(name, snap)| {
            let mut app = json!({"snap": name, "name": "daemon", "daemon": "simple", "daemon-scope": "system"});
            if snap.enabled {
                app["enabled"] = true.into();
            }
            if snap.running {
                app["active"] = true.into();
            }
            app
        });
        Ok(apps.collect())
    }

    fn service(&self, name: &str) -> Result<String, Refusal> {
        let snap = name.split('.').next().unwrap_or(name);
        if !self.installed.contains_key(snap) {
            let message = format!("snap \"{snap}\" not found");
            let value = snap.into();
            return Err(Refusal {
                value,
                ..refusal(404, "snap-not-found", message)
            });
        }
        if name != snap && name != format!("{snap}.daemon") {
            let message = format!("snap \"{snap}\" has no service \"{name}\"");
            return Err(refusal(404, "app-not-found", message));
        }
        Ok(snap.to_owned())
    }

    pub(super) fn change_apps(&mut self, services: &Services) -> Result<String, Refusal> {
        let snaps: Vec<String> = services
            .names
            .iter()
            .map(|name| self.service(name))
            .collect::<Result<_, _>>()?;
        let running = services.action != "stop";
        if services.persistent {
            for snap in &snaps {
                self.installed
                    .get_mut(snap)
                    .expect("it has a service")
                    .enabled = running;
            }
        }
        self.begin_change("service-control", &snaps[0], Effect::Run(running))
    }

    fn begin_change(
        &mut self,
        kind: &'static str,
        name: &str,
        effect: Effect,
    ) -> Result<String, Refusal> {
        let under_way = self
            .changes
            .values()
            .find(|change| change.name == name && !change.is_ready());
        let fault = self.faults.pop_front();
        if under_way.is_some() || matches!(fault, Some(SnapdFault::Conflict)) {
            let kind = under_way.map_or("auto-refresh", |change| change.kind);
            let message = format!("snap \"{name}\" has \"{kind}\" change in progress");
            let value = json!({"snap-name": name, "change-kind": kind});
            return Err(Refusal {
                value,
                ..refusal(409, "snap-change-conflict", message)
            });
        }
        if matches!(fault, Some(SnapdFault::NoUpdate)) {
            let message = format!("snap \"{name}\" has no updates available");
            return Err(refusal(400, "snap-no-update-available", message));
        }
        let mut tasks = vec![Task {
            kind: "prerequisites",
            done: 0,
            total: 1,
        }];
        if let Effect::Add(offer) = &effect {
            tasks.push(Task {
                kind: "download-snap",
                done: 0,
                total: offer.bytes,
            });
            tasks.push(Task {
                kind: "mount-snap",
                done: 0,
                total: 1,
            });
        }
        tasks.push(Task {
            kind: "link-snap",
            done: 0,
            total: 1,
        });
        let id = (self.changes.len() + 1).to_string();
        let (error, outage) = match fault {
            Some(SnapdFault::Error(message)) => (Some(message), None),
            Some(SnapdFault::Outage(pause)) => (None, Some(pause)),
            _ => (None, None),
        };
        let change = Change {
            kind,
            name: name.to_owned(),
            tasks,
            effect: Some(effect),
            error,
            outage,
            is_aborted: false,
        };
        self.changes.insert(id.clone(), change);
        Ok(id)
    }

    /// Shows the changes that have not ended, of one snap or of all.
    pub(super) fn changes_in_progress(&self, of: Option<&str>) -> Value {
        let those = self
            .changes
            .iter()
            .filter(|(_, change)| !change.is_ready() && of.is_none_or(|name| name == change.name));
        those.map(|(id, change)| change.to_json(id)).collect()
    }

    /// Aborts a change that has not ended, and shows it.
    pub(super) fn abort(&mut self, id: &str) -> Result<Value, Refusal> {
        match self.changes.get_mut(id) {
            None => Err(refusal_without_kind(
                404,
                format!("cannot find change with id \"{id}\""),
            )),
            Some(change) if change.is_ready() => {
                let message = format!("cannot abort change {id} with nothing pending");
                Err(refusal_without_kind(400, message))
            }
            Some(change) => {
                change.abort();
                Ok(change.to_json(id))
            }
        }
    }

    /// Shows a change after one more step of it: a tenth of a download, or a task.
    pub(super) fn advance(&mut self, id: &str) -> Result<Progress, Refusal> {
        let missing = || refusal_without_kind(404, format!("cannot find change with id \"{id}\""));
        let change = self.changes.get_mut(id).ok_or_else(missing)?;
        if let Some(task) = change.tasks.iter_mut().find(|task| task.done < task.total) {
            let step = task.total.div_ceil(POLLS_PER_DOWNLOAD);
            task.done = (task.done + step).min(task.total);
        }
        let middle = change.tasks[0].done == 1;
        let outage = if middle { change.outage.take() } else { None };
        let effect = if change.is_ready() {
            change.effect.take()
        } else {
            None
        };
        let failed = change.error.is_some();
        let (name, shown) = (change.name.clone(), change.to_json(id));
        if let Some(effect) = effect.filter(|_| !failed) {
            self.apply_effect(&name, effect);
        }
        Ok(Progress {
            change: shown,
            outage,
        })
    }

    fn apply_effect(&mut self, name: &str, effect: Effect) {
        match effect {
            Effect::Add(offer) => {
                let new = Installed {
                    revisions: vec![],
                    current: 0,
                    tracking: String::new(),
                    enabled: true,
                    running: true,
                    hold: None,
                };
                let snap = self.installed.entry(name.to_owned()).or_insert(new);
                offer.channel.clone_into(&mut snap.tracking);
                snap.revisions
                    .retain(|kept| kept.revision != offer.revision);
                snap.revisions.push(offer);
                snap.current = snap.revisions.len() - 1;
            }
            Effect::Remove => drop(self.installed.remove(name)),
            Effect::Conf(patch) => {
                let conf = self.conf.entry(name.to_owned()).or_default();
                conf.extend(patch);
                conf.retain(|_, value| !value.is_null());
            }
            effect => {
                let snap = self
                    .installed
                    .get_mut(name)
                    .expect("the change began with it");
                match effect {
                    Effect::Revert(at) => snap.current = at,
                    Effect::Enable(enabled) => (snap.enabled, snap.running) = (enabled, enabled),
                    Effect::Track(channel) => snap.tracking = channel,
                    Effect::Hold(hold) => snap.hold = hold,
                    Effect::Run(running) => snap.running = running,
                    Effect::Add(_) | Effect::Remove | Effect::Conf(_) => {
                        unreachable!("carried out above")
                    }
                }
            }
        }
    }
}
