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
        keywords::WORDS,
        parse::{on_a_large_stack, parse, parse_part, workers},
        source::{Source, Span},
        spans::{entry_span, head, name_of, value_span},
        spec::Resource,
        split::{Cut, cut, together},
        value::is_open,
        variable::Declared,
    },
    model::suggest,
    provider::{host::Host, registry::Registry},
};

/// A file of more bytes is read on all cores: some 10 ms of work for one.
const LARGE: usize = 32 << 10;

/// One file of a spec.
pub(crate) struct Fragment {
    pub(crate) source: Arc<Source>,
    /// The `host` in it; a second one is a mistake.
    pub(crate) host: Option<Heading>,
    /// What stands between the braces of the host, or in a file that is included.
    pub(crate) items: Vec<Item>,
    /// The includes beside the host.
    pub(crate) includes: Vec<Include>,
    pub(crate) variables: Vec<Declared>,
    pub(crate) profiles: Vec<Profile>,
    /// Where variables are asked for, by name.
    pub(crate) mentions: Vec<(String, Span)>,
    pub(crate) errors: Vec<SpecError>,
}

impl Fragment {
    /// Adds what comes after it in the same file, which has no `host`.
    fn add(&mut self, mut next: Self) {
        self.items.append(&mut next.items);
        self.includes.append(&mut next.includes);
        self.variables.append(&mut next.variables);
        self.profiles.append(&mut next.profiles);
        self.mentions.append(&mut next.mentions);
        self.errors.append(&mut next.errors);
    }
}

/// The `host` node without its children.
pub(crate) struct Heading {
    pub(crate) node: KdlNode,
    pub(crate) span: Span,
}

/// One thing between the braces of a host.
#[derive(Clone)]
pub(crate) enum Item {
    Resource(Box<Resource>),
    /// A resource some of whose values come from elsewhere.
    Open(Arc<Source>, Box<KdlNode>),
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

/// What a file is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Part {
    /// The one that was named: it has the `host`.
    Main,
    /// One that is included.
    Included,
}

/// Reads one file; one that is included on a thread of [`crate::language::parse::workers`].
///
/// # Errors
/// Mistakes of grammar. Others are in the fragment.
pub(crate) fn fragment<H: Host>(
    source: &Arc<Source>,
    registry: &Registry<H>,
    part: Part,
) -> Result<Fragment, SpecErrors> {
    let here = || fragment_here(source, registry, part);
    match part {
        Part::Main if is_large(source) => workers(|| Span::of(source, 0..0))?.install(here),
        Part::Main => on_a_large_stack(here),
        Part::Included => here(),
    }
}

/// Whether a file is worth the threads of [`workers`].
fn is_large(source: &Source) -> bool {
    source.text.len() > LARGE
}

/// Reads one file where the stack is large enough: a few nodes at a time, each dropped when it is decoded.
fn fragment_here<H: Host>(
    source: &Arc<Source>,
    registry: &Registry<H>,
    part: Part,
) -> Result<Fragment, SpecErrors> {
    let mistakes = grammar::check(source);
    if mistakes.is_empty()
        && let Some(fragment) = Cutter::new(source, registry).by_pieces(part)
    {
        return Ok(fragment);
    }
    // What is wrong with it is said of the whole.
    let mut document = parse(source)?;
    let mut cutter = Cutter::new(source, registry);
    for node in std::mem::take(document.nodes_mut()) {
        cutter.top(node, part);
    }
    Ok(cutter.end())
}

struct Cutter<'a, H: Host> {
    decoder: Decoder<'a, H>,
    registry: &'a Registry<H>,
    fragment: Fragment,
}

impl<'a, H: Host> Cutter<'a, H> {
    fn new(source: &'a Arc<Source>, registry: &'a Registry<H>) -> Self {
        Self {
            decoder: Decoder::new(source, registry),
            registry,
            fragment: Fragment {
                source: source.clone(),
                host: None,
                items: vec![],
                includes: vec![],
                variables: vec![],
                profiles: vec![],
                mentions: vec![],
                errors: vec![],
            },
        }
    }

    fn end(mut self) -> Fragment {
        self.fragment.errors.append(&mut self.decoder.errors);
        self.fragment
    }

    /// Takes the file a few nodes at a time; `None` if the parser finds a mistake.
    fn by_pieces(mut self, part: Part) -> Option<Fragment> {
        let source = self.source();
        let cuts = cut(&source.text, 0..source.text.len());
        let is_host = |cut: &Cut| {
            let name = cut.name.clone().map(|name| &source.text[name]);
            part == Part::Main && name == Some("host") && cut.children.is_some()
        };
        for run in cuts.chunk_by(|one, other| !is_host(one) && !is_host(other)) {
            if let [only] = run
                && is_host(only)
            {
                self.host_by_pieces(source, only)?;
                continue;
            }
            let ranges = together(run);
            let top = |cutter: &mut Self, node| cutter.top(node, part);
            match part {
                Part::Main => ranges
                    .into_iter()
                    .try_for_each(|range| self.piece(range, top))?,
                Part::Included => self.pieces(&ranges, top)?,
            }
        }
        Some(self.end())
    }

    fn host_by_pieces(&mut self, source: &Arc<Source>, cut_out: &Cut) -> Option<()> {
        let children = cut_out.children.clone()?;
        // The brace stands just before what is between the braces.
        let head = cut_out.range.start..children.start - 1;
        for node in parse_part(source, head)? {
            self.host(node);
        }
        self.pieces(&together(&cut(&source.text, children)), |cutter, node| {
            let item = cutter.item(node);
            cutter.fragment.items.extend(item);
        })
    }

    /// Takes the nodes of a piece.
    fn piece(&mut self, range: Range<usize>, take: impl Fn(&mut Self, KdlNode)) -> Option<()> {
        for node in parse_part(self.source(), range)? {
            take(self, node);
        }
        Some(())
    }

    /// Takes the nodes of pieces that know nothing of each other, on all cores if the file is large.
    fn pieces(
        &mut self,
        ranges: &[Range<usize>],
        take: impl Fn(&mut Self, KdlNode) + Sync,
    ) -> Option<()> {
        let (source, registry) = (self.source(), self.registry);
        if !is_large(source) {
            let mut ranges = ranges.iter();
            return ranges.try_for_each(|range| self.piece(range.clone(), &take));
        }
        let pieces = ranges.par_iter().map(|range| {
            let mut cutter = Cutter::new(source, registry);
            cutter.piece(range.clone(), &take)?;
            Some((cutter.fragment, cutter.decoder.errors))
        });
        let pieces: Vec<_> = pieces.collect::<Option<_>>()?;
        for (piece, mut errors) in pieces {
            self.fragment.add(piece);
            self.decoder.errors.append(&mut errors);
        }
        Some(())
    }

    fn source(&self) -> &'a Arc<Source> {
        self.decoder.source
    }

    fn error(&mut self, error: SpecError) {
        self.fragment.errors.push(error);
    }

    fn top(&mut self, node: KdlNode, part: Part) {
        match (node.name().value(), part) {
            ("var", _) => self.variable(&node),
            ("profile", _) => self.profile(node),
            ("host", Part::Main) => self.host(node),
            ("include", Part::Main) => {
                if let Some(include) = self.include(&node) {
                    self.fragment.includes.push(include);
                }
            }
            ("host", Part::Included) => {
                let span = head(self.source(), &node);
                self.error(
                    SpecError::new(
                        "spec::included-host",
                        "an included file must not have a `host`",
                        span,
                    )
                    .help("write its resources without `host` around them: they are inserted where the `include` is"),
                );
            }
            (_, Part::Included) => {
                if let Some(item) = self.item(node) {
                    self.fragment.items.push(item);
                }
            }
            (_, Part::Main) => {
                let error = self.stray(&node);
                self.error(error);
            }
        }
    }

    fn stray(&self, node: &KdlNode) -> SpecError {
        let name = node.name().value();
        let span = name_of(self.source(), node);
        let error = SpecError::new(
            "spec::top-level",
            format!("`{name}` is outside of `host`"),
            span,
        );
        if self.registry.get(name).is_some() || WORDS.contains(&name) {
            return error.help("put it inside `host \"NAME\" { … }`");
        }
        match suggest::nearest(name, ["host", "var", "include", "profile"]) {
            Some(meant) => error.help(format!("did you mean `{meant}`?")),
            None => error.help(crate::language::load::SKELETON),
        }
    }

    fn host(&mut self, mut node: KdlNode) {
        let span = head(self.source(), &node);
        let children = node.children_mut().take();
        if let Some(first) = &self.fragment.host {
            let error = SpecError::new("spec::second-host", "a spec describes one host", span)
                .label(first.span.clone(), "first described here")
                .help("put all resources into one `host`");
            self.error(error);
        } else {
            for entry in node.entries() {
                self.mention(entry);
            }
            self.fragment.host = Some(Heading { node, span });
        }
        let items = self.items(children);
        self.fragment.items.extend(items);
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
            "use" => self.profile_used(&node),
            "when" => {
                let children = node.children_mut().take();
                let condition = Condition::of(self.source(), &node);
                let items = self.items(children);
                match condition {
                    Ok(condition) => {
                        if let Some(mention) = condition.variable() {
                            self.fragment.mentions.push(mention);
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
                    name_of(self.source(), &node),
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
        collect(node.children(), &mut entries);
        let open: Vec<_> = entries.into_iter().filter(|entry| is_open(entry)).collect();
        if open.is_empty() {
            let resource = self.decoder.resource(&node)?;
            return Some(Item::Resource(Box::new(resource)));
        }
        let source = self.source();
        let mentions: Vec<_> = open
            .into_iter()
            .filter_map(|entry| mention(source, entry))
            .collect();
        self.fragment.mentions.extend(mentions);
        Some(Item::Open(source.clone(), Box::new(node)))
    }

    fn mention(&mut self, entry: &KdlEntry) {
        let found = mention(self.source(), entry);
        self.fragment.mentions.extend(found);
    }

    fn variable(&mut self, node: &KdlNode) {
        match Declared::of(self.source(), node) {
            Ok(declared) => {
                if let Some(default) = &declared.default {
                    self.mention(&default.clone());
                }
                self.fragment.variables.push(declared);
            }
            Err(errors) => self.fragment.errors.extend(errors),
        }
    }

    fn profile(&mut self, mut node: KdlNode) {
        let children = node.children_mut().take();
        let name = self.only_text(&node, "write `profile \"NAME\" { … }`");
        let span = head(self.source(), &node);
        let items = self.items(children);
        if let Some(name) = name {
            self.fragment.profiles.push(Profile { name, span, items });
        }
    }

    fn profile_used(&mut self, node: &KdlNode) -> Option<Item> {
        self.no_children(node);
        let profile = self.only_text(node, "write `use \"PROFILE\"`")?;
        let span = head(self.source(), node);
        Some(Item::Use { profile, span })
    }

    fn include(&mut self, node: &KdlNode) -> Option<Include> {
        self.no_children(node);
        let file = self.only_text(node, "write `include \"FILE.kdl\"`")?;
        let span = value_span(self.source(), &node.entries()[0]);
        let folder = self.source().path.parent();
        let path = folder.map_or_else(|| PathBuf::from(&file), |folder| folder.join(&file));
        Some(Include { path, span })
    }

    fn no_children(&mut self, node: &KdlNode) {
        if node
            .children()
            .is_some_and(|children| !children.nodes().is_empty())
        {
            let word = node.name().value();
            let error = SpecError::new(
                "spec::argument",
                format!("`{word}` takes no braces"),
                name_of(self.source(), node),
            )
            .help("remove the braces");
            self.error(error);
        }
    }

    /// Returns the one argument of a node, which is a text written as it is.
    fn only_text(&mut self, node: &KdlNode, help: &str) -> Option<String> {
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
                SpecError::new("spec::no-name", fact, name_of(self.source(), node))
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
fn collect<'n>(children: Option<&'n KdlDocument>, entries: &mut Vec<&'n KdlEntry>) {
    for node in children.map_or(&[][..], KdlDocument::nodes) {
        entries.extend(node.entries());
        collect(node.children(), entries);
    }
}

fn mention(source: &Arc<Source>, entry: &KdlEntry) -> Option<(String, Span)> {
    let is_variable = entry.ty().is_some_and(|ty| ty.value() == "var");
    let name = entry.value().as_string().filter(|_| is_variable)?;
    Some((name.to_owned(), value_span(source, entry)))
}
