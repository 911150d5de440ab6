//! Metadata of a path of the host, and what to do there: plain data, and how it is taken from an open file.

use std::{collections::BTreeMap, fs::File, io};

use nix::{
    errno::Errno,
    sys::stat::{FileStat, Mode, SFlag},
};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::model::digest::Sha256Writer;
use xattr::FileExt;
use zeroize::Zeroizing;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: MetaKind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
}

impl Meta {
    /// Returns who owns it and who may do what.
    pub fn attributes(&self) -> FileAttributes {
        FileAttributes {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            xattrs: None,
        }
    }
}

/// What can stand at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink.
    Symlink,
    /// A device, a socket, a pipe.
    Other,
}

impl MetaKind {
    /// Says what it is, with its article.
    pub fn noun(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Symlink => "a symlink",
            Self::Other => "a device, socket or pipe",
        }
    }
}

/// Length and SHA-256 of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// Digests what is left of an open file.
pub(super) fn digest_file(file: &mut File) -> io::Result<FileDigest> {
    let mut hashing = Sha256Writer::default();
    let size = io::copy(file, &mut hashing)?;
    Ok(FileDigest {
        sha256: hashing.finish(),
        size,
    })
}

/// Returns the extended attributes of an open file; none where the file system has none.
pub(super) fn xattrs(file: &File) -> io::Result<BTreeMap<String, String>> {
    let names = match file.list_xattr() {
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => {
            return Ok(BTreeMap::new());
        }
        names => names?,
    };
    let mut found = BTreeMap::new();
    for name in names {
        if let (Some(text), Some(value)) = (name.to_str(), file.get_xattr(&name)?) {
            found.insert(text.to_owned(), hex::encode(value));
        }
    }
    Ok(found)
}

pub(super) fn meta(stat: &FileStat) -> Meta {
    let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => MetaKind::File,
        SFlag::S_IFDIR => MetaKind::Directory,
        SFlag::S_IFLNK => MetaKind::Symlink,
        _ => MetaKind::Other,
    };
    Meta {
        kind,
        mode: Mode::from_bits_truncate(stat.st_mode).bits(),
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
    }
}

/// Who owns something and who may do what.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAttributes {
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Extended attributes, ACLs among them, values in hexadecimal; `None` leaves those that are there.
    #[serde(default)]
    pub xattrs: Option<BTreeMap<String, String>>,
}

impl FileAttributes {
    /// Makes those of something of the person who runs this.
    pub fn for_current_user(mode: u32) -> Self {
        Self {
            mode,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            xattrs: None,
        }
    }
}

/// What to do with what is at a path already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// Nothing may be there.
    Refuse,
    /// Replace it, and keep its extended attributes and ACLs.
    Replace,
}

/// The bytes of a secret; they are wiped when this goes.
pub(crate) type Secret = Zeroizing<Vec<u8>>;
