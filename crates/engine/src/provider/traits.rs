//! What a kind of resource can do. Everything else is derived from this, once, in the engine.

use std::{collections::BTreeSet, error::Error, future::Future, path::Path, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::model::{
    address::Address,
    boot_time::Moment,
    change::{Change, Effects},
    completion::Gap,
    drift::{Drift, Evidence},
    listing::{Listing, Written},
    schema::{Problem, Schema},
    state::Desired,
};

/// A world that resources live in. The real one is a Linux host; the tests of the engine bring their own.
pub trait Host: Send + Sync + 'static {
    /// One moment of the host, read only: what it has read once it need not read again.
    type Reader: Send + Sync + 'static;
    /// The power to change the host.
    type Writer: Send + Sync + 'static;
    /// Something whose change tells that a resource may have moved, such as a file.
    type Trigger: Clone + Ord + Send + Sync + 'static;

    /// Starts a new moment, so that nothing read earlier is believed.
    fn reader(writer: &Self::Writer) -> Self::Reader;

    /// Returns what tells the present boot from every other, or nothing where that cannot be seen.
    fn boot(reader: &Self::Reader) -> String;

    /// Returns the present moment.
    fn now(writer: &Self::Writer) -> Moment;

    /// Sees to it that somebody looks after a run from outside this process, and at each boot, until [`Self::disarm`]. What a kill
    /// in the middle leaves of it does so too, or does nothing.
    fn arm(
        writer: &Self::Writer,
        guard: &Guard<'_>,
    ) -> impl Future<Output = Result<(), GuardError>> + Send;

    /// Ends that, and removes what it has left. Nothing needs to be there.
    fn disarm(
        writer: &Self::Writer,
        run: u64,
    ) -> impl Future<Output = Result<(), GuardError>> + Send;

    /// Looks at what should go on working whatever a run changes. `since` is the end of its last step, or its beginning.
    fn signs(_writer: &Self::Writer, _since: &Moment) -> impl Future<Output = Vec<Sign>> + Send {
        async { vec![] }
    }
}

/// Who is to be looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard<'a> {
    /// The run.
    pub run: u64,
    /// The folder of all runs.
    pub state: &'a Path,
    /// How often.
    pub every: Duration,
}

/// A guard could not be armed or disarmed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempted}")]
pub struct GuardError {
    /// What was attempted, as an infinitive.
    pub attempted: String,
    /// What the system answered.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// Something that should go on working whatever a run changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// What, as the subject of a sentence.
    pub name: &'static str,
    /// How long after the last step it may take until it works again.
    pub patience: Duration,
    /// Why it does not work, if it does not.
    pub fault: Option<String>,
}

/// A kind of resource on hosts of type `H`.
pub trait Provider<H: Host>: Send + Sync + 'static {
    /// The word that users write.
    const KIND: &'static str;

    /// Whether the state is what a running process was started with. Such a change is a restart: it is due when what it needs
    /// has changed, and on the way back it comes last, when all that the process reads is as before.
    const RESTARTS: bool = false;

    /// Whether a reboot loses the state or programs overwrite it, so that the hooks bring it back.
    const IS_RUNTIME: bool = false;

    /// Whether traces of it stay when what brought it goes, such as settings beside what a package brings. Going back then takes
    /// it away itself; otherwise what came with something that a run made goes with that.
    const LEAVES_TRACES: bool = false;

    /// Whether it is there only where an init runs services, so that a clone without one cannot try it.
    const NEEDS_INIT: bool = false;

    /// The most changes that one `apply` carries out together; a step of the journal holds at most this many.
    const BATCH: usize = 1;

    /// Managed attributes. `None` in a desired state: leave alone. `None` in an observed state: cannot be observed.
    /// Values are canonical: two states that mean the same serialise to the same JSON.
    type State: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// What a user may write for this kind.
    fn schema(&self) -> Schema;

    /// Says what is wrong with a name. Pure.
    fn check_name(&self, name: &str) -> Result<(), Problem>;

    /// Says what is wrong with a desired state as a whole; single attributes are checked by the schema. Pure.
    fn check(&self, _name: &str, _desired: &Self::State) -> Vec<Problem> {
        vec![]
    }

    /// Says what is wrong with the wish that a resource does not exist. Pure.
    fn check_absent(&self, _name: &str) -> Result<(), Problem> {
        Ok(())
    }

    /// Completes a desired state from the host: turns `Input` attributes into compared ones, and says what can never hold here.
    /// Compared attributes that are set already stay: then it is a recorded state to go back to, not a wish of a user.
    fn prepare(
        &self,
        _host: &H::Reader,
        _name: &str,
        desired: Self::State,
    ) -> impl Future<Output = Result<Self::State, Vec<Problem>>> + Send {
        async move { Ok(desired) }
    }

    /// Says what stands against a resource's not existing on this host.
    fn prepare_absent(
        &self,
        _host: &H::Reader,
        _name: &str,
    ) -> impl Future<Output = Result<(), Vec<Problem>>> + Send {
        async { Ok(()) }
    }

    /// Reads all `names` in one batch: one request to a daemon, one `iptables-save`, however many names.
    /// The answers stand in the order of `names`; `None` means that it does not exist.
    fn read(
        &self,
        host: &H::Reader,
        names: &[&str],
    ) -> impl Future<Output = Result<Vec<Option<Self::State>>, ProviderError>> + Send;

    /// Puts aside what the state before a change refers to but does not hold (the bytes behind a digest), so that it can be
    /// restored later. Called before the journal entry of the step, never during rollback.
    fn back_up(
        &self,
        _host: &H::Writer,
        _name: &str,
        _change: &Change<Self::State>,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send {
        async move { Ok(()) }
    }

    /// Carries out changes, at most `BATCH`, in order. The engine has just checked that each `before` still holds.
    fn apply(
        &self,
        host: &H::Writer,
        changes: Vec<(&str, Change<Self::State>)>,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send;

    /// Carries out changes that lead back to where a failed run began. What the run itself made holds nothing of anybody's yet, so
    /// that it need not be kept.
    fn roll_back(
        &self,
        host: &H::Writer,
        changes: Vec<(&str, Change<Self::State>)>,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send {
        self.apply(host, changes)
    }

    /// Looks whether something works, if that is what the resource is about; says why not. Asked before the first step of a run
    /// and after the last one.
    fn probe(
        &self,
        _host: &H::Writer,
        _name: &str,
        _desired: &Self::State,
    ) -> impl Future<Output = Option<Result<(), String>>> + Send {
        async { None }
    }

    /// How long after the last step something may take until it works.
    fn probe_timeout(&self, _desired: &Self::State) -> Duration {
        Duration::ZERO
    }

    /// Names what is there now that removing the resource would leave and that no state shows, such as what an installer made.
    /// What a failed run adds to it is reported, not removed: nobody could tell whose it is.
    fn remnants(
        &self,
        _host: &H::Reader,
        _name: &str,
    ) -> impl Future<Output = BTreeSet<String>> + Send {
        async { BTreeSet::new() }
    }

    /// Removes what a killed `apply` of this name may have left beside the resource, such as a temporary file.
    /// Called before rollback and recovery look at the resource.
    fn remove_partial(
        &self,
        _host: &H::Writer,
        _name: &str,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send {
        async move { Ok(()) }
    }

    /// Names what import should write down of this kind, and says what becomes of the rest; nothing unless the kind says which.
    fn list(
        &self,
        _host: &H::Reader,
    ) -> impl Future<Output = Result<Listing, ProviderError>> + Send {
        async move { Ok(Listing::outside("it is not a state of a host")) }
    }

    /// Says what import writes of a resource that [`Self::list`] has named, now that it was read: as it is, unless the kind knows
    /// better. Columns become what users write, and what a new resource gets anyway is left out.
    fn export(
        &self,
        _host: &H::Reader,
        _name: &str,
        state: Self::State,
    ) -> impl Future<Output = Result<Written<Self::State>, ProviderError>> + Send {
        async move { Ok(Written::down(state)) }
    }

    /// Names what could be written into a gap on this host, for whoever is typing a spec; nothing unless the kind knows better than
    /// its schema. Whatever cannot be read is left out.
    fn complete(
        &self,
        _host: &H::Reader,
        _name: &str,
        _gap: &Gap,
    ) -> impl Future<Output = Vec<String>> + Send {
        async { vec![] }
    }

    /// Addresses that this one needs first, if the spec has them; edges that the user need not write.
    fn requires(&self, _name: &str, _desired: &Self::State) -> Vec<Address> {
        vec![]
    }

    /// Resources that this one brings with it unless the spec writes them, each with what is wanted of it: a state, or that it is not
    /// there. They come after it.
    fn implies(&self, _name: &str, _desired: &Self::State) -> Vec<(Address, Desired)> {
        vec![]
    }

    /// What the state is to become, beyond what the spec says, because resources that it needs will have changed.
    /// `None`: that does not matter. A restart is due by this.
    fn after_dependency_change(
        &self,
        _name: &str,
        _before: &Self::State,
        _by: &[&Address],
    ) -> Option<Self::State> {
        None
    }

    /// What tells that it may have moved; `desired` is `None` if it is not to be there. What nothing tells of is looked at now and then.
    fn triggers(&self, _name: &str, _desired: Option<&Self::State>) -> Vec<H::Trigger> {
        vec![]
    }

    /// Patterns of the paths that change with it, `*` for anything: what else changes was not planned. The kernel and stead's own
    /// folders go without saying.
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        vec![]
    }

    /// Why a copy of the host on the same kernel cannot carry out the change without moving the host itself, if it cannot.
    fn blocks_rehearsal(&self, _name: &str, _change: &Change<Self::State>) -> Option<&'static str> {
        None
    }

    /// Says who or what has moved it since a run reached it, by evidence alone; `None` if nobody can prove anything.
    fn attribute_drift(
        &self,
        _host: &H::Reader,
        _name: &str,
        _drift: &Drift<Self::State>,
    ) -> impl Future<Output = Option<Evidence>> + Send {
        async { None }
    }

    /// What the change costs and may break.
    fn effects(&self, _name: &str, _change: &Change<Self::State>) -> Effects {
        Effects::default()
    }
}

/// The world's refusal: which resource, what was attempted, and what the system answered.
#[derive(Debug, thiserror::Error)]
#[error("{address}: cannot {attempted}")]
pub struct ProviderError {
    /// The resource.
    pub address: Address,
    /// What was attempted, as an infinitive: `replace /etc/motd`.
    pub attempted: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// What the system answered.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl ProviderError {
    /// Makes an error of `kind:name`; `attempted` is an infinitive.
    pub fn new(
        address: Address,
        attempted: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            address,
            attempted: attempted.into(),
            help: None,
            source: source.into(),
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
