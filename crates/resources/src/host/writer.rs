//! Changes files of the host: atomically, on disk before success is reported, and never through a symlink.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::stat::{Mode, fchmod, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, symlinkat, unlinkat},
};
use sha2::{Digest, Sha256};
use stead_engine::run::event::{News, Wait};
use xattr::FileExt;

use super::{HostError, Reader};
use crate::host::{
    beneath::Place,
    meta::{Access, Digested, Existing, Hashing, MetaKind, Secret, meta, xattrs},
    staged_file::{Folders, Staged, sync_folder, unlink},
};

/// Longest name of a file in bytes: limits.h, `NAME_MAX`.
const NAME_MAX: usize = 255;
/// What the name of a temporary file ends with.
const TEMPORARY: &str = ".stead-new";

/// The power to change the host.
pub struct Writer {
    root: PathBuf,
    blobs: PathBuf,
    listener: Arc<dyn Fn(News) + Send + Sync>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            root,
            blobs,
            listener: _,
        } = self;
        formatter
            .debug_struct("Writer")
            .field("root", root)
            .field("blobs", blobs)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Changes the host whose root folder is `root`; contents that undo needs go to the folder `blobs`.
    pub fn new(root: &Path, blobs: &Path) -> Self {
        Self {
            root: root.to_owned(),
            blobs: blobs.to_owned(),
            listener: Arc::new(drop),
        }
    }

    /// Tells `listener` how far a step is: that is one call of a provider, which knows no observer of the run.
    #[must_use]
    pub fn telling(mut self, listener: impl Fn(News) + Send + Sync + 'static) -> Self {
        self.listener = Arc::new(listener);
        self
    }

    /// Tells whoever watches how far the step is.
    pub fn tell(&self, news: News) {
        (self.listener)(news);
    }

    /// Tells whoever watches what the step waits for.
    pub(crate) fn waits_for(&self, what: impl Into<String>) {
        self.tell(News::Waiting(Wait { what: what.into() }));
    }

    /// Returns the root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a file that is there whole or not at all, and returns the digest of what was written.
    /// If that is not `expected`, nothing is replaced.
    pub fn put_file(
        &self,
        path: &Path,
        contents: &mut dyn Read,
        expected: Option<&Digested>,
        access: &Access,
        existing: Existing,
    ) -> Result<(), HostError> {
        let staged = self.stage(path, contents, expected, access, existing)?;
        staged.finish()
    }

    /// Writes a file to the disk beside its place, where nobody sees it yet.
    pub(crate) fn stage(
        &self,
        path: &Path,
        contents: &mut dyn Read,
        expected: Option<&Digested>,
        access: &Access,
        existing: Existing,
    ) -> Result<Staged, HostError> {
        let place = Place::must(&self.root, path)?;
        let new = temporary(&place)?;
        let staged = Staged::new(place.beside(&place.name), new.beside(&new.name), existing);
        fill(&place, &new, contents, expected, access, existing)?;
        Ok(staged)
    }

    /// Writes a small file as [`Self::put_file`] does, owned by whoever runs this.
    pub fn put_text(&self, path: &Path, text: &[u8], mode: u32) -> Result<(), HostError> {
        let access = Access::own(mode);
        self.put_file(path, &mut &*text, None, &access, Existing::Replace)
    }

    /// Writes to a file of the kernel, such as one below /proc/sys, in one call.
    pub fn put_kernel(&self, path: &Path, value: &[u8]) -> Result<(), HostError> {
        let place = Place::must(&self.root, path)?;
        let missing = || HostError::io("open", path)(io::Error::from(Errno::ENOENT));
        let mut file = place
            .open(OFlag::O_WRONLY | OFlag::O_TRUNC)?
            .ok_or_else(missing)?;
        file.write_all(value).map_err(HostError::io("write", path))
    }

    /// Removes a file or a symlink.
    pub fn remove_file(&self, path: &Path) -> Result<(), HostError> {
        let mut folders = Folders::default();
        self.remove_file_of(path, &mut folders)?;
        folders.sync()
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, path: &Path) -> Result<(), HostError> {
        let mut folders = Folders::default();
        let place = Place::must(&self.root, path)?;
        unlink(place, UnlinkatFlags::RemoveDir, &mut folders)?;
        folders.sync()
    }

    /// Removes a file or a symlink. That is on the disk once the folders are.
    pub(crate) fn remove_file_of(
        &self,
        path: &Path,
        folders: &mut Folders,
    ) -> Result<(), HostError> {
        let place = Place::must(&self.root, path)?;
        unlink(place, UnlinkatFlags::NoRemoveDir, folders)
    }

    /// Makes a folder where nothing is.
    pub fn make_folder(&self, path: &Path, access: &Access) -> Result<(), HostError> {
        let place = Place::must(&self.root, path)?;
        mkdirat(
            &place.folder,
            place.name.as_os_str(),
            Mode::from_bits_truncate(0o700),
        )
        .map_err(HostError::io("create the directory", path))?;
        self.set_access(path, access)?;
        sync_folder(&place)
    }

    /// Makes a symlink, or replaces one atomically.
    pub fn put_link(
        &self,
        path: &Path,
        target: &Path,
        existing: Existing,
    ) -> Result<(), HostError> {
        let place = Place::must(&self.root, path)?;
        let temporary = temporary(&place)?;
        symlinkat(target, &temporary.folder, temporary.name.as_os_str())
            .map_err(HostError::io("create the link", path))?;
        Staged::new(place, temporary, existing).finish()
    }

    /// Sets owner, group, extended attributes and mode of a file or folder. In this order: a change of owner clears
    /// mode bits and capabilities (chown(2)), and an ACL that is set brings its own mode (acl(5)).
    pub fn set_access(&self, path: &Path, access: &Access) -> Result<(), HostError> {
        let place = Place::must(&self.root, path)?;
        let is_link = place
            .stat()?
            .is_some_and(|stat| meta(&stat).kind == MetaKind::Symlink);
        if is_link {
            return Err(HostError::io("change the owner and mode of", path)(
                io::Error::from(Errno::ELOOP),
            ));
        }
        let missing = || HostError::io("open", path)(io::Error::from(Errno::ENOENT));
        let file = place
            .open(OFlag::O_RDONLY | OFlag::O_NONBLOCK)?
            .ok_or_else(missing)?;
        give(&file, path, access, access.xattrs.as_ref())?;
        fsync(&file).map_err(HostError::io("sync", path))
    }

    /// Puts on the disk what others have put into a folder or taken out of it, if it is there.
    pub fn sync_folder(&self, path: &Path) -> Result<(), HostError> {
        match Place::find(&self.root, &path.join("any"))? {
            Some(place) => sync_folder(&place),
            None => Ok(()),
        }
    }

    /// Removes what a killed write of `path` may have left beside it.
    pub fn clean(&self, path: &Path) -> Result<(), HostError> {
        let Some(place) = Place::find(&self.root, path)? else {
            return Ok(());
        };
        let left = place.beside(&temporary_name(&place.name));
        match unlinkat(
            &left.folder,
            left.name.as_os_str(),
            UnlinkatFlags::NoRemoveDir,
        ) {
            Ok(()) => sync_folder(&left),
            Err(Errno::ENOENT) => Ok(()),
            // A file system that takes no change says so before it looks.
            Err(_) if left.stat()?.is_none() => Ok(()),
            Err(errno) => Err(HostError::io("remove", &left.path)(errno)),
        }
    }

    /// Removes what killed writes may have left in a folder.
    pub fn clean_folder(&self, path: &Path) -> Result<(), HostError> {
        for name in Reader::new(&self.root).list_folder(path)? {
            let is_temporary = name
                .to_str()
                .is_some_and(|name| name.starts_with('.') && name.ends_with(TEMPORARY));
            if is_temporary {
                self.remove_file(&path.join(name))?;
            }
        }
        Ok(())
    }

    /// Keeps a secret under its digest, as [`Self::save_blob`] keeps contents.
    pub(crate) fn keep_secret(&self, digest: &str, secret: &[u8]) -> Result<(), HostError> {
        self.make_blobs()?;
        let blobs = Self::new(&self.blobs, &self.blobs);
        blobs.put_text(Path::new(&format!("/{digest}")), secret, 0o600)
    }

    /// Returns the secret that was kept under a digest; `None` if none was.
    pub(crate) fn kept_secret(&self, digest: &str) -> Result<Option<Secret>, HostError> {
        let blobs = Reader::new(&self.blobs);
        blobs.read_secret(Path::new(&format!("/{digest}")))
    }

    fn make_blobs(&self) -> Result<(), HostError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.blobs)
            .map_err(HostError::io("create the directory", &self.blobs))
    }

    /// Keeps the contents of a file, so that they can be put back when it has gone.
    pub fn save_blob(&self, path: &Path, digested: &Digested) -> Result<(), HostError> {
        let kept = self.blobs.join(&digested.sha256);
        if kept.exists() {
            return Ok(());
        }
        self.make_blobs()?;
        let file = Place::must(&self.root, path)?.open(OFlag::O_RDONLY)?;
        let mut file = file.ok_or_else(|| HostError::Changed {
            path: path.to_owned(),
        })?;
        let access = Access::own(0o600);
        let blobs = Self::new(&self.blobs, &self.blobs);
        blobs.put_file(
            Path::new(&format!("/{}", digested.sha256)),
            &mut file,
            Some(digested),
            &access,
            Existing::Replace,
        )
    }

    /// Opens contents that were kept; `None` if there are none of that digest.
    pub fn open_blob(&self, sha256: &str) -> Result<Option<File>, HostError> {
        let blobs = Reader::new(&self.blobs);
        blobs.open(Path::new(&format!("/{sha256}")))
    }
}

/// Fills the temporary file: contents, owner, mode, extended attributes, all on disk.
fn fill(
    place: &Place,
    temporary: &Place,
    contents: &mut dyn Read,
    expected: Option<&Digested>,
    access: &Access,
    existing: Existing,
) -> Result<(), HostError> {
    let path = &place.path;
    let replaced = match existing {
        Existing::Refuse => None,
        Existing::Replace => place.open(OFlag::O_RDONLY | OFlag::O_NONBLOCK)?,
    };
    let mut file = temporary
        .open(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?
        // A file system of the kernel, such as /proc, answers so.
        .ok_or_else(|| {
            HostError::io("create a file beside", path)(io::Error::from(Errno::ENOENT))
        })?;
    let digested = copy(contents, &mut file).map_err(HostError::io("write", &temporary.path))?;
    if expected.is_some_and(|expected| *expected != digested) {
        return Err(HostError::Changed { path: path.clone() });
    }
    let kept = match (&access.xattrs, replaced) {
        (None, Some(replaced)) => Some(
            xattrs(&replaced).map_err(HostError::io("read the extended attributes of", path))?,
        ),
        _ => None,
    };
    give(
        &file,
        path,
        access,
        access.xattrs.as_ref().or(kept.as_ref()),
    )?;
    fsync(&file).map_err(HostError::io("sync", &temporary.path))
}

/// Gives an open file its access, in the order that [`Writer::set_access`] explains.
fn give(
    file: &File,
    path: &Path,
    access: &Access,
    xattrs: Option<&BTreeMap<String, String>>,
) -> Result<(), HostError> {
    fchown(
        file,
        Some(Uid::from_raw(access.uid)),
        Some(Gid::from_raw(access.gid)),
    )
    .map_err(HostError::io("change the owner of", path))?;
    if let Some(wanted) = xattrs {
        replace_xattrs(file, wanted)
            .map_err(HostError::io("set the extended attributes of", path))?;
    }
    fchmod(file, Mode::from_bits_truncate(access.mode))
        .map_err(HostError::io("change the mode of", path))
}

fn copy(contents: &mut dyn Read, file: &mut File) -> io::Result<Digested> {
    let mut hashing = Hashing {
        hasher: Sha256::new(),
        size: 0,
    };
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = contents.read(&mut buffer)?;
        if count == 0 {
            return Ok(hashing.finish());
        }
        file.write_all(&buffer[..count])?;
        hashing.write_all(&buffer[..count])?;
    }
}

fn replace_xattrs(file: &File, wanted: &BTreeMap<String, String>) -> io::Result<()> {
    let there = xattrs(file)?;
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        file.remove_xattr(name)?;
    }
    for (name, value) in wanted
        .iter()
        .filter(|(name, value)| there.get(*name) != Some(value))
    {
        let value = hex::decode(value)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        file.set_xattr(name, &value)?;
    }
    Ok(())
}

/// Makes room for the temporary file of a place: what a killed run left is removed.
fn temporary(place: &Place) -> Result<Place, HostError> {
    let temporary = place.beside(&temporary_name(&place.name));
    match unlinkat(
        &temporary.folder,
        temporary.name.as_os_str(),
        UnlinkatFlags::NoRemoveDir,
    ) {
        Ok(()) | Err(Errno::ENOENT) => Ok(temporary),
        Err(errno) => Err(HostError::io("remove", &temporary.path)(errno)),
    }
}

/// Names the temporary file of a name: always the same, so that it is found after a kill. Long names are digested.
fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(TEMPORARY);
    if temporary.len() <= NAME_MAX {
        return temporary;
    }
    format!(
        ".{}{TEMPORARY}",
        hex::encode(Sha256::digest(name.as_bytes()))
    )
    .into()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;
    use crate::{files::test_root::Root, host::Reader};

    const PATH: &str = "/etc/motd";
    /// rw for the owner, rw for user 12345, r for the group, mask rw, r for others: `linux/posix_acl_xattr.h`, version 2.
    const ACL: &str = "02000000\
        01000600ffffffff\
        0200060039300000\
        04000400ffffffff\
        10000600ffffffff\
        20000400ffffffff";

    fn put(root: &Root, path: &str, text: &str, existing: Existing) -> Result<(), HostError> {
        root.writer().put_file(
            Path::new(path),
            &mut text.as_bytes(),
            None,
            &Access::own(0o644),
            existing,
        )
    }

    fn mode(root: &Root, path: &str) -> u32 {
        fs::metadata(root.at(path)).unwrap().permissions().mode() & 0o7777
    }

    fn names(root: &Root, folder: &str) -> Vec<OsString> {
        Reader::list_folder(&root.reader(), Path::new(folder)).unwrap()
    }

    /// Gives a file an extended attribute; whether the file system has them.
    fn set_xattr(root: &Root, path: &str, name: &str, value: &str) -> bool {
        match xattr::set(root.at(path), name, &hex::decode(value).unwrap()) {
            Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => false,
            result => result.map(|()| true).unwrap(),
        }
    }

    fn check_kept(name: &str, value: &str) {
        let root = Root::new(&[(PATH, "old")]);
        if !set_xattr(&root, PATH, name, value) {
            return;
        }
        let before = root.reader().xattrs(Path::new(PATH)).unwrap();
        assert_eq!(before.get(name).map(String::as_str), Some(value));
        let mode = mode(&root, PATH);
        root.writer()
            .put_text(Path::new(PATH), b"new", mode)
            .unwrap();
        assert_eq!(root.text(PATH).as_deref(), Some("new"));
        assert_eq!(root.reader().xattrs(Path::new(PATH)).unwrap(), before);
    }

    #[test]
    fn a_replaced_file_keeps_its_extended_attributes_and_acls() {
        check_kept("user.x", "00ff");
        check_kept("system.posix_acl_access", ACL);
    }

    #[test]
    fn a_mode_that_is_asked_for_wins_over_the_mode_of_an_acl() {
        let root = Root::new(&[(PATH, "old")]);
        if !set_xattr(&root, PATH, "system.posix_acl_access", ACL) {
            return;
        }
        let there = Access {
            xattrs: Some(root.reader().xattrs(Path::new(PATH)).unwrap()),
            ..Access::own(0o600)
        };
        root.writer().set_access(Path::new(PATH), &there).unwrap();
        assert_eq!(mode(&root, PATH), 0o600);
        let back = Access {
            mode: 0o664,
            ..there.clone()
        };
        root.writer().set_access(Path::new(PATH), &back).unwrap();
        assert_eq!(mode(&root, PATH), 0o664);
        assert_eq!(root.reader().xattrs(Path::new(PATH)).ok(), there.xattrs);
    }

    #[test]
    fn a_setuid_bit_survives_the_change_of_owner() {
        let root = Root::new(&[(PATH, "")]);
        let mut access = Access::own(0o6755);
        if nix::unistd::geteuid().is_root() {
            (access.uid, access.gid) = (12345, 12346);
        }
        let check = || {
            let meta = fs::metadata(root.at(PATH)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (access.uid, access.gid));
            assert_eq!(mode(&root, PATH), 0o6755);
        };
        root.writer().set_access(Path::new(PATH), &access).unwrap();
        check();
        root.writer()
            .put_file(
                Path::new(PATH),
                &mut &b"new"[..],
                None,
                &access,
                Existing::Replace,
            )
            .unwrap();
        check();
    }

    #[test]
    fn bytes_that_were_not_planned_replace_nothing() {
        let root = Root::new(&[(PATH, "old")]);
        let expected = Digested {
            sha256: hex::encode(Sha256::digest("other")),
            size: 5,
        };
        let put = |text: &str| {
            root.writer().put_file(
                Path::new(PATH),
                &mut text.as_bytes(),
                Some(&expected),
                &Access::own(0o644),
                Existing::Replace,
            )
        };
        assert!(matches!(put("wrong"), Err(HostError::Changed { .. })));
        assert_eq!(root.text(PATH).as_deref(), Some("old"));
        assert_eq!(names(&root, "/etc"), ["motd"]);
        put("other").unwrap();
        assert_eq!(root.text(PATH).as_deref(), Some("other"));
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_beside_it() {
        let root = Root::new(&[("/etc/folder/file", ""), (PATH, "old")]);
        for path in ["/etc/folder", PATH] {
            assert!(put(&root, path, "new", Existing::Refuse).is_err());
            let link = root
                .writer()
                .put_link(Path::new(path), Path::new("/"), Existing::Refuse);
            assert!(link.is_err());
        }
        assert!(put(&root, "/etc/folder", "new", Existing::Replace).is_err());
        let link =
            root.writer()
                .put_link(Path::new("/etc/folder"), Path::new("/"), Existing::Replace);
        assert!(link.is_err());
        assert_eq!(names(&root, "/etc"), ["folder", "motd"]);
        assert_eq!(root.text(PATH).as_deref(), Some("old"));
    }

    fn check_refused(path: &str, attempt: impl Fn(&Writer, &Path) -> Result<(), HostError>) {
        let root = Root::new(&[("/real/file", "old"), ("/real/folder/x", "")]);
        symlink("real", root.at("/link")).unwrap();
        symlink("file", root.at("/real/link")).unwrap();
        attempt(&root.writer(), Path::new(path)).unwrap_err();
        assert_eq!(names(&root, "/real"), ["file", "folder", "link"], "{path}");
        assert_eq!(root.text("/real/file").as_deref(), Some("old"));
        assert_eq!(mode(&root, "/real/file"), 0o644);
    }

    #[test]
    fn nothing_is_changed_through_a_symlink() {
        check_refused("/link/file", |host, path| {
            host.put_text(path, b"new", 0o600)
        });
        check_refused("/link/file", Writer::remove_file);
        check_refused("/link/folder", Writer::remove_folder);
        check_refused("/link/new", |host, path| {
            host.make_folder(path, &Access::own(0o700))
        });
        check_refused("/link/new", |host, path| {
            host.put_link(path, Path::new("x"), Existing::Refuse)
        });
        check_refused("/link/file", |host, path| {
            host.set_access(path, &Access::own(0o600))
        });
        check_refused("/real/link", |host, path| {
            host.set_access(path, &Access::own(0o600))
        });
        check_refused("/link/file", |host, path| host.put_kernel(path, b"new"));
        check_refused("/real/link", |host, path| host.put_kernel(path, b"new"));
        check_refused("/real/link", |host, path| {
            host.put_text(path, b"new", 0o600)
        });
    }

    fn check_cleaned(name: &str, left: &str) {
        let root = Root::new(&[("/etc/other", "")]);
        fs::write(root.at("/etc").join(left), "half").unwrap();
        root.writer().clean(&Path::new("/etc").join(name)).unwrap();
        assert_eq!(names(&root, "/etc"), ["other"], "{name}");
    }

    #[test]
    fn what_a_killed_write_left_is_found_by_its_name() {
        check_cleaned("motd", ".motd.stead-new");
        let long = "x".repeat(NAME_MAX);
        let digest = hex::encode(Sha256::digest(&long));
        check_cleaned(&long, &format!(".{digest}.stead-new"));
        let root = Root::new(&[]);
        root.writer().clean(Path::new("/no/folder")).unwrap();
    }

    #[test]
    fn a_new_write_goes_over_what_a_killed_one_left() {
        let root = Root::new(&[("/etc/.motd.stead-new", "half")]);
        put(&root, PATH, "whole", Existing::Refuse).unwrap();
        assert_eq!(root.text(PATH).as_deref(), Some("whole"));
        assert_eq!(names(&root, "/etc"), ["motd"]);
    }

    #[test]
    fn contents_are_kept_by_digest_and_only_if_they_are_what_was_read() {
        let root = Root::new(&[(PATH, "old")]);
        let path = Path::new(PATH);
        let digested = root.reader().digest(path).unwrap().unwrap();
        fs::write(root.at(PATH), "changed").unwrap();
        let error = root.writer().save_blob(path, &digested).unwrap_err();
        assert!(matches!(error, HostError::Changed { .. }));
        assert!(root.writer().open_blob(&digested.sha256).unwrap().is_none());
        fs::write(root.at(PATH), "old").unwrap();
        root.writer().save_blob(path, &digested).unwrap();
        let mut kept = String::new();
        let blob = root.writer().open_blob(&digested.sha256).unwrap();
        blob.unwrap().read_to_string(&mut kept).unwrap();
        assert_eq!(kept, "old");
        assert_eq!(mode(&root, "/blobs"), 0o700);
        assert_eq!(mode(&root, &format!("/blobs/{}", digested.sha256)), 0o600);
    }
}
