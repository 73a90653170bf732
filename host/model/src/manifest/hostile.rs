//! Texts that nobody means well with: none may panic, and none may take long.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::diagnosis::read;
use crate::limits::MANIFEST_BYTES_MAX;

/// Generous, for a busy machine; what it must catch takes minutes or for ever.
const LONG: Duration = Duration::from_secs(20);

/// Of about the largest size that is read at all.
fn repeated(head: &str, piece: &str) -> String {
    format!("{head}{}\n", piece.repeat((MANIFEST_BYTES_MAX - head.len() - 1) / piece.len()))
}

fn numbered(head: &str, piece: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    for nth in 0.. {
        let piece = piece(nth);
        if text.len() + piece.len() > MANIFEST_BYTES_MAX {
            break;
        }
        text.push_str(&piece);
    }
    text
}

fn stages(piece: impl Fn(usize) -> String) -> String {
    let stages: String =
        (0..crate::limits::STAGES_MAX).map(|nth| format!("  s{nth}: {}\n", piece(nth))).collect();
    format!("pipeline: p\nstages:\n{stages}")
}

#[test]
fn no_text_takes_long() {
    let text_with_aliases = format!("a: &a {}\nb: [", "x".repeat(500_000));
    let unknown: String = (0..250).map(|nth| format!("name-of-a-stage-that-is-not-there-{nth}, ")).collect();
    let deep_keys: String =
        (0..60).map(|depth| format!("{}{}:\n", " ".repeat(depth + 6), "k".repeat(1000))).collect();
    let cases = [
        ("brackets", repeated("", "[")),
        ("braces", repeated("", "{a: ")),
        ("dashes", repeated("", "- ")),
        ("questions", repeated("", "? ")),
        ("anchors", repeated("", "&a ")),
        ("one key for ever", repeated("pipeline: p\nstages:\n", "  a: 1\n")),
        ("unknown keys", numbered("pipeline: p\n", |nth| format!("stagez{nth}: 1\n"))),
        ("likely keys", numbered("", |nth| format!("pipelin{nth}: 1\n"))),
        ("variables", repeated("pipeline: ", "${NOWHERE}")),
        ("hidden variables", repeated("pipeline: \"\\x20", "${NOWHER\\x45} ")),
        ("open variables", repeated("pipeline: ", "${")),
        ("one long line", repeated("pipeline: p\nx: ", "y")),
        ("a long number", repeated("pipeline: p\nx: ", "9")),
        ("a long text and its aliases", repeated(&text_with_aliases, "*a,")),
        ("merges", numbered("a: &a {x: 1, y: 2}\nb: {", |_| "<<: *a, ".to_owned())),
        (
            "inputs",
            format!(
                "pipeline: p\nstages: {{ out: {{ sink: stdout, from: [{}] }} }}\n",
                "in, ".repeat(90_000)
            ),
        ),
        (
            "unknown inputs",
            stages(|_| format!("{{ transform: ./a, from: [{unknown}] }}")[..3900].to_owned() + "] }"),
        ),
        ("a ring of stages", stages(|nth| format!("{{ transform: ./a, from: [s{}, s0] }}", (nth + 1) % 256))),
        (
            "all read all",
            stages(|_| {
                let all: String = (0..256).map(|nth| format!("s{nth}, ")).collect();
                format!("{{ transform: ./a, from: [{all}] }}")
            }),
        ),
        (
            "deep keys",
            format!(
                "pipeline: p\nstages:\n  in:\n    source: stdin\n    with:\n{deep_keys}{}[{}]\n",
                " ".repeat(70),
                "1, ".repeat(90_000)
            ),
        ),
        (
            "tests",
            numbered("pipeline: p\nstages: { in: { source: stdin } }\ntests:\n", |nth| {
                format!("- {{ name: a{nth}, feed: {{ stage: ih, records: [] }}, expect: [] }}\n")
            }),
        ),
    ];
    for (name, text) in cases {
        let start = Instant::now();
        let outcome = read(&text);
        let rendered = outcome.as_ref().err().map(|problems| problems.render(100, false));
        let took = start.elapsed();
        assert!(took < LONG, "{name} took {took:?}");
        assert!(name == "deep keys" || outcome.is_err(), "{name} is no manifest");
        assert!(rendered.is_none_or(|text| text.len() < 4 << 20), "{name} says too much");
    }
}

/// Pieces of manifests in any order: far more of these get past the YAML than of arbitrary text.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "pipeline",
        "stages",
        "source",
        "transform",
        "sink",
        "from",
        "with",
        "schema",
        "limits",
        "memory",
        "tests",
        "batch",
        "replicas",
        "retry",
        "grants",
        "http",
        "dirs",
        "env",
        ": ",
        ":\n  ",
        ":\n    ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        ", ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "<<: *a",
        "${CITY}",
        "${X:-y}",
        "$${",
        "${",
        "\"",
        "'",
        "|\n",
        "#",
        "in",
        "out",
        "file",
        "./a",
        "a.wasm",
        "64MiB",
        "1..2",
        "null",
        "~",
        "true",
        "-1",
        "1e99",
        ".inf",
        "é",
        "\u{feff}",
        "\t",
        "!!str ",
        "? ",
        "---",
        "%YAML 1.2",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn look_at_everything(text: &str) {
    match read(text) {
        Ok(mut pipeline) => {
            for stage in &pipeline.stages {
                assert!(pipeline.text.text.get(stage.name.span.start..stage.name.span.end()).is_some());
            }
            let first = pipeline.stages[0].name.to_string();
            pipeline.set(&format!("{first}.key=1")).unwrap();
        }
        Err(problems) => {
            assert!(problems.count() > 0);
            for label in problems.iter().flat_map(|problem| &problem.labels) {
                let range = label.span.start..label.span.end();
                assert!(text.get(range.clone()).is_some(), "{range:?} is no piece of {text:?}");
            }
            problems.render(80, true);
            problems.to_json();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        look_at_everything(&text);
    }

    #[test]
    fn pieces_of_manifests_never_panic(text in soup()) {
        look_at_everything(&text);
    }

    #[test]
    fn a_stage_of_pieces_never_panics(text in soup()) {
        look_at_everything(&format!(
            "pipeline: p\nstages:\n  in:\n    source: file\n    {text}\n  out: {{ sink: stdout, from: in }}\n"
        ));
    }

    #[test]
    fn arbitrary_overrides_never_panic(text in any::<String>(), value in soup()) {
        let mut pipeline = read("pipeline: p\nstages: { in: { source: stdin }, out: { sink: stdout, from: in } }").unwrap();
        let _ = pipeline.set(&text);
        let _ = pipeline.set(&format!("in.key={value}"));
        let _ = pipeline.set(&format!("in.{value}={text}"));
    }
}
