//! Evaluation, column by column: each node of the tree is one loop, or a few, over slices.
//!
//! `live` says which rows anybody still looks at: what the left of an `and` has ruled out, or what another
//! branch of an `if` is for, is not compared as text and not refused for an overflow. What is at a row that is
//! not live says nothing.

use std::borrow::Cow;

use crate::batch::Input;
use crate::bits;
use crate::check::Program;
use crate::node::Node;
use crate::scalar::Scalar;
use crate::vector::{Known, Mask, Vector};

mod arithmetic;
mod cast;
mod choose;
mod compare;
mod function;
mod logic;
mod text;

/// The rows in which an integer went beyond 64 bits, as 0 and 1 a row; empty where there is none. A stage
/// rejects them: nothing that is silently wrong leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overflow(Vec<u8>);

impl Overflow {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn at(&self, row: usize) -> bool {
        self.0.get(row) == Some(&1)
    }

    pub fn rows(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().enumerate().filter(|(_, at)| **at == 1).map(|(row, _)| row as u32)
    }
}

impl Program {
    /// In which rows the condition holds. Rows that are not `live` are not looked at.
    pub fn holds<'a>(&'a self, input: &'a Input<'a>, live: Option<&[u8]>) -> (Mask<'a>, Overflow) {
        let mut run = Run { input, overflow: Overflow::default() };
        let mask = run.mask(&self.typed.node, live);
        (mask, run.overflow)
    }

    /// The value of each row; integers in the width that `column_kind` says.
    pub fn values<'a>(&'a self, input: &'a Input<'a>) -> (Vector<'a>, Overflow) {
        let mut run = Run { input, overflow: Overflow::default() };
        let vector = run.vector(&self.typed.node, None);
        let vector = run.widened(vector, None);
        (vector, run.overflow)
    }
}

/// The value of a tree without columns; none where an integer overflows.
pub fn constant(node: &Node) -> Option<Scalar> {
    let input = Input { rows: 1, columns: Vec::new() };
    let mut run = Run { input: &input, overflow: Overflow::default() };
    let scalar = scalar_of(&run.vector(node, None));
    run.overflow.is_empty().then_some(scalar)
}

fn scalar_of(vector: &Vector<'_>) -> Scalar {
    if vector.known().is_some_and(|known| known[0] == 0) {
        return Scalar::Null;
    }
    match vector {
        Vector::Const(scalar) => (*scalar).clone(),
        Vector::Bools(mask) => Scalar::Bool(mask.truth[0] == 1),
        Vector::Ints(ints, _) => Scalar::Int(ints.get(0)),
        Vector::Floats(values, _) => Scalar::Float(values[0]),
        Vector::Times(values, _) => Scalar::Time(values[0]),
        Vector::Days(values, _) => Scalar::Day(values[0]),
        Vector::Texts(texts, _) => Scalar::Text(String::from_utf8_lossy(texts.row(0)).into()),
        Vector::Bytes(..) => Scalar::Null,
    }
}

/// One evaluation of one batch.
struct Run<'a> {
    input: &'a Input<'a>,
    overflow: Overflow,
}

impl<'a> Run<'a> {
    fn rows(&self) -> usize {
        self.input.rows
    }

    fn vector(&mut self, node: &'a Node, live: Option<&[u8]>) -> Vector<'a> {
        match node {
            Node::Const(scalar) => Vector::Const(scalar),
            Node::Column(index) => self.input.columns[*index].view(),
            Node::Not(_)
            | Node::Logic(..)
            | Node::Compare(..)
            | Node::IsNull { .. }
            | Node::InInts(..)
            | Node::InTexts(..)
            | Node::Like(..) => Vector::Bools(self.mask(node, live)),
            Node::IntArithmetic(operator, left, right) => {
                let (left, right) = (self.vector(left, live), self.vector(right, live));
                self.int_arithmetic(*operator, left, right, live)
            }
            Node::FloatArithmetic(operator, left, right) => {
                let (left, right) = (self.vector(left, live), self.vector(right, live));
                arithmetic::floats(*operator, &left, &right, self.rows())
            }
            Node::Negate(inner) => {
                let inner = self.vector(inner, live);
                self.negate(inner, live)
            }
            Node::Cast(cast, inner) => {
                let inner = self.vector(inner, live);
                self.cast(*cast, inner)
            }
            Node::Call(function, arguments) => self.call(*function, arguments, live),
            Node::Coalesce(values) => self.coalesce(values, live),
            Node::If { condition, then, otherwise } => self.choose(condition, then, otherwise, live),
        }
    }

    fn mask(&mut self, node: &'a Node, live: Option<&[u8]>) -> Mask<'a> {
        match node {
            Node::Not(inner) => logic::not(self.mask(inner, live)),
            Node::Logic(operator, parts) => self.logic(*operator, parts, live),
            Node::Compare(comparison, left, right) => {
                let (left, right) = (self.vector(left, live), self.vector(right, live));
                compare::compare(*comparison, left, right, self.rows(), live)
            }
            Node::IsNull { value, negated } => {
                let value = self.vector(value, live);
                Mask::sure(match value.known() {
                    Some(known) if *negated => known.to_vec(),
                    Some(known) => bits::not(known),
                    None => vec![u8::from(*negated); self.rows()],
                })
            }
            Node::InInts(value, list) => {
                let value = self.vector(value, live);
                compare::in_ints(value, list)
            }
            Node::InTexts(value, list) => {
                let value = self.vector(value, live);
                text::in_texts(value, list, self.rows(), live)
            }
            Node::Like(value, pattern) => {
                let value = self.vector(value, live);
                text::like(value, pattern, self.rows(), live)
            }
            other => {
                let vector = self.vector(other, live);
                self.truth(vector)
            }
        }
    }

    fn truth(&self, vector: Vector<'a>) -> Mask<'a> {
        match vector {
            Vector::Bools(mask) => mask,
            Vector::Const(Scalar::Bool(value)) => Mask::sure(vec![u8::from(*value); self.rows()]),
            _ => {
                let none = vec![0; self.rows()];
                Mask { truth: Cow::Owned(none.clone()), known: Some(Cow::Owned(none)) }
            }
        }
    }

    /// Notes rows that overflowed, of those that count.
    fn overflowed(&mut self, mut rows: Vec<u8>, known: &Known<'_>, live: Option<&[u8]>) {
        for mask in [known.as_deref(), live].into_iter().flatten() {
            bits::and_into(&mut rows, mask);
        }
        if !bits::any(&rows) {
            return;
        }
        if self.overflow.is_empty() {
            self.overflow = Overflow(rows);
        } else {
            bits::or_into(&mut self.overflow.0, &rows);
        }
    }
}

/// Where both are known.
fn both<'a>(left: Known<'a>, right: Known<'a>) -> Known<'a> {
    match (left, right) {
        (None, other) | (other, None) => other,
        (Some(left), Some(right)) => Some(Cow::Owned(bits::and(&left, &right))),
    }
}

/// A mask of what was tested: true only where the value is known.
fn tested<'a>(mut truth: Vec<u8>, known: Known<'a>) -> Mask<'a> {
    if let Some(known) = &known {
        bits::and_into(&mut truth, known);
    }
    Mask { truth: Cow::Owned(truth), known }
}
