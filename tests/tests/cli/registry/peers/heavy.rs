//! What takes long to build, and is tried by `cargo xtask peers` alone: wkg, and cosign with both of its layouts, at our registry
//! and at one that has no referrers.

use model::ids::Digest;

use super::programs::{ALL, DockerRegistry, Shell};
use crate::places;
use crate::registry::client::Served;
use crate::scene::Scene;

fn is_asked_for() -> bool {
    let is_asked_for = std::env::var_os(ALL).is_some();
    if !is_asked_for {
        eprintln!("skipped: `cargo xtask peers` builds what this needs, and runs it");
    }
    is_asked_for
}

const PASSWORD: [(&str, &str); 2] = [("CONVEYOR_KEY_PASSWORD", "secret"), ("COSIGN_PASSWORD", "secret")];
/// Without a transparency log, which is elsewhere.
const COSIGN_SIGN: &str =
    "cosign sign --key cosign.key --use-signing-config=false --tlog-upload=false --allow-http-registry --yes";
const COSIGN_VERIFY: &str = "cosign verify --insecure-ignore-tlog=true --allow-http-registry";

/// Signatures in both layouts, by each and checked by the other.
fn sign(at: &str, scene: &Scene) {
    let mut shell = Shell::new(scene);
    shell.set(&PASSWORD);
    for (line, key) in [("conveyor key generate --out ours", "ours"), ("cosign generate-key-pair", "cosign")]
    {
        shell.quietly(line).code(0);
        assert!(scene.path(&format!("{key}.pub")).is_file());
    }
    shell.quietly(&format!("conveyor push filter.wasm {at}/acme/ours:1 --sign ours.key")).code(0);
    for is_bundle in [true, false] {
        let layout = format!("--new-bundle-format={is_bundle}");
        let verify = |key: &str, image: &str| {
            shell.quietly(&format!("{COSIGN_VERIFY} {layout} --key {key}.pub {at}/acme/{image}:1"))
        };
        verify("ours", "ours")
            .code(0)
            .says(&["The signatures were verified against the specified public key"]);
        assert_ne!(verify("cosign", "ours").code, Some(0), "it is not by this key");

        let image = if is_bundle { "bundle" } else { "tag" };
        shell.quietly(&format!("conveyor push filter.wasm {at}/acme/{image}:1")).code(0);
        let unsigned = format!("conveyor verify --key cosign.pub {at}/acme/{image}:1");
        shell.quietly(&unsigned).code(1).says(&["is not trusted"]);
        shell.quietly(&format!("{COSIGN_SIGN} {layout} {at}/acme/{image}:1")).code(0);
        let wanted = format!("is trusted by a signature by cosign.pub ({image})");
        shell.quietly(&unsigned).code(0).prints(&[&wanted]);
        shell
            .quietly(&format!("conveyor verify --key ours.pub {at}/acme/{image}:1"))
            .code(1)
            .says(&["another key"]);
    }
}

#[test]
fn cosign_checks_what_we_sign_and_we_what_it_signs() {
    if !is_asked_for() {
        return;
    }
    let component = std::fs::read(places::guest("filter")).expect("a stage");
    let scene = Scene::new();
    scene.write("filter.wasm", &component);
    let served = Served::start(&scene, &[], None);
    sign(&served.address.replace("127.0.0.1", "localhost"), &scene);
    let scene = Scene::new();
    scene.write("filter.wasm", &component);
    let registry = DockerRegistry::start(&scene);
    sign(&registry.address.replace("127.0.0.1", "localhost"), &scene);
}

#[test]
fn wkg_pulls_what_we_push_and_we_what_it_pushes() {
    if !is_asked_for() {
        return;
    }
    let component = std::fs::read(places::guest("filter")).expect("a stage");
    let scene = Scene::new();
    scene.write("filter.wasm", &component).write("in.csv", "id,amount\n1,20\n2,300\n");
    let served = Served::start(&scene, &[], None);
    let registry = DockerRegistry::start(&scene);
    for address in [&served.address, &registry.address] {
        let at = address.replace("127.0.0.1", "localhost");
        let shell = Shell::new(&scene);
        let is_component = |file: &str| {
            let bytes = std::fs::read(scene.path(file)).expect("a file");
            assert_eq!(Digest::of(&bytes), Digest::of(&component), "{file}");
            std::fs::remove_file(scene.path(file)).expect("removed");
        };
        shell.quietly(&format!("conveyor push filter.wasm {at}/acme/ours:1")).code(0);
        shell.quietly(&format!("wkg oci pull --insecure {at} -o theirs.wasm {at}/acme/ours:1")).code(0);
        is_component("theirs.wasm");
        shell.quietly(&format!("wkg oci push --insecure {at} {at}/acme/wkg:1 filter.wasm")).code(0);
        shell.quietly(&format!("conveyor pull {at}/acme/wkg:1 -o ours.wasm")).code(0);
        is_component("ours.wasm");
        scene.write(
            "pipeline.yaml",
            format!(
                "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.csv }} }}\n  large: {{ transform: '{at}/acme/wkg:1', \
                 from: in, with: {{ where: amount > 100 }} }}\n  out: {{ sink: stdout, from: large }}\n"
            ),
        );
        let ran = shell.quietly("conveyor run pipeline.yaml").code(0);
        assert_eq!(ran.stdout, "{\"id\":2,\"amount\":300}\n");
    }
}
