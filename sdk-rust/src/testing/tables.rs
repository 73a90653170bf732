//! Stages of typed columns under test. Rows are JSON objects.

use crate::batch::Blobs;
use crate::bindings::types::{columns::Column, outcomes, tables};
use crate::columns::ColumnBuilder;
use crate::fields::{Field, Fields};
use crate::plan::{Output, TablePlan};
use crate::table_transform::OpenTableTransform;
use crate::testing::{Rejection, TestState, Value, cells, leaving, origins, port};
use crate::varlen::BlobBuilder;
use crate::{Fingerprint, Result, TableTransform, fingerprint};

/// A row to feed to a stage, or one that came out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TestRow {
    /// A JSON object: columns by name.
    pub row: Value,
    pub key: Option<Vec<u8>>,
    pub time: Option<i64>,
}

/// A row with these columns, a JSON object.
pub fn row(row: Value) -> TestRow {
    assert!(row.is_object(), "a row is a JSON object, not {row}");
    TestRow { row, key: None, time: None }
}

impl TestRow {
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// In microseconds since the Unix epoch.
    pub fn time(mut self, micros: i64) -> Self {
        self.time = Some(micros);
        self
    }
}

impl From<Value> for TestRow {
    fn from(value: Value) -> Self {
        row(value)
    }
}

/// What left by a port.
#[derive(Debug, Clone, PartialEq)]
pub struct OutRow {
    /// The input row that it is, or comes from.
    pub origin: u32,
    pub made: bool,
    pub row: TestRow,
}

/// What a stage made of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableOutcome {
    rows: u32,
    outputs: Vec<String>,
    leaving: Vec<(u32, Vec<OutRow>)>,
    pub rejections: Vec<Rejection>,
    /// Rows that the stage never saw, because a wanted column could not be cast or is null where the plan
    /// allows none.
    pub unfit: Vec<u32>,
    pub held: u32,
}

impl TableOutcome {
    /// What left by the port of this name, in order.
    ///
    /// # Panics
    /// Where the plan has no such output.
    pub fn port(&self, name: &str) -> &[OutRow] {
        let port = port(&self.outputs, name);
        self.leaving.iter().find(|(of, _)| *of == port).map_or(&[], |(_, rows)| rows)
    }

    /// The rows that left by the port of this name, as JSON objects.
    pub fn rows(&self, name: &str) -> Vec<Value> {
        self.port(name).iter().map(|out| out.row.row.clone()).collect()
    }

    /// The codes of the rejections, with what they are of.
    pub fn codes(&self) -> Vec<(u32, &str)> {
        self.rejections.iter().map(|rejection| (rejection.of, rejection.code.as_str())).collect()
    }

    /// The input rows that left by no port, were not rejected, and fit.
    pub fn filtered(&self) -> Vec<u32> {
        let leaves = |of: u32| self.leaving.iter().any(|(_, out)| out.iter().any(|out| out.origin == of));
        let rejected = |of: u32| self.rejections.iter().any(|rejection| rejection.of == of);
        (0..self.rows).filter(|of| !leaves(*of) && !rejected(*of) && !self.unfit.contains(of)).collect()
    }
}

/// An open stage.
pub struct TableTransformTest<S> {
    open: OpenTableTransform<S>,
    plan: TablePlan,
    input: Fields,
    config: String,
    state: TestState,
}

/// Plans and opens a stage with this config, for a stream with these columns.
pub fn table_transform<S: TableTransform>(
    config: Value,
    input: impl Into<Fields>,
) -> Result<TableTransformTest<S>> {
    let (config, input) = (config.to_string(), input.into());
    let plan = OpenTableTransform::<S>::plan(&config, input.to_vec())?;
    check_plan(&plan, &input)?;
    let open = OpenTableTransform::open(&config, input.to_vec())?;
    Ok(TableTransformTest { open, plan, input, config, state: TestState::default() })
}

impl<S: TableTransform> TableTransformTest<S> {
    /// Processes one batch.
    pub fn run<R: Into<TestRow>>(&mut self, rows: impl IntoIterator<Item = R>) -> Result<TableOutcome> {
        let rows: Vec<TestRow> = rows.into_iter().map(Into::into).collect();
        let (fit, unfit): (Vec<u32>, Vec<u32>) =
            (0..rows.len() as u32).partition(|at| fits(&self.plan.wanted, &rows[*at as usize]));
        let given: Vec<&TestRow> = fit.iter().map(|at| &rows[*at as usize]).collect();
        let table = table(&self.plan.wanted, &given, self.plan.times, self.plan.keys);
        let wire = self.state.during(|| self.open.process(table))?;
        let outcomes::TableOutcome { emissions, rejections, held } = wire;
        let outputs: Vec<&Output> = self.plan.outputs().collect();
        let mut leaving = Vec::new();
        for emission in &emissions {
            let output = outputs[emission.port as usize];
            let mut out = emitted(emission, output, &self.input, &given);
            out.iter_mut().for_each(|out| out.origin = fit[out.origin as usize]);
            leaving.push((emission.port, out));
        }
        let rejections =
            rejections.into_iter().map(|wire| Rejection { of: fit[wire.of as usize], ..wire.into() });
        Ok(TableOutcome {
            rows: rows.len() as u32,
            outputs: outputs.iter().map(|output| output.name.clone()).collect(),
            leaving,
            rejections: rejections.collect(),
            unfit,
            held,
        })
    }

    /// The columns that leave by the port of this name.
    ///
    /// # Panics
    /// Where the plan has no such output.
    pub fn fields(&self, name: &str) -> Fields {
        let outputs: Vec<&Output> = self.plan.outputs().collect();
        let names: Vec<String> = outputs.iter().map(|output| output.name.clone()).collect();
        let output = outputs[port(&names, name) as usize];
        let mut fields: Vec<Field> = match &output.select {
            None => self.input.to_vec(),
            Some(select) => {
                select.iter().filter_map(|(new, old)| Some(self.input.get(old)?.named(new))).collect()
            }
        };
        for set in &output.set {
            match fields.iter_mut().find(|field| field.name == set.name) {
                Some(field) => *field = set.clone(),
                None => fields.push(set.clone()),
            }
        }
        Fields::new(fields)
    }

    /// What the stage remembers.
    pub fn state(&self) -> &TestState {
        &self.state
    }

    /// Goes on with another instance, as a host does at any time: all that stays is the state.
    pub fn recycle(&mut self) -> Result<()> {
        self.open = OpenTableTransform::open(&self.config, self.input.to_vec())?;
        Ok(())
    }

    /// What the stage says that its state rests on, as the host asks it.
    pub fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        fingerprint::asked::<OpenTableTransform<S>>(&self.config)
    }

    pub fn plan(&self) -> &TablePlan {
        &self.plan
    }

    pub fn stage(&self) -> &S {
        self.open.stage()
    }
}

/// What a host refuses when a pipeline is planned.
fn check_plan(plan: &TablePlan, input: &Fields) -> Result {
    for wanted in &plan.wanted {
        input.require(&wanted.name)?;
    }
    for output in plan.outputs() {
        for (_, old) in output.select.iter().flatten() {
            input.require(old)?;
        }
    }
    Ok(())
}

pub(super) fn fits(wanted: &[Field], row: &TestRow) -> bool {
    wanted.iter().all(|field| cells::push(&mut ColumnBuilder::new(field), field, &row.row[&field.name]))
}

/// The rows as a host would hand them over.
pub(super) fn table(wanted: &[Field], rows: &[&TestRow], times: bool, keys: bool) -> tables::Table {
    let column = |field: &Field| -> Column {
        // What is wanted without nulls has none here, and a column that may have none builds as one that may.
        let mut column = ColumnBuilder::new(field);
        rows.iter().for_each(|row| {
            cells::push(&mut column, field, &row.row[&field.name]);
        });
        column.finish(rows.len()).unwrap_or_else(|problem| panic!("{problem}"))
    };
    let mut built = BlobBuilder::default();
    rows.iter().for_each(|row| built.push(row.key.as_deref()));
    let has_times = times && rows.iter().any(|row| row.time.is_some());
    let has_keys = keys && rows.iter().any(|row| row.key.is_some());
    tables::Table {
        rows: rows.len() as u32,
        times: has_times.then(|| rows.iter().map(|row| row.time.unwrap_or_default()).collect()),
        keys: has_keys.then(|| built.finish()),
        columns: wanted.iter().map(column).collect(),
    }
}

/// The rows of a table that a source gave, with these columns.
pub(super) fn unpack(table: &tables::Table, fields: &[&Field]) -> Vec<TestRow> {
    let keys = Blobs::of_part(&table.keys);
    (0..table.rows as usize)
        .map(|at| TestRow {
            row: fields
                .iter()
                .zip(&table.columns)
                .map(|(field, column)| (field.name.clone(), cells::get(column, at)))
                .collect(),
            key: keys.get(at).map(<[u8]>::to_vec),
            time: table.times.as_ref().map(|times| times[at]),
        })
        .collect()
}

fn emitted(
    emission: &outcomes::TableEmission,
    output: &Output,
    input: &Fields,
    rows: &[&TestRow],
) -> Vec<OutRow> {
    let made = emission.made.as_ref();
    let out = |(origin, nth_made, nth): (u32, Option<usize>, usize)| {
        let from = *rows.get(origin as usize).expect("an origin is one of the input rows");
        let made = nth_made.and(made);
        let set = made.map_or(&emission.set, |made| &made.set);
        assert_eq!(set.len(), output.set.len(), "a column for each that output `{}` sets", output.name);
        let mut row = selected(output, input, &from.row);
        output.set.iter().zip(set).for_each(|(field, column)| row[&field.name] = cells::get(column, nth));
        let time = match made.and_then(|made| made.times.as_ref()) {
            Some(times) => Some(times[nth]),
            None => from.time,
        };
        let key = match made.and_then(|made| made.keys.as_ref()) {
            Some(keys) => Blobs::of_column(keys).get(nth).map(<[u8]>::to_vec),
            None => from.key.clone(),
        };
        OutRow { origin, made: made.is_some(), row: TestRow { row, key, time } }
    };
    let origins = made.map_or_else(Vec::new, |made| origins(&made.origins, rows.len()));
    leaving(&emission.forwarded, &origins, rows.len() as u32).into_iter().map(out).collect()
}

fn selected(output: &Output, input: &Fields, row: &Value) -> Value {
    match &output.select {
        None => input.iter().map(|field| (field.name.clone(), row[&field.name].clone())).collect(),
        Some(select) => select.iter().map(|(new, old)| (new.clone(), row[old].clone())).collect(),
    }
}
