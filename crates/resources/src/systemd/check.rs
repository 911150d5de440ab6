//! Checks of the desired state of a unit: by its attributes, by its files, and by this host.

use std::path::Path;

use stead_engine::model::{schema::Problem, suggest};

use crate::{
    host::{HostError, Reader},
    systemd::{
        files::{
            TRANSIENT_DIR, UNITS, UnitFile, UnitFileLocation, find_unit_files, unit_names,
            unit_path, unit_text,
        },
        name::UnitName,
        state::UnitState,
        text::UnitText,
    },
};

/// Units that carry the network; without them it may be gone. The name stands before `@` and the type.
const NETWORK_UNITS: [&str; 12] = [
    "NetworkManager",
    "connman",
    "dhcpcd",
    "ifup",
    "networking",
    "openvpn",
    "ssh",
    "sshd",
    "systemd-networkd",
    "tailscaled",
    "wg-quick",
    "wpa_supplicant",
];
/// Units that decide which packets pass, from their start on.
const FIREWALL_UNITS: [&str; 6] = [
    "firewalld",
    "iptables",
    "netfilter-persistent",
    "nftables",
    "shorewall",
    "ufw",
];

/// Finds wishes that contradict each other, or the name.
pub(crate) fn check_consistency(name: &str, desired: &UnitState) -> Vec<Problem> {
    let mut problems = vec![];
    let has_file = desired.content.is_some() || desired.source.is_some();
    if desired.content.is_some() && desired.source.is_some() {
        let fact = "`content` and `source` exclude each other";
        problems.push(Problem::new(fact).at("source").help("keep one of them"));
    }
    if desired.masked == Some(true) {
        for (is_wanted, attribute, fact) in [
            (has_file, "content", "has no file of its own"),
            (
                desired.enabled == Some(true),
                "enabled",
                "cannot start at boot",
            ),
            (
                desired.running == Some(true),
                "running",
                "cannot be started",
            ),
        ] {
            if is_wanted {
                let fact = format!("a masked unit {fact}");
                let attribute = if attribute == "content" && desired.source.is_some() {
                    "source"
                } else {
                    attribute
                };
                let help = format!("remove `masked`, or `{attribute}`");
                problems.push(Problem::new(fact).at(attribute).help(help));
            }
        }
    }
    let Ok(unit) = UnitName::parse(name) else {
        return problems;
    };
    if unit.is_template() && desired.running == Some(true) {
        let fact = format!("`{name}` is a template, of which only instances run");
        let help = format!(
            "write `unit \"{}\" running=#true`",
            unit.of_instance("NAME")
        );
        problems.push(Problem::new(fact).at("running").help(help));
    }
    let is_used = has_file
        || desired
            .drop_ins
            .as_ref()
            .is_some_and(|all| all.values().any(Option::is_some))
        || [desired.enabled, desired.running, desired.masked].contains(&Some(true));
    if unit.is_instance() && !is_used {
        let fact =
            format!("`{name}` is an instance of a template, and exists only while it is used");
        problems.push(Problem::new(fact).help(
            "write `enabled=#true` or `running=#true`, or `absent=#true` for one that is not used",
        ));
    }
    problems
}

/// Finds drop-ins that cannot be.
pub(crate) fn check_drop_ins(desired: &UnitState) -> Vec<Problem> {
    let mut problems = vec![];
    for (name, file) in desired.drop_ins.iter().flatten() {
        let problem = if let Some(plain) = name.strip_suffix(".conf") {
            let problem = Problem::new(format!("`{name}` must be written without its suffix"));
            Some(problem.help(format!("write `\"{plain}\" \"…\"`")))
        } else if name.is_empty()
            || name.starts_with('.')
            || name.len() > 200
            || name.contains(|c: char| c == '/' || c.is_control())
        {
            let problem = Problem::new(format!("`{name}` cannot be the name of a file"));
            Some(problem.help("such as `50-memory`"))
        } else if file.as_ref().is_some_and(|file| file.text().is_none()) {
            let problem = Problem::new(format!("a drop-in is a text, and `{name}` is not"));
            Some(problem.help(format!("write `\"{name}\" \"[Service]\\n…\"`, or `#null`")))
        } else {
            file.as_ref().and_then(|file| match file {
                UnitFile::File(content) => content.check_length().err(),
                _ => None,
            })
        };
        problems.extend(problem.map(|problem| problem.at("drop-ins")));
    }
    problems
}

/// Finds what a unit with such files cannot be. `text` is what they say together.
pub(crate) fn check_text(name: &str, desired: &UnitState, text: &UnitText) -> Vec<Problem> {
    let mut problems = vec![];
    let Ok(unit) = UnitName::parse(name) else {
        return problems;
    };
    let attribute = if desired.source.is_some() {
        "source"
    } else {
        "content"
    };
    let content = desired.content.as_ref().and_then(UnitFile::text);
    if content.is_some_and(str::is_empty) {
        let problem = Problem::new("an empty unit file masks the unit");
        problems.push(problem.at(attribute).help("write `masked=#true`"));
        return problems;
    }
    if content.is_some() && unit.kind == "service" && text.does_nothing() {
        let problem = Problem::new("the service has no `ExecStart=` in its section `[Service]`");
        let help = "write `[Service]` and `ExecStart=/PATH/OF/THE/PROGRAM`";
        problems.push(problem.at(attribute).help(help));
        return problems;
    }
    if desired.enabled == Some(true) && !text.can_be_enabled() {
        let target = match unit.kind {
            "timer" => "timers.target",
            "socket" => "sockets.target",
            "path" => "paths.target",
            "mount" | "swap" | "automount" => "local-fs.target",
            _ => "multi-user.target",
        };
        let fact = "its section `[Install]` does not say what starts it";
        let help = format!(
            "write `[Install]` and `WantedBy={target}` into `content` or a drop-in, or remove `enabled`"
        );
        problems.push(Problem::new(fact).at("enabled").help(help));
    } else if desired.enabled == Some(true)
        && unit.is_template()
        && text.default_instance().is_none()
    {
        let fact = format!("`{name}` is a template without `DefaultInstance=`");
        let help = format!(
            "write `unit \"{}\" enabled=#true`",
            unit.of_instance("NAME")
        );
        problems.push(Problem::new(fact).at("enabled").help(help));
    }
    let also = text.also_units();
    if desired.enabled.is_some() && content.is_some() && !also.is_empty() {
        let fact = format!(
            "`Also=` would enable and disable {} too",
            also.join(" and ")
        );
        let help = format!(
            "remove `Also=` and write `unit \"{}\" enabled=#true` beside this one",
            also[0]
        );
        problems.push(Problem::new(fact).at(attribute).help(help));
    }
    if desired.running == Some(true) && unit.kind == "service" && text.ends_by_itself() {
        let fact = "the service exits when its work is done, so it never counts as running";
        problems.push(Problem::new(fact).at("running").help(
            "write `RemainAfterExit=yes` into `[Service]`, or remove `running` and let a timer start it",
        ));
    }
    problems
}

/// Finds what this host cannot have, and completes what follows from the rest.
pub(crate) fn check_host(
    host: &Reader,
    name: &str,
    desired: &mut UnitState,
) -> Result<(), Vec<Problem>> {
    let said = |error: HostError| vec![Problem::new(error.to_string())];
    let template = UnitName::parse(name).ok().and_then(UnitName::template);
    let mut found = find_unit_files(host, name).map_err(said)?;
    if found.is_empty()
        && let Some(template) = &template
    {
        found = find_unit_files(host, template).map_err(said)?;
    }
    let Some(first) = found.first() else {
        if desired.content.is_none() {
            return Err(vec![
                unknown_unit(host, name, template.as_deref()).map_err(said)?,
            ]);
        }
        return check_files(host, name, desired);
    };
    check_not_foreign(name, template.as_deref(), first).map_err(|problem| vec![problem])?;
    if first.is_mask() {
        let is_ours = first.is_in(UNITS);
        if is_ours && desired.content.is_some() {
            desired.masked = Some(false);
        }
        let is_lifted = if is_ours {
            desired.masked.is_some()
        } else {
            desired.content.is_some()
        };
        if !is_lifted {
            check_not_masked(name, first, desired).map_err(|problem| vec![problem])?;
        }
    }
    if first.is_generated() && desired.content.is_none() && desired.enabled.is_some() {
        let fact = format!("systemd generates `{name}` from another file at each boot");
        return Err(vec![Problem::new(fact).at("enabled").help(
            "remove `enabled`, and change that file: /etc/fstab, or a script in /etc/init.d",
        )]);
    }
    let is_file = first.path == unit_path(name) && first.link.is_none();
    if desired.masked == Some(true) && is_file {
        let fact = format!(
            "`{}` is a file, and a mask would take its place",
            first.path.display()
        );
        return Err(vec![Problem::new(fact).at("masked").help(
            "write `enabled=#false running=#false`, or `absent=#true` if it is no longer needed",
        )]);
    }
    check_files(host, name, desired)
}

/// Checks what the files of a unit will say together.
fn check_files(host: &Reader, name: &str, desired: &UnitState) -> Result<(), Vec<Problem>> {
    let content = desired.content.as_ref().and_then(UnitFile::text);
    let text = match unit_text(host, name, content, desired.drop_ins.as_ref()) {
        // Root will see them.
        Err(error) if error.is_not_allowed() => return Ok(()),
        text => text.map_err(|error| vec![Problem::new(error.to_string())])?,
    };
    let mut problems = check_text(name, desired, &text);
    if let Some(path) = text.mount_point().filter(|_| desired.running == Some(true)) {
        // systemd makes it, and nobody would take it away again.
        let there = host.stat(Path::new(path));
        if there
            .map_err(|error| vec![Problem::new(error.to_string())])?
            .is_none()
        {
            let problem = Problem::new(format!("the mount point `{path}` does not exist"));
            let help = format!("write `directory \"{path}\"`");
            problems.push(problem.at("running").help(help));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Says so where systemd does not run.
pub(crate) fn require_systemd(host: &Reader) -> Result<(), Problem> {
    match host.has_systemd() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Problem::new("systemd is not running on this host")
            .help("without it use a `file` in /etc/systemd/system; nothing starts the unit")),
        Err(error) => Err(Problem::new(error.to_string())),
    }
}

fn unknown_unit(host: &Reader, name: &str, template: Option<&str>) -> Result<Problem, HostError> {
    let known = unit_names(host)?;
    let what = template.unwrap_or(name);
    let problem = Problem::new(format!("this host has no unit `{what}`"));
    Ok(
        match suggest::nearest(what, known.iter().map(String::as_str)) {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")),
            None => problem.help(
                "write its `content`, or install its package: `package \"…\"` with `needs` to it",
            ),
        },
    )
}

/// Refuses names that are not the unit's own, and units that are none of the administrator's.
fn check_not_foreign(
    name: &str,
    template: Option<&str>,
    found: &UnitFileLocation,
) -> Result<(), Problem> {
    if found.is_in(TRANSIENT_DIR) {
        let fact = format!("`{name}` is transient: a program created it");
        return Err(Problem::new(fact).help("stop it, and write its `content` under another name"));
    }
    let Some(link) = &found.link else {
        return Ok(());
    };
    let target = link.file_name().map(|target| target.to_string_lossy());
    let path = found.path.display();
    match target.as_deref() {
        _ if found.is_mask() => Ok(()),
        Some(target) if target == name || Some(target) == template => {
            if !found.is_in(UNITS) {
                return Ok(());
            }
            let fact = format!(
                "`{path}` is a link to `{}`, created by `systemctl link`",
                link.display()
            );
            Err(Problem::new(fact).help(format!(
                "`systemctl disable {name}` removes the link; then write the file as `source`"
            )))
        }
        target => {
            let target = target.unwrap_or_default();
            let fact = format!("`{name}` is an alias of `{target}`");
            Err(Problem::new(fact).help(format!("write `unit \"{target}\"`")))
        }
    }
}

/// Refuses to start what is masked.
fn check_not_masked(
    name: &str,
    found: &UnitFileLocation,
    desired: &UnitState,
) -> Result<(), Problem> {
    let wish = [("enabled", desired.enabled), ("running", desired.running)];
    let Some((attribute, _)) = wish.into_iter().find(|(_, wish)| *wish == Some(true)) else {
        return Ok(());
    };
    let path = found.path.display();
    let problem = Problem::new(format!("`{name}` is masked by `{path}`")).at(attribute);
    Err(if found.is_in(UNITS) {
        problem.help("write `masked=#false`")
    } else if found.path.starts_with("/run") {
        problem.help(format!(
            "`systemctl unmask --runtime {name}` removes that, and so does a reboot"
        ))
    } else {
        problem.help("write its `content`: its package masks it")
    })
}

/// Says what stands against a unit's not existing here.
pub(crate) fn check_absent_here(host: &Reader, name: &str) -> Result<(), Problem> {
    let found = find_unit_files(host, name).map_err(|error| Problem::new(error.to_string()))?;
    let is_ours = |found: &&UnitFileLocation| found.is_in(UNITS);
    if let Some(ours) = found.iter().find(is_ours) {
        check_not_foreign(name, None, ours)?;
    }
    let Some(other) = found.iter().find(|found| !is_ours(found)) else {
        return Ok(());
    };
    let dir = other.path.parent().unwrap_or(&other.path).display();
    let fact = format!("`{name}` is in `{dir}`, and only what is in {UNITS} can be removed");
    Err(Problem::new(fact).help(match found.iter().find(is_ours) {
        Some(ours) if !ours.is_mask() => {
            format!(
                "write `file \"{}\" absent=#true`: then that one applies",
                ours.path.display()
            )
        }
        _ => "write `masked=#true running=#false`: then nothing can start it".to_owned(),
    }))
}

/// Says how starting, stopping or restarting a unit may cut the network, if it may.
pub(crate) fn may_cut_network(name: &str, is_up: bool) -> Option<String> {
    let stem = UnitName::parse(name).ok()?.stem;
    if FIREWALL_UNITS.contains(&stem) {
        return Some("it filters packets".to_owned());
    }
    let reason = match stem {
        "ssh" | "sshd" => "this host may be reachable only through it",
        _ => "the network depends on it",
    };
    (is_up && NETWORK_UNITS.contains(&stem)).then(|| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{content::Content, test_root::TestRoot};

    const PACKAGED: (&str, &str) = (
        "/usr/lib/systemd/system/ssh.service",
        "[Service]\nType=notify\nExecStart=/usr/sbin/sshd\n[Install]\nWantedBy=multi-user.target\n",
    );
    const WORK: (&str, &str) = (
        "/etc/systemd/system/work@.service",
        "[Service]\nExecStart=/bin/work\n[Install]\nWantedBy=multi-user.target\n",
    );

    fn root(files: &[(&str, &str)], links: &[(&str, &str)]) -> TestRoot {
        let root = TestRoot::new(&[&[PACKAGED, WORK], files].concat());
        for (path, target) in links {
            root.symlink(path, target);
        }
        root
    }

    fn desired_state(text: &str) -> UnitState {
        serde_json::from_str(text).unwrap()
    }

    fn check(root: &TestRoot, name: &str, desired: &str, expected: Option<&str>) {
        let result = check_host(&root.reader(), name, &mut desired_state(desired));
        let said = result.map_err(|problems| problems[0].message.clone());
        match expected {
            None => assert_eq!(said, Ok(()), "{name}"),
            Some(expected) => {
                let said = said.expect_err(name);
                assert!(said.contains(expected), "{name}: {said}");
            }
        }
    }

    const RUNNING: &str = r#"{"running": true}"#;
    const ENABLED: &str = r#"{"enabled": true}"#;

    #[test]
    fn unit_must_exist_under_its_own_name() {
        let root = root(
            &[
                ("/run/systemd/transient/brief.service", ""),
                ("/run/systemd/generator/srv.mount", "[Mount]\nWhere=/etc\n"),
                ("/opt/linked.service", ""),
            ],
            &[
                (
                    "/etc/systemd/system/sshd.service",
                    "/usr/lib/systemd/system/ssh.service",
                ),
                ("/etc/systemd/system/linked.service", "/opt/linked.service"),
            ],
        );
        check(&root, "ssh.service", RUNNING, None);
        check(&root, "work@1.service", ENABLED, None);
        check(&root, "srv.mount", RUNNING, None);
        for (name, desired, said) in [
            (
                "sshh.service",
                RUNNING,
                "this host has no unit `sshh.service`",
            ),
            (
                "other@1.service",
                RUNNING,
                "this host has no unit `other@.service`",
            ),
            (
                "sshd.service",
                RUNNING,
                "`sshd.service` is an alias of `ssh.service`",
            ),
            (
                "linked.service",
                RUNNING,
                "is a link to `/opt/linked.service`",
            ),
            ("brief.service", RUNNING, "`brief.service` is transient"),
            (
                "srv.mount",
                ENABLED,
                "systemd generates `srv.mount` from another file",
            ),
        ] {
            check(&root, name, desired, Some(said));
        }
        let unknown = check_host(&root.reader(), "sshh.service", &mut UnitState::default());
        let help = unknown.unwrap_err().remove(0).help;
        assert_eq!(help.as_deref(), Some("did you mean `ssh.service`?"));
    }

    #[test]
    fn masked_unit_cannot_be_started() {
        let root = root(
            &[("/usr/lib/systemd/system/b.service", PACKAGED.1)],
            &[
                ("/etc/systemd/system/ssh.service", "/dev/null"),
                ("/usr/lib/systemd/system/a.service", "/dev/null"),
                ("/run/systemd/system/b.service", "/dev/null"),
            ],
        );
        let said = "`ssh.service` is masked by `/etc/systemd/system/ssh.service`";
        check(&root, "ssh.service", RUNNING, Some(said));
        check(&root, "ssh.service", ENABLED, Some(said));
        check(
            &root,
            "ssh.service",
            r#"{"masked": false, "running": true, "enabled": true}"#,
            None,
        );
        check(&root, "work@1.service", r#"{"masked": true}"#, None);
        check(&root, "a.service", RUNNING, Some("masked by `/usr/lib"));
        check(
            &root,
            "b.service",
            r#"{"masked": false, "running": true}"#,
            Some("masked by `/run"),
        );
        check(
            &root,
            "work@.service",
            r#"{"masked": true}"#,
            Some("a mask would take its place"),
        );
        // Contents of its own take the place of the mask.
        let mut desired = desired_state(r#"{"content": "[Service]\nExecStart=/bin/a\n"}"#);
        check_host(&root.reader(), "ssh.service", &mut desired).unwrap();
        assert_eq!(desired.masked, Some(false));
    }

    #[test]
    fn unit_check_merges_all_unit_files() {
        let root = root(
            &[
                (
                    "/usr/lib/systemd/system/once.service",
                    "[Service]\nType=oneshot\nExecStart=/bin/a\n",
                ),
                (
                    "/etc/systemd/system/once.service.d/50.conf",
                    "[Service]\nRemainAfterExit=yes\n",
                ),
            ],
            &[],
        );
        check(&root, "once.service", RUNNING, None);
        let gone = r#"{"running": true, "drop-ins": {"50": null}}"#;
        check(
            &root,
            "once.service",
            gone,
            Some("exits when its work is done"),
        );
        check(
            &root,
            "once.service",
            ENABLED,
            Some("its section `[Install]` does not say what starts it"),
        );
        let added = r#"{"enabled": true, "drop-ins": {"60": "[Install]\nWantedBy=x.target\n"}}"#;
        check(&root, "once.service", added, None);
        check(
            &root,
            "work@.service",
            ENABLED,
            Some("without `DefaultInstance=`"),
        );
        let mount = r#"{"running": true, "content": "[Mount]\nWhere=/srv/x\n"}"#;
        check(
            &root,
            "srv-x.mount",
            mount,
            Some("the mount point `/srv/x`"),
        );
    }

    #[test]
    fn empty_unit_file_is_rejected() {
        let desired = UnitState {
            content: Some(UnitFile::File(Content::Text(String::new()))),
            ..UnitState::default()
        };
        let problems = check_text("a.service", &desired, &UnitText::default());
        assert_eq!(problems[0].help.as_deref(), Some("write `masked=#true`"));
    }

    #[test]
    fn unit_can_be_absent_only_if_in_etc() {
        let root = root(
            &[
                ("/usr/lib/systemd/system/own.service", ""),
                ("/etc/systemd/system/own.service", ""),
            ],
            &[("/etc/systemd/system/linked.service", "/opt/linked.service")],
        );
        let absent = |name| check_absent_here(&root.reader(), name);
        absent("work@.service").unwrap();
        absent("nowhere.service").unwrap();
        absent("work@1.service").unwrap();
        let packaged = absent("ssh.service").unwrap_err();
        assert!(
            packaged.message.contains("is in `/usr/lib/systemd/system`"),
            "{packaged}"
        );
        assert!(packaged.help.unwrap().contains("masked=#true"));
        let both = absent("own.service").unwrap_err().help.unwrap();
        assert!(
            both.contains("file \"/etc/systemd/system/own.service\" absent=#true"),
            "{both}"
        );
        absent("linked.service").unwrap_err();
    }

    #[test]
    fn may_cut_network_recognizes_network_units() {
        for (name, is_up, expected) in [
            ("ssh.service", true, true),
            ("ssh.service", false, false),
            ("ssh.socket", true, true),
            ("wg-quick@wg0.service", true, true),
            ("systemd-networkd.service", true, true),
            ("nftables.service", false, true),
            ("cron.service", true, false),
        ] {
            assert_eq!(may_cut_network(name, is_up).is_some(), expected, "{name}");
        }
    }
}
