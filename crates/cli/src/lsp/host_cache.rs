//! What is known about this host: read on a thread of its own, once for each query.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use stead_engine::model::{completion::Gap, facts::Facts};

use crate::context::Session;

/// How long one question to the host may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is known about this host.
#[derive(Clone)]
pub(crate) struct Known {
    session: Arc<Session>,
    facts: Arc<Shelf<(), Facts>>,
    suggestions: Arc<Shelf<Asked, Vec<String>>>,
}

/// A gap of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) kind: String,
    /// The name of the resource; empty where the name itself is asked for.
    pub(crate) name: String,
    pub(crate) gap: Gap,
}

impl Known {
    /// Begins to read the facts unless they are `told`.
    pub(crate) fn new(session: &Arc<Session>, told: Option<Facts>) -> Self {
        let known = Self {
            session: session.clone(),
            facts: Arc::default(),
            suggestions: Arc::default(),
        };
        match told {
            Some(facts) => known.facts.put((), facts),
            None => drop(known.facts(Duration::ZERO)),
        }
        known
    }

    /// Returns the facts, if they are there in time.
    pub(crate) fn facts(&self, wait: Duration) -> Option<Facts> {
        let session = self.session.clone();
        self.facts
            .get(&(), wait, move || session.facts().unwrap_or_default())
    }

    /// Returns what this host suggests, if that is there in time.
    pub(crate) fn suggestions(&self, asked: &Asked, wait: Duration) -> Option<Vec<String>> {
        let session = self.session.clone();
        let question = asked.clone();
        self.suggestions.get(asked, wait, move || {
            let answer = session.confined(async |registry, reader| {
                let kind = registry.get(&question.kind)?;
                let suggested = kind
                    .completable()?
                    .complete(reader, &question.name, &question.gap);
                tokio::time::timeout(PATIENCE, suggested).await.ok()
            });
            answer.ok().flatten().unwrap_or_default()
        })
    }
}

/// Answers that come in their own time.
struct Shelf<Q, A> {
    answers: Mutex<BTreeMap<Q, Option<A>>>,
    has_come: Condvar,
}

impl<Q, A> Default for Shelf<Q, A> {
    fn default() -> Self {
        Self {
            answers: Mutex::default(),
            has_come: Condvar::new(),
        }
    }
}

impl<Q: Ord + Clone + Send + 'static, A: Clone + Send + 'static> Shelf<Q, A> {
    /// Returns an answer if it is there in time. The first who asks has it found out.
    fn get(
        self: &Arc<Self>,
        question: &Q,
        wait: Duration,
        find_out: impl FnOnce() -> A + Send + 'static,
    ) -> Option<A> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if !answers.contains_key(question) {
            answers.insert(question.clone(), None);
            let (own, question) = (self.clone(), question.clone());
            let thread = thread::Builder::new().name("host".to_owned());
            // Without a thread nothing is known, now and later.
            drop(thread.spawn(move || own.put(question, find_out())));
        }
        let is_open = |answers: &mut BTreeMap<Q, Option<A>>| {
            answers.get(question).is_some_and(Option::is_none)
        };
        let waited = self.has_come.wait_timeout_while(answers, wait, is_open);
        let (answers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        answers.get(question).cloned().flatten()
    }

    fn put(&self, question: Q, answer: A) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(question, Some(answer));
        self.has_come.notify_all();
    }
}
