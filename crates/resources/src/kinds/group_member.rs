//! The kind `group-member`: the membership of a user in a group.

use serde::{Deserialize, Serialize};
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        listing::Listing,
        schema::{Absence, Lifecycle, Problem, Schema},
    },
    provider::{
        capabilities::{Footprint, Importable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    accounts::{AccountOrigin, Accounts, check_existing},
    host::{HostError, LinuxHost, Reader, Writer},
    values::path::provider_error,
};

/// The kind `group-member`.
pub(crate) struct GroupMember;

/// State of a member: there is nothing to it but that it exists. A user whose primary group it is is not counted.
/// Read from /etc/group itself: groups of a directory service are not managed.
///
/// ```kdl
/// group-member "docker/anna"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {}

impl Provider<LinuxHost> for GroupMember {
    const KIND: &'static str = "group-member";
    const CAPABILITIES: Capabilities<LinuxHost, Self> =
        Capabilities::new().importable().footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "The membership of a user in a supplementary group; takes effect at the next login.",
            name: "group/user",
            main: None,
            attributes: &[],
            lifecycle: Lifecycle::DEFAULT,
            absence: Absence::Allowed,
            example: "group-member \"docker/anna\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        let Some((group, user)) = split(name) else {
            let problem = Problem::new(format!("`{name}` does not name a group and a user"));
            return Err(problem.help("write `GROUP/USER`, such as `docker/anna`"));
        };
        check_existing(group, "group")?;
        check_existing(user, "user")
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let first = names.first().unwrap_or(&"");
        let accounts =
            Accounts::read(host).map_err(provider_error(Self::KIND, first, "read the accounts"))?;
        let is_member = |name: &str| {
            let (group, user) = split(name)?;
            let members = &accounts.group(group)?.members;
            members
                .iter()
                .any(|member| member == user)
                .then_some(State {})
        };
        Ok(names.iter().map(|name| is_member(name)).collect())
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let (group, user) = split(name).expect("the name was checked");
            let (option, attempted) = match change {
                Change::Create { .. } => ("--add", "add the user"),
                Change::Delete { .. } => ("--delete", "remove the user"),
                Change::Update { .. } => continue,
            };
            host.run("gpasswd", &[option, user, group], b"")
                .await
                .map_err(provider_error(Self::KIND, name, attempted))?;
        }
        Ok(())
    }

    fn requires(&self, name: &str, _desired: &State) -> Vec<Address> {
        let (group, user) = split(name).unwrap_or_default();
        vec![Address::new("group", group), Address::new("user", user)]
    }
}

impl Importable<LinuxHost> for GroupMember {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        list(host).map_err(provider_error(
            Self::KIND,
            "/etc/group",
            "read the accounts",
        ))
    }
}

impl Footprint<LinuxHost> for GroupMember {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        crate::accounts::managed_paths()
    }
}

fn list(host: &Reader) -> Result<Listing, HostError> {
    let accounts = Accounts::read(host)?;
    let mut listing = Listing::new("Members of groups.", []);
    for group in &accounts.groups {
        for member in &group.members {
            let name = format!("{}/{member}", group.name);
            let Some(user) = accounts.user(member) else {
                listing.ignore("there is no such user", name);
                continue;
            };
            let of_user = Accounts::origin(host, member, user.uid)?;
            let of_group = Accounts::origin(host, &group.name, group.gid)?;
            match (of_user, of_group) {
                (AccountOrigin::Person, _) | (_, AccountOrigin::Person) => {
                    listing.managed.insert(name);
                }
                (AccountOrigin::Program(whose), _) | (_, AccountOrigin::Program(whose)) => {
                    listing.add_foreign(whose);
                }
                (AccountOrigin::Base, AccountOrigin::Base) => listing.managed.extend([name]),
            }
        }
    }
    Ok(listing)
}

fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    #[tokio::test]
    async fn membership_is_read_from_the_group_list() {
        let root = TestRoot::new(&[
            ("/etc/passwd", "anna:x:1000:999::/home/anna:/bin/sh\n"),
            ("/etc/group", "docker:x:999:zoe,bert\nadm:x:4:anna\n"),
        ]);
        let names = ["adm/anna", "docker/anna", "docker/bert", "none/anna"];
        let states = GroupMember.read(&root.reader(), &names).await.unwrap();
        let exist: Vec<_> = states.iter().map(Option::is_some).collect();
        assert_eq!(exist, [true, false, true, false]);
    }

    #[test]
    fn group_member_name_is_group_and_user() {
        GroupMember.check_name("adm/Debian-exim").unwrap();
        for name in [
            "docker",
            "docker/",
            "/anna",
            "docker/anna/bert",
            "docker/1000",
            "a b/c",
        ] {
            assert!(GroupMember.check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn group_member_requires_group_and_user() {
        let needed: Vec<_> = GroupMember
            .requires("docker/anna", &State {})
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(needed, ["group:docker", "user:anna"]);
    }
}
