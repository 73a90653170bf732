//! A transform of tables for tests of the host. Its config is `{"do": "<what>"}`; most of what it can do
//! breaks the contract in one way each, so it stands straight on the bindings.

wit_bindgen::generate!({ path: "../../../wit", world: "table-transform-stage" });

use std::cell::RefCell;

use conveyor::stage::columns::{Column, Data, Dictionary, Field, Kind, Varlen};
use conveyor::stage::log;
use conveyor::stage::outcomes::{Failure, Forwarded, MadeRows, Origins, TableEmission, TableOutcome};
use conveyor::stage::tables::Table;
use exports::conveyor::stage::{about, table_transform};

struct Probe;

export!(Probe);

thread_local! {
    static DO: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The one value of the config.
fn what(config: &str) -> String {
    config.split('"').nth(3).unwrap_or_default().to_owned()
}

impl about::Guest for Probe {
    fn describe() -> about::About {
        about::About {
            name: "probe-table".into(),
            version: "0.1.0".into(),
            summary: "Does what a test of the host tells it to".into(),
            config_schema: "".into(),
            needs: vec![],
            hints: vec![],
        }
    }
}

impl table_transform::Guest for Probe {
    fn plan(config: String, input: Vec<Field>) -> Result<table_transform::TablePlan, Failure> {
        let what = what(&config);
        let wanted: Vec<Field> = match &*what {
            "plan-opaque" => input.clone(),
            "filter" => input.iter().take(1).cloned().collect(),
            _ => input.iter().filter(|field| field.kind != Kind::Opaque).cloned().collect(),
        };
        let set: Vec<Field> = match &*what {
            "echo" => {
                wanted.iter().map(|f| Field { name: format!("{}_again", f.name), ..f.clone() }).collect()
            }
            "plan-set-twice" => vec![numbers(), numbers()],
            what if what.starts_with("bad-text") => vec![text("t", Kind::Texts)],
            "bad-dictionary" => vec![text("t", Kind::Dictionaries)],
            what if what.starts_with("bad-") || matches!(what, "set" | "map") => vec![numbers()],
            _ => vec![],
        };
        let select = match &*what {
            "plan-select-twice" => Some(vec![selection("a", "x"), selection("a", "y")]),
            "project" => Some(vec![selection("first", &input[0].name)]),
            _ => None,
        };
        let parts = what == "show";
        let outputs = vec![table_transform::Output { name: "main".into(), select, set }];
        Ok(table_transform::TablePlan { wanted, times: parts, keys: parts, outputs })
    }

    fn open(config: String, _input: Vec<Field>) -> Result<(), Failure> {
        std::panic::set_hook(Box::new(|info| log::write(log::Level::Error, &info.to_string(), &[])));
        DO.set(what(&config));
        Ok(())
    }

    fn process(input: Table) -> Result<TableOutcome, Failure> {
        DO.with_borrow(|what| process(what, input))
    }
}

fn selection(name: &str, column: &str) -> table_transform::Selection {
    table_transform::Selection { name: name.into(), column: column.into() }
}

fn numbers() -> Field {
    Field { name: "n".into(), kind: Kind::S64s, nullable: false, logical: "".into() }
}

fn text(name: &str, kind: Kind) -> Field {
    Field { name: name.into(), kind, nullable: true, logical: "".into() }
}

fn process(what: &str, input: Table) -> Result<TableOutcome, Failure> {
    let rows = input.rows as usize;
    let counted = |rows: usize| Data::S64s((0..rows as i64).collect());
    let texts = |offsets: &[u32], bytes: &[u8]| Varlen { offsets: offsets.into(), bytes: bytes.into() };
    let set = |data: Data| forward(Forwarded::All, vec![Column { valid: None, data }]);
    Ok(match what {
        "forward" => forward(Forwarded::All, vec![]),
        "project" => forward(Forwarded::All, vec![]),
        "filter" => forward(Forwarded::These(positive(&input)), vec![]),
        "set" => set(counted(rows)),
        "map" => map(counted(rows)),
        "bad-each" => map(counted(rows + 1)),
        "echo" => forward(Forwarded::All, input.columns),
        "show" => return Err(Failure::Invalid(format!("{input:?}"))),
        "bad-columns" => forward(Forwarded::All, vec![]),
        "bad-length" => set(counted(rows + 1)),
        "bad-kind" => set(Data::F64s(vec![0.0; rows])),
        "bad-null" => forward(
            Forwarded::All,
            vec![Column { valid: Some(vec![0; rows.div_ceil(8)]), data: counted(rows) }],
        ),
        "bad-bitmap" => {
            forward(Forwarded::All, vec![Column { valid: Some(vec![0xff; 100]), data: counted(rows) }])
        }
        "bad-text" => set(Data::Texts(texts(&vec![0; rows + 1], b""))).with_text(b"\xff\xfe"),
        "bad-text-cut" => set(Data::Texts(texts(&[0, 1, 2], "é".as_bytes()))),
        "bad-text-offsets" => set(Data::Texts(texts(&[0, 2, 1], b"ab"))),
        "bad-dictionary" => {
            let indices = vec![7; rows];
            set(Data::Dictionaries(Dictionary { indices, texts: texts(&[0, 1], b"a") }))
        }
        "panic" => panic!("row {} is not to my liking", rows - 1),
        other => return Err(Failure::Invalid(format!("`{other}` is nothing that it can do"))),
    })
}

/// One row made from each, with this column.
fn map(data: Data) -> TableOutcome {
    let set = vec![Column { valid: None, data }];
    let made = Some(MadeRows { origins: Origins::Each, times: None, keys: None, set });
    let emission = TableEmission { port: 0, forwarded: Forwarded::Nothing, set: vec![], made };
    TableOutcome { emissions: vec![emission], rejections: vec![], held: 0 }
}

fn forward(forwarded: Forwarded, set: Vec<Column>) -> TableOutcome {
    let emission = TableEmission { port: 0, forwarded, set, made: None };
    TableOutcome { emissions: vec![emission], rejections: vec![], held: 0 }
}

impl TableOutcome {
    /// With `bytes` as the last of the texts that it sets.
    fn with_text(mut self, bytes: &[u8]) -> Self {
        if let Data::Texts(texts) = &mut self.emissions[0].set[0].data {
            texts.bytes = bytes.to_vec();
            if let Some(last) = texts.offsets.last_mut() {
                *last = bytes.len() as u32;
            }
        }
        self
    }
}

/// The rows whose first column is above zero.
fn positive(input: &Table) -> Vec<u32> {
    let Some(Column { data: Data::S64s(values), .. }) = input.columns.first() else { return vec![] };
    let mut kept = vec![0; values.len() + 1];
    let mut count = 0;
    for (row, value) in values.iter().enumerate() {
        kept[count] = row as u32;
        count += usize::from(*value > 0);
    }
    kept.truncate(count);
    kept
}
