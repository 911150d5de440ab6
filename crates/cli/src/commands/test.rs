//! `stead test`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use similar::TextDiff;
use stead_engine::{
    language::assignment::Given,
    model::{error_chain::chain, listing::Written},
    plan::{
        observe::observe,
        recorded::{FORMAT, Recorded, differences},
    },
    provider::error::ProviderError,
};

use crate::{
    args::Test,
    context::Session,
    error::Failure,
    exit::Exit,
    render,
    spec_input::{SpecTexts, Told, read_input, spec_path},
};

/// How the file of a recorded host ends.
const LIVE: &str = ".live.json";
/// How the file of the plan that must result ends.
const PLAN: &str = ".plan";

/// Plans specs on recorded hosts, and compares with the plans that must result. No host is read.
pub(crate) fn test(session: &Session, args: &Test) -> Result<Exit, Failure> {
    let specs = if args.specs.is_empty() {
        vec![spec_path(None)?]
    } else {
        args.specs.clone()
    };
    if let Some(name) = &args.record {
        for spec in &specs {
            record(session, spec, name)?;
        }
        return Ok(Exit::Done);
    }
    let (mut count, mut wrong) = (0, 0);
    for spec in &specs {
        let cases = cases(spec)?;
        let texts = SpecTexts::read(spec)?;
        for case in cases {
            count += 1;
            let planned = |recorded: &Recorded| planned(session, spec, &texts, recorded);
            wrong += usize::from(!holds(&case, planned, args.update)?);
        }
    }
    let noun = if count == 1 {
        "expectation"
    } else {
        "expectations"
    };
    if wrong == 0 {
        render::message(&format!("{count} {noun}, all as expected.\n"));
        return Ok(Exit::Done);
    }
    let help = "`stead test --update` replaces the expected plans by the current ones";
    render::message(&format!(
        "{count} {noun}, {wrong} not as expected. {help}.\n"
    ));
    Ok(Exit::Pending)
}

/// Compares one plan with what is expected; says what differs.
fn holds(
    case: &Path,
    planned: impl FnOnce(&Recorded) -> Result<String, Failure>,
    update: bool,
) -> Result<bool, Failure> {
    let recorded = recorded(&with_end(case, LIVE))?;
    let path = with_end(case, PLAN);
    let planned = planned(&recorded)?;
    let expected = if exists(&path) {
        String::from_utf8_lossy(&read_input(&path)?).into_owned()
    } else {
        String::new()
    };
    let name = case.display().to_string();
    if planned == expected {
        render::message(&format!("as expected  {name}\n"));
        return Ok(true);
    }
    if update {
        write(&path, &planned)?;
        render::message(&format!("updated      {name}\n"));
        return Ok(true);
    }
    render::message(&format!("differs      {name}\n"));
    let diff = TextDiff::from_lines(&expected, &planned);
    let diff = diff
        .unified_diff()
        .header("expected", "planned")
        .to_string();
    render::page(&render::plain(&diff));
    Ok(false)
}

fn planned(
    session: &Session,
    spec: &Path,
    texts: &SpecTexts,
    recorded: &Recorded,
) -> Result<String, Failure> {
    let given: Vec<_> = recorded
        .variables
        .iter()
        .filter_map(|(name, value)| Given::of_argument(&format!("{name}={value}")))
        .collect();
    let told = Told {
        given,
        environment: Some(recorded.environment.clone()),
        facts: Some(recorded.facts.clone()),
    };
    let graph = session.graph(texts, &told)?;
    let folder = folder(spec);
    let found = differences(&graph, &session.registry, recorded, folder);
    Ok(render::expected(&found, graph.resources().count(), folder))
}

/// Writes this host down as far as the spec speaks of it, and the plan for it.
fn record(session: &Session, spec: &Path, name: &str) -> Result<(), Failure> {
    let facts = session.facts()?;
    let told = Told {
        facts: Some(facts.clone()),
        ..Told::default()
    };
    let texts = SpecTexts::read(spec)?;
    let graph = session.graph(&texts, &told)?;
    let addresses: Vec<_> = graph
        .resources()
        .map(|resource| resource.address.clone())
        .collect();
    let read = session.confined(async |registry, reader| {
        let mut resources = BTreeMap::new();
        let mut left_out = vec![];
        for (address, state) in observe(registry, reader, &addresses).await? {
            let Some(state) = state else { continue };
            let kind = registry.of(&address).expect("just read");
            let written = match kind.importable() {
                Some(kind) => kind.export(reader, &address.name, state).await,
                None => Ok(Written::down(state)),
            };
            match written {
                Ok(Written::Down(text)) => drop(resources.insert(address, text.state)),
                Ok(Written::Default | Written::Ignored(_)) => {}
                Ok(Written::Secret) => left_out.push(format!("{address} holds a secret")),
                Ok(Written::Unreadable(why)) => left_out.push(format!("{address}: {why}")),
                Err(error) => left_out.push(chain(&error as &ProviderError).join(": ")),
            }
        }
        Ok::<_, stead_engine::plan::observe::ObserveError>((resources, left_out))
    })?;
    let (resources, left_out) = read?;
    let recorded = Recorded {
        format: FORMAT.to_owned(),
        facts,
        variables: BTreeMap::new(),
        environment: BTreeMap::new(),
        resources,
    };
    let case = expectations(spec).join(name);
    let text = serde_json::to_string_pretty(&recorded).expect("it has string keys") + "\n";
    make_folder(&expectations(spec))?;
    write(&with_end(&case, LIVE), &text)?;
    let planned = planned(session, spec, &texts, &recorded)?;
    write(&with_end(&case, PLAN), &planned)?;
    for why in left_out {
        render::message(&format!("left out: {}\n", render::plain(&why)));
    }
    render::message(&format!("recorded     {}\n", case.display()));
    Ok(())
}

/// Returns the folder of what is expected of a spec: `laptop.expect` beside `laptop.kdl`.
fn expectations(spec: &Path) -> PathBuf {
    spec.with_extension("expect")
}

fn folder(spec: &Path) -> &Path {
    spec.parent().unwrap_or(Path::new(""))
}

/// Returns the recorded hosts of a spec, without the end of their names.
#[expect(
    clippy::disallowed_methods,
    reason = "what is expected is input, not the host"
)]
fn cases(spec: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folder = expectations(spec);
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut cases: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(folder.join(name.strip_suffix(LIVE)?))
        })
        .collect();
    cases.sort();
    if cases.is_empty() {
        return Err(Failure::usage(
            format!(
                "there are no expectations for `{}`: `{}` has no `NAME{LIVE}`",
                spec.display(),
                folder.display()
            ),
            format!(
                "record this host as the first: `stead test --record first {}`",
                spec.display()
            ),
        ));
    }
    Ok(cases)
}

fn recorded(path: &Path) -> Result<Recorded, Failure> {
    let recorded: Result<Recorded, _> = serde_json::from_slice(&read_input(path)?);
    let fault = match recorded {
        Ok(recorded) if recorded.format == FORMAT => return Ok(recorded),
        Ok(recorded) => format!("its format is `{}`, not `{FORMAT}`", recorded.format),
        Err(error) => error.to_string(),
    };
    Err(Failure::usage(
        format!("`{}` is not a recorded host: {fault}", path.display()),
        "`stead test --record NAME` shows what one looks like",
    ))
}

fn with_end(case: &Path, end: &str) -> PathBuf {
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
fn make_folder(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(|error| Failure::of(Exit::Failed, &error))
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is expected stands beside the spec, not on the host"
)]
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write `{}`: {error}", path.display()),
            "check the permissions of its directory",
        )
    })
}
