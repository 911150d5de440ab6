//! The home directory of a user as useradd creates it: a copy of /etc/skel. One without other contents can be removed and restored.

use std::path::Path;

use crate::host::{HostError, Meta, MetaKind, Reader, Writer};

/// What a new home directory is filled with: useradd(8), `--skel`.
const SKELETON: &str = "/etc/skel";

/// Whether a directory holds the same as /etc/skel and belongs to this user and group alone.
pub(crate) fn is_unmodified(
    host: &Reader,
    home: &Path,
    uid: i64,
    gid: i64,
) -> Result<bool, HostError> {
    let is_theirs = |meta: &Meta| i64::from(meta.uid) == uid && i64::from(meta.gid) == gid;
    match host.stat(home)? {
        Some(meta) if meta.kind == MetaKind::Directory && is_theirs(&meta) => {
            is_same_dir(host, home, Path::new(SKELETON), &is_theirs)
        }
        _ => Ok(false),
    }
}

/// Removes a directory in which nothing is but what is in /etc/skel. Anything else in it stays, and so does the directory.
pub(crate) fn remove(host: &Writer, home: &Path) -> Result<(), HostError> {
    remove_copy(host, &Reader::new(host.root()), home, Path::new(SKELETON))
}

fn is_same_dir(
    host: &Reader,
    copy: &Path,
    original: &Path,
    is_theirs: &impl Fn(&Meta) -> bool,
) -> Result<bool, HostError> {
    let names = host.list_dir(copy)?;
    if names != host.list_dir(original)? {
        return Ok(false);
    }
    for name in names {
        let (copy, original) = (copy.join(&name), original.join(&name));
        let (Some(one), Some(other)) = (host.stat(&copy)?, host.stat(&original)?) else {
            return Ok(false);
        };
        let is_like = one.kind == other.kind
            && (one.mode == other.mode || one.kind == MetaKind::Symlink)
            && is_theirs(&one);
        let is_same = is_like
            && match one.kind {
                MetaKind::File => {
                    one.size == other.size && host.digest(&copy)? == host.digest(&original)?
                }
                MetaKind::Directory => is_same_dir(host, &copy, &original, is_theirs)?,
                MetaKind::Symlink => host.read_link(&copy)? == host.read_link(&original)?,
                MetaKind::Other => false,
            };
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove_copy(
    host: &Writer,
    reader: &Reader,
    copy: &Path,
    original: &Path,
) -> Result<(), HostError> {
    for name in reader.list_dir(original)? {
        let (copy, original) = (copy.join(&name), original.join(&name));
        match reader.stat(&copy)?.map(|meta| meta.kind) {
            Some(MetaKind::Directory) => remove_copy(host, reader, &copy, &original)?,
            Some(_) => host.remove_file(&copy)?,
            None => {}
        }
    }
    host.remove_dir(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    const SKEL: [(&str, &str); 2] = [
        ("/etc/skel/.profile", "umask 022\n"),
        ("/etc/skel/.config/a", "b"),
    ];
    const COPY: [(&str, &str); 2] = [
        ("/home/anna/.profile", "umask 022\n"),
        ("/home/anna/.config/a", "b"),
    ];

    fn is_home_unmodified(files: &[(&str, &str)], uid: i64) -> bool {
        let root = TestRoot::new(files);
        let gid = i64::from(nix::unistd::getegid().as_raw());
        is_unmodified(&root.reader(), Path::new("/home/anna"), uid, gid).unwrap()
    }

    #[test]
    fn home_is_unmodified_while_it_equals_the_skeleton() {
        let uid = i64::from(nix::unistd::geteuid().as_raw());
        let check = |more: &[(&str, &str)], expected: bool| {
            let files = [&SKEL[..], &COPY[..], more].concat();
            assert_eq!(is_home_unmodified(&files, uid), expected, "{more:?}");
        };
        check(&[], true);
        check(&[("/home/anna/.profile", "umask 077\n")], false);
        check(&[("/home/anna/letter", "")], false);
        check(&[("/home/anna/.config/b", "")], false);
        check(&[("/etc/skel/.bashrc", "")], false);
        let files = [&SKEL[..], &COPY[..]].concat();
        assert!(!is_home_unmodified(&files, uid + 1), "it is another's");
        assert!(!is_home_unmodified(&SKEL, uid), "there is none");
    }

    #[test]
    fn remove_deletes_the_home_but_no_user_files() {
        let root = TestRoot::new(&[&SKEL[..], &COPY[..]].concat());
        remove(&root.writer(), Path::new("/home/anna")).unwrap();
        let there = |path: &str| root.reader().stat(Path::new(path)).unwrap().is_some();
        assert!(!there("/home/anna") && there("/home") && there("/etc/skel/.config/a"));

        let letter = ("/home/anna/letter", "dear");
        let root = TestRoot::new(&[&SKEL[..], &COPY[..], &[letter]].concat());
        assert!(remove(&root.writer(), Path::new("/home/anna")).is_err());
        assert_eq!(root.text(letter.0).as_deref(), Some("dear"));
    }
}
