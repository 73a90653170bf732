//! Artifacts, ours and others', from what is pushed to what is found; no layer is ever asked for.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use model::ids::Digest;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::client::{ClientError, Content, Fetched, Origin, Progress};
use crate::layout::Layout;
use crate::manifest::{Descriptor, IMAGE, INDEX};
use crate::name::{Reference, Tag};

/// A repository that has manifests by what they are called, and configs.
#[derive(Default)]
struct Memory {
    tags: HashMap<String, Digest>,
    contents: HashMap<Digest, (String, Bytes)>,
}

impl Memory {
    fn put(&mut self, media_type: &str, content: &Value) -> Value {
        let bytes = Bytes::from(content.to_string());
        let named = json!({ "mediaType": media_type, "digest": Digest::of(&bytes), "size": bytes.len() });
        self.contents.insert(Digest::of(&bytes), (media_type.to_owned(), bytes));
        named
    }

    fn tag(&mut self, tag: &str, media_type: &str, manifest: &Value) -> Digest {
        self.put(media_type, manifest);
        let digest = Digest::of(manifest.to_string().as_bytes());
        self.tags.insert(tag.to_owned(), digest);
        digest
    }

    fn of(built: &Built) -> Self {
        let mut memory = Self::default();
        memory.contents.insert(built.digest, (IMAGE.to_owned(), built.manifest.clone()));
        memory.contents.insert(built.config.0.digest, (CONFIG.to_owned(), built.config.1.clone()));
        memory.tags.insert("1".to_owned(), built.digest);
        memory
    }

    async fn find(&self, tag: &str) -> Result<Artifact, FindError> {
        find(self, &Reference::Tag(tag.parse().expect("a tag"))).await
    }

    async fn refused(&self, tag: &str) -> String {
        self.find(tag).await.expect_err("it is refused").to_string()
    }
}

#[async_trait]
impl Origin for Memory {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ClientError> {
        self.manifest(reference).await.map(|fetched| fetched.descriptor)
    }

    async fn manifest(&self, reference: &Reference) -> Result<Fetched, ClientError> {
        let digest = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(tag) => self.tags.get(&tag.to_string()).copied(),
        };
        let found = digest.and_then(|digest| Some((digest, self.contents.get(&digest)?)));
        let (digest, (media_type, bytes)) =
            found.ok_or_else(|| ClientError::NotFound { what: self.called(reference) })?;
        let (media_type, size) = (media_type.clone(), bytes.len() as u64);
        let descriptor =
            Descriptor { media_type, digest, size, artifact_type: None, annotations: BTreeMap::new() };
        Ok(Fetched { descriptor, bytes: bytes.clone() })
    }

    async fn blob(&self, what: &Descriptor, _: &Path, _: &dyn Progress) -> Result<(), ClientError> {
        panic!("{what:?} is asked for");
    }

    async fn blob_bytes(&self, what: &Descriptor, most: u64) -> Result<Bytes, ClientError> {
        assert!(what.media_type != LAYER && what.size <= most, "{what:?} is asked for");
        Ok(self.contents[&what.digest].1.clone())
    }

    async fn referrers(&self, _: &Digest, _: Option<&str>) -> Result<Vec<Descriptor>, ClientError> {
        Ok(Vec::new())
    }

    async fn tags(&self) -> Result<Vec<Tag>, ClientError> {
        Ok(Vec::new())
    }

    fn called(&self, reference: &Reference) -> String {
        format!("{reference:?}")
    }
}

const COMPONENT: &[u8] = b"\0asm component";

fn facts() -> Facts {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Facts {
        name: "large".into(),
        version: "1.2.0".into(),
        summary: "Keeps what is large".into(),
        world: "conveyor:stage/table-transform-stage@0.1.0".into(),
        exports: list(&["conveyor:stage/about@0.1.0", "conveyor:stage/table-transform@0.1.0"]),
        imports: list(&["conveyor:stage/log@0.1.0"]),
        ports: Some(list(&["main", "small"])),
        config_schema: r#"{"type":"object"}"#.into(),
        needs: list(&["http api.example.com:443"]),
        sdk: Some("conveyor-sdk 0.1.0".into()),
    }
}

fn built(facts: &Facts, annotations: &BTreeMap<String, String>) -> Result<Built, BuildError> {
    let (digest, bytes) = (Digest::of(COMPONENT), COMPONENT.len() as u64);
    build(&Stage { digest, bytes, facts, title: "large.wasm", created: 1_785_585_600, annotations })
}

fn ours() -> Built {
    built(&facts(), &BTreeMap::from([(REVISION.to_owned(), "0a1b2c".to_owned())])).expect("an artifact")
}

#[test]
fn an_artifact_is_as_the_guidance_has_it_and_the_same_each_time() {
    let built = ours();
    assert_eq!(built, ours());
    let config = json!({
        "created": "2026-08-01T12:00:00Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [Digest::of(COMPONENT)],
        "component": {
            "exports": ["conveyor:stage/about@0.1.0", "conveyor:stage/table-transform@0.1.0"],
            "imports": ["conveyor:stage/log@0.1.0"],
            "target": "conveyor:stage/table-transform-stage@0.1.0",
        },
    });
    assert_eq!(built.config.1, config.to_string());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": { "mediaType": CONFIG, "digest": Digest::of(&built.config.1), "size": built.config.1.len() },
        "layers": [{
            "mediaType": LAYER,
            "digest": Digest::of(COMPONENT),
            "size": COMPONENT.len(),
            "annotations": { TITLE: "large.wasm" },
        }],
        "annotations": {
            "conveyor.stage.config-schema": r#"{"type":"object"}"#,
            "conveyor.stage.needs": r#"["http api.example.com:443"]"#,
            "conveyor.stage.ports": r#"["main","small"]"#,
            "conveyor.stage.sdk": "conveyor-sdk 0.1.0",
            "conveyor.stage.world": "conveyor:stage/table-transform-stage@0.1.0",
            "org.opencontainers.image.created": "2026-08-01T12:00:00Z",
            "org.opencontainers.image.description": "Keeps what is large",
            "org.opencontainers.image.revision": "0a1b2c",
            "org.opencontainers.image.title": "large",
            "org.opencontainers.image.version": "1.2.0",
        },
    });
    assert_eq!(built.manifest, manifest.to_string());
    assert_eq!(built.digest, Digest::of(&built.manifest));
}

/// One thing that is changed of what a component is, and what is told then.
type Changed = (&'static str, fn(&mut Facts));

#[test]
fn what_the_component_says_is_not_said_by_somebody_else() {
    for key in ["conveyor.stage.world", "conveyor.stage.new", "org.opencontainers.image.version"] {
        let annotations = BTreeMap::from([(key.to_owned(), "x".to_owned())]);
        assert_eq!(built(&facts(), &annotations), Err(BuildError::Reserved { key: key.to_owned() }));
    }
    let large = Facts { config_schema: " ".repeat(5 << 20), ..facts() };
    assert!(matches!(built(&large, &BTreeMap::new()), Err(BuildError::Large { schema: 5_242_880, .. })));
    let annotations = BTreeMap::new();
    let late = Stage {
        digest: Digest::of(b""),
        bytes: 0,
        facts: &facts(),
        title: "",
        created: i64::MAX / 1000,
        annotations: &annotations,
    };
    assert!(matches!(build(&late), Err(BuildError::Time { .. })));
}

#[tokio::test]
async fn what_is_claimed_is_found_without_the_layer_and_held_against_the_component() {
    let built = ours();
    let found = Memory::of(&built).find("1").await.expect("it is found");
    assert_eq!((found.manifest.digest, found.index), (built.digest, None));
    assert_eq!(found.layer, built.layers[0]);
    assert_eq!(found.claimed.title.as_deref(), Some("large.wasm"));
    assert_eq!(found.claimed.revision.as_deref(), Some("0a1b2c"));
    assert_eq!(found.claimed.created.as_deref(), Some("2026-08-01T12:00:00Z"));
    assert_eq!(found.check(&facts()), Ok(()));
    let changes: [Changed; 10] = [
        ("name", |facts| facts.name.push('x')),
        ("version", |facts| facts.version.clear()),
        ("summary", |facts| facts.summary.push('x')),
        ("world", |facts| facts.world.push('1')),
        ("schema of the config", |facts| facts.config_schema.push(' ')),
        ("SDK", |facts| facts.sdk = None),
        ("list of ports", |facts| facts.ports.iter_mut().for_each(|ports| ports.reverse())),
        ("list of needs", |facts| facts.needs.clear()),
        ("list of exports", |facts| facts.exports.truncate(1)),
        ("list of imports", |facts| facts.imports.push("wasi:http/outgoing-handler@0.2.6".into())),
    ];
    for (what, change) in changes {
        let mut actual = facts();
        change(&mut actual);
        let differs = found.check(&actual).expect_err(what);
        let named: Vec<&str> = differs.differences.iter().map(|difference| difference.what).collect();
        assert_eq!(named, [what]);
        let told = differs.to_string();
        assert!(
            told.contains(&format!("its {what} is claimed to be"))
                && told.contains(&built.digest.to_string())
        );
    }
    let mut actual = facts();
    actual.imports = vec!["b".into(), "conveyor:stage/log@0.1.0".into()];
    let told = found.check(&actual).expect_err("another import").to_string();
    assert!(told.contains("`conveyor:stage/log@0.1.0`, and is `b, conveyor:stage/log@0.1.0`"), "{told}");
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let text = || "\\PC{0,12}";
    let list = || prop::collection::vec("[a-z:/@.0-9\\PC]{0,20}", 0..4);
    let said = (text(), text(), text(), "[a-z:/@.0-9-]{1,40}", text(), prop::option::of("\\PC{1,12}"));
    (said, list(), list(), prop::option::of(list()), list()).prop_map(
        |((name, version, summary, world, config_schema, sdk), exports, imports, ports, needs)| Facts {
            name,
            version,
            summary,
            world,
            exports,
            imports,
            ports,
            config_schema,
            needs,
            sdk,
        },
    )
}

proptest! {
    #[test]
    fn whatever_a_component_says_is_claimed_as_it_is(facts in any_facts()) {
        let built = built(&facts, &BTreeMap::new()).expect("an artifact");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(Memory::of(&built).find("1")).expect("it is found");
        prop_assert_eq!(found.check(&facts), Ok(()));
        let claimed = found.claimed;
        // What is empty is not said.
        prop_assert_eq!(claimed.name.unwrap_or_default(), facts.name);
        prop_assert_eq!(claimed.config_schema.unwrap_or_default(), facts.config_schema);
        prop_assert_eq!((claimed.exports, claimed.imports), (Some(facts.exports), Some(facts.imports)));
        prop_assert_eq!((claimed.ports, claimed.needs, claimed.sdk), (facts.ports, Some(facts.needs), facts.sdk));
    }
}

/// What `wkg oci push` makes of a component.
fn of_wkg(memory: &mut Memory) -> Digest {
    let config = json!({
        "created": "2026-08-01T12:00:00.123456789Z",
        "author": null,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [Digest::of(COMPONENT)],
        "component": {
            "exports": ["conveyor:stage/table-transform@0.1.0", "conveyor:stage/about@0.1.0"],
            "imports": ["conveyor:stage/log@0.1.0"],
            "target": null,
        },
    });
    let config = memory.put(CONFIG, &config);
    let layer = json!({ "mediaType": LAYER, "digest": Digest::of(COMPONENT), "size": COMPONENT.len() });
    let annotations =
        json!({ "org.opencontainers.image.version": "7", "org.opencontainers.image.licenses": "MIT" });
    let manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer],
        "annotations": annotations });
    memory.tag("wkg", IMAGE, &manifest)
}

/// What `oras push REFERENCE large.wasm:application/wasm` makes of a file.
fn of_oras(memory: &mut Memory) -> Digest {
    let config = json!({ "mediaType": EMPTY, "digest": Digest::of(b"{}"), "size": 2, "data": "e30=" });
    let layer = json!({ "mediaType": LAYER, "digest": Digest::of(COMPONENT), "size": COMPONENT.len(),
        "annotations": { TITLE: "large.wasm" } });
    let manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE, "artifactType": "application/vnd.unknown.artifact.v1",
        "config": config, "layers": [layer],
        "annotations": { "org.opencontainers.image.created": "2026-08-01T12:00:00Z" } });
    memory.tag("oras", IMAGE, &manifest)
}

#[tokio::test]
async fn what_others_push_is_taken_and_claims_what_they_say() {
    let mut memory = Memory::default();
    of_wkg(&mut memory);
    of_oras(&mut memory);
    let wkg = memory.find("wkg").await.expect("of wkg");
    assert_eq!(wkg.layer.digest, Digest::of(COMPONENT));
    // The version is what somebody called it; the order of names says nothing.
    assert_eq!((wkg.claimed.version.as_deref(), wkg.check(&facts())), (Some("7"), Ok(())));
    let other = Facts { imports: vec![], ..facts() };
    assert!(wkg.check(&other).expect_err("other imports").to_string().contains("list of imports"));
    let oras = memory.find("oras").await.expect("of oras");
    assert_eq!((oras.claimed.title.as_deref(), oras.claimed.exports.as_ref()), (Some("large.wasm"), None));
    assert_eq!(oras.check(&facts()), Ok(()));
}

#[tokio::test]
async fn an_index_is_followed_to_its_one_stage() {
    let mut memory = Memory::default();
    let (wkg, oras) = (of_wkg(&mut memory), of_oras(&mut memory));
    let entry = |digest: Digest, os: &str, architecture: &str| json!({ "mediaType": IMAGE, "digest": digest, "size": 1, "platform": { "os": os, "architecture": architecture } });
    let bare = |digest: Digest| json!({ "mediaType": IMAGE, "digest": digest, "size": 1 });
    let mut index = |tag: &str, manifests: Value| {
        memory.tag(tag, INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))
    };
    let linux = entry(Digest::of(b"linux"), "linux", "amd64");
    let one = index("one", json!([linux, entry(wkg, "wasip2", "wasm"), entry(wkg, "wasip2", "wasm")]));
    index("bare", json!([bare(oras)]));
    let several =
        index("several", json!([entry(wkg, "wasip1", "wasm"), entry(oras, "wasip2", "wasm"), linux]));
    index("none", json!([linux]));
    index("empty", json!([]));
    index("nested", json!([{ "mediaType": INDEX, "digest": one, "size": 1 }]));
    let found = memory.find("one").await.expect("one of them");
    assert_eq!((found.manifest.digest, found.index), (wkg, Some(one)));
    assert_eq!(memory.find("bare").await.expect("the only one").manifest.digest, oras);
    let told = memory.refused("several").await;
    for part in
        [&several.to_string(), &format!("{wkg} (wasip1/wasm)"), &format!("{oras} (wasip2/wasm)"), "name one"]
    {
        assert!(told.contains(part), "{told}");
    }
    assert!(!told.contains("amd64"), "{told}");
    assert!(memory.refused("none").await.contains("(linux/amd64)"));
    assert!(memory.refused("empty").await.contains("it has no entry at all"));
    assert!(memory.refused("nested").await.contains("leads to another index"));
}

#[tokio::test]
async fn what_is_no_stage_is_refused_by_name() {
    let layer = |media_type: &str, size: u64| json!({ "mediaType": media_type, "digest": Digest::of(COMPONENT), "size": size });
    let wasm = || layer(LAYER, 14);
    let config = |change: fn(&mut Value)| {
        let mut config =
            json!({ "architecture": "wasm", "os": "wasip2", "layerDigests": [Digest::of(COMPONENT)] });
        change(&mut config);
        config
    };
    let right = config(|_| {});
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let cases = [
        (json!([]), right.clone(), json!({}), "it has no layer"),
        (
            json!([layer(tar, 1)]),
            right.clone(),
            json!({}),
            "layers of application/vnd.oci.image.layer.v1.tar",
        ),
        (json!([wasm(), wasm()]), right.clone(), json!({}), "it has 2 layers of application/wasm"),
        (json!([layer(LAYER, 1 << 40)]), right.clone(), json!({}), "1099511627776 bytes"),
        (
            json!([wasm()]),
            config(|of| of["architecture"] = json!("amd64")),
            json!({}),
            "`amd64`, and no `wasm`",
        ),
        (
            json!([wasm()]),
            config(|of| of["layerDigests"] = json!(["sha256:0"])),
            json!({}),
            "of the layers sha256:0",
        ),
        (json!([wasm()]), json!([]), json!({}), "is not what it should be"),
        (json!([wasm()]), right, json!({ "conveyor.stage.ports": "main" }), "`conveyor.stage.ports`"),
    ];
    for (layers, config, annotations, expected) in cases {
        let mut memory = Memory::default();
        let config = memory.put(CONFIG, &config);
        let manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers,
            "annotations": annotations });
        let digest = memory.tag("x", IMAGE, &manifest);
        let told = memory.refused("x").await;
        assert!(told.contains(expected) && told.contains(&digest.to_string()), "{expected}: {told}");
    }
    assert!(matches!(
        Memory::default().find("gone").await,
        Err(FindError::Client(ClientError::NotFound { .. }))
    ));
}

#[tokio::test]
async fn a_push_brings_what_is_missing_and_a_second_one_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(&dir.path().join("layout")).expect("a layout");
    let (built, tag) = (ours(), Reference::Tag("1".parse().expect("a tag")));
    let layers = || vec![Content::Bytes(Bytes::from_static(COMPONENT))];
    let pushed = push(&layout, &tag, &built, layers(), &()).await.expect("pushed");
    let all = (built.manifest.len() + built.config.1.len() + COMPONENT.len()) as u64;
    assert_eq!(pushed, Pushed { digest: built.digest, sent_bytes: all, was: None });
    let again = push(&layout, &tag, &built, layers(), &()).await.expect("pushed");
    assert_eq!(again, Pushed { digest: built.digest, sent_bytes: 0, was: None });
    let other = super::tests::built(&facts(), &BTreeMap::new()).expect("an artifact");
    let moved = push(&layout, &tag, &other, layers(), &()).await.expect("pushed");
    // The component and the config are there.
    let expected =
        Pushed { digest: other.digest, sent_bytes: other.manifest.len() as u64, was: Some(built.digest) };
    assert_eq!(moved, expected);
    let wanted = Reference::Digest(built.digest);
    let refused = push(&layout, &wanted, &other, layers(), &()).await.expect_err("another digest");
    assert!(refused.to_string().contains(&other.digest.to_string()), "{refused}");
    let short = vec![Content::Bytes(Bytes::from_static(b"\0asm"))];
    let layout = Layout::create(&dir.path().join("other")).expect("a layout");
    let refused = push(&layout, &tag, &built, short, &()).await.expect_err("another component");
    assert!(matches!(refused, PushError::Client(ClientError::Corrupt { .. })), "{refused}");
    assert!(layout.tags().await.expect("tags").is_empty(), "nothing names what is not there");
}

#[tokio::test]
async fn a_pipeline_is_read_as_it_was_built() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(&dir.path().join("layout")).expect("a layout");
    let component = Descriptor {
        media_type: LAYER.to_owned(),
        digest: Digest::of(COMPONENT),
        size: COMPONENT.len() as u64,
        artifact_type: None,
        annotations: BTreeMap::from([(TITLE.to_owned(), "./large.wasm".to_owned())]),
    };
    let pipeline = pipeline::Pipeline {
        name: "orders".into(),
        manifest: ("pipeline.yaml".into(), Bytes::from_static(b"pipeline: orders\n")),
        lock: Some(("pipeline.lock".into(), Bytes::from_static(b"{}\n"))),
        components: vec![("./large.wasm".into(), component)],
    };
    assert!(pipeline::of(&layout).expect_err("nothing yet").to_string().contains("no pipeline in it"));
    let (built, mut contents) = pipeline.build();
    contents.push(Content::Bytes(Bytes::from_static(COMPONENT)));
    let tag = Reference::Tag("orders".parse().expect("a tag"));
    push(&layout, &tag, &built, contents, &()).await.expect("pushed");
    assert_eq!(pipeline::of(&layout).expect("one"), built.digest);
    assert_eq!(pipeline::Pipeline::read(&layout, &tag).await.expect("it is read"), pipeline);
    let wrong =
        pipeline::Pipeline::read(&Memory::of(&ours()), &Reference::Tag("1".parse().expect("a tag"))).await;
    assert!(wrong.expect_err("a stage").to_string().contains("is no pipeline"));
}
