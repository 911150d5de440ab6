//! Whether this process runs over SSH, and whether others can connect. A host cannot test itself from outside: that a new connection is
//! possible is known when one arrives, or when packets of this session still arrive and no rule treats a new connection differently.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use stead_engine::model::boot_time::Moment;

use crate::host::{HostError, Query, Reader};

/// The variable that sshd gives to a session: `ssh(1)`, ENVIRONMENT.
const VARIABLE: &str = "SSH_CONNECTION=";
/// Programs that serve sessions.
const SERVERS: [&str; 3] = ["sshd", "sshd-session", "dropbear"];
/// How far up the processes are followed.
const DEPTH: usize = 64;
/// The largest environment that is read, in bytes.
const LIMIT: u64 = 4 << 20;
/// Words by which a rule tells a packet of a connection that is made already from one that asks for a new one:
/// `iptables-extensions(8)`, `nft(8)`.
const TELLING: [&str; 16] = [
    "--ctstate",
    "--state",
    "--ctstatus",
    "--syn",
    "--tcp-flags",
    "--connbytes",
    "-m connbytes",
    "-m recent",
    "-m limit",
    "-m hashlimit",
    "-m connlimit",
    "-m quota",
    "ct state",
    "ct status",
    "tcp flags",
    "limit rate",
];

/// A session over SSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The client's end.
    pub client: SocketAddr,
    /// This host's end.
    pub server: SocketAddr,
}

/// Where this process came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionOrigin {
    /// Not over SSH.
    Local,
    /// Over SSH; the session, if its connection is found.
    Ssh(Option<Session>),
}

impl ConnectionOrigin {
    /// Looks once in the life of this process: its parents may go.
    pub fn of_this(host: &Reader) -> Self {
        static ORIGIN: OnceLock<ConnectionOrigin> = OnceLock::new();
        *ORIGIN.get_or_init(|| Self::find(host).unwrap_or(Self::Local))
    }

    /// Follows the processes from this one up, since sudo takes the variable away, and a terminal that outlives sessions keeps that of an
    /// old one.
    fn find(host: &Reader) -> Result<Self, HostError> {
        let made = host.connections()?;
        let is_made = |session: &Session| {
            made.iter()
                .any(|one| one.is_made && one.here == session.server && one.there == session.client)
        };
        let mut is_over_ssh = false;
        let mut process = PathBuf::from(format!("/proc/{}", std::process::id()));
        let network = network(host, &process);
        for _ in 0..DEPTH {
            if network != self::network(host, &process) {
                // Whoever is in another network does not lose its own with this one.
                break;
            }
            let environment = host.read(&process.join("environ"), LIMIT);
            // That of another user's process is not for everybody.
            let environment = environment.ok().flatten().unwrap_or_default();
            let told = environment
                .split(|byte| *byte == 0)
                .filter_map(|entry| str::from_utf8(entry).ok()?.strip_prefix(VARIABLE))
                .find_map(Session::parse);
            if let Some(session) = told.filter(is_made) {
                return Ok(Self::Ssh(Some(session)));
            }
            let Some((name, parent)) = status(host, &process)? else {
                break;
            };
            is_over_ssh |= told.is_some() || SERVERS.contains(&name.as_str());
            if parent == 0 {
                break;
            }
            process = PathBuf::from(format!("/proc/{parent}"));
        }
        Ok(if is_over_ssh {
            Self::Ssh(None)
        } else {
            Self::Local
        })
    }
}

impl Session {
    /// Reads `CLIENT PORT SERVER PORT`.
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<_> = text.split(' ').collect();
        let [client, client_port, server, server_port] = words.as_slice() else {
            return None;
        };
        let address = |ip: &str, port: &str| {
            // An address of one link has its interface behind a percent sign.
            let ip: IpAddr = ip.split('%').next()?.parse().ok()?;
            Some(SocketAddr::new(ip.to_canonical(), port.parse().ok()?))
        };
        Some(Self {
            client: address(client, client_port)?,
            server: address(server, server_port)?,
        })
    }
}

/// Returns the network namespace of a process.
fn network(host: &Reader, process: &Path) -> Option<PathBuf> {
    host.read_link(&process.join("ns/net")).ok()
}

/// Returns the name of a process and the number of its parent: `proc_pid_stat(5)`.
fn status(host: &Reader, process: &Path) -> Result<Option<(String, u32)>, HostError> {
    let Some(text) = host.read_text(&process.join("stat"), LIMIT)? else {
        return Ok(None);
    };
    let parsed = || {
        let (start, rest) = text.rsplit_once(')')?;
        let name = start.split_once('(')?.1;
        let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
        Some((name.to_owned(), parent))
    };
    Ok(parsed())
}

/// Looks out for what proves that others still get in.
#[derive(Debug)]
pub struct Witness {
    session: Option<Session>,
    since: Moment,
    known: BTreeSet<(SocketAddr, SocketAddr)>,
    tells_apart: bool,
}

impl Witness {
    /// Begins to look, from `since` on: the end of the last step.
    pub async fn begin(host: &Reader, origin: ConnectionOrigin, since: Moment) -> Self {
        Self {
            session: match origin {
                ConnectionOrigin::Local => None,
                ConnectionOrigin::Ssh(session) => session,
            },
            since,
            known: made(host).unwrap_or_default(),
            tells_apart: tells_apart(host).await,
        }
    }

    /// Returns why it is known that others get in, if it is.
    pub fn proof(&self, host: &Reader) -> Option<String> {
        let port = self.session.map_or(22, |session| session.server.port());
        let new = made(host).ok()?.into_iter().find(|one| {
            one.0.port() == port && !self.known.contains(one) && one.0.ip() != one.1.ip()
        });
        if let Some((_, there)) = new {
            return Some(format!("a new connection came in from {}", there.ip()));
        }
        let session = self.session?;
        (!self.tells_apart && session.is_heard(host, &self.since).ok()? == Some(true)).then(|| {
            "packets of this session still arrive, and no rule treats a new connection differently".to_owned()
        })
    }
}

impl Session {
    /// Whether a packet of the client has come in since; `None` if that cannot be told, because nothing went out that it would answer.
    pub(crate) fn is_heard(
        &self,
        host: &Reader,
        since: &Moment,
    ) -> Result<Option<bool>, HostError> {
        let connections = host.connections()?;
        let now = host.now();
        let ours = connections
            .iter()
            .find(|one| one.here == self.server && one.there == self.client);
        Ok(ours.and_then(|one| {
            let is_heard = now.is_past(&since.later(one.heard)) && now != *since;
            (is_heard || one.unheard > 0).then_some(is_heard)
        }))
    }
}

/// Returns all connections that have been made, by both ends.
fn made(host: &Reader) -> Result<BTreeSet<(SocketAddr, SocketAddr)>, HostError> {
    let connections = host.connections()?.into_iter();
    let made = connections.filter(|one| one.is_made);
    Ok(made.map(|one| (one.here, one.there)).collect())
}

/// Whether any rule of this host treats a packet of a connection that is made already otherwise than one that asks for a new one. If that cannot
/// be told, one may.
async fn tells_apart(host: &Reader) -> bool {
    for query in Query::RULES {
        if !host.has_program(query.program()) {
            continue;
        }
        let Ok(said) = host.query(query).await else {
            return true;
        };
        let rules = String::from_utf8_lossy(&said);
        if TELLING.iter().any(|word| rules.contains(word)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_a_session_is_read() {
        let session = Session::parse("192.0.2.1 50000 192.0.2.10 22").unwrap();
        assert_eq!(session.client, "192.0.2.1:50000".parse().unwrap());
        assert_eq!(session.server, "192.0.2.10:22".parse().unwrap());
        let mapped = Session::parse("::ffff:192.0.2.1 1 fe80::1%eth0 22").unwrap();
        assert_eq!(mapped.client, "192.0.2.1:1".parse().unwrap());
        assert_eq!(mapped.server, "[fe80::1]:22".parse().unwrap());
        for wrong in ["", "a 1 b 2", "192.0.2.1 50000 192.0.2.10"] {
            assert_eq!(Session::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn this_process_has_a_parent() {
        let reader = Reader::new(Path::new("/"));
        let (name, parent) = status(
            &reader,
            &PathBuf::from(format!("/proc/{}", std::process::id())),
        )
        .unwrap()
        .unwrap();
        assert!(!name.is_empty());
        assert_eq!(parent, std::os::unix::process::parent_id());
    }
}
