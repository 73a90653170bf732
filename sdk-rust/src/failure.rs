//! Why a whole call failed. What is wrong with one record is a rejection instead.

use std::fmt;

use crate::bindings::types::outcomes;

/// `Ok`, or the whole call failed.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Why a whole call failed. `?` turns any error into [`Failure::Fatal`]; say [`Failure::retry`] or
/// [`Failure::invalid`] where it is one of those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Worth another try, not before `after_ms` milliseconds have passed.
    Retry { after_ms: u32, message: String },
    /// The config, or the fields that come, are not what the stage can work with.
    Invalid(String),
    /// No retry helps.
    Fatal(String),
}

impl Failure {
    pub fn retry(after_ms: u32, message: impl fmt::Display) -> Self {
        Failure::Retry { after_ms, message: message.to_string() }
    }

    pub fn invalid(message: impl fmt::Display) -> Self {
        Failure::Invalid(message.to_string())
    }

    pub fn fatal(message: impl fmt::Display) -> Self {
        Failure::Fatal(message.to_string())
    }

    pub fn message(&self) -> &str {
        match self {
            Failure::Retry { message, .. } | Failure::Invalid(message) | Failure::Fatal(message) => message,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Retry { after_ms, message } => {
                write!(f, "{message} (worth another try in {after_ms} ms)")
            }
            Failure::Invalid(message) | Failure::Fatal(message) => f.write_str(message),
        }
    }
}

/// The error and what caused it, in one line. `Failure` is no `Error` itself, so that this can hold for all.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        Failure::Fatal(message)
    }
}

impl From<Failure> for outcomes::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry { after_ms, message } => {
                outcomes::Failure::Retry(outcomes::Retry { after_ms, message })
            }
            Failure::Invalid(message) => outcomes::Failure::Invalid(message),
            Failure::Fatal(message) => outcomes::Failure::Fatal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_makes_any_error_fatal() {
        fn fails() -> Result<u32> {
            Ok("x".parse::<u32>()?)
        }
        assert_eq!(fails(), Err(Failure::fatal("invalid digit found in string")));
    }

    #[test]
    fn causes_are_part_of_the_message() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("no port number")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let failure = Failure::from(Outer("".parse::<u32>().unwrap_err()));
        assert_eq!(failure.message(), "no port number: cannot parse integer from empty string");
    }
}
