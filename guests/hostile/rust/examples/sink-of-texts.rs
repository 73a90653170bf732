//! Wants column `x` as texts, whatever it is, and refuses what has not 900 kB. It is honest: what comes to it is not.

use conveyor_sdk::{
    At, Context, Field, Fields, Ids, Kind, NoConfig, Rejected, Result, Table, TableSink, TableSinkPlan,
};

pub struct Texts;

impl TableSink for Texts {
    type Config = NoConfig;

    fn plan(_: &NoConfig, _: &Fields) -> Result<TableSinkPlan> {
        Ok(TableSinkPlan::new().want(Field::new("x", Kind::Texts)))
    }

    fn open(_: NoConfig, _: &Fields, _: Context) -> Result<Self> {
        Ok(Texts)
    }

    fn write(&mut self, table: &Table, _: Ids<'_>, rejected: &mut Rejected) -> Result {
        let texts = table.texts(0);
        for (at, text) in texts.iter().enumerate() {
            if text.is_none_or(|text| text.len() != 900_000) {
                rejected.reject(At(at as u32), "not-all", "the text is not all there");
            }
        }
        Ok(())
    }
}

conveyor_sdk::table_sink!(Texts);
