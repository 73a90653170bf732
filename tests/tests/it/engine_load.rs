//! Loading: what a component says of itself, its config, and the cache of compiled code.

use std::sync::Arc;

use arrow::array::BinaryArray;
use engine::{Access, Call, CallError, Engine, EngineOptions, Failure, StageLimits};
use model::batch::Column;
use model::ids::Digest;
use model::stage::{StageKind, StagePlan};
use serde_json::json;

use crate::guests::{engine, guest, load, probe};

#[tokio::test]
async fn a_component_says_what_it_is() {
    let component = load("probe-bytes").await;
    assert_eq!(component.kind(), StageKind::Transform);
    let about = component.about();
    assert_eq!(
        (about.name.as_str(), about.needs.as_slice()),
        ("probe-bytes", &["http api.example.com:443".to_owned()][..])
    );
    assert_eq!(about.hints, [("language".to_owned(), "rust".to_owned())]);
    assert!(component.exports().contains(&"conveyor:stage/transform@0.1.0".to_owned()));
    assert!(component.imports().contains(&"acme:weather/now@1.0.0".to_owned()));
    assert_eq!(load("probe-table").await.kind(), StageKind::TableTransform);
}

#[tokio::test]
async fn config_is_checked_against_the_schema_of_the_component() {
    let component = load("probe-bytes").await;
    assert!(component.check_config(&json!({ "do": "all" })).is_empty());
    let problems = component.check_config(&json!({ "do": 7 }));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].pointer, "/do");
}

#[tokio::test]
async fn a_component_says_what_its_state_rests_on_or_leaves_it_to_the_host() {
    let (limits, access) = (StageLimits::default(), Access::default());
    let config = json!({ "by": ["user"], "sum": { "spent": "amount" } });
    let said = load("totals").await.fingerprint(&config, &limits, &access).await.expect("an answer");
    let said = said.expect("it says something");
    let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(said, [("by", r#"["user"]"#), ("key", "false"), ("sum", r#"["amount"]"#)]);
    let wrong = load("totals").await.fingerprint(&json!({ "bye": 1 }), &limits, &access).await;
    assert!(matches!(wrong, Err(CallError::Failure(Failure::Invalid(_)))), "{wrong:?}");
    // One that exports the interface and says nothing, and one that does not know it.
    for name in ["probe-state", "contract/rust-bytes"] {
        let said = load(name).await.fingerprint(&json!({}), &limits, &access).await;
        assert_eq!(said.expect("an answer"), None, "{name}");
    }
}

#[tokio::test]
async fn a_plan_that_cannot_be_is_told_by_what_is_wrong() {
    let component = load("probe-bytes").await;
    let cases = [
        ("plan-no-ports", "has no output port"),
        ("plan-twice", "output ports: `main` is there twice"),
        ("plan-unnamed", "output ports: name 0 is empty"),
        ("plan-many", "65 of them, at most 64"),
        ("plan-long", "bytes of text"),
        ("plan-panic", "it trapped"),
        ("plan-invalid", "that is no config"),
    ];
    for (what, expected) in cases {
        let plan = component.plan(&json!({ "do": what }), &[], &StageLimits::default()).await;
        let error = plan.expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
    let plan = component.plan(&json!({ "do": "all" }), &[], &StageLimits::default()).await;
    let StagePlan::Transform(plan) = plan.expect("a plan") else { panic!("a transform") };
    let names: Vec<&str> = plan.outputs.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["main", "side"]);
    assert!(!plan.times && plan.wanted.is_empty());
}

#[tokio::test]
async fn bytes_that_are_loaded_twice_are_one_component() {
    let engine = engine();
    let first = engine.load(guest("probe-bytes")).await.expect("a stage");
    let again = engine.load(guest("probe-bytes")).await.expect("a stage");
    // The same allocation, not an equal one.
    assert!(std::ptr::eq(first.about(), again.about()));
    assert_eq!(first.digest(), Digest::of(&guest("probe-bytes")));
}

#[tokio::test]
async fn compiled_code_is_found_by_its_digest_and_made_again_when_it_is_damaged() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = || EngineOptions {
        cache_dir: Some(dir.path().join("code")),
        instances_max: 4,
        ..EngineOptions::default()
    };
    let digest = {
        let engine = Engine::new(options()).expect("an engine");
        let digest = Digest::of(&guest("probe-bytes"));
        assert!(engine.load_cached(digest).await.expect("no error").is_none(), "found before it was made");
        engine.load(guest("probe-bytes")).await.expect("a stage").digest()
    };
    let other = Engine::new(options()).expect("an engine");
    let component = other.load_cached(digest).await.expect("no error").expect("it was not kept");
    assert_eq!(component.about().name, "probe-bytes");
    let plan = component.plan(&json!({ "do": "all" }), &[], &StageLimits::default()).await;
    assert!(plan.is_ok(), "{plan:?}");

    let files = std::fs::read_dir(dir.path().join("code")).expect("the cache");
    let code = files
        .map(|file| file.expect("a file").path())
        .find(|path| path.extension().is_some_and(|e| e == "cwasm"));
    let code = code.expect("compiled code");
    let mut bytes = std::fs::read(&code).expect("the code");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&code, bytes).expect("damaged");
    let third = Engine::new(options()).expect("an engine");
    assert!(third.load_cached(digest).await.expect("no error").is_none(), "damaged code was loaded");
    assert!(third.load(guest("probe-bytes")).await.is_ok());
    let fourth = Engine::new(options()).expect("an engine");
    assert!(fourth.load_cached(digest).await.expect("no error").is_some(), "it was not made again");
}

/// The stage panics; where, as its backtrace says.
async fn line_of_the_panic(component: &engine::Component) -> Option<u32> {
    let pool = probe(component, "panic", &[], StageLimits::default()).await;
    let columns = [Column::new(Arc::new(BinaryArray::from_iter_values(["a"])))];
    let call = Call { rows: 1, columns: &columns, ..Call::default() };
    let answer = pool.lease().await.expect("an instance").process(call).await;
    let Err(CallError::Trap(trap)) = answer else { panic!("{answer:?}") };
    let frames = trap.backtrace.frames();
    assert!(frames.iter().any(|frame| frame.function.ends_with("panic_fmt")), "{}", trap.backtrace);
    // It is inlined: without DWARF nobody knows of it.
    frames.iter().find(|frame| frame.function == "process")?.line
}

#[tokio::test]
async fn where_a_stage_died_is_known_of_cached_code_and_missed_where_its_dwarf_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let code = dir.path().join("code");
    let options =
        || EngineOptions { cache_dir: Some(code.clone()), instances_max: 4, ..EngineOptions::default() };
    let fresh = Engine::new(options()).expect("an engine").load(guest("probe-bytes")).await.expect("a stage");
    let line = line_of_the_panic(&fresh).await;
    assert!(line.is_some_and(|line| line > 100), "{line:?}");
    let cached = async || {
        let engine = Engine::new(options()).expect("an engine");
        engine.load_cached(fresh.digest()).await.expect("no error").expect("it is kept")
    };
    assert_eq!(line_of_the_panic(&cached().await).await, line);
    let files = std::fs::read_dir(&code).expect("the cache").map(|file| file.expect("a file").path());
    let dwarf = files.into_iter().find(|path| path.extension().is_some_and(|of| of == "dwarf"));
    let dwarf = dwarf.expect("DWARF of its own");
    let mut bytes = std::fs::read(&dwarf).expect("the DWARF");
    bytes[0] ^= 1;
    for damaged in [Some(bytes), None] {
        match damaged {
            Some(bytes) => std::fs::write(&dwarf, bytes),
            None => std::fs::remove_file(&dwarf),
        }
        .expect("damaged");
        assert_eq!(line_of_the_panic(&cached().await).await, None);
    }
}
