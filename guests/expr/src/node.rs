//! The tree that is evaluated: checked, with every conversion in its place.

use crate::ast::{Comparison, Logic, Operator};
use crate::functions::Function;
use crate::like::Pattern;
use crate::scalar::{Scalar, Type};

#[derive(Debug, Clone)]
pub enum Node {
    Const(Scalar),
    Column(usize),
    Not(Box<Node>),
    Logic(Logic, Vec<Node>),
    /// Both sides are of one type.
    Compare(Comparison, Box<Node>, Box<Node>),
    IsNull {
        value: Box<Node>,
        negated: bool,
    },
    /// Integers, timestamps or dates; ascending.
    InInts(Box<Node>, Vec<i64>),
    /// Ascending.
    InTexts(Box<Node>, Vec<Box<str>>),
    Like(Box<Node>, Pattern),
    /// Both sides are integers.
    IntArithmetic(Operator, Box<Node>, Box<Node>),
    /// Both sides are floats.
    FloatArithmetic(Operator, Box<Node>, Box<Node>),
    Negate(Box<Node>),
    Cast(Cast, Box<Node>),
    Call(Function, Vec<Node>),
    /// The first value that is there.
    Coalesce(Vec<Node>),
    If {
        condition: Box<Node>,
        then: Box<Node>,
        otherwise: Box<Node>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cast {
    IntToFloat,
    /// What is not within the range of an integer is null.
    FloatToInt,
    DayToTime,
    TimeToDay,
    /// What cannot be read is null.
    TextTo(Type),
    ToText,
    BoolToInt,
}

/// A node, what it gives, and whether that may be null.
#[derive(Debug, Clone)]
pub struct Typed {
    pub node: Node,
    pub kind: Type,
    pub nullable: bool,
}

impl Typed {
    pub fn constant(scalar: Scalar) -> Self {
        let kind = scalar.kind();
        Typed { nullable: kind == Type::Null, kind, node: Node::Const(scalar) }
    }

    pub fn as_const(&self) -> Option<&Scalar> {
        match &self.node {
            Node::Const(scalar) => Some(scalar),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.as_const() == Some(&Scalar::Null)
    }
}
