//! The texts that are open in the editor; all other files as they are on disk.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use lsp_types::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use stead_engine::language::editor::normalize;

use crate::spec_input::read_included;

/// What stands for itself in the path of a URI: RFC 3986, 2.3, and what separates its parts.
const PATH_UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The texts that are open.
#[derive(Clone, Default)]
pub(crate) struct Documents(BTreeMap<PathBuf, Document>);

/// A text that is open.
#[derive(Clone)]
pub(crate) struct Document {
    /// By what the editor calls it.
    pub(crate) uri: Uri,
    pub(crate) version: i32,
    pub(crate) text: Arc<str>,
    /// Where its file is, whatever links lead there.
    canonical: Option<PathBuf>,
}

impl Documents {
    pub(crate) fn open(&mut self, uri: Uri, version: i32, text: String) {
        let path = path_of(&uri);
        let document = Document {
            uri,
            version,
            text: text.into(),
            canonical: canonicalize(&path),
        };
        self.0.insert(path, document);
    }

    pub(crate) fn change(&mut self, uri: &Uri, version: i32, text: String) {
        if let Some(document) = self.0.get_mut(&path_of(uri)) {
            document.version = version;
            document.text = text.into();
        }
    }

    pub(crate) fn close(&mut self, uri: &Uri) {
        self.0.remove(&path_of(uri));
    }

    /// Returns all open texts with their paths.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Path, &Document)> {
        self.0.iter().map(|(path, document)| (&**path, document))
    }

    /// Returns the text that is open of a file, by whatever path.
    pub(crate) fn get(&self, path: &Path) -> Option<&Document> {
        self.0.get(&normalize(path)).or_else(|| {
            let real = canonicalize(path)?;
            let mut open = self.0.values();
            open.find(|document| document.canonical.as_ref() == Some(&real))
        })
    }

    /// Returns the one path under which a file is known here.
    pub(crate) fn document_path(&self, path: &Path) -> PathBuf {
        let open = self.get(path).map(|document| path_of(&document.uri));
        open.unwrap_or_else(|| normalize(path))
    }

    /// Reads a file: what is open of it, else what is on disk.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.get(path) {
            Some(document) => Ok(document.text.as_bytes().to_vec()),
            None => read_included(path),
        }
    }

    /// Returns by what the editor calls a file.
    pub(crate) fn uri(&self, path: &Path) -> Option<Uri> {
        match self.get(path) {
            Some(document) => Some(document.uri.clone()),
            None => uri_of(path),
        }
    }
}

/// Returns the path of a URI; of one that is no file, a path that no file has.
pub(crate) fn path_of(uri: &Uri) -> PathBuf {
    let Some(rest) = uri.as_str().strip_prefix("file://") else {
        return PathBuf::from(uri.as_str());
    };
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    let bytes = percent_decode_str(path).collect();
    normalize(Path::new(&OsString::from_vec(bytes)))
}

fn uri_of(path: &Path) -> Option<Uri> {
    let path = normalize(path);
    let encoded = percent_encode(path.as_os_str().as_bytes(), PATH_UNESCAPED);
    format!("file://{encoded}").parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "a spec is input, not the host")]
fn canonicalize(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, path: &str) {
        assert_eq!(path_of(&uri.parse().unwrap()), Path::new(path), "{uri}");
        assert_eq!(uri_of(Path::new(path)).unwrap().as_str(), uri);
    }

    #[test]
    fn path_and_uri_convert_both_ways() {
        check("file:///etc/stead/host.kdl", "/etc/stead/host.kdl");
        check("file:///home/j%C3%BCrgen/a%20b.kdl", "/home/jürgen/a b.kdl");
        check("file:///a%23%3F%25.kdl", "/a#?%.kdl");
    }

    #[test]
    fn path_of_normalizes_uris_of_other_editors() {
        let path = |uri: &str| path_of(&uri.parse().unwrap());
        assert_eq!(path("file:///a%2Db/./c/../d.kdl"), Path::new("/a-b/d.kdl"));
        assert_eq!(path("file://localhost/a.kdl"), Path::new("/a.kdl"));
        assert_eq!(
            path("untitled:Untitled-1"),
            Path::new("untitled:Untitled-1")
        );
    }
}
