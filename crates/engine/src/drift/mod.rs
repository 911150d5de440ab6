//! Why a host that had converged differs again.

pub mod explain;
