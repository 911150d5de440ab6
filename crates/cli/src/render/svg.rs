//! A graph as a picture.

use layout::{
    backends::svg::SVGWriter,
    gv::{DotParser, GraphBuilder},
};
use stead_engine::plan::graph::{Graph, NodeStyles};

/// Draws a graph as SVG.
pub(crate) fn svg(graph: &Graph, marks: &NodeStyles) -> String {
    let document = DotParser::new(&graph.dot(marks))
        .process()
        .expect("the graph writes plain Graphviz");
    let mut builder = GraphBuilder::new();
    builder.visit_graph(&document);
    let mut writer = SVGWriter::new();
    builder.get().do_it(false, false, false, &mut writer);
    writer.finalize()
}
