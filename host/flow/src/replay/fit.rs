//! How records that were kept fit the input of a stage as it is planned now.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError};

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, SchemaRef};
use model::batch::{Batch, Column};
use model::convert::{BAD_CAST, JsonWriter, REST, can_cast, cannot_cast, cast_column, to_json};
use model::fields::{FieldSpec, Kind, places};
use model::outcome::Rejection;
use model::plan::{Conversion, Plan, PlannedStage, Stream};
use model::stage::Role;

use super::{Decoders, Entrance};
use crate::input_mapping::{MappingError, rows_without};
use crate::letters::Form;

/// Why entries cannot be sent into a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The stage is not in the pipeline any more.
    Gone,
    /// A source refused them that is a component, or none of those that there are now: there is nobody to make records
    /// of them.
    Source,
    /// Only the beginning of a record was kept: it is longer than one may be.
    Cut,
    /// An earlier version kept them without what is needed to read them.
    Older,
    /// No checkpoint has them yet.
    ComesAgain,
    /// Records without columns, for a stage that takes columns.
    NoColumns { stage: String, wanted: Vec<String> },
    /// Columns that are missing or of another kind, each in words.
    Columns { stage: String, problems: Vec<String> },
    /// Columns that nothing gives the stage now: they would be left out.
    Lost { stage: String, columns: Vec<String> },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the stage is not in the manifest any more; name another with `--into STAGE`"),
            Self::Source => f.write_str(
                "a source refused them that is a component, and makes no records of what it has refused; mend the data \
                 and run it, or name a stage that takes bytes with `--into STAGE`",
            ),
            Self::Cut => f.write_str(
                "only the beginning of the record was kept, since it is longer than one may be; raise \
                 `record-bytes-max` and let the source read it again",
            ),
            Self::Older => f.write_str(
                "an earlier version kept them, without the header of their file; run the source again, or name a stage \
                 that takes bytes with `--into STAGE`",
            ),
            Self::ComesAgain => f.write_str(
                "the last run ended before a checkpoint had them, so that the next one comes to their records again; run \
                 the pipeline first, or name with `--record` what its source does not give again",
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
            Self::Lost { stage, columns } => write!(
                f,
                "they had the columns {}, which stage `{stage}` has no more, so that these would be lost: declare them under \
                 the `schema` of their source, or put the files back in which it found them",
                columns.join(", ")
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
    /// The decoder of a source makes records of them.
    Decode,
    ToJson(JsonWriter),
    /// For each column of the stage's input, where it is, and as what it is cast.
    Columns {
        schema: SchemaRef,
        columns: Vec<(usize, Option<Kind>)>,
    },
}

/// Records as they come in, and those that do not: as they were kept, and why.
pub(super) type Fitted = (Batch, Option<(Batch, Vec<Rejection>)>);

/// Entries that go one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub stage: usize,
    pub form: Form,
    /// Whether an earlier version kept them, without a header.
    pub is_older: bool,
    pub schema: SchemaRef,
    /// What the source gave that refused them.
    pub source_columns: Option<Vec<String>>,
}

impl Fit {
    pub fn of(plan: &Plan, case: &Case, decoders: &Decoders) -> Result<Self, Misfit> {
        let &Case { stage, form, ref schema, .. } = case;
        let planned = &plan.stages[stage];
        if planned.role == Role::Source {
            return Self::of_source(plan, case, decoders);
        }
        let here = Entrance::Stage(stage);
        match (&planned.input, form) {
            (Stream::Rows(_), Form::Raw | Form::Opaque) => {
                // Records that the host could not parse for the stage are parsed once more.
                let parses =
                    |&&edge: &&usize| matches!(plan.edges[edge].conversion, Conversion::JsonToRows { .. });
                match planned.inputs.iter().find(parses) {
                    Some(&edge) => Ok(Self { entrance: Entrance::Edge(edge), work: Work::AsItIs }),
                    None => Err(no_columns(planned, &planned.input)),
                }
            }
            (input, form) => {
                if form.has_columns() && *input != Stream::Opaque {
                    // A row that did not come in is as it left the stage before.
                    let edges = planned.inputs.iter().map(|&edge| &plan.edges[edge]);
                    let left = edges.map(|edge| &plan.stages[edge.from].ports[edge.port].offered);
                    let names = schema.fields().iter().map(|field| field.name());
                    check_lost(planned, names, left.chain([&planned.offered]))?;
                }
                Self::into_stream(here, planned, input, form, schema)
            }
        }
    }

    fn of_source(plan: &Plan, case: &Case, decoders: &Decoders) -> Result<Self, Misfit> {
        let planned = &plan.stages[case.stage];
        let here = Entrance::Source(case.stage);
        let offered = &planned.ports[0].offered;
        if *offered != Stream::Opaque {
            let fields = offered.schema().into_iter().flat_map(|schema| schema.fields());
            let mut rest = fields.filter(|field| field.name() == REST);
            // What is read once more and has no column of its own is in there.
            let has_rest = rest.any(|field| FieldSpec::of(field).kind == Kind::Jsons);
            let given = case.source_columns.iter().flatten().filter(|_| case.form != Form::Raw || !has_rest);
            let own = case.schema.fields().iter().map(|field| field.name());
            check_lost(planned, given.chain(own.filter(|_| case.form == Form::Rows)), [offered])?;
        }
        let decoder =
            decoders.get(&case.stage).map(|decoder| decoder.lock().unwrap_or_else(PoisonError::into_inner));
        match (case.form, decoder) {
            (Form::Raw, Some(decoder)) if case.is_older && decoder.needs_header() => Err(Misfit::Older),
            (Form::Raw | Form::Opaque, Some(decoder)) if !decoder.takes_rows() => {
                Ok(Self { entrance: here, work: Work::Decode })
            }
            (Form::Found, Some(decoder)) if decoder.takes_rows() => {
                Ok(Self { entrance: here, work: Work::Decode })
            }
            (Form::Raw, None) => Err(Misfit::Source),
            (Form::Opaque, None) if planned.ports[0].stream != Stream::Opaque => Err(Misfit::Source),
            (form, _) => Self::into_stream(here, planned, &planned.ports[0].stream, form, &case.schema),
        }
    }

    fn into_stream(
        entrance: Entrance,
        planned: &PlannedStage,
        stream: &Stream,
        form: Form,
        schema: &SchemaRef,
    ) -> Result<Self, Misfit> {
        let work = match (stream, form) {
            (Stream::Opaque, Form::Raw | Form::Opaque) => Work::AsItIs,
            (Stream::Opaque, Form::Rows | Form::Found) => Work::ToJson(JsonWriter::new(schema)),
            (Stream::Rows(wanted), Form::Rows | Form::Found) => {
                let columns = columns(schema, wanted);
                let columns = columns
                    .map_err(|problems| Misfit::Columns { stage: planned.name.to_string(), problems })?;
                Work::Columns { schema: wanted.clone(), columns }
            }
            (Stream::Rows(_), Form::Raw | Form::Opaque) => return Err(no_columns(planned, stream)),
        };
        Ok(Self { entrance, work })
    }

    pub fn entrance(&self) -> Entrance {
        self.entrance
    }

    /// Whether it is the decoder of a source that makes records of them.
    pub fn decodes(&self) -> bool {
        matches!(self.work, Work::Decode)
    }

    pub fn feed(&self, batch: Batch) -> Result<Fitted, MappingError> {
        match &self.work {
            Work::AsItIs | Work::Decode => Ok((batch, None)),
            Work::ToJson(writer) => {
                let values = Column::new(Arc::new(to_json(writer, &batch)?));
                Ok((batch.with_columns(model::batch::opaque_schema(), vec![values])?, None))
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
                    if !failed.is_empty() {
                        let came = column.flat()?;
                        rejections.extend(failed.into_iter().map(|row| refused(row, field, &came, kind)));
                    }
                    ready.push(Column::new(array));
                }
                let fitting = batch.with_columns(schema.clone(), ready)?;
                if rejections.is_empty() {
                    return Ok((fitting, None));
                }
                rejections.sort_by_key(|rejection| rejection.row);
                rejections.dedup_by_key(|rejection| rejection.row);
                let kept = fitting.pick(&rows_without(fitting.rows(), &rejections));
                Ok((kept, Some((batch, rejections))))
            }
        }
    }
}

fn no_columns(planned: &PlannedStage, stream: &Stream) -> Misfit {
    let fields = stream.schema().into_iter().flat_map(|schema| schema.fields());
    Misfit::NoColumns { stage: planned.name.to_string(), wanted: fields.map(|field| named(field)).collect() }
}

/// Whether a stage has all of these columns now, wanted or not. `offered`: those that it may be given.
fn check_lost<'a>(
    planned: &PlannedStage,
    names: impl Iterator<Item = &'a String>,
    offered: impl IntoIterator<Item = &'a Stream>,
) -> Result<(), Misfit> {
    let fields = offered.into_iter().filter_map(Stream::schema).flat_map(|schema| schema.fields());
    let there: HashSet<&str> = fields.map(|field| field.name().as_str()).collect();
    let columns: Vec<String> =
        names.filter(|name| !there.contains(name.as_str())).map(|name| format!("`{name}`")).collect();
    let stage = planned.name.to_string();
    if columns.is_empty() { Ok(()) } else { Err(Misfit::Lost { stage, columns }) }
}

fn refused(row: u32, field: &Field, came: &ArrayRef, kind: Kind) -> Rejection {
    let message = cannot_cast(field.name(), came, row, kind);
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
