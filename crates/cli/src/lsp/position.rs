//! A position in a file that an editor asks about.

use std::{ops::Range, path::Path, rc::Rc};

use lsp_types::{Location, TextDocumentPositionParams, Uri};
use stead_engine::{
    language::{
        editor::{Cursor, Variable, context_at},
        source::FileRole,
    },
    model::address::Address,
    provider::{erased::DynProvider, registry::Registry},
};
use stead_resources::host::LinuxHost;

use super::documents::{Documents, path_of};
use crate::lsp::{
    line_index::{Encoding, PositionMap},
    workspace::{Workspace, WorkspaceFile},
};

/// A file with the offset of the place, and all files of its spec.
pub(crate) struct DocumentPosition<'a> {
    pub(crate) documents: &'a Documents,
    pub(crate) registry: &'a Registry<LinuxHost>,
    pub(crate) encoding: Encoding,
    pub(crate) file: Rc<WorkspaceFile>,
    /// What the file is to its spec; `None` if it belongs to none.
    role: Option<FileRole>,
    pub(crate) files: Vec<Rc<WorkspaceFile>>,
    pub(crate) offset: usize,
}

impl<'a> DocumentPosition<'a> {
    /// Finds the place; `None` if the file cannot be read.
    pub(crate) fn find(
        documents: &'a Documents,
        registry: &'a Registry<LinuxHost>,
        encoding: Encoding,
        at: &TextDocumentPositionParams,
    ) -> Option<Self> {
        let path = path_of(&at.text_document.uri);
        let mut workspace = Workspace::new(documents, registry);
        let file = workspace.file(&path)?;
        let (role, files) = workspace.files_of(&path);
        let offset = PositionMap::new(&file.text, encoding).offset(at.position);
        Some(Self {
            documents,
            registry,
            encoding,
            file,
            role,
            files,
            offset,
        })
    }

    /// Says what stands there and what else may.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        let schema_of = |kind: &str| self.registry.get(kind).map(DynProvider::schema);
        context_at(&self.file.outline, self.offset, &schema_of, self.role)
    }

    /// Returns where an editor sees a range of the file.
    pub(crate) fn range(&self, range: Range<usize>) -> lsp_types::Range {
        PositionMap::new(&self.file.text, self.encoding).range(range)
    }

    /// Finds the resources of an address.
    pub(crate) fn resources(&self, address: &Address) -> Vec<Declaration> {
        let files = self.files.iter();
        let found = files.flat_map(|file| {
            let resources = file.names.resources.iter();
            let same = resources.filter(|(there, _)| there == address);
            same.map(|(_, range)| Declaration::new(file, range))
        });
        found.collect()
    }

    /// Finds the declarations of a variable.
    pub(crate) fn variables(&self, name: &str) -> Vec<(Variable, Declaration)> {
        let files = self.files.iter();
        let found = files.flat_map(|file| {
            let variables = file.names.variables.iter();
            let same = variables.filter(|variable| variable.name == name);
            same.map(|variable| (variable.clone(), Declaration::new(file, &variable.range)))
        });
        found.collect()
    }

    /// Finds the profiles of a name.
    pub(crate) fn profiles(&self, name: &str) -> Vec<Declaration> {
        let files = self.files.iter();
        let found = files.flat_map(|file| {
            let profiles = file.names.profiles.iter();
            let same = profiles.filter(|(there, _)| there == name);
            same.map(|(_, range)| Declaration::new(file, range))
        });
        found.collect()
    }

    /// Returns where an editor finds something.
    pub(crate) fn location(&self, declared: &Declaration) -> Option<Location> {
        let lines = PositionMap::new(&declared.file.text, self.encoding);
        let uri = self.documents.uri(&declared.file.path)?;
        Some(Location::new(uri, lines.range(declared.range.clone())))
    }

    /// Returns by what the editor calls a file.
    pub(crate) fn uri(&self, path: &Path) -> Option<Uri> {
        self.documents.uri(path)
    }
}

/// Something that is declared somewhere.
pub(crate) struct Declaration {
    file: Rc<WorkspaceFile>,
    /// Where its name stands.
    range: Range<usize>,
}

impl Declaration {
    fn new(file: &Rc<WorkspaceFile>, range: &Range<usize>) -> Self {
        Self {
            file: file.clone(),
            range: range.clone(),
        }
    }

    /// Says where, as plans do: `FILE:LINE`.
    pub(crate) fn location_text(&self) -> String {
        let before = &self.file.text[..self.range.start];
        let name = self.file.path.file_name().unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("{}:{line}", name.display())
    }

    /// Returns the line.
    pub(crate) fn line(&self) -> &str {
        let (text, at) = (&self.file.text, self.range.start);
        let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
        text[start..end].trim()
    }
}
