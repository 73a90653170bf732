//! Stages of bytes: what they see of a batch, and what becomes of what they say of it.
#![allow(clippy::unwrap_used)]

use conveyor_sdk::testing::{self, OutRecord, TestRecord, TransformTest, deletion, json, record};
use conveyor_sdk::{Batch, Emitter, Failure, NoConfig, Port, RecordPlan, Result, Transform};

/// A stage that does what a function of the test says.
macro_rules! stage {
    ($name:ident, $plan:expr, |$batch:ident, $out:ident| $process:block) => {
        struct $name;

        impl Transform for $name {
            type Config = NoConfig;

            fn plan(_: &NoConfig) -> Result<RecordPlan> {
                Ok($plan)
            }

            fn open(_: NoConfig) -> Result<Self> {
                Ok($name)
            }

            fn process(&mut self, $batch: &Batch, $out: &mut Emitter) -> Result {
                $process
                Ok(())
            }
        }

        conveyor_sdk::transform!($name);
    };
}

fn open<S: Transform>() -> TransformTest<S> {
    testing::transform::<S>(json!({})).unwrap()
}

fn full() -> [TestRecord; 3] {
    [
        record("a").key("k0").time(10).header("h", "v0").header("g", "w0"),
        deletion().time(11),
        record("c").key("k2").time(12).header("h", "v2"),
    ]
}

#[test]
fn a_record_shows_every_part_that_the_plan_asks_for() {
    stage!(Show, RecordPlan::new().times().keys().headers(), |batch, out| {
        assert_eq!(batch.len(), batch.records().len());
        for record in batch {
            let headers: Vec<_> = record.headers().map(|(n, v)| (n, String::from_utf8_lossy(v))).collect();
            let (index, value, time) = (record.index(), record.value(), record.time());
            let seen = format!("{index} {value:?} {:?} {time:?} {headers:?}", record.key());
            out.emit(record, seen.as_bytes());
            assert_eq!(record.value(), batch.record(index).value());
            assert_eq!(record.header("h").is_some(), index != 1);
        }
    });
    assert_eq!(
        open::<Show>().run(full()).unwrap().values("main"),
        [
            r#"0 Some([97]) Some([107, 48]) Some(10) [("h", "v0"), ("g", "w0")]"#,
            r#"1 None None Some(11) []"#,
            r#"2 Some([99]) Some([107, 50]) Some(12) [("h", "v2")]"#,
        ]
    );
}

#[test]
fn parts_that_the_plan_does_not_ask_for_do_not_come() {
    stage!(Blind, RecordPlan::new(), |batch, out| {
        assert!(batch.keys().is_empty() && batch.times().is_empty());
        for record in batch {
            assert_eq!((record.key(), record.time(), record.headers().count()), (None, None, 0));
            out.emit(record, b"x");
        }
    });
    let outcome = open::<Blind>().run(full()).unwrap();
    let first = &outcome.port("main")[0];
    assert_eq!(first.record, record("x").key("k0").time(10).header("h", "v0").header("g", "w0"));
    assert!(first.made);
}

#[test]
fn every_way_to_forward_says_the_same() {
    stage!(One, RecordPlan::new(), |batch, out| {
        batch.records().filter(|r| r.bytes() < b"m").for_each(|r| out.forward(r));
    });
    stage!(If, RecordPlan::new(), |batch, out| {
        batch.records().for_each(|r| out.forward_if(r, r.bytes() < b"m"));
    });
    stage!(Where, RecordPlan::new(), |batch, out| {
        out.forward_where(batch, |value| value.unwrap_or_default() < b"m".as_slice());
    });
    stage!(To, RecordPlan::new(), |batch, out| {
        batch.records().filter(|r| r.bytes() < b"m").for_each(|r| out.forward_to(Port::MAIN, r));
    });
    for rows in [0, 1, 8, 100] {
        let values: Vec<TestRecord> =
            (0..rows).map(|n| if n % 5 == 4 { deletion() } else { record([b'a' + n % 26]) }).collect();
        for values in [values.clone(), values.into_iter().filter(|r| r.value.is_some()).collect()] {
            let expected = open::<One>().run(values.clone()).unwrap();
            assert_eq!(expected.port("main").len() + expected.filtered().len(), values.len());
            assert_eq!(open::<If>().run(values.clone()).unwrap(), expected);
            assert_eq!(open::<Where>().run(values.clone()).unwrap(), expected);
            assert_eq!(open::<To>().run(values.clone()).unwrap(), expected);
        }
    }
}

#[test]
fn records_leave_in_the_order_of_their_origins_whatever_the_order_of_the_calls() {
    stage!(Backwards, RecordPlan::new().times(), |batch, out| {
        let records: Vec<_> = batch.records().collect();
        for record in records.iter().rev() {
            for nth in ["1", "2"] {
                let value = format!("{}{nth}", String::from_utf8_lossy(record.bytes()));
                out.make(*record)
                    .time(i64::from(record.index()) * 100)
                    .header("n", nth.as_bytes())
                    .value(value.as_bytes());
            }
            out.forward(*record);
        }
    });
    let outcome = open::<Backwards>().run(["a", "b", "c"]).unwrap();
    assert_eq!(outcome.values("main"), ["a", "a1", "a2", "b", "b1", "b2", "c", "c1", "c2"]);
    let made: Vec<&OutRecord> = outcome.port("main").iter().filter(|out| out.made).collect();
    for (nth, out) in made.iter().enumerate() {
        assert_eq!(out.record.time, Some(i64::from(out.origin) * 100));
        assert_eq!(out.record.headers, [("n".to_owned(), [b'1' + nth as u8 % 2].to_vec())]);
    }
}

#[test]
fn ports_get_what_is_sent_to_them_and_rejections_are_kept_apart() {
    const ODD: Port = Port(1);
    stage!(Split, RecordPlan::new().output("even").output("odd"), |batch, out| {
        for record in batch {
            match record.bytes() {
                [b'0' | b'2'] => out.forward(record),
                [b'1'] => out.forward_to(ODD, record),
                [b'3'] => out.emit_to(ODD, record, b"three"),
                [b'x'] => out.reject(record, "no-digit", format!("{:?}", record.bytes())),
                _ => {}
            }
        }
    });
    let mut stage = open::<Split>();
    assert_eq!(stage.outputs(), ["even", "odd"]);
    for _ in 0..2 {
        let outcome = stage.run(["0", "1", "x", "2", "3", "?"]).unwrap();
        assert_eq!(outcome.values("even"), ["0", "2"]);
        assert_eq!(outcome.values("odd"), ["1", "three"]);
        assert_eq!(outcome.codes(), [(2, "no-digit")]);
        assert_eq!(outcome.filtered(), [5]);
    }
}

#[test]
fn a_made_record_has_what_it_says_and_else_what_its_origin_has() {
    stage!(Mixed, RecordPlan::new().times().keys().headers(), |batch, out| {
        for record in batch {
            match record.index() {
                0 => out.emit(record, b"plain"),
                1 => out.make(record).key(Some(b"own")).time(99).header("new", b"1").value(b"own"),
                _ => out.make(record).key(None).deletion(),
            }
        }
    });
    let outcome = open::<Mixed>().run(full()).unwrap();
    let records: Vec<TestRecord> = outcome.port("main").iter().map(|out| out.record.clone()).collect();
    assert_eq!(
        records,
        [
            record("plain").key("k0").time(10).header("h", "v0").header("g", "w0"),
            record("own").key("own").time(99).header("new", "1"),
            TestRecord { key: None, ..deletion().time(12).header("h", "v2") },
        ]
    );
}

#[test]
fn values_are_written_in_parts_or_by_a_writer() {
    stage!(Parts, RecordPlan::new(), |batch, out| {
        for record in batch {
            out.emit_parts(record, [b"<<", record.bytes(), b">>"]);
            out.emit_with(record, |bytes| bytes.extend_from_slice(b"w"));
            out.make(record).parts([b"p", record.bytes()]);
            out.make(record).write(|bytes| bytes.push(b'!'));
        }
    });
    let long = "y".repeat(1000);
    let values = open::<Parts>().run(["", "abc", &long]).unwrap().values("main");
    assert_eq!(values[..8], ["<<>>", "w", "p", "!", "<<abc>>", "w", "pabc", "!"]);
    assert_eq!(values[8..], [format!("<<{long}>>"), "w".to_owned(), format!("p{long}"), "!".to_owned()]);
}

#[test]
fn making_from_each_is_making_one_by_one() {
    stage!(OneByOne, RecordPlan::new().keys(), |batch, out| {
        let first = batch.records().next();
        first
            .filter(|r| r.bytes() == b"keyed")
            .into_iter()
            .for_each(|r| out.make(r).key(Some(b"k")).value(b"-"));
        for record in batch.records().filter(|r| r.value().is_some_and(|value| value.len() != 2)) {
            out.emit_parts(record, [b"<", record.bytes(), b">"]);
        }
    });
    stage!(Each, RecordPlan::new().keys(), |batch, out| {
        let first = batch.records().next();
        first
            .filter(|r| r.bytes() == b"keyed")
            .into_iter()
            .for_each(|r| out.make(r).key(Some(b"k")).value(b"-"));
        out.emit_each(batch, |value| value.filter(|value| value.len() != 2).map(|value| [b"<", value, b">"]));
    });
    let with_deletion = vec![record("a"), record("bb"), deletion(), record("ccc")];
    let long: Vec<TestRecord> = (0..300).map(|n| record("y".repeat(n)).key("own")).collect();
    let keyed = vec![record("keyed").key("own"), record("a").key("other"), record("bb")];
    for records in [vec![], vec![record("bb")], with_deletion, long, keyed] {
        let expected = open::<OneByOne>().run(records.clone()).unwrap();
        assert_eq!(open::<Each>().run(records).unwrap(), expected);
    }
}

#[test]
fn a_mistake_of_a_stage_is_a_failure_that_says_what_to_do_and_the_next_batch_is_clean() {
    stage!(Twice, RecordPlan::new(), |batch, out| {
        out.forward_all();
        if batch.len() == 2 {
            out.forward(batch.record(1));
        }
    });
    stage!(NoPort, RecordPlan::new(), |batch, out| {
        let port = if batch.len() == 2 { Port(3) } else { Port::MAIN };
        batch.records().for_each(|r| out.forward_to(port, r));
    });
    stage!(HalfKeyed, RecordPlan::new(), |batch, out| {
        batch.records().filter(|_| batch.len() == 2).for_each(|r| match r.index() {
            0 => out.emit(r, b"x"),
            _ => out.make(r).key(Some(b"k")).value(b"x"),
        });
        batch.records().filter(|_| batch.len() == 1).for_each(|r| out.forward(r));
    });
    fn check<S: Transform>(message: &str) {
        let mut stage = open::<S>();
        let failure = stage.run(["a", "b"]).unwrap_err();
        assert!(matches!(&failure, Failure::Fatal(found) if found.contains(message)), "{failure}");
        assert_eq!(stage.run(["a"]).unwrap().values("main"), ["a"]);
    }
    check::<Twice>("record 1 is forwarded twice to port 0");
    check::<NoPort>("Port(3) is used, but the plan of the stage has 1 outputs");
    check::<HalfKeyed>("its plan has to ask for `keys`");
}

#[test]
fn a_failure_of_the_stage_leaves_nothing_for_the_next_batch() {
    stage!(Fails, RecordPlan::new(), |batch, out| {
        out.forward_all();
        if batch.record(0).bytes() == b"bad" {
            return Err(Failure::retry(50, "the other side is down"));
        }
    });
    let mut stage = open::<Fails>();
    assert_eq!(
        stage.run(["bad"]),
        Err(Failure::Retry { after_ms: 50, message: "the other side is down".into() })
    );
    assert_eq!(stage.run(["good"]).unwrap().values("main"), ["good"]);
}

#[test]
fn held_records_are_counted() {
    stage!(Holds, RecordPlan::new(), |batch, out| {
        out.hold(batch.len() as u32);
    });
    assert_eq!(open::<Holds>().run(["a", "b"]).unwrap().held, 2);
}

mod configs {
    use super::*;

    #[conveyor_sdk::config]
    struct Config {
        /// Shorter values are left out.
        minimum: usize,
    }

    struct Longer(usize);

    impl Transform for Longer {
        type Config = Config;

        fn open(config: Config) -> Result<Self> {
            Ok(Longer(config.minimum))
        }

        fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
            out.forward_where(batch, |value| value.is_some_and(|value| value.len() >= self.0));
            Ok(())
        }
    }

    #[test]
    fn a_config_is_read_and_a_wrong_one_named() {
        let mut stage = testing::transform::<Longer>(json!({ "minimum": 2 })).unwrap();
        assert_eq!(stage.run(["a", "bb", "ccc"]).unwrap().values("main"), ["bb", "ccc"]);
        let failure = testing::transform::<Longer>(json!({ "minimum": 2, "maximum": 3 })).unwrap_err();
        assert_eq!(failure, Failure::invalid("config: unknown key `maximum`; there are: minimum"));
        let schema: serde_json::Value =
            serde_json::from_str(&conveyor_sdk::config::schema_text::<Config>()).unwrap();
        assert_eq!(schema["properties"]["minimum"]["description"], "Shorter values are left out.");
    }
}
