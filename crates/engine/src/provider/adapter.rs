//! The one adapter between the `State` types of providers and JSON. Nothing else knows both.
#![expect(
    clippy::needless_lifetimes,
    reason = "the table of methods writes `'a` in every row"
)]

use std::{collections::BTreeSet, time::Duration};

use futures::future::BoxFuture;
use serde::Deserialize;

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
    provider::{
        capabilities::{
            Completable, Composite, Footprint, Importable, Probeable, Reactive, Removable,
            Reversible, Watchable,
        },
        erased::{
            Adapter, Capabilities, DynCompletable, DynComposite, DynFootprint, DynImportable,
            DynProbeable, DynProvider, DynReactive, DynRemovable, DynReversible, DynWatchable,
            with_methods,
        },
        error::ProviderError,
        host::Host,
        traits::Provider,
    },
};

impl<P: Provider<H>, H: Host> Adapter<P, H> {
    fn erase(state: P::State) -> State {
        serde_json::to_value(state).expect("a State has string keys and no failing serialisers")
    }

    fn erase_all(names: &[&str], states: Vec<Option<P::State>>) -> Vec<Option<State>> {
        let (states_len, kind) = (states.len(), P::KIND);
        assert_eq!(states_len, names.len(), "{kind}: one answer for each name");
        let states = states.into_iter();
        states.map(|state| state.map(Self::erase)).collect()
    }

    fn deserialize<'de>(
        name: &str,
        state: impl serde::Deserializer<'de, Error = serde_json::Error>,
    ) -> Result<P::State, ProviderError> {
        P::State::deserialize(state).map_err(|error| {
            let address = Address::new(P::KIND, name);
            ProviderError::new(address, "understand its recorded state", error)
        })
    }
}

/// What holds states as JSON, and can hold typed ones.
trait IntoTyped<P, H> {
    type Typed;

    /// Converts the states in it. `name` is that of their resource, where `self` has none.
    fn into_typed(self, name: &str) -> Result<Self::Typed, ProviderError>;
}

impl<P: Provider<H>, H: Host> IntoTyped<P, H> for State {
    type Typed = P::State;

    fn into_typed(self, name: &str) -> Result<P::State, ProviderError> {
        Adapter::<P, H>::deserialize(name, self)
    }
}

impl<P: Provider<H>, H: Host> IntoTyped<P, H> for &State {
    type Typed = P::State;

    fn into_typed(self, name: &str) -> Result<P::State, ProviderError> {
        Adapter::<P, H>::deserialize(name, self)
    }
}

impl<P: Provider<H>, H: Host> IntoTyped<P, H> for &Change<State> {
    type Typed = Change<P::State>;

    fn into_typed(self, name: &str) -> Result<Change<P::State>, ProviderError> {
        self.as_ref()
            .try_map(|state| Adapter::<P, H>::deserialize(name, state))
    }
}

impl<P: Provider<H>, H: Host> IntoTyped<P, H> for Drift<State> {
    type Typed = Drift<P::State>;

    fn into_typed(self, name: &str) -> Result<Drift<P::State>, ProviderError> {
        self.try_map(|state| Adapter::<P, H>::deserialize(name, state))
    }
}

impl<'a, P: Provider<H>, H: Host> IntoTyped<P, H> for Vec<(&'a str, Change<State>)> {
    type Typed = Vec<(&'a str, Change<P::State>)>;

    fn into_typed(self, _name: &str) -> Result<Self::Typed, ProviderError> {
        let typed = |(name, change): (&'a str, Change<State>)| {
            Ok((
                name,
                change.try_map(|state| Adapter::<P, H>::deserialize(name, state))?,
            ))
        };
        self.into_iter().map(typed).collect()
    }
}

/// The answer of a method whose argument is no state of the kind: it comes from another version of stead, or attributes do not form one.
trait UnreadableState {
    fn unreadable_state(error: ProviderError) -> Self;
}

impl<T> UnreadableState for Result<T, ProviderError> {
    fn unreadable_state(error: ProviderError) -> Self {
        Err(error)
    }
}

impl<T> UnreadableState for Result<T, Vec<Problem>> {
    fn unreadable_state(error: ProviderError) -> Self {
        Err(UnreadableState::unreadable_state(error))
    }
}

impl UnreadableState for Vec<Problem> {
    fn unreadable_state(error: ProviderError) -> Self {
        vec![Problem::new(error.source.to_string())]
    }
}

impl UnreadableState for Option<Result<(), String>> {
    fn unreadable_state(error: ProviderError) -> Self {
        Some(Err(error.to_string()))
    }
}

macro_rules! nothing_if_not_understood {
    ($($type:ty),*) => {
        $(impl UnreadableState for $type {
            fn unreadable_state(_error: ProviderError) -> Self {
                Self::default()
            }
        })*
    };
}
nothing_if_not_understood!(
    Effects,
    Duration,
    Vec<Address>,
    Vec<(Address, Desired)>,
    Option<State>,
    Option<Evidence>,
    Option<&'static str>
);

macro_rules! implement {
    (
        $base:ident, $dyn_base:ident { $($base_row:tt)* }
        $($typed:ident, $dyn:ident, $word:ident { $($row:tt)* })*
    ) => {
        impl<P: Provider<H>, H: Host> $dyn_base<H> for Adapter<P, H> {
            $(
                fn $word(&self) -> Option<&dyn $dyn<H>> {
                    P::CAPABILITIES.$word.map(|of| of(self))
                }
            )*
            implement! { @rows $($base_row)* }
        }
        $(
            impl<P: $typed<H>, H: Host> $dyn<H> for Adapter<P, H> {
                implement! { @rows $($row)* }
            }

            impl<H: Host, P: $typed<H>> Capabilities<H, P> {
                #[doc = concat!("Declares that it implements [`", stringify!($typed), "`].")]
                #[must_use]
                pub const fn $word(mut self) -> Self {
                    self.$word = Some(|adapter| adapter);
                    self
                }
            }
        )*
    };
    (@rows $($kind:ident $name:ident ($($handle:ident)?; $($named:ident)?; $([$pass:ident] $arg:ident: $type:ty),*)
        -> $result:ty $(, erase |$answer:ident| $erase:expr)?;)*
    ) => {
        $(implement! {
            @method $kind $name [$($named)?] ($($handle)?; $($named)?; $([$pass] $arg: $type),*) -> $result $(, erase |$answer| $erase)?;
        })*
    };
    (@method sync $name:ident $of:tt (; $($named:ident)?; $([$pass:ident] $arg:ident: $type:ty),*)
        -> $result:ty $(, erase |$answer:ident| $erase:expr)?;
    ) => {
        fn $name<'a>(&'a self, $($named: &'a str,)? $($arg: $type),*) -> $result {
            $(implement!(@convert $pass $arg, $of);)*
            let answer = self.0.$name($($named,)? $(implement!(@pass $pass $arg)),*);
            $(let $answer = answer; let answer = $erase;)?
            answer
        }
    };
    (@method async $name:ident $of:tt ($handle:ident; $($named:ident)?; $([$pass:ident] $arg:ident: $type:ty),*)
        -> $result:ty $(, erase |$answer:ident| $erase:expr)?;
    ) => {
        fn $name<'a>(&'a self, host: &'a H::$handle, $($named: &'a str,)? $($arg: $type),*) -> BoxFuture<'a, $result> {
            Box::pin(async move {
                $(implement!(@convert $pass $arg, $of);)*
                let answer = self.0.$name(host, $($named,)? $(implement!(@pass $pass $arg)),*).await;
                $(let $answer = answer; let answer = $erase;)?
                answer
            })
        }
    };
    (@convert same $arg:ident, $of:tt) => {};
    (@convert as_ref $arg:ident, [$name:ident]) => {
        let $arg = $arg.and_then(|state| Self::deserialize($name, state).ok());
    };
    (@convert $pass:ident $arg:ident, [$name:ident]) => {
        let $arg = match IntoTyped::<P, H>::into_typed($arg, $name) {
            Ok(typed) => typed,
            Err(error) => return UnreadableState::unreadable_state(error),
        };
    };
    (@convert $pass:ident $arg:ident, []) => {
        let $arg = match IntoTyped::<P, H>::into_typed($arg, "") {
            Ok(typed) => typed,
            Err(error) => return UnreadableState::unreadable_state(error),
        };
    };
    (@pass ref $arg:ident) => { &$arg };
    (@pass as_ref $arg:ident) => { $arg.as_ref() };
    (@pass $pass:ident $arg:ident) => { $arg };
}
with_methods!(implement);
