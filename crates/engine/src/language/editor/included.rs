//! Checks a file that others include.

use std::sync::Arc;

use crate::{
    language::{
        error::SpecErrors,
        source::{FileRole, Source},
        spec_file,
    },
    provider::{host::Host, registry::Registry},
};

/// Checks a file that others include, by itself: what takes values from elsewhere is left to whoever includes it.
///
/// # Errors
/// All mistakes in it.
pub fn check_included<H: Host>(
    source: &Arc<Source>,
    registry: &Registry<H>,
) -> Result<(), SpecErrors> {
    let read = crate::language::parse::with_large_stack(|| {
        spec_file::read_spec_file(source, registry, FileRole::Included)
            .map(|fragment| fragment.errors)
    });
    match read? {
        errors if errors.is_empty() => Ok(()),
        errors => Err(SpecErrors(errors)),
    }
}
