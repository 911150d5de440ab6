//! A cache of the resolved spec, written by an apply with the digest of everything that it was resolved from, so that an unchanged spec
//! is not parsed again. It caches the result of resolving; it does not depend on run history, so no rollback can invalidate it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    history::state_dir::{self, StateFolder, StateFolderError},
    language::{assignment::Given, inputs::Surroundings, source::Source, spec::Basis},
    model::{digest::digest, facts::Fact},
    plan::document::{Plan, Wanted},
};

/// The most bytes that are read of it: more than 100,000 resources take.
const LIMIT: u64 = 256 << 20;

/// What a spec asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Asked {
    /// The name of the host node.
    pub host: String,
    /// What is wanted, in the order of a plan.
    pub wanted: Vec<Wanted>,
}

/// As [`Asked`], of a plan.
#[derive(Serialize)]
struct AskedBy<'a> {
    host: &'a str,
    wanted: &'a [Wanted],
}

/// What all of it depends on. A value that may be told to nobody else stands here as a digest.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    /// The very program: another one may read the same words in another way.
    program: String,
    /// Where it ran, which paths in a spec may be relative to.
    folder: PathBuf,
    files: Vec<(Arc<Path>, String)>,
    given: String,
    environment: BTreeMap<String, String>,
    facts: BTreeMap<String, Fact>,
}

impl Key {
    fn new(program: &str, basis: &Basis, given: &[Given]) -> Option<Self> {
        let files = basis.files.iter();
        let environment = basis.environment.iter();
        Some(Self {
            program: program.to_owned(),
            folder: std::env::current_dir().ok()?,
            files: files
                .map(|file| (file.path.clone(), sha256(file.text.as_bytes())))
                .collect(),
            given: digest_of(given),
            environment: environment
                .map(|(name, value)| (name.clone(), sha256(value.as_bytes())))
                .collect(),
            facts: basis.facts.clone(),
        })
    }

    /// Whether resolving `main` would read, ask and be given the same now.
    fn fits(&self, program: &str, main: &Source, surroundings: &Surroundings<'_>) -> bool {
        let Some(((path, digest), included)) = self.files.split_first() else {
            return false;
        };
        let is_included = |(path, digest): &(Arc<Path>, String)| {
            (surroundings.read)(path).is_ok_and(|bytes| sha256(&bytes) == *digest)
        };
        let is_set = |(name, digest): (&String, &String)| {
            (surroundings.environment)(name)
                .is_some_and(|value| sha256(value.as_bytes()) == *digest)
        };
        self.program == program
            && std::env::current_dir().is_ok_and(|folder| folder == self.folder)
            && *path == main.path
            && *digest == sha256(main.text.as_bytes())
            && self.given == digest_of(surroundings.given)
            && self.environment.iter().all(is_set)
            && included.iter().all(is_included)
            && self.is_told(surroundings)
    }

    fn is_told(&self, surroundings: &Surroundings<'_>) -> bool {
        if self.facts.is_empty() {
            return true;
        }
        let facts = (surroundings.facts)();
        let mut known = self.facts.iter();
        known.all(|(name, fact)| facts.0.get(name) == Some(fact))
    }
}

/// Keeps what the spec of a plan asks for. `program` is what tells this very program from every other.
///
/// Nothing waits for the disk: what a power cut leaves of it does not fit its digest.
pub fn keep(
    state: &StateFolder,
    program: &str,
    basis: &Basis,
    given: &[Given],
    plan: &Plan,
) -> Result<(), StateFolderError> {
    let Some(key) = Key::new(program, basis, given) else {
        return Ok(());
    };
    let asked = AskedBy {
        host: &plan.host,
        wanted: &plan.wanted,
    };
    let why = "keys are texts and no serialiser fails";
    let mut body = serde_json::to_vec(&key).expect(why);
    body.push(b'\n');
    serde_json::to_writer(&mut body, &asked).expect(why);
    let mut contents = sha256(&body).into_bytes();
    contents.push(b'\n');
    contents.append(&mut body);
    state_dir::replace(&path(state), &contents)
}

/// Finds what a spec asks for, if it was kept and all that it was resolved from is as it was then. Whatever is wrong with what was kept,
/// it is as if there were nothing.
pub fn find(
    state: &StateFolder,
    program: &str,
    main: &Source,
    surroundings: &Surroundings<'_>,
) -> Option<Asked> {
    let bytes = state_dir::read_own(&path(state), LIMIT)?;
    let (digest, body) = split_line(&bytes)?;
    if digest != sha256(body).as_bytes() {
        return None;
    }
    let (key, asked) = split_line(body)?;
    let key: Key = serde_json::from_slice(key).ok()?;
    if !key.fits(program, main, surroundings) {
        return None;
    }
    serde_json::from_slice(asked).ok()
}

fn path(state: &StateFolder) -> PathBuf {
    state.path().join("spec.kept")
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Returns a digest of values and their order; those that count more stand last.
fn digest_of(given: &[Given]) -> String {
    let given = given.iter();
    let told: Vec<_> = given
        .map(|given| (&given.name, format!("{:?}", given.value)))
        .collect();
    digest(&told)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
