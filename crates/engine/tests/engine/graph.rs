//! The graph: order, cycles, contradictions.

use std::{collections::BTreeMap, sync::Arc};

use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;
use stead_engine::{
    language::{
        provenance::Provenance,
        source::{Source, Span},
        spec::{Resource, Spec, SpecSources},
    },
    model::{address::Address, state::Desired},
    plan::graph::{Edge, Graph},
};

use crate::{
    promises::case,
    world::{Directory, registry},
};

/// Makes a spec of lines `NAME [absent] [needs NAME]…`, each a directory.
fn spec(text: &str) -> Spec {
    let source = Arc::new(Source::new("host.kdl", text.to_owned()));
    let span = |word: &str| {
        let offset = word.as_ptr() as usize - text.as_ptr() as usize;
        assert!(offset <= text.len(), "a word of the caller's text");
        Span {
            source: source.clone(),
            offset,
            length: word.len(),
        }
    };
    let resource = |line: &str| {
        let at = text.find(line).unwrap();
        let line = &text[at..at + line.len()];
        let words: Vec<&str> = line.split(' ').collect();
        let needs = words
            .windows(2)
            .filter(|pair| pair[0] == "needs")
            .map(|pair| pair[1]);
        Resource {
            address: Address::new("folder", words[0]),
            desired: if words.contains(&"absent") {
                Desired::Absent
            } else {
                Desired::present(serde_json::to_value(Directory::default()).unwrap())
            },
            implied_by: None,
            requires: needs
                .map(|name| (Address::new("folder", name), span(name)))
                .collect(),
            span: span(line),
            name_span: span(line),
            attributes: litemap::LiteMap::new_vec(),
            provenance: Provenance::default(),
        }
    };
    Spec {
        host: "world".into(),
        resources: text.lines().map(resource).collect(),
        sources: SpecSources::default(),
    }
}

fn check_order(text: &str, expected: &[&str]) {
    let graph = Graph::build(spec(text), &registry()).unwrap();
    let order: Vec<_> = graph
        .resources()
        .map(|resource| resource.address.name.as_str())
        .collect();
    assert_eq!(order, expected);
}

#[test]
fn graph_lists_needs_sorted_and_once() {
    let graph = Graph::build(
        spec("p/b\na\np\np/c needs a needs p needs p/b"),
        &registry(),
    )
    .unwrap();
    let needs: BTreeMap<_, Vec<_>> = graph
        .with_needs()
        .map(|(resource, needs)| {
            let needs = needs.iter().map(|need| need.name.as_str());
            (resource.address.name.as_str(), needs.collect())
        })
        .collect();
    let expected = [
        ("a", vec![]),
        ("p", vec![]),
        ("p/b", vec!["p"]),
        ("p/c", vec!["a", "p", "p/b"]),
    ];
    assert_eq!(needs, BTreeMap::from(expected));
    let needed: Vec<_> = graph
        .needs()
        .map(|(from, to, edge)| (from.name.as_str(), to.name.as_str(), edge))
        .collect();
    // What is written says more than what is so by nature.
    assert!(needed.contains(&("p/c", "p", Edge::Explicit)), "{needed:?}");
    assert!(needed.contains(&("p/b", "p", Edge::Implied)), "{needed:?}");
}

fn rendered_error(text: &str) -> String {
    let errors = Graph::build(spec(text), &registry()).unwrap_err();
    let mut rendered = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none());
    for error in &errors.0 {
        handler.render_report(&mut rendered, error).unwrap();
    }
    rendered
}

#[test]
fn graph_orders_dependencies_first_then_as_written() {
    check_order("c needs a\nb\na", &["b", "a", "c"]);
}

#[test]
fn directory_precedes_its_entries() {
    check_order("p/q/r\np/q\np", &["p", "p/q", "p/q/r"]);
}

#[test]
fn absent_resources_come_last_in_reverse_order() {
    check_order("p absent\np/q absent\nz", &["z", "p/q", "p"]);
}

#[test]
fn cycle_error_labels_every_member() {
    insta::assert_snapshot!(rendered_error("a needs b\nb needs c\nc needs a\nd needs a"), @"
    spec::cycle

      x dependency cycle: `folder:a`, `folder:b`, `folder:c`
       ,-[host.kdl:1:9]
     1 | a needs b
       :         |
       :         `-- `folder:a` needs `folder:b`
     2 | b needs c
       :         |
       :         `-- `folder:b` needs `folder:c`
     3 | c needs a
       :         |
       :         `-- `folder:c` needs `folder:a`
     4 | d needs a
       `----
      help: remove one of these `needs`
    ");
}

#[test]
fn self_dependency_is_a_cycle() {
    insta::assert_snapshot!(rendered_error("a needs a"), @"
    spec::cycle

      x dependency cycle: `folder:a`
       ,-[host.kdl:1:9]
     1 | a needs a
       :         |
       :         `-- `folder:a` needs `folder:a`
       `----
      help: remove one of these `needs`
    ");
}

#[test]
fn resource_within_absent_parent_is_rejected() {
    insta::assert_snapshot!(rendered_error("p absent\np/q"), @"
    spec::needs-absent

      x `folder:p/q` needs `folder:p`, which is absent
       ,-[host.kdl:1:1]
     1 | p absent
       : ^^^^|^^^
       :     `-- declared absent here
     2 | p/q
       : ^^^
       `----
      help: write `absent=#true` on `folder:p/q` as well, or remove it from `folder:p`
    ");
}

proptest! {
    #[test]
    fn graph_order_respects_every_edge(case in case()) {
        let graph = Graph::build(case.spec.clone(), &registry()).unwrap();
        let order: BTreeMap<_, _> =
            graph.resources().enumerate().map(|(place, resource)| (&resource.address, (place, &resource.desired))).collect();
        for (from, to, edge) in graph.needs() {
            prop_assert_eq!(edge, Edge::Implied);
            let ((from, wish), (to, other)) = (order[from], order[to]);
            match (wish, other) {
                (Desired::Present(_), Desired::Present(_)) => prop_assert!(to < from),
                (Desired::Absent, Desired::Absent) => prop_assert!(from < to),
                (Desired::Absent, Desired::Present(_)) => prop_assert!(to < from),
                (Desired::Present(_), Desired::Absent) => prop_assert!(false, "refused before"),
            }
        }
    }
}
