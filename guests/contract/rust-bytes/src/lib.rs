//! Proof of the contract: the reference for the stage of bytes. What it does stands in `../README.md`.

wit_bindgen::generate!({ path: "../../../wit", world: "transform-stage" });

use std::cell::RefCell;

use conveyor::stage::columns::{BlobColumn, Varlen};
use conveyor::stage::log;
use conveyor::stage::outcomes::{
    Emission, Failure, Forwarded, MadeRecords, Origins, Outcome, Rejection, Retry,
};
use conveyor::stage::records::{Batch, Headers};
use exports::conveyor::stage::{about, transform};

struct Stage;

export!(Stage);

#[derive(Clone, Copy)]
struct Config {
    keep: u8,
    separator: u8,
    busy: Option<u8>,
}

thread_local! {
    static CONFIG: RefCell<Option<Config>> = const { RefCell::new(None) };
}

impl about::Guest for Stage {
    fn describe() -> about::About {
        about::About {
            name: "contract-bytes".into(),
            version: "0.1.0".into(),
            summary: "Keeps records by their first byte and splits them at a separator".into(),
            config_schema: concat!(
                r#"{"type":"object","required":["keep"],"properties":{"keep":{"type":"string"},"#,
                r#""separator":{"type":"string"},"busy":{"type":"string"}},"additionalProperties":false}"#
            )
            .into(),
            needs: vec![],
            hints: vec![("language".into(), "rust".into())],
        }
    }
}

impl transform::Guest for Stage {
    fn plan(config: String) -> Result<transform::RecordPlan, Failure> {
        parse(&config)?;
        Ok(transform::RecordPlan {
            times: true,
            keys: true,
            headers: true,
            outputs: vec!["main".into(), "deleted".into()],
        })
    }

    fn open(config: String) -> Result<(), Failure> {
        let config = parse(&config)?;
        let keep = char::from(config.keep).to_string();
        log::write(log::Level::Info, "ready", &[("keep".into(), keep)]);
        CONFIG.set(Some(config));
        Ok(())
    }

    fn process(input: Batch) -> Result<Outcome, Failure> {
        let Some(config) = CONFIG.with_borrow(|config| *config) else {
            return Err(Failure::Fatal("process was called before open".into()));
        };
        process(config, &input)
    }
}

fn parse(text: &str) -> Result<Config, Failure> {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) else {
        return Err(Failure::Invalid("config: a JSON object is wanted".into()));
    };
    let byte = |name: &str| match object.get(name) {
        None => Ok(None),
        Some(serde_json::Value::String(text)) if text.len() == 1 => Ok(Some(text.as_bytes()[0])),
        Some(_) => Err(wanted(name)),
    };
    Ok(Config {
        keep: byte("keep")?.ok_or_else(|| wanted("keep"))?,
        separator: byte("separator")?.unwrap_or(b'|'),
        busy: byte("busy")?,
    })
}

fn wanted(name: &str) -> Failure {
    Failure::Invalid(format!("config.{name}: a text of one ASCII character is wanted"))
}

/// The records that are made, in the form in which they leave.
#[derive(Default)]
struct Made {
    origins: Vec<u32>,
    times: Vec<i64>,
    keys: Blobs,
    values: Blobs,
}

#[derive(Default)]
struct Blobs {
    valid: Vec<u8>,
    offsets: Vec<u32>,
    bytes: Vec<u8>,
    rows: usize,
}

impl Blobs {
    fn push(&mut self, parts: Option<[&[u8]; 2]>) {
        if self.rows == 0 {
            self.offsets.push(0);
        }
        if self.rows.is_multiple_of(8) {
            self.valid.push(0);
        }
        for part in parts.iter().flatten() {
            self.bytes.extend_from_slice(part);
        }
        self.offsets.push(self.bytes.len() as u32);
        self.valid[self.rows / 8] |= u8::from(parts.is_some()) << (self.rows % 8);
        self.rows += 1;
    }

    fn finish(self) -> BlobColumn {
        BlobColumn { valid: Some(self.valid), blobs: Varlen { offsets: self.offsets, bytes: self.bytes } }
    }
}

fn process(config: Config, input: &Batch) -> Result<Outcome, Failure> {
    let dropped = dropped(input);
    let (mut main, mut deleted, mut rejections) = (vec![], vec![], vec![]);
    let mut made = Made::default();
    for i in 0..input.rows {
        if dropped.contains(&i) {
            continue;
        }
        let Some(value) = get(&input.values, i as usize) else {
            deleted.push(i);
            continue;
        };
        match value.first() {
            None => rejections.push(Rejection {
                of: i,
                code: "empty".into(),
                message: "the value has no bytes".into(),
            }),
            Some(&first) if config.busy == Some(first) => {
                let message = format!("record {i} asks for another try");
                return Err(Failure::Retry(Retry { after_ms: 250, message }));
            }
            Some(&first) if first != config.keep => {}
            Some(_) => match value.iter().position(|&byte| byte == config.separator) {
                None => main.push(i),
                Some(at) => split(input, i, &value[..at], &value[at + 1..], &mut made),
            },
        }
    }
    let mut emissions =
        vec![Emission { port: 0, forwarded: forwarded(input.rows, main), made: finish(made) }];
    if !deleted.is_empty() {
        emissions.push(Emission { port: 1, forwarded: forwarded(input.rows, deleted), made: None });
    }
    Ok(Outcome { emissions, rejections, held: 0 })
}

fn split(input: &Batch, i: u32, left: &[u8], right: &[u8], made: &mut Made) {
    made.origins.extend([i, i]);
    made.values.push(Some([left, b""]));
    made.values.push(Some([right, b""]));
    if let Some(times) = &input.times {
        let time = times[i as usize];
        made.times.extend([time, time + 1]);
    }
    if let Some(keys) = &input.keys {
        let key = get(keys, i as usize);
        made.keys.push(key.map(|key| [key, b"".as_slice()]));
        made.keys.push(key.map(|key| [key, b"/2".as_slice()]));
    }
}

fn finish(made: Made) -> Option<MadeRecords> {
    let rows = made.origins.len();
    if rows == 0 {
        return None;
    }
    let headers = Headers {
        names: vec!["part".into()],
        of: (0..rows as u32).collect(),
        name: vec![0; rows],
        values: Varlen {
            offsets: (0..=rows as u32).collect(),
            bytes: (0..rows).map(|i| if i % 2 == 0 { b'1' } else { b'2' }).collect(),
        },
    };
    Some(MadeRecords {
        origins: Origins::These(made.origins),
        times: (!made.times.is_empty()).then_some(made.times),
        keys: (made.keys.rows > 0).then(|| made.keys.finish()),
        headers: Some(headers),
        values: made.values.finish(),
    })
}

fn forwarded(rows: u32, these: Vec<u32>) -> Forwarded {
    match these.len() {
        0 => Forwarded::Nothing,
        len if len == rows as usize => Forwarded::All,
        _ => Forwarded::These(these),
    }
}

/// The records that carry a header named `drop`.
fn dropped(input: &Batch) -> Vec<u32> {
    let Some(headers) = &input.headers else { return vec![] };
    let named = headers.of.iter().zip(&headers.name);
    named.filter(|&(_, &name)| headers.names[name as usize] == "drop").map(|(&of, _)| of).collect()
}

fn get(column: &BlobColumn, i: usize) -> Option<&[u8]> {
    if column.valid.as_ref().is_some_and(|valid| valid[i / 8] >> (i % 8) & 1 == 0) {
        return None;
    }
    let Varlen { offsets, bytes } = &column.blobs;
    Some(&bytes[offsets[i] as usize..offsets[i + 1] as usize])
}
