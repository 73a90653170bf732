//! The members that a condition reads, and their values as columns.

use std::borrow::Cow;

use expr::{Ints, Known, Mask, Problem, Scope, Slot, TextWriter, Type, Vector, time};
use json_scan::{Found, Pointers, Value};

/// The members that a condition reads, each by its pointer and as one kind.
#[derive(Debug, Default)]
pub struct Members {
    pointers: Pointers,
    slots: Vec<(String, Wanted)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A value of this kind; what is of another is null.
    As(Type),
    /// Any value but null.
    Any,
}

impl Members {
    pub fn pointers(&self) -> &Pointers {
        &self.pointers
    }

    fn slot(&mut self, pointer: &str, wanted: Wanted) -> Result<Slot, Problem> {
        let kind = match wanted {
            Wanted::As(kind) => kind,
            Wanted::Any => Type::Bool,
        };
        let known = self.slots.iter().position(|(known, as_kind)| known == pointer && *as_kind == wanted);
        let index = match known {
            Some(index) => index,
            None => {
                self.slots.push((pointer.to_owned(), wanted));
                self.pointers.add(pointer).ok_or_else(|| Problem::Pointer(pointer.to_owned()))?
            }
        };
        Ok(Slot { index, kind, nullable: true })
    }
}

impl Scope for Members {
    fn column(&mut self, pointer: &str, hint: Option<Type>) -> Result<Slot, Problem> {
        match hint {
            None | Some(Type::Null | Type::Bytes) => Err(Problem::KindUnknown),
            Some(kind) => self.slot(pointer, Wanted::As(kind)),
        }
    }

    fn presence(&mut self, pointer: &str) -> Result<Slot, Problem> {
        self.slot(pointer, Wanted::Any)
    }
}

/// The values of a batch, one column for each member.
#[derive(Debug)]
pub struct Collected(Vec<Column>);

#[derive(Debug)]
struct Column {
    known: Vec<u8>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// Whether there is anything but null: nothing but which are known.
    Any,
    Bools(Vec<u8>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Times(Vec<i64>),
    Days(Vec<i32>),
    Texts(TextWriter),
}

impl Collected {
    pub fn new(members: &Members, rows: usize) -> Self {
        let column = |(_, wanted): &(String, Wanted)| {
            let values = match wanted {
                Wanted::Any => Values::Any,
                Wanted::As(Type::Int) => Values::Ints(Vec::with_capacity(rows)),
                Wanted::As(Type::Float) => Values::Floats(Vec::with_capacity(rows)),
                Wanted::As(Type::Text) => Values::Texts(TextWriter::with_capacity(rows, rows * 16)),
                Wanted::As(Type::Time) => Values::Times(Vec::with_capacity(rows)),
                Wanted::As(Type::Day) => Values::Days(Vec::with_capacity(rows)),
                Wanted::As(_) => Values::Bools(Vec::with_capacity(rows)),
            };
            Column { known: Vec::with_capacity(rows), values }
        };
        Collected(members.slots.iter().map(column).collect())
    }

    /// One row: what was found in one record.
    pub fn push(&mut self, found: &Found<'_>) {
        for (index, column) in self.0.iter_mut().enumerate() {
            column.push(found.get(index));
        }
    }

    pub fn columns<'a>(self) -> Vec<Vector<'a>> {
        self.0.into_iter().map(Column::vector).collect()
    }
}

impl Column {
    fn push(&mut self, value: Option<Value<'_>>) {
        let known = match &mut self.values {
            Values::Any => value.is_some_and(|value| value != Value::Null),
            Values::Bools(to) => {
                add(to, if let Some(Value::Bool(value)) = value { Some(value.into()) } else { None })
            }
            Values::Ints(to) => add(to, number(value).and_then(|digits| digits.parse().ok())),
            Values::Floats(to) => add(to, number(value).and_then(|digits| digits.parse().ok())),
            Values::Times(to) => add(to, text(value).and_then(|text| time::parse_timestamp(&text))),
            Values::Days(to) => add(to, text(value).and_then(|text| time::parse_date(&text))),
            Values::Texts(to) => {
                let text = text(value);
                to.push(text.as_deref().unwrap_or_default().as_bytes());
                text.is_some()
            }
        };
        self.known.push(known.into());
    }

    fn vector<'a>(self) -> Vector<'a> {
        let known: Known<'a> = self.known.contains(&0).then_some(Cow::Owned(self.known));
        match self.values {
            // What is there is of no interest, and false is as good as anything.
            Values::Any => {
                let rows = known.as_ref().map_or(0, |known| known.len());
                Vector::Bools(Mask { truth: Cow::Owned(vec![0; rows]), known })
            }
            Values::Bools(truth) => Vector::Bools(Mask { truth: Cow::Owned(truth), known }),
            Values::Ints(values) => Vector::Ints(Ints::S64(Cow::Owned(values)), known),
            Values::Floats(values) => Vector::Floats(Cow::Owned(values), known),
            Values::Times(values) => Vector::Times(Cow::Owned(values), known),
            Values::Days(values) => Vector::Days(Cow::Owned(values), known),
            Values::Texts(texts) => Vector::Texts(texts.finish(), known),
        }
    }
}

fn add<T: Default>(to: &mut Vec<T>, value: Option<T>) -> bool {
    let known = value.is_some();
    to.push(value.unwrap_or_default());
    known
}

fn number(value: Option<Value<'_>>) -> Option<&str> {
    if let Some(Value::Number(digits)) = value { Some(digits) } else { None }
}

fn text(value: Option<Value<'_>>) -> Option<Cow<'_, str>> {
    if let Some(Value::Text(quoted)) = value { Some(quoted.text()) } else { None }
}
