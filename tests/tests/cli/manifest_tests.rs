//! `conveyor test`: the tests that manifests hold.

use crate::scene::Scene;

fn tests(tests: &str) -> Scene {
    let scene = Scene::with(&format!(
        "pipeline: orders\nstages:\n  in: {{ source: file, with: {{ path: in.csv }} }}\n  large: {{ transform: \
         GUEST(filter), from: in, with: {{ where: amount > 10 }} }}\n  out: {{ sink: file, from: large, with: {{ path: \
         out.jsonl }} }}\ntests:\n{tests}"
    ));
    scene.write("in.csv", "name,amount\na,5\nb,50.5\n");
    scene
}

#[test]
fn tests_that_hold_pass_and_nothing_is_written() {
    let scene = tests(
        "  - name: a small order is dropped\n    feed: { stage: large, records: [{ amount: 3 }] }\n    expect: { stage: \
         large, records: [] }\n  - name: a large one goes all the way\n    feed: { stage: in, records: [{ amount: 30, \
         name: a }] }\n    expect: [{ stage: out, records: [{ name: a, amount: 30 }] }, { stage: large, records: [{ \
         name: a, amount: 30.0 }] }]\n",
    );
    let ran = scene.run(&["test", "pipeline.yaml"]).code(0);
    assert_eq!(
        ran.stderr,
        "ok    a small order is dropped\nok    a large one goes all the way\n2 passed, 0 failed\n"
    );
    assert!(!scene.path("out.jsonl").exists(), "a test wrote");
}

#[test]
fn a_test_that_does_not_hold_shows_what_came() {
    let scene = tests(
        "  - name: it goes on\n    feed: { stage: large, records: [{ amount: 3 }, { amount: 30 }] }\n    expect: { stage: \
         large, records: [{ amount: 3 }, { amount: 30 }] }\n",
    );
    let ran = scene.run(&["test", "pipeline.yaml"]).code(1).says(&[
        "FAIL it goes on",
        "2 records expected, 1 record came",
        "expected {\"amount\":3}",
        "0 passed, 1 failed",
    ]);
    assert_eq!(ran.stdout, "");
    let data = scene.run(&["test", "pipeline.yaml", "--output", "json"]).code(1).json();
    assert_eq!((&data["failed"], &data["tests"][0]["passes"]), (&1.into(), &false.into()));
}

#[test]
fn a_test_that_cannot_be_is_underlined() {
    let cases = [
        (
            "  - name: n\n    feed: { stage: large, records: [{ amont: 3 }] }\n    expect: { stage: large, records: [] }\n",
            "`large` cannot be fed with this",
        ),
        (
            "  - name: n\n    feed: { stage: large, records: [] }\n    expect: { stage: large.rest, records: [] }\n",
            "`large` has no port `rest`",
        ),
    ];
    for (text, expected) in cases {
        tests(text).run(&["test", "pipeline.yaml"]).code(2).says(&[expected]);
    }
}

#[test]
fn a_manifest_without_tests_is_told_how_to_get_some() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: generate, with: { count: 1 } }\n  out: { sink: discard, from: in }\n",
    );
    scene.run(&["test", "pipeline.yaml"]).code(2).says(&["has no tests: add some under `tests:`"]);
}
