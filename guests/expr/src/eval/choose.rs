//! `if`, `case` and `coalesce`: for each row, the value of one of two columns.

use std::borrow::Cow;

use super::Run;
use crate::bits;
use crate::node::Node;
use crate::scalar::Scalar;
use crate::vector::{Ints, Known, Mask, TextWriter, Vector};

impl<'a> Run<'a> {
    pub(super) fn choose(
        &mut self,
        condition: &'a Node,
        then: &'a Node,
        otherwise: &'a Node,
        live: Option<&[u8]>,
    ) -> Vector<'a> {
        let condition = self.mask(condition, live).truth;
        let (mut when, mut unless) = (condition.to_vec(), bits::not(&condition));
        if let Some(live) = live {
            bits::and_into(&mut when, live);
            bits::and_into(&mut unless, live);
        }
        let then = self.vector(then, Some(&when));
        let otherwise = self.vector(otherwise, Some(&unless));
        self.pick(&condition, then, otherwise, live)
    }

    pub(super) fn coalesce(&mut self, values: &'a [Node], live: Option<&[u8]>) -> Vector<'a> {
        let mut values = values.iter();
        let Some(first) = values.next() else { return Vector::Const(&Scalar::Null) };
        let mut chosen = self.vector(first, live);
        for value in values {
            let Some(known) = chosen.known().map(<[u8]>::to_vec) else { break };
            let mut missing = bits::not(&known);
            if let Some(live) = live {
                bits::and_into(&mut missing, live);
            }
            let next = self.vector(value, Some(&missing));
            chosen = self.pick(&known, chosen, next, live);
        }
        chosen
    }

    /// `then` where `mask` is 1, `otherwise` elsewhere; both are of one kind, or null.
    fn pick(
        &mut self,
        mask: &[u8],
        then: Vector<'a>,
        otherwise: Vector<'a>,
        live: Option<&[u8]>,
    ) -> Vector<'a> {
        let (then, otherwise) = (self.column(then, live), self.column(otherwise, live));
        let known = known_of(mask, &then, &otherwise);
        match (&then, &otherwise) {
            (Vector::Const(_), Vector::Const(_)) => Vector::Const(&Scalar::Null),
            (Vector::Bools(then), Vector::Bools(otherwise)) => {
                let mut truth = values(mask, &then.truth, &otherwise.truth);
                if let Some(known) = &known {
                    bits::and_into(&mut truth, known);
                }
                Vector::Bools(Mask { truth: Cow::Owned(truth), known })
            }
            (Vector::Ints(Ints::S64(then), _), Vector::Ints(Ints::S64(otherwise), _)) => {
                Vector::Ints(Ints::S64(Cow::Owned(values(mask, then, otherwise))), known)
            }
            (Vector::Floats(then, _), Vector::Floats(otherwise, _)) => {
                Vector::Floats(Cow::Owned(values(mask, then, otherwise)), known)
            }
            (Vector::Times(then, _), Vector::Times(otherwise, _)) => {
                Vector::Times(Cow::Owned(values(mask, then, otherwise)), known)
            }
            (Vector::Days(then, _), Vector::Days(otherwise, _)) => {
                Vector::Days(Cow::Owned(values(mask, then, otherwise)), known)
            }
            (Vector::Texts(then, _), Vector::Texts(otherwise, _)) => {
                let mut writer = TextWriter::with_capacity(mask.len(), then.bytes.len());
                for (row, chosen) in mask.iter().enumerate() {
                    writer.push(if *chosen == 1 { then.row(row) } else { otherwise.row(row) });
                }
                Vector::Texts(writer.finish(), known)
            }
            // One of them is null throughout: the other, where it is chosen.
            (Vector::Const(_), _) => with_known(otherwise, known),
            _ => with_known(then, known),
        }
    }

    /// A column of the one width in which values are picked; null stays a constant.
    fn column(&mut self, vector: Vector<'a>, live: Option<&[u8]>) -> Vector<'a> {
        match vector {
            Vector::Const(scalar) => self.spread(scalar),
            vector => self.widened(vector, live),
        }
    }
}

fn values<T: Copy>(mask: &[u8], then: &[T], otherwise: &[T]) -> Vec<T> {
    let sides = then.iter().zip(otherwise);
    mask.iter()
        .zip(sides)
        .map(|(chosen, (then, otherwise))| if *chosen == 1 { *then } else { *otherwise })
        .collect()
}

fn known_of<'a>(mask: &[u8], then: &Vector<'_>, otherwise: &Vector<'_>) -> Known<'a> {
    let side = |vector: &Vector<'_>| match vector {
        Vector::Const(_) => Some(vec![0; mask.len()]),
        vector => vector.known().map(<[u8]>::to_vec),
    };
    let (then, otherwise) = (side(then), side(otherwise));
    if then.is_none() && otherwise.is_none() {
        return None;
    }
    let all = || vec![1; mask.len()];
    Some(Cow::Owned(values(mask, &then.unwrap_or_else(all), &otherwise.unwrap_or_else(all))))
}

fn with_known<'a>(vector: Vector<'a>, known: Known<'a>) -> Vector<'a> {
    match vector {
        Vector::Bools(mask) => match known {
            Some(known) => {
                let truth = bits::and(&mask.truth, &known);
                Vector::Bools(Mask { truth: Cow::Owned(truth), known: Some(known) })
            }
            None => Vector::Bools(mask),
        },
        Vector::Ints(values, _) => Vector::Ints(values, known),
        Vector::Floats(values, _) => Vector::Floats(values, known),
        Vector::Times(values, _) => Vector::Times(values, known),
        Vector::Days(values, _) => Vector::Days(values, known),
        Vector::Texts(values, _) => Vector::Texts(values, known),
        Vector::Bytes(values, _) => Vector::Bytes(values, known),
        constant @ Vector::Const(_) => constant,
    }
}
