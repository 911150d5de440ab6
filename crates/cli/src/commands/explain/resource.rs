//! `stead explain` of an address: the desired state of one resource and where it comes from, the observed state and where it was read,
//! and the runs that changed it.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use stead_engine::{
    history::{
        runs::{self, Run},
        state_dir::StateFolder,
    },
    language::{
        provenance::{ValueOrigin, Via},
        source::Span,
        spec::Resource,
    },
    model::{
        address::Address,
        change::Change,
        error_chain::chain,
        schema::{Role, Schema, Shape},
        state::{Desired, State},
        suggest,
    },
    plan::graph::{Edge, Graph},
    provider::error::ProviderError,
};
use stead_resources::host::{Looked, Reader};

use crate::{
    args::Explain,
    context::Session,
    error::Failure,
    exit::Exit,
    render::{self, line, paint, plain, time, value},
    spec_input::{SpecTexts, Told, spec_path},
};

/// The most lines of one place that are shown.
const LINES: usize = 6;
/// The longest line or value that is shown, in characters.
const WIDTH: usize = 160;

/// Explains one resource.
pub(super) fn explain_address(session: &Session, args: &Explain) -> Result<Exit, Failure> {
    let address = address(session, &args.name)?;
    let mut text = format!("{}\n", paint::bold(&plain(&address.to_string())));
    let wanted = match (&args.spec.spec, spec_path(args.spec.spec.as_deref())) {
        (_, Ok(path)) => {
            let told = Told::of(&args.spec.values)?;
            Some((session.graph(&SpecTexts::read(&path)?, &told)?, path))
        }
        // Without a spec there is still the host.
        (None, Err(_)) => None,
        (Some(_), Err(failure)) => return Err(failure),
    };
    let resource = wanted.as_ref().and_then(|(graph, _)| {
        graph
            .resources()
            .find(|resource| resource.address == address)
    });
    let live = live(session, &address, resource)?;
    let schema = session.registry.get(&address.kind).expect("looked up");
    let schema = schema.schema();
    match (&wanted, resource) {
        (Some((graph, _)), Some(resource)) => {
            line(&mut text, format_args!("\nWanted"));
            text += &wish(&schema, graph, resource, live.prepared.as_ref());
        }
        (Some((graph, path)), None) => text += &not_wanted(&address, graph, path),
        (None, _) => line(&mut text, format_args!("\nNo spec is given or found here.")),
    }
    line(&mut text, format_args!("\nFound"));
    text += &found(&address, &schema, &live);
    text += &runs(session, &address);
    render::page(&text);
    Ok(Exit::Done)
}

fn address(session: &Session, text: &str) -> Result<Address, Failure> {
    let address: Result<Address, _> = text.parse();
    let kind = text.split(':').next().unwrap_or_default();
    let kinds = || session.registry.iter().map(|(name, _)| name);
    match address {
        Ok(address) if session.registry.get(&address.kind).is_some() => Ok(address),
        Ok(_) => Err(Failure::usage(
            format!("unknown kind `{kind}`"),
            suggest::help("the kinds are", kind, kinds()),
        )),
        Err(_) => Err(Failure::usage(
            format!("`{text}` is not an address"),
            "write `KIND:NAME`, for instance `sysctl:net.ipv4.ip_forward`",
        )),
    }
}

fn not_wanted(address: &Address, graph: &Graph, path: &Path) -> String {
    let mut text = String::new();
    let known: Vec<_> = graph
        .resources()
        .map(|resource| resource.address.to_string())
        .collect();
    let meant = suggest::nearest(&address.to_string(), known.iter().map(String::as_str));
    let meant = meant.map_or_else(String::new, |meant| format!(" Did you mean `{meant}`?"));
    line(
        &mut text,
        format_args!("\n{} does not declare it.{meant}", path.display()),
    );
    text
}

/// What is there, where that was read, and what the spec comes to here.
struct Live {
    state: Result<Option<State>, String>,
    prepared: Option<State>,
    looked: Vec<Looked>,
}

fn live(
    session: &Session,
    address: &Address,
    resource: Option<&Resource>,
) -> Result<Live, Failure> {
    let desired = resource.and_then(|resource| resource.desired.state().cloned());
    session.confined(async |registry, reader| {
        let kind = registry.get(&address.kind).expect("looked up");
        let traced = Reader::new(reader.root()).traced();
        let name = address.name.as_str();
        let state = kind.read(&traced, &[name]).await;
        let state = state
            .map(|mut states| states.pop().flatten())
            .map_err(|error: ProviderError| chain(&error).join(": "));
        let looked = traced.looked();
        let prepared = match desired {
            Some(desired) => kind.prepare(reader, name, desired).await.ok(),
            None => None,
        };
        Live {
            state,
            prepared,
            looked,
        }
    })
}

fn wish(schema: &Schema, graph: &Graph, resource: &Resource, prepared: Option<&State>) -> String {
    let mut text = String::new();
    match &resource.implied_by {
        Some(by) => line(
            &mut text,
            format_args!("  not declared; added by {by} ({})", place(&resource.span)),
        ),
        None => line(&mut text, format_args!("  {}", place(&resource.span))),
    }
    for step in resource.provenance.steps.iter() {
        let step = match step {
            Via::Include(span) => format!("included at {}", place(span)),
            Via::Use(span) => format!("used at {}", place(span)),
            Via::When { span, held } => format!("when {held} ({})", place(span)),
        };
        line(&mut text, format_args!("    {}", plain(&step)));
    }
    if let Some(base) = &resource.provenance.replaces {
        line(&mut text, format_args!("    overrides {}", place(base)));
    }
    let rows = match &resource.desired {
        Desired::Absent => {
            let at = resource.place_of("absent");
            vec![("absent".to_owned(), "true".to_owned(), place(at))]
        }
        Desired::Present(state) => rows(schema, resource, state, prepared),
    };
    table(&mut text, &rows);
    let needs = |of: &dyn Fn(&Address, &Address) -> Option<Address>| {
        let edges = graph.needs();
        let found = edges.filter_map(|(from, to, edge)| Some((of(from, to)?, edge)));
        found.collect::<BTreeMap<_, _>>()
    };
    let address = &resource.address;
    let first = needs(&|from, to| (from == address).then(|| to.clone()));
    let then = needs(&|from, to| (to == address).then(|| from.clone()));
    for (what, addresses) in [("needs", first), ("needed by", then)] {
        for (other, edge) in addresses {
            let why = match edge {
                Edge::Written => "",
                Edge::Implied => " (implicitly)",
            };
            line(&mut text, format_args!("  {what} {other}{why}"));
        }
    }
    text
}

/// Returns name, value and origin of each attribute: those that are written, then those that follow.
fn rows(
    schema: &Schema,
    resource: &Resource,
    state: &State,
    prepared: Option<&State>,
) -> Vec<(String, String, String)> {
    let mut rows = vec![];
    for (name, wanted) in unfolded(schema, state) {
        let span = resource.place_of(&name);
        let values = &resource.provenance.values;
        let origin = values.iter().find(|origin| is_part(&origin.at, span));
        let from = origin.map_or_else(|| place(span), from);
        rows.push((name, short(&value(&wanted)), from));
    }
    let follows = prepared.map_or_else(Vec::new, |prepared| unfolded(schema, prepared));
    for (name, wanted) in follows {
        let role = |attribute: &stead_engine::model::schema::Attribute| {
            attribute.name == name && matches!(attribute.role, Role::Context | Role::Remark)
        };
        let is_told = rows.iter().any(|(known, ..)| *known == name);
        if !is_told && !schema.attributes.iter().any(role) {
            let wanted = short(&value(&wanted));
            rows.push((name, wanted, "computed on this host".to_owned()));
        }
    }
    rows
}

fn is_part(inner: &Span, outer: &Span) -> bool {
    std::sync::Arc::ptr_eq(&inner.source, &outer.source)
        && inner.offset < outer.offset + outer.length
        && outer.offset < inner.offset + inner.length
}

fn from(origin: &ValueOrigin) -> String {
    let mut text = place(&origin.at);
    for (span, what) in &origin.from {
        text.push_str(" ← ");
        text.push_str(what);
        text.push_str(", ");
        text.push_str(&place(span));
    }
    text
}

/// Returns the attributes of a state that are something, maps of settings by their keys.
fn unfolded(schema: &Schema, state: &State) -> Vec<(String, Value)> {
    let mut found = vec![];
    for attribute in schema.attributes {
        let Some(value) = state.get(attribute.name).filter(|value| !value.is_null()) else {
            continue;
        };
        match (attribute.shape, value) {
            (Shape::Entries, Value::Object(map)) => {
                found.extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            _ => found.push((attribute.name.to_owned(), value.clone())),
        }
    }
    found
}

/// Cuts a value down to a line that can be read: a plan shows all of it.
fn short(value: &str) -> String {
    let count = value.chars().count();
    if count <= WIDTH {
        return value.to_owned();
    }
    let begin: String = value.chars().take(WIDTH).collect();
    format!("{begin}… ({count} characters)")
}

fn table(text: &mut String, rows: &[(String, String, String)]) {
    let names = rows.iter().map(|(name, ..)| name.chars().count()).max();
    let values = rows.iter().map(|(_, value, _)| value.chars().count()).max();
    let (names, values) = (names.unwrap_or(0), values.unwrap_or(0).min(40));
    for (name, value, from) in rows {
        let (name, value) = (plain(name), plain(value));
        if from.is_empty() {
            line(text, format_args!("  {name:names$}  {value}"));
        } else {
            let from = paint::faint(&plain(from));
            line(
                text,
                format_args!("  {name:names$}  {value:values$}  {from}"),
            );
        }
    }
}

fn found(address: &Address, schema: &Schema, live: &Live) -> String {
    let mut text = String::new();
    match &live.state {
        Err(why) => line(
            &mut text,
            format_args!("  could not be read: {}", plain(why)),
        ),
        Ok(None) => line(&mut text, format_args!("  does not exist")),
        Ok(Some(state)) => {
            let rows: Vec<_> = unfolded(schema, state)
                .into_iter()
                .map(|(name, found)| (name, short(&value(&found)), String::new()))
                .collect();
            table(&mut text, &rows);
        }
    }
    let marks = marks(address, live);
    for looked in &live.looked {
        line(
            &mut text,
            format_args!("  read from {}", plain(&looked.place)),
        );
        // What is in the file itself is shown above, and may be nobody else's business.
        if looked.place == address.name {
            continue;
        }
        for shown in lines(looked, &marks, &live.state) {
            let shown: String = shown.chars().take(WIDTH).collect();
            line(
                &mut text,
                format_args!("    {}", paint::faint(&plain(&shown))),
            );
        }
    }
    text
}

/// Returns the words by which the lines about a resource are known.
fn marks(address: &Address, live: &Live) -> Vec<String> {
    let last = address.name.rsplit('/').next().unwrap_or(&address.name);
    let mut marks = vec![address.name.to_string(), last.to_owned()];
    if let Ok(Some(Value::Object(state))) = &live.state {
        let maps = state.values().filter_map(Value::as_object);
        marks.extend(maps.flat_map(|map| map.keys().cloned()));
    }
    marks.retain(|mark| mark.len() > 2);
    marks
}

/// Returns the lines or fields of what was looked at that are about the resource.
fn lines(looked: &Looked, marks: &[String], state: &Result<Option<State>, String>) -> Vec<String> {
    let Some(text) = &looked.text else {
        return vec![];
    };
    if let (Ok(document), Ok(Some(state))) = (serde_json::from_str::<Value>(text), state)
        && document.is_object()
    {
        let mut fields = vec![];
        let known: Vec<&str> = leaves(state);
        fields_of(&document, "", &known, &mut fields);
        fields.truncate(LINES);
        return fields;
    }
    let all: Vec<_> = text.lines().enumerate().collect();
    if let [(_, only)] = all.as_slice() {
        return vec![format!("1: {only}")];
    }
    let is_meant = |line: &str| marks.iter().any(|mark| line.contains(mark.as_str()));
    all.into_iter()
        .filter(|(_, line)| is_meant(line))
        .take(LINES)
        .map(|(at, line)| format!("{}: {}", at + 1, line.trim_end()))
        .collect()
}

fn leaves(state: &Value) -> Vec<&str> {
    match state {
        Value::String(text) if !text.is_empty() => vec![text],
        Value::Array(values) => values.iter().flat_map(leaves).collect(),
        Value::Object(map) => map.values().flat_map(leaves).collect(),
        _ => vec![],
    }
}

/// Collects the fields of a document whose values are part of the state.
fn fields_of(document: &Value, path: &str, known: &[&str], fields: &mut Vec<String>) {
    match document {
        Value::Object(map) => {
            for (key, value) in map {
                fields_of(value, &format!("{path}/{key}"), known, fields);
            }
        }
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                fields_of(value, &format!("{path}/{at}"), known, fields);
            }
        }
        Value::String(text) if known.contains(&text.as_str()) => {
            fields.push(format!("{path}: {text:?}"));
        }
        _ => {}
    }
}

/// Tells the runs that touched it, oldest first.
fn runs(session: &Session, address: &Address) -> String {
    let mut text = String::new();
    let runs = match runs::list(&StateFolder::at(&session.state)) {
        Ok(runs) => runs,
        Err(error) => {
            let why = chain(&error).join(": ");
            line(&mut text, format_args!("\nThe runs cannot be read: {why}"));
            return text;
        }
    };
    let touched: Vec<_> = runs
        .iter()
        .filter_map(|run| {
            let mut changes = run.plan.as_ref()?.changes.iter();
            let planned = changes.find(|planned| planned.address == *address)?;
            Some((run, &planned.change))
        })
        .collect();
    if touched.is_empty() {
        line(&mut text, format_args!("\nNo run has changed it."));
        return text;
    }
    line(&mut text, format_args!("\nRuns"));
    for (run, change) in touched {
        line(&mut text, format_args!("  {}", told(run, change)));
    }
    text
}

fn told(run: &Run, change: &Change<State>) -> String {
    let what = match change {
        Change::Create { .. } => "created",
        Change::Update { .. } => "changed",
        Change::Delete { .. } => "removed",
    };
    let at = run.started.map_or_else(String::new, time);
    let end = render::end_of(run);
    format!("{} {at}  {what}; {end}", run.run)
}

/// Returns the place of a span as people write it; what stands in no file, as it is.
fn place(span: &Span) -> String {
    let path = span.source.path.display();
    if span.source.is_file {
        format!("{path}:{}", span.line())
    } else {
        span.source.text.clone()
    }
}
