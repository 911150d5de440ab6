//! An editor without a screen: it starts `stead lsp`, speaks JSON-RPC with it, and keeps what it is told.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test starts the program and stops at the first surprise"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// When the server is given up; nothing is said about how long it should take.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The editor, with the directory of its files in a host of its own.
pub(crate) struct Editor {
    server: Child,
    input: Option<ChildStdin>,
    messages: Receiver<Value>,
    root: TempDir,
    last_id: i64,
    /// The version of each open text.
    versions: BTreeMap<String, i64>,
    /// What was said last of each file.
    published: BTreeMap<String, Value>,
    /// What the server asked for.
    pub(crate) server_requests: Vec<String>,
    pub(crate) capabilities: Value,
}

impl Editor {
    /// Starts a server and introduces itself.
    pub(crate) fn start() -> Self {
        Self::start_with(&[], &json!({}))
    }

    pub(crate) fn start_with(arguments: &[&str], capabilities: &Value) -> Self {
        let mut editor = Self::uninitialized(arguments);
        let result = editor.initialize(capabilities).unwrap();
        editor.capabilities = result["capabilities"].clone();
        editor.notify("initialized", &json!({}));
        editor
    }

    /// Starts a server and says nothing.
    pub(crate) fn uninitialized(arguments: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        write_file(root.path(), "proc/sys/kernel/hostname", "toaster\n");
        write_file(root.path(), "proc/sys/net/ipv4/ip_forward", "0\n");
        let mut server = Command::new(env!("CARGO_BIN_EXE_stead"))
            .args(["lsp", "--stdio", "--root"])
            .arg(root.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(server.stdout.take().unwrap());
        let (sender, messages) = channel();
        thread::spawn(move || {
            while let Some(message) = read_message(&mut output) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self {
            input: server.stdin.take(),
            server,
            messages,
            root,
            last_id: 0,
            versions: BTreeMap::new(),
            published: BTreeMap::new(),
            server_requests: vec![],
            capabilities: Value::Null,
        }
    }

    pub(crate) fn initialize(&mut self, capabilities: &Value) -> Result<Value, Value> {
        let params = json!({ "processId": null, "rootUri": null, "capabilities": capabilities });
        self.request("initialize", &params)
    }

    /// Returns the directory of the files.
    pub(crate) fn root_dir(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn uri(&self, file: &str) -> String {
        format!("file://{}/{file}", self.root.path().display())
    }

    /// Puts a file on the disk.
    pub(crate) fn write(&self, file: &str, text: &str) {
        write_file(self.root.path(), file, text);
    }

    /// Puts a `MicroK8s` on the disk: what of it is read for completion.
    pub(crate) fn install_microk8s(&self) {
        let common = "var/snap/microk8s/common/addons/core/addons.yaml";
        let addons =
            "microk8s-addons:\n  addons:\n    - name: dns\n      check_status: pod/coredns\n";
        self.write(common, addons);
        let args = "--proxy-mode=iptables\n--cluster-cidr=10.1.0.0/16\n";
        self.write("var/snap/microk8s/7000/args/kube-proxy", args);
        let current = self.root.path().join("var/snap/microk8s/current");
        std::os::unix::fs::symlink("7000", current).unwrap();
    }

    pub(crate) fn open(&mut self, file: &str, text: &str) {
        self.versions.insert(file.to_owned(), 1);
        let params = json!({
            "textDocument": { "uri": self.uri(file), "languageId": "kdl", "version": 1, "text": text },
        });
        self.notify("textDocument/didOpen", &params);
    }

    pub(crate) fn change(&mut self, file: &str, text: &str) {
        let version = self.versions.get_mut(file).unwrap();
        *version += 1;
        let params = json!({
            "textDocument": { "version": *version, "uri": self.uri(file) },
            "contentChanges": [{ "text": text }],
        });
        self.notify("textDocument/didChange", &params);
    }

    pub(crate) fn close(&mut self, file: &str) {
        self.versions.remove(file);
        let params = json!({ "textDocument": { "uri": self.uri(file) } });
        self.notify("textDocument/didClose", &params);
    }

    /// Waits until the server has said what is wrong with a file: of an open text with its last version, of another one since the
    /// last change of any.
    pub(crate) fn diagnostics(&mut self, file: &str) -> Vec<Value> {
        let uri = self.uri(file);
        loop {
            if let Some(published) = self.published.get(&uri) {
                let is_new = self
                    .versions
                    .get(file)
                    .is_none_or(|version| published["version"] == *version);
                if is_new {
                    return published["diagnostics"].as_array().unwrap().clone();
                }
            }
            self.receive();
        }
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let Some(answer) = self.receive().filter(|answer| answer["id"] == id) else {
                continue;
            };
            return match answer.get("error") {
                Some(error) => Err(error.clone()),
                None => Ok(answer["result"].clone()),
            };
        }
    }

    pub(crate) fn notify(&mut self, method: &str, params: &Value) {
        self.clear_diagnostics();
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Opens a text and lists what may stand where it has a `|`.
    pub(crate) fn complete(&mut self, text: &str) -> Vec<String> {
        self.complete_in("host.kdl", text)
    }

    pub(crate) fn complete_in(&mut self, file: &str, text: &str) -> Vec<String> {
        let (items, _) = self.completion_items(file, text);
        let labels = items
            .iter()
            .map(|item| item["label"].as_str().unwrap().to_owned());
        labels.collect()
    }

    /// Opens a text, takes what has a label, and returns what the text is then.
    pub(crate) fn text_after_completion(&mut self, text: &str, label: &str) -> String {
        let (items, text) = self.completion_items("host.kdl", text);
        let item = items.iter().find(|item| item["label"] == label).unwrap();
        let edit = &item["textEdit"];
        let offset = |at: &Value| {
            let before = text.lines().take(number(&at["line"]));
            before.map(|line| line.len() + 1).sum::<usize>() + number(&at["character"])
        };
        let (start, end) = (
            offset(&edit["range"]["start"]),
            offset(&edit["range"]["end"]),
        );
        format!(
            "{}{}{}",
            &text[..start],
            edit["newText"].as_str().unwrap(),
            &text[end..]
        )
    }

    fn completion_items(&mut self, file: &str, marked: &str) -> (Vec<Value>, String) {
        let before = marked.split('|').next().unwrap();
        let line = before.matches('\n').count();
        let character = before.rsplit('\n').next().unwrap().encode_utf16().count();
        let text = marked.replacen('|', "", 1);
        self.open(file, &text);
        let params = self.position_params(file, line, character);
        loop {
            let list = self.request("textDocument/completion", &params).unwrap();
            // The host has not answered yet.
            if list["isIncomplete"] == false {
                return (list["items"].as_array().unwrap().clone(), text);
            }
        }
    }

    pub(crate) fn hover(&mut self, file: &str, line: usize, character: usize) -> String {
        let params = self.position_params(file, line, character);
        let hover = self.request("textDocument/hover", &params).unwrap();
        hover["contents"]["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Returns files with lines and characters.
    pub(crate) fn definition(
        &mut self,
        file: &str,
        line: usize,
        character: usize,
    ) -> Vec<(String, u64, u64)> {
        let params = self.position_params(file, line, character);
        let places = self.request("textDocument/definition", &params).unwrap();
        let places = places.as_array().unwrap().iter();
        let prefix = self.uri("");
        let place = |place: &Value| {
            let start = &place["range"]["start"];
            let uri = place["uri"].as_str().unwrap();
            (
                uri.strip_prefix(&prefix).unwrap().to_owned(),
                start["line"].as_u64().unwrap(),
                start["character"].as_u64().unwrap(),
            )
        };
        places.map(place).collect()
    }

    pub(crate) fn format(&mut self, file: &str) -> Value {
        let params = json!({
            "textDocument": { "uri": self.uri(file) },
            "options": { "tabSize": 4, "insertSpaces": true },
        });
        self.request("textDocument/formatting", &params).unwrap()
    }

    /// Closes the line and waits for the end of the server; returns its exit code.
    pub(crate) fn wait_for_exit(&mut self) -> Option<i32> {
        drop(self.input.take());
        self.server.wait().unwrap().code()
    }

    fn position_params(&self, file: &str, line: usize, character: usize) -> Value {
        json!({
            "textDocument": { "uri": self.uri(file) },
            "position": { "line": line, "character": character },
        })
    }

    /// Forgets what was said of all files: what is said next is about what comes now.
    fn clear_diagnostics(&mut self) {
        self.published.clear();
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let input = self.input.as_mut().unwrap();
        write!(input, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        input.flush().unwrap();
    }

    /// Takes the next message; returns it if it is an answer.
    fn receive(&mut self) -> Option<Value> {
        let message = self
            .messages
            .recv_timeout(TIMEOUT)
            .expect("the server says something");
        let Some(method) = message["method"].as_str() else {
            return Some(message);
        };
        if method == "textDocument/publishDiagnostics" {
            let uri = message["params"]["uri"].as_str().unwrap().to_owned();
            self.published.insert(uri, message["params"].clone());
        } else {
            self.server_requests.push(method.to_owned());
            let id = message["id"].clone();
            self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": null }));
        }
        None
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn read_message(output: &mut impl BufRead) -> Option<Value> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.parse().ok();
        }
    }
    let mut body = vec![0; length?];
    output.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn write_file(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
