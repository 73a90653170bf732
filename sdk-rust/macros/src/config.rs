//! `#[config]`: the derives that a config needs, with the crates that they come from.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Result};

pub fn expand(arguments: TokenStream, item: &DeriveInput) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`config` takes no arguments"));
    }
    if let Data::Union(_) = &item.data {
        return Err(Error::new_spanned(item, "`config` goes on a struct or an enum"));
    }
    Ok(quote! {
        #[derive(::conveyor_sdk::serde::Deserialize, ::conveyor_sdk::schemars::JsonSchema)]
        #[serde(crate = "::conveyor_sdk::serde")]
        #[schemars(crate = "::conveyor_sdk::schemars")]
        #item
    })
}
