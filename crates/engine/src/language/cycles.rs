//! Cycles of references.

use petgraph::{
    algo::{astar, kosaraju_scc},
    graph::{DiGraph, EdgeIndex, NodeIndex},
    visit::EdgeRef,
};

/// Returns the groups of nodes that reach each other, each sorted, in the order of their first.
pub(crate) fn cyclic_components<N, E>(graph: &DiGraph<N, E>) -> Vec<Vec<NodeIndex>> {
    // Without recursion: a chain may be as long as a spec.
    let mut groups: Vec<_> = kosaraju_scc(graph)
        .into_iter()
        .filter(|members| members.len() > 1 || graph.contains_edge(members[0], members[0]))
        .map(|mut members| {
            members.sort();
            members
        })
        .collect();
    groups.sort();
    groups
}

/// Returns of each such group the edges of a shortest circle, from its first member on.
pub(crate) fn cycle_edges<N, E>(graph: &DiGraph<N, E>) -> Vec<Vec<EdgeIndex>> {
    let shortest_cycle = |start: NodeIndex| {
        let begun = graph.edges(start).filter_map(|edge| {
            let back = astar(graph, edge.target(), |node| node == start, |_| 1, |_| 0);
            let (_, nodes) = back?;
            let further = nodes
                .windows(2)
                .filter_map(|pair| graph.find_edge(pair[0], pair[1]));
            Some([edge.id()].into_iter().chain(further).collect::<Vec<_>>())
        });
        begun.min_by_key(Vec::len)
    };
    let starts = cyclic_components(graph)
        .into_iter()
        .map(|members| members[0]);
    starts.filter_map(shortest_cycle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycle_edges_finds_shortest_cycle_per_component() {
        let edges = [(0, 1), (1, 2), (2, 3), (3, 1), (2, 1), (4, 4), (5, 4)];
        let graph = DiGraph::<(), ()>::from_edges(edges);
        let found: Vec<Vec<_>> = cycle_edges(&graph)
            .iter()
            .map(|circle| circle.iter().map(|edge| edge.index()).collect())
            .collect();
        assert_eq!(found, [vec![1, 4], vec![5]]);
    }

    #[test]
    fn long_cycle_does_not_overflow_the_stack() {
        let chain = (0..100_000).map(|node| (node, node + 1));
        let graph = DiGraph::<(), ()>::from_edges(chain.chain([(100_000, 0)]));
        assert_eq!(cycle_edges(&graph)[0].len(), 100_001);
    }
}
