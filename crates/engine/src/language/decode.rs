//! Decodes a KDL node into a resource, and reports all its errors at once.

use std::{collections::BTreeMap, sync::Arc};

use kdl::{KdlDocument, KdlEntry, KdlNode};
use litemap::LiteMap;

use crate::{
    language::{
        entries::{AttributeEntry, EntryForm, attribute_entries},
        error::SpecError,
        keywords::KEYWORDS,
        provenance::Provenance,
        source::{Source, Span},
        spans::{head_span, name_span, source_text, value_span},
        spec::Resource,
        value::{Decoded, decode_map, decode_value, is_secret},
        variable::unknown_annotation,
    },
    model::{
        address::Address,
        schema::{ABSENT, Absence, Schema, Shape},
        state::Desired,
        suggest,
    },
    provider::{erased::DynProvider, host::Host, registry::Registry},
};

/// Decodes the resources of one file.
pub(crate) struct Decoder<'a, H: Host> {
    pub(crate) source: &'a Arc<Source>,
    registry: &'a Registry<H>,
    pub(crate) errors: Vec<SpecError>,
}

impl<'a, H: Host> Decoder<'a, H> {
    pub(crate) fn new(source: &'a Arc<Source>, registry: &'a Registry<H>) -> Self {
        Self {
            source,
            registry,
            errors: vec![],
        }
    }

    /// Decodes a node whose values are all there.
    pub(crate) fn resource(&mut self, node: &KdlNode) -> Option<Resource> {
        self.refuse_annotations(node);
        let kind = node.name().value();
        let Some(provider) = self.registry.get(kind) else {
            let kinds = self.registry.iter().map(|(name, _)| name);
            let mut help = suggest::did_you_mean("the kinds are", kind, kinds);
            if let Some(word) =
                suggest::nearest(kind, KEYWORDS).filter(|_| !help.starts_with("did"))
            {
                help = format!("did you mean `{word}`? {help}");
            }
            self.errors.push(
                SpecError::new(
                    "spec::unknown-kind",
                    format!("unknown kind `{kind}`"),
                    name_span(self.source, node),
                )
                .help(help),
            );
            return None;
        };
        let schema = provider.schema();
        let (name, main) = self.arguments(node, &schema)?;
        let address = Address::new(kind, name.value().as_string().unwrap_or_default());
        let mut resource = Resource {
            address,
            desired: Desired::Absent,
            implied_by: None,
            requires: vec![],
            span: head_span(self.source, node),
            name_span: value_span(self.source, name),
            attributes: LiteMap::new_vec(),
            provenance: Provenance::default(),
        };
        let count = self.errors.len();
        self.check_name(provider, &resource);
        let written = attribute_entries(self.source, node, main, &schema);
        let is_absent = self.attributes(&written, &schema, &mut resource);
        if is_absent {
            self.check_absent(&written, &schema, &mut resource);
            let removable = provider.removable();
            let checked = removable.map(|kind| kind.check_absent(&resource.address.name));
            if let Some(Err(problem)) = checked {
                let problem = problem.at("absent");
                self.errors
                    .push(SpecError::from_problem(&resource, problem));
            }
        } else if self.errors.len() == count {
            let problems = match &resource.desired {
                Desired::Present(state) => provider.check(&resource.address.name, state),
                Desired::Absent => vec![],
            };
            self.errors.extend(
                problems
                    .into_iter()
                    .map(|problem| SpecError::from_problem(&resource, problem)),
            );
        }
        Some(resource)
    }

    /// Finds the name and the main value among the arguments of a node.
    fn arguments<'n>(
        &mut self,
        node: &'n KdlNode,
        schema: &Schema,
    ) -> Option<(&'n KdlEntry, Option<&'n KdlEntry>)> {
        let kind = node.name().value();
        let mut arguments = node.entries().iter().filter(|entry| entry.name().is_none());
        let usage = match schema.main {
            Some(main) => format!(
                "write `{kind} \"{}\" \"{main}\"`",
                schema.name.to_uppercase()
            ),
            None => format!("write `{kind} \"{}\"`", schema.name.to_uppercase()),
        };
        let Some(name) = arguments.next() else {
            self.errors.push(
                SpecError::new(
                    "spec::no-name",
                    format!("this {kind} has no name"),
                    name_span(self.source, node),
                )
                .help(usage),
            );
            return None;
        };
        if name.value().as_string().is_none() {
            let span = value_span(self.source, name);
            let text = source_text(self.source, name);
            self.errors.push(
                SpecError::new(
                    "spec::type",
                    format!("a name is a text, and `{text}` is not"),
                    span,
                )
                .help(format!("write it in quotes: `\"{text}\"`")),
            );
            return None;
        }
        if is_secret(name) {
            let span = value_span(self.source, name);
            let fact = "a name cannot be a secret: plans show it";
            self.errors
                .push(SpecError::new("spec::secret", fact, span).help(usage.clone()));
        }
        let main = schema.main.and_then(|_| arguments.next());
        for extra in arguments {
            let span = value_span(self.source, extra);
            let text = source_text(self.source, extra);
            self.errors.push(
                SpecError::new(
                    "spec::argument",
                    format!("unexpected argument `{text}`"),
                    span,
                )
                .help(format!("{usage}; attributes are written `NAME=VALUE`")),
            );
        }
        Some((name, main))
    }

    fn check_name(&mut self, provider: &dyn DynProvider<H>, resource: &Resource) {
        let name = &resource.address.name;
        if is_plain(name) {
            if let Err(problem) = provider.check_name(name) {
                let mut error = SpecError::from_problem(resource, problem);
                error.code = "spec::name";
                self.errors.push(error);
            }
            return;
        }
        let fault = match name.chars().find(|c| c.is_control()) {
            None => "is empty".to_owned(),
            Some('\0') => "contains a NUL character".to_owned(),
            Some('\n') => "contains a line break".to_owned(),
            Some(other) => format!("contains the control character U+{:04X}", u32::from(other)),
        };
        self.errors.push(
            SpecError::new(
                "spec::name",
                format!("the name of this {} {fault}", resource.address.kind),
                resource.name_span.clone(),
            )
            .help("a name is one line of text without control characters"),
        );
    }

    /// Decodes the attributes into `resource`; returns whether it is asked not to exist.
    fn attributes(
        &mut self,
        written: &[AttributeEntry<'_>],
        schema: &Schema,
        resource: &mut Resource,
    ) -> bool {
        let mut state = serde_json::Map::new();
        let mut places: BTreeMap<&str, Span> = BTreeMap::new();
        let mut is_absent = false;
        for one in written {
            if one.name == "needs" {
                self.needs(one, resource);
                continue;
            }
            if one.name == "override" && one.form == EntryForm::Property {
                self.decode_override(one, resource);
                continue;
            }
            if let Some(first) = places.get(one.name) {
                self.errors.push(
                    SpecError::new(
                        "spec::twice",
                        format!("`{}` is written twice", one.name),
                        one.name_span.clone(),
                    )
                    .label(first.clone(), "first here")
                    .help("keep one of them"),
                );
                continue;
            }
            let known = match (one.name, one.form, schema.entries()) {
                ("absent", ..) => Some(&ABSENT),
                (_, EntryForm::Child, Some(entries)) => {
                    schema.user_attribute(one.name).or(Some(entries))
                }
                _ => schema.user_attribute(one.name),
            };
            let Some(attribute) = known else {
                self.unknown_attribute(one, schema, resource);
                continue;
            };
            places.insert(one.name, one.value_span(self.source));
            if attribute.shape == Shape::Map {
                match decode_map(self.source, &resource.address, attribute, one) {
                    Ok(map) => drop(state.insert(one.name.to_owned(), map)),
                    Err(errors) => self.errors.extend(errors),
                }
                continue;
            }
            if let Some(nested) = &one.nested {
                self.errors.push(
                    SpecError::new(
                        "spec::type",
                        format!("`{}` takes values only", one.name),
                        nested.clone(),
                    )
                    .help("write texts after it, in quotes"),
                );
                continue;
            }
            let decoded = decode_value(
                self.source,
                &resource.address,
                attribute,
                &one.values,
                &one.span,
            );
            match decoded {
                Decoded::Value(value) if attribute.shape == Shape::Entries => {
                    let entries = state
                        .entry(attribute.name)
                        .or_insert_with(|| serde_json::json!({}));
                    entries[one.name] = value;
                }
                Decoded::Value(value) if one.name == "absent" => is_absent = value == true,
                Decoded::Value(value) => drop(state.insert(one.name.to_owned(), value)),
                Decoded::Invalid(errors) => self.errors.extend(errors),
            }
        }
        let places = places.into_iter();
        resource.attributes = places.map(|(name, at)| (name.into(), at)).collect();
        if !is_absent {
            resource.desired = Desired::present(state.into());
        }
        is_absent
    }

    fn unknown_attribute(
        &mut self,
        one: &AttributeEntry<'_>,
        schema: &Schema,
        resource: &Resource,
    ) {
        let allowed = schema
            .attributes
            .iter()
            .filter(|attribute| {
                attribute.role.is_user_written() && attribute.shape != Shape::Entries
            })
            .map(|attribute| attribute.name)
            .chain(["needs"])
            .chain((schema.absence == Absence::Allowed).then_some("absent"));
        self.errors.push(
            SpecError::new(
                "spec::unknown-attribute",
                format!("unknown attribute `{}` on {}", one.name, resource.address),
                one.name_span.clone(),
            )
            .help(suggest::did_you_mean(
                "its attributes are",
                one.name,
                allowed,
            )),
        );
    }

    fn needs(&mut self, one: &AttributeEntry<'_>, resource: &mut Resource) {
        if one.values.is_empty() {
            self.errors.push(
                SpecError::new("spec::type", "`needs` has no address", one.span.clone())
                    .help("write `needs \"KIND:NAME\"`"),
            );
        }
        for entry in &one.values {
            let span = value_span(self.source, entry);
            let address = entry.value().as_string().and_then(|text| text.parse().ok());
            match address {
                Some(address) => resource.requires.push((address, span)),
                None => self.errors.push(
                    SpecError::new("spec::needs", format!("`{}` is not an address", source_text(self.source, entry)), span)
                        .help("write `needs=\"KIND:NAME\"`, for instance `needs=\"sysctl:net.ipv4.ip_forward\"`"),
                ),
            }
        }
    }

    fn decode_override(&mut self, one: &AttributeEntry<'_>, resource: &mut Resource) {
        let span = one.value_span(self.source);
        match one.values.first().and_then(|entry| entry.value().as_bool()) {
            Some(true) => resource.provenance.is_override = Some(one.span.clone()),
            Some(false) => {}
            None => self.errors.push(
                SpecError::new("spec::type", "`override` is `#true` or `#false`", span)
                    .help("write `override=#true`"),
            ),
        }
    }

    fn check_absent(
        &mut self,
        written: &[AttributeEntry<'_>],
        schema: &Schema,
        resource: &mut Resource,
    ) {
        resource.desired = Desired::Absent;
        let span = resource.attribute_span("absent").clone();
        if let Absence::Refused(why) = schema.absence {
            self.errors.push(
                SpecError::new(
                    "spec::absent",
                    format!("{} cannot be absent", resource.address),
                    span,
                )
                .help(why),
            );
            return;
        }
        for one in written
            .iter()
            .filter(|one| !matches!(one.name, "absent" | "needs" | "override"))
        {
            self.errors.push(
                SpecError::new(
                    "spec::absent",
                    format!("{} is absent and has an attribute", resource.address),
                    one.span.clone(),
                )
                .label(span.clone(), "declared absent here")
                .help(match one.form {
                    EntryForm::Main => "remove the value, or `absent=#true`".to_owned(),
                    EntryForm::Property | EntryForm::Child => {
                        format!("remove `{}`, or `absent=#true`", one.name)
                    }
                }),
            );
        }
    }

    fn refuse_annotations(&mut self, node: &KdlNode) {
        let mut nodes = vec![node];
        while let Some(node) = nodes.pop() {
            let before_node = node.ty().into_iter();
            let before_values = node.entries().iter().filter_map(KdlEntry::ty);
            let unknown =
                before_values.filter(|ty| !matches!(ty.value(), "var" | "env" | "fact" | "secret"));
            for annotation in before_node.chain(unknown) {
                let span = annotation.span();
                let span = self.span_at(span.offset(), span.len());
                self.errors
                    .push(unknown_annotation(annotation.value(), span));
            }
            nodes.extend(node.children().map_or(&[][..], KdlDocument::nodes));
        }
    }

    fn span_at(&self, offset: usize, length: usize) -> Span {
        Span::new(self.source, offset..offset + length)
    }
}

/// Whether a name is one line of text.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(char::is_control)
}
