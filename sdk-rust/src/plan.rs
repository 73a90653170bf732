//! What a stage says when a pipeline is planned: what it wants of a batch, and what leaves by which port.

use crate::bindings::{table_transform, transform};
use crate::columns::FieldsOf;
use crate::fields::Field;

/// A named output of a stage: its place among the outputs of the plan, of which the first is the main one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

impl Port {
    pub const MAIN: Port = Port(0);
}

/// The name of the main output where a plan names none.
pub const MAIN_OUTPUT: &str = "main";

/// Which parts of a batch come, beside the values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    pub times: bool,
    pub keys: bool,
    pub headers: bool,
}

/// The plan of a [`Transform`](crate::Transform). It has one output, `main`, and gets the values alone,
/// unless it says more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordPlan {
    parts: Parts,
    outputs: Vec<String>,
}

impl RecordPlan {
    pub fn new() -> Self {
        Self::default()
    }

    /// Gets the event times of the records.
    pub fn times(mut self) -> Self {
        self.parts.times = true;
        self
    }

    /// Gets the keys of the records.
    pub fn keys(mut self) -> Self {
        self.parts.keys = true;
        self
    }

    /// Gets the headers of the records.
    pub fn headers(mut self) -> Self {
        self.parts.headers = true;
        self
    }

    /// One more output: the first that is named is the main one.
    pub fn output(mut self, name: impl Into<String>) -> Self {
        self.outputs.push(name.into());
        self
    }

    pub(crate) fn parts(&self) -> Parts {
        self.parts
    }

    pub(crate) fn outputs(&self) -> Vec<String> {
        if self.outputs.is_empty() { vec![MAIN_OUTPUT.to_owned()] } else { self.outputs.clone() }
    }
}

impl From<RecordPlan> for transform::exports::conveyor::stage::transform::RecordPlan {
    fn from(plan: RecordPlan) -> Self {
        let Parts { times, keys, headers } = plan.parts;
        Self { times, keys, headers, outputs: plan.outputs() }
    }
}

/// One output of a [`TablePlan`]: every column of the input goes on and none is set, unless it says more.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub(crate) name: String,
    pub(crate) select: Option<Vec<(String, String)>>,
    pub(crate) set: Vec<Field>,
}

impl Output {
    pub fn new(name: impl Into<String>) -> Self {
        Output { name: name.into(), select: None, set: Vec::new() }
    }

    /// The columns of the input that go on, in this order.
    pub fn select<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        self.select_as(names.into_iter().map(|name| {
            let name = name.into();
            (name.clone(), name)
        }))
    }

    /// The same with new names: (new, old).
    pub fn select_as<N: Into<String>, O: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = (N, O)>,
    ) -> Self {
        let names = names.into_iter().map(|(new, old)| (new.into(), old.into()));
        self.select.get_or_insert_default().extend(names);
        self
    }

    /// A column that the stage adds, or puts in place of the one of the same name.
    pub fn set(mut self, field: Field) -> Self {
        self.set.push(field);
        self
    }

    /// The columns of a derived [`Row`](crate::Row), for `forward_with` and `make`.
    pub fn set_row<R: FieldsOf>(mut self) -> Self {
        self.set.extend(R::fields());
        self
    }
}

/// The plan of a [`TableTransform`](crate::TableTransform). It wants no column, and has one output, `main`,
/// where everything goes on, unless it says more.
#[derive(Debug, Clone, PartialEq)]
pub struct TablePlan {
    pub(crate) wanted: Vec<Field>,
    pub(crate) times: bool,
    pub(crate) keys: bool,
    main: Output,
    others: Vec<Output>,
}

impl Default for TablePlan {
    fn default() -> Self {
        TablePlan {
            wanted: Vec::new(),
            times: false,
            keys: false,
            main: Output::new(MAIN_OUTPUT),
            others: Vec::new(),
        }
    }
}

impl TablePlan {
    pub fn new() -> Self {
        Self::default()
    }

    /// Wants the columns of a derived [`Row`](crate::Row), to be read with `table.rows::<R>()`. To be said
    /// before any other column is wanted.
    pub fn of<R: FieldsOf>() -> Self {
        TablePlan { wanted: R::fields(), ..Self::default() }
    }

    /// Wants one more column, as this kind. Columns come in the order in which they are wanted.
    pub fn want(mut self, field: Field) -> Self {
        self.wanted.push(field);
        self
    }

    /// Gets the event times of the rows.
    pub fn times(mut self) -> Self {
        self.times = true;
        self
    }

    /// Gets the keys of the rows.
    pub fn keys(mut self) -> Self {
        self.keys = true;
        self
    }

    /// [`Output::select`] on the main output.
    pub fn select<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.main = self.main.select(names);
        self
    }

    /// [`Output::select_as`] on the main output.
    pub fn select_as<N: Into<String>, O: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = (N, O)>,
    ) -> Self {
        self.main = self.main.select_as(names);
        self
    }

    /// [`Output::set`] on the main output.
    pub fn set(mut self, field: Field) -> Self {
        self.main = self.main.set(field);
        self
    }

    /// [`Output::set_row`] on the main output.
    pub fn set_row<R: FieldsOf>(mut self) -> Self {
        self.main = self.main.set_row::<R>();
        self
    }

    /// Another main output in place of the one that there is.
    pub fn main(mut self, output: Output) -> Self {
        self.main = output;
        self
    }

    /// One more output, [`Port`] 1 and on.
    pub fn output(mut self, output: Output) -> Self {
        self.others.push(output);
        self
    }

    pub(crate) fn outputs(&self) -> impl Iterator<Item = &Output> {
        std::iter::once(&self.main).chain(&self.others)
    }
}

impl From<TablePlan> for table_transform::exports::conveyor::stage::table_transform::TablePlan {
    fn from(plan: TablePlan) -> Self {
        use table_transform::exports::conveyor::stage::table_transform as wit;
        let selections = |select: Vec<(String, String)>| {
            select.into_iter().map(|(name, column)| wit::Selection { name, column }).collect()
        };
        let outputs = plan
            .outputs()
            .cloned()
            .map(|Output { name, select, set }| wit::Output { name, select: select.map(selections), set })
            .collect();
        Self { wanted: plan.wanted, times: plan.times, keys: plan.keys, outputs }
    }
}
