//! The causes of drift: why a host that had converged differs again.

pub mod explain;
