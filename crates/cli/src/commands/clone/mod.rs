//! `stead clone`: internal commands that a rehearsal runs in its clone and around it.

mod inside;
pub(crate) mod step_by_step;
pub(crate) mod supervise;
mod trial;

use stead_resources::clone::{Entry, enter, idle};

use crate::{args::Clone, context::Session, error::Failure, exit::Exit};

/// Does one part of a rehearsal.
pub(crate) fn run(session: &Session, command: Clone) -> Result<Exit, Failure> {
    match command {
        Clone::Hold(args) => supervise::hold(session, &args),
        Clone::Enter { cgroup, init, argv } => {
            let error = enter(&Entry { cgroup, init }, &argv);
            Err(Failure::of(Exit::Failed, &error))
        }
        Clone::Idle { root, shown } => {
            idle(&root, &shown)?;
            Ok(Exit::Done)
        }
        Clone::Look => inside::look(session),
        Clone::Set => inside::set(session),
        Clone::Plan => inside::plan(session),
        Clone::Apply => inside::apply(session),
    }
}
