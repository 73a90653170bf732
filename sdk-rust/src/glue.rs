//! Between the functions that a component exports and a stage: the one open instance, and `about`.

use std::marker::PhantomData;

use crate::bindings::about::exports::conveyor::stage::about as wit;
use crate::bindings::types::outcomes;
use crate::config::{self, Config};
use crate::{Failure, Fingerprint, Result, log};

/// Where an exported stage keeps its one instance. Implemented by the export macros.
pub trait Slot: 'static {
    type Open: 'static;
    const NAME: &'static str;
    const VERSION: &'static str;
    const SUMMARY: &'static str;

    fn with<R>(visit: impl FnOnce(&mut Option<Self::Open>) -> R) -> R;
}

/// What a stage says of itself, beside what Cargo knows.
pub trait Described {
    const NEEDS: &'static [&'static str];
    type Config: Config;

    fn fingerprint(config: &Self::Config) -> Option<Fingerprint>;
}

/// What implements the generated traits for the stage of a slot.
#[derive(Debug)]
pub struct Exported<G>(PhantomData<G>);

impl<G> wit::Guest for Exported<G>
where
    G: Slot,
    G::Open: Described,
{
    fn describe() -> wit::About {
        enter();
        wit::About {
            name: G::NAME.to_owned(),
            version: G::VERSION.to_owned(),
            summary: G::SUMMARY.to_owned(),
            config_schema: config::schema_text::<<G::Open as Described>::Config>(),
            needs: G::Open::NEEDS.iter().map(|need| (*need).to_owned()).collect(),
            hints: vec![("sdk".to_owned(), concat!("conveyor-sdk ", env!("CARGO_PKG_VERSION")).to_owned())],
        }
    }
}

/// To be called first in every function that may be the first of an instance.
pub(crate) fn enter() {
    log::report_panics();
}

/// Runs `call` on the open instance.
#[inline(always)]
pub(crate) fn with_open<G: Slot, R>(
    name: &str,
    call: impl FnOnce(&mut G::Open) -> Result<R>,
) -> Result<R, outcomes::Failure> {
    G::with(|slot| match slot {
        Some(open) => call(open).map_err(Failure::into),
        None => Err(Failure::fatal(format!("the host called `{name}` before `open`")).into()),
    })
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_stage {
    ($stage:ty, $kind:ident, $open:ident, $interface:ident) => {
        const _: () = {
            const fn is_a_stage<S: $crate::$kind>() {}
            is_a_stage::<$stage>();
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Here;

            ::std::thread_local! {
                static OPEN: ::std::cell::RefCell<::core::option::Option<$crate::glue::$open<$stage>>> =
                    const { ::std::cell::RefCell::new(::core::option::Option::None) };
            }

            impl $crate::glue::Slot for Here {
                type Open = $crate::glue::$open<$stage>;
                const NAME: &'static str = ::core::env!("CARGO_PKG_NAME");
                const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
                const SUMMARY: &'static str = ::core::env!("CARGO_PKG_DESCRIPTION");

                fn with<R>(visit: impl FnOnce(&mut ::core::option::Option<Self::Open>) -> R) -> R {
                    OPEN.with_borrow_mut(visit)
                }
            }

            type Exported = $crate::glue::Exported<Here>;
    $crate::bindings::about::export!(Exported with_types_in $crate::bindings::about);
    $crate::bindings::fingerprint::export!(Exported with_types_in $crate::bindings::fingerprint);
    $crate::bindings::$interface::export!(Exported with_types_in $crate::bindings::$interface);
        };
    };
}

#[doc(hidden)]
pub use crate::{
    sink::{OpenSink, OpenTableSink},
    source::{OpenSource, OpenTableSource},
    table_transform::OpenTableTransform,
    transform::OpenTransform,
};
