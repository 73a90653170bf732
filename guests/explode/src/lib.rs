//! Makes one row of each element of a list. The other columns are those of the row that the list was in, and
//! are neither read nor copied here.

use conveyor_sdk::{
    At, ColumnBuilder, Day, Failure, Field, Fields, Json, Kind, Result, RowColumns, Table, TableEmitter,
    TablePlan, TableTransform, Time, table_transform,
};
use expr::config::column;
use expr::time;
use json_scan::{Malformed, NoList, Value, elements};

/// What `explode` can be told.
#[conveyor_sdk::config]
#[derive(Debug)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// The column that holds the lists, as JSON.
    column: String,
    /// What the elements are. An element of another kind has its row rejected.
    #[serde(default)]
    r#as: Element,
    /// The column that the elements go to. It takes the place of that of the lists, unless it says another.
    #[serde(default)]
    into: Option<String>,
    /// A column for the place of the element in its list, from 0 on; without it there is none.
    #[serde(default)]
    index: Option<String>,
    /// What becomes of a row whose list is empty or null.
    #[serde(default)]
    empty: Empty,
    /// Whether the lists go on beside their elements; only where `into` says another column.
    #[serde(default)]
    keep_list: bool,
}

/// What the elements of the lists are.
#[conveyor_sdk::config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Element {
    /// Texts; a number or a truth value as it is written.
    #[default]
    Text,
    Int,
    Float,
    Bool,
    /// Texts such as 2024-12-31T23:59:59Z.
    Timestamp,
    /// Texts such as 2024-12-31.
    Date,
    /// Anything, as JSON.
    Json,
}

/// What becomes of a row whose list is empty or null.
#[conveyor_sdk::config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Empty {
    /// It is left out.
    #[default]
    Drop,
    /// It goes on once, without an element.
    Keep,
}

#[derive(Debug)]
pub struct Explode {
    config: Config,
    wanted: Field,
}

impl Config {
    fn into(&self) -> &str {
        self.into.as_deref().unwrap_or(&self.column)
    }

    /// The column of lists as it is wanted.
    fn check(&self, input: &Fields) -> Result<Field> {
        let field = column("column", &self.column, input)?;
        let kind = match field.kind {
            Kind::Jsons | Kind::Opaque => Kind::Jsons,
            Kind::Texts | Kind::Dictionaries => Kind::Texts,
            other => {
                return Err(Failure::invalid(format!(
                    "config: `column`: `{}` holds {other:?}, and lists are JSON or text",
                    self.column
                )));
            }
        };
        if self.index.as_deref() == Some(self.into()) {
            let name = self.into();
            return Err(Failure::invalid(format!(
                "config: `index`: `{name}` is the column of the elements; take another name"
            )));
        }
        if self.keep_list && self.into() == self.column {
            return Err(Failure::invalid(
                "config: `keep-list`: name another column for the elements with `into`",
            ));
        }
        Ok(Field { nullable: field.nullable, ..Field::new(&self.column, kind) })
    }
}

impl TableTransform for Explode {
    type Config = Config;

    fn plan(config: &Config, input: &Fields) -> Result<TablePlan> {
        let mut plan = TablePlan::new().want(config.check(input)?);
        if config.into() != config.column && !config.keep_list {
            let others = input.iter().map(|field| field.name.as_str()).filter(|name| *name != config.column);
            plan = plan.select(others);
        }
        plan = plan.set(Field::new(config.into(), config.r#as.kind()));
        Ok(match &config.index {
            Some(index) => plan.set(Field::new(index, Kind::S64s)),
            None => plan,
        })
    }

    fn open(config: Config, input: &Fields) -> Result<Self> {
        let wanted = config.check(input)?;
        Ok(Explode { config, wanted })
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        let lists = if self.wanted.kind == Kind::Jsons { table.jsons(0) } else { table.texts(0) };
        let mut found: Vec<Value<'_>> = Vec::new();
        for row in 0..table.len() {
            let at = At(row as u32);
            found.clear();
            if let Err(reason) = lists.get(row).map_or(Ok(()), |list| elements(list, &mut found)) {
                self.refuse(reason, at, out);
                continue;
            }
            if let Some((place, other)) = self.misfit(&found) {
                let (column, wanted) = (&self.config.column, self.config.r#as.name());
                let message =
                    format!("`{column}`: element {place} is {}, and {wanted} is wanted", other.name());
                out.reject(at, "bad-element", message);
                continue;
            }
            if found.is_empty() && self.config.empty == Empty::Keep {
                out.make(at).columns(|columns| self.write(columns, None, None));
            }
            for (place, element) in found.iter().enumerate() {
                out.make(at).columns(|columns| self.write(columns, Some(*element), Some(place as i64)));
            }
        }
        Ok(())
    }
}

impl Explode {
    fn refuse(&self, reason: NoList<'_>, at: At, out: &mut TableEmitter) {
        let column = &self.config.column;
        match reason {
            NoList::Malformed(malformed) => {
                out.reject(at, Malformed::CODE, format!("`{column}` is not JSON: {malformed}"));
            }
            NoList::Other(other) => {
                out.reject(at, "no-list", format!("`{column}` is {}, and a list is wanted", other.name()));
            }
        }
    }

    /// The first element that is not of the kind that is wanted.
    fn misfit<'t>(&self, found: &[Value<'t>]) -> Option<(usize, Value<'t>)> {
        let fits = |value: &Value<'t>| *value == Value::Null || self.config.r#as.fits(*value);
        found.iter().copied().enumerate().find(|(_, value)| !fits(value))
    }

    fn write(&self, columns: &mut RowColumns<'_>, element: Option<Value<'_>>, place: Option<i64>) {
        let to = columns.column(0);
        match element {
            None | Some(Value::Null) => to.push_null(),
            Some(element) => self.config.r#as.write(element, to),
        }
        if self.config.index.is_some() {
            columns.column(1).push(place);
        }
    }
}

impl Element {
    fn kind(self) -> Kind {
        match self {
            Element::Text => Kind::Texts,
            Element::Int => Kind::S64s,
            Element::Float => Kind::F64s,
            Element::Bool => Kind::Bools,
            Element::Timestamp => Kind::Times,
            Element::Date => Kind::Days,
            Element::Json => Kind::Jsons,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Element::Text => "a text",
            Element::Int => "an integer of 64 bits",
            Element::Float => "a number",
            Element::Bool => "a truth value",
            Element::Timestamp => "a timestamp such as 2024-12-31T23:59:59Z",
            Element::Date => "a date such as 2024-12-31",
            Element::Json => "JSON",
        }
    }

    fn fits(self, value: Value<'_>) -> bool {
        match (self, value) {
            (Element::Text, Value::Text(_) | Value::Number(_) | Value::Bool(_)) => true,
            (Element::Int, Value::Number(digits)) => digits.parse::<i64>().is_ok(),
            (Element::Float, Value::Number(digits)) => digits.parse::<f64>().is_ok_and(f64::is_finite),
            (Element::Bool, Value::Bool(_)) | (Element::Json, _) => true,
            (Element::Timestamp, Value::Text(text)) => time::parse_timestamp(&text.text()).is_some(),
            (Element::Date, Value::Text(text)) => time::parse_date(&text.text()).is_some(),
            _ => false,
        }
    }

    /// What does not fit is null; `fits` was asked before.
    fn write(self, value: Value<'_>, to: &mut ColumnBuilder) {
        match (self, value) {
            (Element::Text, Value::Text(text)) => to.push_text(&text.text()),
            (Element::Text, Value::Number(digits)) => to.push_text(digits),
            (Element::Text, Value::Bool(value)) => to.push_text(if value { "true" } else { "false" }),
            (Element::Int, Value::Number(digits)) => to.push(digits.parse::<i64>().ok()),
            (Element::Float, Value::Number(digits)) => to.push(digits.parse::<f64>().ok()),
            (Element::Bool, Value::Bool(value)) => to.push_bool(value),
            (Element::Timestamp, Value::Text(text)) => to.push(time::parse_timestamp(&text.text()).map(Time)),
            (Element::Date, Value::Text(text)) => to.push(time::parse_date(&text.text()).map(Day)),
            (Element::Json, value) => write_json(value, to),
            _ => to.push_null(),
        }
    }
}

fn write_json(value: Value<'_>, to: &mut ColumnBuilder) {
    match value {
        Value::Null => to.push_json(Json("null")),
        Value::Bool(true) => to.push_json(Json("true")),
        Value::Bool(false) => to.push_json(Json("false")),
        Value::Number(text) | Value::List(text) | Value::Object(text) => to.push_json(Json(text)),
        Value::Text(text) => to.push_json(Json(&format!("\"{}\"", text.raw()))),
    }
}

table_transform!(Explode);

#[cfg(test)]
mod tests;
