//! `push`, `pull`, `inspect` of a reference, `bundle` and `registry load`, against a registry that runs.

use std::fs;

use model::ids::Digest;
use serde_json::{Value, json};

use crate::places;
use crate::registry::client::Served;
use crate::scene::{Ran, Scene};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const EPOCH: &str = "1785585600";

/// A directory with a stage in it.
fn with_stage() -> (Scene, Vec<u8>) {
    let (scene, wasm) = (Scene::new(), fs::read(places::guest("json-filter")).expect("a stage"));
    scene.write("stage.wasm", &wasm);
    (scene, wasm)
}

/// At a time that is always the same.
fn push(scene: &Scene, args: &[&str]) -> Ran {
    let mut command = scene.command(&["push"]);
    Ran::of(command.args(args).env("SOURCE_DATE_EPOCH", EPOCH).output().expect("the binary starts"))
}

fn put_manifest(served: &Served, name: &str, tag: &str, media_type: &str, manifest: &Value) -> Digest {
    let text = manifest.to_string();
    let line = format!("PUT /v2/{name}/manifests/{tag}");
    let given = served.ask(&line, &format!("Content-Type: {media_type}\r\n"), text.as_bytes());
    assert_eq!(given.expect("an answer").status, 201);
    Digest::of(text.as_bytes())
}

#[test]
fn a_stage_is_pushed_once_looked_at_and_pulled_as_it_was() {
    let (scene, wasm) = with_stage();
    let served = Served::start(&scene, &[], None);
    let image = format!("{}/acme/filter:1.0", served.address);
    let args = ["stage.wasm", &image, "--annotation", "org.opencontainers.image.revision=0a1b2c"];
    let pushed = push(&scene, &args).code(0).says(&["sent"]);
    let by_digest = pushed.stdout.trim_end();
    assert!(by_digest.starts_with(&format!("{image}@sha256:")) && !by_digest.contains('\n'), "{pushed:?}");
    let again = push(&scene, &args).code(0).says(&["it is there already; nothing was sent"]);
    assert_eq!(again.stdout, pushed.stdout, "one stage has one digest");
    // Without it the time is that of the file, which stays as it is.
    let of_file = || scene.run(&["push", "stage.wasm", &image, "--output", "json"]).code(0).json();
    let (first, second) = (of_file(), of_file());
    assert_eq!((&first["digest"], &second["sent_bytes"]), (&second["digest"], &json!(0)));
    assert_eq!(first["was"], by_digest.split_once('@').expect("a digest").1);
    assert_eq!(first["component"], Digest::of(&wasm).to_string());

    // The component is gone, and what is claimed of it is there.
    let content = scene.path("data/content").join(Digest::of(&wasm).to_string().replace(':', "-"));
    let aside = scene.path("aside");
    fs::rename(&content, &aside).expect("moved");
    let inspected = scene.run(&["inspect", by_digest]).code(0);
    let component = format!("component {}", Digest::of(&wasm));
    inspected.prints(&[
        &component,
        "\nclaimed by whoever pushed it",
        "\n  stage     json-filter",
        "0a1b2c",
        "    where (",
    ]);
    let data = scene.run(&["inspect", by_digest, "--output", "json"]).code(0).json();
    let here = scene.run(&["inspect", "stage.wasm", "--output", "json"]).code(0).json();
    for key in ["name", "version", "summary", "exports", "imports", "needs", "config_schema"] {
        assert_eq!(data["claimed"][key], here[key], "{key}");
    }
    assert_eq!(data["claimed"]["created"], "2026-08-01T12:00:00Z");
    assert_eq!(data["claimed"]["world"], "conveyor:stage/transform-stage@0.1.0");
    fs::rename(&aside, &content).expect("moved");

    let elsewhere = scene.path("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    let pull = |args: &[&str]| {
        let mut command = scene.command(&["pull", by_digest]);
        Ran::of(command.args(args).current_dir(&elsewhere).output().expect("the binary starts"))
    };
    assert_eq!(pull(&[]).code(0).stdout, "stage.wasm\n");
    assert_eq!(fs::read(elsewhere.join("stage.wasm")).expect("the file"), wasm);
    pull(&[]).code(0).says(&["already"]);
    fs::write(elsewhere.join("stage.wasm"), "mine").expect("written");
    pull(&[]).code(2).says(&["stage.wasm is there, and is something else", "--force"]);
    assert_eq!(fs::read(elsewhere.join("stage.wasm")).expect("the file"), b"mine");
    pull(&["--out", "below/other.wasm"]).code(0);
    assert_eq!(fs::read(elsewhere.join("below/other.wasm")).expect("the file"), wasm);
    pull(&["--force", "--output", "json"]).code(0).prints(&[&Digest::of(&wasm).to_string()]);
    assert_eq!(fs::read(elsewhere.join("stage.wasm")).expect("the file"), wasm);
    assert_eq!(fs::read_dir(&elsewhere).expect("a directory").count(), 2, "parts are left over");

    // What was damaged there is not taken for it.
    fs::write(&content, [&wasm[..wasm.len() - 1], b"?"].concat()).expect("damaged");
    fs::remove_file(elsewhere.join("stage.wasm")).expect("removed");
    served.stop().code(0);
    let served = Served::start(&scene, &["--read-only"], None);
    let image = format!("{}/acme/filter:1.0", served.address);
    scene.run(&["pull", &image, "--out", "elsewhere/stage.wasm"]).code(1);
    assert!(!elsewhere.join("stage.wasm").exists());
    push(&scene, &["stage.wasm", &format!("{}/acme/other:1", served.address)]).code(1).says(&["405"]);
}

#[test]
fn what_is_no_stage_is_not_pushed_and_what_is_wrong_is_named() {
    let (scene, wasm) = with_stage();
    let served = Served::start(&scene, &[], None);
    let image = format!("{}/acme/x:1", served.address);
    scene.write("text.wasm", "#!/bin/sh\n").write("cut.wasm", &wasm[..wasm.len() / 2]);
    scene.write("module.wasm", wat::parse_str(r#"(module (func (export "f")))"#).expect("good text"));
    scene.write("dir/Cargo.toml", "");
    let digest = format!("{}/acme/x@{}", served.address, Digest::of(b"x"));
    let upper = format!("{}/Acme/x:1", served.address);
    let no_tag = format!("{}/acme/x", served.address);
    let cases: [(&[&str], &[&str]); 11] = [
        (&["text.wasm", &image], &["text.wasm is not a stage, and nothing was pushed", "not WebAssembly"]),
        (&["cut.wasm", &image], &["truncated"]),
        (&["module.wasm", &image], &["module.wasm is not a stage"]),
        (&["dir", &image], &["dir is a directory", "`conveyor build dir`"]),
        (&["none.wasm", &image], &["none.wasm cannot be read"]),
        (&["stage.wasm", &digest], &["and not sha256:"]),
        (&["stage.wasm", &upper], &["write `acme/x`"]),
        (&["stage.wasm", &no_tag], &["neither a tag nor a digest"]),
        (&["stage.wasm", "acme/x:1"], &["names no registry"]),
        (
            &["stage.wasm", &image, "--annotation", "conveyor.stage.world=x"],
            &["is what the component says of itself"],
        ),
        (&["stage.wasm", &image, "--annotation", "x"], &["write it as KEY=VALUE"]),
    ];
    for (args, expected) in cases {
        assert_eq!(push(&scene, args).code(2).says(expected).stdout, "", "{args:?}");
    }
    let mut wrong = scene.command(&["push", "stage.wasm", &image]);
    Ran::of(wrong.env("SOURCE_DATE_EPOCH", "soon").output().expect("it starts")).code(2).says(&["`soon`"]);
    assert_eq!(served.ask("GET /v2/acme/x/tags/list", "", b"").expect("an answer").status, 404);
    scene.run(&["pull", &image]).code(1).says(&[&image, "is not there"]);
    scene.run(&["inspect", &image]).code(1).says(&["is not there"]);
    scene.run(&["inspect", &no_tag]).code(2).says(&["neither a tag nor a digest"]);
    scene.run(&["inspect", &image, "--with", "{\"a\":1}"]).code(2).says(&["conveyor pull"]);
    served.stop().code(0);
    scene.run(&["pull", &image]).code(1).says(&["cannot be reached"]);
}

#[test]
fn what_others_have_pushed_is_pulled() {
    let (scene, wasm) = with_stage();
    let served = Served::start(&scene, &[], None);
    for content in [b"{}".as_slice(), &wasm] {
        assert_eq!(served.push_blob("acme/x", content), Some(201));
    }
    let named = |media_type: &str, content: &[u8]| json!({ "mediaType": media_type, "digest": Digest::of(content), "size": content.len() });
    // As `oras push` does it.
    let manifest = |title: &str| {
        let mut layer = named("application/wasm", &wasm);
        layer["annotations"] = json!({ "org.opencontainers.image.title": title });
        json!({ "schemaVersion": 2, "mediaType": IMAGE, "artifactType": "application/vnd.unknown.artifact.v1",
            "config": named("application/vnd.oci.empty.v1+json", b"{}"), "layers": [layer] })
    };
    put_manifest(&served, "acme/x", "oras", IMAGE, &manifest("../../oras.wasm"));
    let image = |tag: &str| format!("{}/acme/x:{tag}", served.address);
    assert_eq!(scene.run(&["pull", &image("oras")]).code(0).stdout, "x.wasm\n");
    assert_eq!(fs::read(scene.path("x.wasm")).expect("the file"), wasm);
    let (one, two) = (manifest("one.wasm"), manifest("two.wasm"));
    let entry = |manifest: &Value| {
        let mut entry = named(IMAGE, manifest.to_string().as_bytes());
        entry["platform"] = json!({ "os": "wasip2", "architecture": "wasm" });
        entry
    };
    let digests = [&one, &two].map(|manifest| put_manifest(&served, "acme/x", "part", IMAGE, manifest));
    let index = |entries: &[Value]| json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    put_manifest(&served, "acme/x", "index", INDEX, &index(&[entry(&one)]));
    put_manifest(&served, "acme/x", "several", INDEX, &index(&[entry(&one), entry(&two)]));
    assert_eq!(scene.run(&["pull", &image("index")]).code(0).stdout, "one.wasm\n");
    let refused = scene.run(&["pull", &image("several")]).code(2);
    refused.says(&["has 2 stages; name one by its digest", &digests[0].to_string(), &digests[1].to_string()]);
    served.push_image("acme/x", "none", b"layer").expect("pushed");
    scene.run(&["pull", &image("none")]).code(2).says(&["is no stage", "application/x"]);
    scene.run(&["inspect", &image("oras")]).code(0).prints(&["../../oras.wasm"]);
}

#[test]
fn a_bundle_has_all_that_its_pipeline_needs_and_goes_into_a_registry() {
    let (scene, wasm) = with_stage();
    let served = Served::start(&scene, &[], None);
    let image = format!("{}/acme/filter:1.0", served.address);
    push(&scene, &["stage.wasm", &image]).code(0);
    let sample = fs::read(places::guest("sample")).expect("a stage");
    scene.write("parts/sample.wasm", &sample);
    scene.write(
        "pipeline.yaml",
        format!(
            "pipeline: orders\nstages:\n  in: {{ source: file, with: {{ path: in.jsonl }} }}\n  large: {{ transform: \
             \"{image}\", from: in, with: {{ where: \"/amount > 5\" }} }}\n  some: {{ transform: ./parts/sample.wasm, from: \
             large, with: {{ every: 1 }} }}\n  out: {{ sink: stdout, from: some }}\n"
        ),
    );
    let bundled = scene.run(&["bundle", "pipeline.yaml", "-o", "orders.tar"]).code(0);
    assert_eq!(bundled.stdout, "orders.tar\n");
    let first = fs::read(scene.path("orders.tar")).expect("the bundle");
    scene.run(&["bundle", "pipeline.yaml", "-o", "orders.tar"]).code(0);
    assert_eq!(fs::read(scene.path("orders.tar")).expect("the bundle"), first, "one pipeline is one bundle");
    scene.write("orders.tar", "mine");
    scene
        .run(&["bundle", "pipeline.yaml", "-o", "orders.tar"])
        .code(2)
        .says(&["is something else", "--force"]);
    scene.run(&["bundle", "pipeline.yaml", "-o", "orders.tar", "--force"]).code(0);
    assert_eq!(fs::read(scene.path("orders.tar")).expect("the bundle"), first);
    scene.run(&["bundle", "pipeline.yaml", "-o", "orders"]).code(2).says(&["which ends with `.tar`"]);
    served.stop().code(0);

    // It goes into another registry, before that runs and while it does.
    fs::rename(scene.path("data"), scene.path("first")).expect("moved");
    scene
        .run(&["registry", "load", "pipeline.yaml", "--data", "data"])
        .code(2)
        .says(&["pipeline.yaml: it is no tar"]);
    scene.write("plain/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    scene.write("plain/index.json", r#"{"schemaVersion":2,"manifests":[]}"#);
    scene
        .run(&["registry", "load", "plain", "--data", "data"])
        .code(2)
        .says(&["no image in plain names a repository", "`--repository NAME`"]);
    assert!(!scene.path("data").exists());
    let load = ["registry", "load", "orders.tar", "--data", "data"];
    let loaded = scene.run(&load).code(0).says(&["loaded 1 images", "name no repository", "orders"]);
    assert_eq!(loaded.stdout, "acme/filter:1.0\n");
    let served = Served::start(&scene, &[], None);
    let again = scene.run(&[&load[..], &["--output", "json"]].concat()).code(0).json();
    assert_eq!((&again["images"], &again["bytes"]), (&json!(1), &json!(0)));
    scene
        .run(&[&load[..], &["--repository", "acme/orders"]].concat())
        .code(0)
        .prints(&["acme/orders:orders"]);
    let pulled = scene.run(&["pull", &format!("{}/acme/filter:1.0", served.address), "-o", "pulled.wasm"]);
    pulled.code(0);
    assert_eq!(fs::read(scene.path("pulled.wasm")).expect("the file"), wasm);
    scene.run(&["registry", "fsck", "--data", "data"]).code(0);
}
