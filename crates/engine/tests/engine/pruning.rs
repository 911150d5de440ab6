//! Which runs are kept.
#![expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]

use stead_engine::{
    history::{journal::Outcome, runs::committed},
    model::{address::Address, state::Desired},
    plan::document::Scope,
};

use crate::{
    promises::{Site, present, spec},
    world::{Leaf, Tree},
};

impl Site {
    /// Applies a leaf with a text, and returns the run.
    fn apply_leaf(&self, name: &str, text: &str, scope: Scope) -> u64 {
        let leaf = Leaf {
            mode: None,
            text: Some(text.to_owned()),
        };
        let wanted = vec![(Address::new("leaf", name), present(&leaf))];
        self.apply_done(&self.plan(&spec(wanted)).with_scope(scope))
    }

    fn apply_done(&self, plan: &stead_engine::plan::document::Plan) -> u64 {
        match self.with_lock(async |apply, lock| apply.run(lock, plan, None).await.unwrap()) {
            Some(Outcome::Done { run }) => run,
            other => panic!("{other:?}"),
        }
    }

    fn undo_done(&self, run: u64) -> u64 {
        self.apply_done(&self.undo(run).unwrap())
    }
}

#[test]
fn pruning_keeps_runs_that_are_still_needed() {
    let site = Site::new(Tree::new());
    let [needed, stray] = ["a", "b"].map(|digit| digit.repeat(64));
    let whole = site.apply_leaf("x", &needed, Scope::Whole);
    let part = site.apply_leaf("y", "1", Scope::Part);
    let undo = site.undo_done(part);
    let redo = site.undo_done(undo);
    let gone = site.apply_leaf("z", "0", Scope::Part);
    let state = site.state();
    std::fs::create_dir(state.blobs_dir()).unwrap();
    for digest in [&needed, &stray] {
        std::fs::write(state.blobs_dir().join(digest), "contents").unwrap();
    }
    let before = committed(&state).unwrap();

    let newest = (1..=110).map(|text| site.apply_leaf("z", &text.to_string(), Scope::Part));
    let newest: Vec<u64> = newest.collect();
    let runs = state.run_numbers().unwrap();
    for kept in [whole, part, undo, redo].iter().chain(&newest[20..]) {
        assert!(runs.contains(kept), "{kept} is not in {runs:?}");
    }
    assert!(
        !runs.contains(&gone) && !runs.contains(&newest[0]),
        "{runs:?}"
    );
    let names = |wanted: &Option<(String, Vec<stead_engine::plan::document::DesiredResource>)>| {
        let wanted = &wanted.as_ref().unwrap().1;
        wanted
            .iter()
            .map(|wanted| wanted.address.to_string())
            .collect::<Vec<_>>()
    };
    let after = committed(&state).unwrap();
    assert_eq!(names(&before), names(&after));
    let Desired::Present(z) = &after.unwrap().1[2].desired else {
        panic!("it is wanted");
    };
    assert_eq!(z["text"], "110");
    assert!(state.blobs_dir().join(&needed).exists());
    assert!(!state.blobs_dir().join(&stray).exists());
}
