//! How records that were kept fit the input of a stage as it is planned now.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use model::batch::{Batch, Column};
use model::convert::{BAD_CAST, JsonWriter, can_cast, cast_column, to_json};
use model::fields::{FieldSpec, Kind, places};
use model::outcome::Rejection;
use model::plan::{Conversion, Plan, Stream};
use model::stage::Role;

use super::{Entrance, Feed};
use crate::feed::{FeedError, rows_without};
use crate::letters::Form;

/// Why entries cannot be sent into a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The stage is not in the pipeline any more.
    Gone,
    /// A source refused them: there was no record yet.
    Source,
    /// Records without columns, for a stage that takes columns.
    NoColumns { stage: String, wanted: Vec<String> },
    /// Columns that are missing or of another kind, each in words.
    Columns { stage: String, problems: Vec<String> },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the stage is not in the manifest any more; name another with `--into STAGE`"),
            Self::Source => f.write_str(
                "a source refused them, and a source takes nothing in; mend the data and run it, or name a stage that \
                 takes bytes with `--into STAGE`",
            ),
            Self::NoColumns { stage, wanted } => write!(
                f,
                "they are records without columns, and stage `{stage}` takes the columns {}; name another stage with \
                 `--into STAGE`",
                wanted.join(", ")
            ),
            Self::Columns { stage, problems } => write!(
                f,
                "they do not fit what stage `{stage}` takes now: {}; run the source again, or name another stage with \
                 `--into STAGE`",
                problems.join("; ")
            ),
        }
    }
}

/// The way of entries of one schema into a stage.
#[derive(Debug)]
pub(super) struct Fit {
    entrance: Entrance,
    work: Work,
}

#[derive(Debug)]
enum Work {
    AsItIs,
    ToJson(JsonWriter),
    /// For each column of the stage's input, where it is, and as what it is cast.
    Columns {
        schema: SchemaRef,
        columns: Vec<(usize, Option<Kind>)>,
    },
}

impl Fit {
    pub fn of(plan: &Plan, stage: usize, form: Form, schema: &SchemaRef) -> Result<Self, Misfit> {
        let planned = &plan.stages[stage];
        if planned.role == Role::Source {
            return Err(Misfit::Source);
        }
        let here = Entrance::Stage(stage);
        match (&planned.input, form) {
            (Stream::Opaque, Form::Raw | Form::Opaque) => Ok(Self { entrance: here, work: Work::AsItIs }),
            (Stream::Opaque, Form::Rows) => {
                Ok(Self { entrance: here, work: Work::ToJson(JsonWriter::new(schema)) })
            }
            (Stream::Rows(wanted), Form::Rows) => {
                let columns = columns(schema, wanted);
                let columns = columns
                    .map_err(|problems| Misfit::Columns { stage: planned.name.to_string(), problems })?;
                Ok(Self { entrance: here, work: Work::Columns { schema: wanted.clone(), columns } })
            }
            // Records that the host could not parse for the stage are parsed once more.
            (Stream::Rows(wanted), Form::Raw | Form::Opaque) => {
                let parses =
                    |&&edge: &&usize| matches!(plan.edges[edge].conversion, Conversion::JsonToRows { .. });
                match planned.inputs.iter().find(parses) {
                    Some(&edge) => Ok(Self { entrance: Entrance::Edge(edge), work: Work::AsItIs }),
                    None => Err(Misfit::NoColumns {
                        stage: planned.name.to_string(),
                        wanted: wanted.fields().iter().map(|field| named(field)).collect(),
                    }),
                }
            }
        }
    }

    pub fn feed(&self, stage: usize, batch: Batch) -> Result<Feed, FeedError> {
        let entrance = self.entrance;
        let fits = |batch| Feed { stage, entrance, batch, misfits: None };
        match &self.work {
            Work::AsItIs => Ok(fits(batch)),
            Work::ToJson(writer) => {
                let values = Column::new(Arc::new(to_json(writer, &batch)?));
                Ok(fits(batch.with_columns(model::batch::opaque_schema(), vec![values])?))
            }
            Work::Columns { schema, columns } => {
                let mut rejections = Vec::new();
                let mut ready = Vec::with_capacity(columns.len());
                for (field, &(at, cast)) in schema.fields().iter().zip(columns) {
                    let column = &batch.columns()[at];
                    let Some(kind) = cast else {
                        ready.push(column.clone());
                        continue;
                    };
                    let (array, failed) = cast_column(batch.schema().field(at), column, kind)?;
                    rejections.extend(failed.into_iter().map(|row| refused(row, field, kind)));
                    ready.push(Column::new(array));
                }
                let fitting = batch.with_columns(schema.clone(), ready)?;
                if rejections.is_empty() {
                    return Ok(fits(fitting));
                }
                rejections.sort_by_key(|rejection| rejection.row);
                rejections.dedup_by_key(|rejection| rejection.row);
                let kept = fitting.pick(&rows_without(fitting.rows(), &rejections));
                Ok(Feed { misfits: Some((batch, rejections)), ..fits(kept) })
            }
        }
    }
}

fn refused(row: u32, field: &Field, kind: Kind) -> Rejection {
    let message = format!("the value of column `{}` cannot be cast to {kind}", field.name());
    Rejection { row, code: BAD_CAST.to_owned(), message }
}

fn named(field: &Field) -> String {
    format!("`{}`", field.name())
}

/// Where each wanted column is; or all that is in the way.
fn columns(found: &SchemaRef, wanted: &SchemaRef) -> Result<Vec<(usize, Option<Kind>)>, Vec<String>> {
    let mut problems = Vec::new();
    let mut columns = Vec::with_capacity(wanted.fields().len());
    let there = places(found);
    for field in wanted.fields() {
        let Some(&at) = there.get(field.name().as_str()) else {
            problems.push(format!("they have no column {}", named(field)));
            continue;
        };
        let (from, to) = (found.field(at).data_type(), field.data_type());
        let kind = FieldSpec::of(field).kind;
        if from == to {
            columns.push((at, None));
        } else if kind.data_type().as_ref() == Some(to) && can_cast(found.field(at), kind) {
            columns.push((at, Some(kind)));
        } else {
            problems.push(format!("their column {} is {from}, and {to} is taken", named(field)));
        }
    }
    if problems.is_empty() { Ok(columns) } else { Err(problems) }
}
