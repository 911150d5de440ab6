//! Secrets: read when they are needed, held in memory that is wiped, never told. Errors name where one should come from and
//! nothing of what was found there.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::sys::prctl::set_dumpable;
use tokio::{io::AsyncReadExt, process::Command, time::timeout};
use zeroize::Zeroizing;

use super::{HostError, Reader, program};

/// The largest secret, in bytes. The buffer has that size from the start: one that grows leaves copies behind.
pub(crate) const LARGEST: usize = 64 << 10;
/// How long a command may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// Where credentials are, the first counts: systemd.exec(5), `LoadCredential=`.
const STORES: [&str; 3] = ["/run/credstore", "/etc/credstore", "/usr/lib/credstore"];

/// The bytes of a secret; they are wiped when this goes.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

impl Reader {
    /// Reads a file whole that may hold a secret; `None` if nothing is there.
    pub(crate) fn read_secret(&self, path: &Path) -> Result<Option<Secret>, HostError> {
        let Some(file) = self.open(path)? else {
            return Ok(None);
        };
        keep_out_of_dumps();
        let mut bytes = buffer();
        file.take(LARGEST as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(HostError::io("read", path))?;
        Ok(Some(bytes))
    }

    /// Runs a command and takes what it prints for the secret, without the line break at its end.
    pub(crate) async fn secret_of_command(&self, words: &[String]) -> Result<Secret, HostError> {
        let (name, arguments) = words.split_first().expect("a reference has a program");
        let failed = |fault: String| HostError::Program {
            program: name.clone(),
            fault,
        };
        let path = program::locate(self.root(), name)?;
        keep_out_of_dumps();
        let mut child = Command::new(path)
            .args(arguments)
            .env_clear()
            .env("PATH", program::path())
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // What it complains about may quote the secret.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(HostError::io("start", Path::new(name)))?;
        let mut listen = child.stdout.take().expect("piped").take(LARGEST as u64 + 1);
        let mut said = buffer();
        let talk = async {
            listen.read_to_end(&mut said).await?;
            child.wait().await
        };
        let status = timeout(DEADLINE, talk)
            .await
            .map_err(|_| failed(format!("did not end within {} s", DEADLINE.as_secs())))?
            .map_err(HostError::io("listen to", Path::new(name)))?;
        if !status.success() {
            return Err(failed(format!(
                "failed ({status}); what it said may be secret and is not shown"
            )));
        }
        if said.last() == Some(&b'\n') {
            said.pop();
        }
        Ok(said)
    }

    /// Finds a credential: where a service gets its own, then the stores; an encrypted one is decrypted by systemd-creds(1).
    pub(crate) async fn credential(&self, name: &str) -> Result<Option<Secret>, HostError> {
        let own = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let stores = STORES.iter().map(PathBuf::from);
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

fn buffer() -> Secret {
    Zeroizing::new(Vec::with_capacity(LARGEST + 1))
}

/// From here on the kernel writes no core dump of this process, and only root may look into it: prctl(2), `PR_SET_DUMPABLE`.
fn keep_out_of_dumps() {
    // It cannot fail with this value.
    set_dumpable(false).expect("the value is one of the two");
}
