//! Changing files of the host: atomically, on disk before it is said to be done, and never through a symlink.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, RenameFlags, renameat, renameat2},
    sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, fsync, symlinkat, unlinkat},
};
use sha2::{Digest, Sha256};
use xattr::FileExt;

use super::{
    HostError,
    place::Place,
    reader::{Digested, Hashing, xattrs},
};

/// Longest name of a file in bytes: limits.h, `NAME_MAX`.
const NAME_MAX: usize = 255;

/// The power to change the host.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    blobs: PathBuf,
}

/// Who owns something and who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// What to do with what is at a path already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing may be there.
    Refuse,
    /// Replace it, and keep its extended attributes and ACLs.
    Replace,
}

impl Writer {
    /// Changes the host whose root folder is `root`; contents that undo needs go to the folder `blobs`.
    pub fn new(root: &Path, blobs: &Path) -> Self {
        Self {
            root: root.to_owned(),
            blobs: blobs.to_owned(),
        }
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
        access: Access,
        existing: Existing,
    ) -> Result<(), HostError> {
        let place = Place::must(&self.root, path)?;
        let temporary = temporary(&place)?;
        let result = fill(&place, &temporary, contents, expected, access, existing)
            .and_then(|()| rename(&temporary, &place, existing));
        if result.is_err() {
            // The first failure is the one to tell; `clean` finds what is left.
            unlinkat(
                &temporary.folder,
                temporary.name.as_os_str(),
                UnlinkatFlags::NoRemoveDir,
            )
            .ok();
        }
        result
    }

    /// Writes a small file as [`Self::put_file`] does, owned by whoever runs this.
    pub fn put_text(&self, path: &Path, text: &[u8], mode: u32) -> Result<(), HostError> {
        let access = Access {
            mode,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        };
        self.put_file(path, &mut &*text, None, access, Existing::Replace)
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
        self.unlink(path, UnlinkatFlags::NoRemoveDir)
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, path: &Path) -> Result<(), HostError> {
        self.unlink(path, UnlinkatFlags::RemoveDir)
    }

    fn unlink(&self, path: &Path, what: UnlinkatFlags) -> Result<(), HostError> {
        let place = Place::must(&self.root, path)?;
        unlinkat(&place.folder, place.name.as_os_str(), what)
            .map_err(HostError::io("remove", path))?;
        sync_folder(&place)
    }

    /// Makes a folder where nothing is.
    pub fn make_folder(&self, path: &Path, access: Access) -> Result<(), HostError> {
        let place = Place::must(&self.root, path)?;
        mkdirat(
            &place.folder,
            place.name.as_os_str(),
            Mode::from_bits_truncate(0o700),
        )
        .map_err(HostError::io("make the folder", path))?;
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
            .map_err(HostError::io("make the link", path))?;
        rename(&temporary, &place, existing)
    }

    /// Sets owner, group and mode of a file or folder, in this order, because a change of owner clears mode bits.
    pub fn set_access(&self, path: &Path, access: Access) -> Result<(), HostError> {
        let place = Place::must(&self.root, path)?;
        let is_link = place
            .stat()?
            .is_some_and(|stat| super::reader::meta(&stat).kind == super::MetaKind::Symlink);
        if is_link {
            return Err(HostError::io("change the owner and mode of", path)(
                io::Error::from(Errno::ELOOP),
            ));
        }
        fchownat(
            &place.folder,
            place.name.as_os_str(),
            Some(Uid::from_raw(access.uid)),
            Some(Gid::from_raw(access.gid)),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .map_err(HostError::io("change the owner of", path))?;
        // No flag: before kernel 6.6 fchmodat knows none; the look above and the folder that only root writes stand for it.
        let mode = Mode::from_bits_truncate(access.mode);
        fchmodat(
            &place.folder,
            place.name.as_os_str(),
            mode,
            FchmodatFlags::FollowSymlink,
        )
        .map_err(HostError::io("change the mode of", path))?;
        match place.open(OFlag::O_RDONLY)? {
            Some(file) => fsync(&file).map_err(HostError::io("sync", path)),
            None => Ok(()),
        }
    }

    /// Gives a file or folder exactly these extended attributes, values in hexadecimal.
    pub fn set_xattrs(
        &self,
        path: &Path,
        wanted: &BTreeMap<String, String>,
    ) -> Result<(), HostError> {
        let place = Place::must(&self.root, path)?;
        let Some(file) = place.open(OFlag::O_RDONLY)? else {
            return Ok(());
        };
        replace_xattrs(&file, wanted)
            .map_err(HostError::io("set the extended attributes of", path))?;
        fsync(&file).map_err(HostError::io("sync", path))
    }

    /// Removes what a killed write of `path` may have left beside it.
    pub fn clean(&self, path: &Path) -> Result<(), HostError> {
        let Some(place) = Place::find(&self.root, path)? else {
            return Ok(());
        };
        let left = place.beside(&temporary_name(&place.name))?;
        match unlinkat(
            &left.folder,
            left.name.as_os_str(),
            UnlinkatFlags::NoRemoveDir,
        ) {
            Ok(()) => sync_folder(&left),
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(HostError::io("remove", &left.path)(errno)),
        }
    }

    /// Keeps the contents of a file, so that they can be put back when it has gone.
    pub fn save_blob(&self, path: &Path, digested: &Digested) -> Result<(), HostError> {
        let kept = self.blobs.join(&digested.sha256);
        if kept.exists() {
            return Ok(());
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.blobs)
            .map_err(HostError::io("make the folder", &self.blobs))?;
        let file = Place::must(&self.root, path)?.open(OFlag::O_RDONLY)?;
        let mut file = file.ok_or_else(|| HostError::Changed {
            path: path.to_owned(),
        })?;
        let access = Access {
            mode: 0o600,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        };
        let blobs = Self::new(&self.blobs, &self.blobs);
        blobs.put_file(
            Path::new(&format!("/{}", digested.sha256)),
            &mut file,
            Some(digested),
            access,
            Existing::Replace,
        )
    }

    /// Opens contents that were kept; `None` if there are none of that digest.
    pub fn open_blob(&self, sha256: &str) -> Result<Option<File>, HostError> {
        let blobs = super::Reader::new(&self.blobs);
        blobs.open(Path::new(&format!("/{sha256}")))
    }
}

/// Fills the temporary file: contents, owner, mode, extended attributes, all on disk.
fn fill(
    place: &Place,
    temporary: &Place,
    contents: &mut dyn Read,
    expected: Option<&Digested>,
    access: Access,
    existing: Existing,
) -> Result<(), HostError> {
    let path = &place.path;
    let replaced = match existing {
        Existing::Refuse => None,
        Existing::Replace => place.open(OFlag::O_RDONLY | OFlag::O_NONBLOCK)?,
    };
    let mut file = temporary
        .open(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?
        .expect("a file that is created is there");
    let digested = copy(contents, &mut file).map_err(HostError::io("write", &temporary.path))?;
    if expected.is_some_and(|expected| *expected != digested) {
        return Err(HostError::Changed { path: path.clone() });
    }
    fchown(
        &file,
        Some(Uid::from_raw(access.uid)),
        Some(Gid::from_raw(access.gid)),
    )
    .map_err(HostError::io("change the owner of", path))?;
    if let Some(replaced) = replaced {
        let kept =
            xattrs(&replaced).map_err(HostError::io("read the extended attributes of", path))?;
        replace_xattrs(&file, &kept)
            .map_err(HostError::io("set the extended attributes of", path))?;
    }
    fchmod(&file, Mode::from_bits_truncate(access.mode))
        .map_err(HostError::io("change the mode of", path))?;
    fsync(&file).map_err(HostError::io("sync", &temporary.path))
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

fn rename(temporary: &Place, place: &Place, existing: Existing) -> Result<(), HostError> {
    let (from, to) = (temporary.name.as_os_str(), place.name.as_os_str());
    match existing {
        Existing::Replace => renameat(&temporary.folder, from, &place.folder, to),
        Existing::Refuse => renameat2(
            &temporary.folder,
            from,
            &place.folder,
            to,
            RenameFlags::RENAME_NOREPLACE,
        ),
    }
    .map_err(HostError::io("put into place", &place.path))?;
    sync_folder(place)
}

fn sync_folder(place: &Place) -> Result<(), HostError> {
    fsync(&place.folder).map_err(HostError::io("sync the folder of", &place.path))
}

/// Makes room for the temporary file of a place: what a killed run left is removed.
fn temporary(place: &Place) -> Result<Place, HostError> {
    let temporary = place.beside(&temporary_name(&place.name))?;
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
    temporary.push(".stead-new");
    if temporary.len() <= NAME_MAX {
        return temporary;
    }
    format!(
        ".{}.stead-new",
        hex::encode(Sha256::digest(name.as_bytes()))
    )
    .into()
}
