//! Clients of others and ours, at `conveyor registry serve` (in the clear, by TLS with passwords, by TLS with tokens) and at
//! Debian's `docker-registry`. What each has pushed, each pulls, and ours runs; each lists, copies and deletes.

use std::path::Path;

use model::ids::Digest;
use snapbox::assert_data_eq;
use snapbox::data::Data;

use super::programs::{DockerRegistry, Shell, pem};
use crate::places;
use crate::registry::client::Served;
use crate::scene::Scene;

/// How the registry is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Plain,
    Passwords,
    Tokens,
    /// By `docker-registry`, in the clear.
    Debian,
}

/// A client, in its own words. `AT` is the registry, `CLEAR` whether it speaks without TLS and `SAFE` the opposite; `FROM` and
/// `TO` are references, `REPOSITORY` is one, and `DIR` is an empty directory.
struct Client {
    name: &'static str,
    settings: &'static str,
    login: &'static str,
    /// By what it gets a stage into its repository, one line behind the other.
    push: &'static [&'static str],
    pull: &'static str,
    list: &'static str,
    copy: &'static str,
    delete: &'static str,
}

const CLIENTS: [Client; 5] = [
    Client {
        name: "conveyor",
        settings: "",
        login: "conveyor login -u alice -p secret AT",
        push: &["conveyor push filter.wasm AT/acme/conveyor:kept"],
        pull: "conveyor pull FROM -o DIR/pulled.wasm",
        list: "conveyor registry list REPOSITORY",
        copy: "conveyor registry copy FROM TO",
        delete: "conveyor registry delete --yes FROM",
    },
    Client {
        name: "oras",
        settings: "",
        login: "oras login --plain-http=CLEAR -u alice -p secret AT",
        push: &["oras push --plain-http=CLEAR AT/acme/oras:kept filter.wasm:application/wasm"],
        pull: "oras pull --plain-http=CLEAR -o DIR FROM",
        list: "oras repo tags --plain-http=CLEAR REPOSITORY",
        copy: "oras cp --from-plain-http=CLEAR --to-plain-http=CLEAR FROM TO",
        delete: "oras manifest delete --force --plain-http=CLEAR FROM",
    },
    Client {
        name: "regctl",
        settings: "regctl registry set --skip-check --tls TLS AT",
        login: "regctl registry login -u alice -p secret AT",
        push: &[
            "regctl artifact put --artifact-type application/vnd.acme.stage -m application/wasm --file-title -f filter.wasm \
                 AT/acme/regctl:kept",
        ],
        pull: "regctl artifact get -o DIR FROM",
        list: "regctl tag ls REPOSITORY",
        copy: "regctl image copy FROM TO",
        delete: "regctl tag rm FROM",
    },
    Client {
        name: "skopeo",
        settings: "",
        login: "skopeo login --tls-verify=SAFE -u alice -p secret AT",
        push: &[
            "skopeo copy --src-tls-verify=SAFE docker://AT/acme/oras:kept oci:skopeo-layout:1",
            "skopeo copy --dest-tls-verify=SAFE oci:skopeo-layout:1 docker://AT/acme/skopeo:kept",
        ],
        pull: "skopeo copy --src-tls-verify=SAFE docker://FROM oci:DIR:1",
        list: "skopeo list-tags --tls-verify=SAFE docker://REPOSITORY",
        copy: "skopeo copy --src-tls-verify=SAFE --dest-tls-verify=SAFE docker://FROM docker://TO",
        delete: "skopeo delete --tls-verify=SAFE docker://FROM",
    },
    Client {
        name: "crane",
        settings: "",
        login: "crane auth login -u alice -p secret AT",
        push: &[
            "crane pull --format oci AT/acme/regctl:kept crane-layout",
            "crane push crane-layout AT/acme/crane:kept",
        ],
        pull: "crane pull --format oci FROM DIR",
        list: "crane ls REPOSITORY",
        copy: "crane copy FROM TO",
        delete: "crane delete FROM",
    },
];

const USERS: &str = "alice:$2b$05$aewet7O2NQ0NG14TYwfXI.9z138Ng29rmLQPxQKOZuQFUAQAUqiH.\n";
const TLS: [&str; 6] =
    ["--tls-cert", "localhost.pem", "--tls-key", "localhost.key.pem", "--htpasswd", "users"];

impl Line {
    fn serve(self, scene: &Scene) -> Server {
        scene.write("users", USERS);
        pem(scene, "ca.der", "CERTIFICATE", "ca.pem");
        pem(scene, "localhost.der", "CERTIFICATE", "localhost.pem");
        pem(scene, "localhost.key.der", "PRIVATE KEY", "localhost.key.pem");
        match self {
            Self::Plain => Server::Ours(Served::start(scene, &[], None)),
            Self::Passwords => Server::Ours(Served::start(scene, &TLS, None)),
            Self::Tokens => {
                Server::Ours(Served::start(scene, &[&TLS[..], &["--auth", "bearer"]].concat(), None))
            }
            Self::Debian => Server::Debians(DockerRegistry::start(scene)),
        }
    }

    fn is_clear(self) -> bool {
        matches!(self, Self::Plain | Self::Debian)
    }

    /// A client's words, with what it is told about the registry in them.
    fn words(self, at: &str, line: &str) -> String {
        let is_clear = self.is_clear();
        line.replace("CLEAR", &is_clear.to_string())
            .replace("SAFE", &(!is_clear).to_string())
            .replace("TLS", if is_clear { "disabled" } else { "enabled" })
            .replace("AT", at)
    }
}

/// Whether a directory has a file of this digest, wherever it lies in it.
fn has(dir: &Path, digest: &Digest) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.filter_map(Result::ok).map(|entry| entry.path()).any(|path| match path.is_dir() {
        true => has(&path, digest),
        false => std::fs::read(&path).is_ok_and(|bytes| Digest::of(&bytes) == *digest),
    })
}

/// Ours, or another one.
enum Server {
    Ours(Served),
    Debians(DockerRegistry),
}

impl Server {
    /// By the name that the certificate is for.
    fn at(&self) -> String {
        let address = match self {
            Self::Ours(served) => &served.address,
            Self::Debians(registry) => &registry.address,
        };
        format!("localhost:{}", address.rsplit_once(':').expect("a port").1)
    }
}

const PIPELINE: &str = "\
pipeline: p
stages:
  in: { source: file, with: { path: in.csv } }
  large: { transform: 'REF', from: in, with: { where: amount > 100 } }
  out: { sink: stdout, from: large }
";

/// Everything, with what was printed.
fn through(line: Line) -> String {
    let scene = Scene::new();
    let component = std::fs::read(places::guest("filter")).expect("a stage");
    scene
        .write("filter.wasm", &component)
        .write("note.txt", "seen\n")
        .write("in.csv", "id,amount\n1,20\n2,300\n");
    let component = Digest::of(&component);
    let server = line.serve(&scene);
    let at = server.at();
    let mut shell = Shell::new(&scene);
    shell.name(&at, "AT");
    shell.name(component.to_string(), "COMPONENT");
    {
        let mut run = |words: &str| shell.run(&line.words(&at, words)).code(0).stdout;
        for client in CLIENTS.iter().filter(|client| !client.settings.is_empty()) {
            run(client.settings);
        }
        if !line.is_clear() {
            CLIENTS.iter().for_each(|client| drop(run(client.login)));
        }
        for line in CLIENTS.iter().flat_map(|client| client.push) {
            run(line);
        }
        for (client, of) in CLIENTS.iter().flat_map(|client| CLIENTS.iter().map(move |of| (client, of))) {
            let dir = format!("{}-of-{}", client.name, of.name);
            std::fs::create_dir(scene.path(&dir)).expect("a directory");
            run(&client.pull.replace("FROM", &format!("AT/acme/{}:kept", of.name)).replace("DIR", &dir));
            assert!(has(&scene.path(&dir), &component), "{dir} has no component");
        }
        for client in &CLIENTS {
            let name = client.name;
            let (from, to) = (format!("AT/acme/{name}:kept"), format!("AT/acme/{name}:copied"));
            run(&client.copy.replace("FROM", &from).replace("TO", &to));
            let listed = run(&client.list.replace("REPOSITORY", &format!("AT/acme/{name}")));
            assert!(listed.contains("kept") && listed.contains("copied"), "{name} lists {listed}");
        }
    }
    for client in &CLIENTS {
        let reference = format!("{at}/acme/{}:kept", client.name);
        scene.write("pipeline.yaml", PIPELINE.replace("REF", &reference));
        let ran = shell.quietly("conveyor run pipeline.yaml").code(0);
        assert_eq!(ran.stdout, "{\"id\":2,\"amount\":300}\n", "what {} has pushed", client.name);
    }
    if line != Line::Debian {
        say_something(&mut shell, line, &at);
        delete(&mut shell, line, &at);
    }
    std::mem::take(&mut shell.transcript)
}

/// What says something of an image, by one client, is found by the others.
fn say_something(shell: &mut Shell<'_>, line: Line, at: &str) {
    let attach = "oras attach --plain-http=CLEAR --artifact-type application/vnd.acme.note AT/acme/oras:kept note.txt:text/plain";
    shell.run(&line.words(at, attach)).code(0);
    for words in
        ["oras discover --plain-http=CLEAR AT/acme/oras:kept", "regctl artifact list AT/acme/oras:kept"]
    {
        shell.run(&line.words(at, words)).code(0).prints(&["application/vnd.acme.note"]);
    }
}

fn delete(shell: &mut Shell<'_>, line: Line, at: &str) {
    for client in &CLIENTS {
        let repository = format!("AT/acme/{}", client.name);
        shell.run(&line.words(at, &client.delete.replace("FROM", &format!("{repository}:copied")))).code(0);
        let listed = shell.run(&line.words(at, &client.list.replace("REPOSITORY", &repository)));
        assert!(!listed.stdout.contains("copied"), "{} lists {}", client.name, listed.stdout);
    }
}

#[test]
fn in_the_clear() {
    let snapshot = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/snapshots/peers.txt");
    assert_data_eq!(through(Line::Plain), Data::read_from(Path::new(snapshot), None).raw());
}

#[test]
fn by_tls_with_passwords() {
    through(Line::Passwords);
}

#[test]
fn by_tls_with_tokens() {
    through(Line::Tokens);
}

#[test]
fn at_debians_docker_registry() {
    through(Line::Debian);
}
