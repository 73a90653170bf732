//! The derive and attribute macros of `conveyor-sdk`, which names them again and documents their use.

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

mod config;
mod row;

/// Makes a struct or an enum the config of a stage: read by serde, described by a JSON Schema. Doc comments
/// become its descriptions, and serde's attributes hold for both.
///
/// ```
/// #[conveyor_sdk::config]
/// #[derive(Debug)]
/// struct Limits {
///     /// Rows below it are left out.
///     minimum: f64,
///     #[serde(default)]
///     country: Option<String>,
/// }
/// ```
#[proc_macro_attribute]
pub fn config(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    config::expand(arguments.into(), &item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct with named fields a row: it names the columns that a stage wants with
/// `TablePlan::of::<R>()` and reads with `table.rows::<R>()`, or those that it sets with `set_row::<R>()`
/// and writes with `forward_with` and `make`.
///
/// A field is `bool`, `i32`, `i64`, `u64`, `f32`, `f64`, `Time`, `Day`, `&str`, `&[u8]` or `Json`, or an
/// `Option` of one of these: without it, a row where the value is missing is rejected before the stage sees it.
/// A row with a `&'static` text can be written and not read. `#[row(name = "...")]` names the column where it is not called as the field.
///
/// ```
/// #[derive(conveyor_sdk::Row)]
/// struct Order<'a> {
///     amount: Option<f64>,
///     #[row(name = "ship-to")]
///     ship_to: &'a str,
/// }
/// ```
#[proc_macro_derive(Row, attributes(row))]
pub fn row(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as DeriveInput);
    row::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
