//! Collecting: what each kind finds worth importing, read and expressed as a user would write it; what is ignored is named.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    import::options::{ImportOptions, path_attributes},
    language::print::{
        PrintedResource, SpecSection, is_representable, is_value_representable, user_attributes,
    },
    model::{
        error_chain::error_chain,
        listing::{Export, ExportTarget, ExportedState, Listing},
        schema::Schema,
        state::{Desired, State},
    },
    provider::{erased::DynProvider, host::Host},
};

/// Rule for what needs a file beside the spec when the spec itself has no place.
const NEEDS_OUT_FILE: &str = "its contents need a file beside the spec: use `--out FILE`";
/// Rule for a name that no spec can hold.
const INVALID_NAME: &str = "a spec cannot express its name";
/// What stands for all of a kind in a coverage.
const EVERYTHING: &str = "*";

/// What there is of one kind.
pub(crate) struct Collected {
    /// The names, and what became of the rest.
    pub(crate) listing: Listing,
    /// What is written.
    pub(crate) sections: BTreeMap<ExportTarget, SpecSection>,
}

/// Lists, reads and writes down one kind.
pub(crate) async fn collect<H: Host>(
    import: &ImportOptions<'_>,
    reader: &H::Reader,
    name: &str,
    kind: &dyn DynProvider<H>,
) -> Collected {
    let importable = kind.importable();
    let listing = match importable {
        Some(kind) => kind.list(reader).await,
        None => Ok(Listing::not_importable("it is not a state of a host")),
    };
    let mut listing = match listing {
        Ok(listing) => listing,
        Err(error) => {
            let mut listing = Listing::default();
            let why = error_chain(&error).join(": ");
            listing.unreadable.insert(EVERYTHING.to_owned(), why);
            listing
        }
    };
    filter(import, name, kind, &mut listing);
    let mut found = Collector {
        import,
        schema: kind.schema(),
        collected: Collected {
            sections: BTreeMap::new(),
            listing,
        },
    };
    for (resource, state) in read_states(reader, kind, &mut found.collected.listing).await {
        let written = match (state, importable) {
            (Some(state), Some(kind)) => kind.export(reader, &resource, state).await,
            (Some(state), None) => Ok(Export::as_is(state)),
            (None, _) => Ok(Export::Ignored("it was removed meanwhile".to_owned())),
        };
        let written =
            written.unwrap_or_else(|error| Export::Unreadable(error_chain(&error).join(": ")));
        found.add(kind, resource, written);
    }
    found.add_absent();
    found.collected.record_secrets(import);
    found.collected
}

/// Passes over what the user or the language does not want.
fn filter<H: Host>(
    import: &ImportOptions<'_>,
    name: &str,
    kind: &dyn DynProvider<H>,
    listing: &mut Listing,
) {
    let managed = std::mem::take(&mut listing.managed);
    let absent = std::mem::take(&mut listing.absent);
    let mut keep = |names: BTreeSet<String>| {
        let mut kept = BTreeSet::new();
        for resource in names {
            match import.ignore_reason(name, &resource) {
                Some(rule) => listing.ignore(rule, resource),
                None if !is_nameable(kind, &resource) => listing.ignore(INVALID_NAME, resource),
                None => drop(kept.insert(resource)),
            }
        }
        kept
    };
    let (managed, absent) = (keep(managed), keep(absent));
    listing.managed = managed;
    listing.absent = absent;
}

fn is_nameable<H: Host>(kind: &dyn DynProvider<H>, name: &str) -> bool {
    let is_plain =
        !name.is_empty() && !name.chars().any(char::is_control) && is_representable(name);
    is_plain && kind.check_name(name).is_ok()
}

/// Reads all that is worth writing; where the batch fails, one by one, so that one does not hide the others.
async fn read_states<H: Host>(
    reader: &H::Reader,
    kind: &dyn DynProvider<H>,
    listing: &mut Listing,
) -> Vec<(String, Option<State>)> {
    let names: Vec<String> = listing.managed.iter().cloned().collect();
    if names.is_empty() {
        return vec![];
    }
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Ok(states) = kind.read(reader, &all).await {
        return names.iter().cloned().zip(states).collect();
    }
    let mut states = vec![];
    for name in names {
        match kind.read(reader, &[&name]).await {
            Ok(mut state) => states.push((name, state.pop().flatten())),
            Err(error) => {
                listing.managed.remove(&name);
                listing
                    .unreadable
                    .insert(name, error_chain(&error).join(": "));
            }
        }
    }
    states
}

struct Collector<'a> {
    import: &'a ImportOptions<'a>,
    schema: Schema,
    collected: Collected,
}

impl Collector<'_> {
    fn add<H: Host>(&mut self, kind: &dyn DynProvider<H>, name: String, written: Export<State>) {
        let listing = &mut self.collected.listing;
        let text = match written {
            Export::Write(text) => text,
            other => {
                listing.managed.remove(&name);
                match other {
                    Export::Default => listing.default += 1,
                    Export::Ignored(rule) => listing.ignore(rule, name),
                    Export::Secret => drop(listing.secrets.insert(name)),
                    Export::Unreadable(why) => drop(listing.unreadable.insert(name, why)),
                    Export::Write(_) => unreachable!("matched above"),
                }
                return;
            }
        };
        let ExportedState {
            state,
            notes,
            target,
        } = text;
        let state = user_attributes(&self.schema, &state);
        if self.import.files_dir.is_none() && path_attributes(&self.schema, &state).next().is_some()
        {
            listing.managed.remove(&name);
            listing.ignore(NEEDS_OUT_FILE, name);
            return;
        }
        if let Some(fault) = unrepresentable(kind, &self.schema, &name, &state) {
            listing.managed.remove(&name);
            listing.unreadable.insert(name, fault);
            return;
        }
        let group = self.collected.section(target);
        let desired = Desired::present(state);
        group
            .resources
            .insert(name, PrintedResource { desired, notes });
    }
}

impl Collector<'_> {
    fn add_absent(&mut self) {
        for name in self.collected.listing.absent.clone() {
            let exported = PrintedResource {
                desired: Desired::Absent,
                notes: vec![],
            };
            let group = self.collected.section(ExportTarget::Shared);
            group.resources.insert(name, exported);
        }
    }
}

impl Collected {
    fn section(&mut self, concerns: ExportTarget) -> &mut SpecSection {
        let heading = &self.listing.heading;
        self.sections
            .entry(concerns)
            .or_insert_with(|| SpecSection {
                heading: heading.clone(),
                ..SpecSection::default()
            })
    }

    fn record_secrets(&mut self, import: &ImportOptions<'_>) {
        let secrets = self.listing.secrets.clone();
        if !secrets.is_empty() && import.existing.is_none() {
            self.section(ExportTarget::Machine).secrets = secrets;
        }
    }
}

/// Says what keeps a state from being written in a spec, if anything does.
pub(crate) fn unrepresentable<H: Host>(
    kind: &dyn DynProvider<H>,
    schema: &Schema,
    name: &str,
    state: &State,
) -> Option<String> {
    if !is_value_representable(state) {
        return Some("it contains a character that a spec cannot contain".to_owned());
    }
    let texts = schema.attributes.iter().filter_map(|attribute| {
        let text = state.get(attribute.name)?.as_str()?;
        attribute.check.and_then(|check| check(text).err())
    });
    let problem = texts.chain(kind.check(name, state)).next()?;
    Some(format!("a spec cannot express it: {problem}"))
}
