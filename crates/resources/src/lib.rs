//! The kinds that stead knows. This file is the list of them and nothing else.

pub mod host;

use stead_engine::registry::Registry;

/// Returns all kinds.
pub fn registry() -> Registry<host::Live> {
    Registry::default()
}
