//! HTTP over the sockets of the host: snapd's, and services on loopback. Responses are bounded and have a deadline.

use std::{
    io::Read,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request,
    body::{Body, Bytes},
    client::conn::http1::handshake,
    header,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};

use super::{HostError, Reader, Writer, upload::UploadBody};

/// Where snapd listens, below the root directory.
const SNAPD: &str = "run/snapd.socket";
/// How long one answer may take. snapd asks the store for some of them.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long a page may take.
const PAGE_DEADLINE: Duration = Duration::from_secs(5);
/// How long an answer may be, in bytes.
const LIMIT: usize = 16 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

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

    /// Sends snapd `length` bytes of another type, such as a snap, while they are read.
    pub async fn snapd_upload(
        &self,
        path: &str,
        content_type: &str,
        (body, length): (impl Read + Send + Unpin + 'static, u64),
    ) -> Result<HttpResponse, HostError> {
        let body = UploadBody::new(body, length);
        let sent = body.sent();
        let request = Request::post(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, content_type)
            .body(body)
            .map_err(|error| service_error(SNAPD, &error))?;
        request_socket(self.root().join(SNAPD), request, &sent).await
    }
}

async fn request_snapd(
    socket: PathBuf,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<HttpResponse, HostError> {
    let request = request(method, path, body).map_err(|error| service_error(SNAPD, &error))?;
    request_socket(socket, request, &Arc::default()).await
}

/// Sends a request. Each time that `sent` grows, the deadline of the answer begins anew.
async fn request_socket<B>(
    socket: PathBuf,
    request: Request<B>,
    sent: &AtomicU64,
) -> Result<HttpResponse, HostError>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let shown = socket.display().to_string();
    let mut asked = Box::pin(async {
        let stream = UnixStream::connect(&socket)
            .await
            .map_err(HostError::io("connect to", &socket))?;
        send(stream, request)
            .await
            .map_err(|error| service_error(&shown, &*error))
    });
    loop {
        let before = sent.load(Ordering::Relaxed);
        match timeout(DEADLINE, &mut asked).await {
            Ok(reply) => return reply,
            Err(_) if sent.load(Ordering::Relaxed) > before => {}
            Err(error) => return Err(service_error(&shown, &error)),
        }
    }
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

async fn send<S, B>(stream: S, request: Request<B>) -> Result<HttpResponse, BoxError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
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

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        os::unix::net::{UnixListener, UnixStream},
        thread,
    };

    use super::*;
    use crate::files::test_root::TestRoot;

    /// How many bytes a snap of the test has.
    const SIZE: u64 = 64 << 20;
    /// How many bytes may be on their way: in the socket and in hyper.
    const MAX_AHEAD: u64 = 4 << 20;

    /// A file that counts how many of its bytes were read.
    struct CountedFile(Arc<AtomicU64>);

    impl Read for CountedFile {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            buffer.fill(b'x');
            Ok(buffer.len())
        }
    }

    /// Reads a request whose body has `SIZE` bytes; returns how far ahead of that the file was read at most.
    fn receive(mut stream: &UnixStream, read: &AtomicU64) -> u64 {
        let mut text = vec![];
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            text.extend(byte);
        }
        let length = format!("content-length: {SIZE}\r\n");
        assert!(String::from_utf8(text).unwrap().contains(&length));
        let (mut received, mut ahead) = (0, 0);
        let mut buffer = vec![0; 1 << 16];
        while received < SIZE {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "{received} bytes of {SIZE}");
            received += length as u64;
            ahead = ahead.max(read.load(Ordering::Relaxed).saturating_sub(received));
        }
        stream
            .write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}")
            .unwrap();
        ahead
    }

    #[test]
    fn upload_reads_the_file_as_fast_as_snapd_takes_it() {
        let root = TestRoot::new(&[("/run/other", "")]);
        let listener = UnixListener::bind(root.reader().root().join(SNAPD)).unwrap();
        let read: Arc<AtomicU64> = Arc::default();
        let counted = read.clone();
        let server = thread::spawn(move || receive(&listener.accept().unwrap().0, &counted));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (writer, file) = (root.writer(), CountedFile(read.clone()));
        let reply = writer.snapd_upload("/v2/snaps", "text/plain", (file, SIZE));
        assert_eq!(runtime.block_on(reply).unwrap().status, 202);
        let ahead = server.join().unwrap();
        assert!(ahead <= MAX_AHEAD, "{ahead} bytes were read ahead");
        assert_eq!(read.load(Ordering::Relaxed), SIZE);
    }
}
