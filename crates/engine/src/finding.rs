//! What a look at a host has found to go wrong: inert data, printed by others.

use schemars::JsonSchema;
use serde::Serialize;

/// Something that is known to go wrong, seen on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Its stable name.
    pub name: &'static str,
    /// The fact, in one line.
    pub fact: String,
    /// What was seen, each with where it was seen. Never empty.
    pub evidence: Vec<String>,
    /// Why that matters, for people.
    pub why: String,
    /// How to mend it by hand: commands, or what to do.
    pub by_hand: Vec<String>,
    /// How to mend it for good: nodes of a spec. Empty where no kind can.
    pub spec: Vec<String>,
}

/// What came of looking for everything that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Examination {
    /// What goes wrong.
    pub findings: Vec<Finding>,
    /// Names of what was looked for and is not so.
    pub fine: Vec<&'static str>,
    /// What could not be looked at, with the reason.
    pub unseen: Vec<Unseen>,
}

/// Something that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unseen {
    /// The name that the finding would have.
    pub name: &'static str,
    /// Why not.
    pub why: String,
}

impl Examination {
    /// Returns a spec of all lines that mend what was found; `None` if no kind can mend any of it.
    pub fn spec(&self) -> Option<String> {
        let mut nodes: Vec<&str> = vec![];
        for node in self.findings.iter().flat_map(|finding| &finding.spec) {
            if !nodes.contains(&node.as_str()) {
                nodes.push(node);
            }
        }
        let indented = |node: &&str| {
            let lines = node.lines().map(|line| format!("    {line}\n"));
            lines.collect::<String>()
        };
        let body: String = nodes.iter().map(indented).collect();
        (!nodes.is_empty()).then(|| format!("host \"doctor\" {{\n{body}}}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mends_several_findings_stands_in_the_spec_once() {
        let finding = |spec: &[&str]| Finding {
            name: "x",
            fact: String::new(),
            evidence: vec![],
            why: String::new(),
            by_hand: vec![],
            spec: spec.iter().map(|&line| line.to_owned()).collect(),
        };
        let mut examination = Examination::default();
        assert_eq!(examination.spec(), None);
        examination.findings = vec![
            finding(&["a \"b\"", "c \"d\" {\n    e\n}"]),
            finding(&[]),
            finding(&["a \"b\""]),
        ];
        let expected = "host \"doctor\" {\n    a \"b\"\n    c \"d\" {\n        e\n    }\n}\n";
        assert_eq!(examination.spec().as_deref(), Some(expected));
    }
}
