//! Locks: what is printed is read back, what is damaged is told with its line, and what changed is named.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::manifest::{Context, parse};

const WRITE: &str = "conveyor lock p.yaml";

fn facts() -> Facts {
    Facts {
        name: "large".into(),
        version: "1.2.0".into(),
        kind: StageKind::TableTransform,
        ports: Some(vec!["main".into()]),
        needs: vec!["http api.example:443".into()],
        config_schema: Some(
            json!({ "properties": { "minimum": { "type": "number" } }, "required": ["minimum"] }),
        ),
    }
}

fn pinned(of: &str) -> Pinned {
    let image = Some(Image { manifest: Digest::of(of.as_bytes()), index: None });
    Pinned { image, component: Digest::of(&[of.as_bytes(), b"layer"].concat()), bytes: 7, is: facts() }
}

fn lock(components: &[(&str, Pinned)]) -> Lock {
    let components = components.iter().map(|(reference, pinned)| ((*reference).to_owned(), pinned.clone()));
    Lock { pipeline: "p".into(), components: components.collect() }
}

fn pipeline(middle: &str) -> Pipeline {
    let text = format!(
        "pipeline: p\nstages:\n  in: {{ source: stdin }}\n  mid: {{ transform: \"{middle}\", from: in }}\n  out: {{ sink: \
         stdout, from: mid }}\n"
    );
    let context = Context { sources: &["stdin"], sinks: &["stdout"], env: &|_| None };
    parse("p.yaml", &text, &context).expect("a manifest")
}

fn told(lock: &Lock, pipeline: &Pipeline) -> Vec<String> {
    let problems = lock.misfits(pipeline, "p.lock", WRITE);
    problems
        .iter()
        .map(|problem| format!("{}; {}", problem.message, problem.help.as_deref().unwrap_or("")))
        .collect()
}

#[test]
fn a_lock_has_one_text() {
    let mut local = pinned("x");
    (local.image, local.is.ports, local.is.config_schema) = (None, None, None);
    let lock = lock(&[("r.example/b:1", pinned("b")), ("./a", local), ("r.example/a:1", pinned("a"))]);
    let text = lock.print();
    assert_eq!(Lock::parse("p.lock", text.as_bytes(), WRITE).expect("it is read"), lock);
    let places: Vec<usize> = ["./a", "r.example/a:1", "r.example/b:1"]
        .iter()
        .map(|name| text.find(name).expect("there"))
        .collect();
    assert!(places.is_sorted(), "{text}");
    assert!(text.starts_with("{\n  \"conveyor-lock\": 1,\n  \"pipeline\": \"p\",\n"), "{text}");
    assert!(text.ends_with("}\n"), "{text}");
    insta::assert_snapshot!(self::lock(&[("r.example/a:1", pinned("a"))]).print());
}

#[test]
fn what_is_no_lock_is_told_with_its_line_and_what_to_do() {
    let good = lock(&[("r.example/a:1", pinned("a")), ("r.example/b:1", pinned("b"))]).print();
    let line_of = |what: &str| good[..good.find(what).expect(what)].matches('\n').count() + 1;
    // What is wrong with an entry as a whole is told where the next one begins, or the list ends.
    let cases = [
        (good.replace("\"version\": \"1.2.0\"", "\"version\": 1"), line_of("\"version\""), "invalid type"),
        (good.replacen("\"kind\"", "\"kindd\"", 1), line_of("\"kind\""), "unknown field `kindd`"),
        (
            good.replacen("table-transform", "table", 1),
            line_of("\n    },") + 2,
            "`table` of `r.example/a:1` is no kind",
        ),
        (
            good.replace("r.example/b:1", "r.example/a:1"),
            line_of("\n  ]") + 1,
            "`r.example/a:1` is there twice",
        ),
        (good.replacen("sha256:", "sha256:0", 1), line_of("sha256:"), "is no sha256 digest"),
        (
            good.replacen("\"manifest\"", "\"index\"", 1),
            line_of("\n    },") + 2,
            "has an index, and no manifest",
        ),
        (good.replacen("  \"components\"", "<<<<<<< ours\n  \"components\"", 1), 4, "is damaged"),
        (
            good.replace("\"conveyor-lock\": 1", "\"conveyor-lock\": 2"),
            2,
            "format 2, and this version knows 1",
        ),
        (good[..good.len() / 2].to_owned(), 0, "is damaged: EOF"),
        ("# [[package]]\n".to_owned(), 1, "no lock"),
        ("{}".to_owned(), 1, "missing field `conveyor-lock`"),
        (String::new(), 0, "no lock"),
    ];
    for (text, line, expected) in cases {
        let problems = Lock::parse("p.lock", text.as_bytes(), WRITE).expect_err(expected).to_string();
        assert!(problems.contains(expected), "{problems}");
        let place = format!("p.lock:{line}:");
        assert!(line == 0 || problems.starts_with(&place), "{place} is not where {problems}");
    }
    for bytes in [vec![0xff], vec![b' '; crate::limits::LOCK_BYTES_MAX + 1]] {
        assert!(Lock::parse("p.lock", &bytes, WRITE).is_err());
    }
}

#[test]
fn a_manifest_and_its_lock_have_the_same_references() {
    let (one, other) = ("r.example/a:1", "r.example/a:2");
    let fits = lock(&[(one, pinned("a"))]);
    assert_eq!(told(&fits, &pipeline(one)), Vec::<String>::new());
    let moved = told(&fits, &pipeline(other));
    assert!(moved[0].contains("stage `mid` is `r.example/a:2`") && moved[0].contains(WRITE), "{moved:?}");
    assert!(
        moved[1].contains("has `r.example/a:1`, which no stage is") && moved[1].contains(WRITE),
        "{moved:?}"
    );
    // Paths may be in it, and need not.
    assert_eq!(told(&lock(&[]), &pipeline("./a")), Vec::<String>::new());
    assert_eq!(told(&lock(&[("./a", pinned("a"))]), &pipeline("./a")), Vec::<String>::new());
    assert_eq!(told(&lock(&[("stdin", pinned("a"))]), &pipeline("./a")).len(), 1);
    let of_another = Lock { pipeline: "q".into(), ..fits };
    assert!(told(&of_another, &pipeline(one))[0].contains("pipeline `q`"));
}

#[test]
fn a_digest_in_the_manifest_is_never_another_one_in_the_lock() {
    let digest = |of: &str| format!("r.example/a:1@{}", Digest::of(of.as_bytes()));
    let mut entry = pinned("a");
    assert_eq!(told(&lock(&[(&digest("a"), entry.clone())]), &pipeline(&digest("a"))), Vec::<String>::new());
    let wrong = told(&lock(&[(&digest("b"), entry.clone())]), &pipeline(&digest("b")));
    let message = format!("stage `mid` is {}, and p.lock has {} for it", Digest::of(b"b"), Digest::of(b"a"));
    assert!(wrong[0].contains(&message), "{wrong:?}");
    // What has no image says nothing of what a tag is.
    let local = Pinned { image: None, ..entry.clone() };
    let wrong = told(&lock(&[("r.example/a:1", local)]), &pipeline("r.example/a:1"));
    assert!(wrong[0].contains("is an image, and p.lock has none for it"), "{wrong:?}");
    // Of an index, its own digest counts.
    entry.image = Some(Image { manifest: Digest::of(b"a"), index: Some(Digest::of(b"i")) });
    assert_eq!(told(&lock(&[(&digest("i"), entry.clone())]), &pipeline(&digest("i"))), Vec::<String>::new());
    assert_eq!(told(&lock(&[(&digest("a"), entry)]), &pipeline(&digest("a"))).len(), 1);
}

#[test]
fn what_a_new_version_changes_is_named() {
    let mut new = pinned("b");
    new.is.version = "1.3.0".into();
    new.is.kind = StageKind::Transform;
    new.is.ports = Some(vec!["main".into(), "rest".into()]);
    new.is.needs = vec!["clock".into()];
    new.is.config_schema = Some(json!({
        "properties": { "minimum": { "type": "integer" }, "city": { "type": "string" } }, "required": ["city"],
    }));
    let old = lock(&[("r.example:5000/a:1", pinned("a")), ("r.example/gone:1", pinned("g"))]);
    let new = lock(&[("r.example:5000/a:2", new), ("r.example/new:1", pinned("n"))]);
    let text: Vec<String> = changes(&old, &new).iter().flat_map(Change::lines).collect();
    insta::assert_snapshot!(text.join("\n"));
    assert_eq!(changes(&old, &old), []);
    let back = changes(&new, &old);
    assert!(back.iter().any(|change| change.reference() == "r.example:5000/a:1"), "{back:?}");
}

#[test]
fn the_same_component_under_other_annotations_is_told_as_that() {
    let mut new = pinned("a");
    new.image = Some(Image { manifest: Digest::of(b"other"), index: None });
    let (old, new) = (lock(&[("r/a:1", pinned("a"))]), lock(&[("r/a:1", new)]));
    let lines = changes(&old, &new)[0].lines();
    assert!(lines.len() == 2 && lines[1].contains("image, of the same component,"), "{lines:?}");
}

fn texts() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-z./:@ \"\\\\\u{e9}\u{1b}\n-]{0,12}").expect("a pattern")
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        texts().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(texts(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_pinned() -> impl Strategy<Value = Pinned> {
    let digest = any::<(bool, u8)>().prop_map(|(long, of)| {
        let algorithm = if long { crate::ids::Algorithm::Sha512 } else { crate::ids::Algorithm::Sha256 };
        Digest::by(algorithm, &[of])
    });
    let image = proptest::option::of(
        (digest.clone(), proptest::option::of(digest.clone()))
            .prop_map(|(manifest, index)| Image { manifest, index }),
    );
    let list = || proptest::collection::vec(texts(), 0..3);
    // A schema that is `null` is none.
    let schema = proptest::option::of(json_value().prop_filter("none", |value| !value.is_null()));
    let facts = (texts(), texts(), 0..6usize, proptest::option::of(list()), list(), schema);
    (image, digest, any::<u64>(), facts).prop_map(
        |(image, component, bytes, (name, version, kind, ports, needs, config_schema))| {
            let is = Facts { name, version, kind: StageKind::ALL[kind], ports, needs, config_schema };
            Pinned { image, component, bytes, is }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back_and_changes_nothing(
        pipeline in texts(),
        components in proptest::collection::btree_map(texts(), any_pinned(), 0..4),
    ) {
        let lock = Lock { pipeline, components };
        let text = lock.print();
        let read = Lock::parse("p.lock", text.as_bytes(), WRITE).expect("a lock");
        prop_assert_eq!(&read, &lock);
        prop_assert_eq!(read.print(), text);
        prop_assert_eq!(changes(&lock, &read), vec![]);
        prop_assert_eq!(changes(&Lock { components: BTreeMap::new(), ..lock.clone() }, &lock).len(), lock.components.len());
    }

    #[test]
    fn damage_never_panics_and_is_never_read_as_another_lock(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let lock = lock(&[("r.example/a:1", pinned("a"))]);
        let mut bytes = lock.print().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Lock::parse("p.lock", &bytes, WRITE) {
            // What was read is all that the text says.
            prop_assert_eq!(Lock::parse("p.lock", read.print().as_bytes(), WRITE).expect("a lock"), read);
        }
    }
}
