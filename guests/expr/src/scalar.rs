//! Kinds of values, and single values.

use std::fmt;

/// What kind of value an expression has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    Bool,
    Int,
    Float,
    Text,
    /// Microseconds since the Unix epoch.
    Time,
    /// Days since the Unix epoch.
    Day,
    Bytes,
    /// Of the literal `null`, which fits everywhere.
    Null,
}

impl Type {
    pub fn is_number(self) -> bool {
        matches!(self, Type::Int | Type::Float)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "a truth value",
            Type::Int => "an integer",
            Type::Float => "a number",
            Type::Text => "a text",
            Type::Time => "a timestamp",
            Type::Day => "a date",
            Type::Bytes => "bytes",
            Type::Null => "null",
        })
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Time(i64),
    Day(i32),
}

impl Scalar {
    pub fn kind(&self) -> Type {
        match self {
            Scalar::Null => Type::Null,
            Scalar::Bool(_) => Type::Bool,
            Scalar::Int(_) => Type::Int,
            Scalar::Float(_) => Type::Float,
            Scalar::Text(_) => Type::Text,
            Scalar::Time(_) => Type::Time,
            Scalar::Day(_) => Type::Day,
        }
    }
}
