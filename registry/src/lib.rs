//! An OCI registry: a store that is addressed by content, and the HTTP of the distribution specification 1.1 over it.
//!
//! [`store`] keeps contents and the index of who has which; [`server::router`] answers for it, and [`server::Server`]
//! listens. What a request means is decided by values: [`route`], [`range`], [`page`], [`manifest`], [`name`], [`auth`].
//! [`client`] speaks with registries, ours and others'. [`artifact`] says what a stage is there, [`layout`] has the same in
//! files, and [`load`] brings such files into a store.
//! [`sign`] makes and finds signatures, and [`trust`] decides what follows from them.

pub mod artifact;
pub mod auth;
pub mod cached;
pub mod client;
pub mod copy;
pub mod image_ref;
pub mod layout;
pub mod load;
pub mod manifest;
pub mod name;
pub mod page;
pub mod range;
pub mod refusal;
pub mod route;
pub mod server;
pub mod sign;
pub mod store;
pub mod trust;
