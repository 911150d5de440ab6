//! Mistakes that only the whole spec shows.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    address::Address,
    spec::{Resource, Span},
    spec_error::SpecError,
    suggest,
};

/// Finds what is declared twice.
pub(crate) fn duplicates(resources: &[Resource]) -> Vec<SpecError> {
    let mut errors = vec![];
    let mut first: HashMap<&Address, &Span> = HashMap::new();
    for resource in resources {
        let span = &resource.attributes["name"];
        match first.get(&resource.address) {
            None => drop(first.insert(&resource.address, span)),
            Some(first) => {
                let help = if Arc::ptr_eq(&first.source, &span.source) {
                    "put all its attributes into one of them"
                } else {
                    "put all its attributes into one of them, or write `override=#true` on the one that counts"
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

/// Finds `needs` that name what is not there.
pub(crate) fn unknown_needs(resources: &[Resource]) -> Vec<SpecError> {
    let mut errors = vec![];
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
            None => "declare it in this spec, or take the `needs` away".to_owned(),
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
