//! The kinds of a build, and the one adapter between their `State` types and JSON. Nothing else knows both worlds.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    time::Duration,
};

use futures::future::BoxFuture;
use serde::Deserialize;

use crate::{
    model::{
        address::Address,
        change::{Change, Effects},
        completion::Gap,
        drift::{Drift, Evidence},
        listing::{Listing, Written},
        schema::{Problem, Schema},
        state::{Desired, State},
    },
    provider::traits::{Host, Provider, ProviderError},
};

/// The kinds of a build, by name.
pub struct Registry<H: Host> {
    kinds: BTreeMap<&'static str, Box<dyn DynProvider<H>>>,
}

impl<H: Host> Default for Registry<H> {
    fn default() -> Self {
        Self {
            kinds: BTreeMap::new(),
        }
    }
}

impl<H: Host> Registry<H> {
    /// Adds a kind.
    ///
    /// # Panics
    /// If the kind is there already: the list is written in one place and this is a mistake in it.
    #[must_use]
    pub fn with<P: Provider<H>>(mut self, provider: P) -> Self {
        let clash = self
            .kinds
            .insert(P::KIND, Box::new(Adapter(provider, PhantomData)))
            .is_some();
        assert!(!clash, "kind `{}` is registered twice", P::KIND);
        self
    }

    /// Returns a kind by its name.
    pub fn get(&self, kind: &str) -> Option<&dyn DynProvider<H>> {
        self.kinds.get(kind).map(Box::as_ref)
    }

    /// Returns all kinds, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &dyn DynProvider<H>)> {
        self.kinds.iter().map(|(name, kind)| (*name, kind.as_ref()))
    }

    /// Returns the kind of an address that a checked spec, plan or journal holds.
    ///
    /// # Errors
    /// If this build does not know the kind: the plan or journal comes from another version.
    pub fn of(&self, address: &Address) -> Result<&dyn DynProvider<H>, UnknownKind> {
        self.get(&address.kind)
            .ok_or_else(|| UnknownKind(address.clone()))
    }
}

/// A plan or journal names a kind that this build does not know.
#[derive(Debug, thiserror::Error)]
#[error("{0}: this version of stead does not know the kind `{kind}`", kind = .0.kind)]
pub struct UnknownKind(pub Address);

/// A provider with its `State` erased to JSON.
pub trait DynProvider<H: Host>: Send + Sync {
    /// See [`Provider::BATCH`].
    fn batch(&self) -> usize;
    /// See [`Provider::RESTARTS`].
    fn restarts(&self) -> bool;
    /// See [`Provider::IS_RUNTIME`].
    fn is_runtime(&self) -> bool;
    /// See [`Provider::LEAVES_TRACES`].
    fn leaves_traces(&self) -> bool;
    /// See [`Provider::NEEDS_INIT`].
    fn needs_init(&self) -> bool;
    /// See [`Provider::schema`].
    fn schema(&self) -> Schema;
    /// See [`Provider::check_name`].
    fn check_name(&self, name: &str) -> Result<(), Problem>;
    /// See [`Provider::check`]; also says when the attributes do not form a state.
    fn check(&self, name: &str, desired: &State) -> Vec<Problem>;
    /// See [`Provider::check_absent`].
    fn check_absent(&self, name: &str) -> Result<(), Problem>;
    /// See [`Provider::prepare`].
    fn prepare<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
        desired: State,
    ) -> BoxFuture<'a, Result<State, Vec<Problem>>>;
    /// See [`Provider::prepare_absent`].
    fn prepare_absent<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), Vec<Problem>>>;
    /// See [`Provider::read`].
    fn read<'a>(
        &'a self,
        host: &'a H::Reader,
        names: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<Option<State>>, ProviderError>>;
    /// See [`Provider::back_up`].
    fn back_up<'a>(
        &'a self,
        host: &'a H::Writer,
        name: &'a str,
        change: &'a Change<State>,
    ) -> BoxFuture<'a, Result<(), ProviderError>>;
    /// See [`Provider::apply`].
    fn apply<'a>(
        &'a self,
        host: &'a H::Writer,
        changes: Vec<(&'a str, Change<State>)>,
    ) -> BoxFuture<'a, Result<(), ProviderError>>;
    /// See [`Provider::roll_back`].
    fn roll_back<'a>(
        &'a self,
        host: &'a H::Writer,
        changes: Vec<(&'a str, Change<State>)>,
    ) -> BoxFuture<'a, Result<(), ProviderError>>;
    /// See [`Provider::probe`].
    fn probe<'a>(
        &'a self,
        host: &'a H::Writer,
        name: &'a str,
        desired: &'a State,
    ) -> BoxFuture<'a, Option<Result<(), String>>>;
    /// See [`Provider::probe_timeout`].
    fn probe_timeout(&self, desired: &State) -> Duration;
    /// See [`Provider::remnants`].
    fn remnants<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
    ) -> BoxFuture<'a, BTreeSet<String>>;
    /// See [`Provider::remove_partial`].
    fn remove_partial<'a>(
        &'a self,
        host: &'a H::Writer,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), ProviderError>>;
    /// See [`Provider::list`].
    fn list<'a>(&'a self, host: &'a H::Reader) -> BoxFuture<'a, Result<Listing, ProviderError>>;
    /// See [`Provider::export`].
    fn export<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
        state: State,
    ) -> BoxFuture<'a, Result<Written<State>, ProviderError>>;
    /// See [`Provider::complete`].
    fn complete<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
        gap: &'a Gap,
    ) -> BoxFuture<'a, Vec<String>>;
    /// See [`Provider::requires`].
    fn requires(&self, name: &str, desired: &State) -> Vec<Address>;
    /// See [`Provider::implies`].
    fn implies(&self, name: &str, desired: &State) -> Vec<(Address, Desired)>;
    /// See [`Provider::after_dependency_change`].
    fn after_dependency_change(&self, name: &str, before: &State, by: &[&Address])
    -> Option<State>;
    /// See [`Provider::triggers`].
    fn triggers(&self, name: &str, desired: &Desired) -> Vec<H::Trigger>;
    /// See [`Provider::managed_paths`].
    fn managed_paths(&self, name: &str) -> Vec<String>;
    /// See [`Provider::blocks_rehearsal`].
    fn blocks_rehearsal(&self, name: &str, change: &Change<State>) -> Option<&'static str>;
    /// See [`Provider::attribute_drift`].
    fn attribute_drift<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
        drift: Drift<State>,
    ) -> BoxFuture<'a, Option<Evidence>>;
    /// See [`Provider::effects`].
    fn effects(&self, name: &str, change: &Change<State>) -> Effects;
}

/// A change with the name of what it changes.
type NamedChange<'a, S> = (&'a str, Change<S>);

struct Adapter<P, H>(P, PhantomData<fn() -> H>);

impl<P: Provider<H>, H: Host> Adapter<P, H> {
    fn state(name: &str, state: State) -> Result<P::State, ProviderError> {
        serde_json::from_value(state).map_err(|error| Self::not_understood(name, error))
    }

    /// As [`Self::state`], of one that somebody else keeps.
    fn state_of(name: &str, state: &State) -> Result<P::State, ProviderError> {
        Deserialize::deserialize(state).map_err(|error| Self::not_understood(name, error))
    }

    fn not_understood(name: &str, error: serde_json::Error) -> ProviderError {
        let address = Address::new(P::KIND, name);
        ProviderError::new(address, "understand its recorded state", error)
    }

    fn typed(
        changes: Vec<NamedChange<'_, State>>,
    ) -> Result<Vec<NamedChange<'_, P::State>>, ProviderError> {
        changes
            .into_iter()
            .map(|(name, change)| Ok((name, change.try_map(|state| Self::state(name, state))?)))
            .collect()
    }

    fn erase(state: &P::State) -> State {
        serde_json::to_value(state).expect("a State has string keys and no failing serialisers")
    }
}

impl<P: Provider<H>, H: Host> DynProvider<H> for Adapter<P, H> {
    fn batch(&self) -> usize {
        P::BATCH
    }

    fn restarts(&self) -> bool {
        P::RESTARTS
    }

    fn is_runtime(&self) -> bool {
        P::IS_RUNTIME
    }

    fn leaves_traces(&self) -> bool {
        P::LEAVES_TRACES
    }

    fn needs_init(&self) -> bool {
        P::NEEDS_INIT
    }

    fn schema(&self) -> Schema {
        self.0.schema()
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        self.0.check_name(name)
    }

    fn check(&self, name: &str, desired: &State) -> Vec<Problem> {
        match Deserialize::deserialize(desired) {
            Ok(state) => self.0.check(name, &state),
            Err(error) => vec![Problem::new(error.to_string())],
        }
    }

    fn check_absent(&self, name: &str) -> Result<(), Problem> {
        self.0.check_absent(name)
    }

    fn prepare<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
        desired: State,
    ) -> BoxFuture<'a, Result<State, Vec<Problem>>> {
        Box::pin(async move {
            let desired = serde_json::from_value(desired)
                .map_err(|error| vec![Problem::new(error.to_string())])?;
            Ok(Self::erase(&self.0.prepare(host, name, desired).await?))
        })
    }

    fn prepare_absent<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), Vec<Problem>>> {
        Box::pin(self.0.prepare_absent(host, name))
    }

    fn read<'a>(
        &'a self,
        host: &'a H::Reader,
        names: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<Option<State>>, ProviderError>> {
        Box::pin(async move {
            let states = self.0.read(host, names).await?;
            assert_eq!(
                states.len(),
                names.len(),
                "{}: one answer for each name",
                P::KIND
            );
            let states = states.into_iter();
            Ok(states
                .map(|state| state.map(|state| Self::erase(&state)))
                .collect())
        })
    }

    fn back_up<'a>(
        &'a self,
        host: &'a H::Writer,
        name: &'a str,
        change: &'a Change<State>,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let change = change
                .as_ref()
                .try_map(|state| Self::state_of(name, state))?;
            self.0.back_up(host, name, &change).await
        })
    }

    fn apply<'a>(
        &'a self,
        host: &'a H::Writer,
        changes: Vec<(&'a str, Change<State>)>,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move { self.0.apply(host, Self::typed(changes)?).await })
    }

    fn roll_back<'a>(
        &'a self,
        host: &'a H::Writer,
        changes: Vec<(&'a str, Change<State>)>,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move { self.0.roll_back(host, Self::typed(changes)?).await })
    }

    fn probe<'a>(
        &'a self,
        host: &'a H::Writer,
        name: &'a str,
        desired: &'a State,
    ) -> BoxFuture<'a, Option<Result<(), String>>> {
        Box::pin(async move {
            match Self::state_of(name, desired) {
                Ok(desired) => self.0.probe(host, name, &desired).await,
                Err(error) => Some(Err(error.to_string())),
            }
        })
    }

    fn probe_timeout(&self, desired: &State) -> Duration {
        Self::state_of("", desired).map_or(Duration::ZERO, |desired| self.0.probe_timeout(&desired))
    }

    fn remnants<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
    ) -> BoxFuture<'a, BTreeSet<String>> {
        Box::pin(self.0.remnants(host, name))
    }

    fn remove_partial<'a>(
        &'a self,
        host: &'a H::Writer,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.0.remove_partial(host, name))
    }

    fn list<'a>(&'a self, host: &'a H::Reader) -> BoxFuture<'a, Result<Listing, ProviderError>> {
        Box::pin(self.0.list(host))
    }

    fn export<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
        state: State,
    ) -> BoxFuture<'a, Result<Written<State>, ProviderError>> {
        Box::pin(async move {
            let state = Self::state(name, state)?;
            let written = self.0.export(host, name, state).await?;
            Ok(written.map(|state| Self::erase(&state)))
        })
    }

    fn complete<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
        gap: &'a Gap,
    ) -> BoxFuture<'a, Vec<String>> {
        Box::pin(self.0.complete(host, name, gap))
    }

    fn requires(&self, name: &str, desired: &State) -> Vec<Address> {
        Self::state_of(name, desired).map_or_else(|_| vec![], |state| self.0.requires(name, &state))
    }

    fn implies(&self, name: &str, desired: &State) -> Vec<(Address, Desired)> {
        Self::state_of(name, desired).map_or_else(|_| vec![], |state| self.0.implies(name, &state))
    }

    fn after_dependency_change(
        &self,
        name: &str,
        before: &State,
        by: &[&Address],
    ) -> Option<State> {
        let before = Self::state_of(name, before).ok()?;
        self.0
            .after_dependency_change(name, &before, by)
            .as_ref()
            .map(Self::erase)
    }

    fn triggers(&self, name: &str, desired: &Desired) -> Vec<H::Trigger> {
        let desired = desired.state();
        let desired = desired.and_then(|state| Self::state_of(name, state).ok());
        self.0.triggers(name, desired.as_ref())
    }

    fn managed_paths(&self, name: &str) -> Vec<String> {
        self.0.managed_paths(name)
    }

    fn blocks_rehearsal(&self, name: &str, change: &Change<State>) -> Option<&'static str> {
        let change = change.as_ref();
        let change = change.try_map(|state| Self::state_of(name, state)).ok()?;
        self.0.blocks_rehearsal(name, &change)
    }

    fn attribute_drift<'a>(
        &'a self,
        host: &'a H::Reader,
        name: &'a str,
        drift: Drift<State>,
    ) -> BoxFuture<'a, Option<Evidence>> {
        Box::pin(async move {
            let drift = drift.try_map(|state| Self::state(name, state)).ok()?;
            self.0.attribute_drift(host, name, &drift).await
        })
    }

    fn effects(&self, name: &str, change: &Change<State>) -> Effects {
        change
            .as_ref()
            .try_map(|state| Self::state_of(name, state))
            .map_or_else(
                |_| Effects::default(),
                |change| self.0.effects(name, &change),
            )
    }
}
