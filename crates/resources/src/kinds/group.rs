//! The kind `group`: a group of this host.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        listing::{Export, Listing},
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Footprint, Importable, Removable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    accounts::{AccountOrigin, Accounts, FIRST_USER_UID, User, check_new, check_number},
    host::{HostError, LinuxHost, Reader, Writer},
    values::path::provider_error,
};

/// The kind `group`.
pub(crate) struct Group;

/// State of a group. Read from /etc/group itself: groups of a directory service are not managed.
///
/// ```kdl
/// group "media" gid=2000
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    #[serde(default)]
    gid: Option<i64>,
    #[serde(default)]
    system: Option<bool>,
    #[serde(default)]
    members: Option<Vec<String>>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "gid",
        Shape::Integer,
        Role::Managed,
        "Its number. A new group gets the next free one. Existing files keep the old number.",
    ),
    Attribute::new(
        "system",
        Shape::Flag,
        Role::Input,
        "Whether a new group gets a system number. Default: false.",
    ),
    Attribute::new(
        "members",
        Shape::List,
        Role::Context,
        "Its members, so that rollback restores them.",
    ),
];

impl Provider<LinuxHost> for Group {
    const KIND: &'static str = "group";
    const CAPABILITIES: Capabilities<LinuxHost, Self> =
        Capabilities::new().removable().importable().footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A group of this host.",
            name: "name",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle::DEFAULT,
            absence: Absence::Allowed,
            example: "group \"media\" gid=2000\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        check_new(name, Self::KIND)
    }

    fn check(&self, name: &str, desired: &State) -> Vec<Problem> {
        if name == "root" && desired.gid.is_some_and(|gid| gid != 0) {
            let problem = Problem::new("the number of root is 0, and the host needs it");
            return vec![problem.at("gid").help("remove `gid`")];
        }
        check_number("gid", desired.gid).into_iter().collect()
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let first = names.first().unwrap_or(&"");
        let accounts =
            Accounts::read(host).map_err(provider_error(Self::KIND, first, "read the accounts"))?;
        let state = |name: &&str| {
            accounts.group(name).map(|group| State {
                gid: Some(group.gid),
                system: None,
                members: Some(group.members.clone()),
            })
        };
        Ok(names.iter().map(state).collect())
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            if let Change::Delete { before } = &change {
                let accounts = Accounts::read(&Reader::new(host.root()))
                    .map_err(provider_error(Self::KIND, name, "read the accounts"))?;
                check_not_primary(&accounts, name, before)?;
            }
            for call in commands(name, &change) {
                let arguments: Vec<&str> = call[1..].iter().map(String::as_str).collect();
                host.run(&call[0], &arguments, b"")
                    .await
                    .map_err(provider_error(Self::KIND, name, attempted(&change)))?;
            }
        }
        Ok(())
    }
}

impl Removable<LinuxHost> for Group {
    fn check_absent(&self, name: &str) -> Result<(), Problem> {
        match name {
            "root" => Err(Problem::new("the host needs its root").help("remove the node")),
            _ => Ok(()),
        }
    }
}

impl Importable<LinuxHost> for Group {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        list(host).map_err(provider_error(
            Self::KIND,
            "/etc/group",
            "read the accounts",
        ))
    }

    async fn export(
        &self,
        _host: &Reader,
        _name: &str,
        mut state: State,
    ) -> Result<Export<State>, ProviderError> {
        state.system = state.gid.filter(|gid| *gid < FIRST_USER_UID).map(|_| true);
        Ok(Export::as_is(state))
    }
}

impl Footprint<LinuxHost> for Group {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        crate::accounts::managed_paths()
    }
}

/// groupdel refuses it too; it does not know what to write.
fn check_not_primary(accounts: &Accounts, name: &str, before: &State) -> Result<(), ProviderError> {
    let is_primary = |user: &&User| before.gid == Some(user.gid);
    let Some(user) = accounts.users.iter().find(is_primary) else {
        return Ok(());
    };
    let fact = format!("it is the primary group of `{}`", user.name);
    let error = ProviderError::new(Address::new(Group::KIND, name), "remove it", fact);
    Err(error.help(format!(
        "give that user another group; or, if it is absent too, write `needs=\"group:{name}\"` on it"
    )))
}

/// Returns the programs of a change, each with its arguments.
fn commands(name: &str, change: &Change<State>) -> Vec<Vec<String>> {
    let call = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    match change {
        Change::Create { after } => {
            let gid = after.gid.map(|gid| gid.to_string());
            let mut words = vec!["groupadd"];
            words.extend((after.system == Some(true)).then_some("--system"));
            words.extend(gid.iter().flat_map(|gid| ["--gid", gid]));
            words.push(name);
            let mut calls = vec![call(&words)];
            let members = after.members.as_deref().unwrap_or_default();
            if !members.is_empty() {
                calls.push(call(&["gpasswd", "--members", &members.join(","), name]));
            }
            calls
        }
        Change::Update { before, after } => match after.gid {
            Some(gid) if before.gid != after.gid => {
                vec![call(&["groupmod", "--gid", &gid.to_string(), name])]
            }
            _ => vec![],
        },
        Change::Delete { .. } => vec![call(&["groupdel", name])],
    }
}

fn attempted(change: &Change<State>) -> &'static str {
    match change {
        Change::Create { .. } => "create it",
        Change::Update { .. } => "change its number",
        Change::Delete { .. } => "remove it",
    }
}

fn list(host: &Reader) -> Result<Listing, HostError> {
    let mut listing = Listing::new("Groups that are not from a package.", []);
    for group in &Accounts::read(host)?.groups {
        match Accounts::origin(host, &group.name, group.gid)? {
            AccountOrigin::Base => listing.default += 1,
            AccountOrigin::Program(whose) => listing.add_foreign(whose),
            AccountOrigin::Person => drop(listing.managed.insert(group.name.clone())),
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    fn state(gid: i64, members: &[&str]) -> State {
        State {
            gid: Some(gid),
            system: None,
            members: Some(members.iter().map(|&member| member.to_owned()).collect()),
        }
    }

    #[tokio::test]
    async fn group_read_keeps_order_of_requested_names() {
        let root = TestRoot::new(&[("/etc/group", "media:x:2000:zoe,anna\nempty:!:7:\n")]);
        let names = ["none", "empty", "media"];
        let states = Group.read(&root.reader(), &names).await.unwrap();
        assert_eq!(
            states,
            [
                None,
                Some(state(7, &[])),
                Some(state(2000, &["anna", "zoe"]))
            ]
        );
    }

    fn check_calls(before: Option<State>, after: Option<State>, expected: &[&str]) {
        let change = Change::between(before, after).unwrap();
        let calls: Vec<_> = commands("media", &change)
            .iter()
            .map(|call| call.join(" "))
            .collect();
        assert_eq!(calls, expected);
    }

    #[test]
    fn group_change_calls_only_needed_programs() {
        check_calls(None, Some(State::default()), &["groupadd media"]);
        let wish = State {
            gid: Some(20),
            system: Some(true),
            members: None,
        };
        check_calls(None, Some(wish), &["groupadd --system --gid 20 media"]);
        check_calls(
            Some(state(1, &[])),
            Some(state(2, &[])),
            &["groupmod --gid 2 media"],
        );
        check_calls(Some(state(1, &["a"])), Some(state(1, &[])), &[]);
        check_calls(Some(state(1, &[])), None, &["groupdel media"]);
    }

    #[test]
    fn recreated_group_has_its_members() {
        let back = Some(state(2000, &["anna", "zoe"]));
        check_calls(
            None,
            back,
            &[
                "groupadd --gid 2000 media",
                "gpasswd --members anna,zoe media",
            ],
        );
    }

    #[test]
    fn removal_of_primary_group_is_refused_with_help() {
        let root = TestRoot::new(&[("/etc/passwd", "zoe:x:3002:3000::/home/zoe:/bin/sh\n")]);
        let accounts = Accounts::read(&root.reader()).unwrap();
        let error = check_not_primary(&accounts, "choir", &state(3000, &[])).unwrap_err();
        assert!(error.help.unwrap().contains("`needs=\"group:choir\"`"));
        check_not_primary(&accounts, "choir", &state(3002, &[])).unwrap();
    }

    #[test]
    fn root_group_cannot_be_removed_or_renumbered() {
        assert!(Group.check_absent("root").is_err());
        Group.check_absent("media").unwrap();
        assert_eq!(Group.check("root", &state(1, &[])).len(), 1);
        assert!(Group.check("root", &state(0, &[])).is_empty());
        assert_eq!(Group.check("media", &state(-1, &[])).len(), 1);
    }
}
