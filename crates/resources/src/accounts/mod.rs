//! The accounts of this host, from its own files. Accounts that a directory service knows are not managed.

pub(crate) mod home;
pub(crate) mod subids;

use std::{collections::BTreeSet, io::ErrorKind, path::Path, sync::Arc};

use stead_engine::model::schema::Problem;

use crate::host::{HostError, Reader};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 64 << 20;
/// Longest name of an account in bytes: useradd(8), CAVEATS.
const MAX_NAME: usize = 32;
/// The first number that useradd gives to people: login.defs(5), `UID_MIN`.
pub(crate) const FIRST_USER_UID: i64 = 1000;

/// Users and groups of one moment.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// The lines of /etc/passwd.
    pub(crate) users: Vec<User>,
    /// The lines of /etc/group.
    pub(crate) groups: Vec<Group>,
}

/// A line of /etc/passwd, without what stands for the password: passwd(5).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: i64,
    pub(crate) gid: i64,
    pub(crate) comment: String,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// A line of /etc/group: group(5).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) gid: i64,
    /// Those who are in it beside the users whose primary group it is; sorted.
    pub(crate) members: Vec<String>,
}

impl Accounts {
    /// Reads both files.
    pub(crate) fn read(host: &Reader) -> Result<Self, HostError> {
        let users = host.read_text(Path::new("/etc/passwd"), LIMIT)?;
        let groups = host.read_text(Path::new("/etc/group"), LIMIT)?;
        Ok(Self {
            users: users
                .iter()
                .flat_map(|text| text.lines())
                .filter_map(parse_user)
                .collect(),
            groups: groups
                .iter()
                .flat_map(|text| text.lines())
                .filter_map(parse_group)
                .collect(),
        })
    }

    /// Returns the user of a name.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Returns the group of a name.
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Returns the name of the group of a number, or the number where no group has it.
    pub(crate) fn group_name(&self, gid: i64) -> String {
        let group = self.groups.iter().find(|group| group.gid == gid);
        group.map_or_else(|| gid.to_string(), |group| group.name.clone())
    }

    /// Names the groups that list a user, sorted.
    pub(crate) fn groups_of(&self, user: &str) -> Vec<String> {
        let lists = |group: &&Group| group.members.iter().any(|member| member == user);
        let groups = self.groups.iter().filter(lists);
        let mut names: Vec<_> = groups.map(|group| group.name.clone()).collect();
        names.sort();
        names
    }
}

/// Lines that are none of an account, such as `+::::::` for NIS, are nobody's.
fn parse_user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, comment, home, shell] = fields[..] else {
        return None;
    };
    Some(User {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        comment: comment.to_owned(),
        home: home.to_owned(),
        shell: shell.to_owned(),
    })
}

fn parse_group(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields[..] else {
        return None;
    };
    let members = members.split(',').filter(|member| !member.is_empty());
    let mut members: Vec<_> = members.map(str::to_owned).collect();
    members.sort();
    members.dedup();
    Some(Group {
        name: name.to_owned(),
        gid: gid.parse().ok()?,
        members,
    })
}

/// Returns what a file such as /etc/subuid gives a user, each as `FIRST:COUNT`: subuid(5).
pub(crate) fn subordinate_ids(
    host: &Reader,
    path: &str,
    user: &User,
) -> Result<Vec<String>, HostError> {
    let text = host.read_text(Path::new(path), LIMIT)?.unwrap_or_default();
    let number = user.uid.to_string();
    let ranges = text.lines().filter_map(|line| line.split_once(':'));
    let ranges = ranges.filter(|(owner, _)| *owner == user.name || *owner == number);
    Ok(ranges.map(|(_, range)| range.to_owned()).collect())
}

/// Returns whether a user has a password, locked or not; `None` for those who may not know. The password itself goes nowhere.
pub(crate) fn has_password(host: &Reader, user: &str) -> Result<Option<bool>, HostError> {
    let text = match host.read_text(Path::new("/etc/shadow"), LIMIT) {
        Err(HostError::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            return Ok(None);
        }
        text => text?.unwrap_or_default(),
    };
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut hashes = lines
        .filter(|(name, _)| *name == user)
        .filter_map(|(_, rest)| rest.split(':').next());
    let is_hash = |field: &str| !matches!(field.trim_start_matches('!'), "" | "*");
    Ok(Some(hashes.any(is_hash)))
}

/// The last number that useradd gives to people: login.defs(5), `UID_MAX`.
const LAST_USER_UID: i64 = 60_000;
/// The first number of the system that Debian itself does not give: base-passwd, Debian Policy 9.2.2.
const FIRST_SYSTEM_UID: i64 = 100;
/// What nobody owns: the same.
const NOBODY_UID: i64 = 65_534;
/// Where packages say which accounts they make: sysusers.d(5), and what they run when they are installed.
const SCRIPT_DIRS: [&str; 2] = ["/usr/lib/sysusers.d", "/var/lib/dpkg/info"];

/// Accounts that programs make when they are installed by other means than packages.
const KNOWN_PROGRAM_ACCOUNTS: [(&str, &str); 2] = [("microk8s", "MicroK8s"), ("lxd", "LXD")];

/// Who made an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountOrigin {
    /// A person.
    Person,
    /// Debian itself: every host has it.
    Base,
    /// A package, or a program such as snapd.
    Program(&'static str),
}

impl Accounts {
    /// Says who made an account of a name and number. Among the numbers of the system packages name theirs in their scripts.
    pub(crate) fn origin(
        host: &Reader,
        name: &str,
        number: i64,
    ) -> Result<AccountOrigin, HostError> {
        let program = KNOWN_PROGRAM_ACCOUNTS
            .iter()
            .find(|(known, _)| *known == name);
        if let Some((_, program)) = program {
            return Ok(AccountOrigin::Program(program));
        }
        Ok(match number {
            NOBODY_UID => AccountOrigin::Base,
            number if number < FIRST_SYSTEM_UID => AccountOrigin::Base,
            number if number > LAST_USER_UID => AccountOrigin::Program(
                "snapd, systemd or another program with its own range of numbers",
            ),
            number if number >= FIRST_USER_UID => AccountOrigin::Person,
            _ if PackageScripts::read(host)?.names.contains(name) => {
                AccountOrigin::Program("packages")
            }
            _ => AccountOrigin::Person,
        })
    }
}

/// All words of all scripts of packages.
#[derive(Debug)]
struct PackageScripts {
    names: BTreeSet<String>,
}

impl PackageScripts {
    fn read(host: &Reader) -> Result<Arc<Self>, HostError> {
        host.memoize(|| {
            let mut names = BTreeSet::new();
            for dir in SCRIPT_DIRS.map(Path::new) {
                for file in host.list_dir(dir)? {
                    let path = dir.join(&file);
                    let is_script = path.extension().is_some_and(|extension| {
                        ["conf", "postinst", "preinst", "config"]
                            .iter()
                            .any(|known| extension == *known)
                    });
                    if is_script {
                        let text = host.read_text(&path, LIMIT)?.unwrap_or_default();
                        names.extend(words(&text).map(str::to_owned));
                    }
                }
            }
            Ok(Self { names })
        })
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"_-.".contains(c));
    words.filter(|word| !word.is_empty() && word.len() <= MAX_NAME)
}

/// Says what is wrong with the name of an account that is to be made.
pub(crate) fn check_new(name: &str, what: &str) -> Result<(), Problem> {
    let plain = name.strip_suffix('$').unwrap_or(name);
    let is_plain = plain.bytes().enumerate().all(|(index, byte)| match byte {
        b'a'..=b'z' | b'_' => true,
        b'0'..=b'9' | b'-' => index > 0,
        _ => false,
    });
    if is_plain && !plain.is_empty() && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(
        Problem::new(format!("`{name}` is not the name of a {what}")).help(format!(
            "write at most {MAX_NAME} lower-case letters, digits, `_` and `-`, starting with a letter"
        )),
    )
}

/// Says what is wrong with the name of an account that may have been made by others, with rules of their own.
pub(crate) fn check_existing(name: &str, what: &str) -> Result<(), Problem> {
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte));
    if !is_name || name.is_empty() || name.starts_with('-') {
        return Err(Problem::new(format!(
            "`{name}` is not the name of a {what}"
        )));
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        let problem = Problem::new(format!("`{name}` is the number of a {what}"));
        return Err(problem.help("write its name"));
    }
    Ok(())
}

/// Says what is wrong with the number of an account. The last one stands for none: chown(2).
pub(crate) fn check_number(attribute: &str, number: Option<i64>) -> Option<Problem> {
    let number = number?;
    if (0..i64::from(u32::MAX)).contains(&number) {
        return None;
    }
    let problem = Problem::new(format!("{number} is not the number of an account"));
    let last = u32::MAX - 1;
    Some(
        problem
            .at(attribute)
            .help(format!("write a number from 0 to {last}")),
    )
}

/// The files that hold accounts.
pub(crate) fn managed_paths() -> Vec<String> {
    let names = ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"];
    names.iter().map(|name| format!("/etc/{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    #[test]
    fn accounts_are_read_from_passwd_and_group() {
        let root = TestRoot::new(&[
            (
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\n+::::::\nbroken\nanna:x:1000:1000:Anna,,,:/home/anna:\n",
            ),
            (
                "/etc/group",
                "root:x:0:\nadm:x:4:syslog,anna\nanna:x:1000:\nwheel:x:10:zoe,anna,zoe\n+:::\n",
            ),
        ]);
        let accounts = Accounts::read(&root.reader()).unwrap();
        assert_eq!(accounts.users.len(), 2);
        let anna = accounts.user("anna").unwrap();
        assert_eq!(
            (
                anna.uid,
                anna.gid,
                &*anna.comment,
                &*anna.home,
                &*anna.shell
            ),
            (1000, 1000, "Anna,,,", "/home/anna", "")
        );
        assert_eq!(accounts.group("wheel").unwrap().members, ["anna", "zoe"]);
        assert_eq!(accounts.groups_of("anna"), ["adm", "wheel"]);
        assert_eq!(accounts.group_name(10), "wheel");
        assert_eq!(accounts.group_name(11), "11");
        let nobody = Accounts::read(&TestRoot::new(&[]).reader()).unwrap();
        assert!(nobody.users.is_empty() && nobody.groups.is_empty());
    }

    #[test]
    fn account_origin_is_derived_from_name_and_id() {
        let root = TestRoot::new(&[
            (
                "/usr/lib/sysusers.d/dbus.conf",
                "u messagebus - \"D-Bus\"\n",
            ),
            (
                "/var/lib/dpkg/info/docker.io.postinst",
                "addgroup --system docker\n",
            ),
            ("/var/lib/dpkg/info/x.list", "/etc/backup\n"),
        ]);
        let host = root.reader();
        let maker = |name, number| Accounts::origin(&host, name, number).unwrap();
        let packages = AccountOrigin::Program("packages");
        for (name, number, expected) in [
            ("root", 0, AccountOrigin::Base),
            ("nobody", 65_534, AccountOrigin::Base),
            ("messagebus", 101, packages),
            ("docker", 999, packages),
            ("backup", 998, AccountOrigin::Person),
            ("anna", 1000, AccountOrigin::Person),
            ("microk8s", 997, AccountOrigin::Program("MicroK8s")),
        ] {
            assert_eq!(maker(name, number), expected, "{name}");
        }
        assert!(matches!(
            maker("snap_daemon", 584_788),
            AccountOrigin::Program(_)
        ));
    }

    #[test]
    fn subordinate_ranges_match_user_name_and_uid() {
        let root = TestRoot::new(&[
            ("/etc/passwd", "anna:x:1000:1000::/:/bin/sh\n"),
            (
                "/etc/subuid",
                "anna:100000:65536\nbert:165536:65536\n1000:300000:10\n",
            ),
        ]);
        let accounts = Accounts::read(&root.reader()).unwrap();
        let ranges = |path| subordinate_ids(&root.reader(), path, &accounts.users[0]).unwrap();
        assert_eq!(ranges("/etc/subuid"), ["100000:65536", "300000:10"]);
        assert!(ranges("/etc/subgid").is_empty());
    }

    #[test]
    fn has_password_is_true_only_with_a_hash() {
        let shadow =
            "a:$y$j9T$x:1::::::\nb:!$y$j9T$x:1::::::\nc:!:1::::::\nd:*:1::::::\ne::1::::::\n";
        let root = TestRoot::new(&[("/etc/shadow", shadow)]);
        let known = |user| has_password(&root.reader(), user).unwrap();
        for (user, expected) in [
            ("a", true),
            ("b", true),
            ("c", false),
            ("d", false),
            ("e", false),
        ] {
            assert_eq!(known(user), Some(expected), "{user}");
        }
        assert_eq!(known("nobody"), Some(false));
    }

    #[test]
    fn account_names_follow_useradd_rules() {
        for name in ["anna", "_apt", "www-data", "pc1$", "a", &"a".repeat(32)] {
            check_new(name, "user").unwrap();
        }
        for name in [
            "",
            "$",
            "1a",
            "-a",
            "Anna",
            "a b",
            "a:b",
            "a.b",
            "ä",
            &"a".repeat(33),
        ] {
            assert!(check_new(name, "user").is_err(), "{name}");
        }
        check_existing("Debian-exim", "user").unwrap();
        for name in ["", "-a", "a,b", "a/b", "12"] {
            assert!(check_existing(name, "user").is_err(), "{name}");
        }
    }

    #[test]
    fn account_ids_are_limited_to_the_kernel_range() {
        for number in [None, Some(0), Some(4_294_967_294)] {
            assert_eq!(check_number("uid", number), None);
        }
        for number in [-1, 4_294_967_295] {
            assert!(check_number("uid", Some(number)).is_some(), "{number}");
        }
    }
}
