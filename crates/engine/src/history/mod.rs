//! What the engine keeps on disk: state directory, lock, journal, runs and the spec cache.

#[expect(
    clippy::disallowed_methods,
    reason = "what is written is the engine's own, or output, not the host"
)]
pub mod atomic_file;
pub mod journal;
#[expect(
    clippy::disallowed_methods,
    reason = "the run directory and its lock are what the engine itself keeps"
)]
pub mod lock;
pub(crate) mod prune;
pub mod runs;
pub mod spec_cache;
pub mod stage;
#[expect(
    clippy::disallowed_methods,
    reason = "the run directory and its lock are what the engine itself keeps"
)]
pub mod state_dir;
pub mod window;
