//! The checked spec, with the spans of its resources.

use std::{collections::BTreeMap, sync::Arc};

use litemap::LiteMap;
use smol_str::SmolStr;

use crate::{
    language::{
        provenance::Provenance,
        source::{Source, Span},
    },
    model::{address::Address, facts::Fact, state::Desired},
};

/// What the user wrote for one host, checked.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The name of the host node.
    pub host: String,
    /// The resources, in the order in which they were written.
    pub resources: Vec<Resource>,
    /// What it was resolved from.
    pub sources: SpecSources,
}

/// One resource of a spec.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its identity.
    pub address: Address,
    /// What is wanted.
    pub desired: Desired,
    /// The resource that brought this one with it, if the user did not write it.
    pub implied_by: Option<Arc<Address>>,
    /// Edges that the user wrote with `needs`; none in a graph, which has them itself.
    pub requires: Vec<(Address, Span)>,
    /// The node, without its children.
    pub span: Span,
    /// The place of the name.
    pub name_span: Span,
    /// The place of each written attribute.
    pub attributes: LiteMap<SmolStr, Span>,
    /// How it came into the spec.
    pub provenance: Provenance,
}

impl Resource {
    /// Returns the place of an attribute, or that of the node if it is not written.
    pub fn attribute_span(&self, attribute: &str) -> &Span {
        self.attributes.get(attribute).unwrap_or(&self.span)
    }
}

/// What a spec was resolved from besides the values that were given to it.
#[derive(Clone, Debug, Default)]
pub struct SpecSources {
    /// Its files, the one that was named first.
    pub files: Vec<Arc<Source>>,
    /// What it has asked the environment for, with the answers.
    pub environment: BTreeMap<String, String>,
    /// What it has asked of the facts, with the answers.
    pub facts: BTreeMap<String, Fact>,
}
