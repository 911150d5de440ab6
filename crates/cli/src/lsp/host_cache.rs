//! What is known about this host: read on a thread of its own, once for each query.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use stead_engine::model::{completion::CompletionTarget, facts::Facts};

use crate::context::Context;

/// How long one question to the host may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// What is known about this host.
#[derive(Clone)]
pub(crate) struct HostCache {
    context: Arc<Context>,
    facts: Arc<Cache<(), Facts>>,
    suggestions: Arc<Cache<HostQuery, Vec<String>>>,
}

/// A gap of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostQuery {
    pub(crate) kind: String,
    /// The name of the resource; empty where the name itself is asked for.
    pub(crate) name: String,
    pub(crate) gap: CompletionTarget,
}

impl HostCache {
    /// Begins to read the facts unless they are `told`.
    pub(crate) fn new(context: &Arc<Context>, facts: Option<Facts>) -> Self {
        let cache = Self {
            context: context.clone(),
            facts: Arc::default(),
            suggestions: Arc::default(),
        };
        match facts {
            Some(facts) => cache.facts.insert((), facts),
            None => drop(cache.facts(Duration::ZERO)),
        }
        cache
    }

    /// Returns the facts, if they are there in time.
    pub(crate) fn facts(&self, wait: Duration) -> Option<Facts> {
        let context = self.context.clone();
        self.facts
            .get(&(), wait, move || context.facts().unwrap_or_default())
    }

    /// Returns what this host suggests, if that is there in time.
    pub(crate) fn suggestions(&self, query: &HostQuery, wait: Duration) -> Option<Vec<String>> {
        let context = self.context.clone();
        let question = query.clone();
        self.suggestions.get(query, wait, move || {
            let answer = context.run_read_only(async |registry, reader| {
                let kind = registry.get(&question.kind)?;
                let suggested = kind
                    .completable()?
                    .complete(reader, &question.name, &question.gap);
                tokio::time::timeout(QUERY_TIMEOUT, suggested).await.ok()
            });
            answer.ok().flatten().unwrap_or_default()
        })
    }
}

/// Answers that come in their own time.
struct Cache<Q, A> {
    answers: Mutex<BTreeMap<Q, Option<A>>>,
    arrived: Condvar,
}

impl<Q, A> Default for Cache<Q, A> {
    fn default() -> Self {
        Self {
            answers: Mutex::default(),
            arrived: Condvar::new(),
        }
    }
}

impl<Q: Ord + Clone + Send + 'static, A: Clone + Send + 'static> Cache<Q, A> {
    /// Returns an answer if it is there in time. The first who asks has it found out.
    fn get(
        self: &Arc<Self>,
        question: &Q,
        wait: Duration,
        compute: impl FnOnce() -> A + Send + 'static,
    ) -> Option<A> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if !answers.contains_key(question) {
            answers.insert(question.clone(), None);
            let (own, question) = (self.clone(), question.clone());
            let thread = thread::Builder::new().name("host".to_owned());
            // Without a thread nothing is known, now and later.
            drop(thread.spawn(move || own.insert(question, compute())));
        }
        let is_open = |answers: &mut BTreeMap<Q, Option<A>>| {
            answers.get(question).is_some_and(Option::is_none)
        };
        let waited = self.arrived.wait_timeout_while(answers, wait, is_open);
        let (answers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        answers.get(question).cloned().flatten()
    }

    fn insert(&self, question: Q, answer: A) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(question, Some(answer));
        self.arrived.notify_all();
    }
}
