//! The conformance suite of the distribution specification. Its exit code says nothing, so its report is read: nothing
//! fails, and what is skipped is skipped by name.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::client::Served;
use crate::scene::Scene;

/// Names the program, as `cargo xtask` builds it.
const PROGRAM: &str = "CONVEYOR_CONFORMANCE";
/// Has every kind of run be run.
const ALL: &str = "CONVEYOR_CONFORMANCE_ALL";

/// What the suite leaves out of a run of version 1.1: a draft of the next one has it.
const CANCEL: [&str; 2] =
    ["sha256 blobs/post cancel/blob-post-cancel", "sha512 blobs/post cancel/blob-post-cancel"];
/// One run of the suite.
struct Kind {
    name: &'static str,
    serve: &'static [&'static str],
    suite: &'static [(&'static str, &'static str)],
    passed: usize,
    skipped: &'static [&'static str],
}

const SIGNED_IN: [(&str, &str); 2] = [("OCI_USERNAME", "alice"), ("OCI_PASSWORD", "secret")];

const KINDS: [Kind; 4] = [
    Kind { name: "1.1", serve: &[], suite: &[], passed: 693, skipped: &CANCEL },
    Kind {
        name: "the next version",
        serve: &[],
        suite: &[("OCI_VERSION", "dev")],
        passed: 793,
        skipped: &[],
    },
    Kind {
        name: "passwords",
        serve: &["--htpasswd", "users"],
        suite: &SIGNED_IN,
        passed: 693,
        skipped: &CANCEL,
    },
    Kind {
        name: "tokens",
        serve: &["--htpasswd", "users", "--auth", "bearer"],
        suite: &SIGNED_IN,
        passed: 693,
        skipped: &CANCEL,
    },
];

/// The names of the cases, by how they ended.
#[derive(Debug, Default)]
struct Report {
    passed: usize,
    skipped: Vec<String>,
    others: Vec<String>,
}

/// Of `junit.xml`: `<testcase name="OCI Conformance Test/..." ... status="passed">`.
fn report(text: &str) -> Report {
    let attribute = |tag: &str, name: &str| {
        let value = tag.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0;
        Some(value.to_owned())
    };
    let mut report = Report::default();
    for tag in text.split("<testcase ").skip(1) {
        let tag = format!(" {}", tag.split('>').next().unwrap_or_default());
        let name = attribute(&tag, "name").expect("a name");
        let name = name.strip_prefix("OCI Conformance Test/").unwrap_or(&name).to_owned();
        match attribute(&tag, "status").as_deref() {
            Some("passed") => report.passed += 1,
            Some("skipped") => report.skipped.push(name),
            status => report.others.push(format!("{name}: {status:?}")),
        }
    }
    report
}

fn run(program: &PathBuf, kind: &Kind) {
    let scene = Scene::new();
    scene.write("users", "alice:$2b$05$aewet7O2NQ0NG14TYwfXI.9z138Ng29rmLQPxQKOZuQFUAQAUqiH.\n");
    let served = Served::start(&scene, kind.serve, None);
    let results = scene.path("results");
    let mut suite = Command::new(program);
    suite
        .env("OCI_REGISTRY", &served.address)
        .envs([("OCI_TLS", "disabled"), ("OCI_REPO1", "conformance/one"), ("OCI_REPO2", "conformance/two")])
        .env("OCI_RESULTS_DIR", &results)
        .envs(kind.suite.iter().copied())
        .current_dir(scene.path(""))
        .stdin(Stdio::null());
    let ran = suite.output().expect("the suite starts");
    let report = std::fs::read_to_string(results.join("junit.xml"));
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr)));
    let report = self::report(&report);
    eprintln!("{}: {} passed, {} skipped", kind.name, report.passed, report.skipped.len());
    assert_eq!(report.others, Vec::<String>::new(), "{}", kind.name);
    assert_eq!(report.skipped, kind.skipped, "{}", kind.name);
    assert!(report.passed >= kind.passed, "{}: only {} passed", kind.name, report.passed);
    served.stop().code(0);
}

#[test]
fn the_suite_passes() {
    let program = std::env::var_os(PROGRAM).map(PathBuf::from).filter(|program| program.is_file());
    let program = program.unwrap_or_else(|| {
        panic!(
            "{PROGRAM} names no program: run `cargo xtask conformance`, which builds it and runs this test"
        )
    });
    let count = if std::env::var_os(ALL).is_some() { KINDS.len() } else { 1 };
    KINDS[..count].iter().for_each(|kind| run(&program, kind));
}

#[test]
fn what_failed_is_told_from_what_passed() {
    let text = r#"<testsuite name="x"><testcase name="OCI Conformance Test/a" time="1" status="passed">
        <system-err>status="failure"</system-err></testcase><testcase name="OCI Conformance Test/b c" status="skipped">
        </testcase><testcase name="d" status="failure"><failure>e</failure></testcase><testcase name="f"></testcase>"#;
    let report = report(text);
    assert_eq!((report.passed, report.skipped), (1, vec!["b c".to_owned()]));
    assert_eq!(report.others, ["d: Some(\"failure\")", "f: None"]);
}
