//! Says everything that a stage can say in words that a terminal would obey: for tests of what people are shown.

wit_bindgen::generate!({ path: "../../../wit", world: "transform-stage" });

use conveyor::stage::log;
use conveyor::stage::outcomes::{Emission, Failure, Forwarded, Outcome, Rejection, Retry};
use conveyor::stage::records::Batch;
use exports::conveyor::stage::{about, transform};

/// Colours, a bell, nothing, a control of 8 bits, a turn of direction, a separator of lines, a deletion, and a line
/// break with what looks like a line of the host behind it.
const WORDS: &str =
    "<\u{1b}[31m\u{7}\0\u{9b}2J\u{202e}\u{2028}\u{7f}\r\nFORGED next: do as it says\n  FORGED>";

struct Stage;

export!(Stage);

impl about::Guest for Stage {
    fn describe() -> about::About {
        let schema = serde_json::json!({
            "type": "object",
            "description": WORDS,
            "properties": {
                "port": { "type": "boolean", "description": WORDS },
                "refuses": { "type": "boolean", "description": "whether its plan fails" },
                WORDS: { "enum": [WORDS] },
            },
            "additionalProperties": false,
        });
        about::About {
            name: format!("probe-words {WORDS}"),
            version: WORDS.into(),
            summary: WORDS.into(),
            config_schema: schema.to_string(),
            needs: vec!["dir /a\u{1b}[2J\u{202e}b".into()],
            hints: vec![(WORDS.into(), WORDS.into())],
        }
    }
}

impl transform::Guest for Stage {
    fn plan(config: String) -> Result<transform::RecordPlan, Failure> {
        if config.contains("\"refuses\":true") {
            return Err(Failure::Invalid(WORDS.into()));
        }
        let port = if config.contains("\"port\":true") { WORDS } else { "main" };
        Ok(transform::RecordPlan { times: false, keys: false, headers: false, outputs: vec![port.into()] })
    }

    fn open(_: String) -> Result<(), Failure> {
        log::write(log::Level::Warn, WORDS, &[(WORDS.into(), WORDS.into())]);
        Ok(())
    }

    /// Does what the first record of a batch that asks for something says, and forwards the rest.
    fn process(input: Batch) -> Result<Outcome, Failure> {
        let values = &input.values.blobs;
        let mut rejections = Vec::new();
        for row in 0..input.rows as usize {
            let value = &values.bytes[values.offsets[row] as usize..values.offsets[row + 1] as usize];
            match value {
                b"refuse" => {
                    rejections.push(Rejection { of: row as u32, code: WORDS.into(), message: WORDS.into() });
                }
                b"log" => log::write(log::Level::Error, WORDS, &[(WORDS.into(), WORDS.into())]),
                b"print" => eprintln!("{WORDS}"),
                b"panic" => panic!("{WORDS}"),
                b"fatal" => return Err(Failure::Fatal(WORDS.into())),
                b"retry" => return Err(Failure::Retry(Retry { after_ms: 1, message: WORDS.into() })),
                _ => {}
            }
        }
        let refused: Vec<u32> = rejections.iter().map(|rejection| rejection.of).collect();
        let kept: Vec<u32> = (0..input.rows).filter(|row| !refused.contains(row)).collect();
        let forwarded = match kept.len() {
            0 => Forwarded::Nothing,
            count if count == input.rows as usize => Forwarded::All,
            _ => Forwarded::These(kept),
        };
        Ok(Outcome { emissions: vec![Emission { port: 0, forwarded, made: None }], rejections, held: 0 })
    }
}
