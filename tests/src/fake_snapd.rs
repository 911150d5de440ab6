//! A snapd for what the real one cannot be made to do: changes that fail, conflicts, a daemon that goes away in the middle, slow
//! downloads, an old release. It is stricter: a request that the real one would read loosely makes the test fail.
//!
//! Answers and kinds of errors: snapd, `daemon/api_snaps.go`, `daemon/errors.go` and `client/errors.go`.

mod change;
mod installed;
mod refusal;
mod requests;
mod state;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path as Segment, Query, Request, State},
    http::{
        HeaderName, StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::UnixListener, runtime::Runtime, sync::Notify};

use change::Progress;
pub use installed::Offer;
use refusal::Refusal;
pub use state::{SnapdFault, SnapdState};

/// A running fake; it ends when this goes.
///
/// # Panics
/// When it goes, if a request was not as snapd's documentation has it.
#[derive(Debug)]
pub struct FakeSnapd {
    socket: PathBuf,
    shared: Arc<ServerState>,
    server: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct ServerState {
    world: Mutex<SnapdState>,
    bad_requests: Mutex<Vec<String>>,
    /// Ends the server: for a while, or for ever when there is no `vanish`.
    stop: Notify,
    outage: Mutex<Option<Duration>>,
}

type Parameters = Query<std::collections::BTreeMap<String, String>>;

impl FakeSnapd {
    /// Starts one that listens on a socket.
    pub fn start(socket: &Path, world: SnapdState) -> Self {
        let shared = Arc::new(ServerState {
            world: Mutex::new(world),
            bad_requests: Mutex::default(),
            stop: Notify::new(),
            outage: Mutex::default(),
        });
        let runtime = Runtime::new().unwrap();
        let listener = listen(&runtime, socket);
        let server = thread::spawn({
            let (shared, socket) = (Arc::clone(&shared), socket.to_owned());
            move || serve(&shared, &socket, runtime, listener)
        });
        Self {
            socket: socket.to_owned(),
            shared,
            server: Some(server),
        }
    }

    /// Makes something go wrong with the next change.
    pub fn inject(&self, fault: SnapdFault) {
        self.shared.world().inject(fault);
    }

    /// Asks it as a program would, and returns the answer; `None` if nobody answers.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Value> {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--request", method, "--unix-socket"])
            .arg(&self.socket)
            .arg(format!("http://localhost{path}"));
        if let Some(body) = body {
            let json = "Content-Type: application/json";
            command.args(["--header", json, "--data", &body.to_string()]);
        }
        serde_json::from_slice(&command.output().unwrap().stdout).ok()
    }

    /// Returns what was wrong with the requests so far, and forgets it.
    pub fn take_bad_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.bad_requests.lock().unwrap())
    }
}

impl Drop for FakeSnapd {
    fn drop(&mut self) {
        self.shared.stop.notify_one();
        if let Some(server) = self.server.take() {
            server.join().expect("it does not panic");
        }
        drop(fs::remove_file(&self.socket));
        let complaints = self.take_bad_requests();
        assert!(
            complaints.is_empty() || thread::panicking(),
            "requests that snapd does not know: {complaints:?}"
        );
    }
}

impl ServerState {
    fn world(&self) -> MutexGuard<'_, SnapdState> {
        self.world.lock().unwrap()
    }

    fn reject(&self, what: String) -> Response {
        let answer = error_response(StatusCode::BAD_REQUEST, &what, None, Value::Null);
        self.bad_requests.lock().unwrap().push(what);
        answer
    }
}

fn listen(runtime: &Runtime, socket: &Path) -> UnixListener {
    drop(fs::remove_file(socket));
    let _inside = runtime.enter();
    UnixListener::bind(socket).unwrap()
}

/// Serves until it is stopped. While it has vanished, neither the socket nor any connection is there.
fn serve(
    shared: &Arc<ServerState>,
    socket: &Path,
    mut runtime: Runtime,
    mut listener: UnixListener,
) {
    loop {
        let router = router(Arc::clone(shared));
        runtime.block_on(async {
            tokio::select! {
                served = axum::serve(listener, router) => served.unwrap(),
                () = shared.stop.notified() => {}
            }
        });
        runtime.shutdown_background();
        let Some(pause) = shared.outage.lock().unwrap().take() else {
            return;
        };
        fs::remove_file(socket).unwrap();
        sleep(pause);
        runtime = Runtime::new().unwrap();
        listener = listen(&runtime, socket);
    }
}

fn router(shared: Arc<ServerState>) -> Router {
    Router::new()
        .route("/v2/system-info", get(system_info))
        .route("/v2/snaps", get(snaps).post(sideload_snap))
        .route("/v2/snaps/{name}", get(snap).post(change_snap))
        .route("/v2/snaps/{name}/conf", get(conf).put(set_conf))
        .route("/v2/find", get(find))
        .route("/v2/download", post(download))
        .route("/v2/changes", get(changes))
        .route("/v2/changes/{id}", get(change).post(abort))
        .route("/v2/apps", get(apps).post(change_apps))
        .route("/v2/assertions", post(assertions))
        .fallback(unknown_request)
        .method_not_allowed_fallback(unknown_request)
        .with_state(shared)
}

async fn system_info(State(shared): State<Arc<ServerState>>) -> Response {
    sync_response(&shared.world().system_info())
}

async fn snaps(State(shared): State<Arc<ServerState>>, parameters: Parameters) -> Response {
    if let Err(what) = requests::parameters(&parameters, &["select", "snaps"]) {
        return shared.reject(format!("GET /v2/snaps: {what}"));
    }
    let names: Option<Vec<&str>> = parameters
        .get("snaps")
        .map(|names| names.split(',').collect());
    let all = parameters
        .get("select")
        .is_some_and(|select| select == "all");
    sync_response(&shared.world().snaps(names.as_deref(), all))
}

async fn snap(State(shared): State<Arc<ServerState>>, Segment(name): Segment<String>) -> Response {
    sync_or_error(shared.world().snap(&name))
}

async fn find(State(shared): State<Arc<ServerState>>, parameters: Parameters) -> Response {
    if let Err(what) = requests::parameters(&parameters, &["name", "q", "select", "scope"]) {
        return shared.reject(format!("GET /v2/find: {what}"));
    }
    let name = parameters.get("name").map(String::as_str);
    let refresh = parameters
        .get("select")
        .is_some_and(|select| select == "refresh");
    sync_or_error(shared.world().find(name, refresh))
}

/// Says what the store would send, in headers: `daemon/api_download.go`. Only this question is answered, and nothing is sent.
async fn download(State(shared): State<Arc<ServerState>>, body: Bytes) -> Response {
    let (name, action) = match requests::header_peek(&body) {
        Ok(asked) => asked,
        Err(what) => return shared.reject(format!("POST /v2/download: {what}")),
    };
    match shared.world().offer(&name, &action, "latest/stable") {
        Ok(offer) => {
            let file = format!("attachment; filename={name}_{}.snap", offer.revision);
            let size = offer.bytes.to_string();
            let headers = [
                (CONTENT_DISPOSITION, file),
                (HeaderName::from_static("snap-length"), size),
            ];
            headers.into_response()
        }
        Err(refusal) => refusal_response(refusal),
    }
}

async fn changes(State(shared): State<Arc<ServerState>>, parameters: Parameters) -> Response {
    if let Err(what) = requests::parameters(&parameters, &["select", "for"]) {
        return shared.reject(format!("GET /v2/changes: {what}"));
    }
    match parameters.get("select").map(String::as_str) {
        Some("in-progress") => {
            let of = parameters.get("for").map(String::as_str);
            sync_response(&shared.world().changes_in_progress(of))
        }
        other => shared.reject(format!("GET /v2/changes: `select` is {other:?}")),
    }
}

async fn change(State(shared): State<Arc<ServerState>>, Segment(id): Segment<String>) -> Response {
    let ticked = shared.world().advance(&id);
    match ticked {
        Ok(Progress { change, outage }) => {
            if outage.is_some() {
                *shared.outage.lock().unwrap() = outage;
                shared.stop.notify_one();
            }
            sync_response(&change)
        }
        Err(refusal) => refusal_response(refusal),
    }
}

async fn abort(
    State(shared): State<Arc<ServerState>>,
    Segment(id): Segment<String>,
    body: Bytes,
) -> Response {
    match serde_json::from_slice::<Value>(&body) {
        Ok(body) if body == json!({"action": "abort"}) => sync_or_error(shared.world().abort(&id)),
        _ => shared.reject(format!("POST /v2/changes/{id}: `action` is not `abort`")),
    }
}

async fn change_snap(
    State(shared): State<Arc<ServerState>>,
    Segment(name): Segment<String>,
    body: Bytes,
) -> Response {
    let action = match requests::action(&body) {
        Ok(action) => action,
        Err(what) => return shared.reject(format!("POST /v2/snaps/{name}: {what}")),
    };
    async_or_error(shared.world().change(&name, &action))
}

/// A file to install comes in parts; several snaps at once come as JSON.
async fn sideload_snap(State(shared): State<Arc<ServerState>>, request: Request) -> Response {
    let kind = request.headers().get(CONTENT_TYPE).cloned();
    let kind = kind
        .as_ref()
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if !kind.starts_with("multipart/form-data") {
        return shared.reject(format!("POST /v2/snaps with the content type {kind:?}"));
    }
    match requests::sideload(request).await {
        Ok(sideload) => async_or_error(shared.world().sideload(&sideload)),
        Err(what) => shared.reject(format!("POST /v2/snaps: {what}")),
    }
}

async fn conf(
    State(shared): State<Arc<ServerState>>,
    Segment(name): Segment<String>,
    parameters: Parameters,
) -> Response {
    if let Err(what) = requests::parameters(&parameters, &["keys"]) {
        return shared.reject(format!("GET /v2/snaps/{name}/conf: {what}"));
    }
    let keys = parameters.get("keys").map(|keys| keys.split(',').collect());
    sync_or_error(shared.world().conf(&name, keys))
}

async fn set_conf(
    State(shared): State<Arc<ServerState>>,
    Segment(name): Segment<String>,
    body: Bytes,
) -> Response {
    match serde_json::from_slice(&body) {
        Ok(Value::Object(patch)) => async_or_error(shared.world().set_conf(&name, patch)),
        _ => shared.reject(format!(
            "PUT /v2/snaps/{name}/conf: the body is no JSON object"
        )),
    }
}

async fn apps(State(shared): State<Arc<ServerState>>, parameters: Parameters) -> Response {
    if let Err(what) = requests::parameters(&parameters, &["select", "names"]) {
        return shared.reject(format!("GET /v2/apps: {what}"));
    }
    let names: Option<Vec<&str>> = parameters
        .get("names")
        .map(|names| names.split(',').collect());
    sync_or_error(shared.world().apps(names.as_deref()))
}

async fn change_apps(State(shared): State<Arc<ServerState>>, body: Bytes) -> Response {
    match requests::services(&body) {
        Ok(services) => async_or_error(shared.world().change_apps(&services)),
        Err(what) => shared.reject(format!("POST /v2/apps: {what}")),
    }
}

async fn assertions(State(shared): State<Arc<ServerState>>, body: String) -> Response {
    if body.starts_with("type: ") {
        sync_response(&Value::Null)
    } else {
        shared.reject("POST /v2/assertions: the body is no stream of assertions".to_owned())
    }
}

async fn unknown_request(State(shared): State<Arc<ServerState>>, request: Request) -> Response {
    shared.reject(format!("{} {}", request.method(), request.uri()))
}

fn sync_or_error(result: Result<Value, Refusal>) -> Response {
    result.map_or_else(refusal_response, |result| sync_response(&result))
}

/// Answers with the change that was begun.
fn async_or_error(change: Result<String, Refusal>) -> Response {
    match change {
        Ok(id) => {
            let body = json!({"type": "async", "status-code": 202, "status": "Accepted", "result": null, "change": id});
            (StatusCode::ACCEPTED, Json(body)).into_response()
        }
        Err(refusal) => refusal_response(refusal),
    }
}

fn sync_response(result: &Value) -> Response {
    Json(json!({"type": "sync", "status-code": 200, "status": "OK", "result": result}))
        .into_response()
}

fn refusal_response(refusal: Refusal) -> Response {
    let Refusal {
        code,
        kind,
        message,
        value,
    } = refusal;
    let code = StatusCode::from_u16(code).expect("the world has codes of HTTP only");
    error_response(code, &message, kind, value)
}

fn error_response(code: StatusCode, message: &str, kind: Option<&str>, value: Value) -> Response {
    let mut result = json!({"message": message});
    if let Some(kind) = kind {
        result["kind"] = kind.into();
    }
    if !value.is_null() {
        result["value"] = value;
    }
    let status = code.canonical_reason().unwrap_or_default();
    let body =
        json!({"type": "error", "status-code": code.as_u16(), "status": status, "result": result});
    (code, Json(body)).into_response()
}
