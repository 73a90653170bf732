//! Calls: which function it is, what its arguments have to be, what it gives.

use super::{Checker, Typed, as_hint, cast, compare, not, read_moment, to_float, unify};
use crate::ast::{Comparison, Tree, What};
use crate::error::{Problem, Result, Span};
use crate::functions::{self, Called, Function, SIGNATURES, Signature, counted};
use crate::node::{Cast, Node};
use crate::scalar::{Scalar, Type};
use crate::suggest::nearest;

impl Checker<'_> {
    pub(super) fn call(
        &mut self,
        name: &str,
        name_span: Span,
        arguments: &[Tree],
        span: Span,
        hint: Option<Type>,
    ) -> Result<Typed> {
        let signature = functions::find(name).ok_or_else(|| unknown(name).at(name_span))?;
        if !(signature.least..=signature.most).contains(&arguments.len()) {
            return Err(wrong_count(signature, arguments.len()).at(span));
        }
        match signature.called {
            Called::Function(function) => self.function(function, arguments),
            Called::Coalesce => self.coalesce(arguments, hint),
            Called::If => {
                let condition = self.condition(&arguments[0])?;
                let (then, otherwise) = self.branches(&arguments[1], Some(&arguments[2]), hint)?;
                choose(condition, then, otherwise, span)
            }
            Called::NullIf => {
                let (left, right) = self.pair(&arguments[0], &arguments[1])?;
                let equal = compare(Comparison::Equal, left.clone(), right, span)?;
                let null = Typed { kind: left.kind, ..Typed::constant(Scalar::Null) };
                // `equal` may be unknown, which is no reason to forget the value.
                let condition = coalesced(vec![equal, Typed::constant(Scalar::Bool(false))], Type::Bool);
                choose(not(condition), left, null, span)
            }
            Called::ToText => self.writable(&arguments[0]),
            Called::ToInt => self.numeric(&arguments[0], Type::Int),
            Called::ToFloat => self.numeric(&arguments[0], Type::Float),
            Called::ToBool => self.boolean(&arguments[0]),
            Called::Timestamp => self.moment(&arguments[0], Type::Time),
            Called::Date => self.moment(&arguments[0], Type::Day),
        }
    }

    fn function(&mut self, function: Function, arguments: &[Tree]) -> Result<Typed> {
        use Function::{
            Abs, Ceil, Concat, Contains, Day, EndsWith, Floor, Hour, Length, Lower, Month, Replace, Round,
            StartsWith, Substr, Trim, Upper, Weekday, Year,
        };
        let (kind, values) = match function {
            Lower | Upper | Trim | Replace => (Type::Text, self.texts(arguments)?),
            StartsWith | EndsWith | Contains => (Type::Bool, self.texts(arguments)?),
            Length => (Type::Int, vec![self.measured(&arguments[0])?]),
            Concat => {
                let parts =
                    arguments.iter().map(|argument| self.writable(argument)).collect::<Result<_>>()?;
                (Type::Text, parts)
            }
            Substr => {
                let mut values = vec![self.text(&arguments[0], "a text")?];
                for argument in &arguments[1..] {
                    values.push(self.whole(argument)?);
                }
                (Type::Text, values)
            }
            Abs | Floor | Ceil | Round => {
                let value = self.number(&arguments[0], "a number")?;
                let kind = value.kind;
                let mut values = vec![value];
                if let Some(digits) = arguments.get(1) {
                    values.push(self.whole(digits)?);
                }
                if kind == Type::Int && function != Abs {
                    return Ok(values.remove(0));
                }
                (kind, values)
            }
            Year | Month | Day | Weekday => (Type::Int, vec![self.moment(&arguments[0], Type::Day)?]),
            Hour => (Type::Int, vec![self.moment(&arguments[0], Type::Time)?]),
        };
        if values.iter().any(Typed::is_null) {
            return Ok(Typed { kind, ..Typed::constant(Scalar::Null) });
        }
        let nullable = values.iter().any(|value| value.nullable);
        let node = Node::Call(function, values.into_iter().map(|value| value.node).collect());
        Ok(Typed { node, kind, nullable })
    }

    fn texts(&mut self, arguments: &[Tree]) -> Result<Vec<Typed>> {
        arguments.iter().map(|argument| self.text(argument, "a text")).collect()
    }

    fn measured(&mut self, argument: &Tree) -> Result<Typed> {
        let value = self.check(argument, Some(Type::Text))?;
        match value.kind {
            Type::Text | Type::Bytes | Type::Null => Ok(value),
            found => Err(Problem::Kind { takes: "a text", found }.at(argument.span)),
        }
    }

    fn whole(&mut self, argument: &Tree) -> Result<Typed> {
        let value = self.check(argument, Some(Type::Int))?;
        match value.kind {
            Type::Int | Type::Null => Ok(value),
            found => Err(Problem::Kind { takes: "an integer", found }.at(argument.span)),
        }
    }

    /// `then` and `otherwise`, each as a hint for the other where it is nothing but a column.
    fn branches(
        &mut self,
        then: &Tree,
        otherwise: Option<&Tree>,
        hint: Option<Type>,
    ) -> Result<(Typed, Typed)> {
        match (otherwise, hint) {
            (None, _) => Ok((self.check(then, hint)?, Typed::constant(Scalar::Null))),
            (Some(otherwise), Some(_)) => Ok((self.check(then, hint)?, self.check(otherwise, hint)?)),
            (Some(otherwise), None) => self.pair(then, otherwise),
        }
    }

    pub(super) fn case(
        &mut self,
        whens: &[(Tree, Tree)],
        otherwise: Option<&Tree>,
        span: Span,
        hint: Option<Type>,
    ) -> Result<Typed> {
        let mut value = match otherwise {
            Some(otherwise) => self.check(otherwise, hint)?,
            None => Typed::constant(Scalar::Null),
        };
        for (condition, then) in whens.iter().rev() {
            let then = self.check(then, hint.or(as_hint(value.kind)))?;
            value = choose(self.condition(condition)?, then, value, span)?;
        }
        Ok(value)
    }

    fn coalesce(&mut self, arguments: &[Tree], hint: Option<Type>) -> Result<Typed> {
        let mut hint = hint;
        let known = arguments.iter().find(|argument| !matches!(argument.what, What::Column(_)));
        if let (None, Some(known)) = (hint, known) {
            hint = as_hint(self.check(known, None)?.kind);
        }
        let mut values: Vec<Typed> = Vec::new();
        for argument in arguments {
            let value = self.check(argument, hint)?;
            let Some(first) = values.first().cloned() else {
                values.push(value);
                continue;
            };
            let (first, value) = unify(first, value, argument.span, "given for one another")?;
            if first.kind != values[0].kind {
                values = values.into_iter().map(to_float).collect();
            }
            values.push(value);
        }
        let kind =
            values.iter().map(|value| value.kind).find(|kind| *kind != Type::Null).unwrap_or(Type::Null);
        values.retain(|value| !value.is_null());
        Ok(if values.is_empty() { Typed::constant(Scalar::Null) } else { coalesced(values, kind) })
    }

    fn writable(&mut self, argument: &Tree) -> Result<Typed> {
        let value = self.check(argument, Some(Type::Text))?;
        match value.kind {
            Type::Text | Type::Null => Ok(value),
            Type::Bytes => {
                Err(Problem::Kind { takes: "a value that can be written", found: Type::Bytes }
                    .at(argument.span))
            }
            _ => Ok(cast(value, Cast::ToText, Type::Text)),
        }
    }

    fn numeric(&mut self, argument: &Tree, to: Type) -> Result<Typed> {
        let value = self.check(argument, Some(to))?;
        Ok(match (value.kind, to) {
            (Type::Null, _) => Typed { kind: to, ..value },
            (kind, to) if kind == to => value,
            (Type::Int, _) => to_float(value),
            (Type::Float, _) => cast(value, Cast::FloatToInt, to),
            (Type::Text, _) => cast(value, Cast::TextTo(to), to),
            (Type::Bool, Type::Int) => cast(value, Cast::BoolToInt, to),
            (Type::Bool, _) => cast(cast(value, Cast::BoolToInt, Type::Int), Cast::IntToFloat, to),
            (found, _) => {
                return Err(
                    Problem::Kind { takes: "a number, a text or a truth value", found }.at(argument.span)
                );
            }
        })
    }

    fn boolean(&mut self, argument: &Tree) -> Result<Typed> {
        let value = self.check(argument, Some(Type::Bool))?;
        Ok(match value.kind {
            Type::Bool => value,
            Type::Null => Typed { kind: Type::Bool, ..value },
            Type::Text => cast(value, Cast::TextTo(Type::Bool), Type::Bool),
            Type::Int | Type::Float => {
                compare(Comparison::NotEqual, value, Typed::constant(Scalar::Int(0)), argument.span)?
            }
            found => return Err(Problem::Kind { takes: "a text or a number", found }.at(argument.span)),
        })
    }

    fn moment(&mut self, argument: &Tree, to: Type) -> Result<Typed> {
        let value = self.check(argument, Some(to))?;
        let value = if value.as_const().is_some() { read_moment(to, &value, argument.span)? } else { value };
        Ok(match (value.kind, to) {
            (Type::Null, _) => Typed { kind: to, ..value },
            (kind, to) if kind == to => value,
            (Type::Day, _) => cast(value, Cast::DayToTime, to),
            (Type::Time, _) => cast(value, Cast::TimeToDay, to),
            (Type::Text, _) => cast(value, Cast::TextTo(to), to),
            (found, _) => {
                return Err(Problem::Kind { takes: "a timestamp or a date", found }.at(argument.span));
            }
        })
    }
}

fn coalesced(values: Vec<Typed>, kind: Type) -> Typed {
    let nullable = values.iter().all(|value| value.nullable);
    Typed { node: Node::Coalesce(values.into_iter().map(|value| value.node).collect()), kind, nullable }
}

fn choose(condition: Typed, then: Typed, otherwise: Typed, span: Span) -> Result<Typed> {
    let (then, otherwise) = unify(then, otherwise, span, "given for one another")?;
    let kind = if then.kind == Type::Null { otherwise.kind } else { then.kind };
    let nullable = then.nullable || otherwise.nullable;
    let (condition, then, otherwise) =
        (Box::new(condition.node), Box::new(then.node), Box::new(otherwise.node));
    Ok(Typed { node: Node::If { condition, then, otherwise }, kind, nullable })
}

fn unknown(name: &str) -> Problem {
    let names = SIGNATURES.iter().map(|signature| signature.name);
    Problem::UnknownFunction {
        name: name.to_owned(),
        suggestion: nearest(name, names.clone()).map(str::to_owned),
        known: names.map(str::to_owned).collect(),
    }
}

fn wrong_count(signature: &Signature, given: usize) -> Problem {
    let verb = if given == 1 { "is" } else { "are" };
    Problem::Arguments {
        function: signature.name,
        takes: signature.takes(),
        given: format!("{} {verb}", counted(given)),
    }
}
