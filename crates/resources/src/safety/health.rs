//! Health checks that a run which waits for confirmation must preserve: inbound SSH, the default route, DNS, the cluster.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use stead_engine::{model::boot_time::BootTime, provider::host::HealthCheck};
use tokio::time::timeout;

use crate::{
    host::{HostError, Reader, TcpProbe},
    microk8s::layout::Layout,
    safety::ssh::{ConnectionOrigin, SshSession},
};

/// The port where sshd listens unless a session tells another.
const SSH_PORT: u16 = 22;
/// How long one look may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a session may be silent that has nothing to answer.
const IDLE_LIMIT: Duration = Duration::from_secs(5);
/// The largest file of /proc/net and of os-release that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Looks at all of them at once. `since` is the end of the last step of a run.
pub(crate) async fn check_all(host: &Reader, since: &BootTime) -> Vec<HealthCheck> {
    let session = match ConnectionOrigin::of_this_process(host) {
        ConnectionOrigin::Local => None,
        ConnectionOrigin::Ssh(session) => session,
    };
    let session_check = session.map(|session| check_session(host, session, since));
    let is_alive = matches!(session_check, Some(Ok(())));
    let (ssh, dns, cluster) = tokio::join!(
        ssh_inbound(host, session, is_alive),
        dns_works(host),
        api_server(host)
    );
    let check = |name, seconds, said: Result<(), String>| HealthCheck {
        name,
        grace_period: Duration::from_secs(seconds),
        fault: said.err(),
    };
    let mut checks = vec![
        check("sshd", 10, ssh),
        check("the default route", 10, default_route(host)),
        check("name resolution", 20, dns),
    ];
    checks.extend(session_check.map(|said| check("this session", 10, said)));
    checks.extend(cluster.map(|said| check("the API server", 120, said)));
    checks
}

/// Whether the packets of the session still come in.
fn check_session(host: &Reader, session: SshSession, since: &BootTime) -> Result<(), String> {
    match session.receives_packets(host, since) {
        Ok(Some(true)) => Ok(()),
        Ok(Some(false)) => Err(format!(
            "no more packets arrive from {}",
            session.client.ip()
        )),
        Ok(None) if host.now().has_passed(&since.plus(IDLE_LIMIT)) || host.now() == *since => {
            Ok(())
        }
        Ok(None) => Err(format!(
            "no packet has arrived from {} yet",
            session.client.ip()
        )),
        Err(error) => Err(error_text(&error)),
    }
}

/// Whether sshd takes a new connection. That a rule swallows one of this host itself says nothing while those of the session come in.
async fn ssh_inbound(
    host: &Reader,
    session: Option<SshSession>,
    is_session_alive: bool,
) -> Result<(), String> {
    let port = session.map_or(SSH_PORT, |session| session.server.port());
    let connections = host.connections().map_err(|error| error_text(&error))?;
    let listens = connections
        .iter()
        .find(|one| one.is_listening && one.local.port() == port);
    let mut at = listens
        .ok_or(format!("nothing listens on port {port}"))?
        .local;
    if at.ip().is_unspecified() {
        let own = if at.is_ipv4() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            IpAddr::from(std::net::Ipv6Addr::LOCALHOST)
        };
        at.set_ip(session.map_or(own, |session| session.server.ip()));
    }
    match host
        .tcp_probe(at)
        .await
        .map_err(|error| error_text(&error))?
    {
        TcpProbe::Accepted => Ok(()),
        TcpProbe::Dropped if is_session_alive => Ok(()),
        TcpProbe::Dropped => Err(format!("a connection to {at} times out")),
        TcpProbe::Refused(fault) => Err(format!("{at}: {fault}")),
    }
}

/// Whether there is a default route: `proc_net(5)`.
fn default_route(host: &Reader) -> Result<(), String> {
    // `/proc/net` is a link to the one of whoever looks.
    let own = PathBuf::from(format!("/proc/{}/net", std::process::id()));
    let read = |name| {
        host.read_text(&own.join(name), LIMIT)
            .map(Option::unwrap_or_default)
    };
    let is_default = |columns: &[usize], line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        columns.iter().all(|column| {
            words
                .get(*column)
                .is_some_and(|word| word.bytes().all(|digit| digit == b'0'))
        })
    };
    let four = read("route").map_err(|error| error_text(&error))?;
    let six = read("ipv6_route").map_err(|error| error_text(&error))?;
    // The route that the kernel has for what it does not reach at all is on the loopback device.
    let has_six = six
        .lines()
        .filter(|line| !line.ends_with("lo"))
        .any(|line| is_default(&[0, 1], line));
    if four.lines().any(|line| is_default(&[1, 7], line)) || has_six {
        Ok(())
    } else {
        Err("there is none".to_owned())
    }
}

/// Whether the name resolves under which the makers of this host's system are found: `os-release(5)`.
async fn dns_works(host: &Reader) -> Result<(), String> {
    let release = host
        .read_text(Path::new("/usr/lib/os-release"), LIMIT)
        .map_err(|error| error_text(&error))?;
    let release = release.unwrap_or_default();
    let name = release.lines().find_map(|line| {
        let url = line.strip_prefix("HOME_URL=")?.trim_matches('"');
        url.split_once("://")?.1.split(['/', ':']).next()
    });
    let name = name.ok_or("there is no name to resolve")?;
    match timeout(PROBE_TIMEOUT, host.lookup(name)).await {
        Ok(looked) => looked.map_err(|error| error_text(&error)),
        Err(_) => Err(format!(
            "{name}: no answer within {} s",
            PROBE_TIMEOUT.as_secs()
        )),
    }
}

/// Whether the API server is ready; `None` where there is none.
async fn api_server(host: &Reader) -> Option<Result<(), String>> {
    let layout = Layout::running(host)
        .ok()
        .filter(|layout| !layout.is_worker)?;
    let kubeconfig = layout.kubeconfig(host).ok()??;
    let asked = timeout(PROBE_TIMEOUT, host.cluster_get(&kubeconfig, "/readyz")).await;
    Some(match asked {
        Ok(Ok(said)) if said.trim() == "ok" => Ok(()),
        Ok(Ok(said)) => Err(format!("it answers {said:?}")),
        Ok(Err(error)) => Err(error_text(&error)),
        Err(_) => Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    })
}

fn error_text(error: &HostError) -> String {
    stead_engine::model::error_chain::error_chain(error).join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    #[test]
    fn default_route_excludes_subnets_and_loopback() {
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n";
        let zero = "0".repeat(32);
        let own = format!("/proc/{}/net", std::process::id());
        let check = |four: &str, six: &str, expected: bool| {
            let root = TestRoot::new(&[
                (&format!("{own}/route"), &format!("{head}{four}")),
                (&format!("{own}/ipv6_route"), six),
            ]);
            assert_eq!(
                default_route(&root.reader()).is_ok(),
                expected,
                "{four} {six}"
            );
        };
        check(
            "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n",
            "",
            false,
        );
        check(
            "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\n",
            "",
            true,
        );
        check(
            "",
            &format!("{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n"),
            false,
        );
        check(
            "",
            &format!("{zero} 00 {zero} 00 {zero} 00000400 1 0 00450003 eth0\n"),
            true,
        );
    }
}
