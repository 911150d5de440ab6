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
        editor::{check_included, is_keyword},
        error::{SpecError, SpecErrors},
        load::load,
        source::Span,
    },
    model::facts::Facts,
    plan::graph::Graph,
};

use super::documents::Documents;
use crate::context::Context;
use crate::lsp::{
    host_cache::HostCache,
    line_index::{Encoding, PositionMap},
    workspace::{Workspace, WorkspaceFile},
};
use crate::spec_input::SpecOverrides;

/// How long the facts of this host are waited for.
const FACTS_TIMEOUT: Duration = Duration::from_secs(10);
/// The most mistakes of one spec that are told: nobody reads more.
const MAX_ERRORS: usize = 500;
/// What is wrong with a spec only until it is told more.
const VAR_MISSING_CODE: &str = "spec::var-missing";
/// What is wrong with a fact that nobody knows.
const UNKNOWN_FACT_CODE: &str = "spec::fact";

/// All that checking needs besides the texts.
pub(crate) struct Checker {
    pub(crate) context: Arc<Context>,
    pub(crate) overrides: SpecOverrides,
    pub(crate) cache: HostCache,
    pub(crate) encoding: Encoding,
}

impl Checker {
    /// Checks every spec that an open text belongs to. Each open text is named, with nothing if nothing is wrong.
    pub(crate) fn check(&self, documents: &Documents) -> Vec<PublishDiagnosticsParams> {
        let mut found: BTreeMap<PathBuf, Vec<Diagnostic>> = BTreeMap::new();
        let mut workspace = Workspace::new(documents, &self.context.registry);
        let mut roots = BTreeSet::new();
        for (path, _) in documents.iter() {
            found.entry(path.to_owned()).or_default();
            let spec = workspace.spec_of(path);
            let errors = match &spec {
                Some(spec) if roots.insert(spec.clone()) => self.check_spec(documents, spec),
                Some(_) => continue,
                None => workspace
                    .file(path)
                    .map_or(vec![], |file| self.check_file(&file)),
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

    fn check_spec(&self, documents: &Documents, spec: &Path) -> Vec<SpecError> {
        let is_unknown = Cell::new(false);
        let facts = || {
            let facts = self
                .cache
                .facts(FACTS_TIMEOUT)
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
                .context
                .resolve_with(&source, &self.overrides, &read, &facts)?;
            Graph::build(spec, &self.context.registry).map(drop)
        });
        let mut errors = checked.err().map_or(vec![], |SpecErrors(errors)| errors);
        errors.truncate(MAX_ERRORS);
        if is_unknown.get() {
            errors.retain(|error| error.code != UNKNOWN_FACT_CODE);
        }
        errors
    }

    /// Checks a file that no spec includes, unless it is about something else altogether.
    fn check_file(&self, file: &WorkspaceFile) -> Vec<SpecError> {
        let is_known = |name: &str| is_keyword(name) || self.context.registry.get(name).is_some();
        let mut nodes = file.outline.nodes.iter();
        if !nodes.any(|node| is_known(&node.name.text)) {
            return vec![];
        }
        let checked = load(file.path.clone(), file.text.clone().into_bytes())
            .and_then(|source| check_included(&source, &self.context.registry));
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
            severity: Some(if error.code == VAR_MISSING_CODE {
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
        Some((documents.document_path(&path), diagnostic))
    }

    fn related(
        &self,
        documents: &Documents,
        span: &Span,
        label: &str,
    ) -> Option<DiagnosticRelatedInformation> {
        let uri = documents.uri(&span.source.path)?;
        Some(DiagnosticRelatedInformation {
            location: Location::new(uri, self.range(span)),
            message: if label.is_empty() { "here" } else { label }.to_owned(),
        })
    }

    fn range(&self, span: &Span) -> lsp_types::Range {
        let lines = PositionMap::new(&span.source.text, self.encoding);
        lines.range(span.offset..span.offset + span.length)
    }
}
