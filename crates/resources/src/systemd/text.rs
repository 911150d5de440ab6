//! The parts of unit files that matter here: systemd.syntax(7).

use stead_engine::model::digest::digest;

use crate::systemd::name::UnitName;

/// The assignments of the files of a unit, in the order in which they count.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitText(Vec<(String, String, String)>);

/// Settings that make a link when a unit is enabled.
const LINK_KEYS: [&str; 4] = ["WantedBy", "RequiredBy", "UpheldBy", "Alias"];
/// The section that says how a unit is enabled. systemd itself does not read it.
const INSTALL: &str = "Install";
/// The section of a service.
const SERVICE: &str = "Service";

impl UnitText {
    /// Takes the unit file and its drop-ins apart, in their order.
    pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut assignments = vec![];
        for text in texts {
            let mut section = String::new();
            for line in logical_lines(text) {
                if let Some(name) = line
                    .strip_prefix('[')
                    .and_then(|rest| rest.strip_suffix(']'))
                {
                    name.clone_into(&mut section);
                } else if let Some((key, value)) = line.split_once('=') {
                    let (key, value) = (key.trim_end(), value.trim_start());
                    assignments.push((section.clone(), key.to_owned(), value.to_owned()));
                }
            }
        }
        Self(assignments)
    }

    /// Whether enabling the unit makes a link of its own.
    pub(crate) fn can_be_enabled(&self) -> bool {
        LINK_KEYS
            .iter()
            .any(|key| !self.words(INSTALL, key).is_empty())
    }

    /// Returns the instance that enabling a template enables.
    pub(crate) fn default_instance(&self) -> Option<&str> {
        self.effective_value(INSTALL, "DefaultInstance")
    }

    /// Names the units that are enabled together with this one.
    pub(crate) fn also_units(&self) -> Vec<&str> {
        self.words(INSTALL, "Also")
    }

    /// Whether it is a service with nothing to do, which systemd refuses to load: systemd.service(5), `ExecStart=`.
    pub(crate) fn does_nothing(&self) -> bool {
        let has = |key| self.effective_value(SERVICE, key).is_some();
        let may_do_nothing = self.remains_after_exit() && (has("ExecStop") || has("SuccessAction"));
        !has("ExecStart") && !may_do_nothing
    }

    /// Whether it is a service that is over when its work is done: systemd.service(5), `Type=`.
    pub(crate) fn ends_by_itself(&self) -> bool {
        let is_oneshot = match self.effective_value(SERVICE, "Type") {
            Some(kind) => kind == "oneshot",
            None => {
                self.effective_value(SERVICE, "ExecStart").is_none()
                    && self.effective_value(SERVICE, "BusName").is_none()
            }
        };
        is_oneshot && !self.remains_after_exit()
    }

    fn remains_after_exit(&self) -> bool {
        let value = self
            .effective_value(SERVICE, "RemainAfterExit")
            .unwrap_or_default();
        let value = value.to_ascii_lowercase();
        matches!(value.as_str(), "1" | "yes" | "y" | "true" | "t" | "on")
    }

    /// Returns the unit that this one starts, where it names one.
    pub(crate) fn starts(&self) -> Option<&str> {
        ["Timer", "Path"]
            .into_iter()
            .find_map(|section| self.effective_value(section, "Unit"))
    }

    /// Names the units without which it cannot run. Those that start it are none of them, whatever it says.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &str> {
        let keys = ["Requires", "BindsTo"].into_iter();
        let names = keys.flat_map(|key| self.words("Unit", key));
        let can_be_first = |name: &&str| {
            let unit = UnitName::parse(name);
            unit.is_ok_and(|unit| !matches!(unit.kind, "timer" | "path"))
        };
        names.filter(can_be_first)
    }

    /// Returns where a mount unit mounts.
    pub(crate) fn mount_point(&self) -> Option<&str> {
        ["Mount", "Automount"]
            .into_iter()
            .find_map(|section| self.effective_value(section, "Where"))
    }

    /// Names the absolute paths that a service runs, or reads and must have.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        let is_named = |key: &str, value: &str| {
            let is_read = matches!(key, "EnvironmentFile" | "WorkingDirectory");
            key.starts_with("Exec") || is_read && !value.starts_with('-')
        };
        self.in_section(SERVICE)
            .filter(move |(key, value)| is_named(key, value))
            .flat_map(|(_, value)| value.split_ascii_whitespace())
            .map(|word| {
                let value = word.split_once('=').map_or(word, |(_, value)| value);
                // systemd.service(5), "special executable prefixes".
                value.trim_start_matches(['-', '@', ':', '+', '!', '|', '"', '\''])
            })
            .map(|word| word.trim_end_matches(['"', '\'']))
            .filter(|word| word.starts_with('/'))
    }

    /// Returns the user and the group that a service runs as, where they are written.
    pub(crate) fn accounts(&self) -> [(&'static str, Option<&str>); 2] {
        [("user", "User"), ("group", "Group")]
            .map(|(kind, key)| (kind, self.effective_value(SERVICE, key)))
    }

    /// Digests what a process is started with: everything but comments and how the unit is enabled.
    pub(crate) fn digest(&self) -> String {
        let inputs: Vec<_> = self
            .0
            .iter()
            .filter(|(section, ..)| section != INSTALL)
            .collect();
        digest(&inputs)
    }

    fn in_section<'a>(
        &'a self,
        section: &'a str,
    ) -> impl DoubleEndedIterator<Item = (&'a str, &'a str)> {
        self.0
            .iter()
            .filter(move |(of, ..)| of == section)
            .map(|(_, key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns the value that counts of a setting that has one; an empty one clears it.
    fn effective_value<'a>(&'a self, section: &'a str, key: &str) -> Option<&'a str> {
        let mut values = self.in_section(section).filter(|(of, _)| *of == key);
        values
            .next_back()
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    }

    /// Returns all words of a setting that has several; an empty value takes those before it back.
    fn words<'a>(&'a self, section: &'a str, key: &str) -> Vec<&'a str> {
        let mut words = vec![];
        for (_, value) in self.in_section(section).filter(|(of, _)| *of == key) {
            if value.is_empty() {
                words.clear();
            }
            words.extend(value.split_ascii_whitespace());
        }
        words
    }
}

/// Returns the lines that say something, those that a backslash continues as one.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = vec![];
    let mut begun: Option<String> = None;
    for line in text.lines() {
        let line = line.trim();
        // A comment between two parts of a line does not end it.
        if line.starts_with(['#', ';']) || (line.is_empty() && begun.is_none()) {
            continue;
        }
        let whole = begun.take().unwrap_or_default() + line;
        match whole.strip_suffix('\\') {
            Some(part) => begun = Some(format!("{part} ")),
            None => lines.push(whole),
        }
    }
    lines.extend(begun);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> UnitText {
        UnitText::parse([text])
    }

    #[test]
    fn unit_text_joins_lines_and_skips_comments() {
        let text = "# [Service]\n[Service]\nExecStart=/bin/a \\\n  ; between\n  b\nNonsense\n\nUser = anna\n[Install]";
        let expected = [
            ("Service", "ExecStart", "/bin/a  b"),
            ("Service", "User", "anna"),
        ]
        .map(|(section, key, value)| (section.into(), key.into(), value.into()));
        assert_eq!(parse(text), UnitText(expected.into()));
    }

    #[test]
    fn drop_in_adds_values_and_empty_value_resets_them() {
        let unit = "[Service]\nType=oneshot\n[Install]\nWantedBy=a.target b.target\n";
        assert!(parse(unit).can_be_enabled());
        let together = UnitText::parse([
            unit,
            "[Install]\nWantedBy=\n[Service]\nType=\nExecStart=/bin/a\n",
        ]);
        assert!(!together.can_be_enabled());
        assert!(!together.ends_by_itself());
        // Each file begins anew: what stands before its first section belongs to none.
        let apart = UnitText::parse(["[Install]\n", "WantedBy=a.target\n"]);
        assert!(!apart.can_be_enabled());
    }

    #[test]
    fn can_be_enabled_requires_an_install_link() {
        for (install, expected) in [
            ("WantedBy=a.target", true),
            ("RequiredBy=a.target", true),
            ("UpheldBy=a.target", true),
            ("Alias=b.service", true),
            ("Also=b.socket", false),
            ("DefaultInstance=x", false),
            ("", false),
        ] {
            let text = parse(&format!("[Install]\n{install}\n"));
            assert_eq!(text.can_be_enabled(), expected, "{install}");
        }
        assert_eq!(
            parse("[Install]\nAlso=a.socket\nAlso=b.path").also_units(),
            ["a.socket", "b.path"]
        );
    }

    #[test]
    fn oneshot_ends_by_itself_unless_it_remains() {
        for (service, expected) in [
            ("Type=oneshot\nExecStart=/bin/a", true),
            ("Type=oneshot\nExecStart=/bin/a\nRemainAfterExit=no", true),
            ("Type=oneshot\nExecStart=/bin/a\nRemainAfterExit=Yes", false),
            ("ExecStart=/bin/a", false),
            ("ExecStop=/bin/a", true),
            ("Type=notify\nExecStart=/bin/a", false),
        ] {
            let text = parse(&format!("[Service]\n{service}\n"));
            assert_eq!(text.ends_by_itself(), expected, "{service}");
        }
    }

    #[test]
    fn service_without_a_program_does_nothing() {
        for (service, expected) in [
            ("ExecStart=/bin/a", false),
            ("ExecStrat=/bin/a", true),
            ("ExecStart=/bin/a\nExecStart=", true),
            ("ExecStop=/bin/a", true),
            ("RemainAfterExit=yes", true),
            ("RemainAfterExit=yes\nExecStop=/bin/a", false),
        ] {
            let text = parse(&format!("[Service]\n{service}\n"));
            assert_eq!(text.does_nothing(), expected, "{service}");
        }
    }

    #[test]
    fn paths_include_programs_and_files_of_a_service() {
        let text = parse(
            "[Service]\nUser=anna\nExecStartPre=-/bin/a --config=/etc/a.conf\nExecStart=@/usr/bin/b \"/srv/c\" d\n\
             EnvironmentFile=/etc/env\nEnvironmentFile=-/etc/perhaps\nWorkingDirectory=/srv\nStandardOutput=file:/var/log/x\n",
        );
        let paths: Vec<_> = text.paths().collect();
        let expected = [
            "/bin/a",
            "/etc/a.conf",
            "/usr/bin/b",
            "/srv/c",
            "/etc/env",
            "/srv",
        ];
        assert_eq!(paths, expected);
        assert_eq!(text.accounts(), [("user", Some("anna")), ("group", None)]);
    }

    #[test]
    fn unit_text_digest_ignores_comments_and_install() {
        let text = "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/a\n";
        let same = format!("# why\n{text}\n[Install]\nWantedBy=a.target\n");
        assert_eq!(parse(text).digest(), parse(&same).digest());
        let other = text.replace("/bin/a", "/bin/b");
        assert_ne!(parse(text).digest(), parse(&other).digest());
    }
}
