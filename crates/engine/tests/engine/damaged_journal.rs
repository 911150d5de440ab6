//! A disk that has lost a record of a journal: all others are still rolled back, and that one is named.
#![expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]

use stead_engine::{
    history::journal::Outcome,
    model::{address::Address, state::Desired},
    run::undo::UndoError,
};

use crate::{
    promises::{Site, present, spec},
    world::{Directory, Fault, Leaf, Node, Tree},
};

/// A world with a directory and three things, and what is wanted: two changes in two steps, one removal, one thing more.
fn site() -> (Site, stead_engine::language::spec::Spec) {
    let text = |text: &str| Leaf {
        mode: None,
        text: Some(text.to_owned()),
    };
    let mut tree = Tree::new();
    tree.insert("a".to_owned(), Node::Directory(Directory::default()));
    for name in ["a/x", "y", "gone"] {
        tree.insert(name.to_owned(), Node::Leaf(text("old")));
    }
    let wishes = vec![
        (Address::new("leaf", "a/x"), present(&text("new"))),
        (Address::new("leaf", "y"), present(&text("new"))),
        (Address::new("folder", "b"), present(&Directory::default())),
        (Address::new("leaf", "b/z"), present(&text("new"))),
        (Address::new("leaf", "gone"), Desired::Absent),
    ];
    (Site::new(tree), spec(wishes))
}

/// Breaks one record of the journal of run 1. Returns what it was, or `None` if there is none.
fn damage(site: &Site, number: usize) -> Option<String> {
    let path = site.state().run_dir(1).join("journal");
    let journal = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = journal.lines().map(str::to_owned).collect();
    let line = lines.get_mut(number)?;
    let was = std::mem::replace(line, line.replace('"', "'"));
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    Some(was)
}

fn record_count(site: &Site) -> usize {
    let path = site.state().run_dir(1).join("journal");
    std::fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn recover_undoes_other_steps_despite_a_lost_record() {
    let mut lost_steps = 0;
    for number in 0..100 {
        let (site, spec) = site();
        let start = site.host.lock().tree.clone();
        let plan = site.plan(&spec);
        // The removal comes last.
        site.host.lock().faults.insert(4, Fault::KilledAfter);
        assert_eq!(site.apply(&plan), None);
        assert_ne!(site.host.lock().tree, start);
        // Nobody can tell the newest one from one that was torn, whose step never began.
        let Some(was) = damage(&site, number).filter(|_| number + 1 < record_count(&site)) else {
            break;
        };
        let outcome = site.recover().unwrap();
        let now = site.host.lock().tree.clone();
        if was.contains("\"step\"") {
            lost_steps += 1;
        }
        // What another step did is back in any case.
        let other = if was.contains("gone") { "y" } else { "gone" };
        assert_eq!(now.get(other), start.get(other), "{number}: {was}");
        let Outcome::Residue { residue, .. } = &outcome else {
            panic!("{number}: {outcome:?}");
        };
        let named: Vec<_> = residue.iter().map(|it| it.address.to_string()).collect();
        assert!(
            named.contains(&"journal:1".to_owned()),
            "{number}: {named:?}"
        );
    }
    assert!(lost_steps > 1, "only {lost_steps} steps were lost");
}

#[test]
fn undo_refuses_a_run_with_a_lost_record() {
    let (site, spec) = site();
    let plan = site.plan(&spec);
    assert!(matches!(site.apply(&plan), Some(Outcome::Done { run: 1 })));
    damage(&site, 1).unwrap();
    let refused = site.undo(1).unwrap_err();
    assert!(matches!(refused, UndoError::Damaged(1)), "{refused}");
}
