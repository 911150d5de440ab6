//! Which runs are kept.
#![expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own folder"
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
    fn put(&self, name: &str, text: &str, scope: Scope) -> u64 {
        let leaf = Leaf {
            mode: None,
            text: Some(text.to_owned()),
        };
        let wanted = vec![(Address::new("leaf", name), present(&leaf))];
        self.done(&self.plan(&spec(wanted)).scoped(scope))
    }

    fn done(&self, plan: &stead_engine::plan::document::Plan) -> u64 {
        match self.with(async |apply, lock| apply.run(lock, plan, None).await.unwrap()) {
            Some(Outcome::Done { run }) => run,
            other => panic!("{other:?}"),
        }
    }

    fn undo_it(&self, run: u64) -> u64 {
        self.done(&self.undo(run).unwrap())
    }
}

#[test]
fn old_runs_go_but_none_that_something_needs() {
    let site = Site::new(Tree::new());
    let [needed, stray] = ["a", "b"].map(|digit| digit.repeat(64));
    let whole = site.put("x", &needed, Scope::Whole);
    let part = site.put("y", "1", Scope::Part);
    let undo = site.undo_it(part);
    let redo = site.undo_it(undo);
    let gone = site.put("z", "0", Scope::Part);
    let state = site.state();
    std::fs::create_dir(state.blobs()).unwrap();
    for digest in [&needed, &stray] {
        std::fs::write(state.blobs().join(digest), "contents").unwrap();
    }
    let before = committed(&state).unwrap();

    let newest = (1..=110).map(|text| site.put("z", &text.to_string(), Scope::Part));
    let newest: Vec<u64> = newest.collect();
    let runs = state.runs().unwrap();
    for kept in [whole, part, undo, redo].iter().chain(&newest[20..]) {
        assert!(runs.contains(kept), "{kept} is not in {runs:?}");
    }
    assert!(
        !runs.contains(&gone) && !runs.contains(&newest[0]),
        "{runs:?}"
    );
    let names = |wanted: &Option<(String, Vec<stead_engine::plan::document::Wanted>)>| {
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
    assert!(state.blobs().join(&needed).exists());
    assert!(!state.blobs().join(&stray).exists());
}
