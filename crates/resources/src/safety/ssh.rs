//! Whether this process runs over SSH, and whether others can connect. A host cannot test itself from outside: that a new connection is
//! possible is known when one arrives, or when packets of this session still arrive and no rule treats a new connection differently.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use stead_engine::model::boot_time::BootTime;

use crate::host::{HostError, ReadOnlyCommand, Reader};

/// The variable that sshd gives to a session: `ssh(1)`, ENVIRONMENT.
const SSH_CONNECTION: &str = "SSH_CONNECTION=";
/// Programs that serve sessions.
const SERVER_PROGRAMS: [&str; 3] = ["sshd", "sshd-session", "dropbear"];
/// How far up the processes are followed.
const MAX_ANCESTORS: usize = 64;
/// The largest environment that is read, in bytes.
const LIMIT: u64 = 4 << 20;
/// Words by which a rule tells a packet of a connection that is made already from one that asks for a new one:
/// `iptables-extensions(8)`, `nft(8)`.
const STATE_MATCHES: [&str; 16] = [
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
pub struct SshSession {
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
    Ssh(Option<SshSession>),
}

impl ConnectionOrigin {
    /// Looks once in the life of this process: its parents may go.
    pub fn of_this_process(host: &Reader) -> Self {
        static ORIGIN: OnceLock<ConnectionOrigin> = OnceLock::new();
        *ORIGIN.get_or_init(|| Self::detect(host).unwrap_or(Self::Local))
    }

    /// Follows the processes from this one up, since sudo takes the variable away, and a terminal that outlives sessions keeps that of an
    /// old one.
    fn detect(host: &Reader) -> Result<Self, HostError> {
        let made = host.connections()?;
        let is_established_session = |session: &SshSession| {
            made.iter().any(|one| {
                one.is_established && one.local == session.server && one.remote == session.client
            })
        };
        let mut is_over_ssh = false;
        let mut process = PathBuf::from(format!("/proc/{}", std::process::id()));
        let network = network_namespace(host, &process);
        for _ in 0..MAX_ANCESTORS {
            if network != self::network_namespace(host, &process) {
                // Whoever is in another network does not lose its own with this one.
                break;
            }
            let environment = host.read(&process.join("environ"), LIMIT);
            // That of another user's process is not for everybody.
            let environment = environment.ok().flatten().unwrap_or_default();
            let told = environment
                .split(|byte| *byte == 0)
                .filter_map(|entry| str::from_utf8(entry).ok()?.strip_prefix(SSH_CONNECTION))
                .find_map(SshSession::parse);
            if let Some(session) = told.filter(is_established_session) {
                return Ok(Self::Ssh(Some(session)));
            }
            let Some((name, parent)) = status(host, &process)? else {
                break;
            };
            is_over_ssh |= told.is_some() || SERVER_PROGRAMS.contains(&name.as_str());
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

impl SshSession {
    /// Reads `CLIENT_SSH PORT SERVER PORT`.
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
fn network_namespace(host: &Reader, process: &Path) -> Option<PathBuf> {
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
pub struct Reachability {
    session: Option<SshSession>,
    since: BootTime,
    initial: BTreeSet<(SocketAddr, SocketAddr)>,
    has_stateful_rules: bool,
}

impl Reachability {
    /// Begins to look, from `since` on: the end of the last step.
    pub async fn start(host: &Reader, origin: ConnectionOrigin, since: BootTime) -> Self {
        Self {
            session: match origin {
                ConnectionOrigin::Local => None,
                ConnectionOrigin::Ssh(session) => session,
            },
            since,
            initial: established(host).unwrap_or_default(),
            has_stateful_rules: has_stateful_rules(host).await,
        }
    }

    /// Returns why it is known that others get in, if it is.
    pub fn proof(&self, host: &Reader) -> Option<String> {
        let port = self.session.map_or(22, |session| session.server.port());
        let new = established(host).ok()?.into_iter().find(|one| {
            one.0.port() == port && !self.initial.contains(one) && one.0.ip() != one.1.ip()
        });
        if let Some((_, there)) = new {
            return Some(format!("a new connection came in from {}", there.ip()));
        }
        let session = self.session?;
        (!self.has_stateful_rules
            && session.receives_packets(host, &self.since).ok()? == Some(true))
        .then(|| {
            "packets of this session still arrive, and no rule treats a new connection differently"
                .to_owned()
        })
    }
}

impl SshSession {
    /// Whether a packet of the client has come in since; `None` if that cannot be told, because nothing went out that it would answer.
    pub(crate) fn receives_packets(
        &self,
        host: &Reader,
        since: &BootTime,
    ) -> Result<Option<bool>, HostError> {
        let connections = host.connections()?;
        let now = host.now();
        let ours = connections
            .iter()
            .find(|one| one.local == self.server && one.remote == self.client);
        Ok(ours.and_then(|one| {
            let has_received =
                now.has_passed(&since.plus(one.since_last_received)) && now != *since;
            (has_received || one.unacked_bytes > 0).then_some(has_received)
        }))
    }
}

/// Returns all connections that have been made, by both ends.
fn established(host: &Reader) -> Result<BTreeSet<(SocketAddr, SocketAddr)>, HostError> {
    let connections = host.connections()?.into_iter();
    let made = connections.filter(|one| one.is_established);
    Ok(made.map(|one| (one.local, one.remote)).collect())
}

/// Whether any rule of this host treats a packet of a connection that is made already otherwise than one that asks for a new one. If that cannot
/// be told, one may.
async fn has_stateful_rules(host: &Reader) -> bool {
    for query in ReadOnlyCommand::RULES {
        if !host.has_program(query.program()) {
            continue;
        }
        let Ok(said) = host.query(query).await else {
            return true;
        };
        let rules = String::from_utf8_lossy(&said);
        if STATE_MATCHES.iter().any(|word| rules.contains(word)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_parses_the_ssh_connection_variable() {
        let session = SshSession::parse("192.0.2.1 50000 192.0.2.10 22").unwrap();
        assert_eq!(session.client, "192.0.2.1:50000".parse().unwrap());
        assert_eq!(session.server, "192.0.2.10:22".parse().unwrap());
        let mapped = SshSession::parse("::ffff:192.0.2.1 1 fe80::1%eth0 22").unwrap();
        assert_eq!(mapped.client, "192.0.2.1:1".parse().unwrap());
        assert_eq!(mapped.server, "[fe80::1]:22".parse().unwrap());
        for wrong in ["", "a 1 b 2", "192.0.2.1 50000 192.0.2.10"] {
            assert_eq!(SshSession::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn status_reads_name_and_parent_of_a_process() {
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
