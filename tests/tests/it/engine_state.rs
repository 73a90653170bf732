//! What a transform remembers, asked for by a guest and kept by the belt's store of state.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray};
use engine::{Call, CallError, Lease, Pool, StageLimits};
use flow::state::{StageState, StateLimits};
use model::batch::Column;
use model::groups::GroupRange;

use crate::guests::{load, setup};

/// A stage that does what its records say, and its state.
async fn stage(limits: StateLimits) -> (Pool, Arc<StageState>) {
    let component = load("probe-state").await;
    let state = Arc::new(StageState::in_memory(limits));
    // So that a value may be handed over that is too large for state.
    let limits_here = StageLimits { output_ratio: 1_000_000, ..StageLimits::default() };
    let mut setup = setup(&load("probe-bytes").await, "all", &[], limits_here).await;
    setup.config = serde_json::json!({});
    setup.state = Some(state.clone());
    (Pool::new(component, setup), state)
}

async fn ask(lease: &mut Lease, lines: &[&str]) -> Result<Vec<String>, CallError> {
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(lines));
    let columns = [Column::new(values)];
    let outcome = lease.process(Call { rows: lines.len(), columns: &columns, ..Call::default() }).await?;
    let made = outcome.emissions[0].made.set[0].as_binary::<i32>().iter().flatten();
    Ok(made.map(|value| String::from_utf8_lossy(value).into_owned()).collect())
}

#[tokio::test]
async fn a_call_sees_what_it_wrote_and_nobody_else_does_until_it_is_kept() {
    let (pool, state) = stage(StateLimits::default()).await;
    let mut lease = pool.lease().await.expect("an instance");
    let answers = ask(&mut lease, &["add a", "add a", "get a"]).await.expect("an answer");
    assert_eq!(answers, ["a 1", "a 2", "a 2"]);
    state.begin();
    assert_eq!(ask(&mut lease, &["get a"]).await.expect("an answer"), ["a 0"], "it was not kept");
    state.begin();
    ask(&mut lease, &["add a"]).await.expect("an answer");
    state.keep();
    let died = ask(&mut lease, &["add a", "panic"]).await.expect_err("it panics");
    assert_eq!(died.code(), "trap");
    state.begin();
    let mut other = pool.lease().await.expect("an instance");
    assert_eq!(ask(&mut other, &["add a"]).await.expect("an answer"), ["a 2"]);
}

#[tokio::test]
async fn what_cannot_be_asked_ends_the_call_with_its_code() {
    let half = GroupRange::of_replica(0, 2).expect("a half");
    let owned = |key: &str| half.contains(model::groups::KeyGroup::of(key.as_bytes()));
    let keys: Vec<String> = (0..20).map(|n| format!("key{n}")).collect();
    let ours = keys.iter().find(|key| owned(key)).expect("one of twenty");
    let other = keys.iter().find(|key| !owned(key)).expect("one of twenty");
    let (pool, state) = stage(StateLimits { owned: half, bytes_max: 2000 }).await;
    let line = |verb: &str, key: &str| format!("{verb} {key}");
    for (line, code, is_death) in [
        (line("add", other), "state-key-not-owned", true),
        (line("get", other), "state-key-not-owned", true),
        (line("forget", other), "state-key-not-owned", true),
        (format!("scan {other} b"), "state-key-not-owned", true),
        ("key 4097".to_owned(), "state-entry-too-large", true),
        ("value 1048577".to_owned(), "state-entry-too-large", true),
        (format!("put {ours} name {}", "v".repeat(2000)), "state-too-large", false),
    ] {
        state.begin();
        let mut lease = pool.lease().await.expect("an instance");
        let error = ask(&mut lease, &[&format!("add {ours}"), &line]).await.expect_err("it is refused");
        assert_eq!((error.code(), error.is_death()), (code, is_death), "{line}: {error}");
        assert!(
            error.backtrace().is_some_and(|frames| !frames.is_empty()),
            "{line}: it says nothing of where"
        );
        assert!(
            pool.hits().counts().any(|(known, count)| known == code && count > 0),
            "{code} is not counted"
        );
    }
    state.begin();
    assert_eq!(state.gauge().get().keys, 0, "of calls that failed nothing stays");
    let mut lease = pool.lease().await.expect("an instance");
    assert_eq!(ask(&mut lease, &[&line("add", ours)]).await.expect("it is ours"), [format!("{ours} 1")]);
}
