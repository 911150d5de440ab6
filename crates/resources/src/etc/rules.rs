//! Files of /etc that are not configuration: each with the rule that import reports.

use crate::values::glob::matches;

/// Returns the name under which a table has a path.
pub(crate) fn rule_for(table: &[(&'static str, &[&str])], path: &str) -> Option<&'static str> {
    let is_meant = |(_, patterns): &&(&'static str, &[&str])| {
        patterns.iter().any(|pattern| matches(pattern, path))
    };
    table.iter().find(is_meant).map(|(name, _)| *name)
}

/// Rules, each with the paths that it is about. The first that fits counts.
pub(crate) const IGNORED: &[(&str, &[&str])] = &[
    (
        "recorded as users and groups",
        &[
            "/etc/passwd",
            "/etc/passwd-",
            "/etc/group",
            "/etc/group-",
            "/etc/subuid",
            "/etc/subuid-",
            "/etc/subgid",
            "/etc/subgid-",
            "/etc/.pwd.lock",
        ],
    ),
    (
        "written by stead for other resources",
        &[
            "/etc/stead",
            "/etc/stead/*",
            "/etc/sysctl.d/99-zz-stead.conf",
            "/etc/modules-load.d/stead.conf",
            "/etc/modprobe.d/stead.conf",
            "/etc/systemd/system/stead-restore@.service",
            "/etc/systemd/system/*.wants/stead-restore@*",
            "/etc/systemd/system/stead-revert-*",
            "/etc/systemd/system/*.wants/stead-revert-*",
        ],
    ),
    (
        "the identity of this machine, which must be unique",
        &[
            "/etc/machine-id",
            "/etc/hostid",
            "/etc/ssh/ssh_host_*_key.pub",
            "/etc/iscsi/initiatorname.iscsi",
        ],
    ),
    ("created by ldconfig", &["/etc/ld.so.cache"]),
    (
        "created by update-ca-certificates",
        &["/etc/ssl/certs/*", "/etc/ca-certificates.conf"],
    ),
    ("chosen by update-alternatives", &["/etc/alternatives/*"]),
    (
        "created by update-rc.d",
        &["/etc/rc?.d/*", "/etc/rc?.d", "/etc/init.d/.depend.*"],
    ),
    (
        "recorded as `enabled` of the unit",
        &[
            "/etc/systemd/*.wants",
            "/etc/systemd/*.wants/*",
            "/etc/systemd/*.requires",
            "/etc/systemd/*.requires/*",
            "/etc/systemd/*.upholds",
            "/etc/systemd/*.upholds/*",
        ],
    ),
    (
        "created at boot or by the network",
        &[
            "/etc/resolv.conf",
            "/etc/mtab",
            "/etc/adjtime",
            "/etc/.updated",
            "/etc/blkid.tab*",
            "/etc/lvm/archive/*",
            "/etc/lvm/backup/*",
            "/etc/lvm/cache/*",
        ],
    ),
    (
        "created by its package",
        &[
            "/etc/shells",
            "/etc/pam.d/common-*",
            "/etc/console-setup/cached_*",
            "/etc/fonts/conf.d/*",
            "/etc/xml/*",
            "/etc/sgml/*",
            "/etc/apparmor.d/cache/*",
            "/etc/python3*/*.pyc",
            "/etc/emacs/site-start.d/*",
            "/etc/dictionaries-common/*",
            "/etc/apt/trustdb.gpg",
            "/etc/ucf.conf",
            "/etc/networks",
            "/etc/opt",
            "/etc/python3",
            "/etc/python3/debian_config",
            "/etc/dpkg/origins/default",
            "/etc/runit/*",
            "/etc/vconsole.conf",
            "/etc/.java",
            "/etc/.java/*",
        ],
    ),
    (
        "a backup of dpkg or an editor",
        &["*.dpkg-*", "*.ucf-*", "*~", "*/.*.swp", "*.stead-new"],
    ),
];

/// What known programs make, by their names.
pub(crate) const FOREIGN: &[(&str, &[&str])] = &[
    (
        "snapd",
        &[
            "/etc/systemd/system/snap-*.mount",
            "/etc/systemd/system/snap.*",
            "/etc/systemd/system/*.wants/snap*",
            "/etc/systemd/user/snap.*",
            "/etc/udev/rules.d/70-snap.*",
            "/etc/dbus-1/*/snap.*",
            "/etc/modules-load.d/snap.*",
            "/etc/sysctl.d/*snap.*",
        ],
    ),
    (
        "MicroK8s",
        &[
            "/etc/cni",
            "/etc/cni/net.d",
            "/etc/sysctl.d/10-microk8s.conf",
        ],
    ),
    ("docker", &["/etc/docker/key.json"]),
];

/// What holds a secret, whatever is in it.
pub(crate) const SECRET: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/ssh/ssh_host_*_key",
    "/etc/ssl/private/*",
    "/etc/letsencrypt/archive/*privkey*",
    "/etc/letsencrypt/accounts/*",
    "/etc/kubernetes/*.conf",
    "/etc/ppp/*-secrets",
    "/etc/security/opasswd",
    "/etc/krb5.keytab",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.keytab",
    "*/.netrc",
    "*/.htpasswd",
];

/// What belongs to this machine and to no other.
pub(crate) const MACHINE_SPECIFIC: &[&str] = &[
    "/etc/hostname",
    "/etc/hosts",
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/mailname",
    "/etc/network/interfaces*",
    "/etc/netplan/*",
    "/etc/NetworkManager/system-connections/*",
    "/etc/systemd/network/*",
    "/etc/udev/rules.d/70-persistent-*",
    "/etc/popularity-contest.conf",
    "/etc/mdadm/mdadm.conf",
    "/etc/cloud/*",
];

/// What installers leave for changes that nobody has made yet: as long as there is nothing in it but comments, it says nothing.
pub(crate) const COMMENT_ONLY: &[&str] = &[
    "/etc/apparmor.d/local/*",
    "/etc/apparmor.d/tunables/*",
    "/etc/default/locale",
    "/etc/environment",
    "/etc/fstab",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "/etc/locale.gen",
    "/etc/modules",
];

/// What installers copy into /etc: as long as it is a copy, nobody has decided anything.
pub(crate) const PACKAGE_COPIES: &[(&str, &[&str])] = &[
    ("/etc/profile", &["/usr/share/base-files/profile"]),
    ("/etc/motd", &["/usr/share/base-files/motd"]),
    ("/etc/inputrc", &["/usr/share/readline/inputrc"]),
    (
        "/etc/nsswitch.conf",
        &[
            "/usr/share/libc-bin/nsswitch.conf",
            "/usr/share/base-files/nsswitch.conf",
        ],
    ),
];
