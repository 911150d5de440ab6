//! Collecting: what each kind finds worth importing, read and expressed as a user would write it; what is ignored is named.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    import::options::{Import, paths},
    language::print::{Exported, Group, is_sayable, is_value_sayable, written_part},
    model::{
        error_chain::chain,
        listing::{Concerns, Listing, Text, Written},
        schema::Schema,
        state::{Desired, State},
    },
    provider::{erased::DynProvider, host::Host},
};

/// Rule for what needs a file beside the spec when the spec itself has no place.
const NO_PLACE: &str = "its contents need a file beside the spec: use `--out FILE`";
/// Rule for a name that no spec can hold.
const NO_NAME: &str = "a spec cannot express its name";
/// What stands for all of a kind in a coverage.
const EVERYTHING: &str = "*";

/// What there is of one kind.
pub(crate) struct Gathered {
    /// The names, and what became of the rest.
    pub(crate) listing: Listing,
    /// What is written.
    pub(crate) groups: BTreeMap<Concerns, Group>,
}

/// Lists, reads and writes down one kind.
pub(crate) async fn gather<H: Host>(
    import: &Import<'_>,
    reader: &H::Reader,
    name: &str,
    kind: &dyn DynProvider<H>,
) -> Gathered {
    let importable = kind.importable();
    let listing = match importable {
        Some(kind) => kind.list(reader).await,
        None => Ok(Listing::outside("it is not a state of a host")),
    };
    let mut listing = match listing {
        Ok(listing) => listing,
        Err(error) => {
            let mut listing = Listing::default();
            let why = chain(&error).join(": ");
            listing.unreadable.insert(EVERYTHING.to_owned(), why);
            listing
        }
    };
    sift(import, name, kind, &mut listing);
    let mut found = Found {
        import,
        schema: kind.schema(),
        gathered: Gathered {
            groups: BTreeMap::new(),
            listing,
        },
    };
    for (resource, state) in read(reader, kind, &mut found.gathered.listing).await {
        let written = match (state, importable) {
            (Some(state), Some(kind)) => kind.export(reader, &resource, state).await,
            (Some(state), None) => Ok(Written::down(state)),
            (None, _) => Ok(Written::Ignored("it was removed meanwhile".to_owned())),
        };
        let written = written.unwrap_or_else(|error| Written::Unreadable(chain(&error).join(": ")));
        found.add(kind, resource, written);
    }
    found.add_absent();
    found.gathered.mention_secrets(import);
    found.gathered
}

/// Passes over what the user or the language does not want.
fn sift<H: Host>(
    import: &Import<'_>,
    name: &str,
    kind: &dyn DynProvider<H>,
    listing: &mut Listing,
) {
    let managed = std::mem::take(&mut listing.managed);
    let absent = std::mem::take(&mut listing.absent);
    let mut keep = |names: BTreeSet<String>| {
        let mut kept = BTreeSet::new();
        for resource in names {
            match import.rule(name, &resource) {
                Some(rule) => listing.ignore(rule, resource),
                None if !is_nameable(kind, &resource) => listing.ignore(NO_NAME, resource),
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
    let is_plain = !name.is_empty() && !name.chars().any(char::is_control) && is_sayable(name);
    is_plain && kind.check_name(name).is_ok()
}

/// Reads all that is worth writing; where the batch fails, one by one, so that one does not hide the others.
async fn read<H: Host>(
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
                listing.unreadable.insert(name, chain(&error).join(": "));
            }
        }
    }
    states
}

struct Found<'a> {
    import: &'a Import<'a>,
    schema: Schema,
    gathered: Gathered,
}

impl Found<'_> {
    fn add<H: Host>(&mut self, kind: &dyn DynProvider<H>, name: String, written: Written<State>) {
        let listing = &mut self.gathered.listing;
        let text = match written {
            Written::Down(text) => text,
            other => {
                listing.managed.remove(&name);
                match other {
                    Written::Default => listing.default += 1,
                    Written::Ignored(rule) => listing.ignore(rule, name),
                    Written::Secret => drop(listing.secrets.insert(name)),
                    Written::Unreadable(why) => drop(listing.unreadable.insert(name, why)),
                    Written::Down(_) => unreachable!("matched above"),
                }
                return;
            }
        };
        let Text {
            state,
            notes,
            concerns,
        } = text;
        let state = written_part(&self.schema, &state);
        if self.import.beside.is_none() && paths(&self.schema, &state).next().is_some() {
            listing.managed.remove(&name);
            listing.ignore(NO_PLACE, name);
            return;
        }
        if let Some(fault) = fault(kind, &self.schema, &name, &state) {
            listing.managed.remove(&name);
            listing.unreadable.insert(name, fault);
            return;
        }
        let group = self.gathered.group(concerns);
        let desired = Desired::present(state);
        group.resources.insert(name, Exported { desired, notes });
    }
}

impl Found<'_> {
    fn add_absent(&mut self) {
        for name in self.gathered.listing.absent.clone() {
            let exported = Exported {
                desired: Desired::Absent,
                notes: vec![],
            };
            let group = self.gathered.group(Concerns::All);
            group.resources.insert(name, exported);
        }
    }
}

impl Gathered {
    fn group(&mut self, concerns: Concerns) -> &mut Group {
        let heading = &self.listing.heading;
        self.groups.entry(concerns).or_insert_with(|| Group {
            heading: heading.clone(),
            ..Group::default()
        })
    }

    fn mention_secrets(&mut self, import: &Import<'_>) {
        let secrets = self.listing.secrets.clone();
        if !secrets.is_empty() && import.against.is_none() {
            self.group(Concerns::ThisMachine).secrets = secrets;
        }
    }
}

/// Says what keeps a state from being written in a spec, if anything does.
pub(crate) fn fault<H: Host>(
    kind: &dyn DynProvider<H>,
    schema: &Schema,
    name: &str,
    state: &State,
) -> Option<String> {
    if !is_value_sayable(state) {
        return Some("it contains a character that a spec cannot contain".to_owned());
    }
    let texts = schema.attributes.iter().filter_map(|attribute| {
        let text = state.get(attribute.name)?.as_str()?;
        attribute.check.and_then(|check| check(text).err())
    });
    let problem = texts.chain(kind.check(name, state)).next()?;
    Some(format!("a spec cannot express it: {problem}"))
}
