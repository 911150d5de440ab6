//! The kind `user`: a user of this host.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::{Change, Effects},
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
    accounts::{
        self, AccountOrigin, Accounts, FIRST_USER_UID, check_existing, check_new, check_number,
        has_password, home, subids, subordinate_ids,
    },
    host::{HostError, LinuxHost, MetaKind, Reader, Writer},
    values::{
        access::Mode,
        path::{self, provider_error},
    },
};

/// Ranges of numbers for the containers of users: subuid(5), subgid(5).
const SUBUIDS: &str = "/etc/subuid";
/// See [`SUBUIDS`].
const SUBGIDS: &str = "/etc/subgid";

/// The kind `user`.
pub(crate) struct User;

/// State of a user. Read from /etc/passwd itself: users of a directory service are not managed. Passwords are not kept.
///
/// ```kdl
/// user "anna" group="anna" shell="/bin/bash" comment="Anna"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct State {
    #[serde(default)]
    uid: Option<i64>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    home: Option<String>,
    #[serde(default)]
    shell: Option<String>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    system: Option<bool>,
    #[serde(default)]
    create_home: Option<bool>,
    #[serde(default)]
    has_password: Option<bool>,
    #[serde(default)]
    recorded: Option<RecordedAccount>,
}

/// What userdel takes along and useradd does not know.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RecordedAccount {
    /// The number of the primary group.
    gid: i64,
    /// The groups that list the user.
    groups: Vec<String>,
    subuids: Vec<String>,
    subgids: Vec<String>,
    /// The mode of the home directory, if there is one.
    #[serde(default)]
    home_mode: Option<Mode>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "uid",
        Shape::Integer,
        Role::Managed,
        "Its number. A new user gets the next free one. Files in the home directory get the new number, other files keep the old one.",
    ),
    Attribute {
        name: "group",
        shape: Shape::Text,
        role: Role::Managed,
        doc: "Its primary group, by name. A new user needs one; it is not created with the user.",
        check: Some(check_group),
    },
    Attribute {
        name: "home",
        shape: Shape::Text,
        role: Role::Managed,
        doc: "Its home directory. A new user gets /home/NAME. Nothing is moved when it changes.",
        check: Some(path::check),
    },
    Attribute {
        name: "shell",
        shape: Shape::Text,
        role: Role::Managed,
        doc: "Its login shell. A new user gets the default of useradd.",
        check: Some(path::check),
    },
    Attribute {
        name: "comment",
        shape: Shape::Text,
        role: Role::Managed,
        doc: "Its full name or purpose.",
        check: Some(check_comment),
    },
    Attribute::new(
        "system",
        Shape::Flag,
        Role::Input,
        "Whether a new user is a system user: with a system number and no home directory. Default: false.",
    ),
    Attribute::new(
        "create-home",
        Shape::Flag,
        Role::Input,
        "Whether the home directory of a new user is created. Default: true; false for `system`.",
    ),
    Attribute::new(
        "has-password",
        Shape::Flag,
        Role::Context,
        "Whether it has a password, which would be lost.",
    ),
    Attribute::new(
        "recorded",
        Shape::Text,
        Role::Context,
        "Groups, ranges of numbers and mode of the home directory, so that rollback restores them.",
    ),
];

fn check_group(group: &str) -> Result<(), Problem> {
    check_existing(group, "group")
}

fn check_comment(comment: &str) -> Result<(), Problem> {
    if comment.contains([':', '\n', '\0']) {
        let problem = Problem::new("a comment is one line, without `:`");
        return Err(problem.help("write a name, such as `comment=\"Anna\"`"));
    }
    Ok(())
}

impl Provider<LinuxHost> for User {
    const KIND: &'static str = "user";
    const CAPABILITIES: Capabilities<LinuxHost, Self> =
        Capabilities::new().removable().importable().footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A user of this host.",
            name: "name",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle::DEFAULT,
            absence: Absence::Allowed,
            example: "user \"anna\" group=\"anna\" shell=\"/bin/bash\" comment=\"Anna\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        check_new(name, Self::KIND)
    }

    fn check(&self, name: &str, desired: &State) -> Vec<Problem> {
        let mut problems: Vec<Problem> = check_number("uid", desired.uid).into_iter().collect();
        if name == "root" && desired.uid.is_some_and(|uid| uid != 0) {
            let problem = Problem::new("the number of root is 0, and the host needs it");
            problems = vec![problem.at("uid").help("remove `uid`")];
        }
        for (attribute, path) in [("home", &desired.home), ("shell", &desired.shell)] {
            if path.as_ref().is_some_and(|path| path.contains(':')) {
                problems
                    .push(Problem::new("a path in /etc/passwd must not contain `:`").at(attribute));
            }
        }
        problems
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        desired: State,
    ) -> Result<State, Vec<Problem>> {
        let accounts =
            Accounts::read(host).map_err(|error| vec![Problem::new(error.to_string())])?;
        if desired.group.is_none() && accounts.user(name).is_none() {
            let problem = Problem::new("a new user needs its primary group");
            return Err(vec![problem.help(format!(
                "write `group=\"{name}\"`, and the group itself above it: `group \"{name}\"`"
            ))]);
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let fail = |name: &str| provider_error(Self::KIND, name, "read the accounts");
        let accounts = Accounts::read(host).map_err(fail(names.first().unwrap_or(&"")))?;
        let state = |name: &&str| {
            let user = accounts.user(name);
            user.map(|user| state(host, &accounts, user).map_err(fail(name)))
                .transpose()
        };
        names.iter().map(state).collect()
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let (attempted, result) = match change {
                Change::Create { after } => ("create it", create(host, name, &after).await),
                Change::Update { before, after } => {
                    let arguments = update_arguments(name, &before, &after);
                    (
                        "change it",
                        run_unless_empty(host, "usermod", arguments).await,
                    )
                }
                Change::Delete { before } => ("remove it", delete(host, name, &before).await),
            };
            result.map_err(provider_error(Self::KIND, name, attempted))?;
        }
        Ok(())
    }

    fn requires(&self, name: &str, desired: &State) -> Vec<Address> {
        let group = desired.group.as_deref().unwrap_or(name);
        vec![Address::new("group", group)]
    }

    fn effects(&self, _name: &str, change: &Change<State>) -> Effects {
        let loses_password =
            matches!(change, Change::Delete { before } if before.has_password != Some(false));
        Effects {
            irreversible: loses_password.then(|| "its password is lost".to_owned()),
            ..Effects::default()
        }
    }
}

impl Removable<LinuxHost> for User {
    fn check_absent(&self, name: &str) -> Result<(), Problem> {
        match name {
            "root" => Err(Problem::new("the host needs its root").help("remove the node")),
            _ => Ok(()),
        }
    }
}

impl Importable<LinuxHost> for User {
    /// Where no group is written it is most likely the one of the same name, which cannot go before its user.
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        list(host).map_err(provider_error(
            Self::KIND,
            "/etc/passwd",
            "read the accounts",
        ))
    }

    async fn export(
        &self,
        _host: &Reader,
        name: &str,
        mut state: State,
    ) -> Result<Export<State>, ProviderError> {
        state.system = state.uid.filter(|uid| *uid < FIRST_USER_UID).map(|_| true);
        state.home.take_if(|home| *home == format!("/home/{name}"));
        state.comment.take_if(|comment| comment.is_empty());
        state.shell.take_if(|shell| shell.is_empty());
        Ok(Export::as_is(state))
    }
}

impl Footprint<LinuxHost> for User {
    fn managed_paths(&self, name: &str) -> Vec<String> {
        let mut places = crate::accounts::managed_paths();
        places.extend([format!("/home/{name}"), format!("/home/{name}/*")]);
        places
    }
}

fn list(host: &Reader) -> Result<Listing, HostError> {
    let mut listing = Listing::new(
        "Users that are not from a package. Their passwords are secrets and are not imported.",
        [],
    );
    for user in &Accounts::read(host)?.users {
        match Accounts::origin(host, &user.name, user.uid)? {
            AccountOrigin::Base => listing.default += 1,
            AccountOrigin::Program(whose) => listing.add_foreign(whose),
            AccountOrigin::Person => drop(listing.managed.insert(user.name.clone())),
        }
        match has_password(host, &user.name)? {
            Some(true) => drop(listing.secrets.insert(format!("password of {}", user.name))),
            Some(false) => {}
            None => {
                let why = "only root can read whether there are any".to_owned();
                listing.unreadable.insert("passwords".to_owned(), why);
            }
        }
    }
    Ok(listing)
}

fn state(host: &Reader, accounts: &Accounts, user: &accounts::User) -> Result<State, HostError> {
    // A home behind a symlink, or one that nobody may look at, is not ours to touch.
    let home = host.stat(Path::new(&user.home)).ok().flatten();
    let home = home.filter(|meta| meta.kind == MetaKind::Directory);
    Ok(State {
        uid: Some(user.uid),
        group: Some(accounts.group_name(user.gid)),
        home: Some(user.home.clone()),
        shell: Some(user.shell.clone()),
        comment: Some(user.comment.clone()),
        system: None,
        create_home: None,
        has_password: has_password(host, &user.name)?,
        recorded: Some(RecordedAccount {
            gid: user.gid,
            groups: accounts.groups_of(&user.name),
            subuids: subordinate_ids(host, SUBUIDS, user)?,
            subgids: subordinate_ids(host, SUBGIDS, user)?,
            home_mode: home.map(|meta| Mode::new(meta.mode)),
        }),
    })
}

async fn create(host: &Writer, name: &str, after: &State) -> Result<(), HostError> {
    let reader = Reader::new(host.root());
    if let (Some(group), Some(recorded)) = (&after.group, &after.recorded) {
        ensure_group(host, group, recorded.gid).await?;
    }
    let home = Path::new(after.home.as_deref().unwrap_or_default());
    let has_home = after.home.is_some() && reader.stat(home)?.is_some();
    run_unless_empty(host, "useradd", create_arguments(name, after, has_home)).await?;
    let Some(recorded) = &after.recorded else {
        return Ok(());
    };
    for arguments in subids::usermod_arguments(name, &recorded.subuids, &recorded.subgids) {
        run_unless_empty(host, "usermod", arguments.into()).await?;
    }
    let made = reader.stat(home)?.filter(|_| !has_home);
    if let (Some(meta), Some(mode)) = (made, recorded.home_mode) {
        let mut access = meta.attributes();
        access.mode = mode.bits();
        host.set_attributes(home, &access)?;
    }
    Ok(())
}

async fn delete(host: &Writer, name: &str, before: &State) -> Result<(), HostError> {
    let home = Path::new(before.home.as_deref().unwrap_or_default());
    let is_home_empty = is_home_disposable(&Reader::new(host.root()), name)?;
    host.run("userdel", &[name], b"").await?;
    // userdel takes a group of the same name along: userdel(8), `USERGROUPS_ENAB`. Nobody asked for that.
    if let (Some(group), Some(recorded)) = (&before.group, &before.recorded) {
        ensure_group(host, group, recorded.gid).await?;
    }
    if is_home_empty {
        home::remove(host, home)?;
    }
    Ok(())
}

/// Whether the home of a user holds nothing of the user's, and is nobody else's.
fn is_home_disposable(host: &Reader, name: &str) -> Result<bool, HostError> {
    let accounts = Accounts::read(host)?;
    let Some(user) = accounts.user(name) else {
        return Ok(false);
    };
    let homes = accounts
        .users
        .iter()
        .filter(|other| other.home == user.home);
    let home = Path::new(&user.home);
    // What cannot be looked at stays.
    let is_untouched = home::is_unmodified(host, home, user.uid, user.gid).unwrap_or(false);
    Ok(homes.count() == 1 && is_untouched)
}

/// Makes a group that goes and comes with its user, if it is not there. A group that has no name is not made.
async fn ensure_group(host: &Writer, group: &str, gid: i64) -> Result<(), HostError> {
    let gid = gid.to_string();
    let accounts = Accounts::read(&Reader::new(host.root()))?;
    if accounts.group(group).is_none() && *group != gid {
        host.run("groupadd", &["--gid", &gid, group], b"").await?;
    }
    Ok(())
}

/// Runs a program, unless there is nothing to say to it.
async fn run_unless_empty(
    host: &Writer,
    program: &str,
    arguments: Vec<String>,
) -> Result<(), HostError> {
    if arguments.is_empty() {
        return Ok(());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    host.run(program, &arguments, b"").await.map(drop)
}

/// Returns the arguments of useradd.
fn create_arguments(name: &str, after: &State, has_home: bool) -> Vec<String> {
    let was_of_system =
        after.recorded.is_some() && after.uid.is_some_and(|uid| uid < FIRST_USER_UID);
    let is_of_system = after.system.unwrap_or(was_of_system);
    let makes_home = match &after.recorded {
        Some(recorded) => recorded.home_mode.is_some() && !has_home,
        None => after.create_home.unwrap_or(!is_of_system),
    };
    let mut arguments = changed_options(&State::default(), after);
    arguments.extend(is_of_system.then(|| "--system".to_owned()));
    arguments.push(
        if makes_home {
            "--create-home"
        } else {
            "--no-create-home"
        }
        .to_owned(),
    );
    if let Some(recorded) = &after.recorded {
        // The ranges are given afterwards, as they were.
        for count in ["SUB_UID_COUNT=0", "SUB_GID_COUNT=0"] {
            arguments.extend(["--key".to_owned(), count.to_owned()]);
        }
        if !recorded.groups.is_empty() {
            arguments.extend(["--groups".to_owned(), recorded.groups.join(",")]);
        }
    }
    arguments.push(name.to_owned());
    arguments
}

/// Returns the arguments of usermod; none if nothing differs.
fn update_arguments(name: &str, before: &State, after: &State) -> Vec<String> {
    let mut arguments = changed_options(before, after);
    if !arguments.is_empty() {
        arguments.push(name.to_owned());
    }
    arguments
}

/// Returns the options that useradd and usermod have in common, for what differs.
fn changed_options(before: &State, after: &State) -> Vec<String> {
    let number = |uid: Option<i64>| uid.map(|uid| uid.to_string());
    let options = [
        ("-u", number(before.uid), number(after.uid)),
        ("-g", before.group.clone(), after.group.clone()),
        ("-d", before.home.clone(), after.home.clone()),
        ("-s", before.shell.clone(), after.shell.clone()),
        ("-c", before.comment.clone(), after.comment.clone()),
    ];
    let words = options
        .into_iter()
        .filter(|(_, before, after)| before != after)
        .filter_map(|(option, _, after)| Some([option.to_owned(), after?]));
    words.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    const FILES: [(&str, &str); 5] = [
        (
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nanna:x:1001:1002:Anna:/home/anna:/bin/sh\ngit:x:101:77::/srv/git:\n",
        ),
        (
            "/etc/group",
            "root:x:0:\nanna:x:1002:\nadm:x:4:anna\naudio:x:29:anna,zoe\n",
        ),
        (
            "/etc/shadow",
            "anna:$y$secret:20000:0:99999:7:::\ngit:!:20000::::::\n",
        ),
        ("/etc/subuid", "anna:100000:65536\n"),
        ("/home/anna/letter", ""),
    ];

    fn anna() -> State {
        State {
            uid: Some(1001),
            group: Some("anna".to_owned()),
            home: Some("/home/anna".to_owned()),
            shell: Some("/bin/sh".to_owned()),
            comment: Some("Anna".to_owned()),
            has_password: Some(true),
            recorded: Some(RecordedAccount {
                gid: 1002,
                groups: vec!["adm".to_owned(), "audio".to_owned()],
                subuids: vec!["100000:65536".to_owned()],
                subgids: vec![],
                home_mode: Some(Mode::new(0o755)),
            }),
            ..State::default()
        }
    }

    #[tokio::test]
    async fn user_read_records_what_rollback_needs() {
        let root = TestRoot::new(&FILES);
        let states = User.read(&root.reader(), &["none", "anna", "git"]).await;
        let states = states.unwrap();
        assert_eq!(states[0], None);
        assert_eq!(states[1], Some(anna()));
        let git = states[2].clone().unwrap();
        assert_eq!(
            (git.group.as_deref(), git.shell.as_deref()),
            (Some("77"), Some(""))
        );
        assert_eq!(git.has_password, Some(false));
        assert_eq!(git.recorded.unwrap().home_mode, None);
        let recorded = serde_json::to_string(&states[1]).unwrap();
        assert!(!recorded.contains("secret"), "{recorded}");
    }

    fn check_created(after: &State, has_home: bool, expected: &str) {
        assert_eq!(
            create_arguments("anna", after, has_home).join(" "),
            expected
        );
    }

    #[test]
    fn new_user_gets_the_written_attributes() {
        let wish = State {
            group: Some("anna".to_owned()),
            ..State::default()
        };
        check_created(&wish, false, "-g anna --create-home anna");
        let of_system = State {
            system: Some(true),
            home: Some("/srv/git".to_owned()),
            ..wish.clone()
        };
        check_created(
            &of_system,
            false,
            "-g anna -d /srv/git --system --no-create-home anna",
        );
        let homeless = State {
            create_home: Some(false),
            uid: Some(5000),
            ..wish
        };
        check_created(&homeless, false, "-u 5000 -g anna --no-create-home anna");
    }

    #[test]
    fn recreated_user_is_as_before() {
        let all = "-u 1001 -g anna -d /home/anna -s /bin/sh -c Anna";
        let rest = "--key SUB_UID_COUNT=0 --key SUB_GID_COUNT=0 --groups adm,audio anna";
        check_created(&anna(), false, &format!("{all} --create-home {rest}"));
        check_created(&anna(), true, &format!("{all} --no-create-home {rest}"));
        let RecordedAccount {
            subuids, subgids, ..
        } = anna().recorded.unwrap();
        let ranges = subids::usermod_arguments("anna", &subuids, &subgids);
        assert_eq!(ranges, [["--add-subuids", "100000-165535", "anna"]]);
        assert!(subids::usermod_arguments("anna", &[], &[]).is_empty());
    }

    #[test]
    fn user_update_changes_only_differing_attributes() {
        assert!(update_arguments("anna", &anna(), &anna()).is_empty());
        let after = State {
            shell: Some("/bin/bash".to_owned()),
            comment: Some(String::new()),
            recorded: None,
            ..anna()
        };
        let arguments = update_arguments("anna", &anna(), &after);
        assert_eq!(arguments, ["-s", "/bin/bash", "-c", "", "anna"]);
    }

    #[tokio::test]
    async fn new_user_without_group_is_rejected_before_apply() {
        let root = TestRoot::new(&FILES);
        let prepared = async |name| User.prepare(&root.reader(), name, State::default()).await;
        let problems = prepared("bert").await.unwrap_err();
        assert_eq!(
            problems[0].help.as_deref(),
            Some("write `group=\"bert\"`, and the group itself above it: `group \"bert\"`")
        );
        prepared("anna").await.unwrap();
    }

    #[test]
    fn root_user_cannot_be_removed_or_renumbered() {
        let uid = |uid| State {
            uid: Some(uid),
            ..State::default()
        };
        assert!(User.check_absent("root").is_err());
        User.check_absent("anna").unwrap();
        assert_eq!(User.check("root", &uid(5)).len(), 1);
        assert!(User.check("root", &uid(0)).is_empty());
        assert_eq!(User.check("anna", &uid(-1)).len(), 1);
    }

    #[test]
    fn values_that_would_break_passwd_are_rejected() {
        for comment in ["a:b", "a\nb"] {
            assert!(check_comment(comment).is_err());
        }
        let desired = State {
            home: Some("/home/a:b".to_owned()),
            shell: Some("/bin/a:b".to_owned()),
            ..State::default()
        };
        assert_eq!(User.check("anna", &desired).len(), 2);
        assert!(check_group("100").is_err());
    }

    #[test]
    fn user_deletion_warns_about_the_lost_password() {
        let effects = |before: State| {
            User.effects("anna", &Change::Delete { before })
                .irreversible
        };
        assert_eq!(effects(anna()).as_deref(), Some("its password is lost"));
        let none = State {
            has_password: Some(false),
            ..anna()
        };
        assert_eq!(effects(none), None);
    }

    #[test]
    fn used_or_shared_home_is_not_disposable() {
        let disposable = |files: &[(&str, &str)]| {
            is_home_disposable(&TestRoot::new(files).reader(), "anna").unwrap()
        };
        assert!(!disposable(&FILES));
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let line = format!("anna:x:{uid}:{gid}::/home/anna:/bin/sh\n");
        let skeleton = ("/etc/skel/.profile", "x");
        let copy = ("/home/anna/.profile", "x");
        assert!(disposable(&[("/etc/passwd", &line), skeleton, copy]));
        let shared = format!("{line}bert:x:5:5::/home/anna:/bin/sh\n");
        assert!(!disposable(&[("/etc/passwd", &shared), skeleton, copy]));
    }
}
