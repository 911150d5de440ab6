//! A position in a file that an editor asks about.

use std::{ops::Range, path::Path, rc::Rc};

use lsp_types::{Location, TextDocumentPositionParams, Uri};
use stead_engine::{
    language::editor::{Cursor, Part, Variable, cursor},
    model::address::Address,
    provider::{erased::DynProvider, registry::Registry},
};
use stead_resources::host::Live;

use super::documents::{Documents, path_of};
use crate::lsp::{
    line_index::{Encoding, Lines},
    workspace::{File, Specs},
};

/// A file with the offset of the place, and all files of its spec.
pub(crate) struct Place<'a> {
    pub(crate) documents: &'a Documents,
    pub(crate) registry: &'a Registry<Live>,
    pub(crate) encoding: Encoding,
    pub(crate) file: Rc<File>,
    /// What the file is to its spec.
    part: Part,
    pub(crate) files: Vec<Rc<File>>,
    pub(crate) offset: usize,
}

impl<'a> Place<'a> {
    /// Finds the place; `None` if the file cannot be read.
    pub(crate) fn find(
        documents: &'a Documents,
        registry: &'a Registry<Live>,
        encoding: Encoding,
        at: &TextDocumentPositionParams,
    ) -> Option<Self> {
        let path = path_of(&at.text_document.uri);
        let mut specs = Specs::new(documents, registry);
        let file = specs.file(&path)?;
        let (part, files) = specs.files_of(&path);
        let offset = Lines::new(&file.text, encoding).offset(at.position);
        Some(Self {
            documents,
            registry,
            encoding,
            file,
            part,
            files,
            offset,
        })
    }

    /// Says what stands there and what else may.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        let schema_of = |kind: &str| self.registry.get(kind).map(DynProvider::schema);
        cursor(&self.file.outline, self.offset, &schema_of, self.part)
    }

    /// Returns where an editor sees a range of the file.
    pub(crate) fn range(&self, range: Range<usize>) -> lsp_types::Range {
        Lines::new(&self.file.text, self.encoding).range(range)
    }

    /// Finds the resources of an address.
    pub(crate) fn resources(&self, address: &Address) -> Vec<Declared> {
        let files = self.files.iter();
        let found = files.flat_map(|file| {
            let resources = file.names.resources.iter();
            let same = resources.filter(|(there, _)| there == address);
            same.map(|(_, range)| Declared::new(file, range))
        });
        found.collect()
    }

    /// Finds the declarations of a variable.
    pub(crate) fn variables(&self, name: &str) -> Vec<(Variable, Declared)> {
        let files = self.files.iter();
        let found = files.flat_map(|file| {
            let variables = file.names.variables.iter();
            let same = variables.filter(|variable| variable.name == name);
            same.map(|variable| (variable.clone(), Declared::new(file, &variable.range)))
        });
        found.collect()
    }

    /// Finds the profiles of a name.
    pub(crate) fn profiles(&self, name: &str) -> Vec<Declared> {
        let files = self.files.iter();
        let found = files.flat_map(|file| {
            let profiles = file.names.profiles.iter();
            let same = profiles.filter(|(there, _)| there == name);
            same.map(|(_, range)| Declared::new(file, range))
        });
        found.collect()
    }

    /// Returns where an editor finds something.
    pub(crate) fn location(&self, declared: &Declared) -> Option<Location> {
        let lines = Lines::new(&declared.file.text, self.encoding);
        let uri = self.documents.uri(&declared.file.path)?;
        Some(Location::new(uri, lines.range(declared.range.clone())))
    }

    /// Returns by what the editor calls a file.
    pub(crate) fn uri(&self, path: &Path) -> Option<Uri> {
        self.documents.uri(path)
    }
}

/// Something that is declared somewhere.
pub(crate) struct Declared {
    file: Rc<File>,
    /// Where its name stands.
    range: Range<usize>,
}

impl Declared {
    fn new(file: &Rc<File>, range: &Range<usize>) -> Self {
        Self {
            file: file.clone(),
            range: range.clone(),
        }
    }

    /// Says where, as plans do: `FILE:LINE`.
    pub(crate) fn place(&self) -> String {
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
