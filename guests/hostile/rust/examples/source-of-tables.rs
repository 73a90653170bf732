//! A source of tables that means no good in the way that its config names: `dictionary`, `json`, `name` or `large`.

use conveyor_sdk::{Failure, Field, Fields, Json, Kind, Result, Split, TablePull, TableSource, Wanted};

#[conveyor_sdk::config]
pub struct Config {
    gives: String,
}

pub struct Hostile {
    gives: String,
}

impl TableSource for Hostile {
    type Config = Config;

    fn schema(config: &Config) -> Result<Fields> {
        let kind = match config.gives.as_str() {
            "dictionary" => Kind::Dictionaries,
            "json" => Kind::Jsons,
            "name" | "large" => Kind::Texts,
            other => return Err(Failure::Invalid(format!("it does not know `{other}`"))),
        };
        let name = if config.gives == "name" { "n".repeat(900_000) } else { "x".to_owned() };
        Ok(vec![Field::new("seq", Kind::S64s), Field::new(name, kind)].into())
    }

    fn splits(_: &Config) -> Result<Vec<String>> {
        Ok(vec!["all".into()])
    }

    fn open(config: Config, _: &Wanted) -> Result<Self> {
        Ok(Hostile { gives: config.gives })
    }

    fn assign(&mut self, _: Vec<Split>) -> Result {
        Ok(())
    }

    fn pull(&mut self, out: &mut TablePull) -> Result {
        out.of(0);
        let long = "w".repeat(900_000);
        let larger = "l".repeat(17 << 20);
        let rows = if self.gives == "dictionary" { 150 } else { 3 };
        for seq in 0..rows {
            out.row(seq).columns(|columns| {
                columns.column(0).push(seq as i64);
                let x = columns.column(1);
                match self.gives.as_str() {
                    "dictionary" => x.push_text(&long),
                    "json" => x.push_json(Json("1,\"seq\":666")),
                    _ if seq == 1 => x.push_text(&larger),
                    _ => x.push_text("small"),
                }
            });
        }
        out.cursor([]);
        out.end();
        Ok(())
    }
}

conveyor_sdk::table_source!(Hostile);
