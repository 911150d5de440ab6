//! Providers without their `State` type: what the rest of the engine calls. One table lists the methods; this file makes the traits
//! from it, `adapter` implements them.
#![expect(
    clippy::needless_lifetimes,
    reason = "the table of methods writes `'a` in every row"
)]

use std::{collections::BTreeSet, marker::PhantomData, time::Duration};

use futures::future::BoxFuture;

use crate::{
    model::{
        address::Address,
        change::{Change, Effects},
        completion::CompletionTarget,
        drift::{Drift, Evidence},
        listing::{Export, Listing},
        schema::{Problem, Schema},
        state::{Desired, State},
    },
    provider::{error::ProviderError, host::Host},
};

/// Calls a macro with the table of all methods: first those of every provider, then each capability with its trait, its trait without
/// the type, and the word that declares it.
///
/// A row is `async name(HANDLE; NAME; [PASS] ARGUMENT: TYPE, …) -> RESULT;` with the handle of the host and the name of the resource
/// where the method takes them. `move` and `ref` pass an argument with its states typed, `as_ref` a
/// state that is left out if it is none of the kind, `same` the argument as it is. `erase` turns the
/// states of the result back into JSON.
macro_rules! with_methods {
    ($callback:ident) => {
        $callback! {
            Provider, DynProvider {
                sync schema(;;) -> Schema;
                sync check_name(; name;) -> Result<(), Problem>;
                sync check(; name; [ref] desired: &'a State) -> Vec<Problem>;
                async prepare(Reader; name; [move] desired: State) -> Result<State, Vec<Problem>>, erase |result| result.map(Self::erase);
                async read(Reader;; [same] names: &'a [&'a str]) -> Result<Vec<Option<State>>, ProviderError>,
                    erase |result| result.map(|states| Self::erase_all(names, states));
                async apply(Writer;; [move] changes: Vec<(&'a str, Change<State>)>) -> Result<(), ProviderError>;
                sync requires(; name; [ref] desired: &'a State) -> Vec<Address>;
                sync effects(; name; [ref] change: &'a Change<State>) -> Effects;
            }
            Removable, DynRemovable, removable {
                sync check_absent(; name;) -> Result<(), Problem>;
                async prepare_absent(Reader; name;) -> Result<(), Vec<Problem>>;
            }
            Reversible, DynReversible, reversible {
                async back_up(Writer; name; [ref] change: &'a Change<State>) -> Result<(), ProviderError>;
                async roll_back(Writer;; [move] changes: Vec<(&'a str, Change<State>)>) -> Result<(), ProviderError>;
                async remnants(Reader; name;) -> BTreeSet<String>;
                async remove_partial(Writer; name;) -> Result<(), ProviderError>;
            }
            Probeable, DynProbeable, probeable {
                async probe(Writer; name; [ref] desired: &'a State) -> Option<Result<(), String>>;
                sync probe_timeout(; name; [ref] desired: &'a State) -> Duration;
            }
            Importable, DynImportable, importable {
                async list(Reader;;) -> Result<Listing, ProviderError>;
                async export(Reader; name; [move] state: State) -> Result<Export<State>, ProviderError>,
                    erase |result| result.map(|written| written.map(|state| Self::erase(state)));
            }
            Completable, DynCompletable, completable {
                async complete(Reader; name; [same] gap: &'a CompletionTarget) -> Vec<String>;
            }
            Composite, DynComposite, composite {
                sync implies(; name; [ref] desired: &'a State) -> Vec<(Address, Desired)>;
            }
            Reactive, DynReactive, reactive {
                sync after_dependency_change(; name; [ref] before: &'a State, [same] by: &'a [&'a Address]) -> Option<State>,
                    erase |state| state.map(Self::erase);
            }
            Watchable, DynWatchable, watchable {
                sync triggers(; name; [as_ref] desired: Option<&'a State>) -> Vec<H::Trigger>;
                async attribute_drift(Reader; name; [ref] drift: Drift<State>) -> Option<Evidence>;
            }
            Footprint, DynFootprint, footprint {
                sync managed_paths(; name;) -> Vec<String>;
                sync blocks_rehearsal(; name; [ref] change: &'a Change<State>) -> Option<&'static str>;
            }
        }
    };
}
pub(super) use with_methods;

impl<H: Host> dyn DynProvider<H> + '_ {
    /// Returns the patterns of the paths that change with a resource: none if the kind names none.
    pub fn managed_paths(&self, name: &str) -> Vec<String> {
        self.footprint()
            .map_or_else(Vec::new, |kind| kind.managed_paths(name))
    }
}

/// A provider as [`DynProvider`]: its methods take and return states as JSON.
pub struct Adapter<P, H>(pub(super) P, pub(super) PhantomData<fn() -> H>);

macro_rules! define {
    (
        $base:ident, $dyn_base:ident { $($base_row:tt)* }
        $($typed:ident, $dyn:ident, $word:ident { $($row:tt)* })*
    ) => {
        #[doc = concat!("[`", stringify!($base), "`](super::traits::", stringify!($base), ") without its `State` type.")]
        pub trait $dyn_base<H: Host>: Send + Sync {
            $(
                #[doc = concat!("Returns its methods as [`", stringify!($typed), "`](super::capabilities::", stringify!($typed), "), if it declares that.")]
                fn $word(&self) -> Option<&dyn $dyn<H>>;
            )*
            define! { @rows "super::traits::" $base $($base_row)* }
        }
        $(
            #[doc = concat!("[`", stringify!($typed), "`](super::capabilities::", stringify!($typed), ") without its `State` type.")]
            pub trait $dyn<H: Host>: Send + Sync {
                define! { @rows "super::capabilities::" $typed $($row)* }
            }
        )*

        /// What a kind can do beyond [`Provider`](super::traits::Provider). Each capability that it declares, it implements.
        pub struct Capabilities<H: Host, P> {
            $(pub(super) $word: Option<fn(&Adapter<P, H>) -> &dyn $dyn<H>>,)*
        }

        impl<H: Host, P> Capabilities<H, P> {
            /// Declares nothing.
            #[expect(clippy::new_without_default, reason = "a constant cannot call a trait")]
            pub const fn new() -> Self {
                Self { $($word: None,)* }
            }
        }
    };
    (@rows $module:literal $typed:ident $($kind:ident $name:ident ($($handle:ident)?; $($named:ident)?; $([$pass:ident] $arg:ident: $type:ty),*)
        -> $result:ty $(, erase |$answer:ident| $erase:expr)?;)*
    ) => {
        $(
            #[doc = concat!("See the method of the same name of [`", stringify!($typed), "`](", $module, stringify!($typed), ").")]
            fn $name<'a>(&'a self, $(host: &'a H::$handle,)? $($named: &'a str,)? $($arg: $type),*) -> define!(@result $kind $result);
        )*
    };
    (@result sync $result:ty) => { $result };
    (@result async $result:ty) => { BoxFuture<'a, $result> };
}
with_methods!(define);
