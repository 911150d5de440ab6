//! The input of a command: the files of a spec, and what it is told besides its text.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use stead_engine::{
    language::{
        assignment::Assignment,
        inputs::{ReadFile, SpecInputs},
        load::{MAX_FILE_BYTES, load},
        source::Source,
    },
    model::facts::Facts,
};

use crate::{
    args::{SpecForAnyHost, VarArgs},
    error::CommandError,
    json::FactsDocument,
};

/// Where a spec is looked for when none is named.
const DEFAULT_SPECS: [&str; 2] = ["host.kdl", "/etc/stead/host.kdl"];

/// The files of a spec, each read once, however often it is compared or resolved.
pub(crate) struct SpecTexts {
    pub(crate) main: Arc<Source>,
    included: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
}

impl SpecTexts {
    /// Reads the file that the user named.
    pub(crate) fn read(path: &Path) -> Result<Self, CommandError> {
        Self::of(path, read_input(path)?)
    }

    /// Takes what was read of that file already.
    pub(crate) fn of(path: &Path, bytes: Vec<u8>) -> Result<Self, CommandError> {
        Ok(Self {
            main: load(path.to_owned(), bytes)?,
            included: Mutex::default(),
        })
    }

    /// Reads a file that the spec includes, once.
    pub(crate) fn included(&self, path: &Path) -> io::Result<Vec<u8>> {
        let included = || self.included.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = included().get(path) {
            return Ok(bytes.clone());
        }
        let bytes = read_included(path)?;
        included().insert(path.to_owned(), bytes.clone());
        Ok(bytes)
    }
}

/// What a spec is told besides its text.
#[derive(Clone, Default)]
pub(crate) struct SpecOverrides {
    /// Values for its variables.
    pub(crate) assignments: Vec<Assignment>,
    /// The environment, if not that of this process.
    pub(crate) environment: Option<BTreeMap<String, String>>,
    /// The facts, if not those of this host.
    pub(crate) facts: Option<Facts>,
}

impl SpecOverrides {
    /// What was typed; everything else comes from this host.
    pub(crate) fn of(values: &VarArgs) -> Result<Self, CommandError> {
        let mut assignments = vec![];
        for path in &values.vars {
            assignments.extend(Assignment::from_file(&SpecTexts::read(path)?.main)?);
        }
        let typed = values.var.iter();
        assignments.extend(typed.filter_map(|text| Assignment::from_argument(text)));
        Ok(Self {
            assignments,
            ..Self::default()
        })
    }

    /// What was typed of a spec that may be meant for another host.
    pub(crate) fn for_any_host(args: &SpecForAnyHost) -> Result<Self, CommandError> {
        Self::with_facts(&args.spec.values, args.facts.as_deref())
    }

    /// What was typed, with the facts of another host if a file has them.
    pub(crate) fn with_facts(values: &VarArgs, facts: Option<&Path>) -> Result<Self, CommandError> {
        Ok(Self {
            facts: facts.map(load_facts).transpose()?,
            ..Self::of(values)?
        })
    }
}

/// Does something with all that a spec is told besides its text.
pub(crate) fn with_inputs<T>(
    overrides: &SpecOverrides,
    read: &ReadFile<'_>,
    facts: &dyn Fn() -> Facts,
    work: impl FnOnce(&SpecInputs<'_>) -> T,
) -> T {
    work(&SpecInputs {
        read,
        assignments: &overrides.assignments,
        environment: &|name| match &overrides.environment {
            Some(environment) => environment.get(name).cloned(),
            None => std::env::var(name).ok(),
        },
        facts: &|| overrides.facts.clone().unwrap_or_else(facts),
    })
}

/// Returns the path of the spec: the one that was named, else the first that exists of the usual ones.
#[expect(clippy::disallowed_methods, reason = "a spec is input, not the host")]
pub(crate) fn find_spec(named: Option<&Path>) -> Result<PathBuf, CommandError> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    DEFAULT_SPECS
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or_else(|| {
            CommandError::usage(
                format!(
                    "no spec is given, and there is neither `{}` nor `{}`",
                    DEFAULT_SPECS[0], DEFAULT_SPECS[1]
                ),
                "give one, for instance `stead plan laptop.kdl`",
            )
        })
}

/// Reads a file that the user named, but no more of it than a spec can have.
pub(crate) fn read_input(path: &Path) -> Result<Vec<u8>, CommandError> {
    read_limited(path).map_err(|error| {
        CommandError::usage(
            format!("cannot read `{}`: {error}", path.display()),
            "give a file that exists and that you may read",
        )
    })
}

/// Reads a file that a spec includes. Whatever else stands there, such as a pipe that nobody writes to, is not waited for.
#[expect(clippy::disallowed_methods, reason = "a spec is input, not the host")]
pub(crate) fn read_included(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    read_limited(path)
}

/// Reads a file, but no more of it than a spec can have.
#[expect(clippy::disallowed_methods, reason = "a spec is input, not the host")]
fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    let file = std::fs::File::open(path)?;
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE_BYTES + 1), &mut bytes)?;
    Ok(bytes)
}

/// Reads facts that `stead facts --json` printed.
fn load_facts(path: &Path) -> Result<Facts, CommandError> {
    let document: Result<FactsDocument, _> = serde_json::from_slice(&read_input(path)?);
    let fault = match document {
        Ok(document) if document.is_known() => return Ok(document.facts),
        Ok(_) => "its format is another".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(CommandError::usage(
        format!("`{}` does not contain facts: {fault}", path.display()),
        "give a file that `stead facts --json` printed",
    ))
}
