//! Checks of the whole spec.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    language::{error::SpecError, source::Span, spec::Resource},
    model::{address::Address, suggest},
    provider::{host::Host, registry::Registry},
};

/// Finds what is declared twice.
pub(crate) fn duplicates(resources: &[Resource]) -> Vec<SpecError> {
    let mut errors = vec![];
    let mut first: HashMap<&Address, &Span> = HashMap::new();
    for resource in resources {
        let span = &resource.name_span;
        match first.get(&resource.address) {
            None => drop(first.insert(&resource.address, span)),
            Some(first) => {
                let help = if Arc::ptr_eq(&first.source, &span.source) {
                    "put all its attributes into one of them"
                } else {
                    "put all its attributes into one of them, or write `override=#true` on the one that applies"
                };
                errors.push(
                    SpecError::new(
                        "spec::duplicate",
                        format!("{} is declared twice", resource.address),
                        span.clone(),
                    )
                    .label((*first).clone(), "first here")
                    .help(help),
                );
            }
        }
    }
    errors
}

/// Finds resources of several kinds that are one thing: each changes a single place, and it is the same.
pub(crate) fn conflicting_paths<H: Host>(
    resources: &[Resource],
    registry: &Registry<H>,
) -> Vec<SpecError> {
    let mut errors = vec![];
    let mut first: HashMap<&str, &Resource> = HashMap::new();
    for resource in resources {
        let Address { kind, name } = &resource.address;
        let places = registry.get(kind).map(|kind| kind.managed_paths(name));
        if places.is_none_or(|places| places.as_slice() != [name.as_str()]) {
            continue;
        }
        match first.get(name.as_str()) {
            Some(first) if first.address != resource.address => errors.push(
                SpecError::new(
                    "spec::duplicate",
                    format!(
                        "{} and {} have the same path",
                        first.address, resource.address
                    ),
                    resource.name_span.clone(),
                )
                .label(first.name_span.clone(), "first here")
                .help("keep one of them"),
            ),
            Some(_) => {}
            None => drop(first.insert(name, resource)),
        }
    }
    errors
}

/// Finds `needs` that name what is not there.
pub(crate) fn unknown_needs(resources: &[Resource]) -> Vec<SpecError> {
    let mut errors = vec![];
    if resources
        .iter()
        .all(|resource| resource.requires.is_empty())
    {
        return errors;
    }
    let declared: BTreeSet<String> = resources
        .iter()
        .map(|resource| resource.address.to_string())
        .collect();
    for (address, span) in resources.iter().flat_map(|resource| &resource.requires) {
        let wanted = address.to_string();
        if declared.contains(&wanted) {
            continue;
        }
        let help = match suggest::nearest(&wanted, declared.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "declare it in this spec, or remove the `needs`".to_owned(),
        };
        errors.push(
            SpecError::new(
                "spec::needs",
                format!("`{wanted}` is not declared"),
                span.clone(),
            )
            .help(help),
        );
    }
    errors
}
