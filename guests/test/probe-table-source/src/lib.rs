//! A source of tables for tests of the host: one split of ten rows, of which it gives the wanted columns.

wit_bindgen::generate!({ path: "../../../wit", world: "table-source-stage" });

use std::cell::{Cell, RefCell};

use conveyor::stage::columns::{Column, Data, Field, Kind, Varlen};
use conveyor::stage::outcomes::Failure;
use conveyor::stage::splits::{Place, Split};
use conveyor::stage::tables::Table;
use exports::conveyor::stage::{about, table_source};

struct Probe;

export!(Probe);

thread_local! {
    static WANTED: RefCell<Vec<u32>> = const { RefCell::new(vec![]) };
    static DONE: Cell<bool> = const { Cell::new(false) };
}

const ROWS: u32 = 10;

impl about::Guest for Probe {
    fn describe() -> about::About {
        about::About {
            name: "probe-table-source".into(),
            version: "0.1.0".into(),
            summary: "Gives ten rows".into(),
            config_schema: "".into(),
            needs: vec![],
            hints: vec![],
        }
    }
}

impl table_source::Guest for Probe {
    fn schema(_config: String) -> Result<Vec<Field>, Failure> {
        let field = |name: &str, kind| Field { name: name.into(), kind, nullable: false, logical: "".into() };
        Ok(vec![field("n", Kind::S64s), field("half", Kind::F64s), field("name", Kind::Texts)])
    }

    fn splits(_config: String) -> Result<Vec<String>, Failure> {
        Ok(vec!["all".into()])
    }

    fn open(_config: String, wanted: Vec<u32>) -> Result<(), Failure> {
        WANTED.set(wanted);
        Ok(())
    }

    fn assign(_splits: Vec<Split>) -> Result<(), Failure> {
        Ok(())
    }

    fn pull(_records: u32, _bytes: u32, _wait: u32) -> Result<Option<(Table, Place)>, Failure> {
        if DONE.replace(true) {
            return Ok(None);
        }
        let column = |index: &u32| {
            let data = match index {
                0 => Data::S64s((0..i64::from(ROWS)).collect()),
                1 => Data::F64s((0..ROWS).map(|row| f64::from(row) / 2.0).collect()),
                _ => {
                    let bytes: Vec<u8> = (0..ROWS).map(|row| b'a' + row as u8).collect();
                    Data::Texts(Varlen { offsets: (0..=ROWS).collect(), bytes })
                }
            };
            Column { valid: None, data }
        };
        let columns = WANTED.with_borrow(|wanted| wanted.iter().map(column).collect());
        let place = Place {
            split: 0,
            offsets: (0..u64::from(ROWS)).map(|row| row * 7).collect(),
            refused: vec![],
            cursor: b"end".to_vec(),
            ended: true,
        };
        Ok(Some((Table { rows: ROWS, times: None, keys: None, columns }, place)))
    }

    fn committed(_split: u32, _cursor: Vec<u8>) -> Result<(), Failure> {
        Ok(())
    }
}
