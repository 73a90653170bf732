//! Work grows with what there is and not with its square: ten times as many columns, stages, edges, splits or files take
//! ten times as long, and nowhere near a hundred times.
//!
//! The time that this thread was on a core is what counts, the least of a few tries, so that other work on the machine
//! does not; and what is refused lies far from both.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use connect::{Roots, Secrets, SourceSpec, Wanted, plan_source};
use engine::{Access, SourceDriver, SourceSetup, StageLimits};
use flow::checkpoint::{Alignment, Step};
use flow::component::ComponentSource;
use flow::connector::{Places, PullLimits, Source as _};
use model::fields::FieldSpec;
use model::manifest::{Context, Pipeline, TimeFrom, UnknownFields, parse};
use model::plan::{Answer, Form, Plan, Planner, Stream};
use model::signal::{Barrier, Signal, Then};
use model::stage::{PortPlan, Role, TransformPlan};
use serde_json::json;

use crate::guests::load;

/// Linear is 10, quadratic is 100.
const RATIO_MAX: f64 = 40.0;
const TRIES: usize = 3;

/// Nanoseconds on a core; see <https://docs.kernel.org/scheduler/sched-stats.html>.
fn on_core() -> u64 {
    // What was counted is written when a thread leaves its core.
    std::thread::sleep(Duration::from_micros(50));
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts time");
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds")
}

/// What `work` takes over `made(n)` and over ten times as much; making it is not counted.
fn grows<T>(what: &str, n: usize, made: impl Fn(usize) -> T, mut work: impl FnMut(&T)) {
    let mut least = |n: usize| {
        let made = made(n);
        let mut tries = [u64::MAX; TRIES];
        for took in &mut tries {
            let begun = on_core();
            work(&made);
            *took = on_core() - begun;
        }
        tries.into_iter().min().unwrap_or_default()
    };
    let (few, many) = (least(n), least(10 * n));
    let ratio = many as f64 / few.max(1) as f64;
    println!("{what}: {n} in {:.1} ms, ten times as many {ratio:.1} times as long", few as f64 / 1e6);
    assert!(ratio < RATIO_MAX, "{what}: {n} took {few} ns, ten times as many {many} ns");
}

fn source(base: &std::path::Path, with: serde_json::Value) -> SourceSpec {
    SourceSpec {
        pipeline: "p".into(),
        stage: "in".into(),
        connector: "file".into(),
        with: with.as_object().cloned().expect("options are a map"),
        schema: Vec::new(),
        time: TimeFrom::Now,
        unknown: UnknownFields::Reject,
        base: base.to_owned(),
        roots: Roots::default(),
        secrets: Secrets::default(),
        spool: None,
        presence: connect::Presence::There,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

const LIMITS: PullLimits =
    PullLimits { records_max: 1024, bytes_max: 1 << 20, delay: Duration::from_millis(1) };

#[test]
fn a_header_of_many_columns() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = |n: usize| {
        let row = |cell: &dyn Fn(usize) -> String| (0..n).map(cell).collect::<Vec<_>>().join(",");
        let text = format!("{}\n{}\n", row(&|nth| format!("column {nth}")), row(&|nth| nth.to_string()));
        std::fs::write(dir.path().join(format!("{n}.csv")), text).expect("a file");
        let mut spec = source(dir.path(), json!({ "path": format!("{n}.csv") }));
        spec.schema = (0..n).map(|nth| (format!("column {nth}"), None)).collect();
        spec
    };
    let runtime = runtime();
    grows("columns of CSV", 2000, made, |spec| {
        let planned = plan_source(spec).expect("a plan");
        let mut source = planned.open(&Wanted::default(), &Places::new()).expect("a source");
        let pulled = runtime.block_on(source.pull(LIMITS)).expect("a row").expect("a row");
        assert_eq!(pulled.batch.expect("a row").rows(), 1);
    });
}

#[test]
fn many_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = |n: usize| {
        let files = dir.path().join(n.to_string());
        std::fs::create_dir(&files).expect("a directory");
        (0..n).for_each(|nth| std::fs::write(files.join(format!("{nth}.txt")), "x\n").expect("a file"));
        source(&files, json!({ "path": "*.txt" }))
    };
    let runtime = runtime();
    grows("files", 300, made, |spec| {
        let planned = plan_source(spec).expect("a plan");
        let mut source = planned.open(&Wanted::default(), &Places::new()).expect("a source");
        while runtime.block_on(source.pull(LIMITS)).expect("a line").is_some() {}
    });
}

#[test]
fn many_splits_of_a_component() {
    let runtime = runtime();
    let component = runtime.block_on(load("probe-source"));
    let made = |n: usize| (0..n).map(|nth| format!("split {nth}")).collect::<Vec<String>>();
    grows("splits", 500, made, |splits| {
        let setup = SourceSetup {
            pipeline: "p".into(),
            stage: "in".into(),
            config: json!({ "do": "read" }),
            schema: Vec::new(),
            wanted: Vec::new(),
            limits: StageLimits::default(),
            access: Access::default(),
        };
        let read = runtime.block_on(async {
            let driver = SourceDriver::open(&component, setup).await.expect("a source");
            let (pipeline, stage) = ("p".into(), "in".into());
            let from = Places::new();
            let source = ComponentSource::start(driver, pipeline, stage, Stream::Opaque, splits, &from);
            let mut source = source.await.expect("its splits");
            let mut read = 0;
            while let Some(pulled) = source.pull(LIMITS).await.expect("a batch") {
                read += pulled.batch.map_or(0, |batch| batch.rows());
            }
            read
        });
        // It has two more, which it names when it is asked after a while.
        assert!(read >= splits.len() * 10, "{read} records");
    });
}

#[test]
fn many_edges_that_meet() {
    let made = |n: usize| (0..n).collect::<Vec<usize>>();
    grows("edges of a barrier", 2000, made, |edges| {
        let mut alignment = Alignment::<()>::new(edges);
        for number in 1..=5 {
            for &edge in edges {
                alignment.accept(edge, Signal::Barrier(Barrier { number, then: Then::GoOn }));
                let step = alignment.step();
                assert_eq!(matches!(step, Some(Step::Barrier(_))), edge + 1 == edges.len(), "{step:?}");
            }
        }
    });
}

fn pipeline(text: &str) -> Pipeline {
    let context = Context { sources: &["stdin"], sinks: &["discard"], env: &|_| None };
    parse("p.yaml", text, &context).unwrap_or_else(|problems| panic!("{}", problems.render(100, false)))
}

fn rows(columns: usize) -> Answer {
    let field = |nth: usize| Field::new(format!("column {nth}"), DataType::Int64, true);
    Answer::Source(Stream::Rows(Arc::new(Schema::new((0..columns).map(field).collect::<Vec<_>>()))))
}

/// Each transform wants all columns, sets half of them, and renames all.
fn plan(pipeline: &Pipeline, columns: usize) -> Plan {
    let forms = pipeline.stages.iter().map(|_| Form::Table).collect();
    let mut planner = Planner::new(pipeline, forms);
    while let Some(ask) = planner.next_ask() {
        let come = ask.fields.unwrap_or_default();
        let answer = match *pipeline.stages[ask.stage].role {
            Role::Source => rows(columns),
            Role::Sink => Answer::BuiltInSink { columns: true },
            Role::Transform => {
                let name = |field: &FieldSpec| field.name.clone();
                let select = come.iter().map(|field| (name(field), name(field))).collect();
                let set = come.iter().step_by(2).cloned().collect();
                let outputs = vec![PortPlan { name: "main".into(), select: Some(select), set }];
                let [times, keys, headers] = [false; 3];
                Answer::Transform(TransformPlan { wanted: come, times, keys, headers, outputs })
            }
        };
        planner.answer(answer);
    }
    planner.finish().unwrap_or_else(|problems| panic!("{}", problems.render(100, false)))
}

#[test]
fn many_columns_of_a_plan() {
    let text = "pipeline: p\nstages:\n  a: { source: stdin }\n  b: { source: stdin }\n  one: { transform: ./a.wasm, from: [a, \
                b] }\n  two: { transform: ./a.wasm, from: one }\n  out: { sink: discard, from: two }\n";
    let pipeline = pipeline(text);
    grows(
        "columns of a plan",
        400,
        |n| n,
        |&columns| {
            let plan = plan(&pipeline, columns);
            assert_eq!(plan.stages.len(), 5);
        },
    );
}

#[test]
fn many_stages_in_a_row_each_before_what_it_reads() {
    let made = |n: usize| {
        let mut text = format!("pipeline: p\nstages:\n  out: {{ sink: discard, from: s{} }}\n", n - 1);
        for nth in (1..n).rev() {
            let _ = writeln!(text, "  s{nth}: {{ transform: ./a.wasm, from: s{} }}", nth - 1);
        }
        text + "  s0: { source: stdin }\n"
    };
    grows("stages", 25, made, |text| assert_eq!(plan(&pipeline(text), 3).chains.len(), 1));
}

/// Many sources into one stage, which all sinks read.
#[test]
fn many_edges_of_a_plan() {
    let made = |n: usize| {
        let sources: BTreeSet<String> = (0..n).map(|nth| format!("s{nth}")).collect();
        let mut text = "pipeline: p\nstages:\n".to_owned();
        for name in &sources {
            let _ = writeln!(text, "  {name}: {{ source: stdin }}");
        }
        let all = sources.into_iter().collect::<Vec<_>>().join(", ");
        text + &format!(
            "  one: {{ transform: ./a.wasm, from: [{all}] }}\n  out: {{ sink: discard, from: one }}\n"
        )
    };
    grows("edges of a plan", 25, made, |text| {
        let plan = plan(&pipeline(text), 20);
        assert!(plan.edges.iter().all(|edge| !edge.meets));
    });
}
