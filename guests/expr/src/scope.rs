//! Where the columns of an expression come from.

use conveyor_sdk::{Field, Fields, Kind};

use crate::error::Problem;
use crate::scalar::Type;
use crate::suggest::nearest;

/// A column that an expression reads: its place in the [`Input`](crate::Input) and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub index: usize,
    pub kind: Type,
    pub nullable: bool,
}

/// Finds columns while an expression is checked.
pub trait Scope {
    /// The column of this name. `hint` is what the expression can best make use of there, if it can tell.
    fn column(&mut self, name: &str, hint: Option<Type>) -> Result<Slot, Problem>;

    /// A column that is only asked for being there; any kind will do.
    fn presence(&mut self, name: &str) -> Result<Slot, Problem> {
        self.column(name, None)
    }
}

/// The fields of a stream of tables. Collects those that are read, as what the stage wants.
#[derive(Debug, Clone)]
pub struct TableScope<'f> {
    fields: &'f Fields,
    wanted: Vec<Field>,
}

impl<'f> TableScope<'f> {
    pub fn new(fields: &'f Fields) -> Self {
        TableScope { fields, wanted: Vec::new() }
    }

    /// The columns that were asked for, in the order of their slots.
    pub fn wanted(self) -> Vec<Field> {
        self.wanted
    }
}

impl Scope for TableScope<'_> {
    fn column(&mut self, name: &str, _: Option<Type>) -> Result<Slot, Problem> {
        let field = self.fields.get(name).ok_or_else(|| unknown(name, self.fields))?;
        let (as_kind, kind) = readable(field);
        let nullable = field.nullable;
        let known = self.wanted.iter().position(|wanted| wanted.name == name);
        let index = known.unwrap_or_else(|| {
            // What is null is the expression's to decide, so no row may be rejected for it.
            self.wanted.push(Field { nullable, ..Field::new(name, as_kind) });
            self.wanted.len() - 1
        });
        Ok(Slot { index, kind, nullable })
    }
}

/// As what a column is wanted, and what it then is to an expression.
fn readable(field: &Field) -> (Kind, Type) {
    match field.kind {
        Kind::Bools => (Kind::Bools, Type::Bool),
        kind @ (Kind::S32s | Kind::S64s | Kind::U64s) => (kind, Type::Int),
        kind @ (Kind::F32s | Kind::F64s) => (kind, Type::Float),
        Kind::Times => (Kind::Times, Type::Time),
        Kind::Days => (Kind::Days, Type::Day),
        kind @ (Kind::Texts | Kind::Dictionaries | Kind::Jsons) => (kind, Type::Text),
        Kind::Blobs => (Kind::Blobs, Type::Bytes),
        Kind::Opaque if field.logical.starts_with("decimal") => (Kind::F64s, Type::Float),
        Kind::Opaque => (Kind::Texts, Type::Text),
    }
}

pub(crate) fn unknown(name: &str, fields: &Fields) -> Problem {
    let known = fields.iter().map(|field| field.name.as_str());
    Problem::UnknownColumn {
        name: name.to_owned(),
        suggestion: nearest(name, known.clone()).map(str::to_owned),
        known: known.map(str::to_owned).collect(),
    }
}
