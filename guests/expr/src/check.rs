//! From tree to program: columns found, kinds checked and conversions put in, constants worked out.

use conveyor_sdk::{Failure, Kind};

use crate::ast::{Comparison, Logic, Operator, Tree, What};
use crate::error::{Problem, Result, Span};
use crate::eval;
use crate::like::Pattern;
use crate::node::{Cast, Node, Typed};
use crate::parse::Expression;
use crate::scalar::{Scalar, Type};
use crate::scope::Scope;
use crate::time;

mod call;

/// What an expression is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// True or false.
    Condition,
    /// Any value.
    Value,
}

/// An expression that fits what comes in, ready to run.
#[derive(Debug, Clone)]
pub struct Program {
    pub(crate) typed: Typed,
}

impl Expression {
    /// Checks the expression against the columns of `scope`, which learns which of them it reads.
    pub fn check(&self, scope: &mut dyn Scope, wish: Wish) -> std::result::Result<Program, Failure> {
        let mut checker = Checker { scope };
        let hint = (wish == Wish::Condition).then_some(Type::Bool);
        let checked = checker.check(&self.tree, hint).and_then(|typed| match (wish, typed.kind) {
            (Wish::Condition, Type::Bool | Type::Null) | (Wish::Value, _) => Ok(typed),
            (Wish::Condition, other) => Err(Problem::NoCondition(other).at(self.tree.span)),
        });
        checked.map(|typed| Program { typed }).map_err(|error| self.failure(&error))
    }
}

impl Program {
    pub fn kind(&self) -> Type {
        self.typed.kind
    }

    pub fn nullable(&self) -> bool {
        self.typed.nullable
    }

    /// The kind of a column that holds the values.
    pub fn column_kind(&self) -> Kind {
        match self.typed.kind {
            Type::Bool => Kind::Bools,
            Type::Int => Kind::S64s,
            Type::Float => Kind::F64s,
            Type::Text | Type::Null => Kind::Texts,
            Type::Time => Kind::Times,
            Type::Day => Kind::Days,
            Type::Bytes => Kind::Blobs,
        }
    }
}

struct Checker<'s> {
    scope: &'s mut dyn Scope,
}

impl Checker<'_> {
    fn check(&mut self, tree: &Tree, hint: Option<Type>) -> Result<Typed> {
        let span = tree.span;
        let typed = match &tree.what {
            What::Literal(scalar) => return Ok(Typed::constant(scalar.clone())),
            What::Column(name) => {
                let slot = self.scope.column(name, hint).map_err(|problem| problem.at(span))?;
                return Ok(Typed {
                    node: Node::Column(slot.index),
                    kind: slot.kind,
                    nullable: slot.nullable,
                });
            }
            What::Not(inner) => not(self.condition(inner)?),
            What::Logic(logic, parts) => self.logic(*logic, parts)?,
            What::Compare(comparison, left, right) => {
                let (left, right) = self.pair(left, right)?;
                compare(*comparison, left, right, span)?
            }
            What::IsNull { value, negated } => self.is_null(value, *negated)?,
            What::In { value, list, negated } => negate_if(*negated, self.in_list(value, list)?),
            What::Between { value, low, high, negated } => {
                let (above, low) = self.pair(value, low)?;
                let (below, high) = self.pair(value, high)?;
                let above = compare(Comparison::GreaterOrEqual, above, low, span)?;
                let below = compare(Comparison::LessOrEqual, below, high, span)?;
                negate_if(*negated, logic(Logic::And, vec![above, below]))
            }
            What::Like { value, pattern, negated, any_case } => {
                negate_if(*negated, self.like(value, pattern, *any_case)?)
            }
            What::Arithmetic(operator, left, right) => self.arithmetic(*operator, left, right, span)?,
            What::Negate(inner) => {
                let value = self.number(inner, "a number")?;
                let Typed { kind, nullable, node } = value;
                Typed { kind, nullable, node: Node::Negate(Box::new(node)) }
            }
            What::Call { name, name_span, arguments } => {
                self.call(name, *name_span, arguments, span, hint)?
            }
            What::Case { whens, otherwise } => self.case(whens, otherwise.as_deref(), span, hint)?,
        };
        fold(typed, span)
    }

    fn condition(&mut self, tree: &Tree) -> Result<Typed> {
        let typed = self.check(tree, Some(Type::Bool))?;
        match typed.kind {
            Type::Bool | Type::Null => Ok(typed),
            other => Err(Problem::NoCondition(other).at(tree.span)),
        }
    }

    fn logic(&mut self, operator: Logic, parts: &[Tree]) -> Result<Typed> {
        let parts = parts.iter().map(|part| self.condition(part)).collect::<Result<_>>()?;
        Ok(logic(operator, parts))
    }

    /// Both sides, the one that is nothing but a column checked with what is known of the other, and a text
    /// beside a timestamp or date read as one.
    fn pair(&mut self, left: &Tree, right: &Tree) -> Result<(Typed, Typed)> {
        let bare = |tree: &Tree| matches!(tree.what, What::Column(_));
        let (first, second) = if bare(left) && !bare(right) {
            let second = self.check(right, None)?;
            (self.check(left, as_hint(second.kind))?, second)
        } else {
            let first = self.check(left, None)?;
            let second = self.check(right, as_hint(first.kind))?;
            (first, second)
        };
        let moment = |kind: Type| matches!(kind, Type::Time | Type::Day);
        Ok(match (first.kind, second.kind) {
            (kind, Type::Text) if moment(kind) => (first, read_moment(kind, &second, right.span)?),
            (Type::Text, kind) if moment(kind) => (read_moment(kind, &first, left.span)?, second),
            _ => (first, second),
        })
    }

    fn is_null(&mut self, value: &Tree, negated: bool) -> Result<Typed> {
        let value = match &value.what {
            What::Column(name) => {
                let slot = self.scope.presence(name).map_err(|problem| problem.at(value.span))?;
                Typed { node: Node::Column(slot.index), kind: slot.kind, nullable: slot.nullable }
            }
            _ => self.check(value, None)?,
        };
        if !value.nullable {
            return Ok(Typed::constant(Scalar::Bool(negated)));
        }
        let node = Node::IsNull { value: Box::new(value.node), negated };
        Ok(Typed { node, kind: Type::Bool, nullable: false })
    }

    /// Texts, and many integers, become one search in a sorted list; all else a comparison each.
    fn in_list(&mut self, value: &Tree, list: &[Tree]) -> Result<Typed> {
        const COMPARED: usize = 8;
        let (mut others, mut ints, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        let mut searched = None;
        for item in list {
            let (left, right) = self.pair(value, item)?;
            let (left, right) = unify(left, right, item.span, "compared")?;
            match right.as_const() {
                Some(Scalar::Text(text)) => texts.push(text.clone()),
                Some(Scalar::Int(value) | Scalar::Time(value)) if list.len() > COMPARED => ints.push(*value),
                Some(Scalar::Day(value)) if list.len() > COMPARED => ints.push(i64::from(*value)),
                _ => {
                    others.push(compare(Comparison::Equal, left, right, item.span)?);
                    continue;
                }
            }
            searched = Some(left);
        }
        if let Some(Typed { node, nullable, .. }) = searched {
            let node = Box::new(node);
            texts.sort_unstable();
            texts.dedup();
            ints.sort_unstable();
            let node = if ints.is_empty() { Node::InTexts(node, texts) } else { Node::InInts(node, ints) };
            others.push(Typed { node, kind: Type::Bool, nullable });
        }
        Ok(if others.len() == 1 { others.remove(0) } else { logic(Logic::Or, others) })
    }

    fn like(&mut self, value: &Tree, pattern: &Tree, any_case: bool) -> Result<Typed> {
        let What::Literal(Scalar::Text(text)) = &pattern.what else {
            return Err(Problem::Pattern.at(pattern.span));
        };
        let value = self.text(value, "a text")?;
        let (text, mut node) = (if any_case { text.to_lowercase().into() } else { text.clone() }, value.node);
        if any_case {
            node = Node::Call(crate::functions::Function::Lower, vec![node]);
        }
        let node = Node::Like(Box::new(node), Pattern::parse(&text));
        Ok(Typed { node, kind: Type::Bool, nullable: value.nullable })
    }

    fn number(&mut self, tree: &Tree, takes: &'static str) -> Result<Typed> {
        let typed = self.check(tree, Some(Type::Float))?;
        match typed.kind {
            Type::Int | Type::Float | Type::Null => Ok(typed),
            found => Err(Problem::Kind { takes, found }.at(tree.span)),
        }
    }

    fn text(&mut self, tree: &Tree, takes: &'static str) -> Result<Typed> {
        let typed = self.check(tree, Some(Type::Text))?;
        match typed.kind {
            Type::Text | Type::Null => Ok(typed),
            found => Err(Problem::Kind { takes, found }.at(tree.span)),
        }
    }

    fn arithmetic(&mut self, operator: Operator, left: &Tree, right: &Tree, span: Span) -> Result<Typed> {
        let (left, right) = (self.number(left, "a number")?, self.number(right, "a number")?);
        if left.is_null() || right.is_null() {
            return Ok(Typed { kind: Type::Float, ..Typed::constant(Scalar::Null) });
        }
        let divides = matches!(operator, Operator::Divide | Operator::Remainder);
        let (left, right) = match operator {
            Operator::Divide => (to_float(left), to_float(right)),
            _ => unify(left, right, span, "calculated with")?,
        };
        let safe = matches!(right.as_const(), Some(Scalar::Int(divisor)) if *divisor != 0)
            || matches!(right.as_const(), Some(Scalar::Float(divisor)) if *divisor != 0.0);
        let nullable = left.nullable || right.nullable || divides && !safe;
        let kind = left.kind;
        let (left, right) = (Box::new(left.node), Box::new(right.node));
        let node = match kind {
            Type::Int => Node::IntArithmetic(operator, left, right),
            _ => Node::FloatArithmetic(operator, left, right),
        };
        Ok(Typed { node, kind, nullable })
    }
}

fn as_hint(kind: Type) -> Option<Type> {
    match kind {
        Type::Null => None,
        // What is compared with an integer need not be one.
        Type::Int => Some(Type::Float),
        kind => Some(kind),
    }
}

fn logic(logic: Logic, parts: Vec<Typed>) -> Typed {
    let nullable = parts.iter().any(|part| part.nullable);
    let node = Node::Logic(logic, parts.into_iter().map(|part| part.node).collect());
    Typed { node, kind: Type::Bool, nullable }
}

fn not(inner: Typed) -> Typed {
    Typed { node: Node::Not(Box::new(inner.node)), kind: Type::Bool, nullable: inner.nullable }
}

fn negate_if(negated: bool, inner: Typed) -> Typed {
    if negated { not(inner) } else { inner }
}

fn compare(comparison: Comparison, left: Typed, right: Typed, span: Span) -> Result<Typed> {
    let (left, right) = unify(left, right, span, "compared")?;
    if left.is_null() || right.is_null() {
        return Ok(Typed { kind: Type::Bool, ..Typed::constant(Scalar::Null) });
    }
    if left.kind == Type::Bytes {
        return Err(Problem::Mismatch { left: left.kind, right: right.kind, action: "compared" }.at(span));
    }
    let nullable = left.nullable || right.nullable;
    let (comparison, left, right) = if left.as_const().is_some() && right.as_const().is_none() {
        (comparison.flipped(), right, left)
    } else {
        (comparison, left, right)
    };
    let node = Node::Compare(comparison, Box::new(left.node), Box::new(right.node));
    Ok(Typed { node, kind: Type::Bool, nullable })
}

/// Both as values of one type.
fn unify(left: Typed, right: Typed, span: Span, action: &'static str) -> Result<(Typed, Typed)> {
    use Type::{Day, Float, Int, Null, Text, Time};
    Ok(match (left.kind, right.kind) {
        (one, other) if one == other => (left, right),
        (Null, _) | (_, Null) => (left, right),
        (Int, Float) => match as_exact_int(&right) {
            Some(exact) => (left, exact),
            None => (to_float(left), right),
        },
        (Float, Int) => match as_exact_int(&left) {
            Some(exact) => (exact, right),
            None => (left, to_float(right)),
        },
        (Day, Time) => (cast(left, Cast::DayToTime, Time), right),
        (Time, Day) => (left, cast(right, Cast::DayToTime, Time)),
        (kind @ (Time | Day), Text) if right.as_const().is_some() => {
            let right = read_moment(kind, &right, span)?;
            return if right.kind == kind { Ok((left, right)) } else { unify(left, right, span, action) };
        }
        (Text, kind @ (Time | Day)) if left.as_const().is_some() => {
            let left = read_moment(kind, &left, span)?;
            return if left.kind == kind { Ok((left, right)) } else { unify(left, right, span, action) };
        }
        (left, right) => return Err(Problem::Mismatch { left, right, action }.at(span)),
    })
}

/// `2.0` beside a column of integers is 2, so that the column need not be converted.
fn as_exact_int(typed: &Typed) -> Option<Typed> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match typed.as_const() {
        Some(Scalar::Float(value)) if value.trunc() == *value && value.abs() < EXACT => {
            Some(Typed::constant(Scalar::Int(*value as i64)))
        }
        _ => None,
    }
}

fn to_float(typed: Typed) -> Typed {
    match (typed.kind, typed.as_const()) {
        (_, Some(Scalar::Int(value))) => Typed::constant(Scalar::Float(*value as f64)),
        (Type::Int, _) => cast(typed, Cast::IntToFloat, Type::Float),
        _ => typed,
    }
}

fn cast(typed: Typed, cast: Cast, kind: Type) -> Typed {
    let may_fail = matches!(cast, Cast::TextTo(_) | Cast::FloatToInt);
    let constant = typed.as_const().is_some();
    let node = Node::Cast(cast, Box::new(typed.node));
    if let Some(scalar) = constant.then(|| eval::constant(&node)).flatten() {
        return Typed { kind, ..Typed::constant(scalar) };
    }
    Typed { node, kind, nullable: typed.nullable || may_fail }
}

/// A text that is written where a timestamp or date is wanted.
fn read_moment(kind: Type, typed: &Typed, span: Span) -> Result<Typed> {
    let Some(Scalar::Text(text)) = typed.as_const() else { return Ok(typed.clone()) };
    let day = time::parse_date(text).map(Scalar::Day);
    let found = match kind {
        Type::Day => day.or_else(|| time::parse_timestamp(text).map(Scalar::Time)),
        _ => time::parse_timestamp(text).map(Scalar::Time),
    };
    let wanted = "a timestamp such as 2024-12-31T23:59:59Z, nor a date such as 2024-12-31";
    found.map(Typed::constant).ok_or_else(|| Problem::Literal { text: text.to_string(), wanted }.at(span))
}

/// What hangs on no column is worked out now.
fn fold(typed: Typed, span: Span) -> Result<Typed> {
    if typed.as_const().is_some() || !is_constant(&typed.node) {
        return Ok(typed);
    }
    match eval::constant(&typed.node) {
        Some(scalar) => {
            let nullable = scalar == Scalar::Null;
            Ok(Typed { node: Node::Const(scalar), kind: typed.kind, nullable })
        }
        None => Err(Problem::Constant("is beyond the range of 64-bit integers").at(span)),
    }
}

/// Operands are folded before what they are in, so one level is enough to look at.
fn is_constant(node: &Node) -> bool {
    let constant = |node: &Node| matches!(node, Node::Const(_));
    match node {
        Node::Const(_) => true,
        Node::Column(_) => false,
        Node::Not(one) | Node::Negate(one) | Node::Cast(_, one) | Node::Like(one, _) => constant(one),
        Node::IsNull { value, .. } | Node::InInts(value, _) | Node::InTexts(value, _) => constant(value),
        Node::Logic(_, parts) | Node::Call(_, parts) | Node::Coalesce(parts) => parts.iter().all(is_constant),
        Node::Compare(_, left, right)
        | Node::IntArithmetic(_, left, right)
        | Node::FloatArithmetic(_, left, right) => is_constant(left) && is_constant(right),
        Node::If { condition, then, otherwise } => {
            constant(condition) && is_constant(then) && is_constant(otherwise)
        }
    }
}
