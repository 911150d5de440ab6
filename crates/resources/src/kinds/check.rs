//! The kind `check`: something that must work. A run that breaks it is rolled back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        change::Change,
        error_chain::error_chain,
        listing::Listing,
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Importable, Probeable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};
use tokio::time::timeout;

use crate::host::{LinuxHost, Reader, Writer};

/// How long something may take to work after a run, unless written, in seconds.
const DEFAULT_WITHIN: i64 = 30;
/// How long one look may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The status that a page is expected to have, unless written.
const DEFAULT_STATUS: i64 = 200;

/// The kind `check`.
pub(crate) struct Check;

/// State of a check: only wishes, so that nothing of it ever differs.
///
/// ```kdl
/// check "the cluster answers" http="http://127.0.0.1:10249/healthz" within=60
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    tcp: Option<String>,
    http: Option<String>,
    status: Option<i64>,
    dns: Option<String>,
    exec: Option<Vec<String>>,
    within: Option<i64>,
}

const ATTRIBUTES: &[Attribute] = &[
    attribute("tcp", Shape::Text, "`HOST:PORT` that accepts a connection."),
    attribute(
        "http",
        Shape::Text,
        "An `http://` URL that answers with `status`.",
    ),
    attribute(
        "status",
        Shape::Integer,
        "The status that `http` answers with. Default: 200.",
    ),
    attribute("dns", Shape::Text, "A name that this host must resolve."),
    attribute(
        "exec",
        Shape::List,
        "A command that must exit with 0; not run by a shell.",
    ),
    attribute(
        "within",
        Shape::Integer,
        "Seconds until it must work after a run. Default: 30.",
    ),
];

const fn attribute(name: &'static str, shape: Shape, doc: &'static str) -> Attribute {
    Attribute {
        name,
        shape,
        role: Role::Input,
        doc,
        check: None,
    }
}

impl Provider<LinuxHost> for Check {
    const KIND: &'static str = "check";
    const CAPABILITIES: Capabilities<LinuxHost, Self> =
        Capabilities::new().probeable().importable();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "Something that must work: checked before and after a run, which is rolled back if it worked before and fails after.",
            name: "any you choose",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle::DEFAULT,
            absence: Absence::Refused("remove the check from the spec"),
            example: "check \"kube-proxy is well\" http=\"http://127.0.0.1:10249/healthz\" within=60\n\
                      check \"names resolve\" dns=\"example.com\"\n\
                      check \"sshd listens\" tcp=\"127.0.0.1:22\"\n\
                      check \"pods run\" {\n    exec \"systemctl\" \"is-active\" \"snapd.service\"\n}\n",
        }
    }

    fn check_name(&self, _name: &str) -> Result<(), Problem> {
        Ok(())
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        let ways = [
            desired.tcp.is_some(),
            desired.http.is_some(),
            desired.dns.is_some(),
            desired.exec.is_some(),
        ];
        let mut problems = vec![];
        match ways.iter().filter(|way| **way).count() {
            1 => {}
            0 => problems.push(
                Problem::new("it does not say what to check")
                    .help("write one of `tcp`, `http`, `dns` and `exec`"),
            ),
            _ => problems
                .push(Problem::new("it checks several things").help("write one check for each")),
        }
        if desired
            .tcp
            .as_deref()
            .is_some_and(|tcp| parse_host_port(tcp).is_none())
        {
            problems.push(
                Problem::new("this is not an address with a port")
                    .at("tcp")
                    .help("write `HOST:PORT`, for instance `127.0.0.1:22`"),
            );
        }
        if desired
            .http
            .as_deref()
            .is_some_and(|http| parse_http_url(http).is_none())
        {
            problems.push(
                Problem::new("this is not an `http` URL")
                    .at("http")
                    .help("write `http://HOST:PORT/PATH`; for https use `exec`"),
            );
        }
        if desired.within.is_some_and(|within| within < 0) {
            problems.push(Problem::new("a time must not be negative").at("within"));
        }
        problems
    }

    async fn read(
        &self,
        _host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        Ok(vec![Some(State::default()); names.len()])
    }

    async fn apply(
        &self,
        _host: &Writer,
        _changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        Ok(())
    }
}

impl Probeable<LinuxHost> for Check {
    async fn probe(
        &self,
        host: &Writer,
        _name: &str,
        desired: &State,
    ) -> Option<Result<(), String>> {
        let looked = timeout(PROBE_TIMEOUT, run_check(host, desired)).await;
        Some(
            looked
                .unwrap_or_else(|_| Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs()))),
        )
    }

    fn probe_timeout(&self, _name: &str, desired: &State) -> Duration {
        let seconds = desired.within.unwrap_or(DEFAULT_WITHIN);
        Duration::from_secs(seconds.try_into().unwrap_or(0))
    }
}

impl Importable<LinuxHost> for Check {
    async fn list(&self, _host: &Reader) -> Result<Listing, ProviderError> {
        Ok(Listing::not_importable(
            "not importable: checks are not host state",
        ))
    }
}

async fn run_check(host: &Writer, desired: &State) -> Result<(), String> {
    let said = |error: crate::host::HostError| error_chain(&error).join(": ");
    let reader = Reader::new(host.root());
    if let Some((name, port)) = desired.tcp.as_deref().and_then(parse_host_port) {
        reader.connect(name, port).await.map_err(said)?;
    }
    if let Some((name, port, path)) = desired.http.as_deref().and_then(parse_http_url) {
        let reply = reader.http_get(name, port, path).await.map_err(said)?;
        let wanted = desired.status.unwrap_or(DEFAULT_STATUS);
        if i64::from(reply.status) != wanted {
            return Err(format!("the status is {}, not {wanted}", reply.status));
        }
    }
    if let Some(name) = &desired.dns {
        reader.lookup(name).await.map_err(said)?;
    }
    if let Some((program, arguments)) = desired.exec.as_deref().and_then(<[String]>::split_first) {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        host.run(program, &arguments, b"").await.map_err(said)?;
    }
    Ok(())
}

/// Takes `HOST:PORT` apart.
fn parse_host_port(text: &str) -> Option<(&str, u16)> {
    let (name, port) = text.rsplit_once(':')?;
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok()?;
    (!name.is_empty()).then_some((name, port))
}

/// Takes `http://HOST[:PORT][/PATH]` apart.
fn parse_http_url(text: &str) -> Option<(&str, u16, &str)> {
    let rest = text.strip_prefix("http://")?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (place, path) = rest.split_at(at);
    let path = if path.is_empty() { "/" } else { path };
    let (name, port) = parse_host_port(place).or((!place.is_empty()).then_some((place, 80)))?;
    Some((name, port, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_split_into_host_port_and_path() {
        assert_eq!(parse_host_port("[::1]:22"), Some(("::1", 22)));
        assert_eq!(parse_host_port("22"), None);
        assert_eq!(parse_host_port(":22"), None);
        assert_eq!(parse_http_url("http://a:1/b?c"), Some(("a", 1, "/b?c")));
        assert_eq!(parse_http_url("http://a"), Some(("a", 80, "/")));
        assert_eq!(parse_http_url("https://a"), None);
        assert_eq!(parse_http_url("http:///x"), None);
    }

    #[test]
    fn check_requires_exactly_one_target() {
        let check = |state: State| Check.check("a", &state).len();
        assert_eq!(check(State::default()), 1);
        let tcp = State {
            tcp: Some("a:1".to_owned()),
            ..State::default()
        };
        assert_eq!(check(tcp.clone()), 0);
        let both = State {
            dns: Some("a".to_owned()),
            ..tcp
        };
        assert_eq!(check(both), 1);
    }
}
