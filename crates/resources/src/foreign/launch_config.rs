//! A launch configuration of `MicroK8s` as resources: `pkg/k8sinit/schema.go` of its cluster agent. Reads no file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use stead_engine::{import::translate::ForeignSpec, model::address::Address};

use crate::{
    foreign::{ForeignFormat, source::LaunchConfigError},
    microk8s::layout::SNAP,
};

/// Keys with arguments, each with the file that they go into.
const ARGUMENT_KEYS: [(&str, &str); 11] = [
    ("extraKubeletArgs", "kubelet"),
    ("extraKubeAPIServerArgs", "kube-apiserver"),
    ("extraKubeProxyArgs", "kube-proxy"),
    ("extraKubeControllerManagerArgs", "kube-controller-manager"),
    ("extraKubeSchedulerArgs", "kube-scheduler"),
    ("extraContainerdArgs", "containerd"),
    ("extraDqliteArgs", "k8s-dqlite"),
    ("extraEtcdArgs", "etcd"),
    ("extraFlanneldArgs", "flanneld"),
    ("extraMicroK8sClusterAgentArgs", "cluster-agent"),
    ("extraMicroK8sAPIServerProxyArgs", "apiserver-proxy"),
];
/// Keys whose values are secrets, or hold one.
const SECRET_KEYS: [&str; 2] = ["persistentClusterToken", "join"];

/// What a launch configuration asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LaunchConfig {
    /// Resources, each with the attributes that a spec writes.
    resources: BTreeMap<Address, Value>,
    /// Keys that no kind says, with the reason.
    unrepresentable: BTreeMap<String, String>,
    /// Keys that hold secrets.
    secrets: Vec<String>,
}

impl LaunchConfig {
    /// Reads one more; of several documents the later ones add to the earlier, as `MicroK8s` takes them.
    pub(super) fn add_text(&mut self, text: &str) -> Result<(), LaunchConfigError> {
        let documents: Vec<Map<String, Value>> = serde_saphyr::from_multiple(text)
            // Lines of it may hold secrets, so none is shown.
            .map_err(|error| LaunchConfigError::Yaml(error.without_snippet().to_string()))?;
        for (key, value) in documents.into_iter().flatten() {
            self.add(&key, value)?;
        }
        Ok(())
    }

    /// Adds it to what else is wished.
    pub(super) fn add_to(self, spec: &mut ForeignSpec) {
        spec.resources.extend(self.resources);
        if !self.unrepresentable.is_empty() || !self.secrets.is_empty() {
            let found = spec.coverage.kind_mut(ForeignFormat::LaunchConfig.word());
            found.unreadable.extend(self.unrepresentable);
            found.secrets.extend(self.secrets);
        }
    }

    fn add(&mut self, key: &str, value: Value) -> Result<(), LaunchConfigError> {
        if let Some((_, file)) = ARGUMENT_KEYS.iter().find(|(known, _)| *known == key) {
            return self.add_arguments(key, file, value);
        }
        match key {
            "version" => {}
            "addons" => self.add_addons(key, &value)?,
            "addonRepositories" => self.add_repositories(key, &value)?,
            key if SECRET_KEYS.contains(&key) => self.secrets.push(key.to_owned()),
            key => {
                let why = "no kind manages it; MicroK8s reads it once, at its installation or when the file is new";
                self.unrepresentable.insert(key.to_owned(), why.to_owned());
            }
        }
        Ok(())
    }

    fn add_arguments(
        &mut self,
        key: &str,
        file: &str,
        value: Value,
    ) -> Result<(), LaunchConfigError> {
        let form = || LaunchConfigError::WrongShape(key.to_owned());
        let Value::Object(arguments) = value else {
            return Err(form());
        };
        let state = self
            .resources
            .entry(Address::new("kube-args", file))
            .or_default();
        for (flag, value) in arguments {
            let value = match value {
                Value::Null => Value::Null,
                Value::String(text) => json!([text]),
                Value::Bool(_) | Value::Number(_) => json!([value.to_string()]),
                Value::Array(_) | Value::Object(_) => return Err(form()),
            };
            state["flags"][flag.trim_start_matches('-')] = value;
        }
        Ok(())
    }

    fn add_addons(&mut self, key: &str, value: &Value) -> Result<(), LaunchConfigError> {
        let form = || LaunchConfigError::WrongShape(key.to_owned());
        let state = self
            .resources
            .entry(Address::new("addons", SNAP))
            .or_default();
        for addon in value.as_array().ok_or_else(form)? {
            let name = addon["name"].as_str().ok_or_else(form)?;
            let arguments = addon["args"].as_array().cloned().unwrap_or_default();
            state["addons"][name] = match addon["disable"] {
                Value::Bool(true) => Value::Null,
                _ if arguments.iter().all(Value::is_string) => arguments.into(),
                _ => return Err(form()),
            };
        }
        Ok(())
    }

    fn add_repositories(&mut self, key: &str, value: &Value) -> Result<(), LaunchConfigError> {
        let form = || LaunchConfigError::WrongShape(key.to_owned());
        for repository in value.as_array().ok_or_else(form)? {
            let name = repository["name"].as_str().ok_or_else(form)?;
            let text = |field: &str| repository[field].as_str().filter(|text| !text.is_empty());
            let mut state = json!({ "url": text("url").ok_or_else(form)? });
            if let Some(reference) = text("reference") {
                state["reference"] = reference.into();
            }
            self.resources
                .insert(Address::new("addon-repo", name), state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
---
version: 0.2.0
addonRepositories:
  - name: mine
    url: https://example.com/addons
    reference: stable
addons:
  - name: dns
    args: [\"1.1.1.1\"]
  - name: hostpath-storage
  - name: mine/tool
    disable: true
extraKubeProxyArgs:
  --proxy-mode: iptables
  --metrics-bind-address: null
extraKubeletArgs:
  --max-pods: 50
  --feature-gates: \"A=true,B=false\"
extraSANs: [10.0.0.1]
persistentClusterToken: verysecret
---
version: 0.2.0
extraKubeProxyArgs:
  --proxy-mode: ipvs
";

    fn parse(text: &str) -> Result<LaunchConfig, LaunchConfigError> {
        let mut config = LaunchConfig::default();
        config.add_text(text)?;
        Ok(config)
    }

    #[test]
    fn launch_config_imports_or_names_every_key() {
        let config = parse(TEXT).unwrap();
        let said = |kind: &str, name: &str| config.resources[&Address::new(kind, name)].clone();
        assert_eq!(
            said("kube-args", "kube-proxy"),
            json!({"flags": {"proxy-mode": ["ipvs"], "metrics-bind-address": null}})
        );
        assert_eq!(
            said("kube-args", "kubelet"),
            json!({"flags": {"max-pods": ["50"], "feature-gates": ["A=true,B=false"]}})
        );
        assert_eq!(
            said("addons", "microk8s"),
            json!({"addons": {"dns": ["1.1.1.1"], "hostpath-storage": [], "mine/tool": null}})
        );
        assert_eq!(
            said("addon-repo", "mine"),
            json!({"url": "https://example.com/addons", "reference": "stable"})
        );
        assert_eq!(
            config.unrepresentable.keys().collect::<Vec<_>>(),
            ["extraSANs"]
        );
        assert_eq!(config.secrets, ["persistentClusterToken"]);
    }

    #[test]
    fn parse_error_shows_no_file_content() {
        let error = parse("persistentClusterToken: SECRET\na: [").unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("line 2") && !error.contains("SECRET"),
            "{error}"
        );
    }

    #[test]
    fn invalid_launch_config_is_rejected() {
        for wrong in [
            "extraKubeletArgs: [a]",
            "addons: {dns: true}",
            "addons: [{disable: true}]",
            "addonRepositories: [{name: x}]",
            "a: [",
            "just a text",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse("version: 0.1.0\n").unwrap(), LaunchConfig::default());
    }
}
