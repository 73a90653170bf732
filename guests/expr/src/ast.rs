//! The tree that the parser makes: what was written, before anything is known of the columns.

use crate::error::Span;
use crate::scalar::Scalar;

#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    pub what: What,
    pub span: Span,
    /// Levels below and with this one.
    pub depth: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Literal(Scalar),
    /// `timestamp '...'` and `date '...'` are calls, as they look like one with a text.
    Column(String),
    Not(Box<Tree>),
    Logic(Logic, Vec<Tree>),
    Compare(Comparison, Box<Tree>, Box<Tree>),
    IsNull {
        value: Box<Tree>,
        negated: bool,
    },
    In {
        value: Box<Tree>,
        list: Vec<Tree>,
        negated: bool,
    },
    Between {
        value: Box<Tree>,
        low: Box<Tree>,
        high: Box<Tree>,
        negated: bool,
    },
    Like {
        value: Box<Tree>,
        pattern: Box<Tree>,
        negated: bool,
        any_case: bool,
    },
    Arithmetic(Operator, Box<Tree>, Box<Tree>),
    Negate(Box<Tree>),
    Call {
        name: String,
        name_span: Span,
        arguments: Vec<Tree>,
    },
    Case {
        whens: Vec<(Tree, Tree)>,
        otherwise: Option<Box<Tree>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logic {
    And,
    Or,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The same with its sides swapped.
    pub fn flipped(self) -> Self {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}
