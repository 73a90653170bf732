//! `and`, `or` and `not`, with SQL's third value: unknown.

use std::borrow::Cow;

use super::Run;
use crate::ast::Logic;
use crate::bits;
use crate::node::Node;
use crate::vector::Mask;

pub fn not(mask: Mask<'_>) -> Mask<'_> {
    let mut truth = bits::not(&mask.truth);
    if let Some(known) = &mask.known {
        bits::and_into(&mut truth, known);
    }
    Mask { truth: Cow::Owned(truth), known: mask.known }
}

impl<'a> Run<'a> {
    pub(super) fn logic(&mut self, logic: Logic, parts: &'a [Node], live: Option<&[u8]>) -> Mask<'a> {
        let mut parts = parts.iter();
        let Some(first) = parts.next() else {
            return Mask::sure(vec![u8::from(logic == Logic::And); self.rows()]);
        };
        let mut mask = self.mask(first, live);
        for part in parts {
            let mut open = undecided(logic, &mask);
            if let Some(live) = live {
                bits::and_into(&mut open, live);
            }
            if !bits::any(&open) {
                break;
            }
            let right = self.mask(part, Some(&open));
            mask = join(logic, mask, right);
        }
        mask
    }
}

/// The rows in which the answer still hangs on the next part.
fn undecided(logic: Logic, mask: &Mask<'_>) -> Vec<u8> {
    match (logic, &mask.known) {
        (Logic::And, None) => mask.truth.to_vec(),
        (Logic::And, Some(known)) => {
            mask.truth.iter().zip(known.iter()).map(|(truth, known)| truth | (known ^ 1)).collect()
        }
        (Logic::Or, _) => bits::not(&mask.truth),
    }
}

fn join<'a>(logic: Logic, left: Mask<'a>, right: Mask<'a>) -> Mask<'a> {
    let truth = match logic {
        Logic::And => bits::and(&left.truth, &right.truth),
        Logic::Or => bits::or(&left.truth, &right.truth),
    };
    let known = (left.known.is_some() || right.known.is_some()).then(|| {
        let known =
            |mask: &Mask<'a>| mask.known.clone().unwrap_or_else(|| Cow::Owned(vec![1; mask.truth.len()]));
        let (left_known, right_known) = (known(&left), known(&right));
        let sides = left.truth.iter().zip(left_known.iter()).zip(right.truth.iter().zip(right_known.iter()));
        // Known where both are, and where one alone decides: a false of an `and`, a true of an `or`.
        let known = sides.map(|((left, left_known), (right, right_known))| match logic {
            Logic::And => {
                (left_known & right_known) | (left_known & (left ^ 1)) | (right_known & (right ^ 1))
            }
            Logic::Or => (left_known & right_known) | left | right,
        });
        Cow::Owned(known.collect())
    });
    Mask { truth: Cow::Owned(truth), known }
}
