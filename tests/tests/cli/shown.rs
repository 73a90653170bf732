//! Words that are not ours: whatever a component, a manifest, the name of a file, a record or another program says, no
//! verb hands a terminal anything that it would obey, and no line was made up by somebody else.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;

use model::plain::{self, is_plain};
use serde_json::Value;

use crate::places;
use crate::scene::{Ran, Scene};

/// As `probe-words` says it.
const WORDS: &str =
    "<\u{1b}[31m\u{7}\0\u{9b}2J\u{202e}\u{2028}\u{7f}\r\nFORGED next: do as it says\n  FORGED>";
/// What can be typed, and what a file can be called.
const NAME: &str = "a\u{1b}[2J\u{7}\u{9b}\u{202e}\u{2028}\nFORGED";

/// An image where no registry is.
const NOBODY: &str = "127.0.0.1:1/a:1";

const HEAD: &str = "pipeline: p\nstages:\n  in: { source: file, with: { path: \"in*\", format: lines }, batch: { records: 1 } }\n  words: \
                    { transform: ./words.wasm, from: in, retry: { attempts: 2, backoff: 1ms..2ms }";
const GRANTS: &str = ", grants: { dirs: [{ host: lookup, guest: \"/a\\e[2J\\u202Eb\" }] }";
const TAIL: &str = " }\n  out: { sink: file, from: words, with: { path: out.txt } }\n";

/// What is asked of each verb. A verb that is not here is one that nobody has looked at.
fn cases() -> BTreeMap<&'static str, Vec<Vec<&'static str>>> {
    let json = ["--output", "json"];
    let both = |args: &[&'static str]| vec![args.to_vec(), [args, &json].concat()];
    let mut inspect = both(&["words.wasm"]);
    inspect.push(vec!["words.wasm", "--grants"]);
    inspect.push(vec![NAME]);
    inspect.push(vec!["words.wasm", "--with", "{\"port\":true}"]);
    let validate =
        ["p.yaml", "ungranted.yaml", "refused.yaml", "ports.yaml", "unread.yaml", "escapes.yaml", NAME];
    let mut validate: Vec<_> = validate.iter().flat_map(|file| both(&[file])).collect();
    validate.push(vec!["ungranted.yaml", "--against", "p.yaml"]);
    let graph = ["text", "dot", "mermaid", "json"];
    let mut graph: Vec<_> = graph.iter().map(|format| vec!["p.yaml", "--format", format]).collect();
    graph.extend([vec!["ports.yaml"], vec!["escapes.yaml"]]);
    let mut run = both(&["p.yaml"]);
    run.extend([both(&["fatal.yaml"]), both(&["retry.yaml"])].concat());
    run.extend(both(&["p.yaml", "--state", "state"]));
    run.push(vec!["p.yaml", "--state", "state", "--set", NAME]);
    run.push(vec!["p.yaml", NAME]);
    let mut show = both(&["1"]);
    show.extend([vec!["2"], vec!["3"], vec![NAME]]);
    // Nothing that it would serve: what is wrong with an option is told first.
    let registry = |option| match option {
        "--listen" => vec!["--data", "registry", "--listen", NAME],
        option => vec!["--data", "registry", "--listen", "127.0.0.1:0", option, NAME],
    };
    let replay = ["p.yaml", NAME].map(|file| vec![file, "--stage", "words", "--record", "1"]);
    BTreeMap::from([
        ("new", vec![vec![NAME]]),
        ("build", vec![vec![NAME], vec!["."]]),
        ("inspect", inspect),
        ("validate", validate),
        ("graph", graph),
        ("run", run),
        ("test", both(&["p.yaml"])),
        ("dlq list", [both(&[]), both(&["--counts"]), vec![vec![NAME]]].concat()),
        ("dlq show", show),
        ("dlq export", vec![vec![], vec!["-o", NAME]]),
        ("dlq replay", vec![vec!["p.yaml", "--dry-run"], vec!["p.yaml", "--output", "json"]]),
        (
            "dlq purge",
            vec![vec!["--code", NAME, "--yes"], vec!["--stage", NAME], vec!["--all", "--yes", NAME]],
        ),
        ("replay", replay.to_vec()),
        ("checkpoint list", [both(&["state"]), vec![vec![NAME]]].concat()),
        (
            "checkpoint inspect",
            [both(&["state"]), vec![vec![NAME], vec!["state", "--pipeline", NAME]]].concat(),
        ),
        ("registry serve", ["--listen", "--htpasswd", "--url"].map(registry).to_vec()),
        ("registry gc", vec![vec!["--data", NAME]]),
        ("registry fsck", vec![vec!["--data", NAME]]),
        ("registry load", vec![vec![NAME, "--data", "registry"], vec!["words.wasm", "--data", "registry"]]),
        ("registry list", both(&[NAME])),
        ("registry tag", vec![vec![NAME, "x"], vec![NOBODY, NAME]]),
        ("registry copy", vec![vec![NAME, "oci:copied"], vec!["oci:nothing", NAME]]),
        ("registry delete", vec![vec![NAME, "--yes"]]),
        ("push", vec![vec!["words.wasm", NAME], vec![NAME, NOBODY]]),
        ("pull", vec![vec![NAME], vec![NOBODY, "--ca-cert", NAME]]),
        ("login", vec![vec![NAME, "-u", "a", "-p", "b"]]),
        ("logout", both(&[NAME])),
        ("sign", vec![vec![NAME, "--key", "k"], vec![NOBODY, "--key", NAME]]),
        (
            "verify",
            vec![vec![NAME, "--key", "k"], vec![NOBODY, "--key", NAME], vec![NOBODY, "--trust", NAME]],
        ),
        ("key generate", vec![vec!["--out", NAME], vec![NAME]]),
        ("lock", vec![vec![NAME], vec!["escapes.yaml"], vec!["p.yaml", "--trust", NAME]]),
        ("bundle", vec![vec![NAME, "-o", "b.tar"], vec!["p.yaml", "-o", NAME]]),
        (
            "up",
            vec![
                vec!["--data", NAME, "--listen", "0.0.0.0:0"],
                vec!["--data", "words.wasm", "--listen", NAME],
            ],
        ),
        (
            "node start",
            vec![vec!["--data", NAME, "--listen", "0.0.0.0:0"], vec!["--data", "d", "--listen", NAME]],
        ),
        ("node unit", vec![vec!["--allow-root", NAME]]),
        ("deploy", vec![vec![NAME, "--node", NOWHERE], vec!["p.yaml", "--node", NAME]]),
        ("list", vec![vec!["-n", NAME, "--node", NOWHERE], vec!["--node", NAME]]),
        ("events", vec![vec!["-n", NAME, "--node", NOWHERE], vec!["--node", NAME]]),
        ("status", vec![vec![NAME, "--node", NOWHERE]]),
        ("history", vec![vec![NAME, "--node", NOWHERE]]),
        ("diff", vec![vec![NAME, "--node", NOWHERE], vec!["p", NAME, "--node", NOWHERE]]),
        ("pause", vec![vec![NAME, "--node", NOWHERE]]),
        ("resume", vec![vec![NAME, "--node", NOWHERE]]),
        ("restart", vec![vec![NAME, "--node", NOWHERE]]),
        ("rollback", vec![vec![NAME, "--node", NOWHERE], vec!["p", NAME, "--node", NOWHERE]]),
        ("delete", vec![vec![NAME, "--yes", "--node", NOWHERE]]),
        ("secret list", vec![vec!["-n", NAME, "--node", NOWHERE]]),
        ("secret set", vec![vec![NAME, "--node", NOWHERE]]),
        ("secret remove", vec![vec![NAME, "--node", NOWHERE]]),
        ("context add", vec![vec!["a", NAME]]),
        ("context list", both(&[])),
        ("context use", vec![vec![NAME]]),
        ("context remove", vec![vec![NAME]]),
        ("doctor", both(&[])),
        ("completions", vec![vec![NAME]]),
    ])
}

/// Where no node is.
const NOWHERE: &str = "http://127.0.0.1:1";

/// All verbs, as the command line itself tells of them.
fn verbs(scene: &Scene, of: &str) -> BTreeSet<String> {
    let args: Vec<&str> = of.split_whitespace().chain(["--help"]).collect();
    let help = scene.run(&args).code(0).stdout;
    let Some((_, commands)) = help.split_once("Commands:\n") else { return BTreeSet::from([of.to_owned()]) };
    let lines = commands.lines().take_while(|line| !line.is_empty());
    // What a verb does may go on in further lines, which stand further in.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .flat_map(|name| verbs(scene, &format!("{of} {name}")).into_iter().collect::<Vec<_>>())
        .map(|verb| verb.trim().to_owned())
        .collect()
}

/// Manifests over `probe-words`, records that are refused in every way from a file with such a name, and a cargo that
/// speaks as the stage does.
fn scene() -> Scene {
    let scene = Scene::new();
    std::fs::copy(places::guest("probe-words"), scene.path("words.wasm")).expect("a stage");
    std::fs::create_dir(scene.path("lookup")).expect("a directory");
    scene.write(&format!("in {NAME}"), "refuse\nlog\nprint\npanic\nplain\n");
    scene.write("fatal.txt", "fatal\n").write("retry.txt", "retry\n");
    let contexts = format!("[contexts.{}]\nurl = \"http://127.0.0.1:1\"\n", quoted());
    scene.write("config/conveyor/config.toml", contexts);
    let test = format!(
        "tests:\n  - {{ name: {0}, feed: {{ stage: in, records: [\"refuse\", \"a\"] }}, expect: {{ stage: words, records: \
         [{0}] }} }}\n  - {{ name: fatal, feed: {{ stage: in, records: [fatal] }}, expect: {{ stage: words, records: [] }} \
         }}\n",
        quoted()
    );
    let manifest = |with: &str| format!("{HEAD}{GRANTS}{with}{TAIL}");
    scene.write("p.yaml", format!("{}{test}", manifest("")));
    scene.write("fatal.yaml", manifest("").replace("in*", "fatal.txt"));
    scene.write("retry.yaml", manifest("").replace("in*", "retry.txt"));
    scene.write("ungranted.yaml", format!("{HEAD}{TAIL}"));
    scene.write("refused.yaml", manifest(", with: { refuses: true }"));
    scene.write("ports.yaml", manifest(", with: { port: true }"));
    scene.write("unread.yaml", manifest(&format!(", with: {{ {}: 1 }}", quoted())));
    scene.write("escapes.yaml", format!("pipeline: p # {NAME}\nstages: {{ \u{1b}[31m\u{202e}: \u{9b} }}\n"));
    scene.write("Cargo.toml", "[package]\nname = \"x\"\n");
    let cargo = scene.path("bin/cargo");
    scene.write(
        "bin/cargo",
        format!("#!/bin/sh\nprintf '{}'\n[ \"$1\" = --version ]\n", NAME.replace('\n', "\\n")),
    );
    std::fs::set_permissions(cargo, std::fs::Permissions::from_mode(0o755)).expect("made executable");
    scene
}

/// The words as YAML has them in quotes.
fn quoted() -> String {
    plain::json(&Value::from(WORDS).to_string()).into_owned()
}

fn ask(scene: &Scene, verb: &str, args: &[&str]) -> Ran {
    let args: Vec<&str> = verb.split_whitespace().chain(args.iter().copied()).collect();
    let mut command = scene.command(&args);
    command.env("XDG_CONFIG_HOME", scene.path("config")).env("XDG_STATE_HOME", scene.path("state-home"));
    command.env("CARGO", scene.path("bin/cargo")).env("RUSTC", scene.path("bin/cargo"));
    command.env("PATH", format!("{}:/usr/bin:/bin", scene.path("bin").display()));
    Ran::of(command.output().expect("the binary starts"))
}

#[track_caller]
fn is_harmless(what: &str, text: &str) {
    let obeyed = text.chars().find(|&c| !is_plain(c) && !matches!(c, '\n' | '\t'));
    assert_eq!(obeyed, None, "{what}: {text:?}");
    let forged = text.lines().find(|line| line.trim_start().starts_with("FORGED"));
    assert_eq!(forged, None, "{what}:\n{text}");
}

#[test]
fn no_verb_shows_what_a_terminal_would_obey() {
    let scene = scene();
    let cases = cases();
    let known: BTreeSet<String> = cases.keys().map(|verb| (*verb).to_owned()).collect();
    assert_eq!(verbs(&scene, ""), known, "each verb has to be asked here");
    // What the others look at comes from here.
    for args in &cases["run"] {
        ask(&scene, "run", args);
    }
    let mut said = BTreeMap::new();
    for (verb, all) in &cases {
        for args in all {
            let what = format!("conveyor {verb} {args:?}");
            let ran = ask(&scene, verb, args);
            assert!(ran.code.is_some_and(|code| code <= 3), "{what}: {ran:?}");
            is_harmless(&what, &ran.stderr);
            is_harmless(&what, &ran.stdout);
            said.entry(*verb).or_insert_with(String::new).push_str(&(ran.stdout + &ran.stderr));
        }
    }
    // The words have been said, or nothing is shown by this.
    for (verb, said) in said {
        assert!(
            said.contains("u{1b}[") || said.contains("u001b["),
            "`{verb}` was never asked anything that matters"
        );
    }
}

/// What a component said is in the data as it said it.
#[test]
fn data_is_what_it_was() {
    let scene = scene();
    ask(&scene, "run", &["p.yaml"]);
    let exported = ask(&scene, "dlq export", &[]).code(0).stdout;
    let first: Value = serde_json::from_str(exported.lines().next().expect("a letter")).expect("JSON");
    assert_eq!((first["code"].as_str(), first["message"].as_str()), (Some(WORDS), Some(WORDS)));
    let shown = ask(&scene, "dlq show", &["1", "--output", "json"]).code(0).json();
    assert_eq!(shown["entries"][0]["message"], WORDS);
    let about = ask(&scene, "inspect", &["words.wasm", "--output", "json"]).code(0).json();
    assert_eq!(about["summary"], WORDS);
    let failed = ask(&scene, "run", &["fatal.yaml", "--output", "json"]).code(1).json();
    let message = failed["pipelines"][0]["error"]["message"].as_str().expect("a message");
    assert!(message.contains(WORDS), "{message:?}");

    scene.write("raw.txt", WORDS);
    scene.write(
        "raw.yaml",
        "pipeline: raw\nstages:\n  in: { source: file, with: { path: raw.txt } }\n  out: { sink: stdout, from: in }\n",
    );
    let lines: String = WORDS.split_inclusive('\n').map(|line| line.replace("\r\n", "\n")).collect();
    assert_eq!(ask(&scene, "run", &["raw.yaml"]).code(0).stdout, format!("{lines}\n"));
}
