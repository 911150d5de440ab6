//! Secrets: read when they are needed, held in memory that is wiped, never printed. Errors name their source and
//! nothing of their contents.

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::prctl::set_dumpable;
use zeroize::Zeroizing;

use super::{
    CommandSpec, HostError, Reader,
    program::{self, PIPE_CAPACITY},
};
use crate::host::meta::Secret;

/// The largest secret, in bytes. What is read has more room from the start: a buffer that grows leaves copies behind.
pub(crate) const LARGEST: usize = PIPE_CAPACITY - 1;
/// How long a command may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// Where credentials are, the first counts: systemd.exec(5), `LoadCredential=`.
const CREDENTIAL_STORES: [&str; 3] = ["/run/credstore", "/etc/credstore", "/usr/lib/credstore"];

impl Reader {
    /// Reads a file whole that may hold a secret; `None` if nothing is there.
    pub(crate) fn read_secret(&self, path: &Path) -> Result<Option<Secret>, HostError> {
        let Some(file) = self.open(path)? else {
            return Ok(None);
        };
        disable_core_dumps();
        let mut bytes = Zeroizing::new(Vec::with_capacity(PIPE_CAPACITY));
        file.take(LARGEST as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(HostError::io("read", path))?;
        Ok(Some(bytes))
    }

    /// Runs a command and takes what it prints for the secret, without the line break at its end.
    pub(crate) async fn secret_of_command(&self, words: &[String]) -> Result<Secret, HostError> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (program, arguments) = words.split_first().expect("a reference has a program");
        disable_core_dumps();
        let call = CommandSpec {
            deadline: DEADLINE,
            ..CommandSpec::new(program, arguments)
        };
        let talk =
            program::command_output(&program::find_program(self.root(), program)?, call).await?;
        let (mut said, status) = (Zeroizing::new(talk.stdout), talk.status);
        // What it complains about may quote the secret.
        drop(Zeroizing::new(talk.stderr));
        if !status.success() {
            return Err(HostError::Program {
                program: (*program).to_owned(),
                fault: format!("failed ({status}); its output may be secret and is not shown"),
            });
        }
        if said.last() == Some(&b'\n') {
            said.pop();
        }
        Ok(said)
    }

    /// Finds a credential: where a service gets its own, then the stores; an encrypted one is decrypted by systemd-creds(1).
    pub(crate) async fn credential(&self, name: &str) -> Result<Option<Secret>, HostError> {
        let own = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let stores = CREDENTIAL_STORES.iter().map(PathBuf::from);
        for store in own.into_iter().chain(stores.clone()) {
            if let Some(found) = self.read_secret(&store.join(name))? {
                return Ok(Some(found));
            }
        }
        for store in stores {
            let path = store.with_extension("encrypted").join(name);
            if self.stat(&path)?.is_some() {
                let (name, path) = (format!("--name={name}"), path.display().to_string());
                let words = ["systemd-creds", &name, "decrypt", &path, "-"];
                let words = words.map(str::to_owned);
                return self.secret_of_command(&words).await.map(Some);
            }
        }
        Ok(None)
    }
}

/// From here on the kernel writes no core dump of this process, and only root may look into it: prctl(2), `PR_SET_DUMPABLE`.
fn disable_core_dumps() {
    // It cannot fail with this value.
    set_dumpable(false).expect("the value is one of the two");
}
