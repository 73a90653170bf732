//! Log lines, which the host joins to the pipeline, the stage and the replica. Outside of WebAssembly they
//! go to stderr.
//!
//! ```
//! use conveyor_sdk::log;
//!
//! let (country, rows) = ("NZ", 3);
//! log::info!("looked up {country}");
//! log::warn!("rates are a day old"; country = country, rows = rows);
//! ```
//! A line costs a call into the host: say what happened once per batch or less, never once per record.

use std::fmt;

pub use crate::bindings::types::log::Level;
#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace, __log_warn as warn,
};

/// What the macros of this module call.
pub fn write(level: Level, message: fmt::Arguments<'_>, fields: &[(&str, &dyn fmt::Display)]) {
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
    deliver(level, &message.to_string(), &fields);
}

#[cfg(target_arch = "wasm32")]
fn deliver(level: Level, message: &str, fields: &[(String, String)]) {
    crate::bindings::types::log::write(level, message, fields);
}

#[cfg(not(target_arch = "wasm32"))]
fn deliver(level: Level, message: &str, fields: &[(String, String)]) {
    let level = match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    eprintln!("{level}: {message}{fields}");
}

/// A trap says no more than `unreachable`; so a panic writes its message and place to the log before it.
pub(crate) fn report_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = match (panic.payload().downcast_ref::<&str>(), panic.payload().downcast_ref::<String>())
        {
            (Some(text), _) => text,
            (_, Some(text)) => text.as_str(),
            _ => "no message",
        };
        write(Level::Error, format_args!("panicked: {message}"), &[("location", &location)]);
    }));
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_line {
    ($level:ident $message:literal $(, $argument:expr)* $(; $($field:ident = $value:expr),+ $(,)?)?) => {
        $crate::log::write(
            $crate::log::Level::$level,
            ::core::format_args!($message $(, $argument)*),
            &[$($((::core::stringify!($field), &$value as &dyn ::core::fmt::Display)),+)?],
        )
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace {
    ($($line:tt)+) => { $crate::__log_line!(Trace $($line)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($line:tt)+) => { $crate::__log_line!(Debug $($line)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($line:tt)+) => { $crate::__log_line!(Info $($line)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($line:tt)+) => { $crate::__log_line!(Warn $($line)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($line:tt)+) => { $crate::__log_line!(Error $($line)+) };
}
