//! Stages that are named by references: run, locked, moved, damaged, refused, and run when no registry can be reached.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use model::ids::Digest;
use serde_json::{Value, json};

use crate::places;
use crate::registry::client::{Served, Stage};
use crate::scene::{Ran, Scene};

/// A registry, and a pipeline that names a stage of it as `acme/large:1`.
struct Refs {
    scene: Scene,
    /// None when it is not there any more.
    served: Option<Served>,
    address: String,
}

/// A component with the same behaviour and another digest: with a custom section of its own.
fn variant(guest: &str, of: u8) -> Vec<u8> {
    let mut wasm = std::fs::read(places::guest(guest)).expect("a guest");
    wasm.extend([0, 4, 2, b'v', b'0', of]);
    wasm
}

impl Refs {
    fn new() -> Self {
        Self::serving(Scene::new(), &[])
    }

    fn serving(scene: Scene, args: &[&str]) -> Self {
        let served = Served::start(&scene, args, None);
        let address = served.address.clone();
        // What is compiled is the same in all of them.
        let code = places::cache().join("code");
        std::fs::create_dir_all(scene.path("cache/conveyor")).expect("a directory");
        std::fs::create_dir_all(&code).expect("a directory");
        std::os::unix::fs::symlink(code, scene.path("cache/conveyor/code")).expect("a link");
        let refs = Self { scene, served: Some(served), address };
        refs.scene.write("in.csv", "name,amount\na,5\nb,50.5\n");
        refs.names("acme/large:1");
        refs
    }

    fn pushes(&self, tag: &str, guest: &str, of: u8) -> Digest {
        self.pushes_as("acme/large", tag, &Stage { wasm: variant(guest, of), annotations: json!({}) })
    }

    fn pushes_as(&self, name: &str, tag: &str, stage: &Stage) -> Digest {
        self.served().push_stage(name, tag, stage).expect("pushed")
    }

    fn served(&self) -> &Served {
        self.served.as_ref().expect("it is served")
    }

    /// From now on nobody answers.
    fn goes_away(&mut self) {
        self.served.take().expect("it is served").kill();
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// The manifest names this.
    fn names(&self, name: &str) {
        let text = format!(
            "pipeline: orders\nstages:\n  in: {{ source: file, with: {{ path: in.csv }} }}\n  large: {{ transform: \"{}\", \
             from: in, with: {{ where: amount > 10 }} }}\n  out: {{ sink: stdout, from: large }}\n",
            self.reference(name)
        );
        self.scene.write("pipeline.yaml", text);
    }

    /// With directories of this user that nobody else has.
    fn run(&self, args: &[&str]) -> Ran {
        self.ran(self.scene.command(args))
    }

    /// The same where no file can grow past 64 KiB: what is pulled finds no room.
    fn run_without_room(&self, args: &[&str]) -> Ran {
        let mut command = Command::new("bash");
        command.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""]).arg(places::conveyor());
        command.args(args).current_dir(self.scene.path(".")).stdin(Stdio::null());
        self.ran(command)
    }

    fn ran(&self, mut command: Command) -> Ran {
        for (variable, dir) in
            [("XDG_CACHE_HOME", "cache"), ("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "kept")]
        {
            command.env(variable, self.scene.path(dir));
        }
        Ran::of(command.env_remove("CONVEYOR_TRUST").output().expect("the binary starts"))
    }

    fn runs(&self) -> Ran {
        self.run(&["run", "pipeline.yaml"]).code(0).prints(&["{\"name\":\"b\",\"amount\":50.5}\n"])
    }

    /// The digest of the component that is run.
    fn component(&self) -> String {
        let graph = self.run(&["graph", "pipeline.yaml", "--format", "json"]).code(0).json();
        graph["stages"][1]["digest"].as_str().expect("a digest").to_owned()
    }

    fn lock(&self) -> Value {
        serde_json::from_str(&self.scene.read("pipeline.lock")).expect("JSON")
    }

    /// The file of the cache that has a content.
    fn cached(&self, digest: &Digest) -> PathBuf {
        self.scene.path("cache/conveyor/components/contents").join(digest.to_string().replace(':', "-"))
    }
}

fn digest_of(guest: &str, of: u8) -> String {
    Digest::of(&variant(guest, of)).to_string()
}

#[test]
fn a_stage_by_reference_runs_and_with_a_lock_nothing_is_asked_again() {
    let mut refs = Refs::new();
    let manifest = refs.pushes("1", "filter", b'1');
    let name = refs.reference("acme/large:1");
    let told = format!("{name} is version 0.1.0, manifest {manifest} now; `conveyor lock` would keep it so");
    refs.runs().says(&[&told]);
    let locked = refs.run(&["lock", "pipeline.yaml"]).code(0);
    locked
        .prints(&[&format!("+ {name}  0.1.0  component {}", digest_of("filter", b'1'))])
        .says(&["pipeline.lock has 1 component"]);
    let entry = &refs.lock()["components"][0];
    assert_eq!((&entry["manifest"], &entry["kind"]), (&json!(manifest), &json!("table-transform")));
    assert_eq!(entry["ports"], json!(["main"]));
    assert_eq!(entry["config-schema"]["required"], json!(["where"]));
    // A second time it says the same, and changes nothing.
    let text = refs.scene.read("pipeline.lock");
    refs.run(&["lock", "pipeline.yaml"]).code(0).says(&["has 1 component, as before"]);
    assert_eq!(refs.scene.read("pipeline.lock"), text);
    refs.goes_away();
    refs.runs().says_nothing_of(&["conveyor lock", "acme/large"]);
    assert_eq!(refs.component(), digest_of("filter", b'1'));
    refs.run(&["validate", "pipeline.yaml"]).code(0);
    refs.run(&["lock", "pipeline.yaml"]).code(0).says(&["as before"]);
    std::fs::remove_file(refs.scene.path("pipeline.lock")).expect("removed");
    let alone = refs.run(&["run", "pipeline.yaml"]).code(1);
    alone.says(&["stage::registry", &name, "cannot be reached", "once it is locked", "pipeline.yaml:4"]);
}

#[test]
fn a_tag_that_moved_is_what_it_was_as_long_as_the_lock_says_so() {
    let refs = Refs::new();
    refs.pushes("1", "filter", b'1');
    refs.run(&["lock", "pipeline.yaml"]).code(0);
    let moved = refs.pushes("1", "filter", b'2');
    assert_eq!(refs.component(), digest_of("filter", b'1'));
    refs.run(&["lock", "pipeline.yaml"]).code(0).says(&["as before"]);
    refs.run(&["lock", "pipeline.yaml", "--update"]).code(0).prints(&[&format!(
        "~ {}\n    component {} -> {}",
        refs.reference("acme/large:1"),
        digest_of("filter", b'1'),
        digest_of("filter", b'2')
    )]);
    assert_eq!(refs.lock()["components"][0]["manifest"], json!(moved));
    assert_eq!(refs.component(), digest_of("filter", b'2'));
    // Without a lock it is what it is now.
    std::fs::remove_file(refs.scene.path("pipeline.lock")).expect("removed");
    refs.pushes("1", "filter", b'3');
    assert_eq!(refs.component(), digest_of("filter", b'3'));
    // By its digest it is always the same, and nothing is told.
    refs.names(&format!("acme/large:1@{moved}"));
    refs.runs().says_nothing_of(&["conveyor lock"]);
    assert_eq!(refs.component(), digest_of("filter", b'2'));
}

#[test]
fn what_a_new_version_changes_is_shown_before_it_is_run() {
    let refs = Refs::new();
    refs.pushes("1", "filter", b'1');
    refs.pushes("2", "probe-grants", b'1');
    refs.run(&["lock", "pipeline.yaml"]).code(0);
    refs.names("acme/large:2");
    let (one, two) = (refs.reference("acme/large:1"), refs.reference("acme/large:2"));
    let differs = refs.run(&["run", "pipeline.yaml"]).code(2);
    differs.says(&[
        "lock::differs",
        &format!("stage `large` is `{two}`, which pipeline.lock does not have"),
        "`conveyor lock pipeline.yaml` adds it",
        &format!("pipeline.lock has `{one}`, which no stage is"),
    ]);
    for verb in ["validate", "graph", "test"] {
        refs.run(&[verb, "pipeline.yaml"]).code(2).says(&["lock::differs"]);
    }
    let locked = refs.run(&["lock", "pipeline.yaml", "--output", "json"]).code(0);
    let changes = &locked.json()["changes"][0];
    assert_eq!(
        (&changes["change"], &changes["was"], &changes["reference"]),
        (&json!("moved"), &json!(one), &json!(two))
    );
    let facets = changes["facets"].as_array().expect("facets");
    let what: Vec<&str> = facets.iter().filter_map(|facet| facet["what"].as_str()).collect();
    assert!(
        what.contains(&"name") && what.contains(&"config-keys") && what.contains(&"component"),
        "{what:?}"
    );
}

#[test]
fn a_lock_that_is_damaged_or_somebody_elses_is_never_run_and_never_lost() {
    let refs = Refs::new();
    refs.pushes("1", "filter", b'1');
    refs.run(&["lock", "pipeline.yaml"]).code(0);
    let good = refs.scene.read("pipeline.lock");
    let other = good.replace(&digest_of("filter", b'1'), &digest_of("filter", b'2'));
    refs.scene.write("pipeline.lock", &other);
    refs.run(&["run", "pipeline.yaml"])
        .code(2)
        .says(&["its component is not what the lock has", "changed by hand"]);
    refs.scene.write("pipeline.lock", format!("<<<<<<< ours\n{good}"));
    let damaged = refs.run(&["run", "pipeline.yaml"]).code(2);
    damaged.says(&["pipeline.lock is damaged", "`conveyor lock pipeline.yaml --update`", "pipeline.lock:1"]);
    refs.run(&["lock", "pipeline.yaml"]).code(2).says(&["pipeline.lock is damaged"]);
    refs.run(&["lock", "pipeline.yaml", "--update"]).code(0);
    assert_eq!(refs.scene.read("pipeline.lock"), good);
    refs.scene.write("pipeline.lock", "# somebody's\n");
    for args in [&["run", "pipeline.yaml"][..], &["lock", "pipeline.yaml", "--update"]] {
        refs.run(args).code(2).says(&["pipeline.lock is no lock", "move it away"]);
    }
    assert_eq!(refs.scene.read("pipeline.lock"), "# somebody's\n");
}

#[test]
fn two_manifests_of_a_directory_have_locks_of_their_own() {
    let refs = Refs::new();
    refs.pushes("1", "filter", b'1');
    refs.pushes("2", "filter", b'2');
    let one = refs.scene.read("pipeline.yaml");
    refs.scene.write(
        "other.yaml",
        one.replace("pipeline: orders", "pipeline: other").replace("large:1", "large:2"),
    );
    refs.run(&["lock", "pipeline.yaml"]).code(0);
    refs.run(&["lock", "other.yaml"]).code(0);
    refs.run(&["validate", "pipeline.yaml", "other.yaml"]).code(0).says_nothing_of(&["conveyor lock"]);
    std::fs::copy(refs.scene.path("other.lock"), refs.scene.path("pipeline.lock")).expect("copied");
    refs.run(&["validate", "pipeline.yaml"]).code(2).says(&["pipeline.lock is the lock of pipeline `other`"]);
}

#[test]
fn what_is_damaged_in_the_cache_is_pulled_again() {
    let mut refs = Refs::new();
    refs.pushes("1", "filter", b'1');
    refs.run(&["lock", "pipeline.yaml"]).code(0);
    let layer = Digest::of(&variant("filter", b'1'));
    let damage = |refs: &Refs| {
        let mut bytes = std::fs::read(refs.cached(&layer)).expect("it is in the cache");
        bytes[100] ^= 1;
        std::fs::write(refs.cached(&layer), bytes).expect("written");
        // What was compiled of it is as good as ever: nobody looks there from now on.
        std::fs::remove_dir_all(refs.scene.path("cache/conveyor/code")).expect("removed");
    };
    damage(&refs);
    refs.runs();
    assert!(std::fs::read(refs.cached(&layer)).expect("there again") == variant("filter", b'1'));
    damage(&refs);
    refs.goes_away();
    let refused = refs.run(&["run", "pipeline.yaml"]).code(1);
    refused.says(&["stage::registry", "cannot be reached", "not in the cache of this user either"]);
}

#[test]
fn what_cannot_be_pulled_is_told_on_its_line_with_what_to_do() {
    let refs = Refs::new();
    refs.served().push_image("acme/image", "1", b"layer").expect("pushed");
    let cases = [
        ("acme/large", "does not say which version is meant"),
        ("acme/large@sha256:0a1b", "names no digest that there can be"),
        ("Acme/large:1", "write `acme/large`"),
        ("acme/large:1", "is not there"),
        ("acme/image:1", "is no stage"),
    ];
    for (name, expected) in cases {
        refs.names(name);
        refs.run(&["run", "pipeline.yaml"]).code(2).says(&[expected, "pipeline.yaml:4"]);
    }
    // What a stage is pushed with is held against what it is.
    let annotations = json!({ "conveyor.stage.needs": "[\"clock\"]" });
    let stage = Stage { wasm: variant("filter", b'1'), annotations };
    refs.pushes_as("acme/large", "lies", &stage);
    refs.names("acme/large:lies");
    refs.run(&["validate", "pipeline.yaml"]).code(2).says(&["is not what it says", "list of needs"]);
    refs.run(&["lock", "pipeline.yaml"]).code(2).says(&["is not what it says"]);
    assert!(!refs.scene.path("pipeline.lock").exists());
}

#[test]
fn who_may_not_read_is_told_to_sign_in() {
    let scene = Scene::new();
    // The password of alice is `secret`.
    scene.write("users", "alice:$2b$05$aewet7O2NQ0NG14TYwfXI.9z138Ng29rmLQPxQKOZuQFUAQAUqiH.\n");
    let refs = Refs::serving(scene, &["--htpasswd", "users"]);
    let denied = refs.run(&["validate", "pipeline.yaml"]).code(2);
    denied.says(&["stage::pull", "`conveyor login 127.0.0.1:"]);
}

#[test]
fn another_version_goes_on_with_the_state_and_the_output_of_the_one_before() {
    let refs = Refs::new();
    for (tag, of) in [("1", b'1'), ("2", b'2')] {
        for (name, guest) in [("acme/totals", "totals"), ("acme/store", "probe-store")] {
            refs.pushes_as(name, tag, &Stage { wasm: variant(guest, of), annotations: json!({}) });
        }
    }
    let manifest = |tag: &str| {
        format!(
            "pipeline: p\nstages:\n  in: {{ source: file, schema: {{ customer: text, amount: int }}, with: {{ path: in.jsonl }} \
             }}\n  so-far: {{ transform: \"{}\", from: in, with: {{ by: [customer], sum: {{ spent: amount }} }} }}\n  out:\n    \
             sink: {}\n    from: so-far\n    grants: {{ dirs: [{{ host: held, guest: /held, mode: rw }}] }}\n",
            refs.reference(&format!("acme/totals:{tag}")),
            refs.reference(&format!("acme/store:{tag}")),
        )
    };
    refs.scene.write("held/empty", "");
    let mut input = String::new();
    for (tag, amount) in [("1", 5), ("2", 7)] {
        input.push_str(&format!("{{\"customer\":\"ann\",\"amount\":{amount}}}\n"));
        refs.scene.write("in.jsonl", &input).write("pipeline.yaml", manifest(tag));
        refs.run(&["lock", "pipeline.yaml"]).code(0);
        refs.run(&["run", "pipeline.yaml", "--state", "state"]).code(0);
    }
    let last = refs.scene.read("held/part-000002");
    assert!(last.contains("12"), "what was remembered is lost: {last}");
}

/// A key of this name, and a policy that asks for its signatures.
fn trusts(refs: &Refs, key: &str, more: &str) {
    if !refs.scene.path(&format!("{key}.key")).exists() {
        refs.run(&["key", "generate", "--out", key, "--unencrypted"]).code(0);
    }
    refs.scene.write(
        "trust.yaml",
        format!(
            "keys: {{ release: {{ file: {key}.pub{more} }} }}\nrepositories: {{ \"{}/acme/*\": {{ keys: [release] }} }}\n",
            refs.address
        ),
    );
}

#[test]
fn what_is_not_signed_as_the_policy_asks_is_not_loaded() {
    let mut refs = Refs::new();
    trusts(&refs, "release", "");
    let run = ["run", "pipeline.yaml", "--trust", "trust.yaml"];
    let refused = |refs: &Refs, came: &[&str]| {
        let ran =
            refs.run(&run).code(2).says(&["stage::trust", "is not trusted", "pipeline.yaml:4"]).says(came);
        assert_eq!(ran.stdout, "", "it was run");
    };
    let one = refs.pushes("1", "filter", b'1');
    refs.run(&["lock", "pipeline.yaml"]).code(0);
    // What the cache has of before, when nobody asked for signatures, is no way around the policy.
    refused(&refs, &["no signature"]);
    let image = refs.reference("acme/large:1");
    refs.run(&["key", "generate", "--out", "other", "--unencrypted"]).code(0);
    refs.run(&["sign", &image, "--key", "other.key"]).code(0);
    refused(&refs, &["another key"]);
    refs.run(&["sign", &image, "--key", "release.key"]).code(0);
    refs.run(&run).code(0);
    // A tag that is moved to what nobody has signed, with the lock that somebody made of it.
    refs.pushes("1", "filter", b'2');
    refs.run(&run).code(0);
    refs.run(&["lock", "pipeline.yaml", "--update", "--trust", "trust.yaml"]).code(2).says(&["stage::trust"]);
    assert_eq!(refs.lock()["components"][0]["manifest"], json!(one));
    let kept = refs.scene.read("pipeline.lock");
    std::fs::remove_dir_all(refs.scene.path("cache")).expect("removed");
    refs.run(&["lock", "pipeline.yaml", "--update"]).code(2).says(&["stage::trust"]);
    assert_eq!(
        refs.scene.read("pipeline.lock"),
        kept,
        "once it was required, it is, with or without the policy, and whatever becomes of the cache"
    );
    trusts(&refs, "release", ", expires: 2020-01-01");
    refused(&refs, &["expire"]);
    trusts(&refs, "release", "");
    // Signatures are kept with what they sign.
    refs.run(&run).code(0);
    refs.goes_away();
    refs.run(&run).code(0);
}

#[test]
fn a_bundle_runs_without_any_registry() {
    let mut refs = Refs::new();
    refs.pushes("1", "filter", b'1');
    std::fs::copy(places::guest("project"), refs.scene.path("project.wasm")).expect("copied");
    let text = refs.scene.read("pipeline.yaml").replace("from: large }", "from: less }");
    let less = "  less: { transform: ./project.wasm, from: large, with: { columns: [name] } }\n";
    refs.scene.write("pipeline.yaml", format!("{text}{less}"));
    trusts(&refs, "release", "");
    refs.run(&["sign", &refs.reference("acme/large:1"), "--key", "release.key"]).code(0);
    refs.run(&["bundle", "pipeline.yaml", "-o", "orders.tar"]).code(0);
    refs.goes_away();
    for gone in ["project.wasm", "pipeline.yaml"] {
        std::fs::remove_file(refs.scene.path(gone)).expect("removed");
    }
    std::fs::remove_dir_all(refs.scene.path("cache")).expect("removed");
    refs.run(&["run", "orders.tar", "--trust", "trust.yaml"]).code(0).prints(&["{\"name\":\"b\"}\n"]);
    // What it has for a path nobody can have signed.
    let policy = refs.scene.read("trust.yaml");
    for (verify, code) in [("require", 2), ("warn", 0)] {
        let all = format!(", \"*\": {{ keys: [release], verify: {verify} }} }}\n");
        refs.scene.write("all.yaml", format!("{}{all}", policy.trim_end().trim_end_matches('}')));
        let ran = refs.run(&["run", "orders.tar", "--trust", "all.yaml"]).code(code);
        ran.says(&["./project.wasm", "came one that is in no repository"]);
    }
    refs.run(&["validate", "orders.tar"]).code(0);
    refs.run(&["lock", "orders.tar"]).code(2).says(&["is a bundle"]);
}

#[test]
fn what_finds_no_room_costs_no_lock_and_no_run() {
    let refs = Refs::new();
    refs.pushes("1", "filter", b'1');
    let pulled = refs.run_without_room(&["pull", &refs.reference("acme/large:1"), "-o", "large.wasm"]);
    pulled.code(1).says(&["File too large"]);
    assert!(!refs.scene.path("large.wasm").exists());
    refs.run(&["lock", "pipeline.yaml"]).code(0);
    let kept = refs.scene.read("pipeline.lock");
    std::fs::remove_dir_all(refs.scene.path("cache/conveyor/components")).expect("removed");
    refs.run_without_room(&["lock", "pipeline.yaml", "--update"]).code(0).says(&["cannot be kept"]);
    assert_eq!(refs.scene.read("pipeline.lock"), kept);
    let ran = refs.run_without_room(&["run", "pipeline.yaml"]).code(0);
    ran.prints(&["{\"name\":\"b\",\"amount\":50.5}\n"]).says(&["cannot be kept"]);
}
