//! One file of a spec, decoded as far as possible alone. What depends on a value from elsewhere is kept
//! unresolved; everything else is decoded at once, so that the document can be dropped.

use std::{ops::Range, path::PathBuf, sync::Arc};

use kdl::{KdlDocument, KdlEntry, KdlNode};
use rayon::prelude::*;

use crate::{
    language::{
        condition::Condition,
        decode::{Decoder, is_plain},
        error::{SpecError, SpecErrors},
        grammar,
        keywords::KEYWORDS,
        parse::{parse, parse_range, parser_pool, with_large_stack},
        source::{FileRole, Source, Span},
        spans::{entry_span, head_span, name_span, value_span},
        spec::Resource,
        split::{NodeSpan, batch, split_nodes},
        value::is_deferred,
        variable::VariableDecl,
    },
    model::suggest,
    provider::{host::Host, registry::Registry},
};

/// A file of more bytes is read on all cores: some 10 ms of work for one.
const PARALLEL_BYTES: usize = 32 << 10;

/// One file of a spec.
pub(crate) struct SpecFile {
    pub(crate) source: Arc<Source>,
    /// The `host` in it; a second one is a mistake.
    pub(crate) host: Option<HostNode>,
    /// What stands between the braces of the host, or in a file that is included.
    pub(crate) items: Vec<Item>,
    /// The includes beside the host.
    pub(crate) includes: Vec<Include>,
    pub(crate) variables: Vec<VariableDecl>,
    pub(crate) profiles: Vec<Profile>,
    /// Where variables are asked for, by name.
    pub(crate) variable_uses: Vec<(String, Span)>,
    pub(crate) errors: Vec<SpecError>,
}

impl SpecFile {
    /// Adds what comes after it in the same file, which has no `host`.
    fn append(&mut self, mut next: Self) {
        self.items.append(&mut next.items);
        self.includes.append(&mut next.includes);
        self.variables.append(&mut next.variables);
        self.profiles.append(&mut next.profiles);
        self.variable_uses.append(&mut next.variable_uses);
        self.errors.append(&mut next.errors);
    }
}

/// The `host` node without its children.
pub(crate) struct HostNode {
    pub(crate) node: KdlNode,
    pub(crate) span: Span,
}

/// One thing between the braces of a host.
#[derive(Clone)]
pub(crate) enum Item {
    Resource(Box<Resource>),
    /// A resource some of whose values come from elsewhere.
    Deferred(Arc<Source>, Box<KdlNode>),
    Include(Include),
    Use {
        profile: String,
        span: Span,
    },
    When(Box<Condition>, Vec<Self>),
}

#[derive(Clone)]
pub(crate) struct Include {
    /// The file, relative to where stead runs.
    pub(crate) path: PathBuf,
    pub(crate) span: Span,
}

/// Resources that are used as one.
#[derive(Clone)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) items: Vec<Item>,
}

/// Reads one file; one that is included on a thread of [`crate::language::parse::parser_pool`].
///
/// # Errors
/// Mistakes of grammar. Others are in the fragment.
pub(crate) fn read_spec_file<H: Host>(
    source: &Arc<Source>,
    registry: &Registry<H>,
    role: FileRole,
) -> Result<SpecFile, SpecErrors> {
    let here = || read_on_current_stack(source, registry, role);
    match role {
        FileRole::Main if is_large(source) => {
            parser_pool(|| Span::new(source, 0..0))?.install(here)
        }
        FileRole::Main => with_large_stack(here),
        FileRole::Included => here(),
    }
}

/// Whether a file is worth the threads of [`parser_pool`].
fn is_large(source: &Source) -> bool {
    source.text.len() > PARALLEL_BYTES
}

/// Reads one file where the stack is large enough: a few nodes at a time, each dropped when it is decoded.
fn read_on_current_stack<H: Host>(
    source: &Arc<Source>,
    registry: &Registry<H>,
    role: FileRole,
) -> Result<SpecFile, SpecErrors> {
    let mistakes = grammar::check(source);
    if mistakes.is_empty()
        && let Some(fragment) = SpecFileBuilder::new(source, registry).parse_in_chunks(role)
    {
        return Ok(fragment);
    }
    // What is wrong with it is said of the whole.
    let mut document = parse(source)?;
    let mut builder = SpecFileBuilder::new(source, registry);
    for node in std::mem::take(document.nodes_mut()) {
        builder.top_level_node(node, role);
    }
    Ok(builder.finish())
}

struct SpecFileBuilder<'a, H: Host> {
    decoder: Decoder<'a, H>,
    registry: &'a Registry<H>,
    file: SpecFile,
}

impl<'a, H: Host> SpecFileBuilder<'a, H> {
    fn new(source: &'a Arc<Source>, registry: &'a Registry<H>) -> Self {
        Self {
            decoder: Decoder::new(source, registry),
            registry,
            file: SpecFile {
                source: source.clone(),
                host: None,
                items: vec![],
                includes: vec![],
                variables: vec![],
                profiles: vec![],
                variable_uses: vec![],
                errors: vec![],
            },
        }
    }

    fn finish(mut self) -> SpecFile {
        self.file.errors.append(&mut self.decoder.errors);
        self.file
    }

    /// Takes the file a few nodes at a time; `None` if the parser finds a mistake.
    fn parse_in_chunks(mut self, role: FileRole) -> Option<SpecFile> {
        let source = self.source();
        let cuts = split_nodes(&source.text, 0..source.text.len());
        let is_host = |cut: &NodeSpan| {
            let name = cut.name.clone().map(|name| &source.text[name]);
            role == FileRole::Main && name == Some("host") && cut.children.is_some()
        };
        for run in cuts.chunk_by(|one, other| !is_host(one) && !is_host(other)) {
            if let [only] = run
                && is_host(only)
            {
                self.host_in_chunks(source, only)?;
                continue;
            }
            let ranges = batch(run);
            let top = |builder: &mut Self, node| builder.top_level_node(node, role);
            match role {
                FileRole::Main => ranges
                    .into_iter()
                    .try_for_each(|range| self.parse_chunk(range, top))?,
                FileRole::Included => self.parse_chunks(&ranges, top)?,
            }
        }
        Some(self.finish())
    }

    fn host_in_chunks(&mut self, source: &Arc<Source>, host_span: &NodeSpan) -> Option<()> {
        let children = host_span.children.clone()?;
        // The brace stands just before what is between the braces.
        let head = host_span.range.start..children.start - 1;
        for node in parse_range(source, head)? {
            self.host(node);
        }
        self.parse_chunks(
            &batch(&split_nodes(&source.text, children)),
            |builder, node| {
                let item = builder.item(node);
                builder.file.items.extend(item);
            },
        )
    }

    /// Takes the nodes of a piece.
    fn parse_chunk(
        &mut self,
        range: Range<usize>,
        visit: impl Fn(&mut Self, KdlNode),
    ) -> Option<()> {
        for node in parse_range(self.source(), range)? {
            visit(self, node);
        }
        Some(())
    }

    /// Takes the nodes of pieces that know nothing of each other, on all cores if the file is large.
    fn parse_chunks(
        &mut self,
        ranges: &[Range<usize>],
        visit: impl Fn(&mut Self, KdlNode) + Sync,
    ) -> Option<()> {
        let (source, registry) = (self.source(), self.registry);
        if !is_large(source) {
            let mut ranges = ranges.iter();
            return ranges.try_for_each(|range| self.parse_chunk(range.clone(), &visit));
        }
        let pieces = ranges.par_iter().map(|range| {
            let mut builder = SpecFileBuilder::new(source, registry);
            builder.parse_chunk(range.clone(), &visit)?;
            Some((builder.file, builder.decoder.errors))
        });
        let pieces: Vec<_> = pieces.collect::<Option<_>>()?;
        for (piece, mut errors) in pieces {
            self.file.append(piece);
            self.decoder.errors.append(&mut errors);
        }
        Some(())
    }

    fn source(&self) -> &'a Arc<Source> {
        self.decoder.source
    }

    fn error(&mut self, error: SpecError) {
        self.file.errors.push(error);
    }

    fn top_level_node(&mut self, node: KdlNode, role: FileRole) {
        match (node.name().value(), role) {
            ("var", _) => self.variable(&node),
            ("profile", _) => self.profile(node),
            ("host", FileRole::Main) => self.host(node),
            ("include", FileRole::Main) => {
                if let Some(include) = self.include(&node) {
                    self.file.includes.push(include);
                }
            }
            ("host", FileRole::Included) => {
                let span = head_span(self.source(), &node);
                self.error(
                    SpecError::new(
                        "spec::included-host",
                        "an included file must not have a `host`",
                        span,
                    )
                    .help("write its resources without `host` around them: they are inserted where the `include` is"),
                );
            }
            (_, FileRole::Included) => {
                if let Some(item) = self.item(node) {
                    self.file.items.push(item);
                }
            }
            (_, FileRole::Main) => {
                let error = self.misplaced_node(&node);
                self.error(error);
            }
        }
    }

    fn misplaced_node(&self, node: &KdlNode) -> SpecError {
        let name = node.name().value();
        let span = name_span(self.source(), node);
        let error = SpecError::new(
            "spec::top-level",
            format!("`{name}` is outside of `host`"),
            span,
        );
        if self.registry.get(name).is_some() || KEYWORDS.contains(&name) {
            return error.help("put it inside `host \"NAME\" { … }`");
        }
        match suggest::nearest(name, ["host", "var", "include", "profile"]) {
            Some(meant) => error.help(format!("did you mean `{meant}`?")),
            None => error.help(crate::language::load::EMPTY_SPEC_HELP),
        }
    }

    fn host(&mut self, mut node: KdlNode) {
        let span = head_span(self.source(), &node);
        let children = node.children_mut().take();
        if let Some(first) = &self.file.host {
            let error = SpecError::new("spec::second-host", "a spec describes one host", span)
                .label(first.span.clone(), "first described here")
                .help("put all resources into one `host`");
            self.error(error);
        } else {
            for entry in node.entries() {
                self.record_variable_use(entry);
            }
            self.file.host = Some(HostNode { node, span });
        }
        let items = self.items(children);
        self.file.items.extend(items);
    }

    fn items(&mut self, children: Option<KdlDocument>) -> Vec<Item> {
        let mut children = children.unwrap_or_default();
        let nodes = std::mem::take(children.nodes_mut());
        nodes
            .into_iter()
            .filter_map(|node| self.item(node))
            .collect()
    }

    fn item(&mut self, mut node: KdlNode) -> Option<Item> {
        match node.name().value() {
            "include" => self.include(&node).map(Item::Include),
            "use" => self.use_node(&node),
            "when" => {
                let children = node.children_mut().take();
                let condition = Condition::from_node(self.source(), &node);
                let items = self.items(children);
                match condition {
                    Ok(condition) => {
                        if let Some(mention) = condition.variable() {
                            self.file.variable_uses.push(mention);
                        }
                        Some(Item::When(Box::new(condition), items))
                    }
                    Err(error) => {
                        self.error(error);
                        None
                    }
                }
            }
            word @ ("var" | "profile") if self.registry.get(word).is_none() => {
                let error = SpecError::new(
                    "spec::top-level",
                    format!("`{word}` is not at the top level"),
                    name_span(self.source(), &node),
                )
                .help("put it at the top level of a file, beside `host`");
                self.error(error);
                None
            }
            _ => self.resource(node),
        }
    }

    fn resource(&mut self, node: KdlNode) -> Option<Item> {
        let mut entries: Vec<_> = node.entries().iter().collect();
        collect_entries(node.children(), &mut entries);
        let deferred: Vec<_> = entries
            .into_iter()
            .filter(|entry| is_deferred(entry))
            .collect();
        if deferred.is_empty() {
            let resource = self.decoder.resource(&node)?;
            return Some(Item::Resource(Box::new(resource)));
        }
        let source = self.source();
        let mentions: Vec<_> = deferred
            .into_iter()
            .filter_map(|entry| variable_use(source, entry))
            .collect();
        self.file.variable_uses.extend(mentions);
        Some(Item::Deferred(source.clone(), Box::new(node)))
    }

    fn record_variable_use(&mut self, entry: &KdlEntry) {
        let found = variable_use(self.source(), entry);
        self.file.variable_uses.extend(found);
    }

    fn variable(&mut self, node: &KdlNode) {
        match VariableDecl::from_node(self.source(), node) {
            Ok(declared) => {
                if let Some(default) = &declared.default {
                    self.record_variable_use(&default.clone());
                }
                self.file.variables.push(declared);
            }
            Err(errors) => self.file.errors.extend(errors),
        }
    }

    fn profile(&mut self, mut node: KdlNode) {
        let children = node.children_mut().take();
        let name = self.single_text(&node, "write `profile \"NAME\" { … }`");
        let span = head_span(self.source(), &node);
        let items = self.items(children);
        if let Some(name) = name {
            self.file.profiles.push(Profile { name, span, items });
        }
    }

    fn use_node(&mut self, node: &KdlNode) -> Option<Item> {
        self.check_no_children(node);
        let profile = self.single_text(node, "write `use \"PROFILE\"`")?;
        let span = head_span(self.source(), node);
        Some(Item::Use { profile, span })
    }

    fn include(&mut self, node: &KdlNode) -> Option<Include> {
        self.check_no_children(node);
        let file = self.single_text(node, "write `include \"FILE.kdl\"`")?;
        let span = value_span(self.source(), &node.entries()[0]);
        let dir = self.source().path.parent();
        let path = dir.map_or_else(|| PathBuf::from(&file), |dir| dir.join(&file));
        Some(Include { path, span })
    }

    fn check_no_children(&mut self, node: &KdlNode) {
        if node
            .children()
            .is_some_and(|children| !children.nodes().is_empty())
        {
            let word = node.name().value();
            let error = SpecError::new(
                "spec::argument",
                format!("`{word}` takes no braces"),
                name_span(self.source(), node),
            )
            .help("remove the braces");
            self.error(error);
        }
    }

    /// Returns the one argument of a node, which is a text written as it is.
    fn single_text(&mut self, node: &KdlNode, help: &str) -> Option<String> {
        let word = node.name().value();
        let error = match node.entries() {
            [entry] if entry.name().is_none() && entry.ty().is_none() => {
                let text = entry.value().as_string();
                if let Some(text) = text.filter(|text| is_plain(text)) {
                    return Some(text.to_owned());
                }
                let fact = format!("`{word}` takes one line of text");
                SpecError::new("spec::type", fact, entry_span(self.source(), entry))
            }
            [entry] if entry.ty().is_some() => {
                let fact = format!("`{word}` takes a literal value");
                SpecError::new("spec::annotation", fact, entry_span(self.source(), entry))
            }
            [] => {
                let fact = format!("`{word}` takes no value");
                SpecError::new("spec::no-name", fact, name_span(self.source(), node))
            }
            [first, rest @ ..] => {
                let extra = rest.first().unwrap_or(first);
                let fact = format!("`{word}` takes one text and nothing else");
                SpecError::new("spec::argument", fact, entry_span(self.source(), extra))
            }
        };
        self.error(error.help(help));
        None
    }
}

/// Collects the entries of all nodes below.
fn collect_entries<'n>(children: Option<&'n KdlDocument>, entries: &mut Vec<&'n KdlEntry>) {
    for node in children.map_or(&[][..], KdlDocument::nodes) {
        entries.extend(node.entries());
        collect_entries(node.children(), entries);
    }
}

fn variable_use(source: &Arc<Source>, entry: &KdlEntry) -> Option<(String, Span)> {
    let is_variable = entry.ty().is_some_and(|ty| ty.value() == "var");
    let name = entry.value().as_string().filter(|_| is_variable)?;
    Some((name.to_owned(), value_span(source, entry)))
}
