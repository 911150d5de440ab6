//! Import, as properties over a strict world in memory: what it writes is what is there, all of it and nothing else.

use std::{path::Path, sync::Arc};

use proptest::prelude::*;
use stead_engine::{
    import::{
        ignore::{Ignores, Pattern},
        importer::{Imported, import},
        options::{ImportOptions, MachineSpecific},
    },
    language::{error::SpecErrors, format::format, resolve::decode, source::Source, spec::Spec},
    plan::graph::Graph,
};

use crate::{
    promises::{Case, Site, case, tree},
    world::{Node, Tree, registry},
};

static NO_IGNORES: Ignores = Ignores::empty();

fn import_all() -> ImportOptions<'static> {
    ImportOptions {
        host: "world",
        path: Path::new("host.kdl"),
        files_dir: None,
        machine_specific: MachineSpecific::Inline,
        only: &[],
        except: &[],
        ignores: &NO_IGNORES,
        existing: None,
    }
}

fn source(text: &str) -> Arc<Source> {
    Arc::new(Source::new("host.kdl", text.to_owned()))
}

fn decode_spec(text: &str) -> Result<Spec, SpecErrors> {
    decode(&source(text), &registry())
}

fn run_import(site: &Site, wish: &ImportOptions<'_>) -> Imported {
    site.runtime
        .block_on(import(&registry(), &site.host, wish))
        .unwrap()
}

/// A tree with texts that are not easy to write.
fn odd_tree() -> impl Strategy<Value = Tree> {
    let texts = prop::collection::vec("[ -~\n\t\"\\\\#ä\u{2028}]{0,12}", 10);
    (tree(), texts).prop_map(|(mut tree, texts)| {
        for (node, odd) in tree.values_mut().zip(texts) {
            if let Node::Leaf(leaf) = node {
                leaf.text = Some(odd);
            }
        }
        tree
    })
}

/// Returns the lines that say something, each as the text without it.
fn without_each_line(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let says = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let numbers = (0..lines.len()).filter(|number| says(&lines[*number]));
    numbers
        .map(|number| {
            let mut rest = lines.clone();
            let line = rest.remove(number);
            (line.to_owned(), rest.join("\n") + "\n")
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn import_is_reproducible_and_plans_nothing(start in odd_tree()) {
        let site = Site::new(start);
        let first = run_import(&site, &import_all());
        prop_assert_eq!(first.resources, site.host.tree().len());
        prop_assert!(first.coverage.is_complete());
        prop_assert!(site.plan(&decode_spec(&first.spec).unwrap()).is_empty());
        prop_assert_eq!(&format(&source(&first.spec)).unwrap(), &first.spec, "laid out");
        prop_assert_eq!(run_import(&site, &import_all()).spec, first.spec);
        prop_assert_eq!(site.host.lock().writes, 0);
    }

    #[test]
    fn import_recreates_the_host_elsewhere(start in odd_tree()) {
        let text = run_import(&Site::new(start.clone()), &import_all()).spec;
        let other = Site::new(Tree::new());
        other.apply(&other.plan(&decode_spec(&text).unwrap())).unwrap();
        prop_assert_eq!(other.host.tree(), start);
        prop_assert_eq!(run_import(&other, &import_all()).spec, text);
    }

    #[test]
    fn import_agrees_with_the_applied_spec(case in case()) {
        let Case { start, spec } = case;
        let site = Site::new(start);
        site.apply(&site.plan(&spec));
        let text = run_import(&site, &import_all()).spec;
        let other = Site::new(site.host.tree());
        prop_assert!(other.plan(&decode_spec(&text).unwrap()).is_empty());
        prop_assert_eq!(other.plan(&spec).is_empty(), site.plan(&spec).is_empty());
    }

    #[test]
    fn import_writes_no_redundant_line(start in odd_tree()) {
        let site = Site::new(start);
        let text = run_import(&site, &import_all()).spec;
        for (line, rest) in without_each_line(&text) {
            let Ok(spec) = decode_spec(&rest) else { continue };
            let graph = Graph::build(spec.clone(), &registry()).unwrap();
            let against = ImportOptions { existing: Some(&graph), ..import_all() };
            let unsaid = run_import(&site, &against);
            prop_assert!(unsaid.resources > 0 || !site.plan(&spec).is_empty(), "{}\n{}", line, rest);
        }
    }

    #[test]
    fn import_omits_what_the_given_spec_declares(start in odd_tree()) {
        let site = Site::new(start);
        let spec = decode_spec(&run_import(&site, &import_all()).spec).unwrap();
        let graph = Graph::build(spec, &registry()).unwrap();
        let against = ImportOptions { existing: Some(&graph), ..import_all() };
        prop_assert_eq!(run_import(&site, &against).resources, 0);
    }

    #[test]
    fn import_adds_only_drifted_resources(start in odd_tree(), at in any::<prop::sample::Index>()) {
        let site = Site::new(start);
        let spec = decode_spec(&run_import(&site, &import_all()).spec).unwrap();
        let graph = Graph::build(spec, &registry()).unwrap();
        let drifted = {
            let mut world = site.host.lock();
            let mut leaves: Vec<_> = world
                .tree
                .iter_mut()
                .filter_map(|(path, node)| match node {
                    Node::Leaf(leaf) => Some((path.clone(), leaf)),
                    Node::Directory(_) => None,
                })
                .collect();
            prop_assume!(!leaves.is_empty());
            let (path, leaf) = at.get_mut(&mut leaves);
            leaf.text = Some("drift".to_owned());
            path.clone()
        };
        let against = ImportOptions { existing: Some(&graph), ..import_all() };
        let found = run_import(&site, &against);
        prop_assert_eq!(found.resources, 1);
        let leaf = format!("leaf \"{drifted}\" mode=");
        prop_assert!(found.spec.contains(&leaf) && found.spec.contains("text=\"drift\""), "{}", found.spec);
    }

    #[test]
    fn import_reports_ignored_resources(start in tree()) {
        let site = Site::new(start);
        let ignores = Ignores::parse(&source("ignore \"leaf:a/*\" reason=\"why not\"\n")).unwrap();
        let except = [Pattern::new("folder:d")];
        let wish = ImportOptions { ignores: &ignores, except: &except, ..import_all() };
        let found = run_import(&site, &wish);
        let tree = site.host.tree();
        let ignored = |kind: &str, rule: &str| {
            found.coverage.0[kind].ignored.get(rule).map_or(0, std::collections::BTreeSet::len)
        };
        let inner = tree.iter().filter(|(path, node)| path.starts_with("a/") && matches!(node, Node::Leaf(_)));
        prop_assert_eq!(ignored("leaf", "why not"), inner.count());
        prop_assert_eq!(ignored("folder", "`--except`"), usize::from(tree.contains_key("d")));
        prop_assert!(!found.spec.contains("leaf \"a/"));
    }
}

#[test]
fn import_reports_unrepresentable_resources() {
    let leaf = |text: &str| {
        Node::Leaf(crate::world::Leaf {
            mode: Some("1".into()),
            text: Some(text.into()),
        })
    };
    let tree = Tree::from([
        ("x".to_owned(), leaf("\u{1b}[m")),
        ("y\n".to_owned(), leaf("a")),
        ("z".to_owned(), leaf("a")),
    ]);
    let found = run_import(&Site::new(tree), &import_all());
    let leaves = &found.coverage.0["leaf"];
    assert!(!found.coverage.is_complete());
    assert_eq!(leaves.managed.iter().collect::<Vec<_>>(), ["z"]);
    assert!(leaves.unreadable["x"].contains("a spec cannot contain"));
    assert!(leaves.ignored["a spec cannot express its name"].contains("y\n"));
    assert!(found.spec.contains("leaf \"z\"") && !found.spec.contains("leaf \"x\""));
}
