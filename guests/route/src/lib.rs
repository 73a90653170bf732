//! Sends each row out by the port of the first condition that holds. What fulfils none leaves by the port that
//! `rest` names, or is left out.

use conveyor_sdk::{
    Failure, Field, Fields, Output, Port, Result, Table, TableEmitter, TablePlan, TableTransform,
    table_transform,
};
use expr::config::InOrder;
use expr::{Expression, Input, Names, Program, TableScope, Wish, stage};

/// What `route` can be told.
#[conveyor_sdk::config]
#[derive(Debug)]
pub struct Config {
    /// The ports and the condition of each, tried in this order: `{ germany: "country == 'DE'" }`. The first is
    /// the main port.
    routes: InOrder<String>,
    /// The port for rows that fulfil no condition; without it they are left out.
    #[serde(default)]
    rest: Option<String>,
}

#[derive(Debug)]
pub struct Route {
    routes: Vec<(String, Program)>,
    rest: Option<String>,
    wanted: Vec<Field>,
}

impl Route {
    fn new(config: &Config, input: &Fields) -> Result<Self> {
        let mut scope = TableScope::new(input);
        let mut routes = Vec::new();
        if config.routes.is_empty() {
            return Err(Failure::invalid("config: `routes`: name at least one port and its condition"));
        }
        for (port, text) in config.routes.iter() {
            let key = format!("routes.{port}");
            check_port(&key, port)?;
            let condition =
                Expression::parse(&key, text, Names::Columns)?.check(&mut scope, Wish::Condition)?;
            routes.push((port.to_owned(), condition));
        }
        if let Some(rest) = &config.rest {
            check_port("rest", rest)?;
            if routes.iter().any(|(port, _)| port == rest) {
                return Err(Failure::invalid(format!(
                    "config: `rest`: `{rest}` is a port of `routes` already"
                )));
            }
        }
        Ok(Route { routes, rest: config.rest.clone(), wanted: scope.wanted() })
    }
}

/// Ports are named in manifests, so they are as stages are.
fn check_port(key: &str, name: &str) -> Result {
    let valid =
        |found: char| found.is_ascii_lowercase() || found.is_ascii_digit() || matches!(found, '-' | '_');
    if !name.is_empty() && name.len() <= 63 && name.chars().all(valid) {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "config: `{key}`: `{name}` cannot be the name of a port; use up to 63 of a-z, 0-9, `-` and `_`"
    )))
}

impl TableTransform for Route {
    type Config = Config;

    fn plan(config: &Config, input: &Fields) -> Result<TablePlan> {
        let Route { routes, rest, wanted } = Route::new(config, input)?;
        let mut outputs = routes.into_iter().map(|(port, _)| port).chain(rest).map(Output::new);
        let plan = outputs.next().map_or_else(TablePlan::new, |main| TablePlan::new().main(main));
        let plan = outputs.fold(plan, TablePlan::output);
        Ok(wanted.into_iter().fold(plan, TablePlan::want))
    }

    fn open(config: Config, input: &Fields) -> Result<Self> {
        Route::new(&config, input)
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        let input = Input::of_table(table, &self.wanted, 0);
        let mut open = vec![1; table.len()];
        for (port, (name, condition)) in self.routes.iter().enumerate() {
            let (mask, overflow) = condition.holds(&input, Some(&open));
            if !overflow.is_empty() {
                stage::reject(out, &overflow, &format!("routes.{name}"));
                overflow.rows().for_each(|row| open[row as usize] = 0);
            }
            let taken: Vec<u8> =
                open.iter().zip(mask.truth.iter()).map(|(open, truth)| open & truth).collect();
            stage::forward(out, Port(port as u32), &taken);
            open.iter_mut().zip(&taken).for_each(|(open, taken)| *open ^= taken);
        }
        if self.rest.is_some() {
            stage::forward(out, Port(self.routes.len() as u32), &open);
        }
        Ok(())
    }
}

table_transform!(Route);

#[cfg(test)]
mod tests;
