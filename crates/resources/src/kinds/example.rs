//! The kind `hostname`: what ARCHITECTURE.md shows of a new kind, compiled and tried here.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stead_engine::{
    model::{
        change::Change,
        schema::{Absence, Attribute, Lifecycle, Role, Schema, Shape},
    },
    provider::{error::ProviderError, traits::Provider},
};

use crate::{
    host::{LinuxHost, Reader, Writer},
    values::path::provider_error,
};

/// The kind `hostname`.
pub(crate) struct Hostname;

/// State of the file that holds the name: `hostname "/etc/hostname" "vm1"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is: Option<String>,
}

const NAME_ATTRIBUTE: Attribute = Attribute::new("is", Shape::Text, Role::Managed, "The name.");

impl Provider<LinuxHost> for Hostname {
    const KIND: &'static str = "hostname";
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "The name of this host after the next boot.",
            name: "absolute path of its file",
            main: Some("is"),
            attributes: &[NAME_ATTRIBUTE],
            lifecycle: Lifecycle::DEFAULT,
            absence: Absence::Allowed,
            example: "hostname \"/etc/hostname\" \"vm1\"\n",
        }
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let read = |name: &&str| {
            let text = host.read_text(Path::new(name), 4096);
            let text = text.map_err(provider_error(Self::KIND, name, "read it"))?;
            let is = |text: String| Some(text.trim().to_owned());
            Ok(text.map(|text| State { is: is(text) }))
        };
        names.iter().map(read).collect()
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let path = Path::new(name);
            let written = match change.after() {
                Some(after) => {
                    let text = after.is.clone().unwrap_or_default() + "\n";
                    host.write_text(path, text.as_bytes(), 0o644)
                }
                None => host.remove_file(path),
            };
            written.map_err(provider_error(Self::KIND, name, "write it"))?;
        }
        Ok(())
    }
}

mod tests {
    use serde_json::json;
    use stead_engine::provider::registry::Registry;

    use super::*;
    use crate::files::test_root::TestRoot;

    const NAME: &str = "/etc/hostname";

    #[test]
    fn architecture_shows_this_kind_word_for_word() {
        let source = include_str!("example.rs");
        let (kind, _) = source.split_once("\nmod tests {").unwrap();
        let (_, kind) = kind.split_once("\n\n").unwrap();
        assert!(include_str!("../../../../ARCHITECTURE.md").contains(kind.trim()));
    }

    #[tokio::test]
    async fn hostname_is_created_changed_and_removed_through_the_registry() {
        let root = TestRoot::new(&[("/etc/other", "")]);
        let registry: Registry<LinuxHost> = Registry::default().with(Hostname);
        let kind = registry.get("hostname").unwrap();
        let states = [Some(json!({"is": "vm1"})), Some(json!({"is": "vm2"})), None];
        for after in states {
            let mut read = kind.read(&root.reader(), &[NAME]).await.unwrap();
            let change = Change::between(read.remove(0), after.clone()).unwrap();
            let applied = kind.apply(&root.writer(), vec![(NAME, change)]).await;
            applied.unwrap();
            let read = kind.read(&root.reader(), &[NAME]).await.unwrap();
            assert_eq!(read, [after]);
        }
    }
}
