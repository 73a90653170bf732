//! What a stage reaches of the machine: what it is granted, and nothing else, however it asks.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, AsArray, BinaryArray};
use engine::{Access, AccessOptions, Call, OpenDir, Pool, Secret, StageLimits, StageSetup};
use model::batch::Column;
use model::grants::{DirMode, Grants};
use model::stage::StagePlan;

use crate::guests::load;

/// What `probe-grants` answers to each of these, in one instance.
pub async fn ask(access: Access, asked: &[&str]) -> Vec<String> {
    let component = load("probe-grants").await;
    let (config, limits) = (serde_json::json!({}), StageLimits::default());
    let planned = component.plan_with(&config, &[], &limits, &access).await.expect("a plan");
    let StagePlan::Transform(plan) = planned else { panic!("{planned:?}") };
    let setup = StageSetup {
        pipeline: Arc::from("pipeline"),
        stage: Arc::from("stage"),
        config,
        input: Vec::new(),
        plan,
        limits,
        access,
        state: None,
    };
    let mut lease = Pool::new(component, setup).lease().await.expect("an instance");
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(asked.iter().map(|text| text.as_bytes())));
    let columns = [Column::new(values)];
    let call = Call { rows: asked.len(), columns: &columns, ..Call::default() };
    let outcome = lease.process(call).await.expect("an answer");
    let made = outcome.emissions[0].made.set[0].as_binary::<i32>().clone();
    made.iter().map(|value| String::from_utf8_lossy(value.expect("a value")).into_owned()).collect()
}

fn granted(grants: Grants) -> Access {
    Access::new(AccessOptions { grants, ..AccessOptions::default() })
}

#[tokio::test]
async fn without_grants_there_is_nothing() {
    let asked = ["env", "dirs", "read / etc/passwd", "tcp", "get http://127.0.0.1:1/", "secret API_KEY"];
    let answers = ask(Access::default(), &asked).await;
    assert_eq!(answers[..3], ["[]", "", "error: no such directory"]);
    let refused = answers[3].contains("permanent-resolver-failure") && answers[3].contains("access-denied");
    assert!(refused, "{}", answers[3]);
    assert!(answers[4].contains("HttpRequestDenied"), "{}", answers[4]);
    assert!(answers[5].contains("not granted: add `grants: { secrets: [API_KEY] }`"), "{}", answers[5]);
}

#[tokio::test]
async fn variables_are_those_of_the_manifest() {
    let env = [("REGION".to_owned(), "eu".to_owned())].into();
    let answers = ask(granted(Grants { env, ..Grants::default() }), &["env"]).await;
    assert_eq!(answers, [r#"[("REGION", "eu")]"#]);
}

#[tokio::test]
async fn a_secret_is_read_by_its_name_alone() {
    let secrets = [("API_KEY".to_owned(), Secret::new("hunter2".to_owned()))].into();
    let access = Access::new(AccessOptions { secrets, ..AccessOptions::default() });
    let asked = ["secret API_KEY", "secret api_key", "secret API_KEY2", "secret ../API_KEY", "env"];
    let answers = ask(access, &asked).await;
    assert_eq!(answers[0], "hunter2");
    for denied in &answers[1..4] {
        assert!(denied.starts_with("error: ") && !denied.contains("hunter2"), "{denied}");
    }
    assert_eq!(answers[4], "[]", "a secret is no variable");
}

#[tokio::test]
async fn the_clock_stands_and_numbers_repeat_unless_granted() {
    let at = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let standing = || Access::new(AccessOptions { stands_at: at, ..AccessOptions::default() });
    let asked = ["clock", "random", "ticks"];
    let first = ask(standing(), &asked).await;
    assert_eq!(first[0], "1000000");
    assert_eq!(first[2], "0", "ticks are whole milliseconds");
    assert_eq!(ask(standing(), &asked).await[..2], first[..2]);

    let access = || granted(Grants { clock: true, random: true, ..Grants::default() });
    let granted = ask(access(), &asked).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let seen: u64 = granted[0].parse().expect("seconds");
    assert!(now.abs_diff(seen) < 60, "{seen} is not {now}");
    assert_ne!(granted[1], first[1]);
    assert_ne!(ask(access(), &asked).await[1], granted[1], "numbers that are granted do not repeat");
}

fn dir(host: &Path, guest: &str, mode: DirMode) -> Access {
    let dirs = vec![OpenDir { host: host.to_owned(), guest: guest.to_owned(), mode }];
    Access::new(AccessOptions { dirs, ..AccessOptions::default() })
}

#[tokio::test]
async fn a_directory_is_read_and_written_as_granted() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("a"), "inside").expect("a file");
    let asked = ["dirs", "read /lookup a", "write /lookup a changed", "write /lookup new x", "read /other a"];
    let answers = ask(dir(home.path(), "/lookup", DirMode::ReadOnly), &asked).await;
    assert_eq!(answers[..2], ["/lookup", "inside"]);
    assert!(answers[2..].iter().all(|answer| answer.starts_with("error: ")), "{answers:?}");
    assert_eq!(std::fs::read(home.path().join("a")).expect("a file"), b"inside");
    assert!(!home.path().join("new").exists());

    let answers = ask(dir(home.path(), "/lookup", DirMode::ReadWrite), &asked[2..4]).await;
    assert_eq!(answers, ["written", "written"]);
    assert_eq!(std::fs::read(home.path().join("new")).expect("a file"), b"x");
}

#[tokio::test]
async fn nothing_outside_a_directory_is_reached_from_it() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |path: &str| home.path().join(path);
    std::fs::create_dir_all(at("in/deep")).expect("a directory");
    std::fs::write(at("out"), "outside").expect("a file");
    std::fs::write(at("in/a"), "inside").expect("a file");
    symlink(at("out"), at("in/absolute")).expect("a link");
    symlink("../out", at("in/relative")).expect("a link");
    symlink("..", at("in/up")).expect("a link");
    symlink("a", at("in/fine")).expect("a link");
    symlink("../../out", at("in/deep/far")).expect("a link");
    symlink(at("new"), at("in/dangling")).expect("a link");
    let absolute = format!("read /in {}", at("out").display());
    let mut asked = vec![
        "read /in fine",
        "read /in deep/../a",
        "read /in ../out",
        "read /in deep/../../out",
        "read /in absolute",
        "read /in relative",
        "read /in up/out",
        "read /in deep/far",
        "read /in /etc/passwd",
        "write /in ../out gone",
        "write /in absolute gone",
        "write /in dangling gone",
        "symlink /in /etc made",
        "read /in made/passwd",
    ];
    asked.push(&absolute);
    let answers = ask(dir(&at("in"), "/in", DirMode::ReadWrite), &asked).await;
    assert_eq!(answers[..2], ["inside", "inside"]);
    for (asked, answer) in asked.iter().zip(&answers).skip(2) {
        assert!(answer.starts_with("error: "), "{asked}: {answer}");
    }
    assert_eq!(std::fs::read(at("out")).expect("a file"), b"outside");
    assert!(!at("new").exists() && at("in/made").symlink_metadata().is_err());
}

/// What a hard link names is the file itself, wherever else it has a name: `docs/grants.md` says so.
#[tokio::test]
async fn a_hard_link_is_the_file() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join("in")).expect("a directory");
    std::fs::write(home.path().join("out"), "outside").expect("a file");
    std::fs::hard_link(home.path().join("out"), home.path().join("in/linked")).expect("a link");
    let answers = ask(dir(&home.path().join("in"), "/in", DirMode::ReadOnly), &["read /in linked"]).await;
    assert_eq!(answers, ["outside"]);
}

#[tokio::test]
async fn a_directory_that_is_gone_stops_the_start() {
    let component = load("probe-grants").await;
    let limits = StageLimits::default();
    let access = dir(Path::new("/nowhere/at/all"), "/in", DirMode::ReadOnly);
    let plan = component.plan_with(&serde_json::json!({}), &[], &limits, &access).await;
    let error = plan.expect_err("it cannot start").to_string();
    assert!(error.contains("/nowhere/at/all"), "{error}");
}
