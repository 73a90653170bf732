//! Keeps, renames, reorders and drops columns, and sets new ones from expressions over those that come in.

use conveyor_sdk::{
    Failure, Field, Fields, Port, Result, Table, TableEmitter, TablePlan, TableTransform, table_transform,
};
use expr::config::InOrder;
use expr::{Expression, Input, Names, Program, TableScope, Wish, stage};

mod columns;

use columns::{Columns, Selection};

/// What `project` can be told.
#[conveyor_sdk::config]
#[derive(Debug)]
pub struct Config {
    /// The columns that go on, in this order: `[id, { total: amount }]`, or `{ id: id, total: amount }`, a new
    /// name before its old one. Without it, all of them.
    #[serde(default)]
    columns: Option<Columns>,
    /// Columns that do not go on, where the others do.
    #[serde(default)]
    drop: Vec<String>,
    /// New names of columns that go on where they are: `{ total: amount }`, the new name before the old one.
    #[serde(default)]
    rename: InOrder<String>,
    /// Columns that are added, or put in place of one of the same name: `{ total: "price * quantity" }`. The
    /// expressions are over the columns that come in, by the names that they have there.
    #[serde(default)]
    set: InOrder<String>,
}

#[derive(Debug)]
pub struct Project {
    select: Option<Vec<(String, String)>>,
    set: Vec<(Field, Program)>,
    wanted: Vec<Field>,
}

impl Project {
    fn new(config: &Config, input: &Fields) -> Result<Self> {
        let selection =
            Selection { columns: config.columns.as_ref(), drop: &config.drop, rename: &config.rename };
        let select = selection.resolve(input)?;
        if select.is_none() && config.set.is_empty() {
            return Err(Failure::invalid(
                "config: say at least one of `columns`, `drop`, `rename` and `set`",
            ));
        }
        let (mut scope, mut set) = (TableScope::new(input), Vec::new());
        for (name, text) in config.set.iter() {
            if name.is_empty() {
                return Err(Failure::invalid("config: `set`: a column has a name"));
            }
            let expression = Expression::parse(&format!("set.{name}"), text, Names::Columns)?;
            let program = expression.check(&mut scope, Wish::Value)?;
            let field = Field { nullable: program.nullable(), ..Field::new(name, program.column_kind()) };
            set.push((field, program));
        }
        Ok(Project { select, set, wanted: scope.wanted() })
    }
}

impl TableTransform for Project {
    type Config = Config;

    fn plan(config: &Config, input: &Fields) -> Result<TablePlan> {
        let Project { select, set, wanted } = Project::new(config, input)?;
        let plan = wanted.into_iter().fold(TablePlan::new(), TablePlan::want);
        let plan = match select {
            Some(select) => plan.select_as(select),
            None => plan,
        };
        Ok(set.into_iter().fold(plan, |plan, (field, _)| plan.set(field)))
    }

    fn open(config: Config, input: &Fields) -> Result<Self> {
        Project::new(&config, input)
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        let input = Input::of_table(table, &self.wanted, 0);
        let mut vectors = Vec::with_capacity(self.set.len());
        let mut kept: Option<Vec<u8>> = None;
        for (field, program) in &self.set {
            let (vector, overflow) = program.values(&input);
            // A row is rejected once, for the first of its expressions that goes wrong.
            for row in overflow.rows() {
                let kept = kept.get_or_insert_with(|| vec![1; table.len()]);
                if std::mem::take(&mut kept[row as usize]) == 1 {
                    stage::reject_row(out, row, &format!("set.{}", field.name));
                }
            }
            vectors.push(vector);
        }
        match &kept {
            None => out.forward_all(),
            Some(kept) => out.forward_where(|row| kept[row] == 1),
        }
        let mut columns = out.set(Port::MAIN);
        for (index, vector) in vectors.iter().enumerate() {
            stage::write(columns.column(index), vector, table.len(), kept.as_deref());
        }
        Ok(())
    }
}

table_transform!(Project);

#[cfg(test)]
mod tests;
