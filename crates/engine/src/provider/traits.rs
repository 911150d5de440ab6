//! What every kind of resource provides. What only some kinds can do is in `capabilities`.

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    model::{
        address::Address,
        change::{Change, Effects},
        schema::{Problem, Schema},
    },
    provider::{erased::Capabilities, error::ProviderError, host::Host},
};

/// A kind of resource on hosts of type `H`: a schema, `read` and `apply`; the rest has defaults.
pub trait Provider<H: Host>: Sized + Send + Sync + 'static {
    /// The word that users write.
    const KIND: &'static str;

    /// What the kind can do beyond this trait: `Capabilities::new().importable()` declares that it implements
    /// [`Importable`](super::capabilities::Importable).
    const CAPABILITIES: Capabilities<H, Self> = Capabilities::new();

    /// Managed attributes. `None` in a desired state: leave alone. `None` in an observed state: cannot be observed.
    /// Values are canonical: two states that mean the same serialise to the same JSON.
    type State: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// What a user may write for this kind.
    fn schema(&self) -> Schema;

    /// Says what is wrong with a name. Pure.
    fn check_name(&self, _name: &str) -> Result<(), Problem> {
        Ok(())
    }

    /// Says what is wrong with a desired state as a whole; single attributes are checked by the schema. Pure.
    fn check(&self, _name: &str, _desired: &Self::State) -> Vec<Problem> {
        vec![]
    }

    /// Completes a desired state from the host: turns `Input` attributes into compared ones, and says what can never hold here.
    /// Compared attributes that are set already stay: then it is a recorded state to restore, not a request of a user.
    fn prepare(
        &self,
        _host: &H::Reader,
        _name: &str,
        desired: Self::State,
    ) -> impl Future<Output = Result<Self::State, Vec<Problem>>> + Send {
        async move { Ok(desired) }
    }

    /// Reads all `names` in one batch: one request to a daemon, one `iptables-save`, however many names.
    /// The answers stand in the order of `names`; `None` means that it does not exist.
    fn read(
        &self,
        host: &H::Reader,
        names: &[&str],
    ) -> impl Future<Output = Result<Vec<Option<Self::State>>, ProviderError>> + Send;

    /// Makes changes, at most [`max_batch`](crate::model::schema::Lifecycle::max_batch), in order. The engine has just checked that
    /// each `before` still holds.
    fn apply(
        &self,
        host: &H::Writer,
        changes: Vec<(&str, Change<Self::State>)>,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send;

    /// Addresses that this one needs first, if the spec has them; edges that the user need not write.
    fn requires(&self, _name: &str, _desired: &Self::State) -> Vec<Address> {
        vec![]
    }

    /// What the change costs and may break.
    fn effects(&self, _name: &str, _change: &Change<Self::State>) -> Effects {
        Effects::default()
    }
}
