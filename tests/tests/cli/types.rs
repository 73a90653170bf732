//! Files of real writers through the whole of a pipeline: compared by what a stage sees, and nothing panics.

use std::fs;
use std::path::PathBuf;

use crate::scene::Scene;

/// A file of one of the writers in `host/connect/src/tests/writers`.
fn copy(scene: &Scene, name: &str) {
    let writers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../host/connect/src/tests/writers");
    fs::copy(writers.join(name), scene.path(name)).expect("a file");
}

#[test]
fn decimals_uuids_and_times_of_parquet_are_compared_by_stages() {
    let conditions = [
        ("money > 1234567.88 and money <= 1234567.89", 1),
        ("money > 1234567.89", 0),
        ("uuid = '00010203-0405-0607-0809-0a0b0c0d0e0f'", 1),
        ("uuid < '0001'", 0),
        ("enum = 'b' and time = '24:00:00'", 1),
        ("instant = timestamp '2024-07-01T10:00:00Z'", 1),
        ("interval = 'P1M2DT3.500S'", 1),
    ];
    let mut manifest =
        "pipeline: p\nstages:\n  in: { source: file, with: { path: duckdb.parquet } }\n".to_owned();
    for (nth, (condition, _)) in conditions.iter().enumerate() {
        manifest.push_str(&format!(
            "  keep-{nth}: {{ transform: GUEST(filter), from: in, with: {{ where: \"{condition}\" }} }}\n  out-{nth}: {{ sink: \
             file, from: keep-{nth}, with: {{ path: out-{nth}.jsonl }} }}\n"
        ));
    }
    let scene = Scene::with(&manifest);
    copy(&scene, "duckdb.parquet");
    scene.run_pipeline().code(0).says_nothing_of(&["refused"]);
    for (nth, (condition, kept)) in conditions.iter().enumerate() {
        assert_eq!(scene.read(&format!("out-{nth}.jsonl")).lines().count(), *kept, "{condition}");
    }
}
