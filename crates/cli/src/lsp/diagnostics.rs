//! Diagnostics of the open texts: the errors of `stead validate`, each at its position.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lsp_types::{
    Diagnostic, DiagnosticRelatedInformation, DiagnosticSeverity, Location, NumberOrString,
    PublishDiagnosticsParams,
};
use stead_engine::{
    language::{
        editor::{check_included, is_word},
        error::{SpecError, SpecErrors},
        load::load,
        source::Span,
    },
    model::facts::Facts,
    plan::graph::Graph,
};

use super::documents::Documents;
use crate::context::Session;
use crate::lsp::{
    host_cache::Known,
    line_index::{Encoding, Lines},
    workspace::{File, Specs},
};
use crate::spec_input::Told;

/// How long the facts of this host are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most mistakes of one spec that are told: nobody reads more.
const ENOUGH: usize = 500;
/// What is wrong with a spec only until it is told more.
const MISSING: &str = "spec::var-missing";
/// What is wrong with a fact that nobody knows.
const FACT: &str = "spec::fact";

/// All that checking needs besides the texts.
pub(crate) struct Checker {
    pub(crate) session: Arc<Session>,
    pub(crate) told: Told,
    pub(crate) known: Known,
    pub(crate) encoding: Encoding,
}

impl Checker {
    /// Checks every spec that an open text belongs to. Each open text is named, with nothing if nothing is wrong.
    pub(crate) fn check(&self, documents: &Documents) -> Vec<PublishDiagnosticsParams> {
        let mut found: BTreeMap<PathBuf, Vec<Diagnostic>> = BTreeMap::new();
        let mut specs = Specs::new(documents, &self.session.registry);
        let mut roots = BTreeSet::new();
        for (path, _) in documents.iter() {
            found.entry(path.to_owned()).or_default();
            let spec = specs.spec_of(path);
            let errors = match &spec {
                Some(spec) if roots.insert(spec.clone()) => self.whole(documents, spec),
                Some(_) => continue,
                None => specs.file(path).map_or(vec![], |file| self.part(&file)),
            };
            let root = spec.as_deref().unwrap_or(path);
            for error in errors {
                let Some((path, diagnostic)) = self.diagnostic(documents, root, &error) else {
                    continue;
                };
                let there = found.entry(path).or_default();
                // Another spec that includes the file may have said it.
                let is_same = |it: &Diagnostic| {
                    (it.range, &it.message) == (diagnostic.range, &diagnostic.message)
                };
                if !there.iter().any(is_same) {
                    there.push(diagnostic);
                }
            }
        }
        let published = found.into_iter().filter_map(|(path, diagnostics)| {
            Some(PublishDiagnosticsParams {
                uri: documents.uri(&path)?,
                version: documents.get(&path).map(|document| document.version),
                diagnostics,
            })
        });
        published.collect()
    }

    fn whole(&self, documents: &Documents, spec: &Path) -> Vec<SpecError> {
        let is_unknown = Cell::new(false);
        let facts = || {
            let facts = self
                .known
                .facts(PATIENCE)
                .filter(|facts| !facts.0.is_empty());
            facts.unwrap_or_else(|| {
                is_unknown.set(true);
                Facts::default()
            })
        };
        let read = |path: &Path| documents.read(path);
        let Ok(bytes) = documents.read(spec) else {
            return vec![];
        };
        let checked = load(spec.to_owned(), bytes).and_then(|source| {
            let spec = self
                .session
                .resolved_with(&source, &self.told, &read, &facts)?;
            Graph::build(spec, &self.session.registry).map(drop)
        });
        let mut errors = checked.err().map_or(vec![], |SpecErrors(errors)| errors);
        errors.truncate(ENOUGH);
        if is_unknown.get() {
            errors.retain(|error| error.code != FACT);
        }
        errors
    }

    /// Checks a file that no spec includes, unless it is about something else altogether.
    fn part(&self, file: &File) -> Vec<SpecError> {
        let is_known = |name: &str| is_word(name) || self.session.registry.get(name).is_some();
        let mut nodes = file.outline.nodes.iter();
        if !nodes.any(|node| is_known(&node.name.text)) {
            return vec![];
        }
        let checked = load(file.path.clone(), file.text.clone().into_bytes())
            .and_then(|source| check_included(&source, &self.session.registry));
        checked.err().map_or(vec![], |SpecErrors(errors)| errors)
    }

    /// Makes a diagnostic of a mistake, with the file that it belongs to.
    fn diagnostic(
        &self,
        documents: &Documents,
        root: &Path,
        error: &SpecError,
    ) -> Option<(PathBuf, Diagnostic)> {
        let mut places = error.places();
        places.retain(|(span, _)| span.source.is_file);
        let mut message = error.message.clone();
        let mut range = lsp_types::Range::default();
        let mut path = root.to_owned();
        let mut related = vec![];
        if let Some((span, said)) = places.first() {
            if !said.is_empty() {
                message = format!("{message} ({said})");
            }
            path = span.source.path.to_path_buf();
            range = self.range(span);
            let others = places[1..].iter();
            related = others
                .filter_map(|(span, said)| self.related(documents, span, said))
                .collect();
        } else if !error.labels.is_empty() {
            // What stands on the command line of this server is for other specs too.
            return None;
        }
        if let Some(help) = &error.help {
            message = format!("{message}\nhelp: {help}");
        }
        let diagnostic = Diagnostic {
            range,
            severity: Some(if error.code == MISSING {
                DiagnosticSeverity::WARNING
            } else {
                DiagnosticSeverity::ERROR
            }),
            code: Some(NumberOrString::String(error.code.to_owned())),
            source: Some("stead".to_owned()),
            message,
            related_information: Some(related).filter(|related| !related.is_empty()),
            ..Diagnostic::default()
        };
        Some((documents.known_as(&path), diagnostic))
    }

    fn related(
        &self,
        documents: &Documents,
        span: &Span,
        said: &str,
    ) -> Option<DiagnosticRelatedInformation> {
        let uri = documents.uri(&span.source.path)?;
        Some(DiagnosticRelatedInformation {
            location: Location::new(uri, self.range(span)),
            message: if said.is_empty() { "here" } else { said }.to_owned(),
        })
    }

    fn range(&self, span: &Span) -> lsp_types::Range {
        let lines = Lines::new(&span.source.text, self.encoding);
        lines.range(span.offset..span.offset + span.length)
    }
}
