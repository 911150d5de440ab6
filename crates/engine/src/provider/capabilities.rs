//! What only some kinds of resource can do, one trait each. A kind implements the trait and declares it in
//! [`Provider::CAPABILITIES`]; the engine treats a kind that does not as the defaults here say.

use std::{collections::BTreeSet, future::Future, time::Duration};

use crate::{
    model::{
        address::Address,
        change::Change,
        completion::CompletionTarget,
        drift::{Drift, Evidence},
        listing::{Export, Listing},
        schema::Problem,
        state::Desired,
    },
    provider::{error::ProviderError, host::Host, traits::Provider},
};

/// A kind that not every resource of can be absent.
pub trait Removable<H: Host>: Provider<H> {
    /// Says why no resource of this name can be asked to be absent. Pure.
    fn check_absent(&self, _name: &str) -> Result<(), Problem> {
        Ok(())
    }

    /// Lists the reasons why the resource cannot be absent on this host.
    fn prepare_absent(
        &self,
        _host: &H::Reader,
        _name: &str,
    ) -> impl Future<Output = Result<(), Vec<Problem>>> + Send {
        async { Ok(()) }
    }
}

/// A kind whose rollback is more than the reverse change.
pub trait Reversible<H: Host>: Provider<H> {
    /// Copies what the state before a change refers to but does not hold (the bytes behind a digest), so that it can be
    /// restored later. Called before the journal entry of the step, never during rollback.
    fn back_up(
        &self,
        _host: &H::Writer,
        _name: &str,
        _change: &Change<Self::State>,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send {
        async { Ok(()) }
    }

    /// Makes changes that lead back to where a failed run began. What the run itself made holds no data of anybody yet, so
    /// it need not be kept.
    fn roll_back(
        &self,
        host: &H::Writer,
        changes: Vec<(&str, Change<Self::State>)>,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send {
        self.apply(host, changes)
    }

    /// Names what exists now that removing the resource would leave and that no state shows, such as what an installer made.
    /// What a failed run adds to it is reported, not removed: nobody could tell whose it is.
    fn remnants(
        &self,
        _host: &H::Reader,
        _name: &str,
    ) -> impl Future<Output = BTreeSet<String>> + Send {
        async { BTreeSet::new() }
    }

    /// Removes what a killed `apply` of this name may have left beside the resource, such as a temporary file.
    /// Called before rollback and recovery read the resource.
    fn remove_partial(
        &self,
        _host: &H::Writer,
        _name: &str,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send {
        async { Ok(()) }
    }
}

/// A kind that is about whether something works.
pub trait Probeable<H: Host>: Provider<H> {
    /// Tests whether it works; says why not. Called before the first step of a run and after the last one. `None`: this resource
    /// is not tested.
    fn probe(
        &self,
        host: &H::Writer,
        name: &str,
        desired: &Self::State,
    ) -> impl Future<Output = Option<Result<(), String>>> + Send;

    /// How long after the last step it may take until it works.
    fn probe_timeout(&self, _name: &str, _desired: &Self::State) -> Duration {
        Duration::ZERO
    }
}

/// A kind that import writes down.
pub trait Importable<H: Host>: Provider<H> {
    /// Names the resources that import writes, and says what becomes of the others.
    fn list(&self, host: &H::Reader)
    -> impl Future<Output = Result<Listing, ProviderError>> + Send;

    /// Says what import writes of a resource that [`Self::list`] has named, now that it was read. Columns become what users write,
    /// and what a new resource gets anyway is left out.
    fn export(
        &self,
        _host: &H::Reader,
        _name: &str,
        state: Self::State,
    ) -> impl Future<Output = Result<Export<Self::State>, ProviderError>> + Send {
        async move { Ok(Export::as_is(state)) }
    }
}

/// A kind that knows better than its schema what can be written on this host.
pub trait Completable<H: Host>: Provider<H> {
    /// Names what could be written into a gap on this host, for an editor. What cannot be read is left out.
    fn complete(
        &self,
        host: &H::Reader,
        name: &str,
        gap: &CompletionTarget,
    ) -> impl Future<Output = Vec<String>> + Send;
}

/// A kind whose resources come with others.
pub trait Composite<H: Host>: Provider<H> {
    /// Resources that are added with this one unless the spec writes them, each with what is desired of it. They come after it.
    fn implies(&self, name: &str, desired: &Self::State) -> Vec<(Address, Desired)>;
}

/// A kind that a change of its dependencies makes due, such as a restart.
pub trait Reactive<H: Host>: Provider<H> {
    /// The state that is desired, beyond what the spec says, because resources that it needs will have changed.
    /// `None`: that does not matter.
    fn after_dependency_change(
        &self,
        name: &str,
        before: &Self::State,
        by: &[&Address],
    ) -> Option<Self::State>;
}

/// A kind whose drift can be noticed at once or attributed.
pub trait Watchable<H: Host>: Provider<H> {
    /// Triggers that signal a possible change; `desired` is `None` if it must be absent. Resources without triggers are polled.
    fn triggers(&self, _name: &str, _desired: Option<&Self::State>) -> Vec<H::Trigger> {
        vec![]
    }

    /// Says who or what has changed it since a run reached it, by evidence alone; `None` without proof.
    fn attribute_drift(
        &self,
        _host: &H::Reader,
        _name: &str,
        _drift: &Drift<Self::State>,
    ) -> impl Future<Output = Option<Evidence>> + Send {
        async { None }
    }
}

/// A kind that says which parts of the host its changes touch.
pub trait Footprint<H: Host>: Provider<H> {
    /// Patterns of the paths that change with it, `*` for anything: a rehearsal reports every other change as unplanned. The kernel
    /// and stead's own directories need not be named.
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        vec![]
    }

    /// Why a copy of the host on the same kernel cannot make the change without changing the host itself, if it cannot.
    fn blocks_rehearsal(&self, _name: &str, _change: &Change<Self::State>) -> Option<&'static str> {
        None
    }
}
