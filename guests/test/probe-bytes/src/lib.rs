//! A transform of bytes for tests of the host. Its config is `{"do": "<what>"}`; most of what it can do
//! breaks the contract in one way each, so it stands straight on the bindings.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: r#"
        package conveyor:probe;

        world probe {
            include conveyor:stage/transform-stage@0.1.0;
            import wasi:cli/environment@0.2.0;
            import wasi:random/random@0.2.0;
            import wasi:filesystem/preopens@0.2.0;
            import wasi:io/poll@0.2.0;
            import wasi:clocks/monotonic-clock@0.2.0;
            import acme:weather/now@1.0.0;
        }

        package wasi:cli@0.2.0 {
            interface environment {
                get-environment: func() -> list<tuple<string, string>>;
                get-arguments: func() -> list<string>;
            }
        }

        package wasi:random@0.2.0 {
            interface random { get-random-u64: func() -> u64; }
        }

        package wasi:filesystem@0.2.0 {
            interface types { resource descriptor; }
            interface preopens {
                use types.{descriptor};
                get-directories: func() -> list<tuple<descriptor, string>>;
            }
        }

        package wasi:io@0.2.0 {
            interface poll { resource pollable { block: func(); } }
        }

        package wasi:clocks@0.2.0 {
            interface monotonic-clock {
                use wasi:io/poll@0.2.0.{pollable};
                subscribe-duration: func(when: u64) -> pollable;
            }
        }

        package acme:weather@1.0.0 {
            interface now { temperature: func() -> s32; }
        }
    "#,
    world: "conveyor:probe/probe",
    generate_all,
});

use std::cell::RefCell;

use conveyor::stage::columns::{BlobColumn, Varlen};
use conveyor::stage::log;
use conveyor::stage::outcomes::{
    Emission, Failure, Forwarded, MadeRecords, Origins, Outcome, Rejection, Retry,
};
use conveyor::stage::records::Batch;
use exports::conveyor::stage::{about, transform};

struct Probe;

export!(Probe);

thread_local! {
    static DO: RefCell<String> = const { RefCell::new(String::new()) };
    static HOARD: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The one value of the config.
fn what(config: &str) -> String {
    config.split('"').nth(3).unwrap_or_default().to_owned()
}

impl about::Guest for Probe {
    fn describe() -> about::About {
        about::About {
            name: "probe-bytes".into(),
            version: "0.1.0".into(),
            summary: "Does what a test of the host tells it to".into(),
            config_schema: r#"{"type":"object","required":["do"],"properties":{"do":{"type":"string"}}}"#
                .into(),
            needs: vec!["http api.example.com:443".into()],
            hints: vec![("language".into(), "rust".into())],
        }
    }
}

impl transform::Guest for Probe {
    fn plan(config: String) -> Result<transform::RecordPlan, Failure> {
        let outputs = match &*what(&config) {
            "plan-no-ports" => vec![],
            "plan-twice" => vec!["main".into(), "main".into()],
            "plan-unnamed" => vec!["".into()],
            "plan-many" => (0..65).map(|i| format!("p{i}")).collect(),
            "plan-long" => vec!["x".repeat(2 << 20)],
            "plan-panic" => panic!("no plan"),
            "plan-invalid" => return Err(Failure::Invalid("that is no config".into())),
            _ => vec!["main".into(), "side".into()],
        };
        let parts = matches!(&*what(&config), "show" | "echo");
        Ok(transform::RecordPlan { times: parts, keys: parts, headers: parts, outputs })
    }

    fn open(config: String) -> Result<(), Failure> {
        std::panic::set_hook(Box::new(|info| log::write(log::Level::Error, &info.to_string(), &[])));
        let what = what(&config);
        match &*what {
            "open-panic" => panic!("not opened"),
            "open-loop" => spin(),
            _ => {}
        }
        DO.set(what);
        Ok(())
    }

    fn process(input: Batch) -> Result<Outcome, Failure> {
        DO.with_borrow(|what| process(what, input))
    }
}

fn process(what: &str, input: Batch) -> Result<Outcome, Failure> {
    let rows = input.rows;
    Ok(match what {
        "all" => forward(Forwarded::All),
        "none" => outcome(vec![]),
        "evens" => forward(Forwarded::These((0..rows).step_by(2).collect())),
        "half" => forward(Forwarded::These(half(&input))),
        "wrap" => made(Origins::Each, wrap(&input)),
        "wrap-listed" => made(these(0..rows), wrap(&input)),
        "show" => made(these([0]), one(format!("{input:?}").into_bytes())),
        "echo" => echo(input),
        "wasi" => made(these([0]), one(wasi().into_bytes())),
        "bad-index" => forward(Forwarded::These(vec![0, rows])),
        "bad-order" => forward(Forwarded::These(vec![1, 0])),
        "bad-port" => outcome(vec![emission(9, Forwarded::All, None)]),
        "bad-port-twice" => {
            outcome(vec![emission(0, Forwarded::All, None), emission(0, Forwarded::All, None)])
        }
        "bad-origin" => made(these([rows]), one(b"x".to_vec())),
        "bad-offsets" => made(these([0, 0]), varlen(vec![0, 2, 1], b"ab".to_vec())),
        "bad-offsets-end" => made(these([0]), varlen(vec![0, 3], b"ab".to_vec())),
        "bad-each" => made(Origins::Each, one(b"x".to_vec())),
        "bad-count" => made(these([0, 0]), one(b"x".to_vec())),
        "bad-bitmap" => made(these([0]), BlobColumn { valid: Some(vec![1, 1]), ..one(b"x".to_vec()) }),
        "bad-no-bitmap" => made(these([0]), BlobColumn { valid: Some(vec![]), ..one(b"x".to_vec()) }),
        "bad-rejections" => reject((0..=rows).map(|_| 0)),
        "bad-rejected" => reject(std::iter::once(rows)),
        "bad-held" => Outcome { held: rows + 1, ..outcome(vec![]) },
        "reject" => reject((0..rows).filter(|row| row % 2 == 1)),
        "panic" => panic!("record {} is not to my liking", rows - 1),
        "panic-once" => panic_once(rows),
        "loop" => spin(),
        "hoard" => hoard(),
        "burn" => burn(rows),
        "count" => made(these([0]), one(calls().to_string().into_bytes())),
        "leak" => leak(),
        "much" => made(these([0]), one(vec![b'x'; 8 << 20])),
        "tell" => {
            log::write(log::Level::Info, &"x".repeat(8 << 20), &[]);
            forward(Forwarded::All)
        }
        "retry-twice" => {
            if calls() <= 2 {
                return Err(Failure::Retry(Retry { after_ms: 40, message: "not yet".into() }));
            }
            forward(Forwarded::All)
        }
        "retry-long" => {
            if calls() == 1 {
                return Err(Failure::Retry(Retry { after_ms: 1500, message: "not yet".into() }));
            }
            forward(Forwarded::All)
        }
        "retry" => return Err(Failure::Retry(Retry { after_ms: 250, message: "not now".into() })),
        "invalid" => return Err(Failure::Invalid("not this".into())),
        "fatal" => return Err(Failure::Fatal("never".into())),
        "flood" => flood(),
        "unknown" => made(these([0]), one(acme::weather::now::temperature().to_string().into_bytes())),
        "sleep" => {
            wasi::clocks::monotonic_clock::subscribe_duration(3_600_000_000_000).block();
            outcome(vec![])
        }
        other => return Err(Failure::Invalid(format!("`{other}` is nothing that it can do"))),
    })
}

fn outcome(emissions: Vec<Emission>) -> Outcome {
    Outcome { emissions, rejections: vec![], held: 0 }
}

fn emission(port: u32, forwarded: Forwarded, made: Option<MadeRecords>) -> Emission {
    Emission { port, forwarded, made }
}

fn forward(forwarded: Forwarded) -> Outcome {
    outcome(vec![emission(0, forwarded, None)])
}

fn these(rows: impl IntoIterator<Item = u32>) -> Origins {
    Origins::These(rows.into_iter().collect())
}

fn made(origins: Origins, values: BlobColumn) -> Outcome {
    let made = MadeRecords { origins, times: None, keys: None, headers: None, values };
    outcome(vec![emission(0, Forwarded::Nothing, Some(made))])
}

fn reject(rows: impl Iterator<Item = u32>) -> Outcome {
    let rejection = |of| Rejection { of, code: "odd".into(), message: format!("record {of} is odd") };
    Outcome { rejections: rows.map(rejection).collect(), ..forward(Forwarded::Nothing) }
}

fn varlen(offsets: Vec<u32>, bytes: Vec<u8>) -> BlobColumn {
    BlobColumn { valid: None, blobs: Varlen { offsets, bytes } }
}

fn one(value: Vec<u8>) -> BlobColumn {
    varlen(vec![0, value.len() as u32], value)
}

/// The records whose first byte is below 128.
fn half(input: &Batch) -> Vec<u32> {
    let Varlen { offsets, bytes } = &input.values.blobs;
    let mut kept = vec![0; offsets.len()];
    let mut count = 0;
    for (row, start) in offsets[..input.rows as usize].iter().enumerate() {
        kept[count] = row as u32;
        count += usize::from(bytes[*start as usize] < 128);
    }
    kept.truncate(count);
    kept
}

/// Every value between two bytes at each end.
fn wrap(input: &Batch) -> BlobColumn {
    let Varlen { offsets, bytes } = &input.values.blobs;
    let mut wrapped = Vec::with_capacity(bytes.len() + 4 * offsets.len());
    let mut ends = Vec::with_capacity(offsets.len());
    ends.push(0);
    for ends_of in offsets.windows(2) {
        wrapped.extend_from_slice(b"<<");
        wrapped.extend_from_slice(&bytes[ends_of[0] as usize..ends_of[1] as usize]);
        wrapped.extend_from_slice(b">>");
        ends.push(wrapped.len() as u32);
    }
    varlen(ends, wrapped)
}

/// Makes every record again, with all its parts.
fn echo(input: Batch) -> Outcome {
    let Batch { times, keys, headers, values, .. } = input;
    let made = MadeRecords { origins: Origins::Each, times, keys, headers, values };
    outcome(vec![emission(0, Forwarded::Nothing, Some(made))])
}

fn wasi() -> String {
    format!(
        "variables {} arguments {} directories {} random {}",
        wasi::cli::environment::get_environment().len(),
        wasi::cli::environment::get_arguments().len(),
        wasi::filesystem::preopens::get_directories().len(),
        wasi::random::random::get_random_u64(),
    )
}

#[inline(never)]
fn spin() -> ! {
    loop {
        DO.with_borrow(|what| std::hint::black_box(what.len()));
    }
}

fn hoard() -> Outcome {
    loop {
        HOARD.with_borrow_mut(|hoard| hoard.push(vec![1; 1 << 20]));
    }
}

fn flood() -> Outcome {
    for i in 0..1000 {
        log::write(log::Level::Info, "\u{1b}[2Jwet", &[("line".into(), i.to_string())]);
    }
    forward(Forwarded::All)
}

/// Calls of this instance, this one among them.
fn calls() -> usize {
    HOARD.with_borrow_mut(|hoard| {
        hoard.push(vec![]);
        hoard.len()
    })
}

/// The same work for each record.
fn burn(rows: u32) -> Outcome {
    let mut turns = 0_u64;
    for _ in 0..u64::from(rows) * 10_000 {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
    forward(Forwarded::All)
}

/// Opens timers and closes none.
fn leak() -> Outcome {
    loop {
        std::mem::forget(wasi::clocks::monotonic_clock::subscribe_duration(3_600_000_000_000));
    }
}

/// The first call of an instance forwards, every later one dies.
fn panic_once(rows: u32) -> Outcome {
    if HOARD.with_borrow_mut(|hoard| std::mem::replace(hoard, vec![vec![]])).is_empty() {
        return forward(Forwarded::All);
    }
    panic!("a second batch, of {rows}")
}
