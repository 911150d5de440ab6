//! A cache of the resolved spec, written by an apply with the digest of everything that it was resolved from, so that an unchanged spec
//! is not parsed again. It caches the result of resolving; it does not depend on run history, so no rollback can invalidate it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    history::{
        atomic_file::Durability,
        state_dir::{self, StateDir, StateDirError},
    },
    language::{assignment::Assignment, inputs::SpecInputs, source::Source, spec::SpecSources},
    model::{
        digest::{digest, sha256},
        facts::Fact,
    },
    plan::document::{DesiredResource, Plan},
};

/// The most bytes that are read of it: more than 100,000 resources take.
const MAX_BYTES: u64 = 256 << 20;

/// What a spec asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CachedSpec {
    /// The name of the host node.
    pub host: String,
    /// What is wanted, in the order of a plan.
    pub desired: Vec<DesiredResource>,
}

/// As [`CachedSpec`], of a plan.
#[derive(Serialize)]
struct CachedSpecRef<'a> {
    host: &'a str,
    desired: &'a [DesiredResource],
}

/// What all of it depends on. A value that may be values to nobody else stands here as a digest.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CacheKey {
    /// The very program: another one may read the same words in another way.
    program: String,
    /// Where it ran, which paths in a spec may be relative to.
    working_dir: PathBuf,
    files: Vec<(Arc<Path>, String)>,
    assignments: String,
    environment: BTreeMap<String, String>,
    facts: BTreeMap<String, Fact>,
}

impl CacheKey {
    fn new(program: &str, sources: &SpecSources, given: &[Assignment]) -> Option<Self> {
        let files = sources.files.iter();
        let environment = sources.environment.iter();
        Some(Self {
            program: program.to_owned(),
            working_dir: std::env::current_dir().ok()?,
            files: files
                .map(|file| (file.path.clone(), sha256(file.text.as_bytes())))
                .collect(),
            assignments: digest_of(given),
            environment: environment
                .map(|(name, value)| (name.clone(), sha256(value.as_bytes())))
                .collect(),
            facts: sources.facts.clone(),
        })
    }

    /// Whether resolving `main` would read, ask and be given the same now.
    fn matches(&self, program: &str, main: &Source, inputs: &SpecInputs<'_>) -> bool {
        let Some(((path, digest), included)) = self.files.split_first() else {
            return false;
        };
        let is_included = |(path, digest): &(Arc<Path>, String)| {
            (inputs.read)(path).is_ok_and(|bytes| sha256(&bytes) == *digest)
        };
        let is_set = |(name, digest): (&String, &String)| {
            (inputs.environment)(name).is_some_and(|value| sha256(value.as_bytes()) == *digest)
        };
        self.program == program
            && std::env::current_dir().is_ok_and(|dir| dir == self.working_dir)
            && *path == main.path
            && *digest == sha256(main.text.as_bytes())
            && self.assignments == digest_of(inputs.assignments)
            && self.environment.iter().all(is_set)
            && included.iter().all(is_included)
            && self.facts_match(inputs)
    }

    fn facts_match(&self, inputs: &SpecInputs<'_>) -> bool {
        if self.facts.is_empty() {
            return true;
        }
        let facts = (inputs.facts)();
        let mut known = self.facts.iter();
        known.all(|(name, fact)| facts.0.get(name) == Some(fact))
    }
}

/// Keeps what the spec of a plan asks for. `program` is what tells this very program from every other.
///
/// Nothing waits for the disk: what a power cut leaves of it does not fit its digest.
pub fn store(
    state: &StateDir,
    program: &str,
    basis: &SpecSources,
    given: &[Assignment],
    plan: &Plan,
) -> Result<(), StateDirError> {
    let Some(key) = CacheKey::new(program, basis, given) else {
        return Ok(());
    };
    let asked = CachedSpecRef {
        host: &plan.host,
        desired: &plan.desired,
    };
    let why = "keys are texts and no serialiser fails";
    let mut body = serde_json::to_vec(&key).expect(why);
    body.push(b'\n');
    serde_json::to_writer(&mut body, &asked).expect(why);
    let mut contents = sha256(&body).into_bytes();
    contents.push(b'\n');
    contents.append(&mut body);
    state_dir::write_atomic(&path(state), &contents, Durability::None)
}

/// Finds what a spec asks for, if it was kept and all that it was resolved from is as it was then. Whatever is wrong with what was kept,
/// it is as if there were nothing.
pub fn load(
    state: &StateDir,
    program: &str,
    main: &Source,
    inputs: &SpecInputs<'_>,
) -> Option<CachedSpec> {
    let bytes = state_dir::read_private(&path(state), MAX_BYTES)?;
    let (digest, body) = split_line(&bytes)?;
    if digest != sha256(body).as_bytes() {
        return None;
    }
    let (key, asked) = split_line(body)?;
    let key: CacheKey = serde_json::from_slice(key).ok()?;
    if !key.matches(program, main, inputs) {
        return None;
    }
    serde_json::from_slice(asked).ok()
}

fn path(state: &StateDir) -> PathBuf {
    state.path().join("spec.kept")
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Returns a digest of values and their order; those that count more stand last.
fn digest_of(given: &[Assignment]) -> String {
    let given = given.iter();
    let values: Vec<_> = given
        .map(|given| (&given.name, format!("{:?}", given.value)))
        .collect();
    digest(&values)
}
