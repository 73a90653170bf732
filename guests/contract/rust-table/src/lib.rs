//! Proof of the contract: the reference for the stage of tables. What it does stands in `../README.md`.

wit_bindgen::generate!({ path: "../../../wit", world: "table-transform-stage" });

use std::cell::Cell;

use conveyor::stage::columns::{Column, Data, Field, Kind, Varlen};
use conveyor::stage::log;
use conveyor::stage::outcomes::{
    Failure, Forwarded, MadeRows, Origins, Rejection, TableEmission, TableOutcome,
};
use conveyor::stage::tables::Table;
use exports::conveyor::stage::{about, table_transform};

struct Stage;

export!(Stage);

thread_local! {
    static MINIMUM: Cell<Option<f64>> = const { Cell::new(None) };
}

impl about::Guest for Stage {
    fn describe() -> about::About {
        about::About {
            name: "contract-table".into(),
            version: "0.1.0".into(),
            summary: "Keeps rows by their amount and names their region".into(),
            config_schema: concat!(
                r#"{"type":"object","required":["minimum"],"#,
                r#""properties":{"minimum":{"type":"number"}},"additionalProperties":false}"#
            )
            .into(),
            needs: vec![],
            hints: vec![("language".into(), "rust".into())],
        }
    }
}

impl table_transform::Guest for Stage {
    fn plan(config: String, input: Vec<Field>) -> Result<table_transform::TablePlan, Failure> {
        minimum(&config)?;
        let amount = check(&input)?;
        let selection = |name: &str, column: &str| table_transform::Selection {
            name: name.into(),
            column: column.into(),
        };
        let field =
            |name: &str, kind, nullable| Field { name: name.into(), kind, nullable, logical: String::new() };
        Ok(table_transform::TablePlan {
            wanted: vec![field("amount", Kind::F64s, amount.nullable), field("country", Kind::Texts, true)],
            times: true,
            keys: false,
            outputs: vec![
                table_transform::Output {
                    name: "large".into(),
                    select: None,
                    set: vec![field("region", Kind::Texts, false)],
                },
                table_transform::Output {
                    name: "small".into(),
                    select: Some(vec![selection("amount", "amount"), selection("land", "country")]),
                    set: vec![],
                },
            ],
        })
    }

    fn open(config: String, input: Vec<Field>) -> Result<(), Failure> {
        let minimum = minimum(&config)?;
        check(&input)?;
        log::write(log::Level::Info, "ready", &[("columns".into(), input.len().to_string())]);
        MINIMUM.set(Some(minimum));
        Ok(())
    }

    fn process(input: Table) -> Result<TableOutcome, Failure> {
        let Some(minimum) = MINIMUM.get() else {
            return Err(Failure::Fatal("process was called before open".into()));
        };
        process(minimum, &input)
    }
}

fn minimum(config: &str) -> Result<f64, Failure> {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(config) else {
        return Err(Failure::Invalid("config: a JSON object is wanted".into()));
    };
    let minimum = object.get("minimum").and_then(serde_json::Value::as_f64);
    minimum.ok_or_else(|| Failure::Invalid("config.minimum: a number is wanted".into()))
}

/// The field `amount` of an input that fits.
fn check(input: &[Field]) -> Result<&Field, Failure> {
    let find = |name: &str| {
        let found = input.iter().find(|field| field.name == name);
        found.ok_or_else(|| Failure::Invalid(format!("input: there is no column {name}")))
    };
    let (amount, country) = (find("amount")?, find("country")?);
    if !matches!(amount.kind, Kind::S32s | Kind::S64s | Kind::U64s | Kind::F32s | Kind::F64s | Kind::Opaque) {
        return Err(Failure::Invalid("input.amount: a number is wanted".into()));
    }
    if !matches!(country.kind, Kind::Texts | Kind::Dictionaries) {
        return Err(Failure::Invalid("input.country: a text is wanted".into()));
    }
    Ok(amount)
}

#[derive(Default)]
struct Texts {
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

impl Texts {
    fn push(&mut self, text: impl Iterator<Item = u8>) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.bytes.extend(text);
        self.offsets.push(self.bytes.len() as u32);
    }

    fn column(self) -> Column {
        Column { valid: None, data: Data::Texts(Varlen { offsets: self.offsets, bytes: self.bytes }) }
    }
}

fn process(minimum: f64, input: &Table) -> Result<TableOutcome, Failure> {
    let [
        Column { valid: amounts_valid, data: Data::F64s(amounts) },
        Column { valid, data: Data::Texts(countries) },
    ] = &input.columns[..]
    else {
        return Err(Failure::Fatal("the columns that come are not those of the plan".into()));
    };
    let (mut large, mut small, mut rejections) = (vec![], vec![], vec![]);
    let (mut regions, mut made_regions) = (Texts::default(), Texts::default());
    let (mut origins, mut times) = (vec![], vec![]);
    for (i, &amount) in amounts.iter().enumerate() {
        let of = i as u32;
        let is_large = amount >= minimum;
        if !is_valid(amounts_valid, i) {
            rejections.push(Rejection { of, code: "no-amount".into(), message: "amount is null".into() });
        } else if amount < 0.0 {
            let (code, message) = ("negative-amount".into(), "amount is negative".into());
            rejections.push(Rejection { of, code, message });
        } else if !is_large {
            small.push(of);
        } else if !is_valid(valid, i) {
            large.push(of);
            regions.push("unknown".bytes());
        } else {
            let country = &countries.bytes[countries.offsets[i] as usize..countries.offsets[i + 1] as usize];
            if !country.contains(&b'+') {
                large.push(of);
                regions.push(upper(country));
                continue;
            }
            for (part, text) in country.split(|&byte| byte == b'+').enumerate() {
                origins.push(of);
                made_regions.push(upper(text));
                times.extend(input.times.as_ref().map(|times| times[i] + part as i64));
            }
        }
    }
    let made = (!origins.is_empty()).then(|| MadeRows {
        origins: Origins::These(origins),
        times: (!times.is_empty()).then_some(times),
        keys: None,
        set: vec![made_regions.column()],
    });
    let mut emissions = vec![TableEmission {
        port: 0,
        forwarded: forwarded(input.rows, large),
        set: vec![regions.column()],
        made,
    }];
    if !small.is_empty() {
        emissions.push(TableEmission {
            port: 1,
            forwarded: forwarded(input.rows, small),
            set: vec![],
            made: None,
        });
    }
    Ok(TableOutcome { emissions, rejections, held: 0 })
}

fn forwarded(rows: u32, these: Vec<u32>) -> Forwarded {
    match these.len() {
        0 => Forwarded::Nothing,
        len if len == rows as usize => Forwarded::All,
        _ => Forwarded::These(these),
    }
}

fn upper(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().map(u8::to_ascii_uppercase)
}

fn is_valid(bitmap: &Option<Vec<u8>>, i: usize) -> bool {
    bitmap.as_ref().is_none_or(|bitmap| bitmap[i / 8] >> (i % 8) & 1 == 1)
}
