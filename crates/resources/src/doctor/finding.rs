//! Known problems of hosts, and the findings on one: inert data, printed by others.

use schemars::JsonSchema;
use serde::Serialize;

/// Something that is known to go wrong: the page about it, from which its findings are made.
#[derive(Clone, Copy, Debug)]
pub struct FindingRule {
    /// Its stable name.
    pub name: &'static str,
    /// The fact, in one line.
    pub fact: &'static str,
    /// Why that matters, for people.
    pub why: &'static str,
    /// What is looked at, and from when on it is a finding.
    pub criterion: &'static str,
    /// How to mend it by hand. A word in capitals stands for what is only known once it was seen.
    pub by_hand: &'static [&'static str],
    /// How to mend it for good: nodes of a spec, with words in capitals as well. Empty where no kind can.
    pub spec: &'static [&'static str],
}

impl FindingRule {
    /// Makes the finding of it on a host where this was seen.
    pub fn found(&self, evidence: Vec<String>) -> Finding {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Finding {
            name: self.name,
            fact: self.fact.to_owned(),
            evidence,
            why: self.why.to_owned(),
            by_hand: texts(self.by_hand),
            spec: texts(self.spec),
        }
    }
}

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

impl Finding {
    /// Puts values in the place of a word in capitals: what has that word is there once for each of them, and for none not at all.
    #[must_use]
    pub fn substitute<T: AsRef<str>>(mut self, word: &str, values: &[T]) -> Self {
        for list in [&mut self.by_hand, &mut self.spec] {
            let texts = std::mem::take(list).into_iter();
            let filled = texts.flat_map(|text| {
                if !text.contains(word) {
                    return vec![text];
                }
                let values = values.iter();
                values
                    .map(|value| text.replace(word, value.as_ref()))
                    .collect()
            });
            list.extend(filled);
        }
        self
    }
}

/// What came of looking for everything that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Examination")]
pub struct DoctorReport {
    /// What goes wrong.
    pub findings: Vec<Finding>,
    /// Names of what was looked for and is not so.
    #[serde(rename = "fine")]
    pub passed: Vec<&'static str>,
    /// What could not be looked at, with the reason.
    #[serde(rename = "unseen")]
    pub inconclusive: Vec<Inconclusive>,
}

/// Something that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Unseen")]
pub struct Inconclusive {
    /// The name that the finding would have.
    pub name: &'static str,
    /// Why not.
    pub why: String,
}

impl DoctorReport {
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
    fn finding_substitutes_evidence_into_rule_text() {
        let rule = FindingRule {
            name: "x",
            fact: "it is so",
            why: "It matters.",
            criterion: "It.",
            by_hand: &["stop UNIT", "think"],
            spec: &["unit \"UNIT\"", "hook \"HOOK\""],
        };
        let finding = rule.found(vec!["there".to_owned()]);
        let finding = finding
            .substitute("UNIT", &["a", "b"])
            .substitute::<&str>("HOOK", &[]);
        assert_eq!(finding.by_hand, ["stop a", "stop b", "think"]);
        assert_eq!(finding.spec, ["unit \"a\"", "unit \"b\""]);
        assert_eq!((&*finding.fact, &*finding.why), ("it is so", "It matters."));
    }

    #[test]
    fn doctor_report_spec_lists_each_fix_once() {
        let finding = |spec: &[&str]| Finding {
            name: "x",
            fact: String::new(),
            evidence: vec![],
            why: String::new(),
            by_hand: vec![],
            spec: spec.iter().map(|&line| line.to_owned()).collect(),
        };
        let mut examination = DoctorReport::default();
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
