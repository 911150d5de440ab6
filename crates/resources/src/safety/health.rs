//! Health checks that every run must preserve: inbound SSH, the default route, DNS, the cluster.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use stead_engine::{model::boot_time::Moment, provider::host::Sign};
use tokio::time::timeout;

use crate::{
    host::{HostError, Knock, Reader},
    microk8s::layout::Layout,
    safety::ssh::{ConnectionOrigin, Session},
};

/// The port where sshd listens unless a session tells another.
const SSH: u16 = 22;
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(3);
/// How long a session may be silent that has nothing to answer.
const SILENCE: Duration = Duration::from_secs(5);
/// The largest file of /proc/net and of os-release that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Looks at all of them at once. `since` is the end of the last step of a run.
pub(crate) async fn look(host: &Reader, since: &Moment) -> Vec<Sign> {
    let session = match ConnectionOrigin::of_this(host) {
        ConnectionOrigin::Local => None,
        ConnectionOrigin::Ssh(session) => session,
    };
    let heard = session.map(|session| is_heard(host, session, since));
    let is_heard = matches!(heard, Some(Ok(())));
    let (way_in, names, cluster) =
        tokio::join!(way_in(host, session, is_heard), names(host), cluster(host));
    let sign = |name, seconds, said: Result<(), String>| Sign {
        name,
        patience: Duration::from_secs(seconds),
        fault: said.err(),
    };
    let mut signs = vec![
        sign("sshd", 10, way_in),
        sign("the default route", 10, route(host)),
        sign("name resolution", 20, names),
    ];
    signs.extend(heard.map(|said| sign("this session", 10, said)));
    signs.extend(cluster.map(|said| sign("the API server", 120, said)));
    signs
}

/// Whether the packets of the session still come in.
fn is_heard(host: &Reader, session: Session, since: &Moment) -> Result<(), String> {
    match session.is_heard(host, since) {
        Ok(Some(true)) => Ok(()),
        Ok(Some(false)) => Err(format!(
            "no more packets arrive from {}",
            session.client.ip()
        )),
        Ok(None) if host.now().is_past(&since.later(SILENCE)) || host.now() == *since => Ok(()),
        Ok(None) => Err(format!(
            "no packet has arrived from {} yet",
            session.client.ip()
        )),
        Err(error) => Err(said(&error)),
    }
}

/// Whether sshd takes a new connection. That a rule swallows one of this host itself says nothing while those of the session come in.
async fn way_in(host: &Reader, session: Option<Session>, is_heard: bool) -> Result<(), String> {
    let port = session.map_or(SSH, |session| session.server.port());
    let connections = host.connections().map_err(|error| said(&error))?;
    let listens = connections
        .iter()
        .find(|one| one.listens && one.here.port() == port);
    let mut at = listens
        .ok_or(format!("nothing listens on port {port}"))?
        .here;
    if at.ip().is_unspecified() {
        let own = if at.is_ipv4() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            IpAddr::from(std::net::Ipv6Addr::LOCALHOST)
        };
        at.set_ip(session.map_or(own, |session| session.server.ip()));
    }
    match host.knock(at).await.map_err(|error| said(&error))? {
        Knock::Taken => Ok(()),
        Knock::Swallowed if is_heard => Ok(()),
        Knock::Swallowed => Err(format!("a connection to {at} times out")),
        Knock::Refused(fault) => Err(format!("{at}: {fault}")),
    }
}

/// Whether there is a default route: `proc_net(5)`.
fn route(host: &Reader) -> Result<(), String> {
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
    let four = read("route").map_err(|error| said(&error))?;
    let six = read("ipv6_route").map_err(|error| said(&error))?;
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
async fn names(host: &Reader) -> Result<(), String> {
    let release = host
        .read_text(Path::new("/usr/lib/os-release"), LIMIT)
        .map_err(|error| said(&error))?;
    let release = release.unwrap_or_default();
    let name = release.lines().find_map(|line| {
        let url = line.strip_prefix("HOME_URL=")?.trim_matches('"');
        url.split_once("://")?.1.split(['/', ':']).next()
    });
    let name = name.ok_or("there is no name to resolve")?;
    match timeout(LOOK, host.lookup(name)).await {
        Ok(looked) => looked.map_err(|error| said(&error)),
        Err(_) => Err(format!("{name}: no answer within {} s", LOOK.as_secs())),
    }
}

/// Whether the API server is ready; `None` where there is none.
async fn cluster(host: &Reader) -> Option<Result<(), String>> {
    let layout = Layout::running(host)
        .ok()
        .filter(|layout| !layout.is_worker)?;
    let kubeconfig = layout.kubeconfig(host).ok()??;
    let asked = timeout(LOOK, host.ask_cluster(&kubeconfig, "/readyz")).await;
    Some(match asked {
        Ok(Ok(said)) if said.trim() == "ok" => Ok(()),
        Ok(Ok(said)) => Err(format!("it answers {said:?}")),
        Ok(Err(error)) => Err(said(&error)),
        Err(_) => Err(format!("no answer within {} s", LOOK.as_secs())),
    })
}

fn said(error: &HostError) -> String {
    stead_engine::model::error_chain::chain(error).join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::Root;

    #[test]
    fn a_default_route_leads_everywhere_and_not_through_the_loopback_device() {
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n";
        let zero = "0".repeat(32);
        let own = format!("/proc/{}/net", std::process::id());
        let check = |four: &str, six: &str, expected: bool| {
            let root = Root::new(&[
                (&format!("{own}/route"), &format!("{head}{four}")),
                (&format!("{own}/ipv6_route"), six),
            ]);
            assert_eq!(route(&root.reader()).is_ok(), expected, "{four} {six}");
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
