//! Stages of typed columns: what they see of a table, and what becomes of what they say of it.
#![allow(clippy::unwrap_used)]

use conveyor_sdk::testing::{self, TableTransformTest, Value, json, row};
use conveyor_sdk::{
    At, Day, Failure, Field, Fields, Json, Kind, NoConfig, Output, Port, Result, Row, Table, TableEmitter,
    TablePlan, TableTransform, Time,
};

/// A stage that does what a function of the test says.
macro_rules! stage {
    ($name:ident, $plan:expr, |$table:ident, $out:ident| $process:block) => {
        struct $name;

        impl TableTransform for $name {
            type Config = NoConfig;

            fn plan(_: &NoConfig, _: &Fields) -> Result<TablePlan> {
                Ok($plan)
            }

            fn open(_: NoConfig, _: &Fields) -> Result<Self> {
                Ok($name)
            }

            fn process(&mut self, $table: &Table, $out: &mut TableEmitter) -> Result {
                $process
                Ok(())
            }
        }

        conveyor_sdk::table_transform!($name);
    };
}

fn input() -> Fields {
    [
        Field::new("n", Kind::S64s),
        Field::new("name", Kind::Texts),
        Field::new("amount", Kind::F64s),
        Field::new("other", Kind::Opaque),
    ]
    .into()
}

fn open<S: TableTransform>() -> TableTransformTest<S> {
    testing::table_transform::<S>(json!({}), input()).unwrap()
}

fn rows() -> [Value; 4] {
    [
        json!({ "n": 1, "name": "a", "amount": 1.5, "other": "w" }),
        json!({ "n": 2, "name": null, "amount": null, "other": "x" }),
        json!({ "n": null, "name": "c", "amount": 3, "other": "y" }),
        json!({ "n": 4, "name": "d", "amount": "4.5", "other": "z" }),
    ]
}

#[derive(Debug, Row)]
struct Every<'a> {
    truth: bool,
    small: i32,
    big: Option<i64>,
    positive: u64,
    short: f32,
    long: f64,
    at: Time,
    day: Option<Day>,
    #[row(name = "the text")]
    text: &'a str,
    bytes: Option<&'a [u8]>,
    json: Json<'a>,
}

#[test]
fn a_row_has_every_kind_of_column_and_is_written_as_it_was_read() {
    stage!(Copy, TablePlan::of::<Every<'_>>().select(["small"]).set_row::<Every<'_>>(), |table, out| {
        assert_eq!(table.rows::<Every<'_>>().len(), table.len());
        for (at, row) in table.rows::<Every<'_>>() {
            out.forward_with(at, &row);
            out.make(at).row(&row);
        }
    });
    let kinds = [
        ("truth", Kind::Bools, false),
        ("small", Kind::S32s, false),
        ("big", Kind::S64s, true),
        ("positive", Kind::U64s, false),
        ("short", Kind::F32s, false),
        ("long", Kind::F64s, false),
        ("at", Kind::Times, false),
        ("day", Kind::Days, true),
        ("the text", Kind::Texts, false),
        ("bytes", Kind::Blobs, true),
        ("json", Kind::Jsons, false),
    ];
    let input: Vec<Field> = kinds
        .iter()
        .map(|(name, kind, nullable)| Field { nullable: *nullable, ..Field::new(*name, *kind) })
        .collect();
    let one = json!({
        "truth": true, "small": -1, "big": i64::MIN, "positive": u64::MAX, "short": 0.5, "long": -2.25,
        "at": 1_600_000_000_000_000_i64, "day": 18_000, "the text": "zwölf", "bytes": "xyz", "json": [1, { "a": null }],
    });
    let mut other = one.clone();
    for (name, value) in
        [("truth", json!(false)), ("big", Value::Null), ("day", Value::Null), ("bytes", Value::Null)]
    {
        other[name] = value;
    }
    let mut stage = testing::table_transform::<Copy>(json!({}), input.clone()).unwrap();
    assert_eq!(stage.plan(), &TablePlan::of::<Every<'_>>().select(["small"]).set_row::<Every<'_>>());
    for _ in 0..2 {
        let outcome = stage.run([one.clone(), other.clone(), one.clone()]).unwrap();
        assert_eq!(
            outcome.rows("main"),
            [one.clone(), one.clone(), other.clone(), other.clone(), one.clone(), one.clone()]
        );
    }
    let mut leaving = stage.fields("main").to_vec();
    leaving.sort_by_key(|field| input.iter().position(|known| known.name == field.name));
    assert_eq!(leaving, input);
}

#[derive(Row)]
struct Named<'a> {
    name: &'a str,
    n: Option<i64>,
}

#[test]
fn a_null_where_the_row_allows_none_never_reaches_the_stage_and_indices_are_of_what_came() {
    stage!(See, TablePlan::of::<Named<'_>>().select_as([("who", "name"), ("n", "n")]), |table, out| {
        for (at, row) in table.rows::<Named<'_>>() {
            match (row.name, row.n) {
                ("d", _) => out.reject(at, "is-d", "no d, please"),
                (_, None) => {}
                _ => out.forward(at),
            }
        }
    });
    let outcome = open::<See>().run(rows()).unwrap();
    assert_eq!(outcome.unfit, [1]);
    assert_eq!(outcome.rows("main"), [json!({ "who": "a", "n": 1 })]);
    assert_eq!(outcome.filtered(), [2]);
    assert_eq!(outcome.codes(), [(3, "is-d")]);
}

#[test]
fn columns_are_slices_with_validity() {
    stage!(
        Columns,
        TablePlan::new()
            .want(Field::new("amount", Kind::F64s))
            .want(Field::new("name", Kind::Dictionaries))
            .want(Field::new("n", Kind::S64s).required()),
        |table, out| {
            let (amounts, names, numbers) = (table.f64s(0), table.dictionaries(1), table.s64s(2));
            assert_eq!((table.columns(), table.len()), (3, 3));
            assert_eq!(amounts.iter().collect::<Vec<_>>(), [Some(1.5), None, Some(4.5)]);
            assert_eq!((amounts.validity().is_all(), amounts.validity().nulls(3)), (false, 1));
            assert_eq!((numbers.values(), numbers.validity().is_all()), (&[1, 2, 4][..], true));
            let names: Vec<_> = (0..3).map(|at| names.get(at)).collect();
            assert_eq!(names, [Some("a"), None, Some("d")]);
            out.forward_where(|at| amounts.get(at).is_some_and(|amount| amount > 2.0));
        }
    );
    let outcome = open::<Columns>().run(rows()).unwrap();
    assert_eq!(outcome.rows("main"), [rows()[3].clone()]);
    assert_eq!((outcome.unfit.as_slice(), outcome.filtered()), (&[2][..], vec![0, 1]));
}

#[derive(Row)]
struct Label {
    label: Option<i64>,
}

#[test]
fn rows_leave_in_the_order_of_their_origins_with_what_was_set_on_them() {
    stage!(
        Backwards,
        TablePlan::of::<Named<'_>>().select(["n"]).set_row::<Label>().times().keys(),
        |table, out| {
            for at in (0..table.len() as u32).rev().map(At) {
                let n = i64::from(at.0) * 10;
                out.make(at).time(n).row(&Label { label: Some(n + 1) });
                out.make(at).key(Some(b"k")).row(&Label { label: None });
                out.forward_with(at, &Label { label: Some(n) });
            }
        }
    );
    let given =
        [row(json!({ "n": 1, "name": "a" })).key("a").time(7), row(json!({ "n": 2, "name": "b" })).time(8)];
    let outcome = open::<Backwards>().run(given).unwrap();
    let seen: Vec<_> = outcome
        .port("main")
        .iter()
        .map(|out| (out.origin, out.made, out.row.row["label"].clone(), out.row.time, out.row.key.clone()))
        .collect();
    let (a, k) = (Some(b"a".to_vec()), Some(b"k".to_vec()));
    assert_eq!(
        seen,
        [
            (0, false, json!(0), Some(7), a.clone()),
            (0, true, json!(1), Some(0), a),
            (0, true, Value::Null, Some(7), k.clone()),
            (1, false, json!(10), Some(8), None),
            (1, true, json!(11), Some(10), None),
            (1, true, Value::Null, Some(8), k),
        ]
    );
}

#[test]
fn each_output_selects_and_sets_what_it_says() {
    const LATE: Port = Port(1);
    stage!(
        Two,
        TablePlan::of::<Named<'_>>()
            .select(["n"])
            .output(Output::new("late").select_as([("id", "n")]).set(Field::new("why", Kind::Texts))),
        |table, out| {
            for (at, row) in table.rows::<Named<'_>>() {
                out.forward(at);
                if row.name != "a" {
                    out.forward_to(LATE, at);
                    out.set(LATE).column(0).push(row.name);
                }
            }
            out.make(At(0)).to(LATE).columns(|columns| columns.column(0).push_text("made"));
        }
    );
    let mut stage = open::<Two>();
    let outcome = stage.run(rows()).unwrap();
    assert_eq!(outcome.rows("main"), [json!({ "n": 1 }), json!({ "n": null }), json!({ "n": 4 })]);
    assert_eq!(
        outcome.rows("late"),
        [
            json!({ "id": 1, "why": "made" }),
            json!({ "id": null, "why": "c" }),
            json!({ "id": 4, "why": "d" })
        ]
    );
    let names = |port| stage.fields(port).iter().map(|field| field.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names("main"), names("late")),
        (vec!["n".to_owned()], vec!["id".to_owned(), "why".to_owned()])
    );
}

#[derive(Row)]
struct Fixed {
    kind: &'static str,
    note: Option<&'static str>,
}

#[test]
fn a_row_of_static_texts_can_be_set() {
    stage!(Sets, TablePlan::of::<Named<'_>>().select(["n"]).set_row::<Fixed>(), |table, out| {
        for (at, row) in table.rows::<Named<'_>>() {
            let note = (row.name == "a").then_some("first");
            out.forward_with(at, &Fixed { kind: "row", note });
        }
    });
    let outcome = open::<Sets>().run(rows()).unwrap();
    assert_eq!(outcome.rows("main")[0], json!({ "n": 1, "kind": "row", "note": "first" }));
    assert_eq!(outcome.rows("main")[1], json!({ "n": null, "kind": "row", "note": null }));
}

#[test]
fn a_mistake_of_a_stage_is_a_failure_that_names_the_column_and_the_next_batch_is_clean() {
    fn label() -> TablePlan {
        TablePlan::of::<Named<'_>>().set(Field::new("label", Kind::S64s).required())
    }
    stage!(Missing, label(), |table, out| {
        out.forward_all();
        (0..table.len() % 2).for_each(|_| out.set(Port::MAIN).column(0).push(1_i64));
    });
    stage!(WrongKind, label(), |table, out| {
        out.forward_all();
        match table.len() {
            1 => out.set(Port::MAIN).column(0).push(1_i64),
            _ => out.set(Port::MAIN).column(0).push("one"),
        }
    });
    stage!(Null, label(), |table, out| {
        out.forward_all();
        (0..table.len())
            .for_each(|_| out.set(Port::MAIN).column(0).push((table.len() == 1).then_some(1_i64)));
    });
    stage!(Stray, label(), |table, out| {
        out.set(Port::MAIN).column(0).push(1_i64);
        if table.len() == 1 {
            out.forward_all();
        }
    });
    fn check<S: TableTransform>(message: &str) {
        let mut stage = open::<S>();
        let failure = stage.run([rows()[0].clone(), rows()[3].clone()]).unwrap_err();
        assert!(matches!(&failure, Failure::Fatal(found) if found.contains(message)), "{failure}");
        assert_eq!(stage.run([rows()[0].clone()]).unwrap().rows("main").len(), 1);
    }
    check::<Missing>("column `label` has 0 values for 2 rows");
    check::<WrongKind>("column `label` is planned as Kind::S64s and set as Kind::Texts");
    check::<Null>("column `label` is planned without nulls, and 2 values are set to null");
    check::<Stray>("column `label` is set, but no row leaves by port 0");
}

#[test]
fn a_plan_that_wants_what_does_not_come_is_refused_as_a_host_would() {
    stage!(Wants, TablePlan::new().want(Field::new("land", Kind::Texts)), |_table, _out| {});
    let failure = testing::table_transform::<Wants>(json!({}), input()).unwrap_err();
    assert_eq!(failure, Failure::invalid("no column `land` comes in; there are: n, name, amount, other"));
}

#[test]
#[should_panic(expected = "column 0 holds s64s, not f64s")]
fn a_column_read_as_another_kind_says_so() {
    stage!(Wrong, TablePlan::new().want(Field::new("n", Kind::S64s)), |table, _out| {
        table.f64s(0);
    });
    let _ = open::<Wrong>().run(rows());
}

#[test]
#[should_panic(expected = "column `name` is not among those wanted")]
fn rows_that_the_plan_does_not_want_say_so() {
    stage!(Unplanned, TablePlan::new(), |table, _out| {
        table.rows::<Named<'_>>();
    });
    let _ = open::<Unplanned>().run(rows());
}
