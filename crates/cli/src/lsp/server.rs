//! The conversation with the editor.

use std::{collections::BTreeMap, sync::Arc, thread};

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use lsp_server::{Connection, ErrorCode, Message, Notification, Request, Response};
use lsp_types::{
    CompletionOptions, CompletionResponse, DidChangeTextDocumentParams,
    DidChangeWatchedFilesRegistrationOptions, DidCloseTextDocumentParams,
    DidOpenTextDocumentParams, FileSystemWatcher, GlobPattern, GotoDefinitionResponse,
    HoverProviderCapability, InitializeParams, InitializeResult, OneOf, PositionEncodingKind,
    PublishDiagnosticsParams, Registration, RegistrationParams, ServerCapabilities, ServerInfo,
    TextDocumentPositionParams, TextDocumentSyncCapability, TextDocumentSyncKind,
    TextDocumentSyncOptions, TextDocumentSyncSaveOptions, TextEdit, Uri,
    notification::{
        DidChangeTextDocument, DidChangeWatchedFiles, DidCloseTextDocument, DidOpenTextDocument,
        DidSaveTextDocument, Exit as ExitNotification, Initialized, Notification as _,
        PublishDiagnostics,
    },
    request::{
        Completion, Formatting, GotoDefinition, HoverRequest, Initialize, RegisterCapability,
        Request as _, Shutdown,
    },
};
use serde::de::DeserializeOwned;
use stead_engine::language::{format::format, load::load};

use crate::{
    context::Context,
    exit::Exit,
    lsp::{
        completion::completion,
        definition::definition,
        diagnostics::Checker,
        documents::{Documents, path_of},
        host_cache::HostCache,
        hover::hover,
        line_index::{Encoding, PositionMap},
        position::DocumentPosition,
    },
    spec_input::SpecOverrides,
};

/// The editor does not listen any more.
#[derive(Debug, thiserror::Error)]
#[error("the editor is gone")]
pub(crate) struct ClientGone;

/// What one editor is served with.
pub(crate) struct Server {
    connection: Connection,
    context: Arc<Context>,
    overrides: SpecOverrides,
    cache: HostCache,
    documents: Documents,
    stage: ServerState,
    encoding: Encoding,
    can_watch: bool,
    /// Takes texts to be checked; there once the editor has introduced itself.
    to_check: Option<Sender<Documents>>,
    /// What was said of which file, so that it is cleared.
    published: BTreeMap<String, Uri>,
}

#[derive(Clone, Copy, PartialEq)]
enum ServerState {
    New,
    Running,
    Ending,
}

type FileDiagnostics = Vec<PublishDiagnosticsParams>;

impl Server {
    pub(crate) fn new(context: Context, overrides: SpecOverrides, connection: Connection) -> Self {
        let context = Arc::new(context);
        Self {
            connection,
            cache: HostCache::new(&context, overrides.facts.clone()),
            context,
            overrides,
            documents: Documents::default(),
            stage: ServerState::New,
            encoding: Encoding::Utf16,
            can_watch: false,
            to_check: None,
            published: BTreeMap::new(),
        }
    }

    /// Listens and answers until the editor ends it or goes away.
    pub(crate) fn serve(mut self) -> Result<Exit, ClientGone> {
        let (done, checked) = unbounded::<FileDiagnostics>();
        loop {
            select! {
                recv(self.connection.receiver) -> message => match message {
                    Ok(Message::Request(request)) => {
                        let response = self.handle_request(request, &done);
                        self.send(response.into())?;
                    }
                    Ok(Message::Notification(it)) if it.method == ExitNotification::METHOD => {
                        return Ok(if self.stage == ServerState::Ending { Exit::Done } else { Exit::Failed });
                    }
                    Ok(Message::Notification(notification)) => self.handle_notification(notification)?,
                    Ok(Message::Response(_)) => {}
                    // It went away without a word.
                    Err(_) => return Ok(Exit::Failed),
                },
                recv(checked) -> found => if let Ok(found) = found {
                    self.publish(found)?;
                },
            }
        }
    }

    fn send(&self, message: Message) -> Result<(), ClientGone> {
        self.connection.sender.send(message).map_err(|_| ClientGone)
    }

    fn notify<N: lsp_types::notification::Notification>(
        &self,
        params: N::Params,
    ) -> Result<(), ClientGone> {
        self.send(Notification::new(N::METHOD.to_owned(), params).into())
    }

    fn handle_request(&mut self, request: Request, done: &Sender<FileDiagnostics>) -> Response {
        let refused = |code: ErrorCode, message: &str| {
            Response::new_err(request.id.clone(), code as i32, message.to_owned())
        };
        match (self.stage, request.method.as_str()) {
            (ServerState::New, Initialize::METHOD) => {
                respond::<Initialize>(request, |params| self.initialize(&params, done))
            }
            (ServerState::New, _) => refused(
                ErrorCode::ServerNotInitialized,
                "`initialize` comes before everything else",
            ),
            (ServerState::Running, Shutdown::METHOD) => {
                self.stage = ServerState::Ending;
                Response::new_ok(request.id, ())
            }
            (ServerState::Running, Completion::METHOD) => {
                respond::<Completion>(request, |params| {
                    let position = self.position_of(&params.text_document_position)?;
                    Some(CompletionResponse::List(completion(&position, &self.cache)))
                })
            }
            (ServerState::Running, HoverRequest::METHOD) => {
                respond::<HoverRequest>(request, |params| {
                    let position = self.position_of(&params.text_document_position_params)?;
                    hover(&position, &self.overrides, &self.cache)
                })
            }
            (ServerState::Running, GotoDefinition::METHOD) => {
                respond::<GotoDefinition>(request, |params| {
                    let position = self.position_of(&params.text_document_position_params)?;
                    Some(GotoDefinitionResponse::Array(definition(&position)))
                })
            }
            (ServerState::Running, Formatting::METHOD) => {
                respond::<Formatting>(request, |params| {
                    self.format_edits(&params.text_document.uri)
                })
            }
            (ServerState::Running, Initialize::METHOD) | (ServerState::Ending, _) => {
                refused(ErrorCode::InvalidRequest, "it is too late for that")
            }
            (ServerState::Running, method) => {
                let message = format!("`{method}` is not known here");
                refused(ErrorCode::MethodNotFound, &message)
            }
        }
    }

    fn initialize(
        &mut self,
        params: &InitializeParams,
        done: &Sender<FileDiagnostics>,
    ) -> InitializeResult {
        self.stage = ServerState::Running;
        let general = params.capabilities.general.as_ref();
        let encodings = general.and_then(|general| general.position_encodings.as_ref());
        if encodings.is_some_and(|all| all.contains(&PositionEncodingKind::UTF8)) {
            self.encoding = Encoding::Utf8;
        }
        let workspace = params.capabilities.workspace.as_ref();
        let watching = workspace.and_then(|workspace| workspace.did_change_watched_files);
        self.can_watch = watching.is_some_and(|it| it.dynamic_registration == Some(true));
        self.to_check = self.spawn_checker(done.clone());
        InitializeResult {
            capabilities: capabilities(self.encoding),
            server_info: Some(ServerInfo {
                name: "stead".to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
        }
    }

    /// Begins the thread that checks texts, always the newest.
    fn spawn_checker(&self, done: Sender<FileDiagnostics>) -> Option<Sender<Documents>> {
        let checker = Checker {
            context: self.context.clone(),
            overrides: self.overrides.clone(),
            cache: self.cache.clone(),
            encoding: self.encoding,
        };
        let (to_check, waiting): (_, Receiver<Documents>) = unbounded();
        let work = move || {
            while let Ok(mut documents) = waiting.recv() {
                while let Ok(newer) = waiting.try_recv() {
                    documents = newer;
                }
                if done.send(checker.check(&documents)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("check".to_owned()).spawn(work);
        thread.ok().map(|_| to_check)
    }

    fn handle_notification(&mut self, notification: Notification) -> Result<(), ClientGone> {
        if self.stage != ServerState::Running {
            return Ok(());
        }
        match notification.method.as_str() {
            Initialized::METHOD => return self.register_watch(),
            DidOpenTextDocument::METHOD => {
                let Some(DidOpenTextDocumentParams { text_document }) = parse_params(notification)
                else {
                    return Ok(());
                };
                let (uri, version) = (text_document.uri, text_document.version);
                self.documents.open(uri, version, text_document.text);
            }
            DidChangeTextDocument::METHOD => {
                let Some(mut params) = parse_params::<DidChangeTextDocumentParams>(notification)
                else {
                    return Ok(());
                };
                // Each change is the whole text, as was asked for.
                let Some(change) = params.content_changes.pop() else {
                    return Ok(());
                };
                let it = &params.text_document;
                self.documents.change(&it.uri, it.version, change.text);
            }
            DidCloseTextDocument::METHOD => {
                let Some(DidCloseTextDocumentParams { text_document }) = parse_params(notification)
                else {
                    return Ok(());
                };
                self.documents.close(&text_document.uri);
            }
            DidSaveTextDocument::METHOD | DidChangeWatchedFiles::METHOD => {}
            _ => return Ok(()),
        }
        if let Some(to_check) = &self.to_check {
            // The thread ends with this one.
            drop(to_check.send(self.documents.clone()));
        }
        Ok(())
    }

    /// Asks to be told of files that change on disk.
    fn register_watch(&self) -> Result<(), ClientGone> {
        if !self.can_watch {
            return Ok(());
        }
        let options = DidChangeWatchedFilesRegistrationOptions {
            watchers: vec![FileSystemWatcher {
                glob_pattern: GlobPattern::String("**/*.kdl".to_owned()),
                kind: None,
            }],
        };
        let registrations = vec![Registration {
            id: "files".to_owned(),
            method: DidChangeWatchedFiles::METHOD.to_owned(),
            register_options: serde_json::to_value(options).ok(),
        }];
        let params = RegistrationParams { registrations };
        let method = RegisterCapability::METHOD.to_owned();
        self.send(Request::new("watch".to_owned().into(), method, params).into())
    }

    fn publish(&mut self, checked: FileDiagnostics) -> Result<(), ClientGone> {
        let key = |uri: &Uri| uri.as_str().to_owned();
        let named = checked.iter().map(|it| (key(&it.uri), it.uri.clone()));
        let mut before = std::mem::replace(&mut self.published, named.collect());
        for one in checked {
            before.remove(one.uri.as_str());
            self.notify::<PublishDiagnostics>(one)?;
        }
        for (_, uri) in before {
            self.notify::<PublishDiagnostics>(PublishDiagnosticsParams::new(uri, vec![], None))?;
        }
        Ok(())
    }

    fn position_of(&self, at: &TextDocumentPositionParams) -> Option<DocumentPosition<'_>> {
        DocumentPosition::find(&self.documents, &self.context.registry, self.encoding, at)
    }

    /// Returns what lays a text out; nothing where that has mistakes of grammar.
    fn format_edits(&self, uri: &Uri) -> Option<Vec<TextEdit>> {
        let path = path_of(uri);
        let document = self.documents.get(&path)?;
        let source = load(path, document.text.as_bytes().to_vec()).ok()?;
        let new = format(&source).ok()?;
        if new == source.text {
            return Some(vec![]);
        }
        let whole = PositionMap::new(&source.text, self.encoding).range(0..source.text.len());
        Some(vec![TextEdit::new(whole, new)])
    }
}

fn capabilities(encoding: Encoding) -> ServerCapabilities {
    let triggers = ["\"", "=", "(", ":", "/"];
    ServerCapabilities {
        position_encoding: Some(match encoding {
            Encoding::Utf8 => PositionEncodingKind::UTF8,
            Encoding::Utf16 => PositionEncodingKind::UTF16,
        }),
        text_document_sync: Some(TextDocumentSyncCapability::Options(
            TextDocumentSyncOptions {
                open_close: Some(true),
                change: Some(TextDocumentSyncKind::FULL),
                save: Some(TextDocumentSyncSaveOptions::Supported(true)),
                ..TextDocumentSyncOptions::default()
            },
        )),
        completion_provider: Some(CompletionOptions {
            trigger_characters: Some(triggers.map(str::to_owned).to_vec()),
            ..CompletionOptions::default()
        }),
        hover_provider: Some(HoverProviderCapability::Simple(true)),
        definition_provider: Some(OneOf::Left(true)),
        document_formatting_provider: Some(OneOf::Left(true)),
        ..ServerCapabilities::default()
    }
}

/// Answers a request, or says what is wrong with it.
fn respond<R: lsp_types::request::Request>(
    request: Request,
    work: impl FnOnce(R::Params) -> R::Result,
) -> Response {
    match serde_json::from_value(request.params) {
        Ok(params) => Response::new_ok(request.id, work(params)),
        Err(error) => Response::new_err(
            request.id,
            ErrorCode::InvalidParams as i32,
            error.to_string(),
        ),
    }
}

/// Reads what a notification says; nobody waits for an answer, so that one that is not understood is passed over.
fn parse_params<T: DeserializeOwned>(notification: Notification) -> Option<T> {
    serde_json::from_value(notification.params).ok()
}
