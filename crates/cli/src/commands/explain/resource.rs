//! `stead explain` of an address: the desired state of one resource and where it comes from, the observed state and where it was read,
//! and the runs that changed it.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use stead_engine::{
    history::{
        runs::{self, Run},
        state_dir::StateDir,
    },
    language::{
        provenance::{ValueOrigin, Via},
        source::Span,
        spec::Resource,
    },
    model::{
        address::Address,
        change::Change,
        error_chain::error_chain,
        schema::{Role, Schema, Shape},
        state::{Desired, State},
        suggest,
    },
    plan::graph::{Edge, Graph},
    provider::error::ProviderError,
};
use stead_resources::host::{ReadRecord, Reader};

use crate::{
    args::ExplainArgs,
    context::Context,
    error::CommandError,
    exit::Exit,
    render::{self, Column, escape_control, format_time, format_value, push_line, style, table},
    spec_input::{SpecOverrides, SpecTexts, find_spec},
};

/// The most lines of one place that are shown.
const MAX_LINES: usize = 6;
/// The longest line or value that is shown, in characters.
const MAX_CHARS: usize = 160;
/// The most characters of a value for which the places of all values are moved to the right.
const MAX_VALUE_WIDTH: usize = 40;

/// Explains one resource.
pub(super) fn explain_address(context: &Context, args: &ExplainArgs) -> Result<Exit, CommandError> {
    let address = parse_address(context, &args.name)?;
    let mut text = format!("{}\n", style::bold(&escape_control(&address.to_string())));
    let wanted = match (&args.spec.spec, find_spec(args.spec.spec.as_deref())) {
        (_, Ok(path)) => {
            let overrides = SpecOverrides::of(&args.spec.values)?;
            Some((context.graph(&SpecTexts::read(&path)?, &overrides)?, path))
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
    let observed = observe_resource(context, &address, resource)?;
    let schema = context.registry.get(&address.kind).expect("looked up");
    let schema = schema.schema();
    match (&wanted, resource) {
        (Some((graph, _)), Some(resource)) => {
            push_line(&mut text, format_args!("\nWanted"));
            text += &desired_table(&schema, graph, resource, observed.prepared.as_ref());
        }
        (Some((graph, path)), None) => text += &not_declared(&address, graph, path),
        (None, _) => push_line(&mut text, format_args!("\nNo spec is given or found here.")),
    }
    push_line(&mut text, format_args!("\nFound"));
    text += &observed_table(&address, &schema, &observed);
    text += &run_history(context, &address);
    render::print_text(&text);
    Ok(Exit::Done)
}

fn parse_address(context: &Context, text: &str) -> Result<Address, CommandError> {
    let address: Result<Address, _> = text.parse();
    let kind = text.split(':').next().unwrap_or_default();
    let kinds = || context.registry.iter().map(|(name, _)| name);
    match address {
        Ok(address) if context.registry.get(&address.kind).is_some() => Ok(address),
        Ok(_) => Err(CommandError::usage(
            format!("unknown kind `{kind}`"),
            suggest::did_you_mean("the kinds are", kind, kinds()),
        )),
        Err(_) => Err(CommandError::usage(
            format!("`{text}` is not an address"),
            "write `KIND:NAME`, for instance `sysctl:net.ipv4.ip_forward`",
        )),
    }
}

fn not_declared(address: &Address, graph: &Graph, path: &Path) -> String {
    let mut text = String::new();
    let known: Vec<_> = graph
        .resources()
        .map(|resource| resource.address.to_string())
        .collect();
    let meant = suggest::nearest(&address.to_string(), known.iter().map(String::as_str));
    let meant = meant.map_or_else(String::new, |meant| format!(" Did you mean `{meant}`?"));
    push_line(
        &mut text,
        format_args!("\n{} does not declare it.{meant}", path.display()),
    );
    text
}

/// What is there, where that was read, and what the spec comes to here.
struct ObservedResource {
    state: Result<Option<State>, String>,
    prepared: Option<State>,
    reads: Vec<ReadRecord>,
}

fn observe_resource(
    context: &Context,
    address: &Address,
    resource: Option<&Resource>,
) -> Result<ObservedResource, CommandError> {
    let desired = resource.and_then(|resource| resource.desired.state().cloned());
    context.run_read_only(async |registry, reader| {
        let kind = registry.get(&address.kind).expect("looked up");
        let traced = Reader::new(reader.root()).with_read_log();
        let name = address.name.as_str();
        let state = kind.read(&traced, &[name]).await;
        let state = state
            .map(|mut states| states.pop().flatten())
            .map_err(|error: ProviderError| error_chain(&error).join(": "));
        let reads = traced.read_log();
        let prepared = match desired {
            Some(desired) => kind.prepare(reader, name, desired).await.ok(),
            None => None,
        };
        ObservedResource {
            state,
            prepared,
            reads,
        }
    })
}

fn desired_table(
    schema: &Schema,
    graph: &Graph,
    resource: &Resource,
    prepared: Option<&State>,
) -> String {
    let mut text = String::new();
    match &resource.implied_by {
        Some(by) => push_line(
            &mut text,
            format_args!(
                "  not declared; added by {by} ({})",
                location(&resource.span)
            ),
        ),
        None => push_line(&mut text, format_args!("  {}", location(&resource.span))),
    }
    for step in resource.provenance.via.iter() {
        let step = match step {
            Via::Include(span) => format!("included at {}", location(span)),
            Via::Use(span) => format!("used at {}", location(span)),
            Via::When { span, condition } => format!("when {condition} ({})", location(span)),
        };
        push_line(&mut text, format_args!("    {}", escape_control(&step)));
    }
    if let Some(base) = &resource.provenance.replaces {
        push_line(&mut text, format_args!("    overrides {}", location(base)));
    }
    let rows = match &resource.desired {
        Desired::Absent => {
            let at = resource.attribute_span("absent");
            vec![["absent".to_owned(), "true".to_owned(), location(at)]]
        }
        Desired::Present(state) => desired_rows(schema, resource, state, prepared),
    };
    text += &attribute_table(rows);
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
                Edge::Explicit => "",
                Edge::Implied => " (implicitly)",
            };
            push_line(&mut text, format_args!("  {what} {other}{why}"));
        }
    }
    text
}

/// Returns name, value and origin of each attribute: those that are written, then those that follow.
fn desired_rows(
    schema: &Schema,
    resource: &Resource,
    state: &State,
    prepared: Option<&State>,
) -> Vec<[String; 3]> {
    let mut rows = vec![];
    for (name, wanted) in flatten(schema, state) {
        let span = resource.attribute_span(&name);
        let values = &resource.provenance.values;
        let origin = values.iter().find(|origin| overlaps(&origin.at, span));
        let from = origin.map_or_else(|| location(span), origin_text);
        rows.push([name, truncate(&format_value(&wanted)), from]);
    }
    let follows = prepared.map_or_else(Vec::new, |prepared| flatten(schema, prepared));
    for (name, wanted) in follows {
        let role = |attribute: &stead_engine::model::schema::Attribute| {
            attribute.name == name && matches!(attribute.role, Role::Context | Role::Remark)
        };
        let is_told = rows.iter().any(|[known, ..]| *known == name);
        if !is_told && !schema.attributes.iter().any(role) {
            let wanted = truncate(&format_value(&wanted));
            rows.push([name, wanted, "computed on this host".to_owned()]);
        }
    }
    rows
}

fn overlaps(inner: &Span, outer: &Span) -> bool {
    std::sync::Arc::ptr_eq(&inner.source, &outer.source)
        && inner.offset < outer.offset + outer.length
        && outer.offset < inner.offset + inner.length
}

fn origin_text(origin: &ValueOrigin) -> String {
    let mut text = location(&origin.at);
    for (span, what) in &origin.from {
        text.push_str(" ← ");
        text.push_str(what);
        text.push_str(", ");
        text.push_str(&location(span));
    }
    text
}

/// Returns the attributes of a state that are something, maps of settings by their keys.
fn flatten(schema: &Schema, state: &State) -> Vec<(String, Value)> {
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
fn truncate(value: &str) -> String {
    let count = value.chars().count();
    if count <= MAX_CHARS {
        return value.to_owned();
    }
    let begin: String = value.chars().take(MAX_CHARS).collect();
    format!("{begin}… ({count} characters)")
}

/// Lays out rows of a name, a value and where that comes from.
fn attribute_table(rows: Vec<[String; 3]>) -> String {
    let rows = rows.into_iter().map(|[name, value, from]| {
        let from = match escape_control(&from) {
            from if from.is_empty() => from,
            from => style::faint(&from),
        };
        [escape_control(&name), escape_control(&value), from]
    });
    let columns = [
        Column::LEFT,
        Column::LEFT.max_width(MAX_VALUE_WIDTH),
        Column::LEFT,
    ];
    table("  ", columns, &rows.collect::<Vec<_>>())
}

fn observed_table(address: &Address, schema: &Schema, observed: &ObservedResource) -> String {
    let mut text = String::new();
    match &observed.state {
        Err(why) => push_line(
            &mut text,
            format_args!("  could not be read: {}", escape_control(why)),
        ),
        Ok(None) => push_line(&mut text, format_args!("  does not exist")),
        Ok(Some(state)) => {
            let rows = flatten(schema, state)
                .into_iter()
                .map(|(name, found)| [name, truncate(&format_value(&found)), String::new()])
                .collect();
            text += &attribute_table(rows);
        }
    }
    let marks = search_terms(address, observed);
    for read in &observed.reads {
        push_line(
            &mut text,
            format_args!("  read from {}", escape_control(&read.source)),
        );
        // What is in the file itself is shown above, and may be nobody else's business.
        if read.source == address.name {
            continue;
        }
        for shown in relevant_lines(read, &marks, &observed.state) {
            let shown: String = shown.chars().take(MAX_CHARS).collect();
            push_line(
                &mut text,
                format_args!("    {}", style::faint(&escape_control(&shown))),
            );
        }
    }
    text
}

/// Returns the words by which the lines about a resource are known.
fn search_terms(address: &Address, observed: &ObservedResource) -> Vec<String> {
    let last = address.name.rsplit('/').next().unwrap_or(&address.name);
    let mut marks = vec![address.name.to_string(), last.to_owned()];
    if let Ok(Some(Value::Object(state))) = &observed.state {
        let maps = state.values().filter_map(Value::as_object);
        marks.extend(maps.flat_map(|map| map.keys().cloned()));
    }
    marks.retain(|mark| mark.len() > 2);
    marks
}

/// Returns the lines or fields of what was looked at that are about the resource.
fn relevant_lines(
    read: &ReadRecord,
    marks: &[String],
    state: &Result<Option<State>, String>,
) -> Vec<String> {
    let Some(text) = &read.text else {
        return vec![];
    };
    if let (Ok(document), Ok(Some(state))) = (serde_json::from_str::<Value>(text), state)
        && document.is_object()
    {
        let mut fields = vec![];
        let known: Vec<&str> = leaves(state);
        collect_fields(&document, "", &known, &mut fields);
        fields.truncate(MAX_LINES);
        return fields;
    }
    let all: Vec<_> = text.lines().enumerate().collect();
    if let [(_, only)] = all.as_slice() {
        return vec![format!("1: {only}")];
    }
    let is_meant = |line: &str| marks.iter().any(|mark| line.contains(mark.as_str()));
    all.into_iter()
        .filter(|(_, line)| is_meant(line))
        .take(MAX_LINES)
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
fn collect_fields(document: &Value, path: &str, known: &[&str], fields: &mut Vec<String>) {
    match document {
        Value::Object(map) => {
            for (key, value) in map {
                collect_fields(value, &format!("{path}/{key}"), known, fields);
            }
        }
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                collect_fields(value, &format!("{path}/{at}"), known, fields);
            }
        }
        Value::String(text) if known.contains(&text.as_str()) => {
            fields.push(format!("{path}: {text:?}"));
        }
        _ => {}
    }
}

/// Tells the runs that touched it, oldest first.
fn run_history(context: &Context, address: &Address) -> String {
    let mut text = String::new();
    let runs = match runs::list(&StateDir::new(&context.state_dir)) {
        Ok(runs) => runs,
        Err(error) => {
            let why = error_chain(&error).join(": ");
            push_line(&mut text, format_args!("\nThe runs cannot be read: {why}"));
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
        push_line(&mut text, format_args!("\nNo run has changed it."));
        return text;
    }
    push_line(&mut text, format_args!("\nRuns"));
    for (run, change) in touched {
        push_line(&mut text, format_args!("  {}", run_line(run, change)));
    }
    text
}

fn run_line(run: &Run, change: &Change<State>) -> String {
    let what = match change {
        Change::Create { .. } => "created",
        Change::Update { .. } => "changed",
        Change::Delete { .. } => "removed",
    };
    let at = run.started.map_or_else(String::new, format_time);
    let end = render::outcome_word(run);
    format!("{} {at}  {what}; {end}", run.run)
}

/// Returns the place of a span as people write it; what stands in no file, as it is.
fn location(span: &Span) -> String {
    let path = span.source.path.display();
    if span.source.is_file {
        format!("{path}:{}", span.line())
    } else {
        span.source.text.clone()
    }
}
