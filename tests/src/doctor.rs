//! What the findings are on a test host.

use serde_json::Value;

use crate::{Host, TestEnv, wait_for};

/// How many things it looks for.
const CHECK_COUNT: usize = 25;

impl Host {
    /// Examines the host and returns what is found, by name.
    ///
    /// # Panics
    /// If it does not look at everything, or a finding does not say what it should.
    pub fn findings(&self) -> Vec<Value> {
        // What an API server that is starting cannot tell is named.
        let (said, document) = wait_for(|| {
            let said = self.run(&["stead", "doctor", "--json"]);
            let document: Value = serde_json::from_str(&said.out).unwrap();
            match document["unseen"].as_array() {
                Some(unseen) if unseen.is_empty() => Ok((said, document)),
                _ => Err(format!("{said:?}")),
            }
        });
        let list = |key: &str| document[key].as_array().unwrap().clone();
        let mut findings = list("findings");
        assert_eq!(said.code, Some(if findings.is_empty() { 0 } else { 3 }));
        assert_eq!(findings.len() + list("fine").len(), CHECK_COUNT, "{said:?}");
        for finding in &findings {
            let is_empty = |key: &str| finding[key].as_array().is_none_or(Vec::is_empty);
            assert!(!is_empty("evidence") && !is_empty("by_hand"), "{finding}");
        }
        findings.sort_by_key(|finding| finding["name"].to_string());
        findings
    }

    /// Examines the host and names what is found, sorted.
    pub fn finding_names(&self) -> Vec<String> {
        let findings = self.findings().into_iter();
        let names = findings.map(|it| it["name"].as_str().unwrap().to_owned());
        names.collect()
    }
}
