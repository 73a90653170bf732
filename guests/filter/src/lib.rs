//! Keeps the rows for which a condition over their columns holds. A row for which it is unknown, because of a
//! null, is left out, as in SQL.

use conveyor_sdk::{
    Field, Fields, Port, Result, Table, TableEmitter, TablePlan, TableTransform, table_transform,
};
use expr::{Expression, Input, Names, Program, TableScope, Wish, stage};

/// What `filter` can be told.
#[conveyor_sdk::config]
#[derive(Debug)]
pub struct Config {
    /// The condition, such as `amount > 100 and (country == 'DE' or country is null)`.
    r#where: String,
}

#[derive(Debug)]
pub struct Filter {
    condition: Program,
    wanted: Vec<Field>,
}

impl Filter {
    fn new(config: &Config, input: &Fields) -> Result<Self> {
        let mut scope = TableScope::new(input);
        let expression = Expression::parse("where", &config.r#where, Names::Columns)?;
        let condition = expression.check(&mut scope, Wish::Condition)?;
        Ok(Filter { condition, wanted: scope.wanted() })
    }
}

impl TableTransform for Filter {
    type Config = Config;

    fn plan(config: &Config, input: &Fields) -> Result<TablePlan> {
        let filter = Filter::new(config, input)?;
        Ok(filter.wanted.into_iter().fold(TablePlan::new(), TablePlan::want))
    }

    fn open(config: Config, input: &Fields) -> Result<Self> {
        Filter::new(&config, input)
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        let input = Input::of_table(table, &self.wanted, 0);
        let (mask, overflow) = self.condition.holds(&input, None);
        if overflow.is_empty() {
            stage::forward(out, Port::MAIN, &mask.truth);
        } else {
            stage::reject(out, &overflow, "where");
            out.forward_where(|row| mask.truth[row] == 1 && !overflow.at(row));
        }
        Ok(())
    }
}

table_transform!(Filter);

#[cfg(test)]
mod tests;
