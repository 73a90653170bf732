//! A sink of tables for tests of the host: it wants the first column alone and says in its token what it
//! has seen of it.

wit_bindgen::generate!({ path: "../../../wit", world: "table-sink-stage" });

use std::cell::RefCell;

use conveyor::stage::columns::Field;
use conveyor::stage::commits::Context;
use conveyor::stage::outcomes::{Failure, Rejection};
use conveyor::stage::tables::Table;
use exports::conveyor::stage::{about, table_sink};

struct Probe;

export!(Probe);

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(vec![]) };
}

impl about::Guest for Probe {
    fn describe() -> about::About {
        about::About {
            name: "probe-table-sink".into(),
            version: "0.1.0".into(),
            summary: "Says what it has seen".into(),
            config_schema: "".into(),
            needs: vec![],
            hints: vec![],
        }
    }
}

impl table_sink::Guest for Probe {
    fn plan(_config: String, input: Vec<Field>) -> Result<table_sink::TableSinkPlan, Failure> {
        let wanted = input.into_iter().take(1).collect();
        Ok(table_sink::TableSinkPlan { wanted, times: false, keys: false, ids: false, commits: false })
    }

    fn open(_config: String, input: Vec<Field>, _context: Context) -> Result<(), Failure> {
        let names: Vec<&str> = input.iter().map(|field| field.name.as_str()).collect();
        SEEN.with_borrow_mut(|all| all.push(format!("open {}", names.join(","))));
        Ok(())
    }

    fn write(input: Table, ids: Option<Vec<u8>>) -> Result<Vec<Rejection>, Failure> {
        let seen = format!("write {} ids {ids:?} {:?}", input.rows, input.columns);
        SEEN.with_borrow_mut(|all| all.push(seen));
        // More than there are rows, where it is told to by a batch of three.
        let rejection = |of| Rejection { of, code: "no".into(), message: "not that one".into() };
        Ok(if input.rows == 3 { vec![rejection(3)] } else { vec![] })
    }

    fn prepare(_checkpoint: u64) -> Result<Vec<u8>, Failure> {
        Ok(SEEN.with_borrow(|all| all.join("; ")).into_bytes())
    }

    fn commit(_token: Vec<u8>) -> Result<(), Failure> {
        Ok(())
    }
}
