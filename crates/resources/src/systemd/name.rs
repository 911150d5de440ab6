//! Names of units: systemd.unit(5).

use stead_engine::model::schema::Problem;

/// Longest name in bytes: basic/unit-name.h, `UNIT_NAME_MAX`, without the closing NUL.
const LONGEST: usize = 255;
/// Types of units that have unit files.
const TYPES: [&str; 9] = [
    "service",
    "socket",
    "timer",
    "path",
    "mount",
    "automount",
    "swap",
    "target",
    "slice",
];

/// A name that a unit can have, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitName<'a> {
    /// What stands before the `@`, or before the type.
    pub(crate) stem: &'a str,
    /// What stands between `@` and the type: empty for a template, `None` where there is no `@`.
    pub(crate) instance: Option<&'a str>,
    /// The type, without its dot.
    pub(crate) kind: &'a str,
}

impl<'a> UnitName<'a> {
    /// Takes a name apart.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub(crate) fn parse(name: &'a str) -> Result<Self, Problem> {
        let is_fine = |text: &str| {
            let mut bytes = text.bytes();
            bytes.all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
        };
        let (whole, kind) = name.rsplit_once('.').unwrap_or((name, ""));
        let (stem, instance) = match whole.split_once('@') {
            Some((stem, instance)) => (stem, Some(instance)),
            None => (whole, None),
        };
        if !is_fine(name) || stem.is_empty() || name.len() > LONGEST {
            return Err(Problem::new(format!("`{name}` cannot be the name of a unit")).help(
                "it has letters, digits and `:-_.\\`, and `@` before an instance; `systemd-escape` writes others so",
            ));
        }
        match kind {
            kind if TYPES.contains(&kind) => Ok(Self {
                stem,
                instance,
                kind,
            }),
            "device" => Err(Problem::new("the kernel makes devices, not unit files")
                .help("write rules for udev into a `file`")),
            "scope" => Err(Problem::new(
                "programs make scopes while they run, and they have no unit files",
            )
            .help("write a `slice` or a `service`")),
            _ => Err(Problem::new(format!("`{name}` has no type"))
                .help(format!("write `{name}.service`"))),
        }
    }

    /// Whether it is a template, which itself never runs.
    pub(crate) fn is_template(self) -> bool {
        self.instance == Some("")
    }

    /// Whether it is an instance of a template.
    pub(crate) fn is_instance(self) -> bool {
        self.instance.is_some_and(|instance| !instance.is_empty())
    }

    /// Returns the template of an instance.
    pub(crate) fn template(self) -> Option<String> {
        self.is_instance()
            .then(|| format!("{}@.{}", self.stem, self.kind))
    }

    /// Returns an instance of the template.
    pub(crate) fn of_instance(self, instance: &str) -> String {
        format!("{}@{instance}.{}", self.stem, self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_name_parses_stem_instance_and_kind() {
        for (name, stem, instance, kind) in [
            ("ssh.service", "ssh", None, "service"),
            ("getty@.service", "getty", Some(""), "service"),
            ("getty@tty1.service", "getty", Some("tty1"), "service"),
            ("mnt-my\\x2ddata.mount", "mnt-my\\x2ddata", None, "mount"),
            ("a.b@c@d.timer", "a.b", Some("c@d"), "timer"),
        ] {
            let expected = UnitName {
                stem,
                instance,
                kind,
            };
            assert_eq!(UnitName::parse(name), Ok(expected), "{name}");
        }
        let instance = UnitName::parse("getty@tty1.service").unwrap();
        assert_eq!(instance.template().as_deref(), Some("getty@.service"));
        let template = UnitName::parse("getty@.service").unwrap();
        assert_eq!(template.template(), None);
        assert_eq!(template.of_instance("tty2"), "getty@tty2.service");
    }

    #[test]
    fn invalid_unit_name_is_refused_with_help() {
        for (name, help) in [
            ("nginx", "write `nginx.service`"),
            ("nginx.conf", "write `nginx.conf.service`"),
            ("dev-sda.device", "write rules for udev into a `file`"),
            ("session-1.scope", "write a `slice` or a `service`"),
        ] {
            let problem = UnitName::parse(name).unwrap_err();
            assert_eq!(problem.help.as_deref(), Some(help), "{name}");
        }
        let long = "x".repeat(LONGEST - 7) + ".service";
        for name in [
            "",
            ".service",
            "@a.service",
            "a b.service",
            "a/b.service",
            &long,
        ] {
            let problem = UnitName::parse(name).unwrap_err();
            assert!(problem.message.contains("cannot be the name"), "{name}");
        }
    }
}
