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
    accounts::{Accounts, Maker, check_existing},
    host::{HostError, Live, Reader, Writer},
    values::path::refused,
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

impl Provider<Live> for GroupMember {
    const KIND: &'static str = "group-member";
    const CAPABILITIES: Capabilities<Live, Self> = Capabilities::new().importable().footprint();
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
            Accounts::read(host).map_err(refused(Self::KIND, first, "read the accounts"))?;
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
                .map_err(refused(Self::KIND, name, attempted))?;
        }
        Ok(())
    }

    fn requires(&self, name: &str, _desired: &State) -> Vec<Address> {
        let (group, user) = split(name).unwrap_or_default();
        vec![Address::new("group", group), Address::new("user", user)]
    }
}

impl Importable<Live> for GroupMember {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        list(host).map_err(refused(Self::KIND, "/etc/group", "read the accounts"))
    }
}

impl Footprint<Live> for GroupMember {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        crate::accounts::places()
    }
}

fn list(host: &Reader) -> Result<Listing, HostError> {
    let accounts = Accounts::read(host)?;
    let mut listing = Listing::of("Members of groups.", []);
    for group in &accounts.groups {
        for member in &group.members {
            let name = format!("{}/{member}", group.name);
            let Some(user) = accounts.user(member) else {
                listing.ignore("there is no such user", name);
                continue;
            };
            let of_user = Accounts::maker(host, member, user.uid)?;
            let of_group = Accounts::maker(host, &group.name, group.gid)?;
            match (of_user, of_group) {
                (Maker::Person, _) | (_, Maker::Person) => drop(listing.managed.insert(name)),
                (Maker::Program(whose), _) | (_, Maker::Program(whose)) => {
                    listing.add_foreign(whose);
                }
                (Maker::Base, Maker::Base) => listing.managed.extend([name]),
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
    use crate::files::test_root::Root;

    #[tokio::test]
    async fn a_member_is_one_whom_the_group_lists() {
        let root = Root::new(&[
            ("/etc/passwd", "anna:x:1000:999::/home/anna:/bin/sh\n"),
            ("/etc/group", "docker:x:999:zoe,bert\nadm:x:4:anna\n"),
        ]);
        let names = ["adm/anna", "docker/anna", "docker/bert", "none/anna"];
        let states = GroupMember.read(&root.reader(), &names).await.unwrap();
        let exist: Vec<_> = states.iter().map(Option::is_some).collect();
        assert_eq!(exist, [true, false, true, false]);
    }

    #[test]
    fn the_name_is_a_group_and_a_user() {
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
    fn group_and_user_come_first() {
        let needed: Vec<_> = GroupMember
            .requires("docker/anna", &State {})
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(needed, ["group:docker", "user:anna"]);
    }
}
