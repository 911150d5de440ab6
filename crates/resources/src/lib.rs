//! The kinds that stead knows. This file is the list of them and nothing else.

mod access;
mod content;
pub mod host;
mod path;

mod directory;
mod file;
mod symlink;

use stead_engine::registry::Registry;

/// Returns all kinds.
pub fn registry() -> Registry<host::Live> {
    Registry::default()
        .with(directory::Directory)
        .with(file::File)
        .with(symlink::Symlink)
}
