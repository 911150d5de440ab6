//! `stead test`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use similar::TextDiff;
use stead_engine::{
    language::assignment::Assignment,
    model::{error_chain::error_chain, listing::Export},
    plan::{
        observe::observe,
        recorded::{FORMAT, HostRecording, expected_changes},
    },
    provider::error::ProviderError,
};

use crate::{
    args::TestArgs,
    context::Context,
    error::CommandError,
    exit::Exit,
    render,
    spec_input::{SpecOverrides, SpecTexts, find_spec, read_input},
};

/// How the file of a recorded host ends.
const HOST_SUFFIX: &str = ".live.json";
/// How the file of the plan that must result ends.
const PLAN_SUFFIX: &str = ".plan";

/// Plans specs on recorded hosts, and compares with the plans that must result. No host is read.
pub(crate) fn test(context: &Context, args: &TestArgs) -> Result<Exit, CommandError> {
    let specs = if args.specs.is_empty() {
        vec![find_spec(None)?]
    } else {
        args.specs.clone()
    };
    if let Some(name) = &args.record {
        for spec in &specs {
            record_host(context, spec, name)?;
        }
        return Ok(Exit::Done);
    }
    let (mut count, mut wrong) = (0, 0);
    for spec in &specs {
        let cases = list_cases(spec)?;
        let texts = SpecTexts::read(spec)?;
        for case in cases {
            count += 1;
            let plan_on =
                |recorded: &HostRecording| plan_recording(context, spec, &texts, recorded);
            wrong += usize::from(!matches_expectation(&case, plan_on, args.update)?);
        }
    }
    let noun = if count == 1 {
        "expectation"
    } else {
        "expectations"
    };
    if wrong == 0 {
        render::eprint_message(&format!("{count} {noun}, all as expected.\n"));
        return Ok(Exit::Done);
    }
    let help = "`stead test --update` replaces the expected plans by the current ones";
    render::eprint_message(&format!(
        "{count} {noun}, {wrong} not as expected. {help}.\n"
    ));
    Ok(Exit::Pending)
}

/// Compares one plan with what is expected; says what differs.
fn matches_expectation(
    case: &Path,
    planned: impl FnOnce(&HostRecording) -> Result<String, CommandError>,
    update: bool,
) -> Result<bool, CommandError> {
    let recorded = read_recording(&with_suffix(case, HOST_SUFFIX))?;
    let path = with_suffix(case, PLAN_SUFFIX);
    let planned = planned(&recorded)?;
    let expected = if exists(&path) {
        String::from_utf8_lossy(&read_input(&path)?).into_owned()
    } else {
        String::new()
    };
    let name = case.display().to_string();
    if planned == expected {
        render::eprint_message(&format!("as expected  {name}\n"));
        return Ok(true);
    }
    if update {
        write(&path, &planned)?;
        render::eprint_message(&format!("updated      {name}\n"));
        return Ok(true);
    }
    render::eprint_message(&format!("differs      {name}\n"));
    let diff = TextDiff::from_lines(&expected, &planned);
    let diff = diff
        .unified_diff()
        .header("expected", "planned")
        .to_string();
    render::print_text(&render::escape_control(&diff));
    Ok(false)
}

fn plan_recording(
    context: &Context,
    spec: &Path,
    texts: &SpecTexts,
    recorded: &HostRecording,
) -> Result<String, CommandError> {
    let assignments: Vec<_> = recorded
        .variables
        .iter()
        .filter_map(|(name, value)| Assignment::from_argument(&format!("{name}={value}")))
        .collect();
    let overrides = SpecOverrides {
        assignments,
        environment: Some(recorded.environment.clone()),
        facts: Some(recorded.facts.clone()),
    };
    let graph = context.graph(texts, &overrides)?;
    let dir = parent_dir(spec);
    let found = expected_changes(&graph, &context.registry, recorded, dir);
    Ok(render::expected_plan(
        &found,
        graph.resources().count(),
        dir,
    ))
}

/// Writes this host down as far as the spec speaks of it, and the plan for it.
fn record_host(context: &Context, spec: &Path, name: &str) -> Result<(), CommandError> {
    let facts = context.facts()?;
    let overrides = SpecOverrides {
        facts: Some(facts.clone()),
        ..SpecOverrides::default()
    };
    let texts = SpecTexts::read(spec)?;
    let graph = context.graph(&texts, &overrides)?;
    let addresses: Vec<_> = graph
        .resources()
        .map(|resource| resource.address.clone())
        .collect();
    let read = context.run_read_only(async |registry, reader| {
        let mut resources = BTreeMap::new();
        let mut left_out = vec![];
        for (address, state) in observe(registry, reader, &addresses).await? {
            let Some(state) = state else { continue };
            let kind = registry.provider_of(&address).expect("just read");
            let written = match kind.importable() {
                Some(kind) => kind.export(reader, &address.name, state).await,
                None => Ok(Export::as_is(state)),
            };
            match written {
                Ok(Export::Write(text)) => drop(resources.insert(address, text.state)),
                Ok(Export::Default | Export::Ignored(_)) => {}
                Ok(Export::Secret) => left_out.push(format!("{address} holds a secret")),
                Ok(Export::Unreadable(why)) => left_out.push(format!("{address}: {why}")),
                Err(error) => left_out.push(error_chain(&error as &ProviderError).join(": ")),
            }
        }
        Ok::<_, stead_engine::plan::observe::ObserveError>((resources, left_out))
    })?;
    let (resources, left_out) = read?;
    let recorded = HostRecording {
        format: FORMAT.to_owned(),
        facts,
        variables: BTreeMap::new(),
        environment: BTreeMap::new(),
        resources,
    };
    let case = expectation_dir(spec).join(name);
    let text = serde_json::to_string_pretty(&recorded).expect("it has string keys") + "\n";
    create_dir(&expectation_dir(spec))?;
    write(&with_suffix(&case, HOST_SUFFIX), &text)?;
    let planned = plan_recording(context, spec, &texts, &recorded)?;
    write(&with_suffix(&case, PLAN_SUFFIX), &planned)?;
    for why in left_out {
        render::eprint_message(&format!("left out: {}\n", render::escape_control(&why)));
    }
    render::eprint_message(&format!("recorded     {}\n", case.display()));
    Ok(())
}

/// Returns the directory of what is expected of a spec: `laptop.expect` beside `laptop.kdl`.
fn expectation_dir(spec: &Path) -> PathBuf {
    spec.with_extension("expect")
}

fn parent_dir(spec: &Path) -> &Path {
    spec.parent().unwrap_or(Path::new(""))
}

/// Returns the recorded hosts of a spec, without the end of their names.
#[expect(
    clippy::disallowed_methods,
    reason = "what is expected is input, not the host"
)]
fn list_cases(spec: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let dir = expectation_dir(spec);
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut cases: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(dir.join(name.strip_suffix(HOST_SUFFIX)?))
        })
        .collect();
    cases.sort();
    if cases.is_empty() {
        return Err(CommandError::usage(
            format!(
                "there are no expectations for `{}`: `{}` has no `NAME{HOST_SUFFIX}`",
                spec.display(),
                dir.display()
            ),
            format!(
                "record this host as the first: `stead test --record first {}`",
                spec.display()
            ),
        ));
    }
    Ok(cases)
}

fn read_recording(path: &Path) -> Result<HostRecording, CommandError> {
    let recorded: Result<HostRecording, _> = serde_json::from_slice(&read_input(path)?);
    let fault = match recorded {
        Ok(recorded) if recorded.format == FORMAT => return Ok(recorded),
        Ok(recorded) => format!("its format is `{}`, not `{FORMAT}`", recorded.format),
        Err(error) => error.to_string(),
    };
    Err(CommandError::usage(
        format!("`{}` is not a recorded host: {fault}", path.display()),
        "`stead test --record NAME` shows what one looks like",
    ))
}

fn with_suffix(case: &Path, end: &str) -> PathBuf {
    let mut path = case.as_os_str().to_owned();
    path.push(end);
    path.into()
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is expected is input, not the host"
)]
fn exists(path: &Path) -> bool {
    path.exists()
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is expected stands beside the spec, not on the host"
)]
fn create_dir(path: &Path) -> Result<(), CommandError> {
    std::fs::create_dir_all(path).map_err(|error| CommandError::from_error(Exit::Failed, &error))
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is expected stands beside the spec, not on the host"
)]
fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    std::fs::write(path, text).map_err(|error| {
        CommandError::new(
            Exit::Failed,
            format!("cannot write `{}`: {error}", path.display()),
            "check the permissions of its directory",
        )
    })
}
