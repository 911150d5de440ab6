//! The dependency graph of the resources of a spec. Pure; the order of a plan follows from it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    sync::Arc,
};

use litemap::LiteMap;
use petgraph::{
    Direction,
    graph::{DiGraph, NodeIndex},
    visit::EdgeRef,
};

use crate::{
    language::{
        cycles::cyclic_components,
        error::{SpecError, SpecErrors},
        provenance::Provenance,
        spec::{Resource, Spec},
    },
    model::{address::Address, state::Desired},
    provider::{host::Host, registry::Registry},
};

/// The resources of a spec with their edges; free of cycles.
#[derive(Debug)]
pub struct Graph {
    host: String,
    edges: DiGraph<Resource, Edge>,
    order: Vec<NodeIndex>,
}

/// Where an edge comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The user wrote `needs`.
    Explicit,
    /// The kind says so.
    Implied,
}

/// How resources are drawn that are more than a name.
pub type NodeStyles = BTreeMap<Address, NodeStyle>;

/// How a resource is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStyle {
    /// What stands before its name, for those who see no colours.
    pub symbol: &'static str,
    /// The colour behind it: `#` and six hexadecimal digits.
    pub fill: &'static str,
}

impl Graph {
    /// Draws the written and the implied edges and finds the order.
    ///
    /// # Errors
    /// A cycle, with every member labelled; a resource that needs one that shall not exist.
    pub fn build<H: Host>(spec: Spec, registry: &Registry<H>) -> Result<Self, SpecErrors> {
        let resources = add_implied(spec.resources, registry);
        let needed = dependency_edges(&resources, registry);
        let mut edges = DiGraph::with_capacity(resources.len(), needed.len());
        for resource in resources {
            edges.add_node(resource);
        }
        for (from, to, edge) in needed {
            edges.add_edge(from, to, edge);
        }
        let is_absent = |node: NodeIndex| edges[node].desired == Desired::Absent;
        let contradictions = edges
            .edge_references()
            .filter(|edge| !is_absent(edge.source()) && is_absent(edge.target()));
        let mut errors: Vec<_> = contradictions
            .map(|edge| needs_absent_error(&edges[edge.source()], &edges[edge.target()]))
            .collect();
        errors.extend(cycles(&edges));
        if !errors.is_empty() {
            return Err(SpecErrors(errors));
        }
        // The edges say so from here on.
        for resource in edges.node_weights_mut() {
            resource.requires = vec![];
        }
        let order = order(&edges);
        Ok(Self {
            host: spec.host,
            edges,
            order,
        })
    }

    /// Returns the name of the host node.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the resources in apply order: present ones along the edges, then absent ones against them.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.order.iter().map(|&node| &self.edges[node])
    }

    /// Returns the resources in apply order, each with what it needs first, directly and sorted.
    pub fn with_needs(&self) -> impl Iterator<Item = (&Resource, Vec<&Address>)> {
        self.order.iter().map(|&node| {
            let needed = self.edges.neighbors(node);
            let mut needs: Vec<_> = needed.map(|need| &self.edges[need].address).collect();
            needs.sort();
            (&self.edges[node], needs)
        })
    }

    /// Returns every edge: who needs, who is needed, and why.
    pub fn needs(&self) -> impl Iterator<Item = (&Address, &Address, Edge)> {
        self.edges.edge_references().map(|edge| {
            (
                &self.edges[edge.source()].address,
                &self.edges[edge.target()].address,
                *edge.weight(),
            )
        })
    }

    /// Draws the graph in Graphviz' language; an arrow points at what is needed first.
    pub fn dot(&self, marks: &NodeStyles) -> String {
        let mut text = "digraph stead {\n    rankdir = LR;\n    node [shape = box];\n".to_owned();
        for resource in self.edges.node_weights() {
            let name = resource.address.to_string();
            let mut style = vec![];
            if let Some(mark) = marks.get(&resource.address) {
                style.push(format!("label = {:?}", format!("{} {name}", mark.symbol)));
                style.push(format!("fillcolor = {:?}", mark.fill));
                style.push("style = filled".to_owned());
            } else if resource.desired == Desired::Absent {
                style.push("style = dashed".to_owned());
            }
            let style = if style.is_empty() {
                String::new()
            } else {
                format!(" [{}]", style.join(", "))
            };
            write_line(&mut text, format_args!("    {name:?}{style};"));
        }
        for (from, to, edge) in self.needs() {
            let style = if edge == Edge::Implied {
                " [style = dotted]"
            } else {
                ""
            };
            write_line(
                &mut text,
                format_args!("    {:?} -> {:?}{style};", from.to_string(), to.to_string()),
            );
        }
        text + "}\n"
    }

    /// Draws the graph in Mermaid's language; an arrow points at what is needed first.
    pub fn mermaid(&self, marks: &NodeStyles) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for node in self.edges.node_indices() {
            let number = node.index();
            let address = &self.edges[node].address;
            let name = address.to_string().replace('"', "#quot;");
            if let Some(NodeStyle { symbol, fill }) = marks.get(address) {
                write_line(
                    &mut text,
                    format_args!("    n{number}[\"{symbol} {name}\"]"),
                );
                write_line(&mut text, format_args!("    style n{number} fill:{fill}"));
            } else {
                write_line(&mut text, format_args!("    n{number}[\"{name}\"]"));
            }
        }
        for edge in self.edges.edge_references() {
            let arrow = if *edge.weight() == Edge::Implied {
                "-.->"
            } else {
                "-->"
            };
            write_line(
                &mut text,
                format_args!(
                    "    n{} {arrow} n{}",
                    edge.source().index(),
                    edge.target().index()
                ),
            );
        }
        text
    }
}

/// Adds what resources bring with them, unless it is written. Something that several bring comes after all of them.
fn add_implied<H: Host>(mut resources: Vec<Resource>, registry: &Registry<H>) -> Vec<Resource> {
    let mut places = None;
    let mut at = 0;
    while let Some(by) = resources.get(at) {
        at += 1;
        let Desired::Present(state) = &by.desired else {
            continue;
        };
        let kind = registry
            .provider_of(&by.address)
            .expect("decoding checked the kind");
        let Some(kind) = kind.composite() else {
            continue;
        };
        let brought = kind.implies(&by.address.name, state);
        if brought.is_empty() {
            continue;
        }
        let (by, span) = (Arc::new(by.address.clone()), by.span.clone());
        let places = places.get_or_insert_with(|| {
            let addresses = resources.iter().map(|resource| resource.address.clone());
            addresses.zip(0..).collect::<HashMap<_, usize>>()
        });
        for (address, desired) in brought {
            let edge = (Address::clone(&by), span.clone());
            if let Some(&there) = places.get(&address) {
                if resources[there].implied_by.is_some() {
                    resources[there].requires.push(edge);
                }
                continue;
            }
            places.insert(address.clone(), resources.len());
            resources.push(Resource {
                address,
                desired,
                implied_by: Some(Arc::clone(&by)),
                requires: vec![edge],
                span: span.clone(),
                name_span: span.clone(),
                attributes: LiteMap::new_vec(),
                provenance: Provenance::default(),
            });
        }
    }
    resources
}

fn write_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String cannot fail");
}

/// Returns every edge between resources: who needs, who is needed, and why. What is written says more than what is implied.
fn dependency_edges<H: Host>(
    resources: &[Resource],
    registry: &Registry<H>,
) -> Vec<(NodeIndex, NodeIndex, Edge)> {
    let addresses = resources.iter().map(|resource| &resource.address);
    let nodes: HashMap<_, _> = addresses.zip((0..).map(NodeIndex::new)).collect();
    let mut edges = vec![];
    for (resource, from) in resources.iter().zip((0..).map(NodeIndex::new)) {
        let address = &resource.address;
        let kind = registry
            .provider_of(address)
            .expect("decoding checked the kind");
        let implied = match &resource.desired {
            Desired::Present(state) => kind.requires(&address.name, state),
            Desired::Absent => kind.requires(&address.name, &serde_json::json!({})),
        };
        let implied = implied.iter().filter(|need| *need != address);
        let implied = implied.map(|need| (need, Edge::Implied));
        let written = resource.requires.iter();
        let written = written.map(|(need, _)| (need, Edge::Explicit));
        let needs: BTreeMap<_, _> = implied.chain(written).collect();
        let there = needs.into_iter();
        let there = there.filter_map(|(need, edge)| Some((from, *nodes.get(need)?, edge)));
        edges.extend(there);
    }
    edges
}

fn needs_absent_error(from: &Resource, to: &Resource) -> SpecError {
    SpecError::new(
        "spec::needs-absent",
        format!("`{}` needs `{}`, which is absent", from.address, to.address),
        from.span.clone(),
    )
    .label(to.span.clone(), "declared absent here")
    .help(format!(
        "write `absent=#true` on `{}` as well, or remove it from `{}`",
        from.address, to.address
    ))
}

fn cycles(edges: &DiGraph<Resource, Edge>) -> Vec<SpecError> {
    cyclic_components(edges)
        .iter()
        .map(|members| cycle_error(edges, members))
        .collect()
}

fn cycle_error(edges: &DiGraph<Resource, Edge>, members: &[NodeIndex]) -> SpecError {
    let mut labels = vec![];
    for &member in members {
        for edge in edges
            .edges(member)
            .filter(|edge| members.contains(&edge.target()))
        {
            let (from, to) = (&edges[member], &edges[edge.target()].address);
            let written = from.requires.iter().find(|(address, _)| address == to);
            labels.push(match written {
                Some((_, span)) => (span.clone(), format!("`{}` needs `{to}`", from.address)),
                None => (
                    from.span.clone(),
                    format!("`{}` needs `{to}` implicitly", from.address),
                ),
            });
        }
    }
    let names: Vec<_> = members
        .iter()
        .map(|&member| format!("`{}`", edges[member].address))
        .collect();
    SpecError {
        message: format!("dependency cycle: {}", names.join(", ")),
        code: "spec::cycle",
        help: Some("remove one of these `needs`".to_owned()),
        labels,
    }
}

/// Present ones along the edges, then absent ones against them. Among those that are free to go, the kind of the last one
/// goes on, so that changes of one kind can be made together; else the one written first. Deterministic.
fn order(edges: &DiGraph<Resource, Edge>) -> Vec<NodeIndex> {
    let is_absent = |node: NodeIndex| edges[node].desired == Desired::Absent;
    let (absent, present): (Vec<_>, Vec<_>) =
        edges.node_indices().partition(|&node| is_absent(node));
    let mut order = topological_order(edges, &present, Direction::Outgoing);
    order.extend(topological_order(edges, &absent, Direction::Incoming));
    order
}

fn topological_order(
    edges: &DiGraph<Resource, Edge>,
    nodes: &[NodeIndex],
    before: Direction,
) -> Vec<NodeIndex> {
    let mut is_member = vec![false; edges.node_count()];
    for node in nodes {
        is_member[node.index()] = true;
    }
    let inside = |node: NodeIndex, direction| {
        let neighbors = edges.neighbors_directed(node, direction);
        neighbors.filter(|other| is_member[other.index()])
    };
    let mut waits_for = vec![0; edges.node_count()];
    let mut ready: BTreeMap<&str, BTreeSet<NodeIndex>> = BTreeMap::new();
    for &node in nodes {
        waits_for[node.index()] = inside(node, before).count();
        if waits_for[node.index()] == 0 {
            let kind = &edges[node].address.kind;
            ready.entry(kind).or_default().insert(node);
        }
    }
    let mut order = Vec::with_capacity(nodes.len());
    let mut last = "";
    loop {
        let next = ready
            .get(last)
            .and_then(BTreeSet::first)
            .or_else(|| ready.values().filter_map(BTreeSet::first).min())
            .copied();
        let Some(node) = next else { return order };
        last = &edges[node].address.kind;
        ready
            .get_mut(last)
            .expect("the node came from there")
            .remove(&node);
        order.push(node);
        for other in inside(node, before.opposite()) {
            let waits = &mut waits_for[other.index()];
            *waits -= 1;
            if *waits == 0 {
                let kind = &edges[other].address.kind;
                ready.entry(kind).or_default().insert(other);
            }
        }
    }
}
