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
use stead_engine::{
    model::digest::{Sha256Writer, sha256},
    run::event::{StepProgress, Wait},
};
use xattr::FileExt;

use super::{HostError, Reader};
use crate::host::{
    beneath::PathHandle,
    meta::{FileAttributes, FileDigest, IfExists, MetaKind, Secret, meta, xattrs},
    staged_file::{DirsToSync, StagedFile, sync_parent_dir, unlink},
};

/// Longest name of a file in bytes: limits.h, `NAME_MAX`.
const NAME_MAX: usize = 255;
/// What the name of a temporary file ends with.
const TEMPORARY_SUFFIX: &str = ".stead-new";

/// The power to change the host.
pub struct Writer {
    root: PathBuf,
    blob_dir: PathBuf,
    listener: Arc<dyn Fn(StepProgress) + Send + Sync>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            root,
            blob_dir,
            listener: _,
        } = self;
        formatter
            .debug_struct("Writer")
            .field("root", root)
            .field("blobs", blob_dir)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Changes the host whose root directory is `root`; contents that undo needs go to the directory `blobs`.
    pub fn new(root: &Path, blobs: &Path) -> Self {
        Self {
            root: root.to_owned(),
            blob_dir: blobs.to_owned(),
            listener: Arc::new(drop),
        }
    }

    /// Tells `listener` how far a step is: that is one call of a provider, which knows no observer of the run.
    #[must_use]
    pub fn with_listener(
        mut self,
        listener: impl Fn(StepProgress) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Arc::new(listener);
        self
    }

    /// Tells whoever watches how far the step is.
    pub fn emit(&self, news: StepProgress) {
        (self.listener)(news);
    }

    /// Tells whoever watches what the step waits for.
    pub(crate) fn report_wait(&self, what: impl Into<String>) {
        self.emit(StepProgress::Waiting(Wait { what: what.into() }));
    }

    /// Returns the root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a file that is there whole or not at all, and returns the digest of what was written.
    /// If that is not `expected`, nothing is replaced.
    pub fn write_file(
        &self,
        path: &Path,
        contents: &mut dyn Read,
        expected: Option<&FileDigest>,
        access: &FileAttributes,
        existing: IfExists,
    ) -> Result<(), HostError> {
        let staged = self.stage(path, contents, expected, access, existing)?;
        staged.commit_and_sync()
    }

    /// Writes a file to the disk beside its place, where nobody sees it yet.
    pub(crate) fn stage(
        &self,
        path: &Path,
        contents: &mut dyn Read,
        expected: Option<&FileDigest>,
        access: &FileAttributes,
        existing: IfExists,
    ) -> Result<StagedFile, HostError> {
        let place = PathHandle::find_existing(&self.root, path)?;
        let new = prepare_temporary(&place)?;
        let staged = StagedFile::new(place.sibling(&place.name), new.sibling(&new.name), existing);
        write_temporary(&place, &new, contents, expected, access, existing)?;
        Ok(staged)
    }

    /// Writes a small file as [`Self::write_file`] does, owned by whoever runs this.
    pub fn write_text(&self, path: &Path, text: &[u8], mode: u32) -> Result<(), HostError> {
        let access = FileAttributes::for_current_user(mode);
        self.write_file(path, &mut &*text, None, &access, IfExists::Replace)
    }

    /// Writes to a file of the kernel, such as one below /proc/sys, in one call.
    pub fn write_kernel_file(&self, path: &Path, value: &[u8]) -> Result<(), HostError> {
        let place = PathHandle::find_existing(&self.root, path)?;
        let missing = || HostError::io("open", path)(io::Error::from(Errno::ENOENT));
        let mut file = place
            .open(OFlag::O_WRONLY | OFlag::O_TRUNC)?
            .ok_or_else(missing)?;
        file.write_all(value).map_err(HostError::io("write", path))
    }

    /// Removes a file or a symlink.
    pub fn remove_file(&self, path: &Path) -> Result<(), HostError> {
        let mut dirs = DirsToSync::default();
        self.remove_file_unsynced(path, &mut dirs)?;
        dirs.sync()
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &Path) -> Result<(), HostError> {
        let mut dirs = DirsToSync::default();
        let place = PathHandle::find_existing(&self.root, path)?;
        unlink(place, UnlinkatFlags::RemoveDir, &mut dirs)?;
        dirs.sync()
    }

    /// Removes a file or a symlink. That is on the disk once the directories are.
    pub(crate) fn remove_file_unsynced(
        &self,
        path: &Path,
        dirs: &mut DirsToSync,
    ) -> Result<(), HostError> {
        let place = PathHandle::find_existing(&self.root, path)?;
        unlink(place, UnlinkatFlags::NoRemoveDir, dirs)
    }

    /// Makes a directory where nothing is.
    pub fn create_dir(&self, path: &Path, access: &FileAttributes) -> Result<(), HostError> {
        let place = PathHandle::find_existing(&self.root, path)?;
        mkdirat(
            &place.dir,
            place.name.as_os_str(),
            Mode::from_bits_truncate(0o700),
        )
        .map_err(HostError::io("create the directory", path))?;
        self.set_attributes(path, access)?;
        sync_parent_dir(&place)
    }

    /// Makes a symlink, or replaces one atomically.
    pub fn write_symlink(
        &self,
        path: &Path,
        target: &Path,
        existing: IfExists,
    ) -> Result<(), HostError> {
        let place = PathHandle::find_existing(&self.root, path)?;
        let temporary = prepare_temporary(&place)?;
        symlinkat(target, &temporary.dir, temporary.name.as_os_str())
            .map_err(HostError::io("create the link", path))?;
        StagedFile::new(place, temporary, existing).commit_and_sync()
    }

    /// Sets owner, group, extended attributes and mode of a file or directory. In this order: a change of owner clears
    /// mode bits and capabilities (chown(2)), and an ACL that is set brings its own mode (acl(5)).
    pub fn set_attributes(&self, path: &Path, access: &FileAttributes) -> Result<(), HostError> {
        let place = PathHandle::find_existing(&self.root, path)?;
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
        apply_attributes(&file, path, access, access.xattrs.as_ref())?;
        fsync(&file).map_err(HostError::io("sync", path))
    }

    /// Puts on the disk what others have put into a directory or taken out of it, if it is there.
    pub fn sync_dir(&self, path: &Path) -> Result<(), HostError> {
        match PathHandle::find(&self.root, &path.join("any"))? {
            Some(place) => sync_parent_dir(&place),
            None => Ok(()),
        }
    }

    /// Removes what a killed write of `path` may have left beside it.
    pub fn remove_temporary(&self, path: &Path) -> Result<(), HostError> {
        let Some(place) = PathHandle::find(&self.root, path)? else {
            return Ok(());
        };
        let left = place.sibling(&temporary_name(&place.name));
        match unlinkat(&left.dir, left.name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => sync_parent_dir(&left),
            Err(Errno::ENOENT) => Ok(()),
            // A file system that takes no change says so before it looks.
            Err(_) if left.stat()?.is_none() => Ok(()),
            Err(errno) => Err(HostError::io("remove", &left.path)(errno)),
        }
    }

    /// Removes what killed writes may have left in a directory.
    pub fn remove_temporaries(&self, path: &Path) -> Result<(), HostError> {
        for name in Reader::new(&self.root).list_dir(path)? {
            let is_temporary = name
                .to_str()
                .is_some_and(|name| name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX));
            if is_temporary {
                self.remove_file(&path.join(name))?;
            }
        }
        Ok(())
    }

    /// Keeps a secret under its digest, as [`Self::store_blob`] keeps contents.
    pub(crate) fn store_secret(&self, digest: &str, secret: &[u8]) -> Result<(), HostError> {
        self.create_blob_dir()?;
        let blobs = Self::new(&self.blob_dir, &self.blob_dir);
        blobs.write_text(Path::new(&format!("/{digest}")), secret, 0o600)
    }

    /// Returns the secret that was kept under a digest; `None` if none was.
    pub(crate) fn load_secret(&self, digest: &str) -> Result<Option<Secret>, HostError> {
        let blobs = Reader::new(&self.blob_dir);
        blobs.read_secret(Path::new(&format!("/{digest}")))
    }

    fn create_blob_dir(&self) -> Result<(), HostError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.blob_dir)
            .map_err(HostError::io("create the directory", &self.blob_dir))
    }

    /// Keeps the contents of a file, so that they can be put back when it has gone.
    pub fn store_blob(&self, path: &Path, digested: &FileDigest) -> Result<(), HostError> {
        let kept = self.blob_dir.join(&digested.sha256);
        if kept.exists() {
            return Ok(());
        }
        self.create_blob_dir()?;
        let file = PathHandle::find_existing(&self.root, path)?.open(OFlag::O_RDONLY)?;
        let mut file = file.ok_or_else(|| HostError::Changed {
            path: path.to_owned(),
        })?;
        let access = FileAttributes::for_current_user(0o600);
        let blobs = Self::new(&self.blob_dir, &self.blob_dir);
        blobs.write_file(
            Path::new(&format!("/{}", digested.sha256)),
            &mut file,
            Some(digested),
            &access,
            IfExists::Replace,
        )
    }

    /// Opens contents that were kept; `None` if there are none of that digest.
    pub fn open_blob(&self, sha256: &str) -> Result<Option<File>, HostError> {
        let blobs = Reader::new(&self.blob_dir);
        blobs.open(Path::new(&format!("/{sha256}")))
    }
}

/// Fills the temporary file: contents, owner, mode, extended attributes, all on disk.
fn write_temporary(
    place: &PathHandle,
    temporary: &PathHandle,
    contents: &mut dyn Read,
    expected: Option<&FileDigest>,
    access: &FileAttributes,
    existing: IfExists,
) -> Result<(), HostError> {
    let path = &place.path;
    let replaced = match existing {
        IfExists::Refuse => None,
        IfExists::Replace => place.open(OFlag::O_RDONLY | OFlag::O_NONBLOCK)?,
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
    apply_attributes(
        &file,
        path,
        access,
        access.xattrs.as_ref().or(kept.as_ref()),
    )?;
    fsync(&file).map_err(HostError::io("sync", &temporary.path))
}

/// Gives an open file its access, in the order that [`Writer::set_attributes`] explains.
fn apply_attributes(
    file: &File,
    path: &Path,
    access: &FileAttributes,
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

fn copy(contents: &mut dyn Read, file: &mut File) -> io::Result<FileDigest> {
    let (mut hashing, mut size) = (Sha256Writer::default(), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = contents.read(&mut buffer)?;
        if count == 0 {
            return Ok(FileDigest {
                sha256: hashing.finish(),
                size,
            });
        }
        file.write_all(&buffer[..count])?;
        hashing.write_all(&buffer[..count])?;
        size += count as u64;
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
fn prepare_temporary(place: &PathHandle) -> Result<PathHandle, HostError> {
    let temporary = place.sibling(&temporary_name(&place.name));
    match unlinkat(
        &temporary.dir,
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
    temporary.push(TEMPORARY_SUFFIX);
    if temporary.len() <= NAME_MAX {
        return temporary;
    }
    format!(".{}{TEMPORARY_SUFFIX}", sha256(name.as_bytes())).into()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;
    use crate::{files::test_root::TestRoot, host::Reader};

    const PATH: &str = "/etc/motd";
    /// rw for the owner, rw for user 12345, r for the group, mask rw, r for others: `linux/posix_acl_xattr.h`, version 2.
    const ACL: &str = "02000000\
        01000600ffffffff\
        0200060039300000\
        04000400ffffffff\
        10000600ffffffff\
        20000400ffffffff";

    fn write_content(
        root: &TestRoot,
        path: &str,
        text: &str,
        existing: IfExists,
    ) -> Result<(), HostError> {
        root.writer().write_file(
            Path::new(path),
            &mut text.as_bytes(),
            None,
            &FileAttributes::for_current_user(0o644),
            existing,
        )
    }

    fn mode(root: &TestRoot, path: &str) -> u32 {
        fs::metadata(root.at(path)).unwrap().permissions().mode() & 0o7777
    }

    fn names(root: &TestRoot, directory: &str) -> Vec<OsString> {
        Reader::list_dir(&root.reader(), Path::new(directory)).unwrap()
    }

    /// Gives a file an extended attribute; whether the file system has them.
    fn set_xattr(root: &TestRoot, path: &str, name: &str, value: &str) -> bool {
        match xattr::set(root.at(path), name, &hex::decode(value).unwrap()) {
            Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => false,
            result => result.map(|()| true).unwrap(),
        }
    }

    fn check_kept(name: &str, value: &str) {
        let root = TestRoot::new(&[(PATH, "old")]);
        if !set_xattr(&root, PATH, name, value) {
            return;
        }
        let before = root.reader().xattrs(Path::new(PATH)).unwrap();
        assert_eq!(before.get(name).map(String::as_str), Some(value));
        let mode = mode(&root, PATH);
        root.writer()
            .write_text(Path::new(PATH), b"new", mode)
            .unwrap();
        assert_eq!(root.text(PATH).as_deref(), Some("new"));
        assert_eq!(root.reader().xattrs(Path::new(PATH)).unwrap(), before);
    }

    #[test]
    fn replaced_file_keeps_xattrs_and_acls() {
        check_kept("user.x", "00ff");
        check_kept("system.posix_acl_access", ACL);
    }

    #[test]
    fn requested_mode_overrides_the_mode_of_an_acl() {
        let root = TestRoot::new(&[(PATH, "old")]);
        if !set_xattr(&root, PATH, "system.posix_acl_access", ACL) {
            return;
        }
        let there = FileAttributes {
            xattrs: Some(root.reader().xattrs(Path::new(PATH)).unwrap()),
            ..FileAttributes::for_current_user(0o600)
        };
        root.writer()
            .set_attributes(Path::new(PATH), &there)
            .unwrap();
        assert_eq!(mode(&root, PATH), 0o600);
        let back = FileAttributes {
            mode: 0o664,
            ..there.clone()
        };
        root.writer()
            .set_attributes(Path::new(PATH), &back)
            .unwrap();
        assert_eq!(mode(&root, PATH), 0o664);
        assert_eq!(root.reader().xattrs(Path::new(PATH)).ok(), there.xattrs);
    }

    #[test]
    fn setuid_bit_survives_change_of_owner() {
        let root = TestRoot::new(&[(PATH, "")]);
        let mut access = FileAttributes::for_current_user(0o6755);
        if nix::unistd::geteuid().is_root() {
            (access.uid, access.gid) = (12345, 12346);
        }
        let check = || {
            let meta = fs::metadata(root.at(PATH)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (access.uid, access.gid));
            assert_eq!(mode(&root, PATH), 0o6755);
        };
        root.writer()
            .set_attributes(Path::new(PATH), &access)
            .unwrap();
        check();
        root.writer()
            .write_file(
                Path::new(PATH),
                &mut &b"new"[..],
                None,
                &access,
                IfExists::Replace,
            )
            .unwrap();
        check();
    }

    #[test]
    fn write_file_rejects_unplanned_bytes() {
        let root = TestRoot::new(&[(PATH, "old")]);
        let expected = FileDigest {
            sha256: sha256("other"),
            size: 5,
        };
        let put = |text: &str| {
            root.writer().write_file(
                Path::new(PATH),
                &mut text.as_bytes(),
                Some(&expected),
                &FileAttributes::for_current_user(0o644),
                IfExists::Replace,
            )
        };
        assert!(matches!(put("wrong"), Err(HostError::Changed { .. })));
        assert_eq!(root.text(PATH).as_deref(), Some("old"));
        assert_eq!(names(&root, "/etc"), ["motd"]);
        put("other").unwrap();
        assert_eq!(root.text(PATH).as_deref(), Some("other"));
    }

    #[test]
    fn failed_write_leaves_no_temporary_file() {
        let root = TestRoot::new(&[("/etc/folder/file", ""), (PATH, "old")]);
        for path in ["/etc/folder", PATH] {
            assert!(write_content(&root, path, "new", IfExists::Refuse).is_err());
            let link =
                root.writer()
                    .write_symlink(Path::new(path), Path::new("/"), IfExists::Refuse);
            assert!(link.is_err());
        }
        assert!(write_content(&root, "/etc/folder", "new", IfExists::Replace).is_err());
        let link = root.writer().write_symlink(
            Path::new("/etc/folder"),
            Path::new("/"),
            IfExists::Replace,
        );
        assert!(link.is_err());
        assert_eq!(names(&root, "/etc"), ["folder", "motd"]);
        assert_eq!(root.text(PATH).as_deref(), Some("old"));
    }

    fn check_refused(path: &str, attempt: impl Fn(&Writer, &Path) -> Result<(), HostError>) {
        let root = TestRoot::new(&[("/real/file", "old"), ("/real/folder/x", "")]);
        symlink("real", root.at("/link")).unwrap();
        symlink("file", root.at("/real/link")).unwrap();
        attempt(&root.writer(), Path::new(path)).unwrap_err();
        assert_eq!(names(&root, "/real"), ["file", "folder", "link"], "{path}");
        assert_eq!(root.text("/real/file").as_deref(), Some("old"));
        assert_eq!(mode(&root, "/real/file"), 0o644);
    }

    #[test]
    fn writer_changes_nothing_through_a_symlink() {
        check_refused("/link/file", |host, path| {
            host.write_text(path, b"new", 0o600)
        });
        check_refused("/link/file", Writer::remove_file);
        check_refused("/link/folder", Writer::remove_dir);
        check_refused("/link/new", |host, path| {
            host.create_dir(path, &FileAttributes::for_current_user(0o700))
        });
        check_refused("/link/new", |host, path| {
            host.write_symlink(path, Path::new("x"), IfExists::Refuse)
        });
        check_refused("/link/file", |host, path| {
            host.set_attributes(path, &FileAttributes::for_current_user(0o600))
        });
        check_refused("/real/link", |host, path| {
            host.set_attributes(path, &FileAttributes::for_current_user(0o600))
        });
        check_refused("/link/file", |host, path| {
            host.write_kernel_file(path, b"new")
        });
        check_refused("/real/link", |host, path| {
            host.write_kernel_file(path, b"new")
        });
        check_refused("/real/link", |host, path| {
            host.write_text(path, b"new", 0o600)
        });
    }

    fn check_cleaned(name: &str, left: &str) {
        let root = TestRoot::new(&[("/etc/other", "")]);
        fs::write(root.at("/etc").join(left), "half").unwrap();
        root.writer()
            .remove_temporary(&Path::new("/etc").join(name))
            .unwrap();
        assert_eq!(names(&root, "/etc"), ["other"], "{name}");
    }

    #[test]
    fn remove_temporary_finds_the_file_of_a_killed_write() {
        check_cleaned("motd", ".motd.stead-new");
        let long = "x".repeat(NAME_MAX);
        let digest = sha256(&long);
        check_cleaned(&long, &format!(".{digest}.stead-new"));
        let root = TestRoot::new(&[]);
        root.writer()
            .remove_temporary(Path::new("/no/folder"))
            .unwrap();
    }

    #[test]
    fn write_replaces_the_temporary_file_of_a_killed_one() {
        let root = TestRoot::new(&[("/etc/.motd.stead-new", "half")]);
        write_content(&root, PATH, "whole", IfExists::Refuse).unwrap();
        assert_eq!(root.text(PATH).as_deref(), Some("whole"));
        assert_eq!(names(&root, "/etc"), ["motd"]);
    }

    #[test]
    fn store_blob_keeps_content_only_if_digest_matches() {
        let root = TestRoot::new(&[(PATH, "old")]);
        let path = Path::new(PATH);
        let digested = root.reader().digest(path).unwrap().unwrap();
        fs::write(root.at(PATH), "changed").unwrap();
        let error = root.writer().store_blob(path, &digested).unwrap_err();
        assert!(matches!(error, HostError::Changed { .. }));
        assert!(root.writer().open_blob(&digested.sha256).unwrap().is_none());
        fs::write(root.at(PATH), "old").unwrap();
        root.writer().store_blob(path, &digested).unwrap();
        let mut kept = String::new();
        let blob = root.writer().open_blob(&digested.sha256).unwrap();
        blob.unwrap().read_to_string(&mut kept).unwrap();
        assert_eq!(kept, "old");
        assert_eq!(mode(&root, "/blobs"), 0o700);
        assert_eq!(mode(&root, &format!("/blobs/{}", digested.sha256)), 0o600);
    }
}
