//! The kinds of a build, by name.

use std::{collections::BTreeMap, marker::PhantomData};

use crate::{
    model::address::Address,
    provider::{
        erased::{Adapter, DynProvider},
        host::Host,
        traits::Provider,
    },
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
    pub fn provider_of(&self, address: &Address) -> Result<&dyn DynProvider<H>, UnknownKind> {
        self.get(&address.kind)
            .ok_or_else(|| UnknownKind(address.clone()))
    }
}

/// A plan or journal names a kind that this build does not know.
#[derive(Debug, thiserror::Error)]
#[error("{0}: this version of stead does not have the kind `{kind}`", kind = .0.kind)]
pub struct UnknownKind(pub Address);
