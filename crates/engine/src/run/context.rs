//! The context of the execution of a plan.

use std::{sync::atomic::AtomicBool, time::Duration};

use crate::{
    history::state_dir::StateDir,
    provider::{host::Host, registry::Registry},
    run::event::Observer,
};

/// How long verification waits between two looks.
pub(crate) const VERIFY_PAUSE: Duration = Duration::from_millis(200);

/// What an apply works with.
#[derive(Clone, Copy)]
pub struct RunContext<'a, H: Host> {
    /// The kinds.
    pub registry: &'a Registry<H>,
    /// The power to change the host.
    pub writer: &'a H::Writer,
    /// Where the run is kept.
    pub state: &'a StateDir,
    /// Who watches.
    pub observer: Observer<'a>,
    /// Set from outside to stop between two steps and roll back.
    pub stop: &'a AtomicBool,
}
