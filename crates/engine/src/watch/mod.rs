//! When drift is restored and when it is left alone. Pure but for planning: it neither waits nor prints.

pub mod backoff;
pub mod planning;
