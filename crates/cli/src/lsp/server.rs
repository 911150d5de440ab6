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
    context::Session,
    exit::Exit,
    lsp::{
        completion::completion,
        definition::definition,
        diagnostics::Checker,
        documents::{Documents, path_of},
        host_cache::Known,
        hover::hover,
        line_index::{Encoding, Lines},
        position::Place,
    },
    spec_input::Told,
};

/// The editor does not listen any more.
#[derive(Debug, thiserror::Error)]
#[error("the editor is gone")]
pub(crate) struct Gone;

/// What one editor is served with.
pub(crate) struct Server {
    connection: Connection,
    session: Arc<Session>,
    told: Told,
    known: Known,
    documents: Documents,
    stage: Stage,
    encoding: Encoding,
    can_watch: bool,
    /// Takes texts to be checked; there once the editor has introduced itself.
    to_check: Option<Sender<Documents>>,
    /// What was said of which file, so that it is taken back.
    published: BTreeMap<String, Uri>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    New,
    Running,
    Ending,
}

type Checked = Vec<PublishDiagnosticsParams>;

impl Server {
    pub(crate) fn new(session: Session, told: Told, connection: Connection) -> Self {
        let session = Arc::new(session);
        Self {
            connection,
            known: Known::new(&session, told.facts.clone()),
            session,
            told,
            documents: Documents::default(),
            stage: Stage::New,
            encoding: Encoding::Utf16,
            can_watch: false,
            to_check: None,
            published: BTreeMap::new(),
        }
    }

    /// Listens and answers until the editor ends it or goes away.
    pub(crate) fn serve(mut self) -> Result<Exit, Gone> {
        let (done, checked) = unbounded::<Checked>();
        loop {
            select! {
                recv(self.connection.receiver) -> message => match message {
                    Ok(Message::Request(request)) => {
                        let response = self.request(request, &done);
                        self.send(response.into())?;
                    }
                    Ok(Message::Notification(it)) if it.method == ExitNotification::METHOD => {
                        return Ok(if self.stage == Stage::Ending { Exit::Done } else { Exit::Failed });
                    }
                    Ok(Message::Notification(notification)) => self.notification(notification)?,
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

    fn send(&self, message: Message) -> Result<(), Gone> {
        self.connection.sender.send(message).map_err(|_| Gone)
    }

    fn notify<N: lsp_types::notification::Notification>(
        &self,
        params: N::Params,
    ) -> Result<(), Gone> {
        self.send(Notification::new(N::METHOD.to_owned(), params).into())
    }

    fn request(&mut self, request: Request, done: &Sender<Checked>) -> Response {
        let refused = |code: ErrorCode, message: &str| {
            Response::new_err(request.id.clone(), code as i32, message.to_owned())
        };
        match (self.stage, request.method.as_str()) {
            (Stage::New, Initialize::METHOD) => {
                answer::<Initialize>(request, |params| self.initialize(&params, done))
            }
            (Stage::New, _) => refused(
                ErrorCode::ServerNotInitialized,
                "`initialize` comes before everything else",
            ),
            (Stage::Running, Shutdown::METHOD) => {
                self.stage = Stage::Ending;
                Response::new_ok(request.id, ())
            }
            (Stage::Running, Completion::METHOD) => answer::<Completion>(request, |params| {
                let place = self.place(&params.text_document_position)?;
                Some(CompletionResponse::List(completion(&place, &self.known)))
            }),
            (Stage::Running, HoverRequest::METHOD) => answer::<HoverRequest>(request, |params| {
                let place = self.place(&params.text_document_position_params)?;
                hover(&place, &self.told, &self.known)
            }),
            (Stage::Running, GotoDefinition::METHOD) => {
                answer::<GotoDefinition>(request, |params| {
                    let place = self.place(&params.text_document_position_params)?;
                    Some(GotoDefinitionResponse::Array(definition(&place)))
                })
            }
            (Stage::Running, Formatting::METHOD) => {
                answer::<Formatting>(request, |params| self.formatted(&params.text_document.uri))
            }
            (Stage::Running, Initialize::METHOD) | (Stage::Ending, _) => {
                refused(ErrorCode::InvalidRequest, "it is too late for that")
            }
            (Stage::Running, method) => {
                let message = format!("`{method}` is not known here");
                refused(ErrorCode::MethodNotFound, &message)
            }
        }
    }

    fn initialize(
        &mut self,
        params: &InitializeParams,
        done: &Sender<Checked>,
    ) -> InitializeResult {
        self.stage = Stage::Running;
        let general = params.capabilities.general.as_ref();
        let encodings = general.and_then(|general| general.position_encodings.as_ref());
        if encodings.is_some_and(|all| all.contains(&PositionEncodingKind::UTF8)) {
            self.encoding = Encoding::Utf8;
        }
        let workspace = params.capabilities.workspace.as_ref();
        let watching = workspace.and_then(|workspace| workspace.did_change_watched_files);
        self.can_watch = watching.is_some_and(|it| it.dynamic_registration == Some(true));
        self.to_check = self.checking(done.clone());
        InitializeResult {
            capabilities: capabilities(self.encoding),
            server_info: Some(ServerInfo {
                name: "stead".to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
        }
    }

    /// Begins the thread that checks texts, always the newest.
    fn checking(&self, done: Sender<Checked>) -> Option<Sender<Documents>> {
        let checker = Checker {
            session: self.session.clone(),
            told: self.told.clone(),
            known: self.known.clone(),
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

    fn notification(&mut self, notification: Notification) -> Result<(), Gone> {
        if self.stage != Stage::Running {
            return Ok(());
        }
        match notification.method.as_str() {
            Initialized::METHOD => return self.watch(),
            DidOpenTextDocument::METHOD => {
                let Some(DidOpenTextDocumentParams { text_document }) = read(notification) else {
                    return Ok(());
                };
                let (uri, version) = (text_document.uri, text_document.version);
                self.documents.open(uri, version, text_document.text);
            }
            DidChangeTextDocument::METHOD => {
                let Some(mut params) = read::<DidChangeTextDocumentParams>(notification) else {
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
                let Some(DidCloseTextDocumentParams { text_document }) = read(notification) else {
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
    fn watch(&self) -> Result<(), Gone> {
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

    fn publish(&mut self, found: Checked) -> Result<(), Gone> {
        let key = |uri: &Uri| uri.as_str().to_owned();
        let named = found.iter().map(|it| (key(&it.uri), it.uri.clone()));
        let mut before = std::mem::replace(&mut self.published, named.collect());
        for one in found {
            before.remove(one.uri.as_str());
            self.notify::<PublishDiagnostics>(one)?;
        }
        for (_, uri) in before {
            self.notify::<PublishDiagnostics>(PublishDiagnosticsParams::new(uri, vec![], None))?;
        }
        Ok(())
    }

    fn place(&self, at: &TextDocumentPositionParams) -> Option<Place<'_>> {
        Place::find(&self.documents, &self.session.registry, self.encoding, at)
    }

    /// Returns what lays a text out; nothing where that has mistakes of grammar.
    fn formatted(&self, uri: &Uri) -> Option<Vec<TextEdit>> {
        let path = path_of(uri);
        let document = self.documents.get(&path)?;
        let source = load(path, document.text.as_bytes().to_vec()).ok()?;
        let new = format(&source).ok()?;
        if new == source.text {
            return Some(vec![]);
        }
        let whole = Lines::new(&source.text, self.encoding).range(0..source.text.len());
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
fn answer<R: lsp_types::request::Request>(
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
fn read<T: DeserializeOwned>(notification: Notification) -> Option<T> {
    serde_json::from_value(notification.params).ok()
}
