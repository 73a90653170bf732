//! Stages that reach for what they were not granted: files beside a directory, servers behind a redirect. None of them
//! dies of it; what counts is that they get nothing.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::beside::{self, Until};
use crate::cases::compile;
use crate::measure::{alone, until_it_holds};
use crate::scene::Scene;

const SECRET: &str = "what nobody is to read";

/// A server on this machine that holds the secret, and counts who comes.
struct Server {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// `leads_to`: a port to which it redirects instead.
    fn start(leads_to: Option<u16>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Self { port, asked: Arc::default() };
        let asked = server.asked.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                asked.fetch_add(1, Ordering::Relaxed);
                let mut head = [0; 4096];
                // What is asked does not matter.
                let _ = stream.read(&mut head);
                let answer = match leads_to {
                    Some(port) => {
                        format!("302 Found\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0")
                    }
                    None => format!("200 OK\r\ncontent-length: {}", SECRET.len()),
                };
                let body = if leads_to.is_some() { "" } else { SECRET };
                let _ = write!(stream, "HTTP/1.1 {answer}\r\nconnection: close\r\n\r\n{body}");
            }
        });
        server
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Runs a stage that makes of each record what it got. It is asked `record`, and gets nothing but an error that says
/// `says`.
#[track_caller]
fn gets_nothing(component: &str, grants: &str, record: &str, says: &str, prepare: impl Fn(&Scene)) {
    let _alone = alone();
    compile(component);
    until_it_holds(component, |attempt| {
        let (own, _) = beside::alone(attempt > 0);
        let scene = Scene::new();
        prepare(&scene);
        let record = record.replace("SCENE", &scene.path("").display().to_string());
        scene.write(
            "hostile.yaml",
            format!(
                "pipeline: hostile\nstages:\n  in: {{ source: generate, with: {{ template: '{record}', count: 10, rate: 40 \
                 }}, batch: {{ records: 1 }} }}\n  bad: {{ transform: GUEST(hostile/{component}), from: in, grants: {{ \
                 {grants} }} }}\n  out: {{ sink: file, from: bad, with: {{ path: out.txt }} }}\n"
            ),
        );
        let seen = beside::run(&scene, Until::Lasts(Duration::from_millis(500)));
        assert_eq!(seen.ran.code, Some(0), "{}", seen.ran.stderr);
        let got = scene.read("out.txt");
        assert_eq!(got.lines().count(), 10, "{got}");
        assert!(!got.contains(SECRET) && !got.contains("root:"), "it got through: {got}");
        for line in got.lines() {
            assert!(line.contains("error: ") && line.contains(says), "no `{says}` in {line}");
        }
        seen.latencies.misses(&own).into_iter().collect()
    });
}

/// A granted directory beside a secret, with links out of it that somebody left there.
fn directory(scene: &Scene) {
    scene.write("secret.txt", SECRET).write("granted/deep/a.txt", "inside");
    symlink("../secret.txt", scene.path("granted/planted")).expect("a link");
    symlink("..", scene.path("granted/planted-dir")).expect("a link");
}

const GRANTED: &str = "dirs: [{ host: granted, guest: /in, mode: rw }]";

#[test]
fn dots_do_not_lead_out_of_a_directory() {
    gets_nothing("dir-dotdot", GRANTED, "x", "not-permitted", directory);
}

#[test]
fn places_of_the_machine_do_not_lead_out_of_a_directory() {
    gets_nothing("dir-absolute", GRANTED, "SCENEsecret.txt", "/etc/passwd", directory);
}

#[test]
fn symbolic_links_do_not_lead_out_of_a_directory() {
    gets_nothing("dir-symlink", GRANTED, "SCENEsecret.txt", "planted: ErrorCode", directory);
}

#[test]
fn hard_links_are_not_made_to_what_lies_outside() {
    gets_nothing("dir-hardlink", GRANTED, "SCENEsecret.txt", "beside: ErrorCode", directory);
}

#[test]
fn a_private_address_is_not_asked() {
    let server = Server::start(None);
    let url = format!("http://127.0.0.1:{}/", server.port);
    gets_nothing("http-private", "http: [api.example.com:443]", &url, "HttpRequestDenied", |_| {});
    assert_eq!(server.asked(), 0);
}

#[test]
fn a_redirect_does_not_lead_to_what_is_not_granted() {
    let secret = Server::start(None);
    let granted = Server::start(Some(secret.port));
    let url = format!("http://localhost:{}/", granted.port);
    let grants = format!("http: ['localhost:{}']", granted.port);
    gets_nothing("http-redirect", &grants, &url, "HttpRequestDenied", |_| {});
    assert!(granted.asked() >= 10, "it was not even asked where it leads");
    assert_eq!(secret.asked(), 0);
}

#[test]
fn a_host_header_names_no_other_host() {
    let server = Server::start(None);
    let url = format!("http://localhost:{}/", server.port);
    let grants = format!("http: ['localhost:{}']", server.port);
    // Either the header cannot be set, or the request is not sent.
    gets_nothing("http-host-header", &grants, &url, "error: ", |_| {});
    assert_eq!(server.asked(), 0);
}

#[test]
fn a_name_that_is_granted_does_not_lead_to_a_private_address() {
    let server = Server::start(None);
    let name =
        private_name().expect("a name for this machine that leads to a private address, in /etc/hosts");
    let url = format!("http://{name}:{}/", server.port);
    let grants = format!("http: ['{name}:{}']", server.port);
    gets_nothing("http-name", &grants, &url, "DestinationIpProhibited", |_| {});
    assert_eq!(server.asked(), 0);
}

/// Another name than `localhost`, which is what it says.
fn private_name() -> Option<String> {
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let listed = lines.flat_map(|line| line.split_whitespace().skip(1)).map(str::to_owned);
    let is_private = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    let leads = |name: &String| {
        let found = (name.as_str(), 80).to_socket_addrs();
        found.is_ok_and(|mut all| all.all(|address| is_private(address.ip())))
    };
    std::iter::once(own.trim().to_owned())
        .chain(listed)
        .filter(|name| !name.contains("localhost"))
        .find(leads)
}

#[test]
fn a_socket_of_its_own_reaches_nobody() {
    let server = Server::start(None);
    gets_nothing("socket", "", &server.port.to_string(), "permanent-resolver-failure", |_| {});
    assert_eq!(server.asked(), 0);
}
