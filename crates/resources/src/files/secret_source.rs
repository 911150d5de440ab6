//! Sources of secrets, as a spec writes them, and the digests that distinguish their values.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stead_engine::model::{error_chain::error_chain, schema::Problem};

use crate::host::{HostError, LARGEST_SECRET, MetaKind, Reader, Secret};

/// What may stand behind `(secret)`.
pub(crate) const USAGE: &str = "write `(secret)\"file:/PATH\"`, `(secret)\"credential:NAME\"` or `(secret)\"command:PROGRAM ARGUMENT\"`";
/// What tells this host from others and is nobody else's business: machine-id(5).
const MACHINE_ID: &str = "/etc/machine-id";
/// The longest machine-id, in bytes.
const MAX_MACHINE_ID: u64 = 256;
/// Bits of a file that everybody may read.
const WORLD_READABLE: u32 = 0o004;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// The contents of a file.
    File(PathBuf),
    /// A credential of systemd.
    Credential(String),
    /// What a command prints.
    Command(Vec<String>),
}

impl SecretSource {
    /// Reads a reference.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let problem = |fact: String| Problem::new(fact).help(USAGE);
        let Some((kind, rest)) = text.split_once(':') else {
            return Err(problem(format!("`{text}` has no scheme")));
        };
        match kind {
            "file" if rest.starts_with('/') => Ok(Self::File(rest.into())),
            "file" => Err(problem(format!("`{rest}` is not an absolute path"))),
            "credential" => {
                // systemd.exec(5): a name is one that a file may have.
                let is_name = !rest.is_empty() && rest.len() < 256 && !rest.contains('/');
                if is_name && !rest.starts_with('.') {
                    Ok(Self::Credential(rest.to_owned()))
                } else {
                    Err(problem(format!("`{rest}` is not the name of a credential")))
                }
            }
            "command" => match shlex::split(rest) {
                Some(words) if !words.is_empty() => Ok(Self::Command(words)),
                Some(_) => Err(problem("the command is empty".to_owned())),
                None => Err(problem(format!("`{rest}` has an unclosed quote"))),
            },
            other => Err(problem(format!("`{other}` is not a source of secrets"))),
        }
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// Where it should be and is not, or is for everybody to read.
    pub(crate) async fn read(&self, host: &Reader) -> Result<Secret, Problem> {
        let said = |error: HostError| Problem::new(error_chain(&error).join(": "));
        let found = match self {
            Self::File(path) => {
                // It belongs to the person who runs stead, wherever it is, so links to it are followed.
                let reader = Reader::new(Path::new("/"));
                let missing = || Problem::new(format!("`{}` does not exist", path.display()));
                let place = if host.root() == Path::new("/") {
                    reader.resolve(path).map_err(|_| missing())?
                } else {
                    path.clone()
                };
                let meta = host.stat(&place).map_err(said)?.ok_or_else(missing)?;
                if meta.kind != MetaKind::File {
                    let fact = format!("`{}` is {}, not a file", path.display(), meta.kind.noun());
                    return Err(Problem::new(fact));
                }
                if meta.mode & WORLD_READABLE != 0 {
                    let fact = format!("`{}` is readable by everybody", path.display());
                    return Err(Problem::new(fact).help(format!("chmod o-rwx {}", path.display())));
                }
                host.read_secret(&place)
                    .map_err(said)?
                    .ok_or_else(missing)?
            }
            Self::Credential(name) => {
                let found = host.credential(name).await.map_err(said)?;
                found.ok_or_else(|| {
                    Problem::new(format!("there is no credential `{name}`")).help(format!(
                        "store it in /etc/credstore/{name}, or encrypted in /etc/credstore.encrypted/{name}"
                    ))
                })?
            }
            Self::Command(words) => host.secret_of_command(words).await.map_err(said)?,
        };
        if found.len() > LARGEST_SECRET {
            return Err(Problem::new(format!(
                "a secret has at most {LARGEST_SECRET} bytes"
            )));
        }
        Ok(found)
    }
}

/// Returns the digest of a secret in a file, in hexadecimal: SHA-256 with what only this host and this file have, so that
/// the same secret elsewhere has another one.
pub(crate) fn digest_for_path(
    host: &Reader,
    path: &str,
    secret: &[u8],
) -> Result<String, HostError> {
    let machine = host.read_text(Path::new(MACHINE_ID), MAX_MACHINE_ID)?;
    let mut hasher = Sha256::new();
    for part in ["stead secret", machine.unwrap_or_default().trim(), path] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(secret);
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    #[test]
    fn secret_source_parses_known_schemes() {
        for (text, expected) in [
            ("file:/etc/x", SecretSource::File("/etc/x".into())),
            (
                "credential:token",
                SecretSource::Credential("token".to_owned()),
            ),
            (
                "command:pass show 'my token'",
                SecretSource::Command(vec!["pass".into(), "show".into(), "my token".into()]),
            ),
        ] {
            assert_eq!(SecretSource::parse(text), Ok(expected), "{text}");
        }
        for text in [
            "hunter2",
            "file:token",
            "credential:",
            "credential:../x",
            "credential:.x",
            "command:",
            "command:a 'b",
            "vault:x",
        ] {
            assert!(SecretSource::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secret_digest_depends_on_path_and_machine() {
        let one = TestRoot::new(&[("/etc/machine-id", "aaaa\n")]);
        let other = TestRoot::new(&[("/etc/machine-id", "bbbb\n")]);
        let of = |root: &TestRoot, path: &str| {
            digest_for_path(&root.reader(), path, b"hunter2").unwrap()
        };
        assert_eq!(of(&one, "/a"), of(&one, "/a"));
        assert_ne!(of(&one, "/a"), of(&one, "/b"));
        assert_ne!(of(&one, "/a"), of(&other, "/a"));
    }
}
