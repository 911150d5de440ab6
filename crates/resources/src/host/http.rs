//! HTTP over the sockets of the host: snapd's, and services on loopback. Responses are bounded and have a deadline.

use std::{path::PathBuf, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, body::Bytes, client::conn::http1::handshake, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};

use super::{HostError, Reader, Writer};

/// Where snapd listens, below the root directory.
const SNAPD: &str = "run/snapd.socket";
/// How long one answer may take. snapd asks the store for some of them.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long a page may take.
const PAGE_DEADLINE: Duration = Duration::from_secs(5);
/// How long an answer may be, in bytes.
const LIMIT: usize = 16 << 20;

/// What a service answered.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status of HTTP.
    pub status: u16,
    /// The headers, by lower case name.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// Returns the body as JSON; `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Returns a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Reader {
    /// Asks snapd.
    pub async fn snapd_get(&self, path: &str) -> Result<HttpResponse, HostError> {
        let reply = request_snapd(self.root().join(SNAPD), Method::GET, path, None).await?;
        let place = || format!("snapd (/{SNAPD}), GET {path}");
        self.trace.record(place, Some(&reply.body));
        Ok(reply)
    }

    /// Asks snapd what the store would send for a snap, without fetching it. snapd takes this question as a POST.
    pub async fn snap_download_info(
        &self,
        name: &str,
        channel: Option<&str>,
        revision: Option<&str>,
    ) -> Result<HttpResponse, HostError> {
        let mut body = serde_json::json!({"snap-name": name, "header-peek": true});
        for (key, value) in [("channel", channel), ("revision", revision)] {
            if let Some(value) = value {
                body[key] = value.into();
            }
        }
        let socket = self.root().join(SNAPD);
        request_snapd(
            socket,
            Method::POST,
            "/v2/download",
            Some(body.to_string().into_bytes()),
        )
        .await
    }

    /// Asks a service on loopback by HTTP.
    pub async fn http_get_localhost(
        &self,
        port: u16,
        path: &str,
    ) -> Result<HttpResponse, HostError> {
        self.http_get("127.0.0.1", port, path).await
    }

    /// Asks for a page by HTTP.
    pub async fn http_get(
        &self,
        host: &str,
        port: u16,
        path: &str,
    ) -> Result<HttpResponse, HostError> {
        self.trace
            .record(|| format!("http://{host}:{port}{path}"), None);
        let shown = format!("http://{host}:{port}{path}");
        let asked = async {
            let stream = self.connect(host, port).await?;
            let request =
                request(Method::GET, path, None).map_err(|error| service_error(&shown, &error))?;
            send(stream, request)
                .await
                .map_err(|error| service_error(&shown, &*error))
        };
        timeout(PAGE_DEADLINE, asked)
            .await
            .unwrap_or_else(|error| Err(service_error(&shown, &error)))
    }

    /// Connects to a port.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, HostError> {
        TcpStream::connect((host, port))
            .await
            .map_err(|error| service_error(&format!("{host}:{port}"), &error))
    }

    /// Resolves a name as this host does.
    pub async fn lookup(&self, name: &str) -> Result<(), HostError> {
        lookup_host((name, 0))
            .await
            .map(drop)
            .map_err(|error| service_error(name, &error))
    }
}

impl Writer {
    /// Asks snapd for a change: `method` is `POST` or `PUT`.
    pub async fn snapd(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<HttpResponse, HostError> {
        let method = if method == "PUT" {
            Method::PUT
        } else {
            Method::POST
        };
        let socket = self.root().join(SNAPD);
        request_snapd(socket, method, path, Some(body.to_string().into_bytes())).await
    }

    /// Sends snapd bytes of another type, such as a snap.
    pub async fn snapd_upload(
        &self,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<HttpResponse, HostError> {
        let mut request = request(Method::POST, path, Some(body))
            .map_err(|error| service_error(SNAPD, &error))?;
        let value = content_type
            .parse()
            .map_err(|error| service_error(SNAPD, &error))?;
        request.headers_mut().insert(header::CONTENT_TYPE, value);
        request_socket(self.root().join(SNAPD), request).await
    }
}

async fn request_snapd(
    socket: PathBuf,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<HttpResponse, HostError> {
    let request = request(method, path, body).map_err(|error| service_error(SNAPD, &error))?;
    request_socket(socket, request).await
}

async fn request_socket(
    socket: PathBuf,
    request: Request<Full<Bytes>>,
) -> Result<HttpResponse, HostError> {
    let shown = socket.display().to_string();
    let asked = async {
        let stream = UnixStream::connect(&socket)
            .await
            .map_err(HostError::io("connect to", &socket))?;
        send(stream, request)
            .await
            .map_err(|error| service_error(&shown, &*error))
    };
    timeout(DEADLINE, asked)
        .await
        .unwrap_or_else(|error| Err(service_error(&shown, &error)))
}

fn request(
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let builder = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost");
    let builder = match body {
        Some(_) => builder.header(header::CONTENT_TYPE, "application/json"),
        None => builder,
    };
    builder.body(Full::new(body.unwrap_or_default().into()))
}

async fn send<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<HttpResponse, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let served = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let (parts, body) = response.into_parts();
    // snapd announces the length of a snap that it was not asked to send.
    let is_announced = parts.headers.contains_key(header::CONTENT_DISPOSITION);
    let body = if is_announced {
        Bytes::new()
    } else {
        Limited::new(body, LIMIT).collect().await?.to_bytes()
    };
    served.abort();
    let headers = parts.headers.iter();
    Ok(HttpResponse {
        status: parts.status.as_u16(),
        headers: headers
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
        body: body.to_vec(),
    })
}

fn service_error(service: &str, error: &(dyn std::error::Error + 'static)) -> HostError {
    HostError::Service {
        service: service.to_owned(),
        fault: stead_engine::model::error_chain::error_chain(error).join(": "),
    }
}
